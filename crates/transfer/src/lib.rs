//! Which piece to read next, from whom, and when to give up.
//!
//! A [`Transfer`] is told what is missing ([`Unit`]s, cut from a layout by [`missing_units`]), who could
//! have it, and how each call went; it answers with the next [`Call`], with files to be checked, and
//! with providers to be dropped. One task owns it; it knows no clock, disk, socket or peer, only the
//! numbers of pieces and the results that its owner reports. [`Pace`] is the rule by which a call
//! counts as stalled; the reader of each call has one.
//!
//! A run of small files proves itself, entry by entry. A slice of a large file is judged grain by grain by the
//! list of midstates that its sender names (crate `zeroshare_proof`), and the file is proven when every grain is linked. Where nobody has
//! such lists, the file is hashed when its last slice is written, and when it does not match, it is read again from
//! one provider alone, so that whoever sent other slices can be named.
//!
//! Where nobody has it and an upstream URL is known, [`cold`] divides the work among all who start at once.
//!
//! Start reading at [`Transfer`].

mod call;
pub mod cold;
mod event;
mod machine;
mod missing;
mod pace;
mod pieces;
mod provider;
mod sliced;
#[cfg(test)]
mod tests;
mod unit;

pub use call::{Call, CallEnd, CallId, Span, UnitOutcome, spans};
pub use event::{DropReason, Event, FileVerdict, Standing};
pub use machine::{Ask, Probe, ProbeOutcome, Settings, Transfer};
pub use pace::{Pace, PaceRule};
pub use provider::{Holding, ProviderId};
pub use unit::{Part, Unit, UnitId, WrittenBefore, missing_units};
