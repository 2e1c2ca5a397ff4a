//! Sending pieces.

mod least_sent;
mod pages;
mod plan;
mod send;
mod writer;

pub(crate) use least_sent::LeastSent;
pub(crate) use pages::PagePool;
pub(crate) use plan::{Order, plan};
pub(crate) use send::Transfer;
