//! Discovery as a process of its own: from arguments to an exit code.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing::info;
use zeroshare_api::{connect::LocalEndpoint, health::health};
use zeroshare_chassis::{
    Env,
    process::{self, exit_code},
    settings::{CommonConfig, CommonSettings, LogSettings, OpenedSettings},
    telemetry::TelemetrySettings,
};

use crate::{DiscoveryConfig, DiscoveryListeners, DiscoverySettings, run};

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
    exit_code(SERVICE, arguments.act())
}

impl Arguments {
    fn act(self) -> anyhow::Result<()> {
        let config_file = self.config.as_deref();
        let opened = OpenedSettings::open(self.common, config_file, Env::of_process())?;
        if let Some(Command::Health) = self.command {
            let endpoint = LocalEndpoint::Unix(opened.common.places.socket("discovery"));
            return Ok(health("discovery", endpoint)?);
        }
        let config = DiscoveryConfig::resolve(
            self.discovery,
            opened.file.table("discovery")?,
            &opened.common,
        )?;
        serve(
            &opened.common,
            config,
            &opened.telemetry(SERVICE, &self.log)?,
        )
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
