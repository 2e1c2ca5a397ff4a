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
        let lan = Lan::new(PROVIDERS + 1)?;
        let stage = self.stage(&lan, options)?;
        book.fact(format!(
            "{PROVIDERS} providers at {} Mbit/s each, one of which lies; {} MiB; wasted is what was received beyond the content, in pieces; the \
             worst of all rounds.",
            self.mbit,
            stage.bytes >> 20
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
                Finding::figure(8, &format!("a liar of 8, {name}: {what}"), value, "")
                    .target(most.map(Target::AtMost))
            };
            book.add([
                finding("wrong commits", worst.wrong, Some(0.0)),
                finding("honest peers banned", worst.honest_banned, Some(0.0)),
                finding("wasted pieces", worst.wasted_pieces, Some(1.0)),
                finding("the liar banned", worst.liar_banned, None),
            ]);
        }
        book.close()
    }

    fn stage<'a>(&self, lan: &'a Lan, options: &Options) -> Result<Stage<'a>> {
        let crowd = Crowd::new(lan, self.mbit)?;
        let place = Place::tmpfs()?;
        let directory = place.fresh()?;
        let work = Work::single(&directory.join("tree"), options.size(64, 16))?;
        let mut nodes = Vec::new();
        let mut found = None;
        for number in 1..PROVIDERS {
            let cache = directory.join(format!("host-{number}"));
            let seat = Seat::new(lan.host(number), "provider", &cache)?;
            let node = seat.node(&[])?;
            let id = seat.run(seat.zeroshare(&["add", &work.tree.to_string_lossy()])?)?;
            seat.wait_until_offered(1, Duration::from_mins(1))?;
            found = Some((seat.store().join(&id), id));
            nodes.push(node);
        }
        let (held, id) = found.context("nobody has it")?;
        Ok(Stage {
            crowd,
            place,
            digest: digest(&held.join(SINGLE))?,
            held,
            id,
            bytes: work.bytes,
            _nodes: nodes,
        })
    }
}

/// What a liar does.
fn kinds() -> Vec<(&'static str, Vec<Fault>)> {
    let wrong = Fault::WrongBytes(Which::Slices);
    vec![
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
        let pieces = seat.ask(&["list"])?["contents"][0]["total_pieces"].as_u64();
        let piece_bytes = self.bytes / pieces.unwrap_or(1).max(1);
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
            wasted_pieces: received.saturating_sub(self.bytes) as f64 / piece_bytes as f64,
            liar_banned: of_liar.min(1) as f64,
        })
    }
}

/// One address of each peer that is banned.
fn banned(seat: &Seat<'_>) -> Result<Vec<String>> {
    let peers = seat.ask(&["peers"])?;
    let peers = peers["peers"].as_array().context("no peers")?;
    let banned = peers.iter().filter(|peer| !peer["ban_end_time"].is_null());
    Ok(banned
        .map(|peer| peer["addresses"][0].as_str().unwrap_or_default().to_owned())
        .collect())
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
