//! One liar among eight.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use sha2::{Digest as _, Sha256};
use zeroshare_content::Family;
use zeroshare_network::{Host, Lan};
use zeroshare_testkit::{Fault, Offered, Peer, Which};

use crate::{
    book::Book,
    crowd::Crowd,
    finding::{Finding, Target},
    lab::{Node, Place, Seat, need},
    options::Options,
    works::{SINGLE, Work},
};

const STORE_PORT: u16 = 38_339;

/// Who has it: the liar is the last of them, and who asks comes after.
const PROVIDERS: u8 = 8;

/// Settings of the liar benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Liar {
    /// What each host may send, in Mbit/s.
    #[arg(long, default_value_t = 100)]
    mbit: u32,
}

/// Eight that have it, honest so far, and what they have.
struct Stage<'a> {
    crowd: Crowd<'a>,
    place: Place,
    id: String,
    held: std::path::PathBuf,
    digest: Vec<u8>,
    bytes: u64,
    piece_bytes: u64,
    _nodes: Vec<Node>,
}

/// How one fetch went.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    wrong: f64,
    honest_banned: f64,
    wasted_pieces: f64,
    liar_banned: f64,
}

impl Liar {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip", "nft"])?;
        let mut book = Book::open("liar", options)?;
        for size in [options.size(64, 16), options.size(1024, 32)] {
            self.run_sized(size, &mut book, options)?;
        }
        book.close()
    }

    fn run_sized(&self, mib: usize, book: &mut Book<'_>, options: &Options) -> Result<()> {
        let lan = Lan::new(PROVIDERS + 1)?;
        let stage = self.stage(&lan, mib)?;
        book.fact(format!(
            "{PROVIDERS} providers at {} Mbit/s each, one of which lies; {} MiB; wasted is what was received beyond the content, in pieces of {} KiB; \
             the worst of all rounds.",
            self.mbit,
            stage.bytes >> 20,
            stage.piece_bytes >> 10,
        ));
        for (name, faults) in kinds() {
            if !options.wants(name) {
                continue;
            }
            let mut worst = Seen::default();
            for _ in 0..options.rounds(5) {
                worst = worst.or_worse(stage.fetch_beside(&faults)?);
            }
            let finding = |what: &str, value: f64, most: Option<f64>| {
                Finding::figure(8, &format!("{mib} MiB, {name}: {what}"), value, "")
                    .target(most.map(Target::AtMost))
            };
            book.add([
                finding("wrong commits", worst.wrong, Some(0.0)),
                finding("honest peers banned", worst.honest_banned, Some(0.0)),
                finding("wasted pieces", worst.wasted_pieces, Some(1.0)),
                finding("the liar banned", worst.liar_banned, None),
            ]);
        }
        Ok(())
    }

    fn stage<'a>(&self, lan: &'a Lan, mib: usize) -> Result<Stage<'a>> {
        let crowd = Crowd::new(lan, self.mbit)?;
        let place = Place::tmpfs()?;
        let directory = place.fresh()?;
        let work = Work::single(&directory.join("tree"), mib)?;
        let mut nodes = Vec::new();
        let mut found = None;
        for number in 1..PROVIDERS {
            let cache = directory.join(format!("host-{number}"));
            let seat = Seat::new(lan.host(number), "provider", &cache)?;
            let node = seat.node(&[])?;
            let id = seat.run(seat.zeroshare(&["add", &work.tree.to_string_lossy()])?)?;
            seat.wait_until_offered(1, Duration::from_mins(1))?;
            let pieces = seat.ask(&["list"])?["contents"][0]["total_pieces"].as_u64();
            found = Some((seat.store().join(&id), id, pieces.context("no pieces")?));
            nodes.push(node);
        }
        let (held, id, pieces) = found.context("nobody has it")?;
        Ok(Stage {
            crowd,
            place,
            digest: digest(&held.join(SINGLE))?,
            held,
            id,
            bytes: work.bytes,
            piece_bytes: work.bytes / pieces.max(1),
            _nodes: nodes,
        })
    }
}

