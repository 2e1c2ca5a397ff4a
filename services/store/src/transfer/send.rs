//! One answer to `ReadPieces`, part by part.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;
use zeroshare_chassis::process::chain;
use zeroshare_chassis::serve::{DirectBody, PageBudget};
use zeroshare_content::ContentId;
use zeroshare_proof::Midstates;
use zeroshare_shelf::{Audience, PieceReader, ReadError, Recheck, Sink};
use zeroshare_wire::pb::store::v1::read_pieces_response::Part;
use zeroshare_wire::pb::store::v1::{ContentHead, PieceHeader, StreamEncoding};

use super::Order;
use super::encoding::Encoding;
use super::lines::OnLine;
use super::writer::{Field, PageWriter, Pages, Policy};
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
    /// Whether the reader takes zstd.
    pub(crate) takes_zstd: bool,
    /// The way to the peer; `None` for readers on this machine.
    pub(crate) line: Option<Arc<OnLine>>,
    /// What may be in memory for this peer; `None` outside the accept loop.
    pub(crate) pages: Option<PageBudget>,
}

/// Reads a piece to where it is wanted.
type Read<'r> = dyn FnMut(&mut dyn Sink) -> Result<(), ReadError> + 'r;

impl Transfer {
    /// Starts sending; the slot is kept until the last byte was read.
    pub(crate) fn start(self, slot: Slot) -> DirectBody {
        let store = Arc::clone(&self.store);
        DirectBody::new(Answer::start(&store, "transfer", move |teller| {
            let _slot = slot;
            self.send(teller)
        }))
    }

    fn send(&self, teller: &Teller<Bytes>) -> Result<(), Status> {
        let policy = (self.audience == Audience::Peers).then_some(Policy {
            throttle: &self.store.uploads,
            pause: &self.store.pause,
            line: self.line.as_ref(),
        });
        let pages = Pages {
            teller,
            pool: &self.store.pages,
            budget: self.pages.as_ref(),
            policy,
        };
        let mut writer = PageWriter::new(pages, self.expected_bytes());
        let sent = self.write(teller, &mut writer);
        // What was read before a failure is good.
        match sent {
            Ok(()) => writer.finish(),
            Err(status) => {
                drop(writer.finish());
                Err(status)
            }
        }
    }

    fn write(&self, teller: &Teller<Bytes>, writer: &mut PageWriter<'_>) -> Result<(), Status> {
        let pieces = self.source.pieces();
        let manifest = pieces.manifest_text();
        let mut left = self.expected_bytes();
        let mut encoding = self.encoding(left);
        writer.message(Part::Head(ContentHead {
            manifest_size_bytes: manifest.len() as u64,
            content_size_bytes: pieces.layout().content_size(),
            encoding: match encoding {
                Some(_) => StreamEncoding::Zstd.into(),
                None => StreamEncoding::Raw.into(),
            },
            file_name: pieces
                .file_name()
                .map(Bytes::copy_from_slice)
                .unwrap_or_default(),
        }))?;
        if self.with_manifest {
            writer.bytes(Field::Manifest, manifest)?;
        }
        let is_wanted = || teller.is_wanted();
        let mut reader = PieceReader::new(pieces, self.recheck, &is_wanted);
        let mut list = NamedList::default();
        for order in &self.orders {
            for (piece, range) in order.parts(pieces.layout()) {
                list.turn_to(self, piece)?;
                let length = range.end - range.start;
                let mut header = self.header(piece, &range, &list);
                header.set_encoding(self.turn(&mut encoding, left));
                writer.message(Part::Header(header))?;
                left = left.saturating_sub(length);
                let list = list.midstates.as_ref();
                let mut read = |sink: &mut dyn Sink| reader.read(piece, range.clone(), list, sink);
                match &mut encoding {
                    None => {
                        self.write_raw(writer, piece, &mut read)?;
                        if let Some(line) = &self.line {
                            line.passed(&self.content, length);
                        }
                    }
                    Some(encoding) => self.write_encoded((writer, encoding), piece, &mut read)?,
                }
                writer.close();
                if self.audience == Audience::Peers {
                    self.store.count_sent(length);
                }
            }
        }
        Ok(())
    }

