//! What a reader asks a store for.

use std::{num::NonZeroU64, ops::Range};

use zeroshare_content::ContentId;

use super::{
    ids::content_id,
    pieces::{piece_range, piece_ranges, to_piece_ranges},
};
use crate::{
    FieldError,
    pb::store::v1::{PieceSpan, ReadPiecesRequest, StreamEncoding},
};

/// How many spans one call may name.
pub const MAX_SPANS: usize = 4096;

/// A checked `ReadPiecesRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPieces {
    /// The tree or blob.
    pub content: ContentId,
    /// Which of its pieces.
    pub wanted: Wanted,
    /// Whether the manifest comes after the head.
    pub with_manifest: bool,
    /// Whether each piece is hashed against the store's own record before it is sent.
    pub recheck: bool,
    /// What the reader accepts besides [`Encoding::Raw`], the best first.
    pub accepted: Vec<Encoding>,
}

/// Which pieces a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// These, in this order. None: the head only, and the manifest where that is asked for.
    Spans(Vec<Span>),
    /// At most so many that the sender chooses, none of `have`.
    Chosen {
        /// How many; at least 1.
        at_most: u32,
        /// Sorted and merged.
        have: Vec<Range<u32>>,
    },
    /// All, if that is at most so many bytes, else none.
    AllIfAtMost(NonZeroU64),
}

/// Pieces in a row, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// Whole pieces; never empty.
    Pieces(Range<u32>),
    /// A part of one piece.
    Part {
        /// The piece.
        piece: u32,
        /// How many of its bytes are left out.
        skip: u64,
        /// How many then follow at most; `None`: the rest.
        limit: Option<NonZeroU64>,
    },
}

/// How the data of one call travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// As it is.
    Raw,
    /// One zstd stream over the call.
    Zstd,
}

impl TryFrom<ReadPiecesRequest> for ReadPieces {
    type Error = FieldError;

    fn try_from(request: ReadPiecesRequest) -> Result<Self, FieldError> {
        Ok(Self {
            content: content_id("content_id", &request.content_id)?,
            wanted: wanted(&request)?,
            with_manifest: request.with_manifest,
            recheck: request.recheck,
            accepted: accepted(&request.accept_encodings)?,
        })
    }
}

impl From<&ReadPieces> for ReadPiecesRequest {
    fn from(read: &ReadPieces) -> Self {
        let mut request = Self {
            content_id: read.content.to_string(),
            with_manifest: read.with_manifest,
            recheck: read.recheck,
            accept_encodings: read.accepted.iter().map(|&e| e.to_wire().into()).collect(),
            ..Self::default()
        };
        match &read.wanted {
            Wanted::Spans(spans) => request.spans = spans.iter().map(PieceSpan::from).collect(),
            Wanted::Chosen { at_most, have } => {
                request.choose_at_most = *at_most;
                request.have = to_piece_ranges(have);
            }
            Wanted::AllIfAtMost(bytes) => request.all_if_at_most_bytes = bytes.get(),
        }
        request
    }
}

impl TryFrom<&PieceSpan> for Span {
    type Error = FieldError;

    fn try_from(span: &PieceSpan) -> Result<Self, FieldError> {
        let range = piece_range("spans", span.first, span.count, u32::MAX)?;
        if span.skip_bytes == 0 && span.limit_bytes == 0 {
            return Ok(Self::Pieces(range));
        }
        if span.count != 1 {
            let why = "skip_bytes and limit_bytes are for a single piece";
            return Err(FieldError::refused("spans", why));
        }
        Ok(Self::Part {
            piece: span.first,
            skip: span.skip_bytes,
            limit: NonZeroU64::new(span.limit_bytes),
        })
    }
}

impl From<&Span> for PieceSpan {
    fn from(span: &Span) -> Self {
        match span {
            Span::Pieces(range) => Self {
                first: range.start,
                count: range.end.saturating_sub(range.start),
                skip_bytes: 0,
                limit_bytes: 0,
            },
            Span::Part { piece, skip, limit } => Self {
                first: *piece,
                count: 1,
                skip_bytes: *skip,
                limit_bytes: limit.map_or(0, NonZeroU64::get),
            },
        }
    }
}

impl Encoding {
    /// As it is named in messages.
    pub fn to_wire(self) -> StreamEncoding {
        match self {
            Self::Raw => StreamEncoding::Raw,
            Self::Zstd => StreamEncoding::Zstd,
        }
    }

