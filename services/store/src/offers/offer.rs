//! One fetch, as far as it is offered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::broadcast;
use tonic::Status;
use zeroshare_api::errors;
use zeroshare_content::{BlobId, ContentId, Entry, GRAIN};
use zeroshare_proof::{Midstates, grain_count};
use zeroshare_shelf::PieceSource;
use zeroshare_wire::convert::{merge_ranges, piece_ranges_within, to_piece_ranges};
use zeroshare_wire::pb::content::v1::{PieceRange, PieceState};
use zeroshare_wire::pb::store::v1::{FileMidstates, OfferPartialRequest, WatchPiecesResponse};

/// Changes that a watcher may be behind.
const CHANGES_AHEAD: usize = 256;

/// SHA-256 as bytes.
const DIGEST_BYTES: usize = 32;

/// The pieces of one tree or blob that the fetcher has staged, by its word.
#[derive(Debug)]
pub(crate) struct Offer {
    id: ContentId,
    is_shared: bool,
    /// Whether the fetch takes part in a cold start.
    is_member: AtomicBool,
    source: PieceSource,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    pieces: BTreeMap<u32, Held>,
    /// For each large file by its line, midstates from the first.
    lists: BTreeMap<u32, Vec<u8>>,
    /// `None` once the offer has ended.
    watchers: Option<broadcast::Sender<Arc<WatchPiecesResponse>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    state: PieceState,
    /// What the origin says that it hashes to, and who that is; for stated pieces.
    stated: Option<(Bytes, Arc<str>)>,
}

/// Midstates of a file, as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartialList {
    pub(crate) grains: u32,
    pub(crate) midstates: Vec<u8>,
    /// `None` while some are missing.
    pub(crate) digest: Option<[u8; 32]>,
}

impl Offer {
    pub(crate) fn new(is_shared: bool, source: PieceSource) -> Self {
        let (watchers, _) = broadcast::channel(CHANGES_AHEAD);
        let progress = Progress {
            pieces: BTreeMap::new(),
            lists: BTreeMap::new(),
            watchers: Some(watchers),
        };
        Self {
            id: source.id(),
            is_shared,
            is_member: AtomicBool::new(false),
            source,
            progress: Mutex::new(progress),
        }
    }

    pub(crate) fn id(&self) -> &ContentId {
        &self.id
    }

    /// Whether peers may have it.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether the fetch takes part in a cold start.
    pub(crate) fn is_member(&self) -> bool {
        self.is_member.load(Ordering::Relaxed)
    }

    pub(crate) fn source(&self) -> &PieceSource {
        &self.source
    }

    /// How many pieces are there by more than their origin's word.
    pub(crate) fn held_count(&self) -> u32 {
        let held = self
            .progress()
            .pieces
            .values()
            .filter(|piece| piece.state >= PieceState::Linked)
            .count();
        u32::try_from(held).unwrap_or(u32::MAX)
    }

    /// Which pieces can be read, in order and joined.
    pub(crate) fn held(&self) -> Vec<Range<u32>> {
        let progress = self.progress();
        let readable = progress
            .pieces
            .iter()
            .filter(|(_, piece)| is_readable(piece.state));
        merge_ranges(readable.map(|(number, _)| *number..*number + 1).collect())
    }

    /// What the origin of a stated piece says that it hashes to.
    pub(crate) fn stated_digest(&self, piece: u32) -> Option<Bytes> {
        let progress = self.progress();
        let piece = progress
            .pieces
            .get(&piece)
            .filter(|piece| piece.state == PieceState::Stated)?;
        piece.stated.as_ref().map(|(digest, _)| digest.clone())
    }

    /// The midstates of the file on a line, as far as they are known; `None` for what has none.
    pub(crate) fn list(&self, line: u32) -> Option<PartialList> {
        let (_, size) = self.large_file(line)?;
        let midstates = self.progress().lists.get(&line).cloned()?;
        let whole = Midstates::from_bytes(size, midstates.as_slice()).ok();
        Some(PartialList {
            grains: grain_count(size),
            midstates,
            digest: whole.map(|list| list.list_digest()),
        })
    }

    /// Names a blob's midstates, once all are known.
    pub(crate) fn blob_list_digest(&self) -> Option<[u8; 32]> {
        self.id.blob()?;
        self.list(0)?.digest
    }

    /// The lines of files of which midstates were given.
    pub(crate) fn listed_lines(&self) -> Vec<u32> {
        self.progress().lists.keys().copied().collect()
    }

    /// The midstates by which slices of the file on a line ask to be judged, once all are known.
    pub(crate) fn whole_list(&self, line: u32) -> Option<Midstates> {
        let (_, size) = self.large_file(line)?;
        let progress = self.progress();
        Midstates::from_bytes(size, progress.lists.get(&line)?.as_slice()).ok()
    }

    /// Takes in what the fetcher says, and tells watchers.
    pub(crate) fn take_in(&self, request: OfferPartialRequest) -> Result<(), Status> {
        if request.member {
            self.is_member.store(true, Ordering::Relaxed);
        }
        if let Some(midstates) = &request.midstates {
            self.take_midstates(midstates)?;
        }
        if !request.ranges.is_empty() {
            self.take_pieces(request)?;
        }
        Ok(())
    }

    /// Offers a piece no more, because what lies there is not what it was, until the fetcher says anew that it has it.
    ///
    /// Who watches is not told: there is no word for it, and whoever asks for the piece hears that it is not held.
    pub(crate) fn withdraw(&self, piece: u32) {
        self.progress().pieces.remove(&piece);
    }

