//! Many hosts with limited links that start together.

mod torrent;

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};
use zeroshare_network::{Host, Lan};

pub(crate) use torrent::{Client, Metainfo, Torrent};

use crate::{
    lab::{Node, Seat, TcpCounter, cubic, limit},
    measure::{CpuMeter, Usage},
};

/// Above this share of all processors it is not the links that are measured.
const MOST_CPU: f64 = 0.9;

/// Hosts on one switch, each of which may send so much.
#[derive(Debug)]
pub(crate) struct Crowd<'a> {
    lan: &'a Lan,
    counters: Vec<TcpCounter<'a>>,
}

/// How it went.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// When each host was done, in seconds since the common start, sorted.
    pub(crate) done: Vec<f64>,
    /// TCP payload that all hosts sent.
    pub(crate) payload_bytes: u64,
    pub(crate) usage: Usage,
}

impl<'a> Crowd<'a> {
    /// Limits what each host sends, in Mbit/s, and counts it.
    pub(crate) fn new(lan: &'a Lan, mbit: u32) -> Result<Self> {
        let crowd = Self {
            lan,
            counters: lan
                .hosts()
                .iter()
                .map(TcpCounter::begin)
                .collect::<Result<_>>()?,
        };
        for host in lan.hosts() {
            cubic(host)?;
        }
        crowd.limit(mbit)?;
        Ok(crowd)
    }

    /// Sets another limit.
    pub(crate) fn limit(&self, mbit: u32) -> Result<()> {
        self.lan
            .hosts()
            .iter()
            .try_for_each(|host| limit(host, mbit))
    }

    /// A host by its number, from 1.
    pub(crate) fn host(&self, number: u8) -> &'a Host {
        self.lan.host(number)
    }

    /// Watches what all send meanwhile; what comes out of the run is when each was done.
    pub(crate) fn watch(&self, run: impl FnOnce() -> Result<Vec<f64>>) -> Result<Outcome> {
        let before = self.payload()?;
        let meter = CpuMeter::start()?;
        let mut done = run()?;
        let usage = meter.read()?;
        let payload_bytes = self.payload()? - before;
        done.sort_by(f64::total_cmp);
        Ok(Outcome {
            done,
            payload_bytes,
            usage,
        })
    }

    fn payload(&self) -> Result<u64> {
        self.counters.iter().map(TcpCounter::payload_bytes).sum()
    }

    /// New users with new nodes on these hosts, who all know their neighbours.
    pub(crate) fn nodes(
        &self,
        numbers: RangeInclusive<u8>,
        directory: &Path,
        neighbours: usize,
    ) -> Result<Vec<(Seat<'a>, Node)>> {
        let mut nodes = Vec::new();
        for number in numbers {
            let cache = directory.join(format!("host-{number}"));
            let seat = Seat::new(self.host(number), "leecher", &cache)?;
            let node = seat.node(&[])?;
            nodes.push((seat, node));
        }
        for (seat, _) in &nodes {
            seat.wait_until_peers(neighbours)?;
        }
        Ok(nodes)
    }
}

/// Runs our command on all seats at once, and says when each was done.
pub(crate) fn all_at_once(
    nodes: &[(Seat<'_>, Node)],
    words: impl Fn(usize) -> Vec<String> + Sync,
) -> Result<Vec<f64>> {
    let barrier = Barrier::new(nodes.len() + 1);
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (index, (seat, node)) in nodes.iter().enumerate() {
            let (barrier, words) = (&barrier, &words);
            running.push(scope.spawn(move || -> Result<Instant> {
                let words = words(index);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let command = seat.zeroshare(&words);
                barrier.wait();
                let done = seat.timed(command?).map(|_| Instant::now());
                done.with_context(|| node.process().log())
            }));
        }
        barrier.wait();
        let start = Instant::now();
        running
            .into_iter()
            .map(|running| {
                let done = running.join().ok().context("a thread panicked")??;
                Ok((done - start).as_secs_f64())
            })
            .collect()
    })
}

impl Outcome {
    /// When the last one was done.
    pub(crate) fn last(&self) -> f64 {
        self.done.last().copied().unwrap_or(f64::NAN)
    }

    /// Seconds, and the share of hosts done by then in percent.
    pub(crate) fn progress(&self) -> Vec<(f64, f64)> {
        let all = self.done.len() as f64;
        let mut points = vec![(0.0, 0.0)];
        for (index, time) in self.done.iter().enumerate() {
            points.push((*time, index as f64 / all * 100.0));
            points.push((*time, (index + 1) as f64 / all * 100.0));
        }
        points
    }

    /// Why it does not count, if it does not.
    pub(crate) fn invalid(&self) -> Option<String> {
        (self.usage.share > MOST_CPU).then(|| {
            format!(
                "{:.0} % of the processors: not the links were measured",
                self.usage.share * 100.0
            )
        })
    }
}

/// The outcome in the middle, by its last host.
pub(crate) fn middle(outcomes: &[Outcome]) -> Option<&Outcome> {
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by(|one, other| one.last().total_cmp(&other.last()));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// Whether any outcome does not count.
pub(crate) fn any_invalid(outcomes: &[Outcome]) -> Option<String> {
    outcomes.iter().find_map(Outcome::invalid)
}

/// Directories of clients below one.
pub(crate) fn client_directory(base: &Path, name: &str, number: u8) -> PathBuf {
    base.join(format!("{name}-{number}"))
}
