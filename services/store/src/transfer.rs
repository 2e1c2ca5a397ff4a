//! Sending pieces.

mod encoding;
mod least_sent;
mod lines;
mod pages;
mod plan;
mod send;
mod writer;

pub(crate) use least_sent::LeastSent;
pub(crate) use lines::{Lines, OnLine};
pub(crate) use pages::PagePool;
pub(crate) use plan::{Order, plan};
pub(crate) use send::Transfer;
