//! Fetches from older programs, when it is told to.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tempfile::NamedTempFile;
use zeroshare_chassis::places::DEFAULT_PORT;
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_content::{Algorithm, Family, TreeId};
use zeroshare_kin::{Format, Kin, Wanted};

use super::{FetchArguments, absolute};
use crate::command::add::Prepared;
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::kin::{Asking, Browsing, DownloadError, download};
use crate::reach::{Needs, Services};
use crate::render::{Page, Phase, Progress, Report, Step, Track};
use crate::session::{Session, interrupted};
use crate::source::{Source, free_bytes, temporary_parent};

/// How long replies count, unless something else is said.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long adverts count, as in Zero Install for .NET itself.
const ADVERT_PATIENCE: Duration = Duration::from_secs(2);

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// Whom to ask.
#[derive(Debug, Clone)]
pub(super) enum Whom {
    /// Everybody who speaks in this way.
    Everybody(Kin),
    /// One machine, in one of both ways.
    One(Kin, StaticPeer),
}

#[derive(Debug, Serialize)]
struct KinReport {
    fetches: Vec<Fetched>,
}

#[derive(Debug, Serialize)]
struct Fetched {
    content_id: String,
    path: String,
    from: String,
}

impl Report for KinReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut fetches = self.fetches.iter();
        fetches.try_for_each(|fetch| writeln!(page, "{}", fetch.path))
    }
}

/// Fetches one tree after the other, and prints where they are.
pub(super) async fn run(
    arguments: &FetchArguments,
    whom: &Whom,
    session: &Session,
) -> Result<Exit, Failure> {
    let mut trees = Vec::new();
    for id in &arguments.ids {
        let tree = id.tree().ok_or_else(|| {
            Failure::usage("older programs have trees only, and no single files (blob:…)")
        })?;
        trees.push(tree);
    }
    let needs = if arguments.store.is_some() {
        Needs::ADD_OF_SAME_USER
    } else {
        Needs::ADD
    };
    let services = session.services(needs)?;
    let mut fetches = Vec::new();
    for tree in trees {
        fetches.push(fetch(arguments, whom, tree, (session, &services)).await?);
    }
    session.output.report(&KinReport { fetches })?;
    Ok(Exit::Done)
}

/// Tries those who may have it, one after the other, until an archive has the right id.
async fn fetch(
    arguments: &FetchArguments,
    whom: &Whom,
    tree: TreeId,
    (session, services): (&Session, &Services),
) -> Result<Fetched, Failure> {
    let progress = Progress::new(&session.output);
    let mut track = progress.track(&tree.to_string());
    track.show(Step::new(Phase::Locating));
    let mut candidates = Candidates::of(arguments, whom, tree, session).await?;
    let mut last = None;
    while let Some((from, path)) = candidates.next(tree).await {
        let prepared = match try_one(arguments, tree, (from, &path), (session, &mut track)).await {
            Ok(prepared) => prepared,
            Err(failure) => {
                tracing::info!(%from, %tree, %failure, "an older program is of no use");
                last = Some(worse(last, failure));
                continue;
            }
        };
        let target_store = arguments.store.as_deref().map(absolute).transpose()?;
        let store = target_store.unwrap_or_default();
        let delivery = prepared.delivery(tree.to_string(), store, arguments.no_sync);
        let added = delivery.send(services, session, &mut track).await?;
        return Ok(Fetched {
            content_id: added.content_id,
            path: added.path,
            from: from.to_string(),
        });
    }
    Err(last.unwrap_or_else(|| {
        let message = format!("no older program says that it has {tree}");
        Failure::new(Exit::Nobody, "NO_PROVIDERS", message)
    }))
}

/// That somebody does not have it matters less than that somebody failed.
fn worse(before: Option<Failure>, now: Failure) -> Failure {
    match before {
        Some(before) if before.exit > now.exit => before,
        Some(_) | None => now,
    }
}

/// How those are found who are asked.
enum Search {
    Replies(Asking),
    Adverts(Browsing),
}

/// Who may have it, and the paths that are still to be tried.
struct Candidates {
    kin: Kin,
    search: Option<Search>,
    waiting: VecDeque<(SocketAddr, String)>,
}

