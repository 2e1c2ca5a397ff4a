//! One call to a provider: reads what was asked for, and has it written.

mod jobs;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::trace;
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::rate::Throttle;
use zeroshare_content::{ContentId, Layout};
use zeroshare_proof::{KnownList, ListDigest};
use zeroshare_staging::{SourceId, Staged};
use zeroshare_transfer::{
    CallEnd, CallId, FileVerdict, Pace, PaceRule, Part as UnitPart, ProbeOutcome, ProviderId, Unit,
    UnitId, UnitOutcome, spans,
};
use zeroshare_wire::pb::store::v1::{
    ContentHead, PieceHeader, PieceSpan, ReadPiecesRequest, StreamEncoding,
};

use super::call::{ask, next_part};
use super::decoding::Decoding;
use super::failure::FetchFailure;
use super::judging::Naming;
use super::lists::Lists;
use super::view::Meter;
use crate::peers::Peer;
use jobs::Writing;
use zeroshare_api::parts::{Part, PartStream};

/// A unit to be read, and whether something else may lie in its place.
#[derive(Debug, Clone)]
pub(crate) struct WantedUnit {
    pub(crate) id: UnitId,
    pub(crate) unit: Unit,
    pub(crate) is_reread: bool,
}

/// What a reader needs of its fetch.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) content: ContentId,
    pub(crate) layout: Arc<Layout>,
    pub(crate) staged: Arc<Staged>,
    pub(crate) tasks: Lifetime,
    pub(crate) writers: Arc<Semaphore>,
    pub(crate) large_batches: Arc<Semaphore>,
    pub(crate) downloads: Arc<Throttle>,
    pub(crate) pace: PaceRule,
    pub(crate) lists: Arc<Lists>,
    pub(crate) reports: mpsc::Sender<Report>,
}

/// What readers and other helpers tell the fetch.
#[derive(Debug)]
pub(crate) enum Report {
    /// What became of a unit.
    Unit {
        call: CallId,
        unit: UnitId,
        outcome: UnitOutcome,
    },
    /// A call is over, and so are its writes.
    End { call: CallId, end: CallEnd },
    /// A file was hashed, or finished as it was judged.
    Checked { item: u32, verdict: FileVerdict },
    /// Somebody says whether it has the whole.
    Complete {
        provider: ProviderId,
        is_complete: bool,
    },
    /// Somebody names the list by which it is to be judged.
    Named {
        provider: ProviderId,
        item: u32,
        list: ListDigest,
    },
    /// Somebody gave its list.
    List {
        provider: ProviderId,
        item: u32,
        list: KnownList,
    },
    /// Somebody was asked for lists, and this is how it ended.
    Asked { provider: ProviderId, end: CallEnd },
    /// A grain was read to be judged.
    Probed {
        provider: ProviderId,
        outcome: ProbeOutcome,
    },
    /// Which grains of a slice on the disk hold by a list.
    Judged {
        unit: UnitId,
        list: ListDigest,
        linked: Vec<std::ops::Range<u32>>,
    },
    /// Somebody was connected to, or not.
    Connected(Result<Peer, (crate::peers::Candidate, String)>),
    /// A partial provider got more.
    Holding {
        provider: ProviderId,
        ranges: Vec<std::ops::Range<u32>>,
    },
    /// A provider is about to hold more.
    Claimed {
        provider: ProviderId,
        ranges: Vec<std::ops::Range<u32>>,
    },
    /// The fetch cannot go on.
    Fatal(FetchFailure),
}

/// Reads one call.
pub(crate) struct Reader {
    pub(crate) call: CallId,
    pub(crate) peer: Peer,
    pub(crate) provider: ProviderId,
    pub(crate) source: SourceId,
    pub(crate) units: Vec<WantedUnit>,
    pub(crate) is_recheck: bool,
    pub(crate) cancel: CancellationToken,
    pub(crate) around: Surroundings,
}

