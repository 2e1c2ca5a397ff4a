//! A source tree over a slow link, beside its `.tar.xz`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use zeroshare_network::Lan;

use crate::{
    book::Book,
    finding::Target,
    lab::{Nginx, Node, Place, Seat, cubic, limit, need},
    measure::{Contender, Contest, Sample},
    options::Options,
    supervise,
    works::{MIB, files},
};

const ARCHIVE: &str = "source.tar.xz";

/// Settings of the slow link.
#[derive(Debug, Clone, Args)]
pub(crate) struct Slow {
    /// The rate of the link, in Mbit/s.
    #[arg(long, default_value_t = 50)]
    mbit: u32,
    /// Sources to take instead of this machine's crates.
    #[arg(long, value_name = "DIR")]
    sources: Option<PathBuf>,
}

/// The two hosts.
struct Stage<'a> {
    asker: &'a zeroshare_network::Host,
    place: Place,
    nginx: Nginx,
    id: String,
    _node: Node,
}

impl Slow {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip", "nginx", "curl", "tar", "xz"])?;
        let mut book = Book::open("slow", options)?;
        let base = supervise::disk()?.join("works");
        let tree = base.join("source");
        let (count, bytes) = self.source_tree(&tree, options.size(200, 10) * MIB)?;
        let archive = base.join("www");
        fs::create_dir_all(&archive)?;
        let packed = pack_xz(&tree, &archive.join(ARCHIVE))?;
        book.fact(format!(
            "{count} files, {} MiB of source code; as .tar.xz (xz -6) {:.1} MiB, packed before; {} Mbit/s (tbf), ext4 or what the disk has, without sync \
             on either side.",
            bytes >> 20,
            packed as f64 / MIB as f64,
            self.mbit
        ));
        let lan = Lan::new(2)?;
        for host in lan.hosts() {
            cubic(host)?;
        }
        let place = Place::disk()?;
        let giver = Seat::new(lan.host(1), "giver", &place.fresh()?)?;
        let node = giver.node(&[])?;
        let id = giver.run(giver.zeroshare(&["add", &tree.to_string_lossy()])?)?;
        giver.wait_until_offered(1, Duration::from_mins(2))?;
        let stage = Stage {
            asker: lan.host(2),
            place,
            nginx: Nginx::start(lan.host(1), &archive)?,
            id,
            _node: node,
        };
        limit(lan.host(1), self.mbit)?;
        let then = "curl -sS -o \"$2/../archive\" \"$1\" && tar -C \"$2\" -xf \"$2/../archive\"";
        let pipe = "curl -sS \"$1\" | tar -C \"$2\" -xJ";
        let name = format!("{} MiB of source over {} Mbit/s", bytes >> 20, self.mbit);
        let ours = Contender::new("zeroshare fetch", None, |_| stage.fetch());
        let contest = Contest::new(name, 11, options, ours)
            .beside(Contender::new(
                "curl -o .tar.xz, then tar",
                Some(Target::AtMost(1.0)),
                |_| stage.curl(then),
            ))
            .beside(Contender::new("curl | tar -xJ", None, |_| stage.curl(pipe)));
        book.add(contest.hold()?);
        stage.place.clear()?;
        book.close()
    }

    /// Copies sources until there are so many bytes; how many files and bytes it became.
    fn source_tree(&self, tree: &Path, most_bytes: usize) -> Result<(usize, u64)> {
        let sources = match &self.sources {
            Some(sources) => sources.clone(),
            None => crates()?,
        };
        let mut left = most_bytes as u64;
        let mut count = 0;
        for file in files(&sources)? {
            let size = fs::metadata(&file)?.len();
            // Archives and libraries in packages are no source.
            let is_text = size < 2 << 20;
            if !is_text || size > left {
                continue;
            }
            left -= size;
            count += 1;
            let to = tree.join(file.strip_prefix(&sources)?);
            fs::create_dir_all(to.parent().context("a directory")?)?;
            fs::copy(&file, to)?;
            if left < 64 * 1024 {
                break;
            }
        }
        let bytes = most_bytes as u64 - left;
        ensure!(
            bytes > most_bytes as u64 / 10 * 9,
            "{} has only {bytes} bytes of sources: name others with --sources",
            sources.display()
        );
        Ok((count, bytes))
    }
}

impl Stage<'_> {
    fn fetch(&self) -> Result<Sample> {
        let directory = self.place.fresh()?;
        let seat = Seat::new(self.asker, "asker", &directory)?;
        let node = seat.node(&[])?;
        seat.wait_until_found(&self.id)?;
        self.place.settle();
        let (took, path) = seat.timed(seat.zeroshare(&["fetch", "--no-sync", &self.id])?)?;
        ensure!(
            Path::new(&path).starts_with(&directory),
            "{path} is elsewhere"
        );
        drop(node);
        self.place.done_with(&directory)?;
        Ok(took)
    }

    fn curl(&self, script: &str) -> Result<Sample> {
        let directory = self.place.fresh()?;
        let seat = Seat::new(self.asker, "asker", &directory.join("cache"))?;
        let into = directory.join("tree");
        fs::create_dir(&into)?;
        let mut shell = seat.command("sh", &["-c", script, "sh", &self.nginx.url(ARCHIVE)]);
        shell.arg(&into);
        self.place.settle();
        let (took, _) = seat.timed(shell)?;
        self.place.done_with(&directory)?;
        Ok(took)
    }
}

/// The crates that cargo has unpacked on this machine.
fn crates() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let sources = home.context("no home directory")?.join("registry/src");
    ensure!(
        sources.is_dir(),
        "{} is not there: name sources with --sources",
        sources.display()
    );
    Ok(sources)
}

fn pack_xz(tree: &Path, archive: &Path) -> Result<u64> {
    eprintln!("packing with xz");
    let status = Command::new("tar")
        .env("XZ_OPT", "-6 -T0")
        .arg("-C")
        .arg(tree)
        .arg("-cJf")
        .arg(archive)
        .arg(".")
        .status()?;
    ensure!(status.success(), "tar with xz failed");
    Ok(fs::metadata(archive)?.len())
}
