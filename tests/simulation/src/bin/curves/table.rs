//! Rows of Markdown.

use std::time::Duration;

use zeroshare_simulation::{
    Quantiles,
    measure::{Holders, Lookups, Scene},
    naive::Naive,
};

/// The head of the first table.
pub(crate) const LOOKUPS: &str = "
| network | nodes | who holds it | to everybody, p50 | p99 | to one, p50 | p99 | first provider, p50 | p99 | third, p50 | p99 |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// The head of the second one.
pub(crate) const NAIVE: &str = "
Everybody answers at once (the asker's socket holds 166 answers, each takes 20 µs to read):

| holders | datagrams a lookup | answers that arrive, p50 | third provider, p50 |
|---|---|---|---|
";

/// The head of the third one.
pub(crate) const LAN: &str = "
| nodes | bytes a minute of the idle LAN | bytes a second | a newcomer is known to others after, p50 | p99 |
|---|---|---|---|---|
";

pub(crate) fn lookup_row(name: &str, scene: &Scene, seen: &Lookups) -> String {
    let holders = match scene.holders {
        Holders::All => "all",
        Holders::One => "one",
        Holders::Nobody => "nobody",
    };
    format!(
        "| {name} | {} | {holders} | {} | {} | {} | {} | {} | {} |\n",
        scene.nodes,
        seen.to_all.p50(),
        seen.to_all.p99(),
        seen.to_one.p50(),
        seen.to_one.p99(),
        times(&seen.first),
        times(&seen.third),
    )
}

pub(crate) fn naive_row(nodes: usize, seen: &Naive) -> String {
    format!(
        "| {nodes} | {} | {} | {} |\n",
        seen.datagrams,
        seen.received.p50(),
        time(seen.third.p50()),
    )
}

pub(crate) fn lan_row(nodes: usize, bytes: u64, known: &Quantiles<Duration>) -> String {
    format!(
        "| {nodes} | {bytes} | {} | {} |\n",
        bytes / 60,
        times(known)
    )
}

fn times(measured: &Quantiles<Duration>) -> String {
    format!("{} | {}", time(measured.p50()), time(measured.p99()))
}

fn time(time: Duration) -> String {
    if time == Duration::MAX {
        return "–".to_owned();
    }
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}
