//! How a whole process ends: the test starts itself again as the process that is signalled.
#![expect(
    clippy::unwrap_used,
    reason = "a test, though it has a `main` of its own"
)]

use std::{
    convert::Infallible,
    env, future,
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use zeroshare_chassis::{Lifetime, process, telemetry::TelemetrySettings};

const ROLE: &str = "ZEROSHARE_TEST_ROLE";

fn main() -> ExitCode {
    match env::var(ROLE).as_deref() {
        Ok("obedient") => be(async |lifetime: Lifetime| {
            tracing::info!("ready");
            lifetime.stopping().await;
            Ok(())
        }),
        Ok("stubborn") => be(async |_| {
            tracing::info!("ready");
            future::pending().await
        }),
        Ok("opener") => {
            let found = getrlimit(Resource::Nofile);
            let low = Rlimit {
                current: Some(256),
                ..found
            };
            setrlimit(Resource::Nofile, low).unwrap();
            be(async move |_| {
                assert_eq!(getrlimit(Resource::Nofile).current, found.maximum);
                Ok(())
            })
        }
        Ok("done") => be(async |_| Ok(())),
        _ => {
            the_first_signal_lets_a_process_end_by_itself();
            the_second_signal_ends_a_process_at_once();
            a_process_whose_work_is_done_ends();
            a_process_may_open_as_many_files_as_it_is_allowed();
            ExitCode::SUCCESS
        }
    }
}

fn the_first_signal_lets_a_process_end_by_itself() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut process = Process::start("obedient");
        process.read_until("ready");
        process.signal(signal);
        process.read_until("stopped");
        assert_eq!(process.end().code(), Some(0));
    }
}

fn the_second_signal_ends_a_process_at_once() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut process = Process::start("stubborn");
        process.read_until("ready");
        process.signal(Signal::TERM);
        process.read_until("stopping");
        process.signal(signal);
        assert_eq!(process.end().code(), Some(code));
    }
}

fn a_process_whose_work_is_done_ends() {
    assert_eq!(Process::start("done").end().code(), Some(0));
}

fn a_process_may_open_as_many_files_as_it_is_allowed() {
    assert_eq!(Process::start("opener").end().code(), Some(0));
}

fn be(work: impl AsyncFnOnce(Lifetime) -> Result<(), Infallible>) -> ExitCode {
    let filter = Some("info".to_owned());
    let settings = TelemetrySettings {
        filter,
        ..TelemetrySettings::default()
    };
    match process::run(&settings, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

struct Process {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Process {
    fn start(role: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        let mut child = command
            .env(ROLE, role)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Reads the log up to a line with this word; ends with the process if there is none.
    fn read_until(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "no {word}");
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}
