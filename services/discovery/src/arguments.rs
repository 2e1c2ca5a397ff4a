//! Discovery as a process of its own: from arguments to an exit code.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing::info;
use zeroshare_api::{connect::LocalEndpoint, health::health};
use zeroshare_chassis::{
    Env, process,
    settings::{CommonConfig, CommonSettings, ConfigFile, LogConfig, LogSettings},
    telemetry::TelemetrySettings,
};

use crate::{DiscoveryConfig, DiscoveryListeners, DiscoverySettings, run};

/// Every table that the file may have: services of one machine share it.
const TABLES: [&str; 5] = ["common", "discovery", "store", "fetcher", "log"];

/// What the process is called in traces.
const SERVICE: &str = "zeroshare-discovery";

/// Finds out which machines on the LAN hold what, and tells them what this one holds.
#[derive(Debug, Parser)]
#[command(name = SERVICE, version)]
pub struct Arguments {
    /// The configuration file [default: config.toml in the place for configuration].
    #[arg(long, value_name = "FILE", env = "ZEROSHARE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: CommonSettings,
    #[command(flatten)]
    discovery: DiscoverySettings,
    #[command(flatten)]
    log: LogSettings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Ask the discovery that runs whether it serves; exit code 1 when it does not.
    Health,
}

/// Does what the arguments say, and says how it ended.
pub fn main(arguments: Arguments) -> ExitCode {
    match arguments.act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn act(self) -> anyhow::Result<()> {
        let env = Env::of_process();
        let usual =
            CommonConfig::resolve(self.common.clone(), CommonSettings::default(), &env)?.places;
        let file = ConfigFile::open(self.config.as_deref(), &usual.config_file, &TABLES)?;
        let common = CommonConfig::resolve(self.common, file.table("common")?, &env)?;
        if let Some(Command::Health) = self.command {
            let endpoint = LocalEndpoint::Unix(common.places.socket("discovery"));
            return Ok(health("discovery", endpoint)?);
        }
        let config = DiscoveryConfig::resolve(self.discovery, file.table("discovery")?, &common)?;
        let log = LogConfig::resolve(&self.log, &file.table("log")?);
        serve(&common, config, &TelemetrySettings::new(SERVICE, log, &env))
    }
}

fn serve(
    common: &CommonConfig,
    config: DiscoveryConfig,
    telemetry: &TelemetrySettings,
) -> anyhow::Result<()> {
    common.places.prepare()?;
    let listeners = DiscoveryListeners::bind(&config)?;
    process::run(telemetry, async move |lifetime| {
        info!(?config, "configuration");
        run(config, listeners, lifetime).await
    })?;
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "nothing logs before telemetry runs, nor after it ended"
)]
fn report(error: &anyhow::Error) {
    eprintln!("{SERVICE}: {error:#}");
}
