//! Peers first, and upstream when nobody has it all.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{Instrument as _, info, info_span};
use zeroshare_content::{BlobId, ContentId, Name};
use zeroshare_transfer::cold::ColdSettings;

use super::super::opening::Described;
use super::super::reuse::Reused;
use super::super::stage;
use super::super::tally::Tally;
use super::super::{END_GRACE, FetchFailure, Members, Run, Search, Stage};
use super::{Beginning, Driver};
use crate::upstream::{Roots, Upstream, UpstreamError, UpstreamPatience};

/// So long peers are looked for that have all of it, before upstream is asked for any of it.
const PEERS_FIRST: Duration = Duration::from_millis(300);

/// What peers gave is looked at so often.
const CRAWLING: Duration = Duration::from_secs(10);

/// A lookup for members stays open for so long, and is begun anew then.
const LOOKUP: Duration = Duration::from_mins(1);

impl Run {
    /// Takes it from a peer that has it all, and otherwise reads from upstream what nobody has, together with whoever does the same.
    pub(in super::super) async fn fetch_with_upstream(
        &self,
        blob: BlobId,
        into: &Path,
    ) -> Result<PathBuf, FetchFailure> {
        let first = Self {
            shared: self.shared.clone(),
            entry: self.entry.clone(),
            order: self.order.clone(),
            tasks: self.tasks.child(),
            offering: self.offering.child(),
        };
        let mut probing = pin!(self.probe());
        let mut probed = None;
        let hunted = {
            let mut hunting = pin!(first.hunt(into.to_owned()));
            let mut peers_first = pin!(sleep(PEERS_FIRST));
            loop {
                tokio::select! {
                    hunted = &mut hunting => break Some(hunted),
                    answer = &mut probing, if probed.is_none() => probed = Some(answer),
                    () = &mut peers_first, if !peers_first.is_elapsed() => {}
                }
                if peers_first.is_elapsed() && matches!(probed, Some(Ok(_))) {
                    break None;
                }
            }
        };
        let fetched = match hunted {
            Some(Ok(hunt)) => {
                let mut fetching = pin!(first.fetch_from_peers(blob, into, hunt));
                let mut crawling = pin!(self.crawls());
                loop {
                    tokio::select! {
                        fetched = &mut fetching => break Some(fetched),
                        answer = &mut probing, if probed.is_none() => probed = Some(answer),
                        () = &mut crawling, if matches!(probed, Some(Ok(_))) => {
                            info!(%blob, "peers give too little, upstream is read too");
                            break None;
                        }
                    }
                }
            }
            Some(Err(failure)) => Some(Err(failure)),
            None => None,
        };
        first.end().await;
        match fetched {
            None
            | Some(Err(
                FetchFailure::NoProviders { .. } | FetchFailure::ProvidersExhausted { .. },
            )) => {}
            Some(done) => return done,
        }
        let probed = match probed {
            Some(probed) => probed,
            None => probing.await,
        };
        let upstream = probed.map_err(|error| FetchFailure::Upstream {
            id: blob.into(),
            why: error.to_string(),
        })?;
        self.start_cold(blob, into, upstream).await
    }

    /// Ends what it has running, which holds the staging directory.
    async fn end(self) {
        self.offering.stop();
        self.tasks.end(END_GRACE).await;
        self.offering.end(END_GRACE).await;
    }

    /// Waits until peers give less than who reads from upstream is expected to.
    async fn crawls(&self) {
        let own = ColdSettings::default().slowest_rate;
        let limit = self.shared.downloads.bytes_per_second().unwrap_or(u64::MAX);
        let least = own.min(limit / 2).saturating_mul(CRAWLING.as_secs());
        let mut before = None;
        loop {
            let view = self.entry.view();
            let is_open = view.progress.done_bytes < view.progress.total_bytes;
            let is_read = matches!(view.stage, Stage::Transferring) && is_open;
            let done = is_read.then_some(view.progress.done_bytes);
            if let (Some(before), Some(done)) = (before, done)
                && done.saturating_sub(before) < least
            {
                return;
            }
            before = done;
            sleep(CRAWLING).await;
        }
    }

    async fn probe(&self) -> Result<Upstream, UpstreamError> {
        let span = info_span!("probe upstream", urls = self.order.upstream.len());
        let throttle = self.shared.downloads.clone();
        Upstream::probe(
            &self.order.upstream,
            Roots::System,
            UpstreamPatience::default(),
            throttle,
        )
        .instrument(span)
        .await
    }

    async fn start_cold(
        &self,
        blob: BlobId,
        into: &Path,
        upstream: Upstream,
    ) -> Result<PathBuf, FetchFailure> {
        let (id, size) = (ContentId::Blob(blob), upstream.size());
        if let Some(limit) = self.order.max_bytes.filter(|limit| size > *limit) {
            return Err(FetchFailure::TooLarge { id, size, limit });
        }
        let mut names = self
            .order
            .upstream
            .iter()
            .map(crate::upstream::UpstreamUrl::file_name);
        let name = names.find_map(|name| Name::try_from(name.as_bytes()).ok());
        let described =
            Described::of_blob(blob, size, name).ok_or_else(|| FetchFailure::Upstream {
                id,
                why: format!("it says to have {size} bytes, which is too much"),
            })?;
        let staged = match self.begin_blob(blob, into, &described).await? {
            stage::Begun::Present(path) => return Ok(path),
            stage::Begun::Staged(staged) => staged,
        };
        let permit = self.shared.transfers.acquire().await;
        let _permit = permit.map_err(|_| FetchFailure::Stopping)?;
        self.entry.update(|view| view.stage = Stage::Transferring);
        let mut tally = Tally::of_staged(&staged, Reused::default());
        if !staged.is_complete() {
            info!(%id, size, ranges = upstream.has_ranges(), "nobody has it all, upstream is read too");
            let search = Search {
                patience: LOOKUP,
                members: Members::Wanted,
                ..self.search()
            };
            let driver = Driver::begin(Beginning {
                shared: self.shared.clone(),
                entry: self.entry.clone(),
                tasks: self.tasks.clone(),
                offering: self.offering.clone(),
                staged: staged.clone(),
                blob,
                search,
                upstream,
            })
            .await?;
            let (bytes, announcer) = driver.run().instrument(info_span!("cold start")).await?;
            tally.fetched_bytes = bytes;
            let path = self.commit(staged, &tally).await;
            // Until now others could read what was staged, so that nobody finds us without it.
            drop(announcer);
            return path;
        }
        self.commit(staged, &tally).await
    }
}
