//! gRPC clients and servers over the messages of `zeroshare-wire`, and the reasons of errors.
//!
//! It knows how to call and how to fail, not what the services do: no tree, no disk, no decision. A
//! call made through it carries the current trace, has bounded messages, and fails with a
//! [`tonic::Status`] whose reason a program can read. Start reading at [`connect`] for calling, at
//! [`errors`] for failing.

pub mod clients;
pub mod connect;
pub mod deadline;
pub mod errors;
pub mod health;
pub mod parts;
mod reflection;
pub mod rpc;

pub use reflection::{ReflectionError, reflection};
