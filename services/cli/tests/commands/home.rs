//! A user with a home, stores and configuration of their own, and what they run.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_zeroshare");

/// A well-formed id of a tree that nobody has.
pub(crate) const UNKNOWN: &str = "sha256new_4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKA";

/// A user's home, removed with it.
#[derive(Debug)]
pub(crate) struct Home {
    directory: TempDir,
    /// Where everybody would be spoken to, were there a road.
    group_port: u16,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A command that runs; killed with it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    words: String,
    out: PathBuf,
    err: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("zs-")
            .tempdir_in("/tmp")
            .unwrap();
        for part in ["run", "cache", "config", "state", "data", "system", "tmp"] {
            fs::create_dir(directory.path().join(part)).unwrap();
        }
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self {
            directory,
            group_port: free.local_addr().unwrap().port(),
        }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// The user's own Zero Install store.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("cache/0install.net/implementations")
    }

    /// The command in this home, without any road for datagrams and with any port.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .env_clear()
            .stdin(Stdio::null())
            .current_dir(self.directory.path());
        for (name, part) in [
            ("HOME", ""),
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_CACHE_DIRS", "system"),
            ("XDG_CONFIG_DIRS", "system"),
            ("TMPDIR", "tmp"),
        ] {
            command.env(name, self.path(part));
        }
        for name in [
            "ZEROSHARE_NO_MULTICAST4",
            "ZEROSHARE_NO_MULTICAST6",
            "ZEROSHARE_NO_BROADCAST",
        ] {
            command.env(name, "true");
        }
        // Named, so that no node of this machine is asked instead.
        command.env("ZEROSHARE_RUNTIME_DIR", self.path("run/node"));
        command
            .env("ZEROSHARE_INTERFACE", "lo")
            .env("ZEROSHARE_PORT", "0");
        command.env("ZEROSHARE_GROUP_PORT", self.group_port.to_string());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        Running::start(self.command(words), self.directory.path()).said()
    }

    /// Runs a command that must succeed; gives its standard output without the last line break.
    pub(crate) fn must(&self, words: &[&str]) -> String {
        let said = self.run(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        said.out.trim_end_matches('\n').to_owned()
    }

    /// Runs a command that must succeed; gives the document that it prints.
    pub(crate) fn document(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.must(&words)).unwrap()
    }

    /// Starts a command, and lets it run.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        Running::start(self.command(words), self.directory.path())
    }

    /// The same with a command made by [`Self::command`].
    pub(crate) fn start_by(&self, command: &mut Command) -> Running {
        let command = std::mem::replace(command, Command::new(PROGRAM));
        Running::start(command, self.directory.path())
    }

    /// Starts a node, and waits until all of it serves.
    pub(crate) fn start_node(&self, words: &[&str]) -> Running {
        self.start_node_by(self.command(&[&["node"], words].concat()))
    }

    /// The same with a command made by [`Self::command`].
    pub(crate) fn start_node_by(&self, command: Command) -> Running {
        let mut node = Running::start(command, self.directory.path());
        wait_until("the node serves", || {
            assert!(
                node.child.try_wait().unwrap().is_none(),
                "the node ended: {}",
                node.err()
            );
            self.run(&["status"]).code == Some(0)
        });
        node
    }

    /// Where this home's node is read by peers.
    pub(crate) fn address(&self) -> String {
        let status = self.document(&["status"]);
        format!("127.0.0.1:{}", status["node"]["ports"][0])
    }

    /// Waits until the store has verified a tree and offers it.
    pub(crate) fn wait_until_offered(&self, id: &str) {
        wait_until("the tree is offered", || {
            self.held(id).is_some_and(|held| held["offered"] == true)
        });
    }

    /// What the store says of a tree.
    pub(crate) fn held(&self, id: &str) -> Option<Value> {
        let listed = self.document(&["list"]);
        let contents = listed["contents"].as_array()?;
        contents
            .iter()
            .find(|held| held["content_id"] == id)
            .cloned()
    }

    /// Makes a tree of files, a program, a link and an empty directory.
    pub(crate) fn make_tree(&self, name: &str, seed: u8) -> PathBuf {
        let tree = self.path(name);
        fs::create_dir_all(tree.join("bin/empty")).unwrap();
        fs::write(tree.join("README"), format!("tree {seed}\n")).unwrap();
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8 ^ seed).collect();
        fs::write(tree.join("bin/data"), bytes).unwrap();
        fs::write(tree.join("bin/run"), "#!/bin/sh\necho hello\n").unwrap();
        set_mode(&tree.join("bin/run"), 0o755);
        std::os::unix::fs::symlink("bin/run", tree.join("run")).unwrap();
        tree
    }
}

impl Said {
    /// The documents on standard error, a line each.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.err
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The error for programs.
    pub(crate) fn error(&self) -> Value {
        let events = self.events();
        let error = events.iter().find_map(|event| event.get("error").cloned());
        error.unwrap_or_else(|| panic!("no error in {self:?}"))
    }
}

impl Running {
    fn start(mut command: Command, directory: &Path) -> Self {
        let file = |name| {
            let prefix = format!("{name}-");
            tempfile::Builder::new()
                .prefix(&prefix)
                .tempfile_in(directory)
                .unwrap()
                .keep()
                .unwrap()
        };
        let ((out_file, out), (err_file, err)): ((File, _), (File, _)) = (file("out"), file("err"));
        let words = format!("{:?}", command.get_args());
        let child = command.stdout(out_file).stderr(err_file).spawn().unwrap();
        Self {
            child,
            words,
            out,
            err,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// Waits for its end, and gives what it said.
    pub(crate) fn said(&mut self) -> Said {
        let code = self.wait().code();
        Said {
            code,
            out: self.out(),
            err: self.err(),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        let words = self.words.clone();
        let still = format!("{words} ends");
        wait_until(&still, || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Looks until it holds, for as long as anything may take.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
