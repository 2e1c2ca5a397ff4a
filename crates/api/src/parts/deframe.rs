//! Finds messages and their parts in the bytes of an answer.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message as _;
use zeroshare_wire::pb::store::v1::ReadPiecesResponse;
use zeroshare_wire::pb::store::v1::read_pieces_response::Part as WirePart;

use super::{PREFIX_BYTES, Part};
use crate::clients::MAX_PEER_MESSAGE_BYTES;

/// Fields 2 and 4 of `ReadPiecesResponse`, whose values have a length before them.
const MANIFEST_DATA_TAG: u8 = (2 << 3) | 2;
const DATA_TAG: u8 = (4 << 3) | 2;

/// A message is at most 2 MiB: its length has at most so many bytes of 7 bits.
const MAX_LENGTH_BYTES: usize = 4;

/// What came is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// Takes apart what comes; never keeps more than one message that is not passed on as it comes.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    state: State,
    /// The start of a prefix, or of a message.
    kept: BytesMut,
}

#[derive(Debug, Default)]
enum State {
    /// Before a message.
    #[default]
    Prefix,
    /// In the tag and length that a message begins with; so many bytes of it are left.
    Start { left: usize },
    /// In the bytes that a message consists of but for its start.
    Data { left: usize, kind: Kind },
    /// In a message that is decoded when it is whole; so many bytes of it are left.
    Whole { left: usize },
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Manifest,
    Piece,
}

