//! The fetcher as a process of its own: from arguments to an exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use zeroshare_api::connect::LocalEndpoint;
use zeroshare_api::health::health;
use zeroshare_chassis::Env;
use zeroshare_chassis::listen::LocalListener;
use zeroshare_chassis::process::{self, exit_code};
use zeroshare_chassis::settings::{CommonConfig, CommonSettings, LogSettings, OpenedSettings};
use zeroshare_chassis::telemetry::TelemetrySettings;

use crate::{FetcherConfig, FetcherListeners, FetcherSettings, run};

/// What the process is called in traces.
const SERVICE: &str = "zeroshare-fetcher";

/// Brings trees from peers on the LAN into a store of this machine.
#[derive(Debug, Parser)]
#[command(name = SERVICE, version)]
pub struct Arguments {
    /// The configuration file [default: config.toml in the place for configuration].
    #[arg(long, value_name = "FILE", env = "ZEROSHARE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    fetcher: FetcherSettings,
    #[command(flatten)]
    log: LogSettings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Ask the fetcher that runs whether it serves; exit code 1 when it does not.
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
            let endpoint = LocalEndpoint::Unix(opened.common.places.socket("fetcher"));
            return Ok(health("fetcher", endpoint)?);
        }
        let config =
            FetcherConfig::resolve(self.fetcher, opened.file.table("fetcher")?, &opened.common)?;
        serve(
            &opened.common,
            config,
            &opened.telemetry(SERVICE, &self.log)?,
        )
    }
}

/// Binds and serves local callers: nothing here listens on the LAN.
fn serve(
    common: &CommonConfig,
    config: FetcherConfig,
    telemetry: &TelemetrySettings,
) -> anyhow::Result<()> {
    common.places.prepare()?;
    let local = config
        .local
        .iter()
        .map(LocalListener::bind)
        .collect::<Result<_, _>>()?;
    let listeners = FetcherListeners { local };
    process::run(telemetry, async move |lifetime| {
        run(config, listeners, lifetime).await
    })?;
    Ok(())
}
