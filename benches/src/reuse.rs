//! A new version of what is here already.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use zeroshare_network::Lan;

use crate::{
    book::Book,
    finding::{Finding, Target},
    lab::{Place, Seat, TcpCounter, cubic, need},
    options::Options,
    works::{MIB, noise},
};

/// Settings of the reuse benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reuse {}

/// One content before and after, and what a fetch need not bring.
struct Change {
    name: String,
    before: Vec<(String, Vec<u8>)>,
    after: Vec<(String, Vec<u8>)>,
    changed_bytes: usize,
}

impl Reuse {
    #[expect(clippy::unused_self, reason = "as all benchmarks are run")]
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip", "nft"])?;
        let mut book = Book::open("reuse", options)?;
        book.fact(
            "TCP payload is what nft counted leaving both hosts while the new version was fetched, less 52 bytes a packet.",
        );
        let changes = [
            one_file_in_ten(options.size(1_000, 100)),
            changed_tail(options.size(256, 32)),
        ];
        for change in changes {
            if options.wants(&change.name) {
                book.add([measure(&change, options.rounds(5))?]);
            }
        }
        book.close()
    }
}

/// A tree of which each tenth file changes.
fn one_file_in_ten(count: usize) -> Change {
    let file = |number: usize, seed: u64| {
        let size = 20_000 + number * 7_919 % 160_000;
        (
            format!("file-{number}"),
            noise(size, seed * 1_000_000 + number as u64),
        )
    };
    let before: Vec<_> = (0..count).map(|number| file(number, 1)).collect();
    let is_changed = |number: usize| number.is_multiple_of(10);
    let after: Vec<_> = (0..count)
        .map(|number| file(number, if is_changed(number) { 2 } else { 1 }))
        .collect();
    let changed = after
        .iter()
        .enumerate()
        .filter(|(number, _)| is_changed(*number));
    Change {
        name: format!("{count} files, 90 % of them equal"),
        changed_bytes: changed.map(|(_, (_, bytes))| bytes.len()).sum(),
        before,
        after,
    }
}

/// A large file whose last tenth changes.
fn changed_tail(mib: usize) -> Change {
    let before = noise(mib * MIB, 3);
    let tail = before.len() / 10;
    let mut after = before.clone();
    let from = after.len() - tail;
    after[from..].copy_from_slice(&noise(tail, 4));
    Change {
        name: format!("a file of {mib} MiB with a changed tail of a tenth"),
        before: vec![("large".to_owned(), before)],
        after: vec![("large".to_owned(), after)],
        changed_bytes: tail,
    }
}

fn measure(change: &Change, rounds: usize) -> Result<Finding> {
    let lan = Lan::new(2)?;
    let counters: Vec<TcpCounter<'_>> = lan
        .hosts()
        .iter()
        .map(TcpCounter::begin)
        .collect::<Result<_>>()?;
    for host in lan.hosts() {
        cubic(host)?;
    }
    let place = Place::tmpfs()?;
    let directory = place.fresh()?;
    let giver = Seat::new(lan.host(1), "giver", &directory.join("giver"))?;
    let _giving = giver.node(&[])?;
    let mut ids = Vec::new();
    for (name, files) in [("before", &change.before), ("after", &change.after)] {
        let tree = directory.join(name);
        write(&tree, files)?;
        ids.push(giver.run(giver.zeroshare(&["add", &tree.to_string_lossy()])?)?);
    }
    giver.wait_until_offered(2, Duration::from_mins(2))?;
    let manifest = fs::metadata(giver.store().join(&ids[1]).join(".manifest"))?.len();
    let least = change.changed_bytes as f64 + manifest as f64;
    let sent = || {
        counters
            .iter()
            .map(TcpCounter::payload_bytes)
            .sum::<Result<u64>>()
    };
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let mine = place.fresh()?;
        let asker = Seat::new(lan.host(2), "asker", &mine)?;
        let asking = asker.node(&[])?;
        asker.wait_until_found(&ids[0])?;
        asker.run(asker.zeroshare(&["fetch", &ids[0]])?)?;
        asker.wait_until_offered(1, Duration::from_mins(2))?;
        let before = sent()?;
        asker.run(asker.zeroshare(&["fetch", &ids[1]])?)?;
        ratios.push((sent()? - before) as f64 / least);
        drop(asking);
        place.done_with(&mine)?;
    }
    place.clear()?;
    Ok(Finding::compared(
        Some(9),
        &format!("{}: TCP payload ÷ (changed + manifest)", change.name),
        &ratios,
    )
    .unit("")
    .target(Some(Target::AtMost(1.03))))
}

fn write(tree: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    fs::create_dir_all(tree)?;
    for (name, bytes) in files {
        fs::write(tree.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}
