/// The unit of proof and the smallest piece size, in bytes.
pub const GRAIN: u64 = 128 * 1024;

/// The largest piece size, in bytes: what a sender or a reader may have to hold at once.
pub const MAX_PIECE: u64 = 16 * 1024 * 1024;

/// The piece size grows with the content until it has at most this many full pieces.
pub const PIECES_AIM: u64 = 2048;

/// The most small files or link targets in one piece.
pub const RUN_ENTRIES: usize = 4096;

/// The longest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024 * 1024;

/// The most lines of a manifest, and so the most entries of a tree.
pub const MAX_ENTRIES: usize = 1_000_000;

/// The longest target of a symlink in bytes: what Linux can store.
pub const MAX_LINK_TARGET: u64 = 4095;

/// The longest name of a directory entry in bytes: what Linux's file systems can store.
pub const MAX_NAME_BYTES: usize = 255;

/// The longest path of an entry in bytes, from the root of its tree: what Linux takes in one call.
pub const MAX_PATH_BYTES: usize = 4095;

/// The most names in one path, so that a walk needs few open directories.
pub const MAX_DEPTH: usize = 256;

/// The most bytes of a tree or a blob: 16 TiB, so that pieces and sums can be counted without
/// overflow.
pub const MAX_CONTENT_BYTES: u64 = 1 << 44;

/// The most bytes that all paths of a manifest may come to.
///
/// A line says only its name, so that few bytes of text could stand for very long paths.
pub(crate) const MAX_PATHS_TOTAL: usize = 256 * 1024 * 1024;
