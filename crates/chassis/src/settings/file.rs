//! The configuration file: read once, handed out table by table.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::SettingsError;

/// More than anybody writes, and little enough to read a device by mistake.
const MAX_BYTES: u64 = 1024 * 1024;

/// A configuration file, of which each table is read by its owner.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    /// Reads a file that must exist and have no other tables than these.
    pub fn load(path: &Path, tables: &[&str]) -> Result<Self, SettingsError> {
        let text = read(path)?;
        let file = Self {
            path: path.to_owned(),
            text,
        };
        file.check(tables)?;
        Ok(file)
    }

    /// The same, but a file that does not exist is as good as an empty one.
    pub fn load_if_present(path: &Path, tables: &[&str]) -> Result<Self, SettingsError> {
        match Self::load(path, tables) {
            Err(SettingsError::Unreadable { source, .. }) if is_absent(&source) => Ok(Self {
                path: path.to_owned(),
                text: String::new(),
            }),
            other => other,
        }
    }

    /// Opens the file that was named by a flag or the environment, else the one in its usual place if there is one.
    pub fn open(
        named: Option<&Path>,
        usual: &Path,
        tables: &[&str],
    ) -> Result<Self, SettingsError> {
        match named {
            Some(named) => Self::load(named, tables),
            None => Self::load_if_present(usual, tables),
        }
    }

    /// The settings in one table; those of a table that is not there are the defaults.
    pub fn table<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, SettingsError> {
        let mut root = self.parse()?;
        let Some(value) = root.get_mut().remove(name) else {
            return Ok(T::default());
        };
        let whole = value.span();
        T::deserialize(ValueDeserializer::from(value))
            .map_err(|error| self.refused(error.message(), error.span().unwrap_or(whole)))
    }

    /// Where it was read from, or would have been.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn parse(&self) -> Result<Spanned<DeTable<'_>>, SettingsError> {
        DeTable::parse(&self.text)
            .map_err(|error| self.refused(error.message(), error.span().unwrap_or(0..0)))
    }

    fn check(&self, tables: &[&str]) -> Result<(), SettingsError> {
        for (name, value) in self.parse()?.get_ref() {
            let known = || {
                tables
                    .iter()
                    .map(|table| format!("[{table}]"))
                    .collect::<Vec<_>>()
            };
            if !tables.contains(&name.get_ref().as_ref()) {
                let what = if matches!(value.get_ref(), DeValue::Table(_)) {
                    "table"
                } else {
                    "key"
                };
                let message = format!(
                    "unknown {what} `{}`, expected {}",
                    name.get_ref(),
                    known().join(", ")
                );
                return Err(self.refused(&message, name.span()));
            }
            if !matches!(value.get_ref(), DeValue::Table(_)) {
                let message = format!("`{0}` must be a table: [{0}]", name.get_ref());
                return Err(self.refused(&message, name.span()));
            }
        }
        Ok(())
    }

    fn refused(&self, message: &str, span: Range<usize>) -> SettingsError {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let index = before.matches('\n').count();
        let text = self
            .text
            .lines()
            .nth(index)
            .unwrap_or_default()
            .trim_end()
            .to_owned();
        let message = message.replace('\n', "; ");
        SettingsError::Line {
            path: self.path.clone(),
            line: index + 1,
            message,
            text,
        }
    }
}

/// Reads one file whose top level is the settings themselves.
pub fn load_file<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let file = ConfigFile {
        path: path.to_owned(),
        text: read(path)?,
    };
    let root = file.parse()?;
    let whole = root.span();
    let value = Spanned::new(whole.clone(), DeValue::Table(root.into_inner()));
    T::deserialize(ValueDeserializer::from(value))
        .map_err(|error| file.refused(error.message(), error.span().unwrap_or(whole)))
}

