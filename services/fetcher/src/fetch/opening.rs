//! The first call to a provider: a manifest or the size of a blob, and all of what is small along with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tracing::{Instrument as _, debug, info_span};
use zeroshare_content::{
    BlobId, ContentId, Hasher, Layout, MAX_MANIFEST_BYTES, Manifest, Name, Piece, TreeId,
};
use zeroshare_transfer::{CallEnd, Pace, PaceRule};
use zeroshare_wire::pb::store::v1::{ContentHead, PieceHeader, ReadPiecesRequest};

use super::call::{end_of_status, next_part, open_parts};
use super::failure::FetchFailure;
use super::sizing::prove_size;
use crate::peers::{Candidate, Peer};
use crate::shared::Shared;
use crate::spool::{Spool, SpoolError};
use zeroshare_api::parts::{Part, PartStream};

/// A tree of at most so many bytes comes with its manifest, in one round trip.
const EARLY_BYTES: u64 = 1024 * 1024;

/// Times that a busy provider is asked again for a manifest.
const MAX_BUSY: u32 = 20;

/// Bounds of a busy provider's wish when to be asked again.
const BUSY_REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What a provider is asked for first.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) ids: Vec<ContentId>,
    /// Whether a small tree's pieces are wanted too.
    pub(crate) with_pieces: bool,
    /// Where a large manifest is kept meanwhile.
    pub(crate) spool_dir: PathBuf,
}

/// What is to be fetched, all of it proven but for its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) content: ContentId,
    /// What it consists of; of a blob, the tree that consists of it alone.
    pub(crate) manifest: Manifest,
    pub(crate) layout: Layout,
    /// What somebody calls a blob: not checked but for being one name.
    pub(crate) file_name: Option<Name>,
}

impl Described {
    /// A tree.
    pub(crate) fn of_tree(manifest: Manifest, layout: Layout) -> Self {
        Self {
            content: manifest.id().into(),
            manifest,
            layout,
            file_name: None,
        }
    }

    /// A blob of this size; `None` if it cannot have that.
    pub(crate) fn of_blob(blob: BlobId, size: u64, file_name: Option<Name>) -> Option<Self> {
        let layout = Layout::of_blob(blob, size).ok()?;
        let own = Name::new(*b"blob").ok()?;
        let manifest = Manifest::of_one_file(&own, blob, size, 0).ok()?;
        Some(Self {
            content: blob.into(),
            manifest,
            layout,
            file_name,
        })
    }

    /// How many bytes it comes to on disk.
    pub(crate) fn total_size(&self) -> u64 {
        self.manifest.total_size()
    }
}

/// A provider that described it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) peer: Peer,
    pub(crate) described: Described,
    /// Whole pieces that came along.
    pub(crate) early: Vec<EarlyPiece>,
    /// How the call ended, once the manifest was there.
    pub(crate) end: CallEnd,
}

/// A whole piece, not proven yet.
#[derive(Debug)]
pub(crate) struct EarlyPiece {
    pub(crate) piece: u32,
    pub(crate) bytes: Bytes,
}

/// Why a provider was of no use.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It could not be reached.
    Unreachable { candidate: Candidate, why: String },
    /// It was reached, and gave no manifest.
    Ended {
        peer: Box<Peer>,
        end: CallEnd,
        why: String,
    },
    /// It gave the right manifest, and that is one we do not take: so is everybody's.
    Fatal(FetchFailure),
}

