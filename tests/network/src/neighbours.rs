use std::{fs, path::PathBuf};

use anyhow::Context as _;

/// The kernel's neighbour table is one for all namespaces, and full at 1,024 entries: less than 50 hosts have that all know each other. Who
/// is not in it cannot be spoken to.
const ENTRIES: u32 = 16_384;

/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";

/// A larger neighbour table, as long as it lives, and as long as anybody else needs it.
#[derive(Debug)]
pub(crate) struct LargeNeighbourTable(Vec<(PathBuf, String)>);

impl LargeNeighbourTable {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut before = Self(Vec::new());
        for family in ["ipv4", "ipv6"] {
            for limit in ["gc_thresh3", "gc_thresh2", "gc_thresh1"] {
                let path = PathBuf::from(format!("/proc/sys/net/{family}/neigh/default/{limit}"));
                let value =
                    fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                if value.trim().parse::<u32>()? < ENTRIES {
                    fs::write(&path, ENTRIES.to_string())
                        .with_context(|| path.display().to_string())?;
                    before.0.push((path, value));
                }
            }
        }
        Ok(before)
    }
}

impl Drop for LargeNeighbourTable {
    fn drop(&mut self) {
        // Other LANs found it raised, and rely on it.
        let namespaces = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
        let mut names = namespaces.map(|entry| entry.file_name());
        if names.any(|name| name.as_encoded_bytes().starts_with(b"zs")) {
            return;
        }
        for (path, value) in self.0.iter().rev() {
            // A limit that stays raised harms nobody.
            fs::write(path, value).ok();
        }
    }
}
