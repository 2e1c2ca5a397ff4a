//! Callers that misbehave: each opens what it is told to, holds on to it, and lets go when dropped.

mod deaf;
mod flood;
mod garbage;

pub use deaf::DeafReaders;
pub use flood::Flood;
pub use garbage::{garbage_calls, garbage_connections, garbage_datagram};
