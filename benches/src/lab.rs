//! Hosts, links and programs that benchmarks are made of.

mod giver;
mod link;
mod mounted;
mod nginx;
mod packages;
mod place;
mod seat;

pub(crate) use giver::Giver;
pub(crate) use link::{TcpCounter, bare_goodput, congestion, cubic, limit, unlimit};
pub(crate) use mounted::{Mounted, unmount};
pub(crate) use nginx::Nginx;
pub(crate) use packages::{find, need};
pub(crate) use place::Place;
pub(crate) use seat::{Node, Seat};
