//! Flags, environment and configuration file of all services together.

use std::path::Path;

use clap::{Args, Parser};
use zeroshare_chassis::Env;
use zeroshare_chassis::places::Owner;
use zeroshare_chassis::settings::{
    CommonConfig, CommonSettings, ConfigFile, LogSettings, SettingsError, TABLES,
};
use zeroshare_discovery::{DiscoveryConfig, DiscoverySettings};
use zeroshare_fetcher::{FetcherConfig, FetcherSettings};
use zeroshare_store::{StoreConfig, StoreSettings};

use crate::exit::Exit;
use crate::failure::{Failure, chain};

/// What flags and environment say, for all services.
#[derive(Debug, Clone, Default, Args)]
pub struct Settings {
    /// What all services share.
    #[command(flatten, next_help_heading = "Options of all services")]
    pub common: CommonSettings,
    /// How peers are found.
    #[command(flatten, next_help_heading = "Finding peers")]
    pub discovery: DiscoverySettings,
    /// What is offered, and to whom.
    #[command(flatten, next_help_heading = "Offering")]
    pub store: StoreSettings,
    /// How trees are brought here.
    #[command(flatten, next_help_heading = "Fetching")]
    pub fetcher: FetcherSettings,
}

/// What a node runs with, or would.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What all services share.
    pub common: CommonConfig,
    /// How peers are found.
    pub discovery: DiscoveryConfig,
    /// What is offered, and to whom.
    pub store: StoreConfig,
    /// How trees are brought here.
    pub fetcher: FetcherConfig,
}

#[derive(Debug, Parser)]
#[command(name = "zeroshare")]
struct NoFlags {
    #[command(flatten)]
    settings: Settings,
}

impl Settings {
    /// What the environment alone says.
    pub fn of_environment() -> Result<Self, Failure> {
        match NoFlags::try_parse_from(["zeroshare"]) {
            Ok(parsed) => Ok(parsed.settings),
            Err(error) => {
                let words = error.render().to_string();
                let words = words.trim_start_matches("error: ").trim_end();
                Err(refused(format!("in the environment: {words}")))
            }
        }
    }
}

impl Resolved {
    /// Settles flags, environment and file; the file is read anew each time.
    pub fn new(flags: Settings, named: Option<&Path>, env: &Env) -> Result<Self, Failure> {
        resolve(flags, named, env, None).map_err(|error| refused(chain(&error)))
    }

    /// What services of this process's own run with, whose sockets lie in `runtime_dir`.
    pub(crate) fn own(
        mut flags: Settings,
        named: Option<&Path>,
        env: &Env,
        runtime_dir: &Path,
    ) -> Result<Self, Failure> {
        flags.store.no_lan = Some(true);
        let own = resolve(flags, named, env, Some(runtime_dir));
        let mut own = own.map_err(|error| refused(chain(&error)))?;
        own.discovery = own.discovery.asks_only();
        Ok(own)
    }
}

/// The log settings of the file.
pub fn log_settings(named: Option<&Path>, env: &Env) -> Result<LogSettings, Failure> {
    let file = open(named, env).map_err(|error| refused(chain(&error)))?;
    file.table("log").map_err(|error| refused(chain(&error)))
}

/// The configuration file that counts here.
pub(crate) fn open(named: Option<&Path>, env: &Env) -> Result<ConfigFile, SettingsError> {
    let usual = zeroshare_chassis::Places::find(env).config_file;
    ConfigFile::open(named, &usual, &TABLES)
}

fn resolve(
    flags: Settings,
    named: Option<&Path>,
    env: &Env,
    runtime_dir: Option<&Path>,
) -> Result<Resolved, SettingsError> {
    let file = open(named, env)?;
    // Read for its errors: a file is wrong as a whole, whoever reads it.
    file.table::<LogSettings>("log")?;
    let mut common = CommonConfig::resolve(flags.common, file.table("common")?, env)?;
    if let Some(runtime_dir) = runtime_dir {
        common.places.owner = Owner::User;
        runtime_dir.clone_into(&mut common.places.runtime_dir);
        // Nothing is learnt in so short a time.
        runtime_dir.clone_into(&mut common.places.state_dir);
        // The index is worth keeping, but nothing fails for the lack of it.
        if let Err(error) = common.places.prepare() {
            tracing::info!(error = chain(&error), "the index cannot be kept");
            runtime_dir.clone_into(&mut common.places.cache_dir);
        }
    }
    let mut discovery =
        DiscoveryConfig::resolve(flags.discovery, file.table("discovery")?, &common)?;
    let mut store = StoreConfig::resolve(flags.store, file.table("store")?, &common)?;
    // Who is not spoken with does not read either.
    store.left_alone = discovery.left_alone.clone();
    // Who may read may also ask.
    discovery.allowed.extend(store.allow.iter().copied());
    let mut fetcher = FetcherConfig::resolve(flags.fetcher, file.table("fetcher")?, &common)?;
    // Services of our own end with the command.
    fetcher.tells_store_first = runtime_dir.is_some();
    Ok(Resolved {
        common,
        discovery,
        store,
        fetcher,
    })
}

pub(crate) fn refused(message: String) -> Failure {
    Failure::new(Exit::Usage, "CONFIGURATION", message)
        .advise("`zeroshare config show` lists all settings and where each comes from.")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn whom_discovery_leaves_alone_does_not_read() {
        let mut flags = Settings::default();
        flags.discovery.no_interface = vec!["tun*".parse().unwrap()];
        let home = ("HOME".to_owned(), "/nowhere".into());
        let env = Env {
            vars: BTreeMap::from([home]),
            uid: 1000,
        };

        let resolved = Resolved::new(flags, None, &env).unwrap();

        assert_eq!(resolved.store.left_alone, resolved.discovery.left_alone);
        assert_eq!(resolved.store.left_alone.excluded.len(), 1);
    }

    #[test]
    fn who_may_read_may_also_ask() {
        let network = "10.9.0.0/16".parse().unwrap();
        let mut flags = Settings::default();
        flags.store.allow = vec![network];
        let home = ("HOME".to_owned(), "/nowhere".into());
        let env = Env {
            vars: BTreeMap::from([home]),
            uid: 1000,
        };

        let resolved = Resolved::new(flags, None, &env).unwrap();

        assert_eq!(resolved.store.allow, [network]);
        assert_eq!(resolved.discovery.allowed, [network]);
    }
}
