//! The `zeroshare` command: a node, and the client of nodes.
//!
//! Every command is a client of the local APIs of the user's node, else the machine's, else of services that it starts
//! in its own process for its own time. What it prints is for people or, with `--json`, for programs; see `JSON.md`.
//!
//! It knows how to talk to services and people, and nothing of datagrams, pieces or stores. Start reading at
//! [`arguments`] for what can be asked, at [`command`] for who answers, at [`reach`] for how the services are found.

pub mod archive;
pub mod arguments;
pub mod command;
pub mod exit;
pub mod failure;
mod kin;
pub mod reach;
pub mod render;
pub mod session;
pub mod settings;
pub mod source;
mod start;
mod together;
pub mod words;
mod zero_install;

pub use start::main_with;
