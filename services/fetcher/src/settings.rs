//! What can be set, and what it comes to.

mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use zeroshare_api::connect::{LocalEndpoint, PeerChannelOptions, PeerPool};
use zeroshare_chassis::listen::LocalAddress;
use zeroshare_chassis::places::Owner;
use zeroshare_chassis::settings::{CommonConfig, SettingsError, choose, choose_list};
use zeroshare_identity::GroupSecret;
use zeroshare_shelf::{Environment, StoreRoot, store_roots};
use zeroshare_transfer::PaceRule;

pub use values::{Amount, Patience, ValueError};

/// How long peers are looked for: nobody notices a second, and the answers come in milliseconds.
const LOCATE_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest that anybody may ask to look for peers.
pub(crate) const MAX_LOCATE_TIMEOUT: Duration = Duration::from_hours(1);

/// Fetches that move bytes at once; further ones wait.
const CONCURRENT_FETCHES: usize = 8;

/// Table `[fetcher]`, and flags of the fetcher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FetcherSettings {
    /// The store that trees are added to [default: as 0install chooses: the user's own, or root's the machine's].
    #[arg(long, value_name = "DIR", env = "ZEROSHARE_TARGET_STORE")]
    pub target_store: Option<PathBuf>,
    /// How long peers are looked for before a fetch says that nobody has it, like 500ms or 2s [default: 1s].
    #[arg(long, value_name = "TIME", env = "ZEROSHARE_LOCATE_TIMEOUT")]
    pub locate_timeout: Option<Patience>,
    /// Serve the fetcher's local API on this address too, for tools like grpcurl; may be repeated.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "ZEROSHARE_FETCHER_API",
        value_delimiter = ','
    )]
    pub fetcher_api: Vec<SocketAddr>,
    /// Do not wait for the disk when a tree is added: after a power cut it is hashed again.
    #[arg(
        long,
        env = "ZEROSHARE_NO_SYNC",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_sync: Option<bool>,
    /// The most that one tree may take on disk, like 10GiB [default: what fits].
    #[arg(long, value_name = "SIZE", env = "ZEROSHARE_QUOTA")]
    pub quota: Option<Amount>,
    /// Receive from all peers and upstreams together no more than this a second, like 10MB or 2MiB; 0: no limit [default: no limit].
    #[arg(long, value_name = "BYTES", env = "ZEROSHARE_DOWNLOAD_LIMIT")]
    pub download_limit: Option<Amount>,
}

/// What the fetcher runs with.
#[derive(Debug, Clone)]
pub struct FetcherConfig {
    /// Stores in the order of lookup.
    pub roots: Vec<StoreRoot>,
    /// The store that trees are added to, if one was named.
    pub target_store: Option<PathBuf>,
    /// Whether the machine's store comes before the user's.
    pub is_machine: bool,
    /// Where the local API listens.
    pub local: Vec<LocalAddress>,
    /// Where discovery is asked.
    pub discovery: LocalEndpoint,
    /// Where this machine's store is asked.
    pub store: LocalEndpoint,
    /// The group whose members alone are read, over TLS; `None`: anybody.
    pub group: Option<GroupSecret>,
    /// Where the node's key lies.
    pub state_dir: PathBuf,
    /// How long peers are looked for.
    pub locate_timeout: Duration,
    /// Whether trees are committed without waiting for the disk.
    pub no_sync: bool,
    /// Whether a fetch ends only when the store knows what was committed, because the process may end with it. Else it ends
    /// with the commit, and the store is told right after.
    pub tells_store_first: bool,
    /// The most bytes that one tree may take on disk.
    pub quota: Option<u64>,
    /// How many bytes a second all peers and upstreams together may send; `None`: as many as they can.
    pub download_limit: Option<u64>,
    /// Fetches that move bytes at once.
    pub concurrent_fetches: usize,
    /// How patient it is with everybody.
    pub patience: Deadlines,
    /// By what transfers decide.
    pub transfer: zeroshare_transfer::Settings,
}

/// What each peer that is read gives at least under a limit of downloads, in bytes a second.
const LEAST_RATE: u64 = 16 * 1024;

/// So many seconds a peer's window lasts under a limit of downloads.
const WINDOW_SECONDS: u64 = 4;

/// The window that every HTTP/2 stream begins with.
const LEAST_WINDOW_BYTES: u32 = 65_535;

/// How long anything is waited for.
#[derive(Debug, Clone)]
pub struct Deadlines {
    /// Connections to peers.
    pub connect: PeerChannelOptions,
    /// What a peer that is read must give.
    pub pace: PaceRule,
    /// A question to a service of this machine.
    pub local_call: Duration,
    /// Handing over what was committed: as long as its files are many.
    pub hand_over: Duration,
    /// How often discovery is asked for late providers while a fetch runs.
    pub relocate: Duration,
    /// How often progress is told.
    pub tick: Duration,
    /// How often a tree that another process writes is looked at.
    pub locked_poll: Duration,
    /// How long another process may write it.
    pub locked: Duration,
    /// How long partial providers are waited for that might get what nobody has yet.
    pub starved: Duration,
    /// How long after its end a fetch is remembered.
    pub remember: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: PeerChannelOptions {
                pool: Some(PeerPool::default()),
                ..PeerChannelOptions::default()
            },
            pace: PaceRule::default(),
            local_call: Duration::from_secs(2),
            hand_over: Duration::from_secs(30),
            relocate: Duration::from_secs(5),
            tick: Duration::from_millis(100),
            locked_poll: Duration::from_millis(200),
            locked: Duration::from_secs(30),
            starved: Duration::from_secs(5),
            remember: Duration::from_hours(1),
        }
    }
}