impl Reader {
    /// Reads until all came, it went wrong, or it is cancelled; reports every unit, and the end last.
    pub(crate) async fn run(self) {
        let cancel = self.cancel.clone();
        let stopping = self.around.tasks.stopping();
        let mut writing = Writing::new(&self);
        let end = tokio::select! {
            end = self.read(&mut writing) => end,
            () = cancel.cancelled() => CallEnd::Cancelled,
            () = stopping => CallEnd::Cancelled,
        };
        // What was handed to a thread is written whatever happens; only then is the call over.
        let end = writing.close(end).await;
        trace!(?end, "call ended");
        let report = Report::End {
            call: self.call,
            end,
        };
        drop(self.around.reports.send(report).await);
    }

    async fn read(&self, writing: &mut Writing<'_>) -> CallEnd {
        match self.read_units(writing).await {
            Ok(()) => CallEnd::Finished,
            Err(end) => end,
        }
    }

    async fn read_units(&self, writing: &mut Writing<'_>) -> Result<(), CallEnd> {
        let pace = Pace::new(self.around.pace, Instant::now());
        let stream = ask(&self.peer, &self.request(), &pace).await?;
        let mut incoming = Incoming {
            stream,
            pace,
            decoding: None,
        };
        match next_part(&mut incoming.stream, &mut incoming.pace).await? {
            Some(Part::Head(head)) => incoming.decoding = self.check_head(&head)?,
            Some(Part::ManifestData(_) | Part::Header(_) | Part::Data(_)) | None => {
                return Err(CallEnd::Violation);
            }
        }
        for wanted in &self.units {
            let header = match self.next_header(&mut incoming, writing).await? {
                Some(header) if is_of(&header, &wanted.unit) => header,
                Some(_) => return Err(CallEnd::Violation),
                None => return Ok(()),
            };
            incoming.turn(&header)?;
            let named = self.take_name(wanted, &header).await?;
            self.read_unit((wanted, named), &mut incoming, writing)
                .await?;
        }
        Ok(())
    }

    /// Gives the next header; before it only the end of an encoded piece may come.
    async fn next_header(
        &self,
        incoming: &mut Incoming,
        writing: &mut Writing<'_>,
    ) -> Result<Option<PieceHeader>, CallEnd> {
        loop {
            match incoming.next_or_flush(writing).await? {
                Some(Part::Header(header)) => return Ok(Some(header)),
                Some(Part::Data(data)) => {
                    let decoding = incoming.decoding.as_mut().ok_or(CallEnd::Violation)?;
                    decoding.push(data);
                    decoding.finish_piece().map_err(|_| CallEnd::Violation)?;
                }
                Some(Part::Head(_) | Part::ManifestData(_)) => return Err(CallEnd::Violation),
                None => return Ok(None),
            }
        }
    }

    async fn read_unit(
        &self,
        (wanted, named): (&WantedUnit, Option<ListDigest>),
        incoming: &mut Incoming,
        writing: &mut Writing<'_>,
    ) -> Result<(), CallEnd> {
        let lists = self.around.lists.clone();
        writing.open(wanted, Naming { named, lists });
        let mut left = wanted.unit.len;
        while left > 0 {
            let data = incoming
                .next_data((left, &self.peer.meter, &self.around.downloads), writing)
                .await?;
            left -= data.len() as u64;
            let start = Instant::now();
            writing.push(data).await?;
            if left == 0 {
                writing.complete().await?;
            }
            // While our own disk is busy the peer has nobody to send to.
            incoming.pace.handle_pause(start.elapsed());
        }
        if let Some(decoding) = &mut incoming.decoding {
            decoding.finish_piece().map_err(|_| CallEnd::Violation)?;
        }
        Ok(())
    }

    /// Gives the list that the header of a slice names; the machine is told of one that is not known.
    async fn take_name(
        &self,
        wanted: &WantedUnit,
        header: &PieceHeader,
    ) -> Result<Option<ListDigest>, CallEnd> {
        let UnitPart::Slice { item, .. } = wanted.unit.part else {
            return Ok(None);
        };
        let named = ListDigest::try_from(header.list_digest.as_ref()).ok();
        if let Some(list) = named
            && self.around.lists.find(item, list).is_none()
        {
            let provider = self.provider;
            let report = Report::Named {
                provider,
                item,
                list,
            };
            let sent = self.around.reports.send(report).await;
            sent.map_err(|_| CallEnd::Cancelled)?;
        }
        Ok(named)
    }

