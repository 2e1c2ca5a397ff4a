//! One machine fetches from another.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use sha2::{Digest as _, Sha256};
use zeroshare_network::{Host, Lan};

use crate::{
    book::Book,
    finding::Target,
    lab::{Giver, Place, Seat, cubic, need},
    measure::{Contender, Contest, CpuMeter, Sample, touch},
    options::Options,
    supervise,
    works::{Kind, Work},
};

/// Settings of the pair benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pair {
    /// How the two are connected.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Road::Veth, Road::Loopback])]
    roads: Vec<Road>,
    /// Which file systems.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Disk::Disk, Disk::Tmpfs])]
    places: Vec<Disk>,
    /// Which works.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Shape::Single, Shape::Small, Shape::Mixed])]
    works: Vec<Shape>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Road {
    /// Two hosts on a switch.
    Veth,
    /// Two users of one host.
    Loopback,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Disk {
    /// The disk, without sync on either side, and durable.
    Disk,
    /// The tmpfs.
    Tmpfs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// One file of 1 GiB.
    Single,
    /// 20,000 files of 1 to 16 KiB.
    Small,
    /// 5,000 files, 500 MiB, of a toolchain.
    Mixed,
}

/// One work on its way from one to the other.
struct Passage<'a> {
    giver: &'a Giver<'a>,
    receiver: &'a Host,
    place: &'a Place,
    work: &'a Work,
    durable: bool,
}

impl Pair {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip", "rsync", "nginx", "curl", "tar"])?;
        let mut book = Book::open("pair", options)?;
        let works = self.works(options)?;
        for disk in &self.places {
            let place = match disk {
                Disk::Disk => Place::disk()?,
                Disk::Tmpfs => Place::tmpfs()?,
            };
            for road in &self.roads {
                for work in &works {
                    compare(&mut book, options, *road, &place, work)?;
                }
            }
        }
        book.close()
    }

    fn works(&self, options: &Options) -> Result<Vec<Work>> {
        let base = supervise::disk()?.join("works");
        let make = |shape: &Shape| match shape {
            Shape::Single => Work::single(&base.join("single"), options.size(1024, 32)),
            Shape::Small => Work::small(&base.join("small"), options.size(20_000, 500)),
            Shape::Mixed => {
                let (files, mib) = options.size((5_000, 500), (100, 20));
                Work::mixed(&base.join("mixed"), files, mib)
            }
        };
        self.works.iter().map(make).collect()
    }
}

fn compare(
    book: &mut Book<'_>,
    options: &Options,
    road: Road,
    place: &Place,
    work: &Work,
) -> Result<()> {
    let named = |durable: bool| {
        let sync = if durable { ", durable" } else { "" };
        let road = if road == Road::Veth {
            "veth"
        } else {
            "loopback"
        };
        format!("{}, {road}, {}{sync}", work.name, place.name())
    };
    let ways = if place.is_memory() {
        &[false][..]
    } else {
        &[false, true]
    };
    let ways: Vec<bool> = ways
        .iter()
        .copied()
        .filter(|durable| options.wants(&named(*durable)))
        .collect();
    if ways.is_empty() {
        return Ok(());
    }
    let hosts = if road == Road::Veth { 2 } else { 1 };
    let lan = Lan::new(hosts)?;
    for host in lan.hosts() {
        cubic(host)?;
    }
    let giver = Giver::start(lan.host(1), work, place)?;
    for durable in ways {
        let passage = Passage {
            giver: &giver,
            receiver: lan.host(hosts),
            place,
            work,
            durable,
        };
        book.add(passage.contest(named(durable), options).hold()?);
    }
    drop(giver);
    place.clear()
}

