//! Checked conversions between messages and the types behind the border.
//!
//! A function takes the name of the field it reads, so that the caller of a service learns which one
//! it got wrong. Every list is bounded before anything is made of it.

mod address;
mod ids;
mod pieces;
mod read_pieces;
mod time;

pub use address::{socket_address, store_address};
pub use ids::{blob_ids, content_id, content_ids, feed_url, tree_id};
pub use pieces::{MAX_RANGES, merge_ranges, piece_ranges, piece_ranges_within, to_piece_ranges};
pub use read_pieces::{Encoding, MAX_SPANS, ReadPieces, Span, Wanted};
pub use time::{
    duration, from_system_time, optional_duration, optional_system_time, stamp, to_duration,
    to_stamp,
};
