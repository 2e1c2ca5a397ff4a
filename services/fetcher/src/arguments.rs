//! The fetcher as a process of its own: from arguments to an exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use zeroshare_api::connect::LocalEndpoint;
use zeroshare_api::health::health;
use zeroshare_chassis::listen::LocalListener;
use zeroshare_chassis::settings::{
    CommonConfig, CommonSettings, ConfigFile, LogConfig, LogSettings,
};
use zeroshare_chassis::telemetry::TelemetrySettings;
use zeroshare_chassis::{Env, process};

use crate::{FetcherConfig, FetcherListeners, FetcherSettings, run};

/// Every table that the file may have: services of one machine share it.
const TABLES: [&str; 5] = ["common", "discovery", "store", "fetcher", "log"];

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
            let endpoint = LocalEndpoint::Unix(common.places.socket("fetcher"));
            return Ok(health("fetcher", endpoint)?);
        }
        let config = FetcherConfig::resolve(self.fetcher, file.table("fetcher")?, &common)?;
        let log = LogConfig::resolve(&self.log, &file.table("log")?);
        serve(&common, config, &TelemetrySettings::new(SERVICE, log, &env))
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

#[expect(
    clippy::print_stderr,
    reason = "nothing logs before telemetry runs, nor after it ended"
)]
fn report(error: &anyhow::Error) {
    eprintln!("{SERVICE}: {error:#}");
}
