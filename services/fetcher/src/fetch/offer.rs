//! Offering what is there already, and what is about to be, through this machine's own store; best effort.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{Instrument as _, debug};
use zeroshare_chassis::Lifetime;
use zeroshare_proof::Midstates;
use zeroshare_staging::Staged;
use zeroshare_wire::convert::{MAX_RANGES, merge_ranges, to_piece_ranges};
use zeroshare_wire::pb::content::v1::PieceState;
use zeroshare_wire::pb::store::v1::{FileMidstates, OfferPartialRequest};

use crate::shared::Shared;

/// Announcements that the store did not read yet; when it is full, it is tried again later.
const QUEUE: usize = 4;

/// News wait for so long, to be told together: the first figure is for the offer, the second for each one who gives, for
/// there are about as many who listen. In a simulated crowd of 16, 100 ms cost 1 % of the time, and save four of five
/// messages.
const DELAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(5));

/// … and never for longer.
const LONGEST_DELAY: Duration = Duration::from_millis(100);

/// Midstates that go into one message, in bytes.
const LIST_BYTES: usize = 1024 * 1024;

/// An offer of something that is still being fetched; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Offer {
    news: mpsc::Sender<OfferPartialRequest>,
    /// What may be had, and was not announced yet, by its state.
    fresh: BTreeMap<PieceState, Vec<Range<u32>>>,
    /// Parts of lists by which slices may be had, to be told before these.
    lists: VecDeque<FileMidstates>,
    /// Since when something is not announced.
    since: Option<Instant>,
}

impl Offer {
    /// Begins with what is proven by now.
    pub(crate) fn start(shared: &Arc<Shared>, tasks: &Lifetime, staged: &Staged) -> Self {
        let (news, announced) = mpsc::channel(QUEUE);
        let first = OfferPartialRequest {
            state: PieceState::Proven.into(),
            ..beginning_of(staged)
        };
        keep(shared, tasks, first, announced);
        let layout = staged.layout();
        let proven = (0..layout.piece_count()).filter(|piece| is_proven(staged, *piece));
        let proven = proven.map(|piece| piece..piece + 1).collect();
        let fresh = BTreeMap::from([(PieceState::Proven, proven)]);
        Self {
            news,
            fresh,
            lists: VecDeque::new(),
            since: Some(Instant::now()),
        }
    }

    /// Takes note of the list by which slices of the file on a line may be had.
    pub(crate) fn add_list(&mut self, line: u32, list: &Midstates) {
        self.lists.extend(parts_of(line, list));
        self.since.get_or_insert_with(Instant::now);
    }

    /// Takes note of a piece that others may have, or will.
    pub(crate) fn add(&mut self, piece: u32, state: PieceState) {
        self.fresh.entry(state).or_default().push(piece..piece + 1);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Says when to announce what is new, if anything is, while so many give.
    pub(crate) fn due(&self, givers: usize) -> Option<Instant> {
        let givers = u32::try_from(givers).unwrap_or(u32::MAX);
        let delay = DELAY.0 + DELAY.1.saturating_mul(givers);
        self.since.map(|since| since + delay.min(LONGEST_DELAY))
    }

    /// Announces what is new, if the store keeps up.
    pub(crate) fn announce(&mut self) {
        self.since = None;
        if self.news.is_closed() {
            self.fresh.clear();
            self.lists.clear();
        }
        while !self.lists.is_empty() {
            let Ok(slot) = self.news.try_reserve() else {
                self.since = Some(Instant::now());
                return;
            };
            slot.send(OfferPartialRequest {
                midstates: self.lists.pop_front(),
                ..OfferPartialRequest::default()
            });
        }
        // What can be had comes before what will be.
        while let Some((state, ranges)) = self.fresh.pop_last() {
            if ranges.is_empty() {
                continue;
            }
            let Ok(slot) = self.news.try_reserve() else {
                self.fresh.insert(state, ranges);
                self.since = Some(Instant::now());
                return;
            };
            let mut ranges = merge_ranges(ranges);
            let rest = ranges.split_off(ranges.len().min(MAX_RANGES));
            if !rest.is_empty() {
                self.fresh.insert(state, rest);
            }
            slot.send(OfferPartialRequest {
                ranges: to_piece_ranges(&ranges),
                state: state.into(),
                ..OfferPartialRequest::default()
            });
        }
    }
}

/// A list as it is told: in parts, from the first.
pub(super) fn parts_of(line: u32, list: &Midstates) -> impl Iterator<Item = FileMidstates> {
    let parts = list.as_bytes().chunks(LIST_BYTES).zip(0_u32..);
    parts.map(move |(part, index)| FileMidstates {
        file: line,
        first_grain: index * u32::try_from(LIST_BYTES / 32).unwrap_or(u32::MAX),
        midstates: part.to_vec().into(),
    })
}

/// What an offer begins with: of what, and where it is staged.
pub(super) fn beginning_of(staged: &Staged) -> OfferPartialRequest {
    OfferPartialRequest {
        content_id: staged.content().to_string(),
        store_root: staged.store().display().to_string(),
        staging_name: staged.name().display().to_string(),
        content_size_bytes: staged.layout().content_size(),
        ..OfferPartialRequest::default()
    }
}

/// Keeps an offer open in the background, until nothing can be announced any more or the tasks are stopped.
pub(super) fn keep(
    shared: &Shared,
    tasks: &Lifetime,
    first: OfferPartialRequest,
    announced: mpsc::Receiver<OfferPartialRequest>,
) {
    let requests = tokio_stream::once(first).chain(ReceiverStream::new(announced));
    let mut store = shared.store();
    let stopping = tasks.stopping();
    let offering = async move {
        let offered = async {
            let mut answers = store.offer_partial(requests).await?.into_inner();
            while answers.message().await?.is_some() {}
            Ok::<(), tonic::Status>(())
        };
        tokio::select! {
            result = offered => if let Err(error) = result {
                debug!(%error, "what is fetched is not offered meanwhile");
            },
            () = stopping => {}
        }
    };
    drop(tasks.spawn("offer", offering.in_current_span()));
}

/// Whether every byte of a piece is proven, slices included.
pub(crate) fn is_proven(staged: &Staged, piece: u32) -> bool {
    use zeroshare_content::Piece;
    match staged.layout().piece(piece) {
        Some(Piece::Run { mut items }) => items.all(|item| staged.is_proven(item)),
        Some(Piece::Slice { item, .. }) => staged.is_proven(item),
        None => false,
    }
}
