//! Which run of the kernel this is.

use std::fs;
use std::io;

/// Names this boot: what was not synced to disk under another one may be lost.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim_end()
        .to_owned())
}
