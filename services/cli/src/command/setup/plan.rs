//! What has to be done: decided from what is there, before anything is touched.

use std::path::{Path, PathBuf};

use super::What;
use super::disk::{Disk, DiskError};
use super::marked::{Origin, mark, origin};
use super::scope::{Paths, SHARED_STORE, Scope, StoreOwner};
use super::{list, units};
use crate::failure::Failure;

/// One thing to do, or to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A file gets this text.
    Write {
        path: PathBuf,
        text: Vec<u8>,
        mode: u32,
    },
    /// A file, or a link, goes.
    Remove { path: PathBuf },
    /// It is as it should be.
    Same { path: PathBuf },
    /// Somebody changed it, so it stays.
    Left { path: PathBuf },
    /// A program is run.
    Run { words: Vec<String> },
    /// A program that somebody has to run, because it cannot be run here.
    Later { words: Vec<String> },
}

/// What the files are made from.
#[derive(Debug)]
pub(super) struct Facts {
    /// What is set up.
    pub(super) what: What,
    /// Where the program is that units run.
    pub(super) program: String,
    /// Where the mount appears.
    pub(super) mount: String,
    /// Variables that a user's units need.
    pub(super) environment: Vec<(String, String)>,
}

/// A file as it should be.
struct Wanted {
    path: PathBuf,
    text: String,
    mode: u32,
    what: What,
}

const PLAIN: u32 = 0o644;
const PROGRAM: u32 = 0o755;

/// Why something cannot be planned.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    /// Something of somebody else's is where our files belong.
    #[error("{} is there already, and was written or changed by somebody else", .0.display())]
    InTheWay(PathBuf),
    /// The mount needs the node.
    #[error("0install is set up, and needs the node")]
    Needed,
    /// It cannot be looked at.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let failure = Self::failed(crate::failure::chain(&error));
        match error {
            PlanError::InTheWay(_) => Self {
                reason: "IN_THE_WAY".to_owned(),
                ..failure
            }
            .advise("Nothing was done. Move it away and try again; what you want to change in a unit, `systemctl edit UNIT` keeps apart from it."),
            PlanError::Needed => {
                failure.advise("Nothing was done. `zeroshare setup 0install --undo` comes first.")
            }
            PlanError::Disk(_) => failure,
        }
    }
}

/// What has to be done so that all is set up.
pub(super) fn setup(scope: &Scope, disk: &Disk, facts: &Facts) -> Result<Vec<Step>, PlanError> {
    let paths = scope.paths();
    let owner = scope.store_owner();
    let mut steps = Vec::new();
    let mut is_running_old = false;
    for wanted in wanted(scope, &paths, &owner, facts) {
        let step = settle(disk, wanted, &mut is_running_old)?;
        steps.push(step);
    }
    let mut commands = Vec::new();
    if let (StoreOwner::Usual, Some(account), Some(directories)) =
        (&owner, &paths.account, &paths.directories)
    {
        commands.push(scope.tool("systemd-sysusers", &[&text(account)]));
        commands.push(scope.tool("systemd-tmpfiles", &["--create", &text(directories)]));
    }
    let started = started(scope, facts.what);
    let is_live = scope.has_systemd();
    if is_live {
        commands.push(scope.systemctl(&["daemon-reload"]));
        commands.push(scope.systemctl(&[&["enable", "--now"][..], &started].concat()));
    } else {
        commands.push(scope.systemctl(&[&["enable"][..], &started].concat()));
    }
    let run = |words| {
        if is_live {
            Step::Run { words }
        } else {
            Step::Later { words }
        }
    };
    steps.extend(commands.into_iter().map(run));
    if is_live && is_running_old {
        let words = scope.systemctl(&[&["restart"][..], &started].concat());
        steps.push(Step::Later { words });
    }
    if facts.what == What::ZeroInstall {
        // Last: from then on 0install looks there.
        steps.push(listed(disk, &paths.list, &facts.mount)?);
    }
    Ok(steps)
}

/// What has to be done so that nothing of it is left but what somebody changed.
pub(super) fn undo(scope: &Scope, disk: &Disk, what: What) -> Result<Vec<Step>, PlanError> {
    let paths = scope.paths();
    let mut steps = Vec::new();
    if what == What::ZeroInstall {
        steps.extend(unlisted(disk, &paths.list)?);
    } else if let Some(mount) = disk.read(&paths.units.join(units::MOUNT))?
        && matches!(origin(&mount), Origin::Ours(_))
    {
        return Err(PlanError::Needed);
    }
    let mut removed = Vec::new();
    for path in all_files(scope, &paths) {
        let Some(found) = disk.read(&path)? else {
            continue;
        };
        match origin(&found) {
            // Whoever set up the node by itself keeps it.
            Origin::Ours(What::Node) if what == What::ZeroInstall => {}
            Origin::Ours(_) => removed.push(path),
            Origin::Changed | Origin::Foreign => steps.push(Step::Left { path }),
        }
    }
    let stopped: Vec<&str> = started(scope, What::ZeroInstall)
        .into_iter()
        .filter(|unit| removed.contains(&paths.units.join(unit)))
        .collect();
    let is_live = scope.has_systemd();
    if is_live && !stopped.is_empty() {
        let words = scope.systemctl(&[&["disable", "--now"][..], &stopped].concat());
        steps.push(Step::Run { words });
        // They stop with their target, and nobody waits for that.
        let services = units::SERVICES.into_iter();
        let services: Vec<&str> = services
            .filter(|unit| removed.contains(&paths.units.join(unit)))
            .collect();
        if !services.is_empty() {
            let words = scope.systemctl(&[&["stop"][..], &services].concat());
            steps.push(Step::Run { words });
        }
    } else {
        let links = stopped.iter().map(|unit| paths.wants.join(unit));
        let links = links.filter(|link| disk.is_link(link));
        steps.extend(links.map(|path| Step::Remove { path }));
    }
    let has_units = removed.iter().any(|path| path.starts_with(&paths.units));
    steps.extend(removed.into_iter().map(|path| Step::Remove { path }));
    if is_live && has_units {
        let words = scope.systemctl(&["daemon-reload"]);
        steps.push(Step::Run { words });
    }
    Ok(steps)
}