    /// Gives what is held now, and what will come; `None` once the offer has ended.
    pub(crate) fn watch(
        &self,
    ) -> Option<(
        Vec<WatchPiecesResponse>,
        broadcast::Receiver<Arc<WatchPiecesResponse>>,
    )> {
        let progress = self.progress();
        let changes = progress.watchers.as_ref()?.subscribe();
        Some((progress.snapshot(), changes))
    }

    /// Ends the streams of those who watch.
    pub(crate) fn end(&self) {
        self.progress().watchers = None;
    }

    fn take_pieces(&self, request: OfferPartialRequest) -> Result<(), Status> {
        let count = self.source.layout().piece_count();
        let ranges = piece_ranges_within("ranges", &request.ranges, count)
            .map_err(|error| errors::malformed_field(&error))?;
        let state = match PieceState::try_from(request.state) {
            Ok(PieceState::Unspecified) | Err(_) => {
                return Err(errors::malformed("state", "not a state of pieces"));
            }
            Ok(state) => state,
        };
        if state == PieceState::Stated {
            check_digests(&request)?;
        }

        let origin: Arc<str> = request.origin_peer_id.as_str().into();
        let mut digests = request.stated_digests.iter().cloned();
        let mut progress = self.progress();
        for number in request
            .ranges
            .iter()
            .flat_map(|range| range.first..range.first + range.count)
        {
            let stated = digests.next().map(|digest| (digest, Arc::clone(&origin)));
            let piece = progress.pieces.entry(number).or_insert_with(|| Held {
                state,
                stated: stated.clone(),
            });
            // What is proven is not unproven by a later word.
            if state > piece.state {
                *piece = Held { state, stated };
            }
        }
        // In their own order where digests go with them.
        let ranges = match state {
            PieceState::Stated => request.ranges,
            PieceState::Unspecified
            | PieceState::Claimed
            | PieceState::Linked
            | PieceState::Proven => to_piece_ranges(&ranges),
        };
        progress.tell(WatchPiecesResponse {
            ranges,
            state: state.into(),
            stated_digests: request.stated_digests,
            origin_peer_id: request.origin_peer_id,
            known_midstates: progress.known_midstates(),
            ..WatchPiecesResponse::default()
        });
        Ok(())
    }

    /// Takes the next midstates of one file.
    fn take_midstates(&self, given: &FileMidstates) -> Result<(), Status> {
        let refused = |why: &str| errors::malformed("midstates", why);
        let (_, size) = self
            .large_file(given.file)
            .ok_or_else(|| refused("not a line of a large file"))?;
        let mut progress = self.progress();
        let list = progress.lists.entry(given.file).or_default();
        let most = (grain_count(size) as usize - 1) * DIGEST_BYTES;
        let start = given.first_grain as usize * DIGEST_BYTES;
        if start > list.len() {
            return Err(refused("midstates before these are missing"));
        }
        if !given.midstates.len().is_multiple_of(DIGEST_BYTES)
            || start + given.midstates.len() > most
        {
            return Err(refused("not as many bytes as the file has midstates"));
        }
        list.truncate(start);
        list.extend_from_slice(&given.midstates);
        Ok(())
    }

    /// Hash and size of the file on a line, if it has midstates.
    fn large_file(&self, line: u32) -> Option<([u8; 32], u64)> {
        match self.source.manifest().lines().get(line as usize)?.entry {
            Entry::File {
                blob: BlobId::Sha256(digest),
                size,
                ..
            } if size > GRAIN => Some((digest, size)),
            Entry::File { .. } | Entry::Directory | Entry::Symlink { .. } => None,
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // What is taken in was checked before.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    /// One message for each state, and for each origin of stated pieces.
    fn snapshot(&self) -> Vec<WatchPiecesResponse> {
        let mut groups: BTreeMap<(i32, &str), Vec<(u32, &Held)>> = BTreeMap::new();
        for (number, piece) in &self.pieces {
            let origin = piece.stated.as_ref().map_or("", |(_, origin)| origin);
            groups
                .entry((piece.state.into(), origin))
                .or_default()
                .push((*number, piece));
        }
        let message = |((state, origin), pieces): ((i32, &str), Vec<(u32, &Held)>)| {
            let ranges = merge_ranges(
                pieces
                    .iter()
                    .map(|(number, _)| *number..*number + 1)
                    .collect(),
            );
            let digests = pieces.iter().filter_map(|(_, piece)| piece.stated.as_ref());
            WatchPiecesResponse {
                ranges: to_piece_ranges(&ranges),
                state,
                stated_digests: digests.map(|(digest, _)| digest.clone()).collect(),
                origin_peer_id: origin.to_owned(),
                known_midstates: self.known_midstates(),
                ..WatchPiecesResponse::default()
            }
        };
        groups.into_iter().map(message).collect()
    }

    /// Counts the midstates of all files, each from its first.
    fn known_midstates(&self) -> u32 {
        let bytes: usize = self.lists.values().map(Vec::len).sum();
        u32::try_from(bytes / DIGEST_BYTES).unwrap_or(u32::MAX)
    }

    fn tell(&self, change: WatchPiecesResponse) {
        if let Some(watchers) = &self.watchers {
            // Fails when nobody watches.
            let _watchers = watchers.send(Arc::new(change));
        }
    }
}

/// Claimed pieces are only about to be there.
fn is_readable(state: PieceState) -> bool {
    state >= PieceState::Stated
}

fn check_digests(request: &OfferPartialRequest) -> Result<(), Status> {
    let pieces: u64 = request
        .ranges
        .iter()
        .map(|range: &PieceRange| u64::from(range.count))
        .sum();
    let fits = request.stated_digests.len() as u64 == pieces
        && request
            .stated_digests
            .iter()
            .all(|digest| digest.len() == DIGEST_BYTES);
    if fits {
        Ok(())
    } else {
        Err(errors::malformed(
            "stated_digests",
            "not one SHA-256 for each piece",
        ))
    }
}
