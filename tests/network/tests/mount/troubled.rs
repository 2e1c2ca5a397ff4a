//! Peers that lie, stall and vanish while somebody reads through a mount: the right bytes or an error, in time.

use std::{
    fs,
    io::{self, Read as _},
    os::fd::AsRawFd as _,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use zeroshare_content::Algorithm;
use zeroshare_network::{Host, Lan, noisy_tree, wait_until, zero_install_add};
use zeroshare_testkit::{Fault, Offered, Peer, TestTree, Which};

use crate::{EIO, LIMIT, mounted::Mounted};

/// The longest that a read may take beside peers from whom nothing comes: the fetcher says each moment that it is there, and
/// gives up when all who have it have failed.
const DEADLINE: Duration = Duration::from_secs(45);

const SILENT: &str = "says nothing";

const SMALL: &str = "small";
const LARGE: &str = "large";
const LARGE_BYTES: usize = 3 * 1024 * 1024 + 17;

/// Where the honest peer listens; the others after it.
const HONEST: u16 = 40_000;

/// What a peer does in the middle of `open` (which brings a small file) and of `read`.
fn faults() -> Vec<(&'static str, Fault)> {
    vec![
        ("lies", Fault::WrongBytes(Which::All)),
        (SILENT, Fault::StallBeforeAnswer),
        ("falls silent", Fault::StallInPiece(Which::All)),
        ("ends early", Fault::EndInPiece(Which::All)),
        ("hangs up", Fault::CutInPiece(Which::All)),
        ("has nothing of it", Fault::LacksPieces(Which::All)),
    ]
}

#[test]
fn beside_a_peer_that_fails_alone_opening_and_reading_end_with_an_error() -> Result<()> {
    each(|story| {
        let mounted = Mounted::start(story.reader, &["--from", &story.address(story.port)])?;
        for file in [SMALL, LARGE] {
            let (took, read) = timed(&mounted.dir().join(&story.id).join(file))?;
            println!("{} {file}: {:?} after {took:?}", story.name, read.is_ok());
            match read {
                Ok(_) => anyhow::bail!("{file}: nobody can have proven that"),
                Err(error) => {
                    // Who says nothing does not say either what the tree consists of.
                    let is_unknown =
                        story.name == SILENT && error.kind() == io::ErrorKind::NotFound;
                    let is_error = error.raw_os_error() == Some(EIO);
                    ensure!(is_error || is_unknown, "{file}: {error}");
                }
            }
        }
        ensure!(!story.reader.store().join(&story.id).exists(), "committed");
        Ok(())
    })
}

#[test]
fn beside_a_peer_that_fails_another_one_gives_the_right_bytes() -> Result<()> {
    each(|story| {
        let (faulty, honest) = (story.address(story.port), story.address(HONEST));
        let mounted = Mounted::start(story.reader, &["--from", &faulty, "--from", &honest])?;
        wait_until("it is found", LIMIT, || {
            Ok(mounted.dir().join(&story.id).exists())
        })?;
        for (file, expected) in [(SMALL, small(story.port)), (LARGE, large(story.port))] {
            let (took, read) = timed(&mounted.dir().join(&story.id).join(file))?;
            println!("{} {file}: {:?} after {took:?}", story.name, read.is_ok());
            let read = read.with_context(|| mounted.running.log())?;
            ensure!(read == expected, "{file}: other bytes");
        }
        Ok(())
    })
}

#[test]
fn a_machine_that_dies_while_it_is_read_from_is_an_error_or_another_one() -> Result<()> {
    let lan = Lan::new(3)?;
    let (a, b, c) = (lan.host(1), lan.host(2), lan.host(3));
    let tree = a.home().join("tree");
    noisy_tree(&tree, 100, 48 * 1024 * 1024)?;
    let id = zero_install_add(a, &tree)?;
    let slow = ["--upload-limit", "1MiB"];
    let mut node_a = a.start_node(&slow)?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let mounted = Mounted::start(b, &["--list-neighbours"])?;
    wait_until("it is listed", LIMIT, || {
        Ok(fs::read_dir(mounted.dir())?.count() == 1)
    })?;
    let shown = mounted.dir().join(&id);

    // The only one dies in the middle of a read: nothing is proven before all behind it has come.
    let directory = fs::File::open(&shown)?;
    let mut handle = fs::File::open(shown.join("share/large"))?;
    let (told, hears) = mpsc::channel();
    let path = shown.join("share/large");
    thread::spawn(move || told.send(timed(&path)));
    wait_until("some of it came", LIMIT, || Ok(a.sent_bytes()? > 1 << 20))?;
    node_a.kill()?;
    let (took, read) = hears.recv_timeout(DEADLINE).context("it hangs")??;
    println!("the only machine died: {:?} after {took:?}", read.is_ok());
    let error = read.err().context("nobody had the rest")?;
    ensure!(error.raw_os_error() == Some(EIO), "{error}");
    // What the tree consists of is known, and what neighbours share is told from memory.
    let start = Instant::now();
    let opened = format!("/proc/self/fd/{}/share/part-000", directory.as_raw_fd());
    let listed = fs::read_dir(opened)?.count();
    ensure!(listed == 100, "{listed}");
    ensure!(fs::read_dir(mounted.dir())?.count() == 1, "unlisted");
    ensure!(start.elapsed() < Duration::from_secs(3), "it took long");

    // Another machine has it by now: the same handle gives the right bytes, and the tree comes in full.
    ensure!(zero_install_add(c, &tree)? == id, "another tree");
    let _node_c = c.start_node(&[])?;
    c.wait_until_offered(&id)?;
    let expected = fs::read(tree.join("share/large"))?;
    wait_until("another machine is found", LIMIT, || {
        let (_, read) = timed(&shown.join("share/large"))?;
        Ok(read.is_ok_and(|bytes| bytes == expected))
    })?;
    let mut rest = Vec::new();
    handle.read_to_end(&mut rest)?;
    ensure!(rest == expected, "the old handle: other bytes");
    wait_until("the tree is here", LIMIT, || {
        Ok(b.store().join(&id).is_dir())
    })?;
    Ok(())
}

/// One peer at fault, and who reads beside it.
struct Story<'a> {
    name: &'static str,
    giver: &'a Host,
    reader: &'a Host,
    port: u16,
    id: String,
}

