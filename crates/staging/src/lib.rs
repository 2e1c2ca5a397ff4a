//! Stages trees inside a store, proves them and makes them visible with one rename.
