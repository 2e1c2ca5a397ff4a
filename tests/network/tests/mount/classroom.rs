//! Many start the same program at once, and nobody has it: one downloads it, and the others wait for that one.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio_stream::wrappers::ReceiverStream;
use zeroshare_api::{
    clients,
    connect::{LocalEndpoint, local_channel},
};
use zeroshare_network::{Host, Lan, Running, noisy_tree, wait_until};
use zeroshare_wire::pb::discovery::v1::AnnounceArrivalRequest;

use crate::{
    GREETING, LIMIT, feed, forged, mounted::Mounted, text, upstream::Upstream, website::url,
};

/// Hosts that start it at once.
const HOSTS: u8 = 8;

const BYTES: u64 = 4 * 1024 * 1024;

#[test]
fn a_classroom_that_starts_the_same_program_downloads_it_once() -> Result<()> {
    let room = Room::new(HOSTS, &[])?;
    let start = Instant::now();
    let runs = room.run_all()?;
    for run in runs {
        said_hello(run)?;
    }
    let (sent, whole) = (room.upstream.sent(), room.archive_bytes);
    println!(
        "{HOSTS} hosts had run it after {:?}: {sent} bytes of {whole} came from upstream, asked by {:?}",
        start.elapsed(),
        room.upstream.askers()
    );
    assert!(
        sent * 10 <= whole * 12,
        "{sent} of {whole}: {}",
        room.told()
    );
    Ok(())
}

#[test]
fn when_whoever_downloads_it_is_killed_the_next_one_goes() -> Result<()> {
    let room = Room::new(4, &[])?;
    let runs = room.run_all()?;
    let half = room.archive_bytes / 2;
    wait_until("half of it was sent", LIMIT, || {
        Ok(room.upstream.sent() >= half)
    })?;
    let first = room.upstream.askers().remove(0);
    let (killed, others): (Vec<_>, Vec<_>) = runs
        .into_iter()
        .partition(|run| run.host.address() == first);
    for mut run in killed {
        run.child.kill()?;
        run.child.wait()?;
    }
    let start = Instant::now();
    for run in others {
        said_hello(run)?;
    }
    let (sent, whole) = (room.upstream.sent(), room.archive_bytes);
    println!(
        "the others had run it {:?} later: {sent} bytes of {whole} came from upstream, asked by {:?}",
        start.elapsed(),
        room.upstream.askers()
    );
    assert!(sent > whole, "it was not killed in time");
    // On a busy machine one that is slow to show that it downloads may be passed by another.
    assert!(sent < whole * 3, "{sent} of {whole}: {}", room.told());
    Ok(())
}

#[test]
fn who_only_selects_holds_nobody_up() -> Result<()> {
    // Whichever of the two would go first.
    for (selects, runs) in [(0, 1), (1, 0)] {
        let room = Room::new(2, &[])?;
        let feed = text(&room.feed)?;
        let selected = room.start(selects, &["select", feed])?.output()?;
        ensure!(selected.status.success(), "{selected:?}");
        said_hello(room.start(runs, &["run", feed])?)?;
        for number in [selects, runs] {
            let log = room.mounts[number].running.log();
            assert!(!log.contains("waiting"), "{log}");
        }
        let log = room.mounts[selects].running.log();
        assert!(!log.contains("turn"), "it claims nothing: {log}");
    }
    Ok(())
}

#[test]
fn a_liar_who_claims_for_ever_that_it_is_on_its_way_costs_no_more_than_the_hold() -> Result<()> {
    let hold = Duration::from_secs(3);
    let room = Room::new(2, &["--hold", "3"])?;
    let (_runtime, _lie) = room.lie(0)?;
    let start = Instant::now();
    said_hello(room.start(1, &["run", text(&room.feed)?])?)?;
    let took = start.elapsed();
    let log = room.mounts[1].running.log();
    println!("a liar cost {took:?}");
    assert!(log.contains("waited long enough"), "{log}");
    assert!(took >= hold && took < hold + LIMIT / 4, "{took:?}");
    Ok(())
}

#[test]
fn a_forged_question_delays_nobody() -> Result<()> {
    let room = Room::new(2, &[])?;
    let mut order: Vec<usize> = vec![0, 1];
    let mut places = Vec::new();
    for host in room.students() {
        places.push(forged::order(host, &room.id)?);
    }
    order.sort_by_key(|number| places[*number]);
    let (first, second) = (order[0], order[1]);
    let host = room.students().nth(first).context("no such host")?;
    let _forger = forged::Forger::start(host, &room.id)?;
    let start = Instant::now();
    said_hello(room.start(second, &["run", text(&room.feed)?])?)?;
    println!("beside forged questions it took {:?}", start.elapsed());
    let log = room.mounts[second].running.log();
    assert!(!log.contains("waiting"), "{log}");
    let connected = room.nodes[first].log();
    assert!(
        connected.contains("asks whether it is on its way"),
        "the forgery was believed so far: {connected}"
    );
    Ok(())
}

#[test]
fn where_it_is_switched_off_nobody_waits() -> Result<()> {
    let room = Room::new(2, &["--hold", "0"])?;
    let (_runtime, _lie) = room.lie(0)?;
    said_hello(room.start(1, &["run", text(&room.feed)?])?)?;
    let log = room.mounts[1].running.log();
    assert!(!log.contains("waiting"), "{log}");
    Ok(())
}

/// Hosts that know each other, each with a node and a mount, and an upstream beside them.
struct Room {
    mounts: Vec<Mounted>,
    nodes: Vec<Running>,
    upstream: Upstream,
    archive_bytes: u64,
    feed: PathBuf,
    id: String,
    hosts: u8,
    lan: Lan,
}

