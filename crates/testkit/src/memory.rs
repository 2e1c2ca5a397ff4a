//! How much memory a process holds.

use std::{fs, path::Path};

/// What this process holds in memory, in bytes.
pub fn resident_bytes() -> u64 {
    read(Path::new("/proc/self/status")).expect("this process runs")
}

/// What another process holds in memory, in bytes; `None` when there is no such process.
pub fn resident_bytes_of(process: u32) -> Option<u64> {
    read(Path::new(&format!("/proc/{process}/status")))
}

fn read(path: &Path) -> Option<u64> {
    let status = fs::read_to_string(path).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
