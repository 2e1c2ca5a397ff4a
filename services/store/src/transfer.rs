//! Sending pieces.

mod least_sent;
mod plan;
mod send;

pub(crate) use least_sent::LeastSent;
pub(crate) use plan::{Order, plan};
pub(crate) use send::Transfer;
