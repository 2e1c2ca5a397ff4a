//! What all benchmarks can be told.

use std::path::PathBuf;

use clap::Args;

/// Settings of all benchmarks.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Timed rounds of each program, after one that warms up and is not counted [default: 5; 3 where a round takes a minute].
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Tiny sizes and one round: whether it runs at all. Nothing is kept.
    #[arg(long, global = true)]
    pub(crate) quick: bool,
    /// Do not go on to 15 rounds where a ratio comes within 10 % of its target.
    #[arg(long, global = true)]
    pub(crate) no_more: bool,
    /// Only works whose name contains this; may be repeated.
    #[arg(long, global = true, value_name = "TEXT")]
    only: Vec<String>,
    /// Print the results as JSON on standard output, and the table on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Where results are kept for `report` [default: benches/results].
    #[arg(long, global = true, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Measure this program [default: the one built from these sources].
    #[arg(long, global = true, value_name = "FILE", env = zeroshare_network::PROGRAM)]
    pub(crate) program: Option<PathBuf>,
    /// A directory on a disk [default: the temporary directory].
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) disk: Option<PathBuf>,
    /// A directory on a tmpfs.
    #[arg(long, global = true, value_name = "DIR", default_value = "/dev/shm")]
    pub(crate) tmpfs: PathBuf,
}

impl Options {
    /// How many timed rounds, where a benchmark does so many by itself.
    pub(crate) fn rounds(&self, usual: usize) -> usize {
        match (self.rounds, self.quick) {
            (Some(rounds), _) => rounds.max(1),
            (None, true) => 1,
            (None, false) => usual,
        }
    }

    /// `usual`, or `tiny` for a quick run.
    pub(crate) fn size<T>(&self, usual: T, tiny: T) -> T {
        if self.quick { tiny } else { usual }
    }

    /// Whether a work of this name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }

    /// Whether some works are left out.
    pub(crate) fn is_partial(&self) -> bool {
        !self.only.is_empty()
    }

    /// Where results are kept.
    pub(crate) fn results(&self) -> PathBuf {
        let usual = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results"));
        self.results.clone().unwrap_or_else(usual)
    }

    /// Whether the results count: all of the work, at its size.
    pub(crate) fn counts(&self) -> bool {
        !self.quick
    }
}
