//! The store as a process of its own: from arguments to an exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use zeroshare_api::connect::LocalEndpoint;
use zeroshare_api::health::health;
use zeroshare_chassis::Env;
use zeroshare_chassis::listen::{LocalListener, bind_lan};
use zeroshare_chassis::process::{self, exit_code};
use zeroshare_chassis::restrict::restrict_thread;
use zeroshare_chassis::settings::{CommonConfig, CommonSettings, LogSettings, OpenedSettings};
use zeroshare_chassis::telemetry::before_start;

use crate::{StoreConfig, StoreListeners, StoreSettings, run};

/// What the process is called in traces.
const SERVICE: &str = "zeroshare-store";

/// Serves what this machine holds to peers on the LAN, and tells its own services what that is.
#[derive(Debug, Parser)]
#[command(name = SERVICE, version)]
pub struct Arguments {
    /// The configuration file [default: config.toml in the place for configuration].
    #[arg(long, value_name = "FILE", env = "ZEROSHARE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    log: LogSettings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Ask the store that runs whether it serves; exit code 1 when it does not.
    Health,
}

/// Does what the arguments say, and says how it ended.
pub fn main(arguments: Arguments) -> ExitCode {
    exit_code(SERVICE, arguments.act())
}

impl Arguments {
    fn act(self) -> anyhow::Result<()> {
        let config_file = self.config.as_deref();
        let opened = OpenedSettings::open(self.common, config_file, Env::of_process())?;
        if let Some(Command::Health) = self.command {
            let endpoint = LocalEndpoint::Unix(opened.common.places.socket("store"));
            return Ok(health("store", endpoint)?);
        }
        let telemetry = opened.telemetry(SERVICE, &self.log)?;
        // What is wrong with the stores, the port or the restriction is said before anything runs.
        let (config, listeners) = before_start(&telemetry, || -> anyhow::Result<_> {
            let config =
                StoreConfig::resolve(self.store, opened.file.table("store")?, &opened.common)?;
            prepare(&opened.common, config)
        })??;
        process::run(&telemetry, async move |lifetime| {
            run(config, listeners, lifetime).await
        })?;
        Ok(())
    }
}

/// Binds and gives up writing: what strangers reach starts only then.
fn prepare(
    common: &CommonConfig,
    mut config: StoreConfig,
) -> anyhow::Result<(StoreConfig, StoreListeners)> {
    common.places.prepare()?;
    let local = config
        .local
        .iter()
        .map(LocalListener::bind)
        .collect::<Result<_, _>>()?;
    let lan = if config.lan {
        bind_lan(common.port, common.port_may_change)?
    } else {
        Vec::new()
    };
    let tls = config.tls()?;
    // Before the runtime starts its threads: they inherit it.
    config.restriction = Some(restrict_thread(std::slice::from_ref(
        &common.places.cache_dir,
    ))?);
    Ok((config, StoreListeners { local, lan, tls }))
}
