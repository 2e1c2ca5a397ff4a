//! One fetch, from the wish to the path.
//!
//! The steps stand in [`Run::fetch`]; each has a module. [`driver`] is the largest: it reads what is missing.

mod beginnings;
mod blob;
mod call;
mod chunks;
mod cold;
mod decoding;
mod driver;
mod early;
mod failure;
mod hand_over;
mod judging;
mod links;
mod lists;
mod locate;
mod offer;
mod opening;
mod probing;
mod providers;
mod reader;
mod report;
mod reuse;
mod sizing;
mod stage;
mod tally;
mod view;
mod wants;
mod watch_pieces;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Instrument as _, Span, info, info_span};
use zeroshare_chassis::Lifetime;
use zeroshare_content::ContentId;
use zeroshare_staging::{Durability, Staged};

use driver::{Beginning, Driver};
pub(crate) use failure::FetchFailure;
pub(crate) use hand_over::tell_store;
pub(crate) use links::read_links;
pub(crate) use locate::{Members, Search};
use offer::Offer;
pub(crate) use opening::Wish;
pub(crate) use providers::{Hunt, hunt};
pub(crate) use report::Convictions;
use reuse::Looking;
pub(crate) use stage::store_for;
pub(crate) use view::{Accused, Meter, Progress, Stage, View};
pub(crate) use wants::{Judge, MAX_WANTS, Ready, Want, Wants};

use crate::local::{LocalTree, Look, Trust, look};
use crate::registry::Entry;
use crate::request::Order;
use crate::shared::Shared;
use tally::Tally;

/// Tasks of a fetch end at once when it does; a thread may be at the disk.
const END_GRACE: Duration = Duration::from_secs(10);

/// Starts a fetch that runs on whether anybody watches it or not.
pub(crate) fn spawn(shared: &Arc<Shared>, entry: &Arc<Entry>, order: Order) {
    let span = info_span!(
        "fetch",
        id = %order.ids[0],
        into = order.into.as_ref().map(|path| path.display().to_string()),
    );
    let run = Run {
        shared: shared.clone(),
        entry: entry.clone(),
        order,
        tasks: shared.lifetime.child(),
        offering: shared.lifetime.child(),
    };
    drop(shared.lifetime.spawn("fetch", run.run().instrument(span)));
}

/// A fetch that runs.
struct Run {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    order: Order,
    /// What the fetch has running; it ends with the fetch.
    tasks: Lifetime,
    /// The offer to others, which outlasts it until all can be had as committed.
    offering: Lifetime,
}

impl Run {
    async fn run(self) {
        let (id, client) = (self.order.ids[0], self.order.client.as_str());
        let (from, replace) = (self.order.from.len(), self.order.replace);
        info!(%id, client, from, replace, "fetch started");
        let start = Instant::now();
        let cancel = self.entry.cancel.clone();
        let stopping = self.shared.lifetime.stopping();
        let (tasks, offering) = (self.tasks.clone(), self.offering.clone());
        let result = tokio::select! {
            result = self.fetch() => result,
            () = cancel.cancelled() => Err(FetchFailure::Cancelled),
            () = stopping => Err(FetchFailure::Stopping),
        };
        // Only when nothing writes any more may others have the staging directory.
        offering.stop();
        tasks.end(END_GRACE).await;
        offering.end(END_GRACE).await;
        let elapsed = start.elapsed();
        match &result {
            Ok(path) => info!(%id, path = %path.display(), ?elapsed, "fetch finished"),
            Err(failure) => info!(%id, %failure, ?elapsed, "fetch finished without success"),
        }
        self.entry.finish(result);
    }

    async fn fetch(&self) -> Result<PathBuf, FetchFailure> {
        match (self.order.ids.first(), self.order.into.as_deref()) {
            (Some(ContentId::Blob(blob)), Some(into)) => self.fetch_blob(*blob, into).await,
            _ => self.fetch_tree().await,
        }
    }

    async fn fetch_tree(&self) -> Result<PathBuf, FetchFailure> {
        let Look {
            found: local,
            damaged,
        } = self.look_locally().await;
        let repaired = damaged.filter(|_| self.order.replace);
        if let (Some(local), None, None) = (&local, &self.order.into, &repaired) {
            self.entry.update(|view| view.id = local.id.into());
            return Ok(local.path.clone());
        }
        self.entry.update(|view| view.looked_locally = true);
        let target = stage::target_of(self, repaired.as_deref()).await?;
        let hunt = match &local {
            Some(local) => self.hunt_nobody(local).await?,
            None => self.hunt(target.spool_dir()).await?,
        };
        self.check_size(&hunt)?;
        self.entry.update(|view| view.id = hunt.described.content);
        // What came with its manifest is not looked for; the rest is while the staging directory is made.
        let looking = (hunt.early.is_empty()).then(|| self.look_for_parts(&hunt, local.as_ref()));
        match stage::begin(self, &target, &hunt.described).await? {
            stage::Begun::Staged(staged) => {
                let permit = self.shared.transfers.acquire().await;
                let _permit = permit.map_err(|_| FetchFailure::Stopping)?;
                self.complete(staged, hunt, (local, looking)).await
            }
            // Another process was faster.
            stage::Begun::Present(path) => Ok(path),
        }
    }

    async fn look_locally(&self) -> Look {
        let trust = if self.order.replace {
            Trust::Nothing
        } else {
            Trust::Index
        };
        let also = self.order.target_store.as_deref();
        let span = info_span!("look locally");
        let ids: Vec<_> = self.order.ids.iter().filter_map(ContentId::tree).collect();
        look(&self.shared, &ids, trust, also).instrument(span).await
    }