/// Connects and reads. May be dropped midway.
pub(crate) async fn open(
    shared: Arc<Shared>,
    candidate: Candidate,
    wish: Wish,
    rule: PaceRule,
) -> Result<Opened, Refusal> {
    let span = info_span!("manifest", peer = %candidate.name());
    async move {
        let options = &shared.config.patience.connect;
        let peer = match Peer::connect(candidate, options).await {
            Ok(peer) => peer,
            Err((candidate, error)) => {
                let why = error.map_or("it has no address".to_owned(), |error| error.to_string());
                return Err(Refusal::Unreachable { candidate, why });
            }
        };
        let mut last = (
            CallEnd::NotHeld { piece: None },
            "it does not hold it".to_owned(),
        );
        for id in wish.ids.iter().filter(|id| id.travels()) {
            match open_patiently(&shared, &peer, (*id, rule), &wish).await {
                Ok(opened) => return Ok(opened),
                Err(Fault::Fatal(failure)) => return Err(Refusal::Fatal(failure)),
                Err(Fault::Ended(end, why)) => {
                    let is_next_worth_it = matches!(end, CallEnd::NotHeld { .. });
                    last = (end, why);
                    if !is_next_worth_it {
                        break;
                    }
                }
            }
        }
        let (end, why) = last;
        debug!(?end, why, "no manifest from this peer");
        Err(Refusal::Ended {
            peer: Box::new(peer),
            end,
            why,
        })
    }
    .instrument(span)
    .await
}

enum Fault {
    Ended(CallEnd, String),
    Fatal(FetchFailure),
}

impl From<SpoolError> for Fault {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::TooLong | SpoolError::WrongDigest { .. } => {
                Self::Ended(CallEnd::Violation, error.to_string())
            }
            SpoolError::Io(_) => Self::Fatal(FetchFailure::Disk {
                why: zeroshare_chassis::process::chain(&error),
            }),
        }
    }
}

/// Asks a busy provider again when it says so.
async fn open_patiently(
    shared: &Arc<Shared>,
    peer: &Peer,
    (id, rule): (ContentId, PaceRule),
    wish: &Wish,
) -> Result<Opened, Fault> {
    let mut tries = 0;
    loop {
        let result = Opening::read(shared, peer, (id, rule), wish).await;
        let Err(Fault::Ended(CallEnd::Busy { retry_after }, why)) = result else {
            return result;
        };
        tries += 1;
        if tries >= MAX_BUSY {
            return Err(Fault::Ended(CallEnd::Busy { retry_after }, why));
        }
        let (shortest, longest) = BUSY_REST;
        tokio::time::sleep(retry_after.unwrap_or(shortest).clamp(shortest, longest)).await;
    }
}

struct Opening<'a> {
    shared: &'a Arc<Shared>,
    stream: PartStream,
    pace: Pace,
    peer: &'a Peer,
    wish: &'a Wish,
}

impl<'a> Opening<'a> {
    async fn read(
        shared: &'a Arc<Shared>,
        peer: &'a Peer,
        (id, rule): (ContentId, PaceRule),
        wish: &'a Wish,
    ) -> Result<Opened, Fault> {
        let request = ReadPiecesRequest {
            content_id: id.to_string(),
            with_manifest: id.tree().is_some(),
            all_if_at_most_bytes: if wish.with_pieces { EARLY_BYTES } else { 0 },
            ..ReadPiecesRequest::default()
        };
        let pace = Pace::new(rule, Instant::now());
        let opened = open_parts(peer, &request, &pace).await;
        let stream = opened.map_err(|status| match status {
            Some(status) => Fault::of_status(&status),
            None => Fault::stalled(),
        })?;
        let mut opening = Self {
            shared,
            stream,
            pace,
            peer,
            wish,
        };
        let head = opening.read_head().await?;
        match id {
            ContentId::Tree(tree) => opening.read_tree(tree, &head).await,
            ContentId::Blob(blob) => opening.read_blob(blob, &head, rule).await,
        }
    }

    async fn read_head(&mut self) -> Result<ContentHead, Fault> {
        let head = match self.next().await? {
            Some(Part::Head(head)) => head,
            Some(Part::ManifestData(_) | Part::Header(_) | Part::Data(_)) | None => {
                return Err(Fault::violation("its answer does not begin with a head"));
            }
        };
        if head.manifest_size_bytes > MAX_MANIFEST_BYTES as u64 {
            let size = head.manifest_size_bytes;
            return Err(Fault::violation(format!(
                "it offers a manifest of {size} bytes"
            )));
        }
        Ok(head)
    }