/// 0install on a host.
struct Run<'a> {
    host: &'a Host,
    child: Child,
}

impl Room {
    fn new(hosts: u8, words: &[&str]) -> Result<Self> {
        let lan = Lan::new(hosts + 1)?;
        let internet = lan.host(hosts + 1);
        let (archive, id) = pack(internet)?;
        let archive_bytes = archive.len() as u64;
        let upstream = Upstream::start(internet, archive)?;
        let address = format!("{}/hello.tar.gz", upstream.address());
        // A local feed, which has no address.
        let feed = feed(&id, usize::try_from(archive_bytes)?)?
            .replace(&format!(" uri=\"{}\"", url("/hello.xml")), "")
            .replace(&url("/hello.tar.gz"), &address);
        let place = internet.home().join("hello.xml");
        fs::write(&place, feed)?;
        let mut room = Self {
            mounts: Vec::new(),
            nodes: Vec::new(),
            upstream,
            archive_bytes,
            feed: place,
            id,
            hosts,
            lan,
        };
        for host in room.students() {
            fs::create_dir_all(host.store())?;
        }
        room.nodes = room
            .students()
            .map(|host| host.start_node(&["-v"]))
            .collect::<Result<_>>()?;
        room.mounts = room
            .students()
            .map(|host| prepare(host, words))
            .collect::<Result<_>>()?;
        for host in room.students() {
            wait_until("the machines know each other", LIMIT, || {
                let peers = host.must_zeroshare(&["peers"])?;
                let mut others = room.students().filter(|other| !same(other, host));
                Ok(others.all(|other| peers.contains(&other.address())))
            })?;
        }
        Ok(room)
    }

    fn students(&self) -> impl Iterator<Item = &Host> {
        self.lan.hosts().iter().take(self.hosts.into())
    }

    /// What all mounts logged.
    fn told(&self) -> String {
        let logs = self.mounts.iter().map(|mount| mount.running.log());
        logs.collect::<Vec<_>>().join("\n---\n")
    }

    fn start(&self, number: usize, words: &[&str]) -> Result<Run<'_>> {
        let host = self.students().nth(number).context("no such host")?;
        // Not by `ip`, so that what is killed is 0install itself.
        let child = host.within(|| {
            let mut command = host.bare_command("0install");
            command
                .args(words)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            Ok(command.spawn()?)
        })?;
        Ok(Run { host, child })
    }

    fn run_all(&self) -> Result<Vec<Run<'_>>> {
        let feed = text(&self.feed)?;
        let all = 0..usize::from(self.hosts);
        all.map(|number| self.start(number, &["run", feed]))
            .collect()
    }

    /// Has a host say that it is on its way there, until what is returned is dropped.
    fn lie(
        &self,
        number: usize,
    ) -> Result<(
        tokio::runtime::Runtime,
        tokio::sync::mpsc::Sender<AnnounceArrivalRequest>,
    )> {
        let host = self.students().nth(number).context("no such host")?;
        let socket = host.home().join("run/zeroshare/discovery.sock");
        ensure!(socket.exists(), "{}", socket.display());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (lie, told) = tokio::sync::mpsc::channel(1);
        lie.try_send(AnnounceArrivalRequest {
            content_id: self.id.clone(),
            on_its_way: true,
        })?;
        runtime.spawn(async move {
            let channel = local_channel(&LocalEndpoint::Unix(socket));
            let mut discovery = clients::discovery(channel);
            drop(discovery.announce_arrival(ReceiverStream::new(told)).await);
        });
        let node = &self.nodes[number];
        wait_until("the lie is told", LIMIT, || {
            Ok(node.log().contains("on its way here"))
        })?;
        Ok((runtime, lie))
    }
}

impl Run<'_> {
    fn output(self) -> Result<Output> {
        Ok(self.child.wait_with_output()?)
    }
}

/// A mount that is among the stores of the host's own user.
fn prepare(host: &Host, words: &[&str]) -> Result<Mounted> {
    let mounted = Mounted::start(host, words)?;
    let injector = host.home().join("config/0install.net/injector");
    fs::create_dir_all(&injector)?;
    let line = format!("{}\n", mounted.dir().display());
    fs::write(injector.join("implementation-dirs"), line)?;
    fs::write(
        injector.join("global"),
        "[global]\nfreshness = 0\nhelp_with_testing = False\nnetwork_use = full\n",
    )?;
    Ok(mounted)
}

/// An archive of a program, and the program's id.
fn pack(host: &Host) -> Result<(Vec<u8>, String)> {
    let tree = host.home().join("tree");
    noisy_tree(&tree, 20, BYTES)?;
    let id = host.must(
        "0install",
        &["digest", "--algorithm=sha256new", text(&tree)?],
    )?;
    let archive = host.home().join("hello.tar.gz");
    let packed = Command::new("tar")
        .arg("-czf")
        .arg("-")
        .arg("-C")
        .arg(&tree)
        .arg(".")
        .stdout(File::create(&archive)?)
        .status()?;
    ensure!(packed.success(), "tar failed");
    Ok((fs::read(archive)?, id))
}

fn said_hello(run: Run<'_>) -> Result<()> {
    let address = run.host.address();
    let output = run.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.trim() == GREETING,
        "{address}: {output:?}"
    );
    Ok(())
}

fn same(one: &Host, other: &Host) -> bool {
    Path::new(one.namespace()) == Path::new(other.namespace())
}
