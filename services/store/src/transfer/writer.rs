//! Puts an answer together, page by page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use tonic::Status;
use zeroshare_chassis::rate::Throttle;
use zeroshare_chassis::serve::PageBudget;
use zeroshare_shelf::Sink;
use zeroshare_wire::pb::store::v1::ReadPiecesResponse;
use zeroshare_wire::pb::store::v1::read_pieces_response::Part;

use super::lines::{OnLine, UnderWay};
use super::pages::{PAGE_BYTES, Page, PagePool, SLOW_PAGE_BYTES};
use crate::answer::Teller;
use crate::pause::Pause;
use crate::status;

/// gRPC's prefix: whether the message is compressed, and its length in four bytes.
const PREFIX_BYTES: usize = 5;

/// A prefix, the field's tag, and its length as a varint of four bytes: every run of bytes in a page is shorter.
const DATA_PREFIX_BYTES: usize = PREFIX_BYTES + 1 + VARINT_BYTES;
const VARINT_BYTES: usize = 4;

/// A line that takes longer for a page moves less than 100 MB/s.
const SLOW: Duration = Duration::from_millis(10);

/// At the end of a page no message of data begins that has less room, if it has more to say.
const LEAST_DATA_BYTES: usize = 8 * 1024;

/// A field of `ReadPiecesResponse` that is a run of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Manifest = 2,
    Data = 4,
}

/// Where pages come from, and where they go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages<'a> {
    pub(super) teller: &'a Teller<Bytes>,
    pub(super) pool: &'a Arc<PagePool>,
    /// What may be in memory for this reader; `None` outside the accept loop.
    pub(super) budget: Option<&'a PageBudget>,
    /// What holds for peers, and not for readers on this machine.
    pub(super) policy: Option<Policy<'a>>,
}

/// What a node's owner lets peers have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy<'a> {
    /// The limit of all that is sent.
    pub(super) throttle: &'a Throttle,
    pub(super) pause: &'a Pause,
    /// Where it is noted how fast it went.
    pub(super) line: Option<&'a Arc<OnLine>>,
}

/// Writes messages of `ReadPieces` as gRPC frames them, so that files are read to where they are sent from.
#[derive(Debug)]
pub(super) struct PageWriter<'a> {
    pages: Pages<'a>,
    page: Option<Page>,
    /// About how many bytes are still to come, so that no page is larger than needed.
    expected: u64,
    /// How long the reader took to take the last page.
    handed_over_in: Duration,
    /// The message of data that is being filled.
    open: Option<Open>,
    /// Why no more is wanted.
    failure: Option<Status>,
}

/// A message of data.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Where it begins in its page.
    start: usize,
    field: Field,
}

impl<'a> PageWriter<'a> {
    /// Starts with an empty page; `expected` says about how many bytes will come.
    pub(super) fn new(pages: Pages<'a>, expected: u64) -> Self {
        Self {
            pages,
            page: None,
            expected,
            handed_over_in: Duration::ZERO,
            open: None,
            failure: None,
        }
    }

    /// Writes a message that is no run of bytes.
    pub(super) fn message(&mut self, part: Part) -> Result<(), Status> {
        self.close();
        let message = ReadPiecesResponse { part: Some(part) };
        let length = message.encoded_len();
        let page = self.page_with(PREFIX_BYTES + length)?;
        page.put(&prefix(length));
        let mut room = page.room();
        message
            .encode(&mut room)
            .map_err(|_| Status::internal("a message is longer than a page"))?;
        page.fill(length);
        Ok(())
    }

