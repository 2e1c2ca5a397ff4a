//! The settings that all services of a node share.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use serde::Deserialize;

use super::{SettingsError, StaticPeer, choose, choose_list};
use crate::places::{DEFAULT_PORT, Env, Places};

/// Table `[common]`, and flags of every service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CommonSettings {
    /// Another store to read and offer, beside those where Zero Install keeps its own; may be repeated.
    #[arg(
        long,
        value_name = "DIR",
        env = "ZEROSHARE_STORE",
        value_delimiter = ':'
    )]
    pub store: Vec<PathBuf>,
    /// Where sockets and the node's lock lie [default: that of the session, or /run/zeroshare].
    #[arg(long, value_name = "DIR", env = "ZEROSHARE_RUNTIME_DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Where the node's key and what it learnt lie [default: ~/.local/state/zeroshare, or /var/lib/zeroshare].
    #[arg(long, value_name = "DIR", env = "ZEROSHARE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where the index of the stores lies [default: ~/.cache/zeroshare, or /var/cache/zeroshare].
    #[arg(long, value_name = "DIR", env = "ZEROSHARE_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// The port of this node, for TCP and UDP; 0 takes any [default: 38339 if it is free, else any].
    #[arg(long, env = "ZEROSHARE_PORT")]
    pub port: Option<u16>,
    /// A peer to ask although it is not found by itself, and who may ask: an address, or a name of one or several (looked up
    /// again every minute), as of a headless service; may be repeated.
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        env = "ZEROSHARE_STATIC_PEER",
        value_delimiter = ','
    )]
    pub static_peer: Vec<StaticPeer>,
    /// The file with the secret of this node's group: machines that have the same find and read each other only, over TLS, and
    /// say nothing to others [default: no group]. Make one with `head -c 32 /dev/urandom | base64`.
    #[arg(long, value_name = "FILE", env = "ZEROSHARE_GROUP_SECRET")]
    pub group_secret: Option<PathBuf>,
    /// Do not answer the original 0share of 2008: its questions by broadcast, and its requests by HTTP. A group never does.
    #[arg(
        long = "no-0share",
        env = "ZEROSHARE_NO_0SHARE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_0share: Option<bool>,
    /// Do not answer Zero Install for .NET (Windows), which reads archives by HTTP. A group never does.
    #[arg(
        long,
        env = "ZEROSHARE_NO_DOTNET",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_dotnet: Option<bool>,
}

/// What all services of a node run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonConfig {
    /// Directories of this node.
    pub places: Places,
    /// Stores beside those that are found.
    pub stores: Vec<PathBuf>,
    /// The port for TCP and UDP; 0 means any.
    pub port: u16,
    /// Whether another port will do when this one is taken: nobody asked for this one.
    pub port_may_change: bool,
    /// Peers to ask although they are not found, and who may ask.
    pub static_peers: Vec<StaticPeer>,
    /// Where the secret of this node's group lies; `None`: it belongs to none.
    pub group_secret: Option<PathBuf>,
    /// Whether the original 0share is answered, where there is no group.
    pub answers_0share: bool,
    /// Whether Zero Install for .NET is answered, where there is no group.
    pub answers_dotnet: bool,
}

impl CommonConfig {
    /// Settles what flags and file say, with the environment's places for what they do not.
    pub fn resolve(
        flags: CommonSettings,
        file: CommonSettings,
        env: &Env,
    ) -> Result<Self, SettingsError> {
        let stores = choose_list(flags.store, file.store);
        if stores.iter().any(|store| store.as_os_str().is_empty()) {
            return Err(SettingsError::Value {
                name: "store",
                why: "an empty path".to_owned(),
            });
        }
        let usual = Places::find(env);
        let places = Places {
            runtime_dir: choose(flags.runtime_dir, file.runtime_dir, usual.runtime_dir),
            state_dir: choose(flags.state_dir, file.state_dir, usual.state_dir),
            cache_dir: choose(flags.cache_dir, file.cache_dir, usual.cache_dir),
            ..usual
        };
        let port = flags.port.or(file.port);
        Ok(Self {
            places,
            stores,
            port: port.unwrap_or(DEFAULT_PORT),
            port_may_change: port.is_none(),
            static_peers: choose_list(flags.static_peer, file.static_peer),
            group_secret: flags.group_secret.or(file.group_secret),
            answers_0share: !choose(flags.no_0share, file.no_0share, false),
            answers_dotnet: !choose(flags.no_dotnet, file.no_dotnet, false),
        })
    }
}

