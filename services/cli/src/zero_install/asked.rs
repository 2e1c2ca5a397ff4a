//! What the words of a `0install` command ask for, read by its own rules.
//!
//! The rules are those of 0install 2.18: options may stand anywhere before `--`, of `run` only before the program's
//! own arguments; a value follows in the same word or in the next; single letters may be joined. What is not
//! understood here is 0install's to refuse.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// What a `0install` command will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It selects a program, and downloads what it lacks.
    Selects(Selecting),
    /// It downloads no implementation, or must not; or it is none that 0install takes.
    SomethingElse,
}

/// A selection as 0install is about to make it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selecting {
    /// A feed's address, a file or the name of an app.
    pub(crate) target: OsString,
    /// The options that decide what is selected, as `0install select` takes them.
    pub(crate) options: Vec<OsString>,
    /// Whether feeds are downloaded anew before.
    pub(crate) refreshes: bool,
    /// Whether saved selections, of an app or in a document, are taken as they are.
    pub(crate) takes_saved: bool,
    /// Stores that are looked into besides the usual ones.
    pub(crate) stores: Vec<PathBuf>,
    /// Whether nothing is asked in windows.
    pub(crate) console: bool,
}

/// What an option means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// It decides what is selected.
    Selects,
    /// Feeds are downloaded anew.
    Refreshes,
    /// It names one more store.
    Store,
    /// Nothing is asked in windows.
    Console,
    /// It changes nothing of what is selected.
    Nothing,
    /// With it nothing is downloaded, or the network is to be left alone.
    KeepsAway,
}

/// How many values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    None,
    One,
    Two,
    /// One, unless the next word looks like an option or there is none: `--version`.
    Perhaps,
    /// One if the last word that is no option is `run`: `-m`.
    OneOfRun,
}

struct OptionRule {
    names: &'static [&'static str],
    values: Values,
    meaning: Meaning,
}

const fn rule(names: &'static [&'static str], values: Values, meaning: Meaning) -> OptionRule {
    OptionRule {
        names,
        values,
        meaning,
    }
}

/// All options of `run`, `download`, `update` and `add`; `0install COMMAND --help` lists them.
const RULES: [OptionRule; 22] = [
    rule(&["--before"], Values::One, Meaning::Selects),
    rule(&["--command"], Values::One, Meaning::Selects),
    rule(&["--cpu"], Values::One, Meaning::Selects),
    rule(&["--message"], Values::One, Meaning::Selects),
    rule(&["--not-before"], Values::One, Meaning::Selects),
    rule(&["--os"], Values::One, Meaning::Selects),
    rule(&["-s", "--source"], Values::None, Meaning::Selects),
    rule(&["--version"], Values::Perhaps, Meaning::Selects),
    rule(&["--version-for"], Values::Two, Meaning::Selects),
    rule(&["-r", "--refresh"], Values::None, Meaning::Refreshes),
    rule(&["--with-store"], Values::One, Meaning::Store),
    rule(&["-c", "--console"], Values::None, Meaning::Console),
    rule(&["-g", "--gui"], Values::None, Meaning::Nothing),
    rule(&["-v", "--verbose"], Values::None, Meaning::Nothing),
    rule(&["-w", "--wrapper"], Values::One, Meaning::Nothing),
    rule(&["--main"], Values::One, Meaning::Nothing),
    rule(&["-m"], Values::OneOfRun, Meaning::Nothing),
    rule(&["--xml"], Values::None, Meaning::Nothing),
    rule(&["--show"], Values::None, Meaning::Nothing),
    rule(&["--dry-run"], Values::None, Meaning::KeepsAway),
    rule(&["-o", "--offline"], Values::None, Meaning::KeepsAway),
    rule(&["-h", "--help"], Values::None, Meaning::KeepsAway),
];

/// The words are none that 0install takes, or it is not known what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotUnderstood;

/// Words being read.
#[derive(Debug, Default)]
struct Reader {
    rest: VecDeque<OsString>,
    /// The words that are no options.
    words: Vec<OsString>,
    options: Vec<OsString>,
    stores: Vec<PathBuf>,
    refreshes: bool,
    console: bool,
    keeps_away: bool,
}

impl Asked {
    /// Reads the words after `0install`.
    pub(crate) fn of(words: &[OsString]) -> Self {
        let mut reader = Reader {
            rest: words.iter().cloned().collect(),
            ..Reader::default()
        };
        match reader.read() {
            Ok(()) => reader.conclude().map_or(Self::SomethingElse, Self::Selects),
            Err(NotUnderstood) => Self::SomethingElse,
        }
    }
}

