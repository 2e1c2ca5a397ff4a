//! `status --watch`: on a terminal with keys, elsewhere in lines.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

use crate::home::{Home, Running, UNKNOWN, wait_until};

const DOWN: &str = "\u{1b}[B";
const ENTERED: &str = "\u{1b}[?1049h";
const LEFT: &str = "\u{1b}[?1049l";

/// A terminal, and a command that uses it; killed with it.
struct Screen {
    terminal: File,
    /// Where the command's end is: kept open, so that it can be looked at afterwards.
    inner: OwnedFd,
    child: Child,
    seen: Vec<u8>,
}

impl Screen {
    fn start(home: &Home, words: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let inner = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&inner, size).unwrap();
        fcntl_setfl(&terminal, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
        let end = || Stdio::from(inner.try_clone().unwrap());
        let mut command = home.command(words);
        command.stdin(end()).stdout(end()).stderr(end());
        Self {
            terminal: terminal.into(),
            child: command.spawn().unwrap(),
            inner,
            seen: Vec::new(),
        }
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.inner).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Reads on until this was seen, and forgets what was before its end.
    fn wait_for(&mut self, words: &str) {
        wait_until(&format!("{words:?} is shown"), || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = self.terminal.read(&mut bytes) {
                self.seen.extend_from_slice(&bytes[..length]);
            }
            let seen = String::from_utf8_lossy(&self.seen).into_owned();
            let Some(at) = seen.find(words) else {
                return false;
            };
            self.seen = seen.as_bytes()[at + words.len()..].to_vec();
            true
        });
    }

    fn type_in(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Its end is in order, and the terminal is as it was.
    fn ends_well(mut self) {
        self.wait_for(LEFT);
        let mut ended = None;
        wait_until("it ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().code(), Some(0));
        let modes = tcgetattr(&self.inner).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Starts a fetch of what nobody has, which looks for it until it is cancelled.
fn fetching(home: &Home) -> Running {
    let fetch = home.start(&["fetch", UNKNOWN, "--timeout", "5m"]);
    wait_until("it looks for peers", || {
        fetch.err().contains("looking for peers")
    });
    fetch
}

fn state(home: &Home) -> Value {
    home.document(&["fetches"])["fetches"][0]["state"].clone()
}

#[test]
fn a_key_cancels_the_selected_transfer_after_a_question() {
    let home = Home::new();
    let _node = home.start_node(&[]);
    let mut fetch = fetching(&home);
    let mut screen = Screen::start(&home, &["status", "--watch"]);
    screen.wait_for(ENTERED);
    screen.wait_for("1 transfer");
    screen.wait_for(&UNKNOWN[..19]);
    screen.wait_for("looking for peers");
    assert!(screen.is_raw());
    screen.type_in(DOWN);
    screen.type_in("c");
    screen.wait_for("y/n");
    screen.type_in("n");
    screen.wait_for("c cancel");
    assert_eq!(state(&home), "locating", "no is no");
    screen.type_in("c");
    screen.wait_for("y/n");
    screen.type_in("y");
    screen.wait_for("cancelled");
    assert_eq!(fetch.wait().code(), Some(1), "{}", fetch.err());
    screen.wait_for("nothing is being fetched");
    screen.type_in("q");
    screen.ends_well();
    assert_eq!(state(&home), "cancelled");
}

#[test]
fn ctrl_c_and_signals_leave_the_terminal_as_it_was() {
    let home = Home::new();
    let _node = home.start_node(&[]);
    let mut screen = Screen::start(&home, &["status", "--watch"]);
    screen.wait_for("nothing is being fetched");
    screen.type_in("\u{3}");
    screen.ends_well();
    let mut screen = Screen::start(&home, &["status", "--watch"]);
    screen.wait_for("nothing is being fetched");
    let id = i32::try_from(screen.child.id()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    screen.ends_well();
}

#[test]
fn elsewhere_each_change_is_a_line_or_a_document() {
    let home = Home::new();
    let _node = home.start_node(&[]);
    let mut fetch = fetching(&home);
    let mut lines = home.start(&["status", "--watch"]);
    let mut documents = home.start(&["status", "--watch", "--json"]);
    wait_until("both tell of it", || {
        lines.out().contains("looking for peers") && documents.out().contains("locating")
    });
    home.must(&["cancel", UNKNOWN]);
    fetch.wait();
    wait_until("both tell of its end", || {
        lines.out().contains("cancelled") && documents.out().contains("cancelled")
    });
    for watch in [&mut lines, &mut documents] {
        watch.signal(Signal::INT);
        assert_eq!(watch.wait().code(), Some(0), "{}", watch.err());
    }
    let documents: Vec<Value> = documents
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = &documents[0]["fetch"];
    assert_eq!(first["content_id"], UNKNOWN);
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(first["user_ids"], serde_json::json!([user]));
    assert_eq!(documents.last().unwrap()["fetch"]["state"], "cancelled");
}

#[test]
fn without_a_node_there_is_nothing_to_watch() {
    let home = Home::new();
    let said = home.run(&["status", "--watch"]);
    assert_eq!(said.code, Some(1), "{said:?}");
}
