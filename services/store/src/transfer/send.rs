//! One answer to `ReadPieces`, part by part.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;
use zeroshare_chassis::process::chain;
use zeroshare_chassis::serve::PageBudget;
use zeroshare_content::ContentId;
use zeroshare_shelf::{Audience, PART_BYTES, PieceReader, ReadError, Recheck};
use zeroshare_wire::pb::store::v1::read_pieces_response::Part;
use zeroshare_wire::pb::store::v1::{ContentHead, PieceHeader, ReadPiecesResponse, StreamEncoding};

use super::Order;
use crate::answer::{Answer, Teller};
use crate::slots::Slot;
use crate::status;
use crate::store::{Source, Store};

/// What is sent to whom.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) store: Arc<Store>,
    pub(crate) content: ContentId,
    pub(crate) source: Source,
    pub(crate) orders: Vec<Order>,
    pub(crate) with_manifest: bool,
    pub(crate) recheck: Recheck,
    pub(crate) audience: Audience,
    /// What may be in memory for this peer; `None` outside the accept loop.
    pub(crate) pages: Option<PageBudget>,
}

type Parts = Teller<ReadPiecesResponse>;

impl Transfer {
    /// Starts sending; the slot is kept until the last byte was read.
    pub(crate) fn start(self, slot: Slot) -> Answer<ReadPiecesResponse> {
        let store = Arc::clone(&self.store);
        Answer::start(&store, "transfer", move |teller| {
            let _slot = slot;
            self.send(teller)
        })
    }

    fn send(&self, teller: &Parts) -> Result<(), Status> {
        let manifest = self.source.pieces().manifest().text();
        tell(
            teller,
            Part::Head(ContentHead {
                manifest_size_bytes: manifest.len() as u64,
                content_size_bytes: self.source.pieces().layout().content_size(),
                encoding: StreamEncoding::Raw.into(),
                file_name: Bytes::new(),
            }),
        )?;
        if self.with_manifest {
            for chunk in manifest.chunks(PART_BYTES) {
                let data = teller.hold(self.pages.as_ref(), Bytes::copy_from_slice(chunk))?;
                tell(teller, Part::ManifestData(data))?;
            }
        }
        let is_wanted = || teller.is_wanted();
        let mut reader = PieceReader::new(self.source.pieces(), self.recheck, &is_wanted);
        for order in &self.orders {
            match order {
                Order::Part { piece, range } => {
                    self.send_part(teller, &mut reader, *piece, range.clone())?;
                }
                Order::Pieces(pieces) => {
                    for piece in pieces.clone() {
                        let size = self.source.pieces().layout().piece_len(piece).unwrap_or(0);
                        self.send_part(teller, &mut reader, piece, 0..size)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn send_part(
        &self,
        teller: &Parts,
        reader: &mut PieceReader<'_>,
        piece: u32,
        range: Range<u64>,
    ) -> Result<(), Status> {
        tell(teller, Part::Header(self.header(piece, &range)?))?;
        let mut failure = None;
        let read = reader.read(piece, range, &mut |bytes| {
            let length = bytes.len();
            match teller
                .hold(self.pages.as_ref(), bytes)
                .and_then(|data| tell(teller, Part::Data(data)))
            {
                Ok(()) => {
                    if self.audience == Audience::Peers {
                        self.store.count_sent(length);
                    }
                    ControlFlow::Continue(())
                }
                Err(status) => {
                    failure = Some(status);
                    ControlFlow::Break(())
                }
            }
        });
        match (failure, read) {
            (Some(status), _) => Err(status),
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => Err(self.read_failed(piece, &error)),
        }
    }

    fn header(&self, piece: u32, range: &Range<u64>) -> Result<PieceHeader, Status> {
        let (list_digest, stated) = match &self.source {
            Source::Whole(source) => {
                let list_digest = source.list_digest(piece);
                (
                    list_digest.map_err(|error| status::index_status(&error))?,
                    None,
                )
            }
            Source::Part(offer) => (offer.list_digest(piece), offer.stated_digest(piece)),
        };
        Ok(PieceHeader {
            piece,
            offset_bytes: range.start,
            size_bytes: range.end - range.start,
            list_digest: list_digest
                .map(|digest| Bytes::copy_from_slice(&digest))
                .unwrap_or_default(),
            stated_digest: stated.unwrap_or_default(),
        })
    }

    /// Notes what the error says about the tree, and says it to the reader.
    fn read_failed(&self, piece: u32, error: &ReadError) -> Status {
        let why = chain(error);
        let shelf = &self.store.shelf;
        let noted = match error {
            ReadError::Changed { .. } => {
                tracing::warn!(content = %self.content, error = why, "tree changed, and is hashed again first");
                shelf.distrust(self.source.pieces())
            }
            ReadError::Corrupt { path } => shelf.quarantine(self.source.pieces(), path),
            ReadError::Io { .. } | ReadError::Index(_) => {
                tracing::warn!(content = %self.content, error = why, "cannot read tree");
                Ok(())
            }
            ReadError::NoSuchPiece { .. } | ReadError::Stopped => Ok(()),
        };
        if let Err(error) = noted {
            tracing::warn!(content = %self.content, error = chain(&error), "cannot note what happened to a tree");
        }
        status::read_status(&self.content, piece, error)
    }
}

fn tell(teller: &Parts, part: Part) -> Result<(), Status> {
    teller.tell(ReadPiecesResponse { part: Some(part) })
}