    /// Writes bytes that are in memory already.
    pub(super) fn bytes(&mut self, field: Field, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            let room = self.data_room(field, bytes.len() as u64)?;
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            if let Some(room) = room.get_mut(..now.len()) {
                room.copy_from_slice(now);
            }
            self.fill(now.len());
            bytes = later;
        }
        Ok(())
    }

    /// Ends the run of bytes that is being written: what comes next is another message.
    pub(super) fn close(&mut self) {
        let (Some(open), Some(page)) = (self.open.take(), &mut self.page) else {
            return;
        };
        let length = page.filled() - open.start - DATA_PREFIX_BYTES;
        if length == 0 {
            page.cut(open.start);
            return;
        }
        let [_, a, b, c, d] = prefix(1 + VARINT_BYTES + length);
        page.patch(open.start, &[0, a, b, c, d, tag(open.field)]);
        page.patch(open.start + PREFIX_BYTES + 1, &long_varint(length));
    }

    /// Hands over the last page.
    pub(super) fn finish(mut self) -> Result<(), Status> {
        self.close();
        self.flush()
    }

    /// Why there was no more room.
    pub(super) fn take_failure(&mut self) -> Option<Status> {
        self.failure.take()
    }

    /// Room for the next bytes of a run; what was given before is [filled](Self::fill).
    pub(super) fn data_room(&mut self, field: Field, wanted: u64) -> Result<&mut [u8], Status> {
        let is_full = self.page.as_ref().is_none_or(|page| page.left() == 0);
        if is_full || self.open.is_none_or(|open| open.field != field) {
            self.close();
            let least = usize::try_from(wanted)
                .map_or(LEAST_DATA_BYTES, |wanted| wanted.clamp(1, LEAST_DATA_BYTES));
            // A page may be smaller than that, when little is expected or the limit is low.
            let page = self.page_with(DATA_PREFIX_BYTES + least)?;
            let start = page.filled();
            page.put(&[0; DATA_PREFIX_BYTES]);
            self.open = Some(Open { start, field });
        }
        let page = self.page.as_mut().map(Page::room).unwrap_or_default();
        let length = usize::try_from(wanted).map_or(page.len(), |wanted| wanted.min(page.len()));
        page.get_mut(..length)
            .ok_or_else(|| Status::internal("a page without room"))
    }

    pub(super) fn fill(&mut self, bytes: usize) {
        if let Some(page) = &mut self.page {
            page.fill(bytes);
        }
    }

    /// The page, or a new one, in which so many bytes fit; but never waits for a page larger than pages are.
    fn page_with(&mut self, bytes: usize) -> Result<&mut Page, Status> {
        if self.page.as_ref().is_some_and(|page| page.left() < bytes) {
            self.flush()?;
        }
        let page = match self.page.take() {
            Some(page) => page,
            None => self.new_page(bytes)?,
        };
        Ok(self.page.insert(page))
    }

    fn new_page(&self, least: usize) -> Result<Page, Status> {
        let most = self
            .pages
            .policy
            .map_or(PAGE_BYTES, |policy| policy.throttle.portion(PAGE_BYTES));
        let most = if self.handed_over_in < SLOW {
            most
        } else {
            most.min(SLOW_PAGE_BYTES)
        };
        let expected = usize::try_from(self.expected).unwrap_or(PAGE_BYTES);
        let size = expected.min(most).max(least).min(PAGE_BYTES);
        let claim = match self.pages.budget {
            Some(budget) => Some(self.pages.teller.within_deadline(budget.claim(size))?),
            None => None,
        };
        Ok(self.pages.pool.page(size, claim))
    }

    /// Hands over the page, as soon as the limit allows it.
    pub(super) fn flush(&mut self) -> Result<(), Status> {
        let Some(page) = self.page.take() else {
            return Ok(());
        };
        let bytes = page.filled() as u64;
        if bytes == 0 {
            return Ok(());
        }
        self.expected = self.expected.saturating_sub(bytes);
        if let Some(Policy {
            throttle, pause, ..
        }) = self.pages.policy
        {
            self.pages.teller.pause(throttle.take(bytes))?;
            if let Some(left) = pause.left() {
                return Err(status::paused(left));
            }
        }
        let began = Instant::now();
        let page = match self.pages.policy.and_then(|policy| policy.line) {
            Some(line) => Bytes::from_owner(UnderWay::new(page, bytes, Arc::clone(line))),
            None => Bytes::from_owner(page),
        };
        let told = self.pages.teller.tell(page);
        self.handed_over_in = began.elapsed();
        told
    }
}

/// The data of pieces.
impl Sink for PageWriter<'_> {
    fn room(&mut self, wanted: u64) -> Option<&mut [u8]> {
        // Twice, for the borrow checker: room that is there is given again.
        if let Err(status) = self.data_room(Field::Data, wanted) {
            self.failure = Some(status);
            return None;
        }
        self.data_room(Field::Data, wanted).ok()
    }

    fn filled(&mut self, bytes: usize) {
        self.fill(bytes);
    }
}

/// Says that an uncompressed message of this length follows.
fn prefix(length: usize) -> [u8; PREFIX_BYTES] {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let [a, b, c, d] = length.to_be_bytes();
    [0, a, b, c, d]
}

/// A tag of protobuf: the field's number, and that it is a run of bytes.
fn tag(field: Field) -> u8 {
    const LENGTH_DELIMITED: u8 = 2;
    (field as u8) << 3 | LENGTH_DELIMITED
}

/// A varint of four bytes, however small the number: its place is kept before the number is known.
fn long_varint(number: usize) -> [u8; VARINT_BYTES] {
    let group = |shift: u32| u8::try_from(number >> shift & 0x7f).unwrap_or(0);
    [
        group(0) | 0x80,
        group(7) | 0x80,
        group(14) | 0x80,
        group(21),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_varint_is_read_as_any_other() {
        for number in [0, 1, 127, 128, 300, 65_536, PAGE_BYTES] {
            let written = long_varint(number);
            let mut rest = written.as_slice();
            let read = prost::encoding::decode_varint(&mut rest).unwrap();
            assert_eq!((read, rest.len()), (number as u64, 0));
        }
    }

    #[test]
    fn tags_are_those_of_the_message() {
        for (field, part) in [
            (
                Field::Manifest,
                Part::ManifestData(Bytes::from_static(b"x")),
            ),
            (Field::Data, Part::Data(Bytes::from_static(b"x"))),
        ] {
            let message = ReadPiecesResponse { part: Some(part) };
            assert_eq!(message.encode_to_vec(), [tag(field), 1, b'x']);
        }
    }
}