impl FetcherConfig {
    /// Settles what flags and file say.
    pub fn resolve(
        flags: FetcherSettings,
        file: FetcherSettings,
        common: &CommonConfig,
    ) -> Result<Self, SettingsError> {
        let target_store = flags.target_store.or(file.target_store);
        if target_store
            .as_ref()
            .is_some_and(|path| !path.is_absolute())
        {
            let why = "must be an absolute path".to_owned();
            return Err(SettingsError::Value {
                name: "target-store",
                why,
            });
        }
        let usual = Patience(LOCATE_TIMEOUT);
        let Patience(locate_timeout) = choose(flags.locate_timeout, file.locate_timeout, usual);
        if locate_timeout > MAX_LOCATE_TIMEOUT {
            let why = "longer than an hour".to_owned();
            return Err(SettingsError::Value {
                name: "locate-timeout",
                why,
            });
        }
        let group = GroupSecret::read_if_named(common.group_secret.as_deref())
            .map_err(|error| SettingsError::because("group-secret", &error))?;
        let mut extra = common.stores.clone();
        extra.extend(target_store.clone());
        let places = &common.places;
        let apis = choose_list(flags.fetcher_api, file.fetcher_api);
        let local = std::iter::once(LocalAddress::of(places, "fetcher"))
            .chain(apis.into_iter().map(LocalAddress::Tcp))
            .collect();
        Ok(Self {
            roots: store_roots(&Environment::of_process(), &extra),
            target_store,
            is_machine: places.owner == Owner::Machine,
            local,
            discovery: LocalEndpoint::Unix(places.socket("discovery")),
            store: LocalEndpoint::Unix(places.socket("store")),
            group,
            state_dir: places.state_dir.clone(),
            locate_timeout,
            no_sync: choose(flags.no_sync, file.no_sync, false),
            tells_store_first: false,
            quota: flags.quota.or(file.quota).map(|Amount(bytes)| bytes),
            download_limit: (flags.download_limit.or(file.download_limit))
                .map(|Amount(bytes)| bytes)
                .filter(|bytes| *bytes > 0),
            concurrent_fetches: CONCURRENT_FETCHES,
            patience: Deadlines::default(),
            transfer: zeroshare_transfer::Settings::default(),
        }
        .limited())
    }

    /// Under a limit of downloads, reads from no more peers than it keeps busy, and lets each send ahead only as much as is read of
    /// it within a few seconds: a sender takes whoever takes nothing for ten seconds for gone.
    fn limited(mut self) -> Self {
        let Some(limit) = self.download_limit else {
            return self;
        };
        let most = self.transfer.active_providers.max(1);
        let providers = usize::try_from(limit / LEAST_RATE).unwrap_or(most);
        self.transfer.active_providers = providers.clamp(1, most);
        let share = limit / self.transfer.active_providers as u64;
        let window = u32::try_from(share.saturating_mul(WINDOW_SECONDS)).unwrap_or(u32::MAX);
        let connect = &mut self.patience.connect;
        connect.window_bytes = window.clamp(LEAST_WINDOW_BYTES, connect.window_bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_chassis::Env;
    use zeroshare_chassis::settings::CommonSettings;

    use super::*;

    #[test]
    fn a_flag_counts_before_the_file() {
        let flags = FetcherSettings {
            locate_timeout: Some(Patience(Duration::from_millis(300))),
            ..FetcherSettings::default()
        };
        let file = FetcherSettings {
            locate_timeout: Some(Patience(Duration::from_secs(9))),
            quota: Some(Amount(7)),
            download_limit: Some(Amount(0)),
            ..FetcherSettings::default()
        };
        let config = FetcherConfig::resolve(flags, file, &common()).unwrap();
        assert_eq!(config.locate_timeout, Duration::from_millis(300));
        assert_eq!(config.quota, Some(7));
        assert_eq!(config.download_limit, None);
        assert!(!config.no_sync);
    }

    #[test]
    fn under_a_limit_no_sender_waits_for_ten_seconds_for_its_window() {
        // As the senders' watchdog.
        let longest = 10.0;
        for limit in [20_000, 100_000, 300_000, 1_000_000, 1_000_000_000_u64] {
            let settings = FetcherSettings {
                download_limit: Some(Amount(limit)),
                ..FetcherSettings::default()
            };
            let none = FetcherSettings::default();
            let config = FetcherConfig::resolve(settings, none, &common()).unwrap();
            let providers = u32::try_from(config.transfer.active_providers).unwrap();
            let half = f64::from(config.patience.connect.window_bytes / 2);
            let seconds = half * f64::from(providers) / f64::from(u32::try_from(limit).unwrap());
            assert!(seconds < longest / 2.0, "{limit}: {seconds} s");
        }
    }

    #[test]
    fn a_target_store_is_a_root_too_and_must_be_absolute() {
        let settings = |path: &str| FetcherSettings {
            target_store: Some(path.into()),
            ..FetcherSettings::default()
        };
        let none = FetcherSettings::default;
        let config = FetcherConfig::resolve(settings("/s"), none(), &common()).unwrap();
        assert!(
            config
                .roots
                .iter()
                .any(|root| root.path == std::path::Path::new("/s"))
        );
        let error = FetcherConfig::resolve(settings("s"), none(), &common()).unwrap_err();
        assert!(error.to_string().contains("target-store"));
    }

    fn common() -> CommonConfig {
        let none = CommonSettings::default;
        CommonConfig::resolve(none(), none(), &Env::default()).unwrap()
    }
}
