//! Finds and reads the stores of this machine, and remembers what hashing them found out.
//!
//! A store is a directory of trees, each under the name of its digest, shared with 0install and written by others. So
//! nothing here trusts what lies there: paths are opened beneath the store without following links, a tree counts
//! only after all of it was hashed, and a file is served only while its [`Stamp`] is the one that it had then.
//!
//! This crate writes nothing but its own index, and must not learn to: it runs in what strangers reach. Writing stores
//! is `staging`. It knows no network and no protocol, and has no task or thread of its own but the watcher's: all calls
//! may block on the disk.
//!
//! Start reading at [`store_roots`] for where stores lie, at [`scan_tree`] for how a directory becomes a tree, and at
//! [`Shelf`] for all that a machine holds.

mod beneath;
mod boot;
mod digest;
mod document;
mod environment;
mod index;
mod mounts;
mod pieces;
mod roots;
mod scan;
mod shelf;
mod signature;
mod stamp;
mod verify;
mod watcher;

pub use beneath::Beneath;
pub use boot::boot_id;
pub use document::{DocumentError, MAX_FEED_BYTES, digests, is_element, parse_document};
pub use environment::Environment;
pub use index::{IndexError, IndexPlace};
pub use mounts::{MOUNT_NAME, is_own_mount};
pub use pieces::{PieceReader, PieceSource, ReadError, Recheck, Sink};
pub use roots::{RootKind, StoreRoot, feed_caches, find_tree, store_roots, trusted_keys};
pub use scan::{ScanError, ScannedFile, ScannedTree, scan_tree};
pub use shelf::{
    Audience, Beginning, CommitError, Committed, CommittedFile, Copies, Due, FoundFile, Holding,
    HoldingState, MidstateList, OpenError, RootCount, STAGED_BLOB, ShareError, Shelf, ShelfError,
    ShelfEvent, ShelfOptions, ShelvedRoot, VerifyOutcome,
};
pub use signature::{SignatureFault, Signer, split_signed};
pub use stamp::{Moment, Stamp};
pub use verify::{Fault, VerifiedTree, VerifyError, verify_tree};
pub use watcher::RootWatcher;