impl Story<'_> {
    fn address(&self, port: u16) -> String {
        format!("{}:{port}", self.giver.address())
    }
}

/// Tells a story beside each kind of peer, all at once; one honest peer has all trees.
fn each(tell: impl Fn(&Story<'_>) -> Result<()> + Sync) -> Result<()> {
    let lan = Lan::new(2)?;
    let (giver, reader) = (lan.host(1), lan.host(2));
    let _node = reader.start_node(&[])?;
    let stories: Vec<(u16, &str, Fault)> = (HONEST + 1..)
        .zip(faults())
        .map(|(port, (name, fault))| (port, name, fault))
        .collect();
    let all: Vec<Offered> = stories.iter().map(|(port, ..)| offered(*port)).collect();
    let honest = move |ready: &_, ended: &_| Ok(Peer::stay(HONEST, all, [], ready, ended)?);
    giver.beside(honest, || {
        thread::scope(|scope| {
            let told: Vec<_> = stories
                .into_iter()
                .map(|(port, name, fault)| {
                    let tell = &tell;
                    let tell = move || {
                        let story = Story {
                            name,
                            giver,
                            reader,
                            port,
                            id: tree(port).tree_id(Algorithm::Sha256New).to_string(),
                        };
                        let faulty = move |ready: &_, ended: &_| {
                            Ok(Peer::stay(port, [offered(port)], [fault], ready, ended)?)
                        };
                        giver.beside(faulty, || tell(&story).context(name))
                    };
                    scope.spawn(tell)
                })
                .collect();
            for told in told {
                told.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
            }
            Ok(())
        })
    })
}

/// Reads a file on a thread of its own, which is given up after the deadline.
fn timed(path: &Path) -> Result<(Duration, io::Result<Vec<u8>>)> {
    let (told, hears) = mpsc::channel();
    let own = path.to_owned();
    let start = Instant::now();
    thread::spawn(move || told.send(fs::read(own)));
    let read = hears.recv_timeout(DEADLINE);
    let read = read.with_context(|| format!("{} hangs", path.display()))?;
    Ok((start.elapsed(), read))
}

fn offered(number: u16) -> Offered {
    Offered::tree(&tree(number), Algorithm::Sha256New)
}

/// No two are alike; without links, which would have to be proven before anything is shown.
fn tree(number: u16) -> TestTree {
    TestTree::new()
        .file(SMALL, small(number))
        .file(LARGE, large(number))
}

fn small(number: u16) -> Vec<u8> {
    format!("what is small, number {number}\n").into_bytes()
}

fn large(number: u16) -> Vec<u8> {
    let line = format!("what is large, number {number}, and goes on\n");
    line.bytes().cycle().take(LARGE_BYTES).collect()
}
