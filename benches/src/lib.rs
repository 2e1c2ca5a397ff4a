//! Whole programs side by side with peers.
