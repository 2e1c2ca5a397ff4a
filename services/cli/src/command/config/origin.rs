//! Where the value of each setting comes from.

use clap::{Arg, Args as _, Command};
use serde::Serialize;
use zeroshare_chassis::Env;
use zeroshare_chassis::settings::{CommonSettings, ConfigFile, LogSettings};
use zeroshare_discovery::DiscoverySettings;
use zeroshare_fetcher::FetcherSettings;
use zeroshare_store::StoreSettings;

use crate::failure::{Failure, chain};
use crate::settings::refused;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Setting {
    /// Its table in the file.
    pub(super) table: &'static str,
    /// Its key there; as a flag of `zeroshare node` it has two dashes before it.
    pub(super) key: String,
    /// Its value as the file would have it; null when the service decides by itself.
    pub(super) value: Option<String>,
    /// "environment NAME", "file", or "default".
    pub(super) source: String,
}

/// All settings of all tables, in the order of the help.
pub(super) fn settings(file: &ConfigFile, env: &Env) -> Result<Vec<Setting>, Failure> {
    let mut settings = Vec::new();
    for (table, command) in tables() {
        let values: toml::Table = file.table(table).map_err(|error| refused(chain(&error)))?;
        let known = command
            .get_arguments()
            .filter(|argument| argument.get_long().is_some());
        settings.extend(known.map(|argument| setting(table, argument, &values, env)));
    }
    Ok(settings)
}

fn tables() -> [(&'static str, Command); 5] {
    let command = || {
        Command::new("settings")
            .disable_help_flag(true)
            .disable_version_flag(true)
    };
    [
        ("common", CommonSettings::augment_args(command())),
        ("discovery", DiscoverySettings::augment_args(command())),
        ("store", StoreSettings::augment_args(command())),
        ("fetcher", FetcherSettings::augment_args(command())),
        ("log", LogSettings::augment_args(command())),
    ]
}

fn setting(table: &'static str, argument: &Arg, values: &toml::Table, env: &Env) -> Setting {
    let key = argument.get_long().unwrap_or_default().to_owned();
    let variable = argument.get_env().and_then(|name| name.to_str());
    let from_environment = variable.and_then(|name| Some((name, env.text(name)?)));
    let (value, source) = if let Some((name, value)) = from_environment {
        (
            Some(toml::Value::from(value).to_string()),
            format!("environment {name}"),
        )
    } else if let Some(value) = values.get(&key) {
        (Some(value.to_string()), "file".to_owned())
    } else {
        (None, default_source(argument))
    };
    Setting {
        table,
        key,
        value,
        source,
    }
}

/// The default as the help tells it: `… [default: 38339]`.
fn default_source(argument: &Arg) -> String {
    let help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let told = help
        .split_once("[default: ")
        .and_then(|(_, rest)| rest.rsplit_once(']'));
    match told {
        Some((told, _)) => format!("default: {told}"),
        None => "default".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_file_and_the_default_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "[common]\nport = 4000\nstate-dir = \"/s\"\n").unwrap();
        let file = ConfigFile::load(&path, &zeroshare_chassis::settings::TABLES).unwrap();
        let vars = [("ZEROSHARE_PORT".to_owned(), "5000".into())].into();
        let settings = settings(&file, &Env { vars, uid: 1000 }).unwrap();
        let of = |key: &str| settings.iter().find(|setting| setting.key == key).unwrap();
        assert_eq!(of("port").source, "environment ZEROSHARE_PORT");
        assert_eq!(of("port").value.as_deref(), Some("\"5000\""));
        assert_eq!(
            (
                of("state-dir").value.as_deref(),
                of("state-dir").source.as_str()
            ),
            (Some("\"/s\""), "file")
        );
        assert!(of("cache-dir").source.starts_with("default: "));
    }
}
