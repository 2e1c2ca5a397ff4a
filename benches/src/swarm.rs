//! One has it, and many want it at once.

use std::fs;

use anyhow::{Context as _, Result};
use clap::Args;
use zeroshare_network::Lan;

use crate::{
    book::{Book, Plot},
    crowd::{Client, Crowd, Metainfo, Outcome, Torrent, all_at_once, any_invalid, middle},
    finding::{Finding, Target},
    lab::{Node, Place, Seat, bare_goodput, need},
    measure::median,
    options::Options,
    works::{MIB, noise},
};

/// What the bare stream moves to measure the links.
const BARE_BYTES: usize = 32 * MIB;

const OURS: &str = "zeroshare";

/// Settings of the swarm benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Swarm {
    /// How many want it; the first size is run in all rounds, the others three times, for the plot of the cost.
    #[arg(long, value_delimiter = ',', default_values_t = [16, 2, 4, 8])]
    leechers: Vec<u8>,
    /// Size of the content in MiB.
    #[arg(long)]
    mib: Option<usize>,
    /// What each host may send, in Mbit/s [default: 100, and 50 where that takes more than 90 % of the processors].
    #[arg(long)]
    mbit: Option<u32>,
    /// Clients beside us; rqbit is slow and runs once for each size.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Client::Aria2, Client::Rqbit])]
    beside: Vec<Client>,
    /// Nobody beside us.
    #[arg(long)]
    alone: bool,
}

/// Everything that lasts over the rounds.
struct Stage<'a> {
    crowd: Crowd<'a>,
    content: Vec<u8>,
    place: Place,
    seed: (Seat<'a>, Node),
    id: String,
    torrent: Option<Torrent>,
    mbit: u32,
}

/// What was seen at one size.
struct Seen {
    leechers: u8,
    bound: f64,
    /// By program, ours first.
    outcomes: Vec<(String, Vec<Outcome>)>,
}

impl Swarm {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        let clients = if self.alone { &[][..] } else { &self.beside };
        need(&["ip", "nft"])?;
        if !clients.is_empty() {
            need(&["opentracker", "curl"])?;
        }
        let mut book = Book::open("swarm", options)?;
        let most = self.leechers.iter().max().copied().context("no size")?;
        let lan = Lan::new(most + 1)?;
        let mut stage = self.stage(&lan, options, !clients.is_empty())?;
        if self.mbit.is_none() {
            stage.find_fair_rate(most, &mut book)?;
        }
        let goodput = bare_goodput(lan.host(1), lan.host(2), BARE_BYTES)?;
        let pieces = stage.pieces()?;
        book.fact(format!(
            "Each host sends at most {} Mbit/s (tbf); goodput of one bare TCP stream {:.1} Mbit/s; the content of {} MiB has {pieces} pieces; the \
             bound is F/B·(1 + ⌊log2 N⌋/M). TCP payload is what nft counted leaving all hosts, less 52 bytes a packet. rqbit runs once.",
            stage.mbit,
            goodput * 8.0 / 1e6,
            stage.content.len() / MIB
        ));
        let mut all = Vec::new();
        for (index, leechers) in self.leechers.iter().enumerate() {
            let rounds = if index == 0 {
                options.rounds(5)
            } else {
                options.rounds(3).min(3)
            };
            let steps = f64::from(leechers.ilog2());
            let bound = stage.content.len() as f64 / goodput * (1.0 + steps / f64::from(pieces));
            let seen = stage.rounds(*leechers, rounds, bound, clients)?;
            book.add(seen.findings(stage.content.len()));
            all.push(seen);
        }
        plots(&mut book, &all);
        book.close()
    }

    fn stage<'a>(&self, lan: &'a Lan, options: &Options, torrents: bool) -> Result<Stage<'a>> {
        let mib = self.mib.unwrap_or(options.size(128, 8));
        let mbit = self.mbit.unwrap_or(100);
        let crowd = Crowd::new(lan, mbit)?;
        let place = Place::tmpfs()?;
        let content = noise(mib * MIB, 6);
        let directory = place.fresh()?;
        let seat = Seat::new(lan.host(1), "seed", &directory.join("cache"))?;
        let tree = directory.join("tree");
        fs::create_dir(&tree)?;
        fs::write(tree.join("large"), &content)?;
        let node = seat.node(&[])?;
        let id = seat.run(seat.zeroshare(&["add", &tree.to_string_lossy()])?)?;
        seat.wait_until_offered(1, std::time::Duration::from_mins(1))?;
        let torrent = torrents
            .then(|| {
                Torrent::new(
                    lan.host(1),
                    &Metainfo::of(&content, lan.host(1), None),
                    &directory,
                )
            })
            .transpose()?;
        Ok(Stage {
            crowd,
            content,
            place,
            seed: (seat, node),
            id,
            torrent,
            mbit,
        })
    }
}