    fn request(&self) -> ReadPiecesRequest {
        let span = |span: zeroshare_transfer::Span| PieceSpan {
            first: span.first,
            count: span.count,
            skip_bytes: span.skip,
            limit_bytes: span.limit,
        };
        let units = self.units.iter().map(|wanted| &wanted.unit);
        ReadPiecesRequest {
            content_id: self.around.content.to_string(),
            spans: spans(units).into_iter().map(span).collect(),
            recheck: self.is_recheck,
            accept_encodings: vec![StreamEncoding::Zstd.into(), StreamEncoding::Raw.into()],
            ..ReadPiecesRequest::default()
        }
    }

    /// Checks that it is what was asked for, and says how to decode it.
    fn check_head(&self, head: &ContentHead) -> Result<Option<Decoding>, CallEnd> {
        if head.content_size_bytes != self.around.layout.content_size() {
            return Err(CallEnd::Violation);
        }
        match head.encoding() {
            StreamEncoding::Raw => Ok(None),
            StreamEncoding::Zstd => Decoding::new().map(Some).map_err(|_| CallEnd::Violation),
            StreamEncoding::Unspecified => Err(CallEnd::Violation),
        }
    }
}

/// An answer as it comes.
struct Incoming {
    stream: PartStream,
    pace: Pace,
    /// `None` while bytes come as they are.
    decoding: Option<Decoding>,
}

impl Incoming {
    /// Takes in how the data travels from here on.
    fn turn(&mut self, header: &PieceHeader) -> Result<(), CallEnd> {
        match header.encoding() {
            StreamEncoding::Unspecified => {}
            StreamEncoding::Raw => self.decoding = None,
            StreamEncoding::Zstd => {
                let decoding = Decoding::new().map_err(|_| CallEnd::Violation)?;
                self.decoding = Some(decoding);
            }
        }
        Ok(())
    }

    /// Gives the next bytes of a piece of which so many are missing.
    async fn next_data(
        &mut self,
        (left, meter, downloads): (u64, &Meter, &Throttle),
        writing: &mut Writing<'_>,
    ) -> Result<Bytes, CallEnd> {
        loop {
            if let Some(decoding) = &mut self.decoding {
                let decoded = decoding.next(left).map_err(|_| CallEnd::Violation)?;
                if let Some(decoded) = decoded {
                    return Ok(decoded);
                }
            }
            let data = match self.next_or_flush(writing).await? {
                Some(Part::Data(data)) => data,
                Some(Part::Header(_) | Part::Head(_) | Part::ManifestData(_)) => {
                    return Err(CallEnd::Violation);
                }
                None => return Err(CallEnd::Lost),
            };
            meter.add(data.len() as u64);
            let wait = downloads.take(data.len() as u64);
            if !wait.is_zero() {
                // Who is not read stops sending as soon as the window is full, and is not to blame for that.
                writing.flush().await?;
                tokio::time::sleep(wait).await;
                self.pace.handle_pause(wait);
            }
            match &mut self.decoding {
                Some(decoding) => decoding.push(data),
                None if data.len() as u64 <= left => return Ok(data),
                None => return Err(CallEnd::Violation),
            }
        }
    }

    /// Gives the next part; where none is there yet, what is whole is written before it is waited for.
    async fn next_or_flush(&mut self, writing: &mut Writing<'_>) -> Result<Option<Part>, CallEnd> {
        tokio::select! {
            biased;
            part = next_part(&mut self.stream, &mut self.pace) => return part,
            () = std::future::ready(()) => {}
        }
        let start = Instant::now();
        writing.flush().await?;
        self.pace.handle_pause(start.elapsed());
        next_part(&mut self.stream, &mut self.pace).await
    }
}

fn is_of(header: &PieceHeader, unit: &Unit) -> bool {
    (header.piece, header.offset_bytes, header.size_bytes) == (unit.piece, unit.offset, unit.len)
}
