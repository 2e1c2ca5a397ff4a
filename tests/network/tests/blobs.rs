//! Single files between real nodes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use zeroshare_content::{BlobId, HashKind};
use zeroshare_network::{Host, Lan, wait_until};

/// Large enough to be interrupted.
const SIZE: usize = 48 * 1024 * 1024;

#[test]
fn a_shared_file_goes_on_from_machine_to_machine_after_its_first_one_died() -> Result<()> {
    let lan = Lan::new(3)?;
    let (a, b, c) = (lan.host(1), lan.host(2), lan.host(3));
    let mut node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    let _node_c = c.start_node(&[])?;
    let file = noise(a, "movie.bin")?;
    let id = share(a, &file)?;
    assert_eq!(
        id,
        BlobId::of(HashKind::Sha256, &fs::read(&file)?).to_string()
    );
    a.wait_until_offered(&id)?;

    let target = b.home().join("got.bin");
    let path = b.must_zeroshare(&["fetch", &id, "-o", text(&target)?])?;
    assert_eq!(path, text(&target)?);
    assert_eq!(fs::read(&target)?, fs::read(&file)?);
    b.wait_until_offered(&id)?;

    node_a.kill()?;
    let directory = c.home().join("downloads");
    fs::create_dir(&directory)?;
    let path = c.must_zeroshare(&["fetch", &id, "-o", text(&directory)?])?;
    assert_eq!(
        PathBuf::from(path),
        directory.join("got.bin"),
        "as b calls it"
    );
    assert_eq!(fs::read(directory.join("got.bin"))?, fs::read(&file)?);
    Ok(())
}

#[test]
fn a_file_that_changes_is_offered_no_more_and_other_files_are_never_overwritten() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let _node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    let file = noise(a, "file.bin")?;
    let id = share(a, &file)?;
    a.wait_until_offered(&id)?;

    let target = b.home().join("mine");
    fs::write(&target, "mine")?;
    let refused = b.zeroshare(&["fetch", &id, "-o", text(&target)?])?;
    assert!(!refused.status.success());
    assert_eq!(fs::read(&target)?, b"mine");

    let mut changed = fs::read(&file)?;
    changed[SIZE / 2] ^= 1;
    fs::write(&file, changed)?;
    let target = b.home().join("got.bin");
    let refused = b.zeroshare(&["fetch", &id, "-o", text(&target)?])?;
    assert!(!refused.status.success());
    assert!(!target.exists());
    wait_until("the file is forgotten", Duration::from_secs(20), || {
        Ok(!a.must_zeroshare(&["list"])?.contains(&id))
    })?;
    Ok(())
}

#[test]
fn a_fetch_that_was_killed_goes_on_where_it_was() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    // Slow enough to be caught in the middle.
    let node_a = a.start_node(&["--upload-limit", "8MB"])?;
    let file = noise(a, "file.bin")?;
    let id = share(a, &file)?;
    a.wait_until_offered(&id)?;
    let target = b.home().join("got.bin");
    let program = zeroshare_network::program("zeroshare")?;
    let mut fetch = b.spawn(text(&program)?, &["fetch", &id, "-o", text(&target)?])?;
    wait_until("a third has come", Duration::from_secs(30), || {
        Ok(b.received_bytes()? > SIZE as u64 / 3)
    })?;
    fetch.kill()?;
    assert!(!target.exists(), "nothing is visible before all is proven");
    let before = a.sent_bytes()?;
    b.must_zeroshare(&["fetch", &id, "-o", text(&target)?])?;
    assert_eq!(fs::read(&target)?, fs::read(&file)?);
    let after = a.sent_bytes()? - before;
    assert!(
        after < SIZE as u64 * 9 / 10,
        "{after} bytes were sent again"
    );
    let left =
        fs::read_dir(b.home())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let left: Vec<String> = left.filter(|name| name.starts_with(".tmp-")).collect();
    assert_eq!(left, [""; 0]);
    drop(node_a);
    Ok(())
}

/// Makes a file that does not compress.
fn noise(host: &Host, name: &str) -> Result<PathBuf> {
    let path = host.home().join(name);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..SIZE / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    fs::write(&path, words.collect::<Vec<u8>>())?;
    Ok(path)
}

/// Shares a file, and gives its id.
fn share(host: &Host, file: &Path) -> Result<String> {
    let said = host.must_zeroshare(&["share", text(file)?])?;
    let id = said.split_whitespace().next();
    Ok(id.context("share says no id")?.to_owned())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}