    /// Compresses for a reader that takes it, if its line is slower than that and the answer large enough to gain.
    fn encoding(&self, left: u64) -> Option<Encoding<'_>> {
        const LEAST_BYTES: u64 = 64 * 1024;
        let line = self.line.as_ref().filter(|_| self.takes_zstd)?;
        if left < LEAST_BYTES {
            return None;
        }
        Encoding::new(line.compression(&self.content)?, &self.content)
    }

    /// Begins or ends compressing before a piece, and gives what its header is to say: a call may begin before its line
    /// is known to be slow.
    fn turn<'s>(&'s self, encoding: &mut Option<Encoding<'s>>, left: u64) -> StreamEncoding {
        match encoding {
            None => {
                *encoding = self.encoding(left);
                match encoding {
                    Some(_) => StreamEncoding::Zstd,
                    None => StreamEncoding::Unspecified,
                }
            }
            Some(running) if running.is_vain() => {
                *encoding = None;
                StreamEncoding::Raw
            }
            Some(_) => StreamEncoding::Unspecified,
        }
    }

    fn write_raw(
        &self,
        writer: &mut PageWriter<'_>,
        piece: u32,
        read: &mut Read<'_>,
    ) -> Result<(), Status> {
        read(writer).map_err(|error| {
            let failure = writer.take_failure();
            failure.unwrap_or_else(|| self.read_failed(piece, &error))
        })
    }

    fn write_encoded(
        &self,
        (writer, encoding): (&mut PageWriter<'_>, &mut Encoding<'_>),
        piece: u32,
        read: &mut Read<'_>,
    ) -> Result<(), Status> {
        let mut sink = encoding.piece(writer);
        match read(&mut sink) {
            Ok(()) => sink.finish(),
            Err(error) => {
                let failure = sink.take_failure();
                Err(failure.unwrap_or_else(|| self.read_failed(piece, &error)))
            }
        }
    }

    fn header(&self, piece: u32, range: &Range<u64>, list: &NamedList) -> PieceHeader {
        let stated = match &self.source {
            Source::Whole(_) => None,
            Source::Part(offer) => offer.stated_digest(piece),
        };
        PieceHeader {
            piece,
            offset_bytes: range.start,
            size_bytes: range.end - range.start,
            list_digest: list
                .digest
                .map(|digest| Bytes::copy_from_slice(&digest))
                .unwrap_or_default(),
            stated_digest: stated.unwrap_or_default(),
            ..PieceHeader::default()
        }
    }

    /// About how much there is to send, headers included.
    fn expected_bytes(&self) -> u64 {
        /// A header with its lists, and the prefixes of its data.
        const PIECE_OVERHEAD: u64 = 128;
        let layout = self.source.pieces().layout();
        let manifest = if self.with_manifest {
            self.source.pieces().manifest_text().len() as u64
        } else {
            0
        };
        let pieces = self.orders.iter().flat_map(|order| order.parts(layout));
        pieces
            .map(|(_, range)| range.end - range.start + PIECE_OVERHEAD)
            .sum::<u64>()
            + manifest
            + PIECE_OVERHEAD
    }

    /// Notes what the error says about the tree, and says it to the reader.
    fn read_failed(&self, piece: u32, error: &ReadError) -> Status {
        let why = chain(error);
        let shelf = &self.store.shelf;
        let noted = match (error, &self.source) {
            (ReadError::Corrupt { .. }, Source::Part(offer)) => {
                tracing::warn!(content = %self.content, piece, error = why, "a piece of what is being fetched went bad, and is offered no more");
                offer.withdraw(piece);
                Ok(())
            }
            (ReadError::Changed { .. }, _) => {
                tracing::warn!(content = %self.content, error = why, "tree changed, and is hashed again first");
                shelf.distrust(self.source.pieces())
            }
            (ReadError::Corrupt { path }, Source::Whole(_)) => {
                shelf.quarantine(self.source.pieces(), path)
            }
            (ReadError::Io { .. } | ReadError::Index(_), _) => {
                tracing::warn!(content = %self.content, error = why, "cannot read content");
                Ok(())
            }
            (ReadError::NoSuchPiece { .. } | ReadError::Stopped, _) => Ok(()),
        };
        if let Err(error) = noted {
            tracing::warn!(content = %self.content, error = chain(&error), "cannot note what happened to content");
        }
        status::read_status(&self.content, piece, error)
    }
}

/// The midstates by which slices of one file ask to be judged: read once, so that they are rechecked by what they name.
#[derive(Debug, Default)]
struct NamedList {
    line: Option<u32>,
    digest: Option<[u8; 32]>,
    /// For what is still being fetched: the list to recheck by.
    midstates: Option<Midstates>,
}

impl NamedList {
    fn turn_to(&mut self, transfer: &Transfer, piece: u32) -> Result<(), Status> {
        let line = transfer.source.pieces().slice_line(piece);
        if line == self.line {
            return Ok(());
        }
        *self = Self {
            line,
            ..Self::default()
        };
        let Some(line) = line else { return Ok(()) };
        match &transfer.source {
            Source::Whole(source) => {
                self.digest = source
                    .list_digest(line)
                    .map_err(|error| status::index_status(&error))?;
            }
            Source::Part(offer) => {
                self.midstates = offer.whole_list(line);
                self.digest = self.midstates.as_ref().map(Midstates::list_digest);
            }
        }
        Ok(())
    }
}