impl Passage<'_> {
    fn contest(&self, name: String, options: &Options) -> Contest<'_> {
        let (row, rsync_most) = match self.work.kind {
            Kind::Single => (1, 0.9),
            Kind::Small => (2, 0.45),
            Kind::Mixed => (3, 0.8),
        };
        let most = |most: f64| Some(Target::AtMost(most));
        let ours = Contender::new("zeroshare fetch", None, |_| self.fetch());
        let rsync = if self.durable {
            "rsync -a --fsync"
        } else {
            "rsync -a"
        };
        let mut contest = Contest::new(name, row, options, ours).beside(Contender::new(
            rsync,
            most(rsync_most),
            |_| self.rsync(),
        ));
        contest = match (self.work.kind, self.durable) {
            (Kind::Single, false) => {
                contest.beside(Contender::new("curl -o, then SHA-256", most(0.65), |_| {
                    self.curl_and_hash()
                }))
            }
            (Kind::Small | Kind::Mixed, false) => {
                let (piped, socket) = if self.work.kind == Kind::Small {
                    (most(0.7), None)
                } else {
                    (most(0.8), most(0.8))
                };
                contest
                    .beside(Contender::new("curl | tar -x", piped, |_| {
                        self.curl_into_tar()
                    }))
                    .beside(Contender::new("tar over a socket", socket, |_| self.tar()))
            }
            (_, true) => contest,
        };
        let add_most = match self.work.kind {
            Kind::Single => return contest,
            Kind::Small => 1.25,
            Kind::Mixed => 1.3,
        };
        contest.beside(Contender::new("zeroshare add", most(add_most), |_| {
            self.add()
        }))
    }

    /// Looks up, transfers, verifies and commits into a fresh store of a node that runs.
    fn fetch(&self) -> Result<Sample> {
        self.in_fresh(|directory| {
            let seat = Seat::new(self.receiver, "receiver", &directory.join("cache"))?;
            let _node = seat.node(&[])?;
            seat.wait_until_found(&self.giver.id)?;
            let fetch = seat.zeroshare(&self.with_sync(&["fetch", &self.giver.id]))?;
            self.prepare();
            let (took, path) = seat.timed(fetch)?;
            ensure!(
                Path::new(&path).starts_with(directory),
                "{path} is elsewhere"
            );
            Ok(took)
        })
    }

    /// Our own way from a directory into the store: the same commit without a network.
    fn add(&self) -> Result<Sample> {
        self.in_fresh(|directory| {
            let seat = Seat::new(self.receiver, "receiver", &directory.join("cache"))?;
            let _node = seat.node(&[])?;
            let tree = self.work.tree.to_string_lossy();
            let add = seat.zeroshare(&self.with_sync(&["add", &tree]))?;
            self.prepare();
            Ok(seat.timed(add)?.0)
        })
    }

    fn rsync(&self) -> Result<Sample> {
        self.in_fresh(|directory| {
            let seat = Seat::new(self.receiver, "receiver", &directory.join("cache"))?;
            let (from, into) = (self.giver.rsync_url(), directory.join("tree"));
            let mut rsync = seat.command("rsync", &["-a"]);
            if self.durable {
                rsync.arg("--fsync");
            }
            rsync.arg(from).arg(into);
            self.prepare();
            Ok(seat.timed(rsync)?.0)
        })
    }

    fn curl_and_hash(&self) -> Result<Sample> {
        self.in_fresh(|directory| {
            let seat = Seat::new(self.receiver, "receiver", &directory.join("cache"))?;
            let file = directory.join("file");
            let mut curl = seat.command("curl", &["-sS", "-o"]);
            curl.arg(&file).arg(self.giver.http_url(self.work.kind));
            self.prepare();
            let meter = CpuMeter::start()?;
            seat.run(curl)?;
            sha256_on_two_threads(&file)?;
            meter.sample()
        })
    }

    fn curl_into_tar(&self) -> Result<Sample> {
        self.in_fresh(|directory| {
            let seat = Seat::new(self.receiver, "receiver", &directory.join("cache"))?;
            let into = directory.join("tree");
            fs::create_dir(&into)?;
            let pipe = "curl -sS \"$1\" | tar -C \"$2\" -x";
            let mut shell = seat.command("sh", &["-c", pipe, "sh"]);
            shell.arg(self.giver.http_url(self.work.kind)).arg(&into);
            self.prepare();
            Ok(seat.timed(shell)?.0)
        })
    }

    fn tar(&self) -> Result<Sample> {
        self.in_fresh(|directory| {
            let into = directory.join("tree");
            fs::create_dir(&into)?;
            self.prepare();
            self.giver.tar_over_socket(self.receiver, &into)
        })
    }

    fn in_fresh(&self, work: impl FnOnce(&Path) -> Result<Sample>) -> Result<Sample> {
        let directory: PathBuf = self.place.fresh()?;
        let took = work(&directory)?;
        if self.work.kind == Kind::Single {
            supervise::remove(&directory)?;
        }
        self.place.done_with(&directory)?;
        Ok(took)
    }

    /// What has to be so before the clock starts.
    fn prepare(&self) {
        self.place.settle();
        let bytes = usize::try_from(self.work.bytes).unwrap_or_default();
        touch(bytes * 5 / 2 + (256 << 20));
    }

    fn with_sync<'w>(&self, words: &[&'w str]) -> Vec<&'w str> {
        let no_sync = (!self.durable).then_some("--no-sync");
        words.iter().copied().chain(no_sync).collect()
    }
}

/// Reads on one thread and hashes on another, as fast as that goes.
fn sha256_on_two_threads(path: &Path) -> Result<()> {
    const PAGE_BYTES: usize = 1 << 20;
    let mut file = File::open(path)?;
    let (to_hash, read) = mpsc::sync_channel::<(Vec<u8>, usize)>(8);
    let (to_fill, free) = mpsc::sync_channel::<Vec<u8>>(16);
    for _ in 0..8 {
        to_fill.send(vec![0; PAGE_BYTES])?;
    }
    let hashing = thread::spawn(move || {
        let mut hash = Sha256::new();
        for (page, count) in read {
            hash.update(&page[..count]);
            // The reader may have reached the end.
            to_fill.send(page).ok();
        }
        hash.finalize()
    });
    loop {
        let mut page = free.recv()?;
        let count = file.read(&mut page)?;
        if count == 0 {
            break;
        }
        to_hash.send((page, count))?;
    }
    drop(to_hash);
    std::hint::black_box(hashing.join().ok().context("hashing panicked")?);
    Ok(())
}
