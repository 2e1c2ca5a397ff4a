//! From a request to the parts of pieces that answer it.

use std::{num::NonZeroU64, ops::Range};

use bytes::Bytes;
use tonic::{Code, Status};
use zeroshare_api::errors::{ErrorReason, malformed, status};
use zeroshare_wire::convert::{ReadPieces, Span, Wanted};

use crate::{Offered, offered::index};

/// A part of a piece, to be sent.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) piece: u32,
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
    /// The list by which it asks to be judged.
    pub(super) list_digest: Bytes,
    /// Whether it begins with the first byte of a large file.
    pub(super) starts_file: bool,
}

/// The parts that answer a request, in the order asked for.
pub(super) fn parts(offered: &Offered, read: &ReadPieces) -> Result<Vec<Part>, Status> {
    match &read.wanted {
        Wanted::Spans(spans) => {
            let mut parts = Vec::new();
            for span in spans {
                add(offered, span, &mut parts)?;
            }
            Ok(parts)
        }
        Wanted::Chosen { at_most, have } => {
            let wanted = |number: &u32| {
                offered.holds(*number) && !have.iter().any(|range| range.contains(number))
            };
            let pieces = (0..offered.piece_count()).filter(wanted);
            pieces
                .take(index(*at_most))
                .map(|piece| whole(offered, piece))
                .collect()
        }
        Wanted::AllIfAtMost(bytes) if offered.content_size() <= bytes.get() => {
            let pieces = 0..offered.piece_count();
            pieces.map(|piece| whole(offered, piece)).collect()
        }
        Wanted::AllIfAtMost(_) => Ok(Vec::new()),
    }
}

fn add(offered: &Offered, span: &Span, parts: &mut Vec<Part>) -> Result<(), Status> {
    match span {
        Span::Pieces(range) => {
            check_end(offered, range)?;
            for piece in range.clone() {
                parts.push(whole(offered, piece)?);
            }
        }
        Span::Part { piece, skip, limit } => {
            check_end(offered, &(*piece..piece.saturating_add(1)))?;
            let Part {
                bytes, starts_file, ..
            } = whole(offered, *piece)?;
            if *skip >= bytes.len() as u64 {
                return Err(malformed(
                    "spans",
                    "skip_bytes is past the end of the piece",
                ));
            }
            let rest = bytes.slice(index(*skip)..);
            let most = limit.map_or(u64::MAX, NonZeroU64::get);
            parts.push(Part {
                piece: *piece,
                offset: *skip,
                bytes: rest.slice(..index(most.min(rest.len() as u64))),
                list_digest: Bytes::new(),
                starts_file: starts_file && *skip == 0,
            });
        }
    }
    Ok(())
}

fn check_end(offered: &Offered, range: &Range<u32>) -> Result<(), Status> {
    if range.end > offered.piece_count() {
        return Err(malformed("spans", "past the end"));
    }
    Ok(())
}

fn whole(offered: &Offered, piece: u32) -> Result<Part, Status> {
    match offered.piece(piece).filter(|_| offered.holds(piece)) {
        Some(bytes) => Ok(Part {
            piece,
            offset: 0,
            bytes,
            list_digest: Bytes::new(),
            starts_file: offered.starts_file(piece),
        }),
        None => Err(not_held(offered, piece)),
    }
}

pub(super) fn not_held(offered: &Offered, piece: u32) -> Status {
    let metadata = [
        ("contentId", offered.id().to_string()),
        ("piece", piece.to_string()),
    ];
    let message = format!("no piece {piece}");
    status(
        Code::NotFound,
        ErrorReason::PieceNotHeld,
        &metadata,
        message,
    )
}
