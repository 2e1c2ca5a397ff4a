//! gRPC clients and servers over the messages of `zeroshare-wire`, and the reasons of errors.

pub mod rpc;
