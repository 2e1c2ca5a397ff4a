//! The stream of pieces, and all that can go wrong on its way.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each step looks for the few faults that concern it"
)]

use std::sync::Arc;

use bytes::Bytes;
use tokio::{sync::mpsc, time::sleep};
use tonic::Status;
use zeroshare_wire::pb::store::v1::{
    ContentHead, PieceHeader, ReadPiecesResponse, StreamEncoding,
    read_pieces_response::Part as Sent,
};

use super::{
    Fault, HeaderLie, Shared, Which, fault::At, lock, record::Sent as SentPart, wanted::Part,
};
use crate::{
    Offered,
    offered::{index, lists::forged},
};

/// How large the manifests are that never end: more than anybody should ever take.
const ENDLESS_BYTES: u64 = 10 << 30;

const CHUNK_BYTES: usize = 1 << 20;

const HUGE_BYTES: usize = 8 << 20;

pub(super) type Outgoing<T> = mpsc::Sender<Result<T, Status>>;

/// The stream is over: the caller left, or a fault ended it.
#[derive(Debug)]
pub(super) struct Over;

/// One call that is being answered.
pub(super) struct Sending<T> {
    pub(super) shared: Arc<Shared>,
    pub(super) faults: Vec<Fault>,
    pub(super) call: usize,
    pub(super) to: Outgoing<T>,
}

impl<T> Sending<T> {
    /// Sends a manifest, each chunk made into a message.
    pub(super) async fn manifest(
        &self,
        offered: &Offered,
        message: impl Fn(Bytes) -> T,
    ) -> Result<(), Over> {
        if self.has(|fault| matches!(fault, Fault::EndlessManifest { .. })) {
            let chunk = Bytes::from(vec![0; CHUNK_BYTES]);
            for _ in 0..ENDLESS_BYTES / CHUNK_BYTES as u64 {
                self.manifest_chunk(chunk.clone(), &message).await?;
            }
            return Ok(());
        }
        let text = self.manifest_text(offered);
        for start in (0..text.len()).step_by(CHUNK_BYTES) {
            let end = text.len().min(start + CHUNK_BYTES);
            self.manifest_chunk(text.slice(start..end), &message)
                .await?;
        }
        Ok(())
    }

    pub(super) fn finished(&self) {
        self.record(|call| call.finished = true);
    }

    /// Waits until the caller leaves or the peer ends.
    pub(super) async fn stall(&self) -> Result<(), Over> {
        tokio::select! {
            () = self.to.closed() => Err(Over),
            () = self.shared.lifetime.stopping() => Err(Over),
        }
    }

    pub(super) fn has(&self, fault: impl Fn(&Fault) -> bool) -> bool {
        self.faults.iter().any(fault)
    }

    fn manifest_text(&self, offered: &Offered) -> Bytes {
        let mut text = offered.manifest_text().clone();
        for fault in &self.faults {
            match fault {
                Fault::ManifestInstead(other) => text = other.clone(),
                Fault::WrongManifest => text = flipped(&text),
                _ => {}
            }
        }
        text
    }

    async fn manifest_chunk(
        &self,
        chunk: Bytes,
        message: &impl Fn(Bytes) -> T,
    ) -> Result<(), Over> {
        let bytes = chunk.len() as u64;
        self.send(message(chunk)).await?;
        self.record(|call| call.manifest_bytes += bytes);
        Ok(())
    }

    async fn send(&self, message: T) -> Result<(), Over> {
        self.to.send(Ok(message)).await.map_err(|_| Over)
    }

    fn record(&self, change: impl FnOnce(&mut super::Call)) {
        change(&mut lock(&self.shared.record).calls[self.call]);
    }
}

impl Sending<ReadPiecesResponse> {
    /// Answers a call for pieces.
    pub(super) async fn pieces(
        &self,
        offered: &Offered,
        with_manifest: bool,
        parts: &[Part],
    ) -> Result<(), Over> {
        if self.has(|fault| matches!(fault, Fault::StallBeforeHead)) {
            self.stall().await?;
        }
        if !self.has(|fault| matches!(fault, Fault::NoHead)) {
            self.send(response(Sent::Head(self.head(offered)))).await?;
        }
        if with_manifest {
            self.manifest(offered, |bytes| response(Sent::ManifestData(bytes)))
                .await?;
        }
        for (nth, part) in parts.iter().enumerate() {
            let at = At {
                number: part.piece,
                nth,
                is_slice: offered.is_slice(part.piece),
            };
            self.piece(part, at).await?;
        }
        self.finished();
        Ok(())
    }

    fn head(&self, offered: &Offered) -> ContentHead {
        let announced = |fault: &Fault| matches!(fault, Fault::EndlessManifest { announced: true });
        let lie = u64::from(self.has(|fault| matches!(fault, Fault::WrongHead)));
        ContentHead {
            manifest_size_bytes: if self.has(announced) {
                ENDLESS_BYTES
            } else {
                offered.manifest_text().len() as u64
            },
            content_size_bytes: offered.content_size() << lie,
            encoding: StreamEncoding::Raw.into(),
            file_name: Bytes::new(),
        }
    }

