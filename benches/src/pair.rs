//! One machine fetches from another.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use zeroshare_network::{Host, Lan, Running, program, wait_until};

use crate::table::{head, median, ratio, row, seconds};

const MIB: usize = 1 << 20;

/// Settings of the pair benchmark.
#[derive(Debug, Args)]
pub(crate) struct Pair {
    /// Timed rounds of each program.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where files are written, for example a tmpfs; default: the temporary directory.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Size of the single file, in MiB.
    #[arg(long, default_value_t = 1024)]
    single_mib: usize,
    /// How many small files.
    #[arg(long, default_value_t = 20_000)]
    small_files: usize,
}

impl Pair {
    pub(crate) fn run(&self) -> Result<()> {
        let work = self.work_directory()?;
        println!(
            "in {}, {} rounds each, alternating, medians in seconds\n",
            work.display(),
            self.rounds
        );
        head(&[
            "work",
            "sync",
            "rsync -a",
            "zeroshare fetch",
            "ratio",
            "spread rsync",
            "spread zeroshare",
        ]);
        let single = work.join("single");
        single_file(&single, self.single_mib)?;
        let small = work.join("small");
        small_files(&small, self.small_files)?;
        for (name, tree) in [
            (format!("one file of {} MiB", self.single_mib), &single),
            (format!("{} files of 1 to 16 KiB", self.small_files), &small),
        ] {
            for durable in [false, true] {
                self.compare(&name, tree, &work, durable)?;
            }
        }
        fs::remove_dir_all(&work)?;
        Ok(())
    }

    fn work_directory(&self) -> Result<PathBuf> {
        let base = self.directory.clone().unwrap_or_else(std::env::temp_dir);
        let work = base.join(format!("zeroshare-bench-{}", std::process::id()));
        fs::create_dir_all(&work)?;
        Ok(work)
    }

    fn compare(&self, name: &str, tree: &Path, work: &Path, durable: bool) -> Result<()> {
        let lan = Lan::new(2)?;
        let (a, b) = (lan.host(1), lan.host(2));
        cubic(a)?;
        cubic(b)?;
        let giver = Giver::start(a, tree, work)?;
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        // The first round of each warms memory and caches up, and is not counted.
        for round in 0..=self.rounds {
            let place = work.join(format!("round-{round}-{durable}"));
            fs::create_dir_all(&place)?;
            let rsync = giver.rsync(b, &place.join("rsync"), durable)?;
            let zeroshare = giver.fetch(b, &place, durable)?;
            if round > 0 {
                theirs.push(rsync);
                ours.push(zeroshare);
            }
        }
        for round in 0..=self.rounds {
            remove(&work.join(format!("round-{round}-{durable}")))?;
        }
        remove(&giver.store)?;
        row(&[
            name.to_owned(),
            if durable { "durable" } else { "none" }.to_owned(),
            seconds(median(&theirs)),
            seconds(median(&ours)),
            ratio(median(&ours), median(&theirs)),
            spread(&theirs),
            spread(&ours),
        ]);
        Ok(())
    }
}

/// The machine that has it: a node, and an rsync daemon over the same files.
struct Giver {
    id: String,
    address: String,
    store: PathBuf,
    _node: Running,
    _daemon: Running,
}

impl Giver {
    fn start(host: &Host, tree: &Path, work: &Path) -> Result<Self> {
        let store = work.join("giver");
        fs::create_dir_all(&store)?;
        let zeroshare = program("zeroshare")?;
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut node = host.command(&zeroshare);
        node.env("XDG_CACHE_HOME", &store).arg("node");
        let node = host.spawn_command(node)?;
        ready(host)?;
        let id = host.must_zeroshare(&["add", &path(tree)])?;
        host.wait_until_offered(&id)?;
        let held = store.join("0install.net/implementations").join(&id);
        let config = host.home().join("rsyncd.conf");
        fs::write(
            &config,
            format!(
                "use chroot = no\nuid = root\ngid = root\n[tree]\npath = {}\nread only = yes\n",
                held.display()
            ),
        )?;
        let words = [
            "--daemon",
            "--no-detach",
            "--port=8730",
            &format!("--config={}", path(&config)),
        ];
        let daemon = host.spawn("rsync", &words)?;
        wait_until("rsync listens", Duration::from_secs(10), || {
            Ok(host
                .run("rsync", &["rsync://127.0.0.1:8730/"])?
                .status
                .success())
        })?;
        Ok(Self {
            id,
            address: host.address(),
            store,
            _node: node,
            _daemon: daemon,
        })
    }

