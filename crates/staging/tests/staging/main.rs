//! Staging trees as its users do: whole, in parts, in threads, with crashes, and beside things that should not be there.

mod adopting;
mod crashes;
mod hostile;
mod laws;
mod places;
mod resuming;
mod slicing;
mod support;
mod sweeping;
mod whole;
