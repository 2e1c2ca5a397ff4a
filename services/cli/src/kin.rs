//! Asks older programs of the family: the original 0share, and Zero Install for .NET.
//!
//! What they say and send is only tried: an archive becomes a tree when it has the id that was asked for.

mod ask;
mod browse;
mod download;

pub(crate) use ask::Asking;
pub(crate) use browse::Browsing;
pub(crate) use download::{DownloadError, download};