/// What a liar does.
fn kinds() -> Vec<(&'static str, Vec<Fault>)> {
    let wrong = Fault::WrongBytes(Which::Slices);
    vec![
        ("none that lies", Vec::new()),
        ("wrong slices", vec![wrong.clone()]),
        (
            "wrong slices without midstates",
            vec![wrong, Fault::NoMidstates],
        ),
        ("wrong midstates", vec![Fault::WrongMidstates]),
        ("a consistent fake", vec![Fault::ConsistentFake]),
        ("stalls", vec![Fault::StallInPiece(Which::Slices)]),
    ]
}

impl Stage<'_> {
    fn fetch_beside(&self, faults: &[Fault]) -> Result<Seen> {
        let liar = self.crowd.host(PROVIDERS);
        let offered = Offered::directory(&self.held, Family::Sha256);
        beside_liar(liar, offered, faults.to_vec(), || self.fetch())
    }

    fn fetch(&self) -> Result<Seen> {
        let directory = self.place.fresh()?;
        let host = self.crowd.host(PROVIDERS + 1);
        let seat = Seat::new(host, "asker", &directory.join("cache"))?;
        let node = seat.node(&[])?;
        seat.wait_until_peers(usize::from(PROVIDERS) - 1)?;
        let from: Vec<String> = (1..=PROVIDERS)
            .map(|number| format!("--from={}:{STORE_PORT}", self.crowd.host(number).address()))
            .collect();
        let mut words = vec!["fetch", &self.id];
        words.extend(from.iter().map(String::as_str));
        let fetched = seat.ask(&words)?;
        let fetched = &fetched["fetches"][0];
        let path = fetched["path"].as_str().context("no path")?;
        let received: u64 = fetched["peers"]
            .as_array()
            .context("no peers")?
            .iter()
            .filter_map(|peer| peer["received_bytes"].as_u64())
            .sum();
        let is_wrong = digest(&Path::new(path).join(SINGLE))? != self.digest;
        let banned = banned(&seat)?;
        let liar = self.crowd.host(PROVIDERS).address();
        let of_liar = banned
            .iter()
            .filter(|address| address.starts_with(&liar))
            .count();
        drop(node);
        self.place.done_with(&directory)?;
        Ok(Seen {
            wrong: f64::from(u8::from(is_wrong)),
            honest_banned: (banned.len() - of_liar) as f64,
            wasted_pieces: received.saturating_sub(self.bytes) as f64 / self.piece_bytes as f64,
            liar_banned: of_liar.min(1) as f64,
        })
    }
}

/// The addresses that are banned.
fn banned(seat: &Seat<'_>) -> Result<Vec<String>> {
    let peers = seat.ask(&["peers"])?;
    let bans = peers["bans"].as_array().context("no bans")?;
    let addresses = bans.iter().filter_map(|ban| ban["address"].as_str());
    Ok(addresses.map(str::to_owned).collect())
}

impl Seen {
    fn or_worse(self, other: Self) -> Self {
        Self {
            wrong: self.wrong.max(other.wrong),
            honest_banned: self.honest_banned.max(other.honest_banned),
            wasted_pieces: self.wasted_pieces.max(other.wasted_pieces),
            liar_banned: self.liar_banned.max(other.liar_banned),
        }
    }
}

fn digest(file: &Path) -> Result<Vec<u8>> {
    Ok(Sha256::digest(std::fs::read(file)?).to_vec())
}

/// Runs a faulty peer on a host while something else happens.
fn beside_liar<T>(
    host: &Host,
    offered: Offered,
    faults: Vec<Fault>,
    story: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (end, ended) = mpsc::channel::<()>();
    let (ready, begun) = mpsc::channel();
    thread::scope(|scope| {
        let lying = scope.spawn(move || {
            host.within(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()?;
                let _inside = runtime.enter();
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, STORE_PORT))?;
                listener.set_nonblocking(true)?;
                let liar = Peer::listening(listener, [offered], faults);
                ready.send(())?;
                // It ends when the story has been told, however it went.
                ended.recv().ok();
                drop(liar);
                Ok(())
            })
        });
        begun.recv().context("the liar did not start")?;
        let told = story();
        drop(end);
        lying
            .join()
            .map_err(|_| anyhow!("the liar ended badly"))??;
        told
    })
}
