//! Doing what was planned, and saying what was done.

use std::fmt::{self, Write as _};
use std::process::Stdio;

use serde::Serialize;
use tokio::process::Command;

use super::disk::Disk;
use super::plan::Step;
use super::words::in_shell;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::{Page, Report};

/// Whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Done,
    DryRun,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
pub(super) struct SetupReport {
    dry_run: bool,
    steps: Vec<StepReport>,
}

#[derive(Debug, Serialize)]
struct StepReport {
    action: Action,
    /// The file that it is about.
    path: Option<String>,
    /// The command, as a shell would read it.
    command: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Write,
    Remove,
    Same,
    Left,
    Run,
    Later,
}

impl SetupReport {
    pub(super) fn new(steps: &[Step], mode: Mode, disk: &Disk) -> Self {
        let report = |step: &Step| {
            let of = |action, path: &std::path::Path| StepReport {
                action,
                path: Some(disk.shown(path).display().to_string()),
                command: None,
            };
            let command = |action, words: &[String]| StepReport {
                action,
                path: None,
                command: Some(command_line(words)),
            };
            match step {
                Step::Write { path, .. } => of(Action::Write, path),
                Step::Remove { path } => of(Action::Remove, path),
                Step::Same { path } => of(Action::Same, path),
                Step::Left { path } => of(Action::Left, path),
                Step::Run { words } => command(Action::Run, words),
                Step::Later { words } => command(Action::Later, words),
            }
        };
        Self {
            dry_run: mode == Mode::DryRun,
            steps: steps.iter().map(report).collect(),
        }
    }
}

impl Report for SetupReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let (now, later): (Vec<_>, Vec<_>) = self
            .steps
            .iter()
            .partition(|step| step.action != Action::Later);
        for step in now {
            let what = step.path.as_ref().or(step.command.as_ref());
            let verb = verb(step.action, self.dry_run);
            writeln!(page, "{verb} {}", what.map_or("", String::as_str))?;
        }
        if self.steps.is_empty() {
            writeln!(page, "nothing of it is here")?;
        }
        if !later.is_empty() {
            page.strong("then run:\n")?;
        }
        for command in later.iter().filter_map(|step| step.command.as_ref()) {
            writeln!(page, "  {command}")?;
        }
        Ok(())
    }
}

fn verb(action: Action, is_dry_run: bool) -> &'static str {
    match (action, is_dry_run) {
        (Action::Write, false) => "wrote       ",
        (Action::Write, true) => "would write ",
        (Action::Remove, false) => "removed     ",
        (Action::Remove, true) => "would remove",
        (Action::Same, _) => "is right    ",
        (Action::Left, _) => "left, since somebody changed it:",
        (Action::Run, false) => "ran         ",
        (Action::Run | Action::Later, _) => "would run   ",
    }
}

/// Does one thing.
pub(super) async fn run_step(step: &Step, disk: &Disk) -> Result<(), Failure> {
    let done = match step {
        Step::Write { path, text, mode } => disk.write(path, text, *mode),
        Step::Remove { path } => disk.remove(path),
        Step::Run { words } => return run_command(words).await,
        Step::Same { .. } | Step::Left { .. } | Step::Later { .. } => Ok(()),
    };
    done.map_err(|error| Failure::because("cannot set up", &error))
}

/// Runs a program of the system, whose complaints are the user's to read.
async fn run_command(words: &[String]) -> Result<(), Failure> {
    let line = command_line(words);
    let Some((program, words)) = words.split_first() else {
        return Ok(());
    };
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| Failure::because(&format!("cannot run `{line}`"), &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = format!("`{line}` failed: {}", said.trim());
    Err(
        Failure::new(Exit::Failed, "COMMAND_FAILED", message).advise(
            "What was written stays; the same command goes on from there, and --undo takes it away.",
        ),
    )
}

fn command_line(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| in_shell(word)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_fails_is_named_with_what_it_said() {
        let words = ["sh", "-c", "echo 'no way' >&2; exit 3"].map(String::from);
        let failure = run_command(&words).await.unwrap_err();
        assert_eq!(failure.reason, "COMMAND_FAILED");
        assert!(failure.message.ends_with("no way"), "{}", failure.message);
        let missing = run_command(&["no-such-program".to_owned()]).await;
        assert!(missing.unwrap_err().message.contains("no-such-program"));
        run_command(&["true".to_owned()]).await.unwrap();
    }
}
