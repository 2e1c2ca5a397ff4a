//! Nobody has it, everybody wants it at once, and upstream is slow.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use zeroshare_network::Lan;

use crate::{
    book::{Book, Plot},
    crowd::{Client, Crowd, Metainfo, Outcome, Torrent, all_at_once, any_invalid, middle},
    finding::{Finding, Target},
    lab::{Nginx, Place, bare_goodput, need},
    measure::median,
    options::Options,
    works::{MIB, noise},
};

const BARE_BYTES: usize = 32 * MIB;

const OURS: &str = "zeroshare";

/// For how many hosts there is a target.
const GOAL_HOSTS: u8 = 16;

/// The name of the file upstream.
const FILE: &str = "content";

/// Settings of the cold start.
#[derive(Debug, Clone, Args)]
pub(crate) struct Cold {
    /// How many want it; the first size is run in all rounds, the others at most three times, for the plot of the cost.
    #[arg(long, value_delimiter = ',', default_values_t = [16, 2, 4, 8])]
    hosts: Vec<u8>,
    /// Size of the content in MiB.
    #[arg(long)]
    mib: Option<usize>,
    /// What each host and upstream may send, in Mbit/s.
    #[arg(long, default_value_t = 100)]
    mbit: u32,
    /// Nobody beside us.
    #[arg(long)]
    alone: bool,
}

/// Everything that lasts over the rounds: upstream is host 1.
struct Stage<'a> {
    crowd: Crowd<'a>,
    place: Place,
    upstream: Nginx,
    content: Vec<u8>,
    torrent: Option<Torrent>,
}

/// What was seen at one size.
struct Seen {
    hosts: u8,
    /// By program, ours last.
    rounds: Vec<(&'static str, Vec<Round>)>,
}

/// One round, and what upstream sent meanwhile.
struct Round {
    outcome: Outcome,
    /// Bytes of bodies ÷ content.
    upstream_share: f64,
}

impl Cold {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip", "nft", "nginx"])?;
        if !self.alone {
            need(&["opentracker", "curl", "aria2c"])?;
        }
        let mut book = Book::open("cold", options)?;
        let most = self.hosts.iter().max().copied().context("no size")?;
        let lan = Lan::new(most + 1)?;
        let stage = self.stage(&lan, options)?;
        let goodput = bare_goodput(
            lan.host(1),
            lan.host(2),
            BARE_BYTES.min(stage.content.len()),
        )?;
        let nominal = stage.content.len() as f64 / (f64::from(self.mbit) * 125_000.0);
        book.fact(format!(
            "Hosts and upstream send at most {} Mbit/s each (tbf); goodput of one bare TCP stream {:.1} Mbit/s; {} MiB. Upstream's bytes are \
             those of HTTP bodies in nginx's log. The time is compared with size ÷ {} Mbit/s, headers not allowed for.",
            self.mbit,
            goodput * 8.0 / 1e6,
            stage.content.len() / MIB,
            self.mbit
        ));
        let mut all = Vec::new();
        for (index, hosts) in self.hosts.iter().copied().enumerate() {
            let rounds = if index == 0 {
                options.rounds(5)
            } else {
                options.rounds(3).min(3)
            };
            let seen = self.rounds(&stage, hosts, rounds)?;
            for (name, rounds) in &seen.rounds {
                if !rounds.is_empty() {
                    book.add(findings(hosts, name, rounds, nominal));
                }
            }
            all.push(seen);
        }
        plots(&mut book, &all, nominal);
        book.close()
    }

    fn rounds(&self, stage: &Stage<'_>, hosts: u8, rounds: usize) -> Result<Seen> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            eprintln!("cold start of {hosts}: round {} of {rounds}", round + 1);
            if !self.alone {
                theirs.push(stage.aria2(hosts)?);
            }
            ours.push(stage.ours(hosts)?);
        }
        Ok(Seen {
            hosts,
            rounds: vec![("aria2", theirs), (OURS, ours)],
        })
    }

    fn stage<'a>(&self, lan: &'a Lan, options: &Options) -> Result<Stage<'a>> {
        let content = noise(self.mib.unwrap_or(options.size(128, 8)) * MIB, 7);
        let place = Place::tmpfs()?;
        let directory = place.fresh()?;
        let www = directory.join("www");
        fs::create_dir(&www)?;
        fs::write(www.join(FILE), &content)?;
        let crowd = Crowd::new(lan, self.mbit)?;
        let upstream = Nginx::start(lan.host(1), &www)?;
        let url = upstream.url(FILE);
        let torrent = (!self.alone)
            .then(|| {
                let metainfo = Metainfo::of(&content, lan.host(1), Some(&url));
                Torrent::new(lan.host(1), &metainfo, &directory)
            })
            .transpose()?;
        Ok(Stage {
            crowd,
            place,
            upstream,
            content,
            torrent,
        })
    }
}

