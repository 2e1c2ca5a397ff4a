//! The calls of a store.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each step looks for the few faults that concern it"
)]

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use zeroshare_api::{
    errors::{ErrorReason, malformed_field, status, with_retry},
    rpc::store::v1::store_service_server::StoreService,
};
use zeroshare_content::ContentId;
use zeroshare_wire::{
    convert::{ReadPieces, content_id, content_ids, to_piece_ranges},
    pb::{
        content::v1::PieceState,
        store::v1::{
            ContentStat, ListPublicRequest, ListPublicResponse, ReadFeedRequest, ReadFeedResponse,
            ReadManifestRequest, ReadManifestResponse, ReadMidstatesRequest, ReadMidstatesResponse,
            ReadPiecesRequest, ReadPiecesResponse, StatContentRequest, StatContentResponse,
            WatchArrivalRequest, WatchArrivalResponse, WatchPiecesRequest, WatchPiecesResponse,
        },
    },
};

use super::{
    Call, Fault, Method, Shared,
    fault::At,
    lock,
    sending::Sending,
    wanted::{not_held, parts},
};
use crate::{Offered, offered::lists::ListLie};

const MOST_IDS: usize = 256;

/// A few messages ahead of the network: enough to stay busy, too few to hide who reads.
const AHEAD: usize = 2;

/// What of a feed is sent at once.
const FEED_PART_BYTES: usize = 256 * 1024;

type Answer<T> = Result<Response<ReceiverStream<Result<T, Status>>>, Status>;

