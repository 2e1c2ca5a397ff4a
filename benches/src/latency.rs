//! How long the smallest fetch takes: from the command to the commit, a node running on both sides.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use zeroshare_network::{Host, Lan, wait_until};

use crate::{
    book::Book,
    finding::{Finding, Target},
    lab::{Node, Place, Seat, cubic, need},
    measure::quantile,
    options::Options,
};

/// Each tree has one byte that no other has, so that nothing can be reused.
const MOST_RUNS: usize = 255;

/// Settings of the latency benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Latency {
    /// How many trees of one byte are fetched each way; the first ten are not counted.
    #[arg(long)]
    runs: Option<usize>,
}

/// Fetched, and not counted.
const WARM_UP: usize = 10;

/// No longer apart are beacons about new holdings.
const CHANGES: Duration = Duration::from_secs(13);

/// What the asking node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The filters of its neighbours: it asks who may have it, directly.
    Filters,
    /// That there is a neighbour: it asks everybody by datagram.
    Query,
}

impl Latency {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip", "nft"])?;
        let runs = self.runs.unwrap_or(options.size(220, 20)).min(MOST_RUNS);
        let mut book = Book::open("latency", options)?;
        book.fact(format!(
            "{} trees of one byte each, every byte another, one after the other; from the start of the command to its end.",
            runs - WARM_UP
        ));
        for place in [Place::tmpfs()?, Place::disk()?] {
            for way in [Way::Filters, Way::Query] {
                let name = way.name(&place);
                if options.wants(&name) {
                    book.add(measure(&name, way, &place, runs)?);
                }
            }
        }
        book.close()
    }
}

impl Way {
    fn name(self, place: &Place) -> String {
        let way = match self {
            Self::Filters => "filters warm",
            Self::Query => "by query",
        };
        let durable = if place.is_memory() { "" } else { ", durable" };
        format!("{way}, {}{durable}", place.name())
    }
}

fn measure(name: &str, way: Way, place: &Place, runs: usize) -> Result<Vec<Finding>> {
    let lan = Lan::new(2)?;
    for host in lan.hosts() {
        cubic(host)?;
    }
    let directory = place.fresh()?;
    let giver = Seat::new(lan.host(1), "giver", &directory.join("giver"))?;
    let asker = Seat::new(lan.host(2), "asker", &directory.join("asker"))?;
    let giving = giver.node(&[])?;
    let asking = asker.node(&[])?;
    asker.wait_until_peers(1)?;
    giver.wait_until_peers(1)?;
    if way == Way::Query {
        hear_no_beacons(lan.host(2))?;
    }
    let ids = trees(&giver, runs)?;
    giver.wait_until_offered(runs, Duration::from_mins(2))?;
    if way == Way::Filters {
        wait_until("the filters have come", Duration::from_mins(1), || {
            Ok(held_ids(&asker)? >= runs as u64 * 9 / 10)
        })?;
        // The number is an estimate; the last change has been said by then.
        thread::sleep(CHANGES);
    } else {
        let held = held_ids(&asker)?;
        ensure!(
            held < runs as u64 / 2,
            "filters of {held} ids came nevertheless"
        );
    }
    place.settle();
    let took = fetch_all(&asker, &ids, place)?;
    drop::<(Node, Node)>((giving, asking));
    place.clear()?;
    Ok(findings(name, way, place, &took))
}

fn fetch_all(asker: &Seat<'_>, ids: &[String], place: &Place) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let (sample, path) = asker.timed(asker.zeroshare(&["fetch", id])?)?;
        ensure!(
            path.starts_with(&*place.directory().to_string_lossy()),
            "{path}"
        );
        if number >= WARM_UP {
            took.push(sample.value * 1_000.0);
        }
    }
    Ok(took)
}

fn findings(name: &str, way: Way, place: &Place, took: &[f64]) -> Vec<Finding> {
    let (median_most, slow_most) = match (way, place.is_memory()) {
        (Way::Filters, true) => (Some(10.0), Some(50.0)),
        (Way::Query, true) => (None, Some(60.0)),
        (_, false) => (None, None),
    };
    let finding = |what: &str, share: f64, most: Option<f64>| {
        Finding::figure(
            5,
            &format!("tree of one byte, {name}: {what}"),
            quantile(took, share),
            "ms",
        )
        .target(most.map(Target::AtMost))
        .note(format!("{} runs", took.len()))
    };
    vec![
        finding("p50", 0.5, median_most),
        finding("p99", 0.99, slow_most),
    ]
}

/// Trees of one byte each, in the giver's store.
fn trees(giver: &Seat<'_>, count: usize) -> Result<Vec<String>> {
    let base = giver.host.home().join("trees");
    let mut ids = Vec::new();
    for number in 0..count {
        let tree = base.join(number.to_string());
        fs::create_dir_all(&tree)?;
        fs::write(tree.join("byte"), [u8::try_from(number)?])?;
        let tree = tree.to_string_lossy();
        ids.push(giver.run(giver.zeroshare(&["add", "--no-sync", &tree])?)?);
    }
    Ok(ids)
}

/// How many ids the filters of the only neighbour hold.
fn held_ids(asker: &Seat<'_>) -> Result<u64> {
    let peers = asker.ask(&["peers"])?;
    let peer = peers["peers"].get(0).context("no neighbour is known")?;
    Ok(peer["held_ids"].as_u64().unwrap_or(0))
}

/// Drops what is said to everybody, and with it new filters; answers come to the one who asked.
fn hear_no_beacons(host: &Host) -> Result<()> {
    let rules = "add table inet deaf; \
                 add chain inet deaf in { type filter hook input priority 0; }; \
                 add rule inet deaf in iifname eth0 udp dport 38339 meta pkttype { multicast, broadcast } drop";
    host.must("nft", &[rules])?;
    Ok(())
}
