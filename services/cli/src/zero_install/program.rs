//! Starting the real `0install`: beside this process to ask it, and instead of this process to let it go on.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::selections::MAX_DOCUMENT_BYTES;
use crate::exit::Exit;
use crate::failure::Failure;

/// What the program is called.
const NAME: &str = "0install";

/// Set for what this process becomes, so that a script of that name which leads back here is noticed.
const MARK: &str = "ZEROSHARE_0INSTALL_PROCESS";

/// Where nobody listens: the port for discarding what is sent.
const NOWHERE: &str = "http://127.0.0.1:9";

/// How long it may take for what it does without the network and with all answers.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The variables by which proxies are named.
const PROXIES: [&str; 7] = [
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "ftp_proxy",
    "FTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// And those by which exceptions are.
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The real `0install`.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
}

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It keeps to what it has: no network, no questions, no words.
    Alone,
    /// It may use the network, and changes nothing; no questions, no words.
    Quiet,
    /// As its user would see it.
    Open,
}

/// Why it said nothing useful.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It cannot be started.
    #[error("cannot start {}", path.display())]
    Start {
        /// What was to be started.
        path: PathBuf,
        /// Why it cannot.
        #[source]
        source: io::Error,
    },
    /// It said so.
    #[error("0install failed with {status}")]
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// It takes too long.
    #[error("0install did not answer within {within:?}")]
    Slow {
        /// How long it had.
        within: Duration,
    },
    /// It says too much.
    #[error("0install printed more than {MAX_DOCUMENT_BYTES} bytes")]
    TooMuch,
}

/// What this process becomes at its end.
#[derive(Debug)]
pub(crate) struct Successor {
    program: Program,
    words: Vec<OsString>,
}

impl Program {
    /// Finds it: the one that was named, else the first of that name in `PATH`.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, Failure> {
        if env::var_os(MARK).is_some_and(|mark| mark == *std::process::id().to_string()) {
            return Err(
                Failure::usage("the 0install that was found leads back to zeroshare").advise(
                    "Name the real one, as in `zeroshare 0install --program /usr/bin/0install …`.",
                ),
            );
        }
        let path = match named {
            Some(path) => path.to_owned(),
            None => in_path(env::var_os("PATH").as_deref(), NAME).ok_or_else(|| {
                Failure::failed("0install is not installed: there is none in PATH")
                    .advise("Debian and Ubuntu have it as `0install-core`; --program names one.")
            })?,
        };
        Ok(Self { path })
    }

    /// Asks it something, and gives what it printed.
    ///
    /// May be dropped midway; then it is killed.
    pub(crate) async fn ask(
        &self,
        words: &[OsString],
        manner: Manner,
        within: Option<Duration>,
    ) -> Result<Vec<u8>, ProgramError> {
        let asking = self.ask_patiently(words, manner);
        match within {
            None => asking.await,
            Some(within) => timeout(within, asking)
                .await
                .map_err(|_| ProgramError::Slow { within })?,
        }
    }

    async fn ask_patiently(
        &self,
        words: &[OsString],
        manner: Manner,
    ) -> Result<Vec<u8>, ProgramError> {
        let failed = |source| ProgramError::Start {
            path: self.path.clone(),
            source,
        };
        let mut child = self.asking(words, manner).spawn().map_err(failed)?;
        let mut printed = Vec::new();
        if let Some(out) = child.stdout.take() {
            let limit = MAX_DOCUMENT_BYTES as u64 + 1;
            let mut out = out.take(limit);
            out.read_to_end(&mut printed).await.map_err(failed)?;
        }
        if printed.len() > MAX_DOCUMENT_BYTES {
            return Err(ProgramError::TooMuch);
        }
        let status = child.wait().await.map_err(failed)?;
        if status.success() {
            Ok(printed)
        } else {
            Err(ProgramError::Failed { status })
        }
    }

    /// Lets it do something for which it may ask its user whatever it likes. May be dropped midway.
    pub(crate) async fn let_ask(&self, words: &[OsString]) -> Result<(), ProgramError> {
        self.ask(words, Manner::Open, None).await.map(drop)
    }

    /// Has it do something without the network, with these answers to its questions, and none once they are used up.
    ///
    /// May be dropped midway.
    pub(crate) async fn answer(
        &self,
        words: &[OsString],
        answers: &[u8],
    ) -> Result<(), ProgramError> {
        let failed = |source| ProgramError::Start {
            path: self.path.clone(),
            source,
        };
        let mut asking = self.asking(words, Manner::Alone);
        asking.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = asking.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who asks nothing need not read them.
            drop(stdin.write_all(answers).await);
        }
        let ended = timeout(ANSWER_TIME, child.wait()).await;
        let status = ended.map_err(|_| ProgramError::Slow {
            within: ANSWER_TIME,
        })?;
        match status.map_err(failed)? {
            status if status.success() => Ok(()),
            status => Err(ProgramError::Failed { status }),
        }
    }

    fn asking(&self, words: &[OsString], manner: Manner) -> Command {
        let mut command = Command::new(&self.path);
        command
            .arg0(NAME)
            .args(words)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if manner != Manner::Open {
            command.stdin(Stdio::null()).stderr(Stdio::null());
        }
        if manner == Manner::Alone {
            // It has no option for this: off line, it also refuses whatever is not in a store.
            command.envs(PROXIES.map(|name| (name, NOWHERE)));
            for name in NO_PROXY {
                command.env_remove(name);
            }
        }
        command
    }
}