impl Reader {
    fn read(&mut self) -> Result<(), NotUnderstood> {
        while let Some(word) = self.rest.pop_front() {
            let bytes = word.as_bytes();
            if bytes == b"--" {
                self.words.extend(self.rest.drain(..));
            } else if bytes.starts_with(b"--") {
                self.read_long(&word)?;
            } else if bytes.starts_with(b"-") {
                self.read_short(&bytes[1..])?;
            } else {
                self.words.push(word);
                if self.words.len() == 2 && self.words[0] == "run" {
                    self.words.extend(self.rest.drain(..));
                }
            }
        }
        Ok(())
    }

    fn read_long(&mut self, word: &OsStr) -> Result<(), NotUnderstood> {
        let bytes = word.as_bytes();
        let Some(end) = bytes.iter().position(|byte| *byte == b'=') else {
            let mut rest = std::mem::take(&mut self.rest);
            let read = self.read_option(bytes, &mut rest);
            self.rest = rest;
            return read;
        };
        let mut values = std::mem::take(&mut self.rest);
        values.push_front(OsString::from_vec(bytes[end + 1..].to_vec()));
        let before = values.len();
        let read = self.read_option(&bytes[..end], &mut values);
        // A value that nobody takes is refused.
        let is_taken = values.len() < before;
        self.rest = values;
        read.and(is_taken.then_some(()).ok_or(NotUnderstood))
    }

