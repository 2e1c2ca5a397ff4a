//! What this machine can do, printed beside the results.

use std::{
    fmt,
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::Instant,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::supervise::{self, remove};

const MIB: usize = 1 << 20;

const PROBE_FILES: u32 = 10_000;

/// The raw figures of a machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    kernel: String,
    processors: usize,
    memory_gib: f64,
    /// GB/s.
    memcpy: f64,
    /// GB/s on one core.
    sha256: f64,
    /// MB/s into a new file, with sync.
    disk_write: f64,
    /// Files created each second by one thread.
    disk_creates: f64,
    /// The same in the tmpfs.
    tmpfs_creates: f64,
}

impl Figures {
    /// Measures for two seconds or so.
    pub(crate) fn measure() -> Result<Self> {
        let from = vec![7_u8; 256 * MIB];
        let mut to = vec![1_u8; 256 * MIB];
        let memcpy = rate(from.len(), || {
            to.copy_from_slice(&from);
            Ok(())
        })?;
        let sha256 = rate(to.len(), || {
            std::hint::black_box(Sha256::digest(&to));
            Ok(())
        })?;
        let file = supervise::disk()?.join("probe");
        let disk_write = rate(from.len(), || {
            let mut file = File::create(&file)?;
            file.write_all(&from)?;
            Ok(file.sync_all()?)
        })?;
        fs::remove_file(&file)?;
        Ok(Self {
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            processors: std::thread::available_parallelism()?.into(),
            memory_gib: rustix::system::sysinfo().totalram as f64 / f64::from(1 << 30),
            memcpy: memcpy / 1e9,
            sha256: sha256 / 1e9,
            disk_write: disk_write / 1e6,
            disk_creates: creates(&supervise::disk()?)?,
            tmpfs_creates: creates(&supervise::tmpfs()?)?,
        })
    }

    /// GB/s of SHA-256 on one core.
    pub(crate) fn sha256(&self) -> f64 {
        self.sha256
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Linux {}, {} processors, {:.0} GiB; memcpy {:.1} GB/s, SHA-256 {:.2} GB/s a core, disk write with sync {:.0} MB/s, creating \
             files {:.0}/s on the disk, {:.0}/s in the tmpfs",
            self.kernel,
            self.processors,
            self.memory_gib,
            self.memcpy,
            self.sha256,
            self.disk_write,
            self.disk_creates,
            self.tmpfs_creates
        )
    }
}

/// Touches so much memory and lets go of it: the first touch of idle memory is ten times slower where a host took it back.
pub(crate) fn touch(bytes: usize) {
    std::hint::black_box(vec![1_u8; bytes]);
}

/// Bytes a second, the better of two.
fn rate(bytes: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best: f64 = 0.0;
    for _ in 0..2 {
        let start = Instant::now();
        work()?;
        best = best.max(bytes as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn creates(directory: &Path) -> Result<f64> {
    let directory = directory.join("probe-files");
    fs::create_dir(&directory)?;
    let start = Instant::now();
    for number in 0..PROBE_FILES {
        File::create(directory.join(number.to_string()))?;
    }
    let rate = f64::from(PROBE_FILES) / start.elapsed().as_secs_f64();
    remove(&directory)?;
    Ok(rate)
}
