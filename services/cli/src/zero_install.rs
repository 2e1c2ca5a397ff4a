//! The real `0install`: what it is asked for, what it selects, and how it is started.
//!
//! It is never imitated: what is to be run is selected by `0install` itself, and run by it. Only its words are read, so
//! that what it is about to download can be brought from the LAN before.
//!
//! Start reading at [`Asked`] for its words, at [`select`] for how selections come about, at [`bring`] for how
//! implementations do, and at [`select_with_feeds`] for how feeds do.

mod asked;
mod bring;
mod feeds;
mod keyring;
mod program;
mod select;
mod selections;

pub(crate) use asked::{Asked, Selecting};
pub(crate) use bring::{Bringing, Brought, Outcome, bring};
pub(crate) use feeds::{FeedRules, Unselected, select_with_feeds};
pub(crate) use keyring::parse_fingerprint;
pub(crate) use program::{Program, ProgramError, Successor};
pub(crate) use select::read_selections;
pub(crate) use selections::{Implementation, MAX_DOCUMENT_BYTES, SelectionsError, selected};
