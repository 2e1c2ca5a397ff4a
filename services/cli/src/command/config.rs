//! `zeroshare config`: the configuration, and where each value comes from.

mod origin;

use std::fmt::{self, Write as _};

use clap::Subcommand;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::render::{Page, Report};
use crate::session::Session;
use crate::settings;
use origin::Setting;

const EXAMPLES: &str = "\
Examples:
  zeroshare config show
  ZEROSHARE_PORT=4000 zeroshare config show --json";

/// What to do with the configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting, its value, and whether it comes from the environment, the file or the default.
    #[command(after_help = EXAMPLES)]
    Show,
}

#[derive(Debug, Serialize)]
struct ConfigReport {
    file: String,
    file_exists: bool,
    runtime_dir: String,
    state_dir: String,
    cache_dir: String,
    settings: Vec<Setting>,
}

impl Report for ConfigReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let exists = if self.file_exists {
            ""
        } else {
            " (does not exist)"
        };
        writeln!(page, "# file: {}{exists}", self.file)?;
        writeln!(
            page,
            "# sockets: {}, state: {}, index: {}",
            self.runtime_dir, self.state_dir, self.cache_dir
        )?;
        let mut table = "";
        for setting in &self.settings {
            if setting.table != table {
                table = setting.table;
                writeln!(page)?;
                page.strong(&format!("[{table}]"))?;
                writeln!(page)?;
            }
            match &setting.value {
                Some(value) => writeln!(page, "{} = {value}  # {}", setting.key, setting.source)?,
                None => writeln!(page, "# {}  # {}", setting.key, setting.source)?,
            }
        }
        Ok(())
    }
}

/// Prints the configuration; a wrong one is an error, as it is for a node.
pub fn run(command: &ConfigCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Show => show(session),
    }
}

fn show(session: &Session) -> Result<Exit, Failure> {
    let resolved = session.settings()?;
    let failed = |error| settings::refused(chain(&error));
    let file = settings::open(session.named_config.as_deref(), &session.env).map_err(failed)?;
    let places = &resolved.common.places;
    let report = ConfigReport {
        file: file.path().display().to_string(),
        file_exists: file.path().exists(),
        runtime_dir: places.runtime_dir.display().to_string(),
        state_dir: places.state_dir.display().to_string(),
        cache_dir: places.cache_dir.display().to_string(),
        settings: origin::settings(&file, &session.env)?,
    };
    session.output.report(&report)?;
    Ok(Exit::Done)
}