    /// Believes the size that the peer says only once its bytes, or its last grain, prove it.
    async fn read_blob(
        mut self,
        blob: BlobId,
        head: &ContentHead,
        rule: PaceRule,
    ) -> Result<Opened, Fault> {
        if head.manifest_size_bytes != 0 {
            return Err(Fault::violation("it offers a manifest of a blob"));
        }
        let file_name = Name::new(head.file_name.as_ref()).ok();
        let described = Described::of_blob(blob, head.content_size_bytes, file_name)
            .ok_or_else(|| Fault::violation("it says a size that the blob cannot have"))?;
        let layout = &described.layout;
        let mut early = Vec::new();
        let mut end = CallEnd::Finished;
        if layout.content_size() <= EARLY_BYTES && self.wish.with_pieces {
            let read = self.read_early(layout, &mut early).await;
            end = read.err().unwrap_or(CallEnd::Finished);
        }
        if early.len() == layout.piece_count() as usize {
            let mut hasher = Hasher::new(blob.kind());
            for piece in &early {
                hasher.update(&piece.bytes);
            }
            if hasher.finish() != blob {
                let why = "it sent other bytes than those of the blob".to_owned();
                return Err(Fault::Ended(CallEnd::Wrong, why));
            }
        } else {
            let proven = prove_size(self.peer, blob, layout, rule).await;
            proven.map_err(|end| Fault::Ended(end, "it does not prove its size".to_owned()))?;
            early.clear();
        }
        Ok(Opened {
            peer: self.peer.clone(),
            described,
            early,
            end,
        })
    }

    async fn read_tree(mut self, tree: TreeId, head: &ContentHead) -> Result<Opened, Fault> {
        let (manifest, layout) = self.read_manifest(tree, head.manifest_size_bytes).await?;
        let mut early = Vec::new();
        let is_small = layout.content_size() <= EARLY_BYTES && self.wish.with_pieces;
        let end = if is_small && layout.piece_count() > 0 {
            let read = self.read_early(&layout, &mut early).await;
            read.err().unwrap_or(CallEnd::Finished)
        } else {
            CallEnd::Finished
        };
        Ok(Opened {
            peer: self.peer.clone(),
            described: Described::of_tree(manifest, layout),
            early,
            end,
        })
    }

    async fn read_manifest(
        &mut self,
        tree: TreeId,
        size: u64,
    ) -> Result<(Manifest, Layout), Fault> {
        let mut spool = Spool::new();
        let mut bytes = 0;
        while bytes < size {
            let data = match self.next().await? {
                Some(Part::ManifestData(data)) => data,
                Some(Part::Head(_) | Part::Header(_) | Part::Data(_)) | None => {
                    return Err(Fault::violation("its manifest is shorter than it said"));
                }
            };
            bytes += data.len() as u64;
            if bytes > size {
                return Err(Fault::violation("its manifest is longer than it said"));
            }
            if spool.fits_in_memory(&data) {
                spool.push(&data, &self.wish.spool_dir)?;
            } else {
                spool = self.push_to_disk(spool, data).await?;
            }
        }
        self.parse(tree, spool).await
    }

    async fn push_to_disk(&mut self, mut spool: Spool, data: Bytes) -> Result<Spool, Fault> {
        let place = self.wish.spool_dir.clone();
        let start = Instant::now();
        let pushed = self
            .shared
            .lifetime
            .spawn_blocking("spool a manifest", move || {
                spool.push(&data, &place).map(|()| spool)
            })
            .await;
        self.pace.handle_pause(start.elapsed());
        Ok(pushed.map_err(|_| Fault::Fatal(FetchFailure::Stopping))??)
    }