impl Candidates {
    async fn of(
        arguments: &FetchArguments,
        whom: &Whom,
        tree: TreeId,
        session: &Session,
    ) -> Result<Self, Failure> {
        let (kin, search, found) = match whom {
            Whom::Everybody(Kin::ZeroShare) => {
                let patience = arguments.timeout.unwrap_or(PATIENCE);
                let asking = Asking::everybody(tree, DEFAULT_PORT, patience).await;
                let failed = |error| Failure::because("cannot ask by broadcast", &error);
                let search = Search::Replies(asking.map_err(failed)?);
                (Kin::ZeroShare, Some(search), Vec::new())
            }
            Whom::Everybody(Kin::DotNet) => {
                let left_alone = session.settings()?.discovery.left_alone;
                let browsing = Browsing::begin(&left_alone, ADVERT_PATIENCE);
                let failed = |error| Failure::because("cannot look for adverts", &error);
                let search = Search::Adverts(browsing.map_err(failed)?);
                (Kin::DotNet, Some(search), Vec::new())
            }
            Whom::One(kin, peer) => {
                let found = tokio::net::lookup_host((peer.host(), peer.port())).await;
                let tried = format!("cannot find {}", peer.host());
                let found = found.map_err(|error| Failure::because(&tried, &error))?;
                (*kin, None, found.take(MOST_ADDRESSES).collect())
            }
        };
        let mut candidates = Self {
            kin,
            search,
            waiting: VecDeque::new(),
        };
        for address in found {
            candidates.await_turn(address, tree);
        }
        Ok(candidates)
    }

    /// The next one, and what to ask it for.
    async fn next(&mut self, tree: TreeId) -> Option<(SocketAddr, String)> {
        if self.waiting.is_empty()
            && let Some(search) = &mut self.search
        {
            let found = match search {
                Search::Replies(asking) => asking.next().await?,
                Search::Adverts(browsing) => browsing.next().await?,
            };
            self.await_turn(found, tree);
        }
        self.waiting.pop_front()
    }

    fn await_turn(&mut self, address: SocketAddr, tree: TreeId) {
        // In tar archives of the .NET version links are broken.
        let paths = Wanted::paths_of(self.kin, &tree, Format::Zip);
        let waiting = paths.into_iter().map(|path| (address, path));
        self.waiting.extend(waiting);
    }
}

/// Downloads, unpacks and hashes what one of them sends.
async fn try_one(
    arguments: &FetchArguments,
    tree: TreeId,
    (from, path): (SocketAddr, &str),
    (session, track): (&Session, &mut Track<'_>),
) -> Result<Prepared, Failure> {
    let parent = temporary_parent();
    let made = NamedTempFile::with_prefix_in("zeroshare-", &parent);
    let archive = made.map_err(|error| Failure::because(&parent.display().to_string(), &error))?;
    let limit = match arguments.max_size {
        Some(size) => size.as_u64(),
        None => free_bytes(&parent)?,
    };
    let opened = archive.reopen().map(tokio::fs::File::from_std);
    let mut file = opened.map_err(|error| Failure::because("cannot write", &error))?;
    let mut step = Step {
        peers: vec![from.to_string()],
        ..Step::new(Phase::Transferring)
    };
    track.show(step.clone());
    let downloading = download(
        &session.lifetime,
        (from, path),
        (&mut file, limit),
        |taken| {
            step.done_bytes = taken;
            track.show(step.clone());
        },
    );
    let downloaded = downloading.await;
    downloaded.map_err(|error| refused(from, tree, &error))?;
    track.show(Step::new(Phase::Verifying));
    let max_bytes = arguments.max_size.map(|size| size.as_u64());
    let verifying = session
        .lifetime
        .spawn_blocking("verify an archive", move || {
            let named = archive.path().display().to_string();
            let source =
                Source::open(archive.path(), None, max_bytes).map_err(|failure| Failure {
                    message: failure.message.replace(&named, &from.to_string()),
                    ..failure
                })?;
            let algorithm = match tree.family() {
                Family::Sha1New => Algorithm::Sha1New,
                Family::Sha1 | Family::Sha256 => Algorithm::Sha256New,
            };
            Prepared::scan(source, algorithm, &tree.to_string())
        });
    let prepared = verifying.await.map_err(|_| interrupted())??;
    let found = prepared.manifest().id();
    if found != tree {
        return Err(Failure::failed(format!(
            "what {from} sends for {tree} is {found}, and is thrown away"
        )));
    }
    Ok(prepared)
}

fn refused(from: SocketAddr, tree: TreeId, error: &DownloadError) -> Failure {
    let message = format!("{from} does not give {tree}: {}", chain(error));
    match error {
        DownloadError::NotThere => Failure::new(Exit::Nobody, "NO_PROVIDERS", message),
        DownloadError::Refused { .. }
        | DownloadError::TooSlow
        | DownloadError::TooLarge { .. }
        | DownloadError::Connect(_)
        | DownloadError::Read(_)
        | DownloadError::Write(_) => Failure::failed(message),
    }
}