#[derive(Debug)]
pub(super) struct Store {
    pub(super) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl StoreService for Store {
    async fn stat_content(
        &self,
        request: Request<StatContentRequest>,
    ) -> Result<Response<StatContentResponse>, Status> {
        self.enter(Method::StatContent, &request, None);
        let faults = self.begin().await?;
        let asked = content_ids("content_ids", &request.get_ref().content_ids, MOST_IDS)
            .map_err(|error| malformed_field(&error))?;
        let claims_all = faults.iter().any(Fault::claims_all);
        let stats = asked
            .iter()
            .filter_map(|id| self.stat(id, claims_all, &faults));
        Ok(Response::new(StatContentResponse {
            stats: stats.collect(),
        }))
    }

    type ReadManifestStream = ReceiverStream<Result<ReadManifestResponse, Status>>;

    async fn read_manifest(
        &self,
        request: Request<ReadManifestRequest>,
    ) -> Answer<ReadManifestResponse> {
        let id = self.id("tree_id", &request.get_ref().tree_id);
        let call = self.enter(Method::ReadManifest, &request, id.as_ref().ok());
        let faults = self.begin().await?;
        let offered = self.offered(id?, &faults)?;
        self.answer(faults, call, move |sending| async move {
            let message = |data| ReadManifestResponse { data };
            if sending.manifest(&offered, message).await.is_ok() {
                sending.finished();
            }
        })
    }

    type ReadPiecesStream = ReceiverStream<Result<ReadPiecesResponse, Status>>;

    async fn read_pieces(&self, request: Request<ReadPiecesRequest>) -> Answer<ReadPiecesResponse> {
        let id = self.id("content_id", &request.get_ref().content_id);
        let call = self.enter(Method::ReadPieces, &request, id.as_ref().ok());
        let faults = self.begin().await?;
        let read =
            ReadPieces::try_from(request.into_inner()).map_err(|error| malformed_field(&error))?;
        let offered = self.offered(read.content, &faults)?;
        let mut parts = parts(&offered, &read)?;
        let lie = faults.iter().find_map(Fault::list_lie);
        let keeps_lists = !faults
            .iter()
            .any(|fault| matches!(fault, Fault::NoMidstates));
        for part in parts.iter_mut().filter(|_| keeps_lists) {
            part.list_digest = self.list_digest(&offered, part.piece, lie);
        }
        for (nth, part) in parts.iter().enumerate() {
            let at = At {
                number: part.piece,
                nth,
                is_slice: offered.is_slice(part.piece),
            };
            if read.recheck && faults.iter().any(|fault| fault.is_bad_disk(at)) {
                let reason = ErrorReason::StoreCorrupt;
                return Err(status(Code::DataLoss, reason, &[], "a bad disk"));
            }
            if faults.iter().any(|fault| fault.lacks(at)) {
                return Err(not_held(&offered, part.piece));
            }
        }
        self.answer(faults, call, move |sending| async move {
            let _over_or_done = sending.pieces(&offered, read.with_manifest, &parts).await;
        })
    }

    type ReadMidstatesStream = ReceiverStream<Result<ReadMidstatesResponse, Status>>;

    async fn read_midstates(
        &self,
        request: Request<ReadMidstatesRequest>,
    ) -> Answer<ReadMidstatesResponse> {
        let id = self.id("content_id", &request.get_ref().content_id);
        let call = self.enter(Method::ReadMidstates, &request, id.as_ref().ok());
        let faults = self.begin().await?;
        let offered = self.offered(id?, &faults)?;
        if faults
            .iter()
            .any(|fault| matches!(fault, Fault::StallMidstates))
        {
            self.shared.lifetime.stopping().await;
        }
        let lists = lists(&offered, request.get_ref(), &faults)?;
        self.answer(faults, call, move |sending| async move {
            for message in lists {
                if sending.to.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            sending.finished();
        })
    }

    type WatchPiecesStream = ReceiverStream<Result<WatchPiecesResponse, Status>>;

    async fn watch_pieces(
        &self,
        request: Request<WatchPiecesRequest>,
    ) -> Answer<WatchPiecesResponse> {
        let id = self.id("content_id", &request.get_ref().content_id);
        let call = self.enter(Method::WatchPieces, &request, id.as_ref().ok());
        let faults = self.begin().await?;
        let offered = self.offered(id?, &faults)?;
        self.answer(faults, call, move |sending| async move {
            let snapshot = WatchPiecesResponse {
                ranges: to_piece_ranges(&offered.held()),
                state: PieceState::Proven.into(),
                snapshot_done: true,
                ..WatchPiecesResponse::default()
            };
            let sent = sending.to.send(Ok(snapshot)).await;
            let complete = (0..offered.piece_count()).all(|piece| offered.holds(piece));
            if sent.is_ok() && !complete {
                let _caller_left = sending.stall().await;
            }
            sending.finished();
        })
    }

    type WatchArrivalStream = tokio_stream::Empty<Result<WatchArrivalResponse, Status>>;

    async fn watch_arrival(
        &self,
        _request: Request<WatchArrivalRequest>,
    ) -> Result<Response<Self::WatchArrivalStream>, Status> {
        // Nothing is on its way here: all is there from the start.
        Ok(Response::new(tokio_stream::empty()))
    }

    async fn list_public(
        &self,
        request: Request<ListPublicRequest>,
    ) -> Result<Response<ListPublicResponse>, Status> {
        self.enter(Method::ListPublic, &request, None);
        self.begin().await?;
        let ids = self.shared.contents();
        let trees = ids.iter().filter_map(ContentId::tree);
        Ok(Response::new(ListPublicResponse {
            tree_ids: trees.map(|tree| tree.to_string()).collect(),
            truncated: false,
        }))
    }

    type ReadFeedStream = ReceiverStream<Result<ReadFeedResponse, Status>>;

    async fn read_feed(&self, request: Request<ReadFeedRequest>) -> Answer<ReadFeedResponse> {
        self.enter(Method::ReadFeed, &request, None);
        let faults = self.begin().await?;
        let given = faults.into_iter().find_map(|fault| match fault {
            Fault::Feed { feed, key } => Some((feed, key)),
            _ => None,
        });
        let (feed, key) = given.ok_or_else(|| Status::not_found("no feeds here"))?;
        let (messages, stream) = mpsc::channel(AHEAD);
        self.shared.lifetime.spawn("send a feed", async move {
            let feed = feed.chunks(FEED_PART_BYTES).map(|part| ReadFeedResponse {
                feed_data: Bytes::copy_from_slice(part),
                ..ReadFeedResponse::default()
            });
            let key = key.chunks(FEED_PART_BYTES).map(|part| ReadFeedResponse {
                key_data: Bytes::copy_from_slice(part),
                ..ReadFeedResponse::default()
            });
            for message in feed.chain(key) {
                if messages.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Store {
    fn enter<T>(&self, method: Method, request: &Request<T>, content: Option<&ContentId>) -> usize {
        let parent = request.metadata().get("traceparent");
        let mut record = lock(&self.shared.record);
        record.calls.push(Call {
            method,
            content: content.copied(),
            manifest_bytes: 0,
            sent: Vec::new(),
            trace_parent: parent.and_then(|parent| parent.to_str().ok().map(str::to_owned)),
            finished: false,
        });
        record.calls.len() - 1
    }

    /// The faults of this call; some of them end it here.
    async fn begin(&self) -> Result<Vec<Fault>, Status> {
        let faults = self.shared.faults();
        for fault in &faults {
            match fault {
                Fault::Busy(after) => {
                    let reason = ErrorReason::TooManyTransfers;
                    let busy = status(Code::ResourceExhausted, reason, &[], "busy");
                    return Err(with_retry(busy, *after));
                }
                Fault::StallBeforeAnswer => self.shared.lifetime.stopping().await,
                _ => {}
            }
        }
        Ok(faults)
    }

    #[expect(clippy::unused_self, reason = "reads like the other steps of a call")]
    fn id(&self, field: &'static str, text: &str) -> Result<ContentId, Status> {
        content_id(field, text).map_err(|error| malformed_field(&error))
    }

    /// Names the list of a piece; kept, since it takes its time to be made.
    fn list_digest(&self, offered: &Offered, piece: u32, lie: Option<ListLie>) -> Bytes {
        let Some(item) = offered.item_of_slice(piece) else {
            return Bytes::new();
        };
        let mut digests = lock(&self.shared.list_digests);
        let digest = digests
            .entry((offered.id(), item, lie.map(|lie| lie as u8)))
            .or_insert_with(|| offered.list(item, lie).map(|list| *list.digest()));
        digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(&digest))
    }

    fn offered(&self, id: ContentId, faults: &[Fault]) -> Result<Arc<Offered>, Status> {
        let lacks = faults
            .iter()
            .any(|fault| matches!(fault, Fault::LacksContent));
        let offered = self.shared.content(&id).filter(|_| !lacks);
        offered.ok_or_else(|| {
            let reason = ErrorReason::ContentNotFound;
            let metadata = [("contentId", id.to_string())];
            status(Code::NotFound, reason, &metadata, format!("no {id}"))
        })
    }

    fn stat(&self, id: &ContentId, claims_all: bool, faults: &[Fault]) -> Option<ContentStat> {
        let announced = |fault: &Fault| matches!(fault, Fault::EndlessManifest { announced: true });
        let endless = faults.iter().any(announced);
        let stat = |manifest: u64, size: u64, held: u32, total: u32| ContentStat {
            content_id: id.to_string(),
            manifest_size_bytes: if endless { 10 << 30 } else { manifest },
            content_size_bytes: size,
            held_pieces: if claims_all { total } else { held },
            total_pieces: total,
            list_digest: Bytes::new(),
        };
        match self.shared.content(id) {
            Some(offered) => {
                let held = offered
                    .held()
                    .iter()
                    .map(|range| range.end - range.start)
                    .sum();
                let manifest = offered.manifest_text().len() as u64;
                Some(stat(
                    manifest,
                    offered.content_size(),
                    held,
                    offered.piece_count(),
                ))
            }
            None => claims_all.then(|| stat(100, 1000, 1, 1)),
        }
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "an answer is what the handlers return"
    )]
    fn answer<T, F>(
        &self,
        faults: Vec<Fault>,
        call: usize,
        send: impl FnOnce(Sending<T>) -> F,
    ) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (to, messages) = mpsc::channel(AHEAD);
        let shared = Arc::clone(&self.shared);
        let sending = send(Sending {
            shared,
            faults,
            call,
            to,
        });
        self.shared
            .lifetime
            .spawn("answer of a test's peer", sending);
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// The lists that are asked for, up to the first that is not known.
fn lists(
    offered: &Offered,
    request: &ReadMidstatesRequest,
    faults: &[Fault],
) -> Result<Vec<ReadMidstatesResponse>, Status> {
    let lie = faults.iter().find_map(Fault::list_lie);
    let is_blob = request.files.is_empty();
    let lines = if is_blob { &[0][..] } else { &request.files };
    let mut messages = Vec::new();
    for line in lines {
        let item = offered.item_of_line(*line);
        let list = item.and_then(|item| offered.list(item, lie));
        let list = list.filter(|_| {
            !faults
                .iter()
                .any(|fault| matches!(fault, Fault::NoMidstates))
        });
        let Some(list) = list else {
            let reason = ErrorReason::MidstatesNotKnown;
            return Err(status(Code::NotFound, reason, &[], "no midstates are kept"));
        };
        let midstates = if request.digests_only {
            Bytes::new()
        } else {
            Bytes::copy_from_slice(list.midstates().as_bytes())
        };
        messages.push(ReadMidstatesResponse {
            file: *line,
            total_grains: list.midstates().grains(),
            first_grain: 0,
            list_digest: Bytes::copy_from_slice(list.digest()),
            midstates,
        });
    }
    Ok(messages)
}

impl Fault {
    fn list_lie(&self) -> Option<ListLie> {
        if matches!(self, Self::WrongMidstates) {
            Some(ListLie::OneState)
        } else if matches!(self, Self::ConsistentFake) {
            Some(ListLie::OtherBytes)
        } else {
            None
        }
    }

    fn is_bad_disk(&self, at: At) -> bool {
        matches!(self, Self::BadDisk(which) if which.concerns(at))
    }

    fn claims_all(&self) -> bool {
        matches!(self, Self::LacksContent | Self::LacksPieces(_))
    }

    fn lacks(&self, at: At) -> bool {
        matches!(self, Self::LacksPieces(which) if which.concerns(at))
    }
}