    fn look_for_parts(&self, hunt: &Hunt, local: Option<&LocalTree>) -> Looking {
        let known = local.map(|local| local.path.clone());
        let described = &hunt.described;
        Looking::begin(
            &self.shared,
            (&described.manifest, &described.layout),
            known,
        )
    }

    fn search(&self) -> Search {
        let patience = self
            .order
            .locate_timeout
            .unwrap_or(self.shared.config.locate_timeout);
        Search {
            members: Members::LeftOut,
            ids: self.order.ids.clone(),
            from: self.order.from.clone(),
            patience,
        }
    }

    async fn hunt(&self, spool_dir: PathBuf) -> Result<Hunt, FetchFailure> {
        let ids = self.order.ids.clone();
        let wish = Wish {
            ids,
            with_pieces: true,
            spool_dir,
        };
        hunt(&self.shared, &self.tasks, self.search(), wish).await
    }

    /// A copy of a tree that is here needs no peer, unless it changes meanwhile.
    async fn hunt_nobody(&self, local: &LocalTree) -> Result<Hunt, FetchFailure> {
        let manifest = crate::manifests::read_local(&self.shared, local).await?;
        Hunt::of_local_tree(&self.shared, &self.tasks, self.search(), manifest)
    }

    fn check_size(&self, hunt: &Hunt) -> Result<(), FetchFailure> {
        let (id, size) = (hunt.described.content, hunt.described.total_size());
        match self.order.max_bytes {
            Some(limit) if size > limit => Err(FetchFailure::TooLarge { id, size, limit }),
            _ => Ok(()),
        }
    }

    async fn complete(
        &self,
        staged: Arc<Staged>,
        mut hunt: Hunt,
        (local, looking): (Option<LocalTree>, Option<Looking>),
    ) -> Result<PathBuf, FetchFailure> {
        self.entry.update(|view| view.stage = Stage::Transferring);
        early::write(&self.shared, &staged, &mut hunt).await?;
        let accused = hunt.accused.clone();
        self.entry.update(|view| view.accused.add_all(accused));
        let mut reused = if staged.is_complete() {
            reuse::Reused::default()
        } else {
            let looking = looking.unwrap_or_else(|| self.look_for_parts(&hunt, local.as_ref()));
            reuse::reuse(&self.shared, &staged, looking).await?
        };
        if let Some(peer) = &hunt.peer {
            reused.bytes += beginnings::reuse_beginnings(&self.shared, &staged, peer).await?;
        }
        let mut tally = Tally::of_staged(&staged, reused);
        tally.early(staged.layout(), 0..hunt.early_items);
        let progress = tally.progress(Vec::new());
        self.entry.update(|view| view.progress = progress);
        let (tally, offer) = if staged.is_complete() {
            drop(hunt);
            (tally, None)
        } else {
            self.transfer(staged.clone(), hunt, tally).await?
        };
        let path = self.commit(staged, &tally).await;
        // Until now others could read what was staged, so that nobody finds us without it.
        drop(offer);
        path
    }

    async fn transfer(
        &self,
        staged: Arc<Staged>,
        hunt: Hunt,
        tally: Tally,
    ) -> Result<(Tally, Option<Offer>), FetchFailure> {
        let offer = self
            .is_offered()
            .then(|| Offer::start(&self.shared, &self.offering, &staged));
        let driver = Driver::new(Beginning {
            shared: self.shared.clone(),
            entry: self.entry.clone(),
            tasks: self.tasks.clone(),
            staged,
            locator: hunt.locator,
            first: hunt.peer,
            candidates: hunt.candidates,
            liars: hunt.liars,
            tally,
            offer,
            offering: self.offering.clone(),
        });
        driver.run().instrument(info_span!("transfer")).await
    }

    /// Whether others may have what is fetched: trees in stores, and blobs wherever they go.
    fn is_offered(&self) -> bool {
        self.order.into.is_none() || self.order.ids.iter().any(|id| id.blob().is_some())
    }

    async fn commit(&self, staged: Arc<Staged>, tally: &Tally) -> Result<PathBuf, FetchFailure> {
        self.entry.update(|view| view.stage = Stage::Committing);
        // Helpers that watch peers or offer pieces hold on to it too.
        self.tasks.clone().end(END_GRACE).await;
        let staged = Arc::into_inner(staged).ok_or_else(|| FetchFailure::Disk {
            why: "a thread does not come back from the disk".to_owned(),
        })?;
        let id = staged.content();
        let is_lazy = self.order.no_sync || self.shared.config.no_sync;
        let durability = if is_lazy {
            Durability::Unsynced
        } else {
            Durability::Durable
        };
        let span = info_span!("commit", is_durable = !is_lazy, bytes = tally.fetched_bytes);
        let blocking = span.clone();
        let committing = self.shared.lifetime.spawn_blocking("commit", move || {
            blocking.in_scope(|| staged.commit(durability))
        });
        let committed = committing.instrument(span.clone()).await;
        let committed = committed
            .map_err(|_| FetchFailure::Stopping)?
            .map_err(FetchFailure::of_commit)?;
        let path = committed.path.clone();
        info!(
            %id,
            fetched_bytes = tally.fetched_bytes,
            quarantined = committed.quarantined.as_ref().map(|path| path.display().to_string()),
            "content committed"
        );
        if self.is_offered() {
            tell_store(&self.shared, id, committed)
                .instrument(span)
                .await;
        }
        Ok(path)
    }
}

/// Runs blocking work within the span that is current.
pub(crate) async fn blocking<T: Send + 'static>(
    shared: &Shared,
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FetchFailure> {
    let span = Span::current();
    let done = shared
        .lifetime
        .spawn_blocking(name, move || span.in_scope(work))
        .await;
    done.map_err(|_| FetchFailure::Stopping)
}
