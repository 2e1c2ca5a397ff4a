//! `zeroshare setup`: starts a node on boot, leads 0install to the neighbours, and takes both away again.

mod disk;
mod list;
mod marked;
mod plan;
mod program;
mod scope;
mod steps;
mod units;
mod words;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use zeroshare_chassis::Env;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;
use plan::{Facts, Step};
use steps::{Mode, SetupReport, run_step};

pub(crate) use disk::{Disk, DiskError};
pub(crate) use list::directory as listed_directory;
pub(crate) use marked::{Origin, origin};
pub(crate) use scope::{Paths, SHARED_STORE, Scope, name_of};
pub(crate) use units::{MOUNT, NODE, SERVICES, TARGET};

const EXAMPLES: &str = "\
`setup node` starts a node on boot (for a user: with the user's first login; `loginctl enable-linger` makes that on boot too).

`setup 0install` does that, and leads an unmodified 0install to the neighbours: a mount that shows what they have, and the line in
implementation-dirs that names it. For the whole machine also the program that 0install runs after each download, so that what one user
downloaded is there for all, and for the neighbours, once the node has verified it.

For the machine the node's services run as three processes, as the user whose the shared store is (zeroinst, where nobody chose another;
the account is made if it is missing), and only the one that fetches can write there. Run it again after an update: what it wrote is
replaced, and what somebody changed is never touched.

--undo removes what was written and has not been changed since. Accounts, directories, trees and the node's own state stay.

Examples:
  sudo zeroshare setup 0install --dry-run
  sudo zeroshare setup 0install
  zeroshare setup 0install --user
  zeroshare setup node
  sudo zeroshare setup 0install --undo
  sudo zeroshare setup node --root /srv/image --program /usr/bin/zeroshare";

/// Variables that decide where a user's things lie.
const PLACES: [&str; 6] = [
    "XDG_CACHE_HOME",
    "XDG_CACHE_DIRS",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_STATE_HOME",
    "ZEROSHARE_CONFIG",
];

/// What is set up, and for whom.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct SetupArguments {
    /// What is set up.
    #[arg(value_enum, value_name = "WHAT")]
    pub what: What,

    /// For all users of this machine [default: for root].
    #[arg(long, conflicts_with = "user")]
    pub system: bool,

    /// For this user alone [default: for everybody but root].
    #[arg(long)]
    pub user: bool,

    /// Take it away again.
    #[arg(long)]
    pub undo: bool,

    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Where the mount appears [default: /run/zeroshare-lan; for a user: zeroshare-lan in the runtime directory].
    #[arg(long, value_name = "DIR", conflicts_with = "undo")]
    pub mount: Option<PathBuf>,

    /// Set up the image of a machine that lies there, and start nothing.
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    pub root: Option<PathBuf>,

    /// The program that is started, as it is called there [default: this one].
    #[arg(long, value_name = "FILE", conflicts_with = "undo")]
    pub program: Option<PathBuf>,
}

/// What can be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A node that starts on boot, and 0install led to it.
    #[value(name = "0install")]
    ZeroInstall,
    /// A node that starts on boot.
    Node,
}

/// Sets it up, or takes it away, and says what was done.
pub async fn run(arguments: SetupArguments, session: &Session) -> Result<Exit, Failure> {
    let scope = scope(&arguments, &session.env)?;
    let disk = scope
        .disk()
        .map_err(|error| Failure::because("cannot set up", &error))?;
    let steps = if arguments.undo {
        plan::undo(&scope, &disk, arguments.what)?
    } else {
        let facts = facts(&arguments, &scope, &session.env)?;
        plan::setup(&scope, &disk, &facts)?
    };
    let mode = if arguments.dry_run {
        Mode::DryRun
    } else {
        Mode::Done
    };
    if mode == Mode::Done {
        may_write(&scope, &session.env)?;
        for (step, number) in steps.iter().zip(0..) {
            if let Err(failure) = run_step(step, &disk).await {
                // What was done so far is worth knowing, and another try goes on from there.
                let done: Vec<Step> = steps.iter().take(number).cloned().collect();
                session
                    .output
                    .report(&SetupReport::new(&done, mode, &disk))?;
                return Err(failure);
            }
        }
    }
    session
        .output
        .report(&SetupReport::new(&steps, mode, &disk))?;
    Ok(Exit::Done)
}

fn scope(arguments: &SetupArguments, env: &Env) -> Result<Scope, Failure> {
    if let Some(root) = &arguments.root {
        let root = std::path::absolute(root)
            .map_err(|error| Failure::because("cannot use the image", &error))?;
        return Ok(Scope::System { root });
    }
    let is_root = env.uid == 0;
    if arguments.system || (is_root && !arguments.user) {
        Ok(Scope::machine())
    } else {
        Scope::user(env)
    }
}

fn may_write(scope: &Scope, env: &Env) -> Result<(), Failure> {
    if *scope != Scope::machine() || env.uid == 0 {
        return Ok(());
    }
    let message = "only root sets up the whole machine";
    Err(Failure::new(Exit::Failed, "NOT_ROOT", message).advise(
        "`sudo zeroshare setup … --system` does, and with --user it is set up for you alone; --dry-run shows what would be done.",
    ))
}

fn facts(arguments: &SetupArguments, scope: &Scope, env: &Env) -> Result<Facts, Failure> {
    let root = match scope {
        Scope::System { root } => root,
        Scope::User { .. } => Path::new("/"),
    };
    let program = program::program(arguments.program.as_deref(), root)?;
    if *scope == Scope::machine() {
        program::check_for_system(&program)?;
    }
    let mount = match &arguments.mount {
        Some(mount) if scope_is_image(scope) => mount.clone(),
        Some(mount) => std::path::absolute(mount)
            .map_err(|error| Failure::because("cannot use that place for the mount", &error))?,
        None => scope.paths().mount,
    };
    let mount = mount
        .into_os_string()
        .into_string()
        .map_err(|_| Failure::usage("the place for the mount is not UTF-8"))?;
    words::check(&mount)?;
    Ok(Facts {
        what: arguments.what,
        program,
        mount,
        environment: environment(env)?,
    })
}

fn scope_is_image(scope: &Scope) -> bool {
    matches!(scope, Scope::System { root } if root != Path::new("/"))
}

/// The variables of this login that a unit would not have.
fn environment(env: &Env) -> Result<Vec<(String, String)>, Failure> {
    let mut found = Vec::new();
    for name in PLACES {
        if let Some(value) = env.text(name) {
            if value.chars().any(char::is_control) {
                return Err(Failure::usage(format!("{name} has control characters")));
            }
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}