fn findings(hosts: u8, name: &str, rounds: &[Round], nominal: f64) -> Vec<Finding> {
    let upstream: Vec<f64> = rounds.iter().map(|round| round.upstream_share).collect();
    let outcomes: Vec<Outcome> = rounds.iter().map(|round| round.outcome.clone()).collect();
    let is_goal = name == OURS && hosts == GOAL_HOSTS;
    let target = |most| is_goal.then_some(Target::AtMost(most));
    let last: Vec<f64> = outcomes.iter().map(Outcome::last).collect();
    let shares: Vec<f64> = outcomes.iter().map(|outcome| outcome.usage.share).collect();
    let cpu: Vec<f64> = outcomes
        .iter()
        .map(|outcome| outcome.usage.cpu_seconds)
        .collect();
    let work = |what: &str| format!("{what}, {hosts} hosts: {name}");
    vec![
        Finding::compared(Some(7), &work("upstream's bytes ÷ content"), &upstream)
            .unit("")
            .target(target(1.05)),
        Finding::compared(Some(7), &work("cold start, last one done"), &last)
            .beside("size ÷ rate", &[nominal])
            .target(target(1.25))
            .cpu(median(&cpu), None)
            .invalid(any_invalid(&outcomes))
            .note(format!(
                "{:.0} % of the processors",
                median(&shares) * 100.0
            )),
    ]
}

impl Stage<'_> {
    fn ours(&self, hosts: u8) -> Result<Round> {
        let directory = self.place.fresh()?;
        let neighbours = usize::from(hosts) - 1;
        let nodes = self.crowd.nodes(2..=hosts + 1, &directory, neighbours)?;
        let before = self.upstream.body_bytes()?;
        let digest = Sha256::digest(&self.content);
        let id = format!("blob:sha256:{}", HEXLOWER.encode(&digest));
        let url = self.upstream.url(FILE);
        let into = |index: usize| directory.join(format!("got-{index}"));
        let fetch = |index: usize| {
            let into = into(index).display().to_string();
            ["fetch", &id, "--upstream", &url, "-o", &into]
                .map(str::to_owned)
                .to_vec()
        };
        let outcome = self.crowd.watch(|| all_at_once(&nodes, fetch))?;
        drop(nodes);
        for index in 0..usize::from(hosts) {
            self.check(&into(index))?;
        }
        self.place.done_with(&directory)?;
        Ok(Round {
            outcome,
            upstream_share: self.share_since(before)?,
        })
    }

    fn aria2(&self, hosts: u8) -> Result<Round> {
        let torrent = self.torrent.as_ref().context("no torrent")?;
        let directory = self.place.fresh()?;
        let before = self.upstream.body_bytes()?;
        let outcome = torrent.race(Client::Aria2, &self.crowd, hosts + 1, &directory)?;
        self.place.done_with(&directory)?;
        Ok(Round {
            outcome,
            upstream_share: self.share_since(before)?,
        })
    }

    fn share_since(&self, before: u64) -> Result<f64> {
        let sent = self.upstream.body_bytes()? - before;
        Ok(sent as f64 / self.content.len() as f64)
    }

    fn check(&self, file: &Path) -> Result<()> {
        let same = fs::read(file)? == self.content;
        ensure!(same, "{} is wrong", file.display());
        Ok(())
    }
}

/// How one cold start went, and what it costs as more take part.
fn plots(book: &mut Book<'_>, all: &[Seen], nominal: f64) {
    let Some(first) = all.first() else { return };
    let lines = first.rounds.iter().filter_map(|(name, rounds)| {
        let outcomes: Vec<Outcome> = rounds.iter().map(|round| round.outcome.clone()).collect();
        Some(((*name).to_owned(), middle(&outcomes)?.progress()))
    });
    let bound = vec![(nominal, 0.0), (nominal, 100.0)];
    book.plot(
        "cold-progress",
        Plot {
            title: format!(
                "{} hosts start at once, and only upstream has it",
                first.hosts
            ),
            x: "seconds".to_owned(),
            y: "hosts that have it, %".to_owned(),
            lines: lines.chain([("size ÷ rate".to_owned(), bound)]).collect(),
        },
    );
    let line = |name: &str| {
        let mut points: Vec<(f64, f64)> = all
            .iter()
            .filter_map(|seen| {
                let (_, rounds) = seen.rounds.iter().find(|(other, _)| *other == name)?;
                let last: Vec<f64> = rounds.iter().map(|round| round.outcome.last()).collect();
                let cost = median(&last) / nominal;
                (!last.is_empty()).then_some((f64::from(seen.hosts), cost))
            })
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        points
    };
    let names = first.rounds.iter().map(|(name, _)| *name);
    let lines = names.map(|name| (name.to_owned(), line(name)));
    book.plot(
        "cold-cost",
        Plot {
            title: "Cost of a cold start as more take part".to_owned(),
            x: "hosts".to_owned(),
            y: "last one done ÷ (size ÷ rate)".to_owned(),
            lines: lines.filter(|(_, points)| !points.is_empty()).collect(),
        },
    );
}
