//! Finds the services: the user's node, else the machine's, else our own for our own time.

mod own;
mod places;

use std::path::Path;

use zeroshare_api::clients;
use zeroshare_api::connect::{LocalEndpoint, TracedChannel, trusting_channel};
use zeroshare_api::rpc::discovery::v1::discovery_service_client::DiscoveryServiceClient;
use zeroshare_api::rpc::fetcher::v1::fetcher_service_client::FetcherServiceClient;
use zeroshare_api::rpc::store::v1::local_store_service_client::LocalStoreServiceClient;
use zeroshare_chassis::Places;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;
use crate::settings::Resolved;
use own::OwnServices;
use places::Trusted;

/// The services of a node, by the names of their sockets.
pub const SERVICES: [&str; 3] = ["discovery", "store", "fetcher"];

/// Asks discovery.
pub type DiscoveryClient = DiscoveryServiceClient<TracedChannel>;

/// Asks this machine's store.
pub type StoreClient = LocalStoreServiceClient<TracedChannel>;

/// Asks the fetcher.
pub type FetcherClient = FetcherServiceClient<TracedChannel>;

/// What a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The services that are started when no node runs; without any, a node must run.
    pub own: &'static [&'static str],
    /// Whose node will do.
    pub of: Of,
}

/// Whose node will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The user's, else the machine's.
    Anybody,
    /// One that runs as the same user: the path to be written is one of the user's own.
    SameUser,
}

impl Needs {
    /// All services.
    pub const ALL: Self = Self {
        own: &SERVICES,
        of: Of::Anybody,
    };
    /// All services, by the same user.
    pub const ALL_OF_SAME_USER: Self = Self {
        of: Of::SameUser,
        ..Self::ALL
    };
    /// What is here.
    pub const STORE: Self = Self {
        own: &["store"],
        of: Of::Anybody,
    };
    /// Who is there.
    pub const DISCOVERY: Self = Self {
        own: &["discovery"],
        of: Of::Anybody,
    };
    /// What writes, and knows what is here.
    pub const ADD: Self = Self {
        own: &["store", "fetcher"],
        of: Of::Anybody,
    };
    /// What writes as the same user, and knows what is here.
    pub const ADD_OF_SAME_USER: Self = Self {
        of: Of::SameUser,
        ..Self::ADD
    };
    /// Who is there, and what is here.
    pub const DIAGNOSIS: Self = Self {
        own: &["discovery", "store"],
        of: Of::Anybody,
    };
    /// A node that runs.
    pub const RUNNING_NODE: Self = Self {
        own: &[],
        of: Of::Anybody,
    };
}

/// The services that a command talks to.
#[derive(Debug)]
pub struct Services {
    places: Places,
    trusted: Trusted,
    own: Option<OwnServices>,
}

impl Services {
    /// Finds a node, or starts what is needed.
    pub fn reach(session: &Session, settings: &Resolved, needs: Needs) -> Result<Self, Failure> {
        let user = rustix::process::geteuid().as_raw();
        let usual = Places::find(&session.env);
        for places in places::candidates(&settings.common.places, &usual) {
            let trusted = Trusted::of(&places, user);
            match places::owner(&places, &trusted)? {
                Some(owner) if needs.of == Of::Anybody || owner == user => {
                    tracing::debug!(places = %places.runtime_dir.display(), "a node runs");
                    return Ok(Self {
                        places,
                        trusted,
                        own: None,
                    });
                }
                Some(_) | None => {}
            }
        }
        if needs.own.is_empty() {
            return Err(no_node(&settings.common.places.runtime_dir));
        }
        let own = OwnServices::start(session, needs)?;
        let places = own.places().clone();
        Ok(Self {
            trusted: Trusted::of(&places, user),
            places,
            own: Some(own),
        })
    }

    /// Those of the node that these settings are of, running or not yet.
    pub fn of_node(settings: &Resolved) -> Self {
        let places = settings.common.places.clone();
        Self {
            trusted: Trusted::of(&places, rustix::process::geteuid().as_raw()),
            places,
            own: None,
        }
    }

    /// Those of the node that runs in these places, and of no other.
    pub fn running_in(places: Places) -> Result<Self, Failure> {
        let trusted = Trusted::of(&places, rustix::process::geteuid().as_raw());
        if places::owner(&places, &trusted)?.is_none() {
            return Err(no_node(&places.runtime_dir));
        }
        Ok(Self {
            places,
            trusted,
            own: None,
        })
    }

    /// Whether they live in this process, and end with it.
    pub fn are_our_own(&self) -> bool {
        self.own.is_some()
    }

    /// The places of their node.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// A channel to a service, which says nothing to anybody who is not trusted there.
    pub fn channel(&self, service: &str) -> TracedChannel {
        let endpoint = LocalEndpoint::Unix(self.places.socket(service));
        trusting_channel(&endpoint, self.trusted.users())
    }

    /// A client of discovery.
    pub fn discovery(&self) -> DiscoveryClient {
        clients::discovery(self.channel("discovery"))
    }

    /// A client of the store.
    pub fn store(&self) -> StoreClient {
        clients::local_store(self.channel("store"))
    }

    /// A client of the fetcher.
    pub fn fetcher(&self) -> FetcherClient {
        clients::fetcher(self.channel("fetcher"))
    }
}

fn no_node(runtime_dir: &Path) -> Failure {
    let message = format!(
        "no node runs here (nobody listens in {})",
        runtime_dir.display()
    );
    Failure::new(Exit::Failed, "NO_NODE", message).advise("Start one with `zeroshare node`.")
}
