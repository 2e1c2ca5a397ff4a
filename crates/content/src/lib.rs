//! What trees and blobs are called, what they consist of and how they are cut into pieces.
//!
//! Everything here is decided by bytes alone: the same content has the same id, the same manifest
//! and the same pieces on every machine. The crate knows no disk (a directory is scanned by
//! `shelf`, which hands a [`TreeListing`] to this crate), no clock and no network.
//!
//! Start reading at [`ContentId`] for names, at [`Manifest`] for trees and at [`Layout`] for what
//! travels.
//!
//! Digests and orders are those of Zero Install 2.18, byte for byte. It is stricter in what it
//! accepts as a name: a newline is refused in every name, while Zero Install lets it pass in the
//! names of files and symlinks, so that two different trees can have one digest there. All that is
//! read has bounds, which are constants here.

mod blob;
mod escape;
mod family;
mod feed;
mod hash;
mod id;
mod layout;
mod limits;
mod listing;
mod manifest;
mod name;
mod path;
mod tree;

pub use blob::BlobId;
pub use family::{Algorithm, Family, UnknownAlgorithm};
pub use feed::{FeedUrl, FeedUrlError};
pub use hash::{HashKind, Hasher};
pub use id::{ContentId, IdError};
pub use layout::{Item, ItemKind, Layout, LayoutError, Piece};
pub use limits::{
    GRAIN, MAX_CONTENT_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_LINK_TARGET, MAX_MANIFEST_BYTES,
    MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_PIECE, PIECES_AIM, RUN_ENTRIES,
};
pub use listing::{FileDigests, ListedFile, ListingError, TreeListing, manifest_mtime};
pub use manifest::{Entry, Line, LineFault, Manifest, ManifestError};
pub use name::{Name, NameError};
pub use path::{PathError, TreePath};
pub use tree::TreeId;