impl Successor {
    /// Lets the program go on with these words once this process is done.
    pub(crate) fn new(program: Program, words: Vec<OsString>) -> Self {
        Self { program, words }
    }

    /// Becomes the program, which may have so many files open as this process when it began; returns only if that fails.
    pub(crate) fn take_over(self, open_files: Rlimit) -> Failure {
        // Programs that use `select` rely on the usual limit.
        if let Err(error) = setrlimit(Resource::Nofile, open_files) {
            tracing::debug!(%error, "cannot restore the limit of open files");
        }
        let path = self.program.path;
        let error = std::process::Command::new(&path)
            .arg0(NAME)
            .args(self.words)
            .env(MARK, std::process::id().to_string())
            .exec();
        let mut failure = Failure::because(&format!("cannot start {}", path.display()), &error);
        failure.exit = Exit::Failed;
        failure
    }
}

/// The first executable file of that name.
fn in_path(path: Option<&std::ffi::OsStr>, name: &str) -> Option<PathBuf> {
    let directories: Vec<PathBuf> = env::split_paths(path?).collect();
    let candidates = directories
        .into_iter()
        .map(|directory| directory.join(name));
    candidates
        .into_iter()
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    let is_file = path.metadata().is_ok_and(|found| found.is_file());
    is_file && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program that says how it was started.
    fn script(directory: &Path, text: &str) -> Program {
        let path = directory.join(NAME);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        Program { path }
    }

    async fn said(
        text: &str,
        manner: Manner,
        within: Option<Duration>,
    ) -> Result<String, ProgramError> {
        let directory = tempfile::tempdir().expect("a directory");
        let program = script(directory.path(), text);
        let printed = program.ask(&["word".into()], manner, within).await?;
        Ok(String::from_utf8(printed).expect("text"))
    }

    #[tokio::test]
    async fn it_is_asked_with_the_words_and_kept_from_the_network() {
        let all = "echo $1 $http_proxy $https_proxy $all_proxy";
        let alone = said(all, Manner::Alone, None).await.unwrap();
        assert_eq!(alone.trim(), format!("word {NOWHERE} {NOWHERE} {NOWHERE}"));
        let quiet = said("echo $1; cat; echo noise >&2", Manner::Quiet, None).await;
        assert_eq!(quiet.unwrap(), "word\n", "nobody answers its questions");
    }

    #[tokio::test]
    async fn failing_flooding_and_dawdling_are_told_apart() {
        let failed = said("exit 3", Manner::Quiet, None).await;
        assert!(matches!(failed, Err(ProgramError::Failed { status }) if status.code() == Some(3)));
        let flood = said("exec cat /dev/zero", Manner::Quiet, None).await;
        assert!(matches!(flood, Err(ProgramError::TooMuch)));
        let slow = said(
            "exec sleep 600",
            Manner::Quiet,
            Some(Duration::from_millis(50)),
        )
        .await;
        assert!(matches!(slow, Err(ProgramError::Slow { .. })));
        let gone = Program {
            path: "/nowhere/0install".into(),
        };
        let gone = gone.ask(&[], Manner::Quiet, None).await;
        assert!(matches!(gone, Err(ProgramError::Start { .. })));
    }

    #[test]
    fn the_first_program_of_that_name_is_found() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = env::join_paths([one.path(), two.path()]).unwrap();
        assert_eq!(in_path(Some(&path), NAME), None);
        let second = script(two.path(), "exit").path;
        assert_eq!(in_path(Some(&path), NAME), Some(second.clone()));
        fs::write(one.path().join(NAME), "no program").unwrap();
        assert_eq!(in_path(Some(&path), NAME), Some(second));
        let first = one.path().join(NAME);
        fs::set_permissions(&first, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(in_path(Some(&path), NAME), Some(first));
        assert_eq!(in_path(None, NAME), None);
    }
}
