//! The generated clients and servers, one module for each package of `proto/`.
#![expect(
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code follows tonic's style, not ours"
)]

/// `zeroshare.discovery`: the local API of discovery.
pub mod discovery {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/zeroshare.discovery.v1.rs"));
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
