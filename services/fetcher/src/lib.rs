//! The fetcher service: brings trees from peers into a store of this machine.
