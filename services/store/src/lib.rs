//! The store service: what this machine holds, read-only.