    fn rsync(&self, host: &Host, into: &Path, durable: bool) -> Result<Duration> {
        let source = format!("rsync://{}:8730/tree/", self.address);
        let into = into.to_string_lossy();
        let mut words = vec!["-a"];
        if durable {
            words.push("--fsync");
        }
        words.extend([source.as_str(), &into]);
        let start = Instant::now();
        host.must("rsync", &words)?;
        Ok(start.elapsed())
    }

    /// Looks up, transfers, verifies and commits into a fresh store of a node that runs.
    fn fetch(&self, host: &Host, place: &Path, durable: bool) -> Result<Duration> {
        let mut node = host.command(program("zeroshare")?);
        node.env("XDG_CACHE_HOME", place.join("cache")).arg("node");
        let _node = host.spawn_command(node)?;
        ready(host)?;
        wait_until("the neighbour is known", Duration::from_secs(20), || {
            Ok(host.zeroshare(&["find", &self.id])?.status.success())
        })?;
        let mut words = vec!["fetch", self.id.as_str()];
        if !durable {
            words.push("--no-sync");
        }
        let start = Instant::now();
        let path = host.must_zeroshare(&words)?;
        let took = start.elapsed();
        ensure!(
            Path::new(&path).starts_with(place),
            "{path} is not in {}",
            place.display()
        );
        Ok(took)
    }
}

fn ready(host: &Host) -> Result<()> {
    wait_until("the node answers", Duration::from_secs(20), || {
        Ok(host.zeroshare(&["status"])?.status.success())
    })?;
    Ok(())
}

/// BBR halves what loopback and veth can do, and no LAN needs it: cubic for both programs.
fn cubic(host: &Host) -> Result<()> {
    host.must(
        "ip",
        &[
            "route",
            "change",
            "10.77.0.0/24",
            "dev",
            "eth0",
            "congctl",
            "cubic",
        ],
    )?;
    Ok(())
}

fn single_file(tree: &Path, mib: usize) -> Result<()> {
    fs::create_dir_all(tree)?;
    fs::write(tree.join("large"), noise(mib * MIB, 1))?;
    Ok(())
}

fn small_files(tree: &Path, count: usize) -> Result<()> {
    let bytes = noise(MIB, 2);
    for number in 0..count {
        let directory = tree.join(format!("{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&directory)?;
        }
        let size = 1024 + number * 7919 % (15 * 1024);
        let start = number * 131 % (MIB - 16 * 1024);
        let mut content = bytes
            .get(start..start + size)
            .context("in the noise")?
            .to_vec();
        content.extend_from_slice(&number.to_le_bytes());
        fs::write(directory.join(format!("file-{number}")), content)?;
    }
    Ok(())
}

/// Bytes that no compressor shortens (xorshift64*, Vigna 2016).
fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(count + 8);
    while out.len() < count {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(count);
    out
}

fn spread(durations: &[Duration]) -> String {
    let least = durations.iter().min().copied().unwrap_or_default();
    let most = durations.iter().max().copied().unwrap_or_default();
    format!("{} to {}", seconds(least), seconds(most))
}

/// Removes a directory whose trees are read-only.
fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        let status = Command::new("rm").arg("-rf").arg(directory).status()?;
        ensure!(status.success(), "cannot remove {}", directory.display());
    }
    Ok(())
}
