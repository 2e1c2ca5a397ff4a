//! A tree of a neighbour, seen through a mount: how it is read and walked beside the same tree on the disk, how soon a program
//! starts, and what it costs to ask for what nobody has.

mod absent;
mod reading;
mod starting;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use zeroshare_network::{Host, Lan};

use crate::{
    book::Book,
    lab::{Giver, Mounted, Node, Place, Seat, cubic, limit, need},
    options::Options,
    supervise,
    works::Work,
};

/// Settings of the mount benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Mount {}

impl Mount {
    #[expect(clippy::unused_self, reason = "as all benchmarks are run")]
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip", "tc", "rsync", "nginx", "tar", "fusermount3"])?;
        let mut book = Book::open("mount", options)?;
        let base = supervise::disk()?.join("works");
        let place = Place::disk()?;
        reading::one_large_file(&mut book, options, &base, &place)?;
        reading::many_files(&mut book, options, &base, &place)?;
        starting::measure(&mut book, options, &base, &place)?;
        absent::measure(&mut book, options, &place)?;
        book.close()
    }
}

/// A machine that mounts, beside one that has a tree.
struct Reader<'a> {
    mounted: Mounted,
    seat: Seat<'a>,
    _node: Node,
}

impl<'a> Reader<'a> {
    fn start(host: &'a Host, name: &str, place: &Place) -> Result<Self> {
        let directory = place.fresh()?;
        let seat = Seat::new(host, name, &directory.join("cache"))?;
        let node = seat.node(&[])?;
        let mounted = Mounted::start(&seat, &directory.join("lan"))?;
        Ok(Self {
            mounted,
            seat,
            _node: node,
        })
    }

    /// Waits until the tree can be had, and says where it is shown.
    fn find(&self, id: &str) -> Result<PathBuf> {
        self.seat.wait_until_found(id)?;
        Ok(self.mounted.tree(id))
    }
}

/// Two machines, the first with a tree; the link sends so many Mbit/s, or what it can.
fn with_giver(
    place: &Place,
    work: &Work,
    mbit: Option<u32>,
    story: impl FnOnce(&Lan, &Giver<'_>) -> Result<()>,
) -> Result<()> {
    let lan = Lan::new(2)?;
    for host in lan.hosts() {
        cubic(host)?;
    }
    let giver = Giver::start(lan.host(1), work, place)?;
    if let Some(mbit) = mbit {
        limit(lan.host(1), mbit)?;
    }
    story(&lan, &giver).with_context(|| work.name.clone())?;
    drop(giver);
    place.clear()
}