    /// Reads how a sender says that its data travels.
    pub fn from_wire(field: &'static str, encoding: i32) -> Result<Self, FieldError> {
        match StreamEncoding::try_from(encoding) {
            Ok(StreamEncoding::Raw) => Ok(Self::Raw),
            Ok(StreamEncoding::Zstd) => Ok(Self::Zstd),
            Ok(StreamEncoding::Unspecified) | Err(_) => Err(FieldError::unknown(field, encoding)),
        }
    }
}

fn wanted(request: &ReadPiecesRequest) -> Result<Wanted, FieldError> {
    let chosen = request.choose_at_most != 0;
    if !request.spans.is_empty() && chosen {
        let why = "either spans or choose_at_most";
        return Err(FieldError::refused("choose_at_most", why));
    }
    if chosen {
        return Ok(Wanted::Chosen {
            at_most: request.choose_at_most,
            have: piece_ranges("have", &request.have)?,
        });
    }
    if request.spans.len() > MAX_SPANS {
        let count = request.spans.len();
        return Err(FieldError::too_many("spans", count, MAX_SPANS));
    }
    match NonZeroU64::new(request.all_if_at_most_bytes) {
        Some(bytes) if request.spans.is_empty() => Ok(Wanted::AllIfAtMost(bytes)),
        _ => {
            let spans: Result<_, _> = request.spans.iter().map(Span::try_from).collect();
            Ok(Wanted::Spans(spans?))
        }
    }
}

/// Encodings that this version does not know are left out: raw is always accepted.
fn accepted(encodings: &[i32]) -> Result<Vec<Encoding>, FieldError> {
    const MAX_ENCODINGS: usize = 16;
    if encodings.len() > MAX_ENCODINGS {
        let field = "accept_encodings";
        return Err(FieldError::too_many(field, encodings.len(), MAX_ENCODINGS));
    }
    let known = encodings
        .iter()
        .filter_map(|&encoding| Encoding::from_wire("accept_encodings", encoding).ok());
    Ok(known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::content::v1::PieceRange;

    const BLOB: &str = "blob:sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709";

    fn request() -> ReadPiecesRequest {
        ReadPiecesRequest {
            content_id: BLOB.to_owned(),
            ..ReadPiecesRequest::default()
        }
    }

    fn span(first: u32, count: u32, skip_bytes: u64, limit_bytes: u64) -> PieceSpan {
        PieceSpan {
            first,
            count,
            skip_bytes,
            limit_bytes,
        }
    }

    #[test]
    fn what_is_asked_for_survives_the_wire() {
        let part = Span::Part {
            piece: 9,
            skip: 0,
            limit: NonZeroU64::new(5),
        };
        for wanted in [
            Wanted::Spans(vec![]),
            Wanted::Spans(vec![Span::Pieces(7..9), part, Span::Pieces(0..1)]),
            Wanted::Chosen {
                at_most: 16,
                have: vec![0..3, 5..6],
            },
            Wanted::AllIfAtMost(NonZeroU64::MIN),
        ] {
            let read = ReadPieces {
                content: BLOB.parse().unwrap(),
                wanted,
                with_manifest: true,
                recheck: true,
                accepted: vec![Encoding::Zstd, Encoding::Raw],
            };
            assert_eq!(
                ReadPieces::try_from(ReadPiecesRequest::from(&read)),
                Ok(read)
            );
        }
    }

    #[test]
    fn senseless_requests_are_refused_by_field() {
        let with_spans = |spans| ReadPiecesRequest { spans, ..request() };
        let no_id = ReadPiecesRequest::default();
        let both = ReadPiecesRequest {
            choose_at_most: 1,
            ..with_spans(vec![span(0, 1, 0, 0)])
        };
        let have = ReadPiecesRequest {
            choose_at_most: 1,
            have: vec![PieceRange { first: 1, count: 0 }],
            ..request()
        };
        for (request, field) in [
            (no_id, "content_id"),
            (both, "choose_at_most"),
            (have, "have"),
            (with_spans(vec![span(0, 0, 0, 0)]), "spans"),
            (with_spans(vec![span(u32::MAX, 1, 0, 0)]), "spans"),
            (with_spans(vec![span(0, 2, 1, 0)]), "spans"),
            (with_spans(vec![span(0, 1, 0, 0); MAX_SPANS + 1]), "spans"),
        ] {
            assert_eq!(ReadPieces::try_from(request).unwrap_err().field, field);
        }
    }

    #[test]
    fn encodings_of_the_future_are_passed_over() {
        let request = ReadPiecesRequest {
            accept_encodings: vec![77, 2, 0],
            ..request()
        };
        let accepted = ReadPieces::try_from(request).unwrap().accepted;
        assert_eq!(accepted, [Encoding::Zstd]);
    }
}