impl Deframer {
    pub(super) fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Prefix) && self.kept.is_empty()
    }

    /// Gives the next part; `None` when all bytes are used up.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Part>, Broken> {
        while !bytes.is_empty() {
            match self.state {
                State::Prefix => self.read_prefix(bytes)?,
                State::Start { left } => self.read_start(left, bytes)?,
                State::Data { left, kind } => {
                    let data = bytes.split_to(left.min(bytes.len()));
                    self.state = match left - data.len() {
                        0 => State::Prefix,
                        left => State::Data { left, kind },
                    };
                    return Ok(Some(match kind {
                        Kind::Manifest => Part::ManifestData(data),
                        Kind::Piece => Part::Data(data),
                    }));
                }
                State::Whole { left } => {
                    if let Some(part) = self.read_whole(left, bytes)? {
                        return Ok(Some(part));
                    }
                }
            }
        }
        Ok(None)
    }

    fn read_prefix(&mut self, bytes: &mut Bytes) -> Result<(), Broken> {
        let missing = PREFIX_BYTES - self.kept.len();
        self.kept
            .extend_from_slice(&bytes.split_to(missing.min(bytes.len())));
        if self.kept.len() < PREFIX_BYTES {
            return Ok(());
        }
        let is_compressed = self.kept.get_u8() != 0;
        let left = self.kept.get_u32() as usize;
        self.kept.clear();
        if is_compressed || left > MAX_PEER_MESSAGE_BYTES {
            return Err(Broken);
        }
        if left > 0 {
            self.state = State::Start { left };
        }
        Ok(())
    }

    /// Reads the first bytes one by one: they say whether the rest can be passed on as it comes.
    fn read_start(&mut self, left: usize, bytes: &mut Bytes) -> Result<(), Broken> {
        let byte = bytes.get_u8();
        self.kept.extend_from_slice(&[byte]);
        let left = left - 1;
        self.state = State::Start { left };
        let kind = match self.kept.first() {
            Some(&MANIFEST_DATA_TAG) => Kind::Manifest,
            Some(&DATA_TAG) => Kind::Piece,
            Some(_) | None => return self.go_whole(left),
        };
        let Some(length) = self.kept.get(1..) else {
            return self.go_whole(left);
        };
        let is_over = length.last().is_some_and(|byte| byte & 0x80 == 0);
        if !is_over {
            return if left == 0 || length.len() >= MAX_LENGTH_BYTES {
                Err(Broken)
            } else {
                Ok(())
            };
        }
        let length = length
            .iter()
            .rev()
            .fold(0_usize, |sum, byte| (sum << 7) | usize::from(byte & 0x7f));
        if length != left {
            // Further fields follow, or it is wrong: decoding tells.
            return self.go_whole(left);
        }
        self.kept.clear();
        self.state = match left {
            0 => State::Prefix,
            left => State::Data { left, kind },
        };
        Ok(())
    }

    fn go_whole(&mut self, left: usize) -> Result<(), Broken> {
        self.state = State::Whole { left };
        if left == 0 {
            // A message of one byte has no value to its tag.
            return Err(Broken);
        }
        Ok(())
    }

    fn read_whole(&mut self, left: usize, bytes: &mut Bytes) -> Result<Option<Part>, Broken> {
        let taken = bytes.split_to(left.min(bytes.len()));
        self.kept.extend_from_slice(&taken);
        let left = left - taken.len();
        if left > 0 {
            self.state = State::Whole { left };
            return Ok(None);
        }
        self.state = State::Prefix;
        let message = std::mem::take(&mut self.kept).freeze();
        let message = ReadPiecesResponse::decode(message).map_err(|_| Broken)?;
        Ok(message.part.map(|part| match part {
            WirePart::Head(head) => Part::Head(head),
            WirePart::ManifestData(data) => Part::ManifestData(data),
            WirePart::Header(header) => Part::Header(header),
            WirePart::Data(data) => Part::Data(data),
        }))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;
    use zeroshare_wire::pb::store::v1::{ContentHead, PieceHeader};

    use super::*;

    #[test]
    fn what_was_sent_is_read_however_it_is_cut() {
        let sent = sent();
        for cut in [1, 2, 3, 7, 100, 1000, usize::MAX] {
            let parts = read(&frames(&sent), cut).unwrap();
            assert_eq!(joined(parts), joined(sent.clone()), "{cut}");
        }
    }

    #[test]
    fn data_is_passed_on_as_it_comes_and_not_copied() {
        let mut bytes = frames(&[Part::Data(Bytes::from(vec![7; 1000]))]);
        let whole = bytes.clone();
        let mut deframer = Deframer::default();
        let Some(Part::Data(data)) = deframer.next(&mut bytes).unwrap() else {
            panic!("it is data");
        };
        assert_eq!(data.as_ptr(), whole[whole.len() - 1000..].as_ptr());
        assert!(deframer.is_between_messages());
        let mut half = whole.slice(..500);
        assert!(matches!(deframer.next(&mut half), Ok(Some(Part::Data(_)))));
        assert!(!deframer.is_between_messages());
    }

    #[test]
    fn messages_without_a_part_or_with_fields_of_later_versions_are_read() {
        let mut with_more = BytesMut::new();
        with_more.put_slice(&[DATA_TAG, 2, b'h', b'i', (9 << 3) | 2, 1, 0]);
        let messages = [&[][..], &with_more, &[(9 << 3) | 2, 1, 0][..]];
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|message| framed(message))
            .collect();
        for cut in [1, 4, usize::MAX] {
            let parts = read(&Bytes::from(bytes.clone()), cut).unwrap();
            assert_eq!(parts, [Part::Data(Bytes::from_static(b"hi"))]);
        }
    }

    #[test]
    fn what_is_no_answer_is_refused_before_it_takes_memory() {
        let too_long = u32::try_from(MAX_PEER_MESSAGE_BYTES + 1).unwrap();
        let mut long = vec![0];
        long.put_u32(too_long);
        let cases = [
            long,
            vec![1, 0, 0, 0, 1, 0],
            framed(&[DATA_TAG]),
            framed(&[DATA_TAG, 0x80]),
            framed(&[DATA_TAG, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            framed(&[DATA_TAG, 5, 1]),
            framed(&[0xff, 0xff, 0xff]),
        ];
        for case in cases {
            let read = read(&Bytes::from(case.clone()), 1);
            assert_eq!(read, Err(Broken), "{case:?}");
        }
    }

    fn sent() -> Vec<Part> {
        let data = |len: usize| Bytes::from((0..=255).cycle().take(len).collect::<Vec<u8>>());
        vec![
            Part::Head(ContentHead {
                manifest_size_bytes: 700,
                content_size_bytes: 1 << 40,
                encoding: 1,
                file_name: Bytes::from_static(b"name"),
            }),
            Part::ManifestData(data(700)),
            Part::Header(PieceHeader {
                piece: 7,
                size_bytes: 100_000,
                ..PieceHeader::default()
            }),
            Part::Data(data(1)),
            Part::Data(data(127)),
            Part::Data(data(128)),
            Part::Data(data(99_744)),
        ]
    }

    fn frames(parts: &[Part]) -> Bytes {
        let message = |part: &Part| {
            let part = match part.clone() {
                Part::Head(head) => WirePart::Head(head),
                Part::ManifestData(data) => WirePart::ManifestData(data),
                Part::Header(header) => WirePart::Header(header),
                Part::Data(data) => WirePart::Data(data),
            };
            framed(&ReadPiecesResponse { part: Some(part) }.encode_to_vec())
        };
        parts.iter().flat_map(message).collect::<Vec<u8>>().into()
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut framed = vec![0];
        framed.put_u32(u32::try_from(message.len()).unwrap());
        framed.extend_from_slice(message);
        framed
    }

    fn read(bytes: &Bytes, cut: usize) -> Result<Vec<Part>, Broken> {
        let mut deframer = Deframer::default();
        let mut parts = Vec::new();
        for chunk in bytes.chunks(cut.min(bytes.len()).max(1)) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(part) = deframer.next(&mut chunk)? {
                parts.push(part);
            }
        }
        assert!(deframer.is_between_messages());
        Ok(parts)
    }

    /// Neighbours of one kind as one.
    fn joined(parts: Vec<Part>) -> Vec<Part> {
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            match (joined.last_mut(), part) {
                (Some(Part::Data(before)), Part::Data(data))
                | (Some(Part::ManifestData(before)), Part::ManifestData(data)) => {
                    *before = [before.as_ref(), &data].concat().into();
                }
                (_, part) => joined.push(part),
            }
        }
        joined
    }
}
