//! The generated messages, one module for each package of `proto/`.
#![expect(
    missing_docs,
    clippy::pedantic,
    reason = "generated code follows prost's style, not ours"
)]

/// All of `proto/` as one serialised `FileDescriptorSet`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `zeroshare.beacon`: datagrams.
pub mod beacon {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/zeroshare.beacon.v1.rs"));
    }
}

/// `zeroshare.content`: words shared by all packages.
pub mod content {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/zeroshare.content.v1.rs"));
    }
}

/// `zeroshare.discovery`: the local API of discovery.
pub mod discovery {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/zeroshare.discovery.v1.rs"));
    }
}

/// `zeroshare.errors`: reasons of failures.
pub mod errors {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/zeroshare.errors.v1.rs"));
    }
}

/// `zeroshare.fetcher`: the local API of the fetcher.
pub mod fetcher {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/zeroshare.fetcher.v1.rs"));
    }
}

/// `zeroshare.store`: what peers and local services ask a store.
pub mod store {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/zeroshare.store.v1.rs"));
    }
}
