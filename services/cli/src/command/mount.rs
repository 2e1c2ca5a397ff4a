//! `zeroshare mount`: all trees of this machine and its neighbours, as a file system.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use zeroshare_mount::{Backing, DEFAULT_HOLD, MAX_HOLD, MountConfig, RunError};
use zeroshare_shelf::{Environment, feed_caches};

use crate::command::fetch::parse_host;
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::reach::{Needs, Services};
use crate::session::Session;

const EXAMPLES: &str = "\
DIR becomes a read-only Zero Install store. Looking a digest up there asks the neighbours, for at most 0.3 s and 0.5 s in all for one process in
five seconds (longer where answers are slow); what nobody has is no such file. A tree that a neighbour has is there in full at once; opening a file
brings that file, and then the rest of the tree into this machine's store, to which new lookups are led.

With DIR as a line in ~/.config/0install.net/injector/implementation-dirs (for all users: /etc/xdg/0install.net/injector/implementation-dirs)
an unmodified 0install takes its programs from there before it downloads anything.

What nobody has 0install downloads. Where several machines look for the same at once, one of them does, and the others' lookups wait for it: while it
is seen to download, for one minute in all for one process at most (--hold). Lookups by other programs, and by `0install select`, wait for nobody and
hold nobody up.

`ls DIR` shows what is here. With --list-neighbours also what neighbours share (up to 1,000 trees of each, of 64 at most), so that `0install --offline`
and 0install's preference for what is cached see them; but whatever walks through DIR then, like `find`, a backup or `0install store audit`, reads and
so fetches all of it.

DIR/by-name/HOST/PATH/VERSION links to the tree that a cached feed names (yours, or one in /var/cache): a path that can be baked into a build, like
DIR/by-name/example.org/hello.xml/1.0/bin/hello for http://example.org/hello.xml.

The services of a running node are asked, else some are started for as long as the mount lasts. Ctrl-C, SIGTERM and `fusermount3 -u DIR` end it; a
mount whose process was killed is replaced by the next one.

Examples:
  zeroshare mount /run/zeroshare/store
  zeroshare mount ~/lan --from 192.168.1.7";

/// Where to mount, and for whom.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct MountArguments {
    /// The directory to mount on; made if it is not there.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Let other users see it; for users other than root, /etc/fuse.conf must allow that [default: for root].
    #[arg(long)]
    pub allow_other: bool,

    /// List what neighbours share too, and not only what is here [default: no]. Whatever walks through DIR or audits it then reads, and
    /// so fetches, all of that.
    #[arg(long)]
    pub list_neighbours: bool,

    /// How long a process waits in all for other machines that download what it looks up; 0: not at all.
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_HOLD.as_secs(), value_parser = clap::value_parser!(u64).range(..=MAX_HOLD.as_secs()))]
    pub hold: u64,

    /// Ask this host only, and nobody by datagram; may be repeated.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_host)]
    pub from: Vec<String>,

    /// Start no services for the mount's time, but ask those of the node, also when it starts later.
    #[arg(long)]
    pub with_node: bool,
}

/// Written to standard error once it is mounted, with `--json`.
#[derive(Debug, Serialize)]
struct Mounted<'a> {
    mount: Place<'a>,
}

#[derive(Debug, Serialize)]
struct Place<'a> {
    path: &'a str,
}

/// Mounts, and serves until it is unmounted or asked to stop.
pub async fn run(arguments: MountArguments, session: &Session) -> Result<Exit, Failure> {
    let services = if arguments.with_node {
        Services::of_node(&session.settings()?)
    } else {
        session.services(Needs::ALL)?
    };
    let config = MountConfig {
        dir: arguments.dir,
        allow_other: arguments.allow_other || rustix::process::geteuid().is_root(),
        from: arguments.from,
        list_neighbours: arguments.list_neighbours,
        hold: Duration::from_secs(arguments.hold),
        feed_caches: feed_caches(&Environment::of_process()),
    };
    let backing = Backing {
        fetcher: services.channel("fetcher"),
        store: services.channel("store"),
        discovery: services.channel("discovery"),
    };
    let mounted = zeroshare_mount::mount(config, backing, session.lifetime.child());
    let mounted = mounted.await.map_err(|error| failed(&services, &error))?;
    let path = mounted.dir().display().to_string();
    session.output.event(&Mounted {
        mount: Place { path: &path },
    });
    if session.output.redraws() {
        session
            .output
            .note(&format!("mounted on {path}; Ctrl-C unmounts it"));
    }
    let served = mounted.serve().await;
    served.map_err(|error| failed(&services, &error))?;
    Ok(Exit::Done)
}

fn failed(services: &Services, error: &RunError) -> Failure {
    tracing::debug!(own = services.are_our_own(), "the mount failed");
    let failure = Failure::new(Exit::Failed, "CANNOT_MOUNT", chain(error));
    match error {
        RunError::Mount(zeroshare_mount::MountError::Refused { .. }) => failure.advise(
            "Without root, `fusermount3` (package fuse3) must be there, /dev/fuse open to all, and --allow-other allowed in /etc/fuse.conf.",
        ),
        RunError::Mount(_) | RunError::Session(_) | RunError::Stopping => failure,
    }
}
