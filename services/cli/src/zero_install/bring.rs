//! Bringing implementations from the LAN to where 0install looks for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::Status;
use zeroshare_content::ContentId;
use zeroshare_shelf::{Environment, StoreRoot, find_tree, is_own_mount, store_roots};
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::discovery::v1::FindProvidersRequest;
use zeroshare_wire::pb::fetcher::v1::{Fetch, StartFetchRequest};

use super::Implementation;
use crate::command::fetch::client_name;
use crate::command::fetch::follow::Follower;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{Needs, Services};
use crate::render::Progress;
use crate::session::Session;
use crate::together::all;

/// Implementations that are fetched at once; the others wait.
const AT_ONCE: usize = 4;

/// Implementations that are looked for at once: of less than half as many lookups discovery has room for.
const LOOKED_FOR_AT_ONCE: usize = 100;

/// Who is said to have one must give its manifest by then.
const MANIFEST_TIME: Duration = Duration::from_secs(5);

/// How much later than it was told to discovery may answer.
const ANSWER_GRACE: Duration = Duration::from_millis(100);

/// Where implementations are looked for, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bringing<'a> {
    /// Stores that 0install looks into besides the usual ones.
    pub(crate) stores: &'a [PathBuf],
    /// Ask these hosts only, and nobody by datagram; empty: the LAN.
    pub(crate) from: &'a [String],
    /// How long somebody who has it is looked for.
    pub(crate) wait: Duration,
}

/// An implementation, and what came of it.
#[derive(Debug)]
pub(crate) struct Brought {
    /// What was to be brought.
    pub(crate) implementation: Implementation,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// What came of bringing an implementation.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was here already, unverified as 0install takes it.
    Here(PathBuf),
    /// It was fetched.
    Fetched(Box<Fetch>),
    /// Nobody has it.
    Nobody,
    /// It has no digest by which it could be asked for.
    Unnamed,
    /// Somebody has it, and it could not be fetched.
    Failed(Failure),
}

/// Where 0install looks.
#[derive(Debug, Clone)]
struct Stores(Arc<[StoreRoot]>);

/// Brings what is missing; the results are in the order of the implementations. Nothing is started if all is here.
///
/// May be dropped midway: a fetch of the running node goes on.
pub(crate) async fn bring(
    implementations: Vec<Implementation>,
    bringing: Bringing<'_>,
    progress: &Progress<'_>,
    session: &Session,
) -> Result<Vec<Brought>, Failure> {
    let stores = Stores::of(session, bringing.stores);
    let looking = session.lifetime.spawn_blocking("look into stores", {
        let stores = stores.clone();
        move || {
            let found = implementations.into_iter().map(|one| {
                let place = stores.find(&one);
                (one, place)
            });
            found.collect::<Vec<_>>()
        }
    });
    let found = looking
        .await
        .map_err(|error| Failure::because("cannot look into the stores", &error))?;
    let is_wanted =
        |(one, place): &(Implementation, Option<PathBuf>)| place.is_none() && !one.ids().is_empty();
    let services = if found.iter().any(is_wanted) {
        Some(session.services(Needs::ALL)?)
    } else {
        None
    };
    let client = client_name()?;
    let bringer = services.as_ref().map(|services| Bringer {
        session,
        services,
        progress,
        bringing,
        client: &client,
        stores: &stores,
        lookups: Semaphore::new(LOOKED_FOR_AT_ONCE),
        fetches: Semaphore::new(AT_ONCE),
    });
    let work = found.into_iter().map(|(implementation, place)| {
        let bringer = bringer.as_ref();
        async move {
            let ids = implementation.ids();
            let outcome = match (place, bringer) {
                (Some(place), _) => Outcome::Here(place),
                (None, Some(bringer)) if !ids.is_empty() => {
                    bringer.bring(&implementation, &ids).await
                }
                (None, _) => Outcome::Unnamed,
            };
            Brought {
                implementation,
                outcome,
            }
        }
    });
    Ok(all(work.collect()).await)
}

/// What all implementations of one program are brought with.
struct Bringer<'a> {
    session: &'a Session,
    services: &'a Services,
    progress: &'a Progress<'a>,
    bringing: Bringing<'a>,
    client: &'a str,
    stores: &'a Stores,
    lookups: Semaphore,
    fetches: Semaphore,
}

impl Bringer<'_> {
    async fn bring(&self, implementation: &Implementation, ids: &[ContentId]) -> Outcome {
        if self.bringing.from.is_empty() && !self.is_offered(ids).await {
            return Outcome::Nobody;
        }
        // Nobody closes it, and without a turn it would only be less polite.
        let _turn = self.fetches.acquire().await;
        let request = StartFetchRequest {
            content_ids: spelled(ids),
            from: self.bringing.from.to_vec(),
            locate_timeout: Some(to_duration(self.bringing.wait)),
            client: self.client.to_owned(),
            ..StartFetchRequest::default()
        };
        let follower = Follower::new(self.session, self.services, self.progress, request)
            .patient_for(self.bringing.wait + MANIFEST_TIME);
        match follower.follow().await {
            Ok(fetch) => {
                if self.stores.find(implementation).is_none() {
                    self.progress.note(&unseen(implementation, &fetch.path));
                }
                Outcome::Fetched(Box::new(fetch))
            }
            Err(failure) if failure.exit == Exit::Nobody => Outcome::Nobody,
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// Whether somebody says to have it. All are asked at once, so that many that nobody has take no longer than one.
    async fn is_offered(&self, ids: &[ContentId]) -> bool {
        let _turn = self.lookups.acquire().await;
        let wait = self.bringing.wait;
        match timeout(wait + ANSWER_GRACE, self.first_provider(ids)).await {
            Ok(Ok(is_offered)) => is_offered,
            // The fetch says what is wrong.
            Ok(Err(status)) => {
                tracing::debug!(%status, "discovery does not answer");
                true
            }
            Err(_) => false,
        }
    }

    async fn first_provider(&self, ids: &[ContentId]) -> Result<bool, Status> {
        let request = FindProvidersRequest {
            content_ids: spelled(ids),
            wait: Some(to_duration(self.bringing.wait)),
            enough: 0,
            with_askers: false,
        };
        let found = self.services.discovery().find_providers(request).await?;
        Ok(found.into_inner().next().await.transpose()?.is_some())
    }
}

impl Stores {
    /// The usual ones of this user, and those named; not what we show ourselves.
    fn of(session: &Session, named: &[PathBuf]) -> Self {
        let environment = Environment::of_variables(session.env.vars.clone());
        let mut roots = store_roots(&environment, named);
        roots.retain(|root| !is_own_mount(&root.path));
        Self(roots.into())
    }

    fn find(&self, implementation: &Implementation) -> Option<PathBuf> {
        let mut digests = implementation.digests.iter();
        digests.find_map(|digest| find_tree(&self.0, digest))
    }
}

fn spelled(ids: &[ContentId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn unseen(implementation: &Implementation, path: &str) -> String {
    let store = Path::new(path).parent().unwrap_or(Path::new(path));
    format!(
        "{implementation} is in {}, where 0install does not look: make that a line of \
         ~/.config/0install.net/injector/implementation-dirs",
        store.display()
    )
}
