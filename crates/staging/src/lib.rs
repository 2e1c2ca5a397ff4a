//! Stages trees inside a store, and single files beside their places, proves them and makes them visible with one rename.
//!
//! A tree is put together in a directory beside its final place, which Zero Install ignores because of its name.
//! Every file is hashed before it counts, the finished tree is compared with its manifest, made durable and renamed. A crash, a
//! full disk or a second process at any moment leaves the old state or the new one, and what was proven stays proven:
//! the next [`Staged`] of the same tree and place goes on from there.
//!
//! The crate knows no peers and no network (the fetcher feeds it) and no index of what is held (it hands out
//! what an index wants to know, in [`Committed`]). It reads stores only where it reuses a file, or finds its target taken.
//!
//! Start reading at [`Staged`]. Nothing below a staging directory is ever opened through a symlink.

mod adopt;
mod beneath;
mod commit;
mod discard;
mod error;
mod existing;
mod extents;
mod hashing;
mod journal;
mod linked;
mod listing;
mod lock;
mod options;
mod place;
mod plan;
mod process;
mod put;
mod quarantine;
mod record;
mod resume;
mod sliced;
mod slices;
mod space;
mod staged;
mod stamp;
mod survey;
mod sweep;
mod sync;
mod threads;

pub use commit::{Committed, CommittedFile};
pub use discard::{Discarded, discard};
pub use error::{CommitError, PutError, StageError};
pub use existing::equal_file;
pub use options::{Durability, Observer, SourceId, StageOptions, Step};
pub use quarantine::quarantine;
pub use space::free_bytes;
pub use staged::Staged;
pub use stamp::FileStamp;
pub use sweep::{Swept, sweep};
