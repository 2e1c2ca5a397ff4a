//! Comparison with the real 0install.
