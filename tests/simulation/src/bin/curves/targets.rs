//! Whether what was measured is as wanted.

use std::time::Duration;

use zeroshare_simulation::measure::{Holders, Knowledge, Lookups, Scene};

/// The largest LAN.
const LARGEST: usize = 10_000;

/// Up to so many nodes filters answer.
const SMALL: usize = 100;

/// What was judged so far, as rows.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    rows: String,
}

impl Targets {
    /// Judges the lookups of one scene.
    pub(crate) fn judge(&mut self, name: &str, scene: &Scene, seen: &Lookups) {
        let nodes = scene.nodes;
        let is_cable = name == "cable" || name == "mass start";
        match (scene.holders, scene.knowledge) {
            (Holders::All, Knowledge::Settled) if is_cable && nodes == LARGEST => {
                let what = "datagrams to everybody for a lookup, all of 10,000 hold it";
                self.row(&format!("{what}: median"), seen.to_all.p50(), 8, "");
                self.row(&format!("{what}: p99"), seen.to_all.p99(), 15, "");
            }
            (Holders::All, Knowledge::MassStart) if nodes == LARGEST => {
                let what = "the same right after a mass start: p99";
                self.row(what, seen.to_all.p99(), 40, "");
            }
            (Holders::One, _) => {
                let most = match name {
                    "cable" => 25,
                    "20 % loss" => 250,
                    _ => 1_000,
                };
                let what = format!("a lone holder among {nodes} is found, {name}: p99");
                self.row(&what, millis(seen.first.p99()), most, " ms");
            }
            (Holders::All | Holders::Nobody, _) => {}
        }
        let who = match scene.holders {
            Holders::All => "all hold it",
            Holders::One => "one holds it",
            Holders::Nobody => return,
        };
        if name == "cable" && nodes <= SMALL {
            let what = format!("most datagrams for a lookup among {nodes}, {who}, filters warm");
            self.row(&what, seen.to_all.most() + seen.to_one.most(), 0, "");
        }
    }

    /// Judges an idle LAN.
    pub(crate) fn judge_idle(&mut self, nodes: usize, bytes_per_minute: u64) {
        let what = format!("bytes a second of an idle LAN of {nodes}");
        self.row(&what, bytes_per_minute / 60, 2_000, "");
    }

    /// The table; empty if nothing was judged.
    pub(crate) fn text(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        format!(
            "\n| target | measured | wanted at most | |\n|---|---|---|---|\n{}",
            self.rows
        )
    }

    fn row(&mut self, what: &str, measured: u64, most: u64, unit: &str) {
        let verdict = if measured <= most { "pass" } else { "MISS" };
        let row = format!("| {what} | {measured}{unit} | {most}{unit} | {verdict} |\n");
        self.rows.push_str(&row);
    }
}

/// Whole milliseconds, rounded up.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}