impl Stage<'_> {
    /// Halves the rate where the processors are not enough.
    fn find_fair_rate(&mut self, leechers: u8, book: &mut Book<'_>) -> Result<()> {
        let outcome = self.ours(leechers)?;
        if let Some(reason) = outcome.invalid() {
            book.fact(format!(
                "At {} Mbit/s: {reason}; so half of that.",
                self.mbit
            ));
            self.mbit /= 2;
            self.crowd.limit(self.mbit)?;
        }
        Ok(())
    }

    fn pieces(&self) -> Result<u32> {
        let found = self.seed.0.ask(&["list"])?;
        let pieces = found["contents"][0]["total_pieces"].as_u64();
        Ok(u32::try_from(pieces.context("no number of pieces")?)?)
    }

    fn ours(&self, leechers: u8) -> Result<Outcome> {
        let directory = self.place.fresh()?;
        let nodes = self
            .crowd
            .nodes(2..=leechers + 1, &directory, usize::from(leechers))?;
        let id = &self.id;
        let fetch = |_| vec!["fetch".to_owned(), id.clone()];
        let outcome = self.crowd.watch(|| all_at_once(&nodes, fetch))?;
        drop(nodes);
        self.place.done_with(&directory)?;
        Ok(outcome)
    }

    fn theirs(&self, client: Client, leechers: u8) -> Result<Outcome> {
        let torrent = self.torrent.as_ref().context("no torrent")?;
        let directory = self.place.fresh()?;
        let seed_host = self.crowd.host(1);
        let seed = torrent.seed(client, seed_host, &self.content, &directory)?;
        let outcome = torrent.race(client, &self.crowd, leechers + 1, &directory)?;
        drop(seed);
        self.place.done_with(&directory)?;
        Ok(outcome)
    }

    fn rounds(&self, leechers: u8, rounds: usize, bound: f64, clients: &[Client]) -> Result<Seen> {
        let mut ours = Vec::new();
        let mut theirs: Vec<Vec<Outcome>> = vec![Vec::new(); clients.len()];
        for round in 0..rounds {
            eprintln!("{leechers} leechers: round {} of {rounds}", round + 1);
            for (client, outcomes) in clients.iter().zip(&mut theirs) {
                if *client == Client::Rqbit && round > 0 {
                    continue;
                }
                match self.theirs(*client, leechers) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(error) => eprintln!("{}: {error:#}", client.name()),
                }
            }
            ours.push(self.ours(leechers)?);
        }
        let names = clients.iter().map(|client| client.name().to_owned());
        let mut outcomes = vec![(OURS.to_owned(), ours)];
        outcomes.extend(
            names
                .zip(theirs)
                .filter(|(_, outcomes)| !outcomes.is_empty()),
        );
        Ok(Seen {
            leechers,
            bound,
            outcomes,
        })
    }
}

impl Seen {
    fn findings(&self, content_bytes: usize) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, outcomes) in &self.outcomes {
            let is_goal = name == OURS && self.leechers == 16;
            let target = |most| is_goal.then_some(Target::AtMost(most));
            let last: Vec<f64> = outcomes.iter().map(Outcome::last).collect();
            let ideal = (content_bytes * usize::from(self.leechers)) as f64;
            let payload: Vec<f64> = outcomes
                .iter()
                .map(|outcome| outcome.payload_bytes as f64 / ideal)
                .collect();
            let shares: Vec<f64> = outcomes.iter().map(|outcome| outcome.usage.share).collect();
            let cpu: Vec<f64> = outcomes
                .iter()
                .map(|outcome| outcome.usage.cpu_seconds)
                .collect();
            let work = |what: &str| format!("{what}, 1 seed, {} leechers: {name}", self.leechers);
            findings.push(
                Finding::compared(Some(6), &work("last one done"), &last)
                    .beside("bound", &[self.bound])
                    .target(target(1.15))
                    .cpu(median(&cpu), None)
                    .invalid(any_invalid(outcomes))
                    .note(format!(
                        "{:.0} % of the processors",
                        median(&shares) * 100.0
                    )),
            );
            findings.push(
                Finding::compared(Some(6), &work("TCP payload ÷ (N × content)"), &payload)
                    .unit("")
                    .target(target(1.03)),
            );
        }
        findings
    }
}

fn plots(book: &mut Book<'_>, all: &[Seen]) {
    if let Some(first) = all.first() {
        let lines = first
            .outcomes
            .iter()
            .filter_map(|(name, outcomes)| Some((name.clone(), middle(outcomes)?.progress())));
        let bound = vec![(first.bound, 0.0), (first.bound, 100.0)];
        book.plot(
            "swarm-progress",
            Plot {
                title: format!("1 seed and {} leechers start together", first.leechers),
                x: "seconds".to_owned(),
                y: "hosts that have it, %".to_owned(),
                lines: lines.chain([("bound".to_owned(), bound)]).collect(),
            },
        );
    }
    let Some(first) = all.first() else { return };
    let lines = first.outcomes.iter().map(|(name, _)| {
        let mut points: Vec<(f64, f64)> = all
            .iter()
            .filter_map(|seen| {
                let (_, outcomes) = seen.outcomes.iter().find(|(other, _)| other == name)?;
                let last: Vec<f64> = outcomes.iter().map(Outcome::last).collect();
                Some((f64::from(seen.leechers), median(&last) / seen.bound))
            })
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        (name.clone(), points)
    });
    book.plot(
        "swarm-cost",
        Plot {
            title: "Cost as a swarm grows".to_owned(),
            x: "leechers".to_owned(),
            y: "last one done ÷ bound".to_owned(),
            lines: lines.collect(),
        },
    );
}