/// Table `[log]`, and flags of every command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogSettings {
    /// Log more: decisions, and when given twice every datagram and chunk.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Log one JSON object a line.
    #[arg(
        long,
        global = true,
        env = "ZEROSHARE_LOG_JSON",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub log_json: Option<bool>,
}

/// How a process logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// 0: changes of state, 1: also decisions, 2: also every datagram and chunk.
    pub verbosity: u8,
    /// One JSON object a line, instead of text.
    pub json: bool,
}

impl LogConfig {
    /// Settles what flags and file say.
    pub fn resolve(flags: &LogSettings, file: &LogSettings) -> Self {
        let verbosity = if flags.verbose > 0 {
            flags.verbose
        } else {
            file.verbose
        };
        Self {
            verbosity,
            json: choose(flags.log_json, file.log_json, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        common: CommonSettings,
        #[command(flatten)]
        log: LogSettings,
    }

    fn parse(arguments: &[&str]) -> Command {
        Command::try_parse_from(["test"].iter().chain(arguments)).unwrap()
    }

    fn env() -> Env {
        let vars = [("HOME", "/home/a"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        let vars = vars
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        Env { vars, uid: 7 }
    }

    #[test]
    fn without_settings_all_is_default() {
        let config =
            CommonConfig::resolve(parse(&[]).common, CommonSettings::default(), &env()).unwrap();
        assert_eq!(config.places, Places::find(&env()));
        assert_eq!((config.port, config.port_may_change), (DEFAULT_PORT, true));
        assert!(config.stores.is_empty() && config.static_peers.is_empty());
        assert!(config.answers_0share && config.answers_dotnet);
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let flags = parse(&["--port", "7", "--store", "/a:/b", "--store", "/c"]).common;
        let file = CommonSettings {
            port: Some(9),
            store: vec!["/d".into()],
            state_dir: Some("/s".into()),
            static_peer: vec!["peer:1".parse().unwrap()],
            ..CommonSettings::default()
        };
        let config = CommonConfig::resolve(flags, file, &env()).unwrap();
        assert_eq!((config.port, config.port_may_change), (7, false));
        assert_eq!(
            config.stores,
            [Path::new("/a"), Path::new("/b"), Path::new("/c")]
        );
        assert_eq!(config.places.state_dir, Path::new("/s"));
        assert_eq!(
            config.places.runtime_dir,
            Path::new("/run/user/7/zeroshare")
        );
        assert_eq!(config.static_peers[0].to_string(), "peer:1");
    }

    #[test]
    fn an_empty_store_is_refused() {
        let file = CommonSettings {
            store: vec!["".into()],
            ..CommonSettings::default()
        };
        let error = CommonConfig::resolve(parse(&[]).common, file, &env()).unwrap_err();
        assert_eq!(error.to_string(), "`store`: an empty path");
    }

    #[test]
    fn logging_can_be_switched_off_again_by_a_flag() {
        let file = LogSettings {
            verbose: 1,
            log_json: Some(true),
        };
        let resolve = |arguments: &[&str]| LogConfig::resolve(&parse(arguments).log, &file);
        assert_eq!(
            resolve(&[]),
            LogConfig {
                verbosity: 1,
                json: true
            }
        );
        assert_eq!(
            resolve(&["-vv"]),
            LogConfig {
                verbosity: 2,
                json: true
            }
        );
        assert!(!resolve(&["--log-json=false"]).json);
        assert!(parse(&["--log-json"]).log.log_json.unwrap());
    }
}
