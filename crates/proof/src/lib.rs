//! SHA-256 midstates: what proves a grain of a large file by itself.
