//! What programs see of a tree through a mount, and of the same tree on a disk: before it is here, and below a directory
//! that was opened before, once it is.

use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use zeroshare_content::Algorithm;
use zeroshare_network::{Lan, wait_until};
use zeroshare_testkit::{TestTree, put_in_store};

use crate::{LIMIT, mounted::Mounted, shell};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/posix.py");

/// What changes something, as a line of shell each; the tree has what they name.
const CHANGES: [&str; 10] = [
    "echo >> share/doc/README",
    "truncate -s 0 lib/even",
    "touch new",
    "mkdir new",
    "ln -s new newer",
    "ln lib/even lib/odd",
    "rm share/doc/README",
    "rmdir 'var/nothing here'",
    "mv lib library",
    "chmod 777 bin/hello",
];

#[test]
fn programs_see_the_same_as_on_a_disk_before_the_tree_is_here_and_after() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let tree = TestTree::with_slices(12)
        .symlink("dangling", "nothing/there")
        .symlink("loop", "loop");
    let disk = put_in_store(&tree, &a.store(), Algorithm::Sha256New);
    let id = tree.tree_id(Algorithm::Sha256New).to_string();
    let _node_a = a.start_node(&["--upload-limit", "1MiB"])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let mounted = Mounted::start(b, &[])?;
    let shown = mounted.dir().join(&id);
    wait_until("it is found", LIMIT, || Ok(shown.exists()))?;
    let expected = seen(&disk)?;
    ensure!(
        fs::symlink_metadata(&shown)?.is_dir(),
        "it is here too soon"
    );

    let directory = File::open(&shown)?;
    let before = format!("/proc/{}/fd/{}", std::process::id(), directory.as_raw_fd());
    let before = Path::new(&before);
    // A handle of before goes on being answered by us; all others of that file are too.
    let handle = File::open(before.join("lib/large.so"))?;
    same("before it is here", &seen(before)?, &expected)?;
    wait_until("it is here", LIMIT, || Ok(fs::read_link(&shown).is_ok()))?;
    same("with an old handle", &seen(before)?, &expected)?;
    drop(handle);
    // Now the kernel reads the stored files by itself, where it can.
    same("once it is here", &seen(before)?, &expected)?;
    for change in CHANGES {
        let error = shell(before, change).err().context(change)?.to_string();
        ensure!(error.contains("Read-only file system"), "{change}: {error}");
    }
    ensure!(shell(before, "LC_ALL=C df -P . | tail -1")?.contains("zeroshare"));
    Ok(())
}

fn seen(directory: &Path) -> Result<String> {
    let output = Command::new("python3")
        .arg(SCRIPT)
        .arg(directory)
        .output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {complaint}",
        directory.display()
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn same(when: &str, seen: &str, expected: &str) -> Result<()> {
    for (one, other) in seen.lines().zip(expected.lines()) {
        ensure!(one == other, "{when}:\n{one}\non the disk:\n{other}");
    }
    ensure!(
        seen == expected,
        "{when}: more lines of one than of the other"
    );
    Ok(())
}