    async fn piece(&self, part: &Part, at: At) -> Result<(), Over> {
        let mut part = part.clone();
        let mut times = 1;
        for fault in &self.faults {
            match fault {
                Fault::WrongBytes(which) | Fault::BadDisk(which) if which.concerns(at) => {
                    part.bytes = flipped(&part.bytes);
                }
                Fault::ConsistentFake if part.starts_file => {
                    part.bytes = forged(&part.bytes);
                }
                Fault::Twice(which) if which.concerns(at) => times = 2,
                Fault::Slow(which, time) if which.concerns(at) => sleep(*time).await,
                Fault::LeaveBefore(which) if which.concerns(at) => self.shared.lifetime.stop(),
                _ => {}
            }
        }
        for _ in 0..times {
            self.send(response(Sent::Header(self.header(&part, at))))
                .await?;
            self.data(&part, at).await?;
        }
        Ok(())
    }

    fn header(&self, part: &Part, at: At) -> PieceHeader {
        let mut header = PieceHeader {
            piece: part.piece,
            offset_bytes: part.offset,
            size_bytes: part.bytes.len() as u64,
            list_digest: part.list_digest.clone(),
            ..PieceHeader::default()
        };
        for fault in &self.faults {
            let Fault::WrongHeader(which, lie) = fault else {
                continue;
            };
            if !which.concerns(at) {
                continue;
            }
            match lie {
                HeaderLie::NextPiece => header.piece += 1,
                HeaderLie::NoPiece => header.piece = u32::MAX,
                HeaderLie::Offset => header.offset_bytes += 1,
                HeaderLie::Shorter => header.size_bytes -= 1,
                HeaderLie::Huge => header.size_bytes = u64::MAX,
            }
        }
        header
    }

    async fn data(&self, part: &Part, at: At) -> Result<(), Over> {
        let hits = |pick: fn(&Fault) -> Option<Which>| {
            self.has(|fault| pick(fault).is_some_and(|which| which.concerns(at)))
        };
        if hits(Fault::breaks_off) {
            let half = part.bytes.slice(..part.bytes.len() / 2);
            self.chunks(&half, CHUNK_BYTES).await?;
            return self.break_off(at).await;
        }
        if hits(Fault::never_ends) {
            let chunk = Bytes::from(vec![0; CHUNK_BYTES]);
            loop {
                self.send(response(Sent::Data(chunk.clone()))).await?;
            }
        }
        if hits(Fault::sends_huge_messages) {
            let huge = Bytes::from(vec![0; HUGE_BYTES]);
            self.send(response(Sent::Data(huge))).await?;
        }
        self.chunks(&part.bytes, CHUNK_BYTES).await?;
        if hits(Fault::sends_one_byte_more) {
            self.send(response(Sent::Data(Bytes::from_static(b"!"))))
                .await?;
        }
        let sent = SentPart {
            piece: part.piece,
            offset: part.offset,
            bytes: part.bytes.len() as u64,
        };
        self.record(|call| call.sent.push(sent));
        Ok(())
    }

    async fn break_off(&self, at: At) -> Result<(), Over> {
        for fault in &self.faults {
            match fault {
                Fault::StallInPiece(which) if which.concerns(at) => self.stall().await?,
                Fault::CutInPiece(which) if which.concerns(at) => self.shared.cut(),
                Fault::FailInPiece(which) if which.concerns(at) => {
                    let failed = Status::internal("the peer of a test failed as it was told to");
                    let _left_already = self.to.send(Err(failed)).await;
                }
                _ => {}
            }
        }
        Err(Over)
    }

    async fn chunks(&self, bytes: &Bytes, size: usize) -> Result<(), Over> {
        for start in (0..bytes.len()).step_by(size) {
            let chunk = bytes.slice(start..bytes.len().min(start + size));
            self.send(response(Sent::Data(chunk))).await?;
        }
        Ok(())
    }
}

impl Fault {
    fn breaks_off(&self) -> Option<Which> {
        match self {
            Self::StallInPiece(which)
            | Self::EndInPiece(which)
            | Self::FailInPiece(which)
            | Self::CutInPiece(which) => Some(*which),
            _ => None,
        }
    }

    fn never_ends(&self) -> Option<Which> {
        match self {
            Self::EndlessPiece(which) => Some(*which),
            _ => None,
        }
    }

    fn sends_huge_messages(&self) -> Option<Which> {
        match self {
            Self::HugeMessages(which) => Some(*which),
            _ => None,
        }
    }

    fn sends_one_byte_more(&self) -> Option<Which> {
        match self {
            Self::OneByteMore(which) => Some(*which),
            _ => None,
        }
    }
}

fn response(part: Sent) -> ReadPiecesResponse {
    ReadPiecesResponse { part: Some(part) }
}

/// The same bytes, one of them changed; the middle one, where a checksum of ends would not look.
fn flipped(bytes: &Bytes) -> Bytes {
    let mut changed = bytes.to_vec();
    if let Some(byte) = changed.get_mut(index(bytes.len() / 2)) {
        *byte ^= 0x55;
    }
    changed.into()
}