/// All files that are written for a scope.
fn wanted(scope: &Scope, paths: &Paths, owner: &StoreOwner, facts: &Facts) -> Vec<Wanted> {
    let program = &facts.program;
    let mut all = Vec::new();
    let mut want = |path: PathBuf, text: String, mode: u32, what: What| {
        all.push(Wanted {
            path,
            text,
            mode,
            what,
        });
    };
    let unit = |name: &str| paths.units.join(name);
    match scope {
        Scope::System { .. } => {
            let name = owner.name();
            let texts = [
                units::discovery(program, name),
                units::store(program, name),
                units::fetcher(program, name, SHARED_STORE),
            ];
            if let (StoreOwner::Usual, Some(account), Some(directories)) =
                (owner, &paths.account, &paths.directories)
            {
                want(account.clone(), units::account(name), PLAIN, facts.what);
                let text = units::directories(name, SHARED_STORE);
                want(directories.clone(), text, PLAIN, facts.what);
            }
            for (name, text) in units::SERVICES.into_iter().zip(texts) {
                want(unit(name), text, PLAIN, facts.what);
            }
            want(unit(units::TARGET), units::target(), PLAIN, facts.what);
        }
        Scope::User { .. } => {
            let text = units::user_node(program, &facts.environment);
            want(unit(units::NODE), text, PLAIN, facts.what);
        }
    }
    if facts.what == What::ZeroInstall {
        let text = match scope {
            Scope::System { .. } => units::system_mount(program, &facts.mount),
            Scope::User { .. } => units::user_mount(program, &facts.mount, &facts.environment),
        };
        want(unit(units::MOUNT), text, PLAIN, facts.what);
        if let Some(helper) = &paths.helper {
            want(helper.clone(), units::helper(program), PROGRAM, facts.what);
        }
    }
    all
}

/// All files that may have been written for a scope, the last first.
fn all_files(scope: &Scope, paths: &Paths) -> Vec<PathBuf> {
    let units = match scope {
        Scope::System { .. } => [&[units::MOUNT, units::TARGET][..], &units::SERVICES].concat(),
        Scope::User { .. } => vec![units::MOUNT, units::NODE],
    };
    let units = units.into_iter().map(|name| paths.units.join(name));
    let others = [&paths.helper, &paths.directories, &paths.account];
    let others = others.into_iter().flatten().cloned();
    units.chain(others).collect()
}

/// What is enabled, and pulls in the rest.
fn started(scope: &Scope, what: What) -> Vec<&'static str> {
    let node = match scope {
        Scope::System { .. } => units::TARGET,
        Scope::User { .. } => units::NODE,
    };
    match what {
        What::Node => vec![node],
        What::ZeroInstall => vec![units::MOUNT, node],
    }
}

/// Compares a file with what it should be.
fn settle(disk: &Disk, wanted: Wanted, is_running_old: &mut bool) -> Result<Step, PlanError> {
    let Wanted {
        path,
        text,
        mode,
        what,
    } = wanted;
    let found = disk.read(&path)?;
    let what = match found.as_deref().map(origin) {
        // Once the node is wanted for its own sake, it is not only 0install's.
        Some(Origin::Ours(What::Node)) => What::Node,
        None | Some(Origin::Ours(What::ZeroInstall)) => what,
        Some(Origin::Changed | Origin::Foreign) => {
            return Err(PlanError::InTheWay(disk.shown(&path)));
        }
    };
    let text = mark(&text, what).into_bytes();
    match found {
        Some(found) if found == text => return Ok(Step::Same { path }),
        Some(_) => *is_running_old = true,
        None => {}
    }
    Ok(Step::Write { path, text, mode })
}

fn listed(disk: &Disk, path: &Path, directory: &str) -> Result<Step, PlanError> {
    let path = path.to_owned();
    let found = disk.read(&path)?;
    let text = list::with(found.as_deref().unwrap_or_default(), directory.as_bytes());
    if found.as_ref() == Some(&text) {
        return Ok(Step::Same { path });
    }
    Ok(Step::Write {
        path,
        text,
        mode: PLAIN,
    })
}

fn unlisted(disk: &Disk, path: &Path) -> Result<Option<Step>, PlanError> {
    let path = path.to_owned();
    let Some(found) = disk.read(&path)? else {
        return Ok(None);
    };
    let text = list::without(&found);
    Ok(if text == found {
        None
    } else if text.is_empty() && !disk.is_link(&path) {
        Some(Step::Remove { path })
    } else {
        let mode = PLAIN;
        Some(Step::Write { path, text, mode })
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
