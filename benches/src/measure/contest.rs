//! Ours and its peers, one after the other, round by round.

use anyhow::{Context as _, Result};

use super::{Sample, median, ratio_interval};
use crate::{
    finding::{Finding, Target},
    options::Options,
};

/// Rounds where a ratio is so near its target that five do not tell.
const ROUNDS_WHERE_CLOSE: usize = 15;

/// What "near" means.
const NEAR: f64 = 0.1;

/// Who takes part, and how it is done once: the round's number comes in, what it took goes out.
pub(crate) struct Contender<'a> {
    name: String,
    target: Option<Target>,
    run: Box<dyn FnMut(usize) -> Result<Sample> + 'a>,
}

/// What one of them took, round by round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) values: Vec<f64>,
    pub(crate) cpu_seconds: Vec<f64>,
    pub(crate) cpu_shares: Vec<f64>,
}

/// Ours and its peers.
pub(crate) struct Contest<'a> {
    work: String,
    row: Option<u8>,
    rounds: usize,
    may_go_on: bool,
    unit: &'static str,
    ours: Contender<'a>,
    peers: Vec<Contender<'a>>,
}

impl<'a> Contender<'a> {
    /// Somebody who takes part; the target is for the ratio of ours to it.
    pub(crate) fn new(
        name: impl Into<String>,
        target: Option<Target>,
        run: impl FnMut(usize) -> Result<Sample> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            target,
            run: Box::new(run),
        }
    }

    fn once(&mut self, round: usize, series: &mut Series) -> Result<()> {
        let sample = (self.run)(round).with_context(|| format!("{}, round {round}", self.name))?;
        if round > 0 {
            series.push(sample);
        }
        Ok(())
    }
}

impl Series {
    /// One more round.
    pub(crate) fn push(&mut self, sample: Sample) {
        self.values.push(sample.value);
        self.cpu_seconds.push(sample.usage.cpu_seconds);
        self.cpu_shares.push(sample.usage.share);
    }
}

impl<'a> Contest<'a> {
    /// A contest of so many rounds, as the options say.
    pub(crate) fn new(
        work: impl Into<String>,
        row: impl Into<Option<u8>>,
        options: &Options,
        ours: Contender<'a>,
    ) -> Self {
        Self {
            work: work.into(),
            row: row.into(),
            rounds: options.rounds(5),
            may_go_on: !options.no_more && !options.quick,
            unit: "s",
            ours,
            peers: Vec::new(),
        }
    }

    /// The unit of what is compared, where it is not seconds.
    pub(crate) fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// Another peer.
    pub(crate) fn beside(mut self, peer: Contender<'a>) -> Self {
        self.peers.push(peer);
        self
    }

    /// Runs all of them in turn, the first round for warming up; one finding for each peer.
    pub(crate) fn hold(mut self) -> Result<Vec<Finding>> {
        let mut ours = Series::default();
        let mut theirs = vec![Series::default(); self.peers.len()];
        let mut rounds = self.rounds;
        let mut round = 0;
        while round <= rounds {
            eprintln!("{}: round {round} of {rounds}", self.work);
            for (peer, series) in self.peers.iter_mut().zip(&mut theirs) {
                peer.once(round, series)?;
            }
            self.ours.once(round, &mut ours)?;
            if round == rounds && self.may_go_on && self.is_close(&ours, &theirs) {
                rounds = rounds.max(ROUNDS_WHERE_CLOSE);
            }
            round += 1;
        }
        let findings = self.peers.iter().zip(&theirs).map(|(peer, series)| {
            Finding::compared(self.row, &self.work, &ours.values)
                .unit(self.unit)
                .beside(&peer.name, &series.values)
                .target(peer.target)
                .cpu(median(&ours.cpu_seconds), Some(median(&series.cpu_seconds)))
        });
        Ok(findings.collect())
    }

    fn is_close(&self, ours: &Series, theirs: &[Series]) -> bool {
        self.peers.iter().zip(theirs).any(|(peer, series)| {
            peer.target.is_some_and(|target| {
                let ratio = median(&ours.values) / median(&series.values);
                (ratio / target.value() - 1.0).abs() < NEAR
                    || target.splits(ratio_interval(&ours.values, &series.values))
            })
        })
    }
}