    /// Letters, the last of which with a value may have it in the same word.
    fn read_short(&mut self, letters: &[u8]) -> Result<(), NotUnderstood> {
        for (at, letter) in letters.iter().enumerate() {
            let name = [b'-', *letter];
            let behind = &letters[at + 1..];
            if behind.is_empty() {
                let mut rest = std::mem::take(&mut self.rest);
                let read = self.read_option(&name, &mut rest);
                self.rest = rest;
                return read;
            }
            let mut joined = VecDeque::from([OsString::from_vec(behind.to_vec())]);
            self.read_option(&name, &mut joined)?;
            if joined.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads an option, whose values stand first in `following`.
    fn read_option(
        &mut self,
        name: &[u8],
        following: &mut VecDeque<OsString>,
    ) -> Result<(), NotUnderstood> {
        let is_named = |rule: &&OptionRule| rule.names.iter().any(|own| own.as_bytes() == name);
        let rule = RULES.iter().find(is_named).ok_or(NotUnderstood)?;
        let wanted = self.values_of(rule.values, following.front())?;
        if following.len() < wanted {
            return Err(NotUnderstood);
        }
        let values: Vec<OsString> = following.drain(..wanted).collect();
        match rule.meaning {
            Meaning::Selects => self.keep(name, values),
            Meaning::Refreshes => self.refreshes = true,
            Meaning::Store => self.stores.extend(values.into_iter().map(PathBuf::from)),
            Meaning::Console => self.console = true,
            Meaning::KeepsAway => self.keeps_away = true,
            Meaning::Nothing => {}
        }
        Ok(())
    }

    fn values_of(&self, values: Values, next: Option<&OsString>) -> Result<usize, NotUnderstood> {
        Ok(match values {
            Values::None => 0,
            Values::One => 1,
            Values::Two => 2,
            // Without a version it asks for that of 0install itself.
            Values::Perhaps => {
                let version = next.filter(|next| !next.as_bytes().starts_with(b"-"));
                version.map(|_| 1).ok_or(NotUnderstood)?
            }
            Values::OneOfRun if self.words.last().is_some_and(|word| word == "run") => 1,
            // Elsewhere it is another option, of another command.
            Values::OneOfRun => return Err(NotUnderstood),
        })
    }

    /// Keeps an option for `0install select`, in a form that cannot be misread.
    fn keep(&mut self, name: &[u8], values: Vec<OsString>) {
        let mut name = OsString::from_vec(name.to_vec());
        if let [value] = values.as_slice() {
            name.push("=");
            name.push(value);
            self.options.push(name);
        } else {
            self.options.push(name);
            self.options.extend(values);
        }
    }

    fn conclude(self) -> Option<Selecting> {
        if self.keeps_away {
            return None;
        }
        let command = self.words.first()?.to_str()?;
        let target = match (command, self.words.as_slice()) {
            ("run", [_, target, ..]) | ("download" | "update", [_, target]) => target,
            ("add", [_, _name, target]) => target,
            _ => return None,
        };
        let refreshes = self.refreshes || command == "update";
        let has_saved = matches!(command, "run" | "download") && !is_address(target);
        Some(Selecting {
            target: target.clone(),
            takes_saved: has_saved && self.options.is_empty() && !refreshes,
            options: self.options,
            refreshes,
            stores: self.stores,
            console: self.console,
        })
    }
}

/// Whether it can only be the address of a feed.
fn is_address(target: &OsStr) -> bool {
    let bytes = target.as_bytes();
    bytes.starts_with(b"http://") || bytes.starts_with(b"https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://h/hello.xml";

    fn asked(line: &str) -> Asked {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Asked::of(&words)
    }

    fn selecting(line: &str) -> Selecting {
        match asked(line) {
            Asked::Selects(selecting) => selecting,
            Asked::SomethingElse => panic!("{line}"),
        }
    }

    #[test]
    fn commands_that_download_are_known_with_their_target() {
        for (line, refreshes) in [
            ("run http://h/hello.xml", false),
            ("run http://h/hello.xml --version 3", false),
            ("download http://h/hello.xml --show", false),
            ("update http://h/hello.xml", true),
            ("add hello http://h/hello.xml", false),
            ("run -r http://h/hello.xml", true),
        ] {
            let expected = Selecting {
                target: URL.into(),
                refreshes,
                ..Selecting::default()
            };
            assert_eq!(selecting(line), expected, "{line}");
        }
    }

    #[test]
    fn what_decides_the_selection_is_kept_and_nothing_else() {
        for (line, options) in [
            (
                "run --before 3 --version=1.. http://h/hello.xml --cpu x",
                &["--before=3", "--version=1.."][..],
            ),
            (
                "--version 2 run -cv -s -w strace -m bin/x http://h/hello.xml",
                &["--version=2", "-s"],
            ),
            (
                "download http://h/hello.xml --version-for http://h/x.xml 2 --os=Linux --xml",
                &["--version-for", "http://h/x.xml", "2", "--os=Linux"],
            ),
            (
                "run --version-for=http://h/x.xml ..2 --command= --not-before 1 http://h/hello.xml",
                &[
                    "--version-for",
                    "http://h/x.xml",
                    "..2",
                    "--command=",
                    "--not-before=1",
                ],
            ),
            ("run -mbin/x -wgdb --main y http://h/hello.xml", &[]),
        ] {
            let found = selecting(line);
            assert_eq!(found.options, options, "{line}");
            assert_eq!(found.target, URL, "{line}");
        }
        let stores = selecting("--with-store=/a run --with-store /b http://h/hello.xml").stores;
        assert_eq!(stores, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }

    #[test]
    fn everything_else_is_left_to_0install() {
        for line in [
            "",
            "config",
            "config network_use off",
            "store list",
            "select http://h/hello.xml",
            "import feed.xml",
            "slave 2.7",
            "run",
            "download a b",
            "add http://h/hello.xml",
            "--version",
            "run --version -c http://h/hello.xml",
            "run --dry-run http://h/hello.xml",
            "run -o http://h/hello.xml",
            "-co run http://h/hello.xml",
            "run --help",
            "run --offline=yes http://h/hello.xml",
            "run --no-such http://h/hello.xml",
            "run -x http://h/hello.xml",
            "-m run http://h/hello.xml",
            "run http://h/hello.xml --before",
        ] {
            let own = line == "run http://h/hello.xml --before";
            assert_eq!(
                asked(line) == Asked::SomethingElse,
                !own,
                "{line}: the program's own words are no options"
            );
        }
        assert!(selecting("-c run -- http://h/hello.xml -x").console);
        assert_eq!(
            asked("download http://h/hello.xml --before"),
            Asked::SomethingElse
        );
        assert_eq!(
            asked("-- run http://h/hello.xml"),
            asked("run http://h/hello.xml")
        );
    }

    #[test]
    fn saved_selections_are_taken_as_they_are_unless_something_else_is_wanted() {
        for (line, takes_saved) in [
            ("run hello", true),
            ("download sels.xml", true),
            ("run -c hello --version 2", true),
            ("run --version=2 hello", false),
            ("run --refresh hello", false),
            ("update hello", false),
            ("add x ./hello.xml", false),
            ("run http://h/hello.xml", false),
        ] {
            assert_eq!(selecting(line).takes_saved, takes_saved, "{line}");
        }
    }

    #[test]
    fn words_need_not_be_utf8() {
        let odd = OsString::from_vec(b"\xff.xml".to_vec());
        let words = ["run".into(), "--command".into(), odd.clone(), odd.clone()];
        let Asked::Selects(found) = Asked::of(&words) else {
            panic!("it selects");
        };
        assert_eq!(found.target, odd);
        assert_eq!(found.options[0].as_bytes(), b"--command=\xff.xml");
    }
}