    /// Hash first: what is not the right manifest is never parsed.
    async fn parse(&mut self, tree: TreeId, spool: Spool) -> Result<(Manifest, Layout), Fault> {
        let id = ContentId::Tree(tree);
        let start = Instant::now();
        let is_small = spool.is_small();
        let work = move || {
            let text = spool.verified(tree)?;
            let refused = |why: String| {
                Fault::Fatal(FetchFailure::ManifestRefused {
                    id,
                    line: None,
                    why,
                })
            };
            let manifest = Manifest::parse(tree.family(), text)
                .map_err(|error| Fault::Fatal(FetchFailure::of_manifest(id, &error)))?;
            let layout = Layout::of_manifest(&manifest)
                .map_err(|error| refused(zeroshare_chassis::process::chain(&error)))?;
            Ok((manifest, layout))
        };
        let parsed = if is_small {
            work()
        } else {
            // Only now it takes memory: until it is all there, whoever is slow keeps nobody else from it.
            let _permit = self.shared.manifests.acquire().await.ok();
            let done = self
                .shared
                .lifetime
                .spawn_blocking("parse a manifest", work)
                .await;
            done.map_err(|_| Fault::Fatal(FetchFailure::Stopping))?
        };
        self.pace.handle_pause(start.elapsed());
        parsed
    }

    /// Collects whole pieces until the stream ends; whatever was whole by then counts.
    async fn read_early(
        &mut self,
        layout: &Layout,
        early: &mut Vec<EarlyPiece>,
    ) -> Result<(), CallEnd> {
        for piece in 0..layout.piece_count() {
            let header = match next_part(&mut self.stream, &mut self.pace).await? {
                Some(Part::Header(header)) => header,
                Some(Part::Head(_) | Part::ManifestData(_) | Part::Data(_)) => {
                    return Err(CallEnd::Violation);
                }
                None => return Ok(()),
            };
            let size = layout.piece_len(piece).unwrap_or(0);
            if !is_whole(&header, piece, size) {
                return Err(CallEnd::Violation);
            }
            let bytes = self.read_piece(size).await?;
            early.push(EarlyPiece { piece, bytes });
        }
        Ok(())
    }

    async fn read_piece(&mut self, size: u64) -> Result<Bytes, CallEnd> {
        let mut bytes = BytesMut::new();
        while (bytes.len() as u64) < size {
            match next_part(&mut self.stream, &mut self.pace).await? {
                Some(Part::Data(data)) if (bytes.len() + data.len()) as u64 <= size => {
                    self.peer.meter.add(data.len() as u64);
                    bytes.extend_from_slice(&data);
                }
                Some(Part::Data(_) | Part::Head(_) | Part::ManifestData(_) | Part::Header(_)) => {
                    return Err(CallEnd::Violation);
                }
                None => return Err(CallEnd::Lost),
            }
        }
        Ok(bytes.freeze())
    }

    async fn next(&mut self) -> Result<Option<Part>, Fault> {
        match next_part(&mut self.stream, &mut self.pace).await {
            Ok(part) => Ok(part),
            Err(CallEnd::Stalled) => Err(Fault::stalled()),
            Err(end) => Err(Fault::Ended(end, "its answer broke off".to_owned())),
        }
    }
}

impl Fault {
    fn of_status(status: &tonic::Status) -> Self {
        Self::Ended(end_of_status(status), status.message().to_owned())
    }

    fn stalled() -> Self {
        Self::Ended(CallEnd::Stalled, "it stalled".to_owned())
    }

    fn violation(why: impl Into<String>) -> Self {
        Self::Ended(CallEnd::Violation, why.into())
    }
}

/// Whether what follows is all of a piece.
pub(crate) fn is_whole(header: &PieceHeader, piece: u32, size: u64) -> bool {
    (header.piece, header.offset_bytes, header.size_bytes) == (piece, 0, size)
}

/// Whether a piece of this layout is a run.
pub(crate) fn run_of(layout: &Layout, piece: u32) -> Option<std::ops::Range<u32>> {
    match layout.piece(piece) {
        Some(Piece::Run { items }) => Some(items),
        Some(Piece::Slice { .. }) | None => None,
    }
}
