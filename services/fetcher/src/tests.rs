//! The fetcher in process, against peers that a test makes honest or not.

mod adding;
mod blobs;
mod end_to_end;
mod failover;
mod faults;
mod fetching;
mod garbage;
mod groups;
mod liars;
mod machine;
mod neighbours;
mod ranges;
