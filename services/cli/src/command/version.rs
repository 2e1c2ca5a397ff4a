//! `zeroshare version`.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::{Page, Report};
use crate::session::Session;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Serialize)]
struct VersionReport {
    version: &'static str,
}

impl Report for VersionReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "zeroshare {}", self.version)
    }
}

/// Prints the version.
pub fn run(session: &Session) -> Result<Exit, Failure> {
    session.output.report(&VersionReport { version: VERSION })?;
    Ok(Exit::Done)
}
