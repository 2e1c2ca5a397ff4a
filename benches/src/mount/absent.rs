//! What nobody has: how much longer it takes to be told so than by a directory of the disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use zeroshare_network::Lan;

use super::Reader;
use crate::{
    book::Book,
    finding::{Finding, Target},
    lab::{Place, Seat, cubic},
    measure::median,
    options::Options,
};

/// Programs have so many dependencies that are missing.
const TOGETHER: usize = 12;

pub(super) fn measure(book: &mut Book<'_>, options: &Options, place: &Place) -> Result<()> {
    let questions = [
        ("the first question", 1, 300.0),
        ("the same once more", 1, 5.0),
        ("twelve dependencies of one process", TOGETHER, 500.0),
    ];
    let name = |what: &str| format!("a digest that nobody has: {what}, delay");
    if !questions
        .iter()
        .any(|(what, ..)| options.wants(&name(what)))
    {
        return Ok(());
    }
    let lan = Lan::new(2)?;
    for host in lan.hosts() {
        cubic(host)?;
    }
    let neighbour = Seat::new(lan.host(1), "neighbour", &place.fresh()?.join("cache"))?;
    let _neighbour = neighbour.node(&[])?;
    let reader = Reader::start(lan.host(2), "asker", place)?;
    reader.seat.wait_until_peers(1)?;
    let empty = place.fresh()?;
    let mut delays = vec![Vec::new(); questions.len()];
    for round in 0..=options.rounds(5) {
        let digest = |number: usize| format!("sha256={:064x}", 1 + round * 100 + number);
        for (kind, (_, count, _)) in questions.iter().enumerate() {
            // The same digest twice, and then others.
            let first = usize::from(kind >= 2);
            let digests: Vec<String> = (first..first + count).map(digest).collect();
            let theirs = ask(&reader, &empty, &digests)?;
            let ours = ask(&reader, &reader.mounted.tree(""), &digests)?;
            if round > 0 {
                delays[kind].push((ours - theirs) * 1e3);
            }
        }
    }
    for ((what, _, most), delays) in questions.iter().zip(&delays) {
        let finding = Finding::figure(None, &name(what), median(delays), "ms");
        book.add([finding.target(Some(Target::AtMost(*most)))]);
    }
    drop(reader);
    place.clear()
}

/// Seconds until a process of its own was told of each that it is not there.
fn ask(reader: &Reader<'_>, directory: &Path, digests: &[String]) -> Result<f64> {
    ensure!(fs::metadata(directory)?.is_dir(), "no directory");
    let paths: Vec<PathBuf> = digests.iter().map(|id| directory.join(id)).collect();
    let all = "for path; do test ! -e \"$path\" || exit 1; done";
    let mut command = reader.seat.command("sh", &["-c", all, "sh"]);
    command.args(paths);
    Ok(reader.seat.timed(command)?.0.value)
}
