//! Flag over environment over file over default.
//!
//! Each service has one struct of settings, every field of it an `Option` or a list, that clap fills from flags and
//! environment and [`ConfigFile`] from its table; a pure function resolves the two into what the service runs with.

mod common;
mod file;
mod interface_name;
mod opened;
mod parsed;
mod static_peer;

use std::path::PathBuf;

pub use common::{CommonConfig, CommonSettings, LogConfig, LogSettings};
pub use file::{ConfigFile, load_file};
pub use interface_name::{AloneReason, InterfaceName, InterfaceNameError, LeftAlone};
pub use opened::{OpenedSettings, TABLES};
pub use parsed::parsed;
pub use static_peer::{StaticPeer, StaticPeerError};

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is there, or was named, and cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("the configuration file {} has more than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// A line of the file is wrong: a syntax error, an unknown key or table, a value that does not fit.
    #[error("{}:{line}: {message}\n{line:>4} | {text}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
        /// The line itself.
        text: String,
    },
    /// A value that reads well and cannot be meant.
    #[error("`{name}`: {why}")]
    Value {
        /// The setting, spelled as its flag without dashes.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl SettingsError {
    /// Says that a setting cannot be used because of this.
    pub fn because(name: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Value {
            name,
            why: crate::process::chain(error),
        }
    }
}

/// The flag's (or environment's) value, else the file's, else the default.
pub fn choose<T>(flag: Option<T>, file: Option<T>, default: T) -> T {
    flag.or(file).unwrap_or(default)
}

/// The flags' list, else the file's: a list that is given replaces the other, so that entries can be left out.
pub fn choose_list<T>(flag: Vec<T>, file: Vec<T>) -> Vec<T> {
    if flag.is_empty() { file } else { flag }
}
