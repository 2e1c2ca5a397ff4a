//! The mount as a process of its own: from arguments to an exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use zeroshare_api::connect::{LocalEndpoint, local_channel};
use zeroshare_chassis::Env;
use zeroshare_chassis::process::{self, exit_code};
use zeroshare_chassis::settings::{CommonSettings, LogSettings, OpenedSettings};
use zeroshare_shelf::{Environment, feed_caches};

use crate::run::RunError;
use crate::settings::{Backing, DEFAULT_HOLD, MAX_HOLD, MountConfig};

/// What the process is called in traces.
const SERVICE: &str = "zeroshare-mount";

/// Mounts a file system of all trees that this machine and its neighbours hold; a node must run.
#[derive(Debug, Parser)]
#[command(name = SERVICE, version)]
pub struct Arguments {
    /// The directory to mount on; made if it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Let other users see it; for users other than root, /etc/fuse.conf must allow that [default: for root].
    #[arg(long)]
    allow_other: bool,
    /// List what neighbours share too: whatever walks through the mount or audits it then reads, and so fetches, all of that.
    #[arg(long)]
    list_neighbours: bool,
    /// How many seconds a process waits in all for other machines that download what it looks up; 0: not at all.
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_HOLD.as_secs(), value_parser = clap::value_parser!(u64).range(..=MAX_HOLD.as_secs()))]
    hold: u64,
    /// The configuration file [default: config.toml in the place for configuration].
    #[arg(long, value_name = "FILE", env = "ZEROSHARE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    log: LogSettings,
}

/// Does what the arguments say, and says how it ended.
pub fn main(arguments: Arguments) -> ExitCode {
    exit_code(SERVICE, arguments.act())
}

impl Arguments {
    fn act(self) -> anyhow::Result<()> {
        let config_file = self.config.as_deref();
        let opened = OpenedSettings::open(self.common, config_file, Env::of_process())?;
        let telemetry = opened.telemetry(SERVICE, &self.log)?;
        let channel =
            |service| local_channel(&LocalEndpoint::Unix(opened.common.places.socket(service)));
        let config = MountConfig {
            dir: self.dir,
            allow_other: self.allow_other || rustix::process::geteuid().is_root(),
            from: Vec::new(),
            list_neighbours: self.list_neighbours,
            hold: Duration::from_secs(self.hold),
            feed_caches: feed_caches(&Environment::of_process()),
        };
        process::run(&telemetry, async move |lifetime| {
            let backing = Backing {
                fetcher: channel("fetcher"),
                store: channel("store"),
                discovery: channel("discovery"),
            };
            let mounted = crate::mount(config, backing, lifetime).await?;
            mounted.serve().await?;
            Ok::<_, RunError>(())
        })?;
        Ok(())
    }
}
