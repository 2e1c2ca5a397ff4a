//! Foreign programs.

use std::{env, path::PathBuf};

use anyhow::{Result, ensure};

/// Programs, and Debian's packages of them.
const PACKAGES: [(&str, &str); 10] = [
    ("aria2c", "aria2"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("opentracker", "opentracker"),
    ("rsync", "rsync"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
];

/// Fails with the packages to install if one of these programs is missing.
pub(crate) fn need(programs: &[&str]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|program| find(program).is_none())
        .map(|program| {
            let known = PACKAGES.iter().find(|(name, _)| name == program);
            known.map_or(*program, |(_, package)| package)
        })
        .collect();
    ensure!(
        missing.is_empty(),
        "programs are missing; on Debian: apt install {}",
        missing.join(" ")
    );
    Ok(())
}

/// Where a program is, as the shell would find it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}