fn read(path: &Path) -> Result<String, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_BYTES) {
        return Err(SettingsError::TooLarge {
            path: path.to_owned(),
            limit_bytes: MAX_BYTES,
        });
    }
    String::from_utf8(bytes)
        .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;
    use tempfile::TempDir;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    struct Settings {
        max_transfers: Option<u32>,
        allow: Vec<String>,
    }

    const TABLES: [&str; 2] = ["common", "store"];

    fn file(text: &str) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn refusal(text: &str) -> (usize, String) {
        let (_dir, path) = file(text);
        let error = ConfigFile::load(&path, &TABLES)
            .and_then(|file| file.table::<Settings>("store"))
            .unwrap_err();
        let SettingsError::Line {
            line, text: shown, ..
        } = &error
        else {
            panic!("{error}")
        };
        let message = error.to_string();
        assert!(message.contains("config.toml:"), "{message}");
        assert_eq!(
            text.lines().nth(line - 1).unwrap_or_default().trim_end(),
            shown
        );
        (*line, message)
    }

    #[test]
    fn a_table_is_read_by_its_owner() {
        let (_dir, path) = file("[store]\nmax-transfers = 3\nallow = [\"10.0.0.0/8\"]\n");
        let file = ConfigFile::load(&path, &TABLES).unwrap();
        let expected = Settings {
            max_transfers: Some(3),
            allow: vec!["10.0.0.0/8".to_owned()],
        };
        assert_eq!(file.table::<Settings>("store").unwrap(), expected);
        assert_eq!(
            file.table::<Settings>("common").unwrap(),
            Settings::default()
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let (line, message) = refusal("# mine\n[store]\nmax-transfers = 3\nmax-transfer = 4\n");
        assert_eq!(line, 4);
        assert!(
            message.contains("`max-transfer`") && message.contains("`allow`"),
            "{message}"
        );
    }

    #[test]
    fn an_unknown_table_is_refused_with_its_line() {
        let (line, message) = refusal("[store]\n\n[stoer]\nallow = []\n");
        assert_eq!(line, 3);
        assert!(
            message.contains("table `stoer`") && message.contains("[common]"),
            "{message}"
        );
    }

    #[test]
    fn a_key_outside_of_tables_is_refused_with_its_line() {
        assert_eq!(refusal("\nport = 3\n").0, 2);
        assert_eq!(refusal("store = 3\n").0, 1);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_its_line() {
        assert_eq!(refusal("[store]\nmax-transfers = \"3\"\n").0, 2);
        assert_eq!(refusal("[store]\nallow = [\n  \"a\",\n  7,\n]\n").0, 4);
        assert_eq!(refusal("[store]\nmax-transfers = -1\n").0, 2);
    }

    #[test]
    fn a_syntax_error_is_refused_with_its_line() {
        assert_eq!(refusal("[store]\nallow = [\"a\"\n\n[common]\n").0, 4);
        assert_eq!(refusal("[store]\nallow\n").0, 2);
        assert_eq!(refusal("[store]\nallow = []\nallow = []\n").0, 3);
    }

    #[test]
    fn a_missing_file_is_an_error_only_when_it_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let file = ConfigFile::open(None, &path, &TABLES).unwrap();
        assert_eq!(
            file.table::<Settings>("store").unwrap(),
            Settings::default()
        );
        let error = ConfigFile::open(Some(&path), &path, &TABLES).unwrap_err();
        assert!(matches!(error, SettingsError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn an_endless_file_is_refused() {
        let error = ConfigFile::load(Path::new("/dev/zero"), &TABLES).unwrap_err();
        assert!(matches!(error, SettingsError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_file_of_one_table_is_read_whole() {
        let (_dir, path) = file("max-transfers = 3\n");
        assert_eq!(load_file::<Settings>(&path).unwrap().max_transfers, Some(3));
        let (_dir, path) = file("\nmax = 3\n");
        let error = load_file::<Settings>(&path).unwrap_err();
        assert!(
            matches!(error, SettingsError::Line { line: 2, .. }),
            "{error}"
        );
    }
}
