//! Resident memory while much moves.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use zeroshare_network::Lan;

use crate::{
    book::Book,
    finding::{Finding, Target},
    lab::{Node, Place, Seat, cubic, need},
    options::Options,
    works::{MIB, Work, noise},
};

/// The longest that anything may take to be indexed.
const INDEXING: Duration = Duration::from_mins(5);

/// Settings of the memory benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Memory {
    /// The size of the one large file, in GiB.
    #[arg(long)]
    gib: Option<usize>,
}

/// How many fetches at once.
const FETCHES: usize = 64;

/// How many providers at once.
const PROVIDERS: u8 = 8;

impl Memory {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip"])?;
        let mut book = Book::open("memory", options)?;
        book.fact("The most that was ever resident (VmHWM) of nodes that were started just before, in a release build.");
        let mib = self
            .gib
            .map_or(options.size(10 * 1024, 256), |gib| gib * 1024);
        let one = format!("one fetch of {mib} MiB");
        if options.wants(&one) {
            book.add(one_large(&one, mib)?);
        }
        let many = format!("{FETCHES} fetches at once");
        if options.wants(&many) {
            book.add(many_at_once(&many, options.size(16, 1))?);
        }
        let from_many = format!("{PROVIDERS} providers");
        if options.wants(&from_many) {
            book.add(from_providers(&from_many, options.size(512, 32))?);
        }
        book.close()
    }
}

fn one_large(name: &str, mib: usize) -> Result<Vec<Finding>> {
    let lan = quick_lan(2)?;
    let place = Place::disk()?;
    let directory = place.fresh()?;
    let work = Work::single(&directory.join("tree"), mib)?;
    let giver = Seat::new(lan.host(1), "giver", &directory.join("giver"))?;
    let id = giver.run(giver.zeroshare(&["add", &work.tree.to_string_lossy()])?)?;
    fs::remove_dir_all(&work.tree)?;
    index(&giver, 1)?;
    let giving = giver.node(&[])?;
    giver.wait_until_offered(1, INDEXING)?;
    let asker = Seat::new(lan.host(2), "asker", &directory.join("asker"))?;
    let asking = asker.node(&[])?;
    asker.wait_until_found(&id)?;
    asker.run(asker.zeroshare(&["fetch", &id])?)?;
    let findings = resident(name, 64.0, &[("sender", &giving), ("receiver", &asking)])?;
    drop((giving, asking));
    place.clear()?;
    Ok(findings)
}

fn many_at_once(name: &str, mib: usize) -> Result<Vec<Finding>> {
    let lan = quick_lan(2)?;
    let place = Place::tmpfs()?;
    let directory = place.fresh()?;
    let giver = Seat::new(lan.host(1), "giver", &directory.join("giver"))?;
    let mut ids = Vec::new();
    for number in 0..FETCHES {
        let tree = directory.join(format!("tree-{number}"));
        fs::create_dir(&tree)?;
        fs::write(tree.join("large"), noise(mib * MIB, 100 + number as u64))?;
        ids.push(giver.run(giver.zeroshare(&["add", &tree.to_string_lossy()])?)?);
    }
    index(&giver, FETCHES)?;
    let giving = giver.node(&[])?;
    giver.wait_until_offered(FETCHES, INDEXING)?;
    let asker = Seat::new(lan.host(2), "asker", &directory.join("asker"))?;
    let asking = asker.node(&[])?;
    for id in &ids {
        asker.wait_until_found(id)?;
    }
    fetch_at_once(&asker, &ids)?;
    let findings = resident(name, 128.0, &[("sender", &giving), ("receiver", &asking)])?;
    drop((giving, asking));
    place.clear()?;
    Ok(findings)
}

fn from_providers(name: &str, mib: usize) -> Result<Vec<Finding>> {
    let lan = quick_lan(PROVIDERS + 1)?;
    let place = Place::tmpfs()?;
    let directory = place.fresh()?;
    let work = Work::single(&directory.join("tree"), mib)?;
    let mut givers = Vec::new();
    let mut found = None;
    for number in 1..=PROVIDERS {
        let cache = directory.join(format!("giver-{number}"));
        let giver = Seat::new(lan.host(number), "giver", &cache)?;
        found = Some(giver.run(giver.zeroshare(&["add", &work.tree.to_string_lossy()])?)?);
        index(&giver, 1)?;
        let node = giver.node(&[])?;
        giver.wait_until_offered(1, INDEXING)?;
        givers.push(node);
    }
    let id = found.context("nobody has it")?;
    let asker = Seat::new(lan.host(PROVIDERS + 1), "asker", &directory.join("asker"))?;
    let asking = asker.node(&[])?;
    asker.wait_until_peers(usize::from(PROVIDERS))?;
    asker.wait_until_found(&id)?;
    asker.run(asker.zeroshare(&["fetch", &id])?)?;
    let first = givers.first().context("nobody has it")?;
    let findings = resident(name, 128.0, &[("sender", first), ("receiver", &asking)])?;
    drop((givers, asking));
    place.clear()?;
    Ok(findings)
}

fn quick_lan(hosts: u8) -> Result<Lan> {
    let lan = Lan::new(hosts)?;
    lan.hosts().iter().try_for_each(cubic)?;
    Ok(lan)
}

/// Has everything indexed by a node that then ends: what is measured is sending, not hashing.
fn index(giver: &Seat<'_>, count: usize) -> Result<()> {
    let node = giver.node(&[])?;
    giver.wait_until_offered(count, INDEXING)?;
    drop::<Node>(node);
    Ok(())
}

/// A command for each, all at once.
fn fetch_at_once(asker: &Seat<'_>, ids: &[String]) -> Result<()> {
    std::thread::scope(|scope| {
        let running: Vec<_> = ids
            .iter()
            .map(|id| scope.spawn(move || asker.run(asker.zeroshare(&["fetch", id])?)))
            .collect();
        for running in running {
            running.join().ok().context("a thread panicked")??;
        }
        Ok(())
    })
}

fn resident(name: &str, most_mib: f64, nodes: &[(&str, &Node)]) -> Result<Vec<Finding>> {
    nodes
        .iter()
        .map(|(who, node)| {
            let mib = node.process().peak_resident_kib()? as f64 / 1024.0;
            Ok(Finding::figure(10, &format!("{name}: {who}"), mib, "MiB")
                .target(Some(Target::AtMost(most_mib))))
        })
        .collect()
}
