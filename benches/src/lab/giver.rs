//! The machine that has it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use zeroshare_network::{Host, Running, wait_until};

use super::{Nginx, Node, Place, Seat};
use crate::measure::{CpuMeter, Sample};
use crate::works::{Kind, SINGLE, Work, pack};

const RSYNC_PORT: u16 = 8_730;

const TAR_PORT: u16 = 8_731;

/// The longest that a source may take to verify what it offers.
const INDEXING: Duration = Duration::from_mins(5);

/// A node with one tree, and rsync, nginx and tar over the same files.
#[derive(Debug)]
pub(crate) struct Giver<'a> {
    pub(crate) id: String,
    held: PathBuf,
    host: &'a Host,
    nginx: Nginx,
    _rsync: Running,
    _node: Node,
}

impl<'a> Giver<'a> {
    /// Puts a work into a new store on a file system, and serves it in all ways.
    pub(crate) fn start(host: &'a Host, work: &Work, place: &Place) -> Result<Self> {
        let directory = place.fresh()?;
        let seat = Seat::new(host, "giver", &directory.join("cache"))?;
        let node = seat.node(&[])?;
        let id = seat.run(seat.zeroshare(&["add", &work.tree.to_string_lossy()])?)?;
        seat.wait_until_offered(1, INDEXING)?;
        let held = seat.store().join(&id);
        let www = directory.join("www");
        fs::create_dir(&www)?;
        if work.kind == Kind::Single {
            symlink(held.join(SINGLE), www.join(SINGLE))?;
        } else {
            pack(&held, &www.join("tree.tar"))?;
        }
        Ok(Self {
            id,
            host,
            nginx: Nginx::start(host, &www)?,
            _rsync: rsync_daemon(host, &held)?,
            held,
            _node: node,
        })
    }

    /// Where rsync has it.
    pub(crate) fn rsync_url(&self) -> String {
        format!("rsync://{}:{RSYNC_PORT}/tree/", self.host.address())
    }

    /// Where nginx has the file, or the tar file.
    pub(crate) fn http_url(&self, kind: Kind) -> String {
        self.nginx.url(if kind == Kind::Single {
            SINGLE
        } else {
            "tree.tar"
        })
    }

    /// Sends the tree as tar writes it through a bare socket, and unpacks it: what that took.
    pub(crate) fn tar_over_socket(&self, to: &Host, into: &Path) -> Result<Sample> {
        let listener = self
            .host
            .within(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, TAR_PORT))?))?;
        let address: SocketAddr = format!("{}:{TAR_PORT}", self.host.address()).parse()?;
        let meter = CpuMeter::start()?;
        thread::scope(|scope| -> Result<()> {
            let sender = scope.spawn(|| -> Result<()> {
                let (stream, _) = listener.accept()?;
                let words = ["-c", "."];
                let stream = Stdio::from(OwnedFd::from(stream));
                tar(&self.held, &words, |command| command.stdout(stream))
            });
            let stream = to.within(|| Ok(TcpStream::connect(address)?))?;
            let stream = Stdio::from(OwnedFd::from(stream));
            tar(into, &["-x"], |command| command.stdin(stream))?;
            sender.join().ok().context("the sender panicked")?
        })?;
        meter.sample()
    }
}

fn tar(
    directory: &Path,
    words: &[&str],
    plug: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<()> {
    let mut command = Command::new("tar");
    command.arg("-C").arg(directory).args(words);
    let status = plug(&mut command).status()?;
    ensure!(status.success(), "tar {words:?}: {status}");
    Ok(())
}

fn rsync_daemon(host: &Host, held: &Path) -> Result<Running> {
    let config = host.home().join("rsyncd.conf");
    fs::write(
        &config,
        format!(
            "use chroot = no\nuid = root\ngid = root\n[tree]\npath = {}\nread only = yes\n",
            held.display()
        ),
    )?;
    let mut command = host.bare_command("rsync");
    command
        .args(["--daemon", "--no-detach"])
        .arg(format!("--port={RSYNC_PORT}"))
        .arg(format!("--config={}", config.display()));
    let daemon = host.within(|| host.spawn_command(command))?;
    let url = format!("rsync://127.0.0.1:{RSYNC_PORT}/");
    let listens = wait_until("rsync listens", Duration::from_secs(10), || {
        Ok(host.run("rsync", &[&url])?.status.success())
    });
    listens.with_context(|| daemon.log())?;
    Ok(daemon)
}
