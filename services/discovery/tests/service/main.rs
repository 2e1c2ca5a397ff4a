//! Discovery services on the loopback interface, with real sockets, clock and disk.

mod finding;
mod hostile;
mod node;
mod store;
