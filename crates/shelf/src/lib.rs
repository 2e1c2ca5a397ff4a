//! Finds and reads stores, verifies trees, and keeps an index of what was verified.
