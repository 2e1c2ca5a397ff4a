//! What the process of a service settles before its own settings.

use std::path::Path;

use super::{CommonConfig, CommonSettings, ConfigFile, LogConfig, LogSettings, SettingsError};
use crate::places::{Env, Places};
use crate::telemetry::TelemetrySettings;

/// Every table that the file may have: services of one machine share it.
pub const TABLES: [&str; 5] = ["common", "discovery", "store", "fetcher", "log"];

/// Environment, configuration file, and what all services share.
#[derive(Debug, Clone)]
pub struct OpenedSettings {
    /// What the process was started with.
    pub env: Env,
    /// The file, of which each service reads its own table.
    pub file: ConfigFile,
    /// What all services share.
    pub common: CommonConfig,
}

impl OpenedSettings {
    /// Opens the file that was named, else the usual one if there is one, and settles what all services share.
    pub fn open(
        flags: CommonSettings,
        named: Option<&Path>,
        env: Env,
    ) -> Result<Self, SettingsError> {
        let file = ConfigFile::open(named, &Places::find(&env).config_file, &TABLES)?;
        let common = CommonConfig::resolve(flags, file.table("common")?, &env)?;
        Ok(Self { env, file, common })
    }

    /// How a service of this name logs and traces.
    pub fn telemetry(
        &self,
        service: &str,
        flags: &LogSettings,
    ) -> Result<TelemetrySettings, SettingsError> {
        let log = LogConfig::resolve(flags, &self.file.table("log")?);
        Ok(TelemetrySettings::new(service, log, &self.env))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    #[test]
    fn the_file_that_is_named_settles_what_flags_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("named.toml");
        fs::write(&path, "[common]\nport = 9\n[log]\nverbose = 2\n").unwrap();
        let env = Env {
            vars: BTreeMap::from([("HOME".to_owned(), dir.path().into())]),
            uid: 7,
        };
        let open = |named| OpenedSettings::open(CommonSettings::default(), named, env.clone());

        let opened = open(Some(path.as_path())).unwrap();
        let telemetry = opened.telemetry("test", &LogSettings::default()).unwrap();

        assert_eq!(opened.common.port, 9);
        assert_eq!(telemetry.verbosity, 2);
        // The usual one need not be there.
        assert!(open(None).unwrap().common.port_may_change);
    }
}
