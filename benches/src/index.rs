//! What a source does before it offers anything.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use zeroshare_network::{Lan, hello_tree};

use crate::{
    book::Book,
    finding::{Finding, Target},
    lab::{Place, Seat, need},
    measure::median,
    options::Options,
    works::{MIB, files, write_noise},
};

/// The longest that indexing may take.
const INDEXING: Duration = Duration::from_mins(10);

/// Between two questions whether it is indexed.
const PAUSE: Duration = Duration::from_millis(150);

/// Files of each tree.
const FILES: usize = 8;

/// Settings of the index benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Index {
    /// How much is indexed, in GiB.
    #[arg(long)]
    gib: Option<usize>,
    /// How many trees there are at a start.
    #[arg(long)]
    trees: Option<usize>,
}

impl Index {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip"])?;
        let mut book = Book::open("index", options)?;
        let mib = self
            .gib
            .map_or(options.size(10 * 1024, 512), |gib| gib * 1024);
        let first = format!("first indexing of {mib} MiB");
        if options.wants(&first) {
            let finding = first_indexing(&first, mib, book.machine().sha256())?;
            book.add([finding]);
        }
        let trees = self.trees.unwrap_or(options.size(300, 20));
        let start = format!("start with {trees} indexed trees");
        if options.wants(&start) {
            book.add([start_indexed(&start, trees, options.rounds(5))?]);
        }
        book.close()
    }
}

fn first_indexing(name: &str, mib: usize, sha256: f64) -> Result<Finding> {
    let lan = Lan::new(1)?;
    let place = Place::disk()?;
    let directory = place.fresh()?;
    let seat = Seat::new(lan.host(1), "source", &directory.join("cache"))?;
    let trees = (mib / 1024).max(1);
    for number in 0..trees {
        let tree = directory.join("tree");
        fs::create_dir(&tree)?;
        for file in 0..FILES {
            let seed = (number * FILES + file) as u64 + 10;
            write_noise(
                &tree.join(format!("file-{file}")),
                mib / trees / FILES,
                seed,
            )?;
        }
        seat.run(seat.zeroshare(&["add", &tree.to_string_lossy()])?)?;
        fs::remove_dir_all(&tree)?;
    }
    fs::remove_dir_all(seat.index())?;
    forget_pages()?;
    let (bytes, read) = read_all(&seat.store())?;
    forget_pages()?;
    let start = Instant::now();
    let node = seat.node(&[])?;
    // Asked seldom: asking takes a processor's time too.
    while seat.offered()? < trees && start.elapsed() < INDEXING {
        thread::sleep(PAUSE);
    }
    let took = start.elapsed().as_secs_f64();
    drop(node);
    place.clear()?;
    let hash = bytes as f64 / (sha256 * 1e9);
    Ok(Finding::compared(Some(12), name, &[took])
        .beside("reading it, or hashing it on one core", &[read.max(hash)])
        .target(Some(Target::AtMost(1.1)))
        .note(format!(
            "reading {read:.1} s, hashing {hash:.1} s; a tenth is allowed for noise"
        )))
}

fn start_indexed(name: &str, trees: usize, rounds: usize) -> Result<Finding> {
    let lan = Lan::new(1)?;
    let place = Place::disk()?;
    let directory = place.fresh()?;
    let seat = Seat::new(lan.host(1), "source", &directory.join("cache"))?;
    let node = seat.node(&[])?;
    for number in 0..trees {
        let tree = directory.join(format!("tree-{number}"));
        hello_tree(&tree)?;
        fs::write(tree.join("number"), number.to_string())?;
        seat.run(seat.zeroshare(&["add", "--no-sync", &tree.to_string_lossy()])?)?;
    }
    seat.wait_until_offered(trees, INDEXING)?;
    drop(node);
    let mut took = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let node = seat.node(&[])?;
        seat.wait_until_offered(trees, INDEXING)?;
        took.push(start.elapsed().as_secs_f64());
        drop(node);
    }
    place.clear()?;
    Ok(Finding::compared(Some(12), name, &took)
        .target(Some(Target::AtMost(1.0)))
        .note(format!(
            "to all offered, as `zeroshare list` says; median {:.2} s",
            median(&took)
        )))
}

/// So that everything comes from the disk.
fn forget_pages() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    Ok(())
}

/// Bytes, and the seconds that reading them takes.
fn read_all(directory: &Path) -> Result<(u64, f64)> {
    let mut page = vec![0; MIB];
    let start = Instant::now();
    let mut bytes = 0;
    for path in files(directory)? {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut page)? {
                0 => break,
                count => bytes += count as u64,
            }
        }
    }
    Ok((bytes, start.elapsed().as_secs_f64()))
}
