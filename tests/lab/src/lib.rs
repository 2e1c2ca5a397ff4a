//! Stories in containers.
