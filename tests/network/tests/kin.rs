//! Older programs of the family read from us: 0share's client of 2008 and Zero Install for .NET, as they are described.

use std::path::Path;

use anyhow::{Result, ensure};
use zeroshare_network::{Lan, noisy_tree};

/// Asks from another host with nothing but Python's own library, GNU tar and unzip.
fn ask(reader: &zeroshare_network::Host, words: &[&str]) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_as_kin.py");
    // The broadcast for every network goes by the default route.
    reader.run("ip", &["route", "replace", "default", "dev", "eth0"])?;
    let output = reader
        .command("python3")
        .arg(script)
        .arg(reader.home())
        .args(words)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}{complaint}");
    Ok(said)
}

#[test]
fn the_original_0share_and_zero_install_for_dotnet_read_from_a_node() -> Result<()> {
    let lan = Lan::new(2)?;
    let (giver, reader) = (lan.host(1), lan.host(2));
    let _node = giver.start_node(&[])?;
    let tree = giver.home().join("tree");
    noisy_tree(&tree, 40, 3_000_000)?;
    std::os::unix::fs::symlink("../some/./where//else", tree.join("a link"))?;
    let id = giver.must_zeroshare(&["add", &tree.to_string_lossy()])?;
    giver.wait_until_offered(&id)?;
    let said = ask(
        reader,
        &["read", &giver.address(), &id, &tree.to_string_lossy()],
    )?;
    println!("{said}");
    Ok(())
}

#[test]
fn who_answers_neither_is_silent() -> Result<()> {
    let lan = Lan::new(2)?;
    let (giver, reader) = (lan.host(1), lan.host(2));
    let _node = giver.start_node(&["--no-0share", "--no-dotnet"])?;
    let tree = giver.home().join("tree");
    noisy_tree(&tree, 3, 1000)?;
    let id = giver.must_zeroshare(&["add", &tree.to_string_lossy()])?;
    giver.wait_until_offered(&id)?;
    ask(reader, &["refused", &giver.address(), &id])?;
    Ok(())
}

#[test]
fn a_group_answers_neither() -> Result<()> {
    let lan = Lan::new(2)?;
    let (giver, reader) = (lan.host(1), lan.host(2));
    let secret = giver.home().join("secret");
    std::fs::write(&secret, "the members of this test know it\n")?;
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let _node = giver.start_node(&["--group-secret", &secret.to_string_lossy()])?;
    let tree = giver.home().join("tree");
    noisy_tree(&tree, 3, 1000)?;
    let id = giver.must_zeroshare(&["add", &tree.to_string_lossy()])?;
    giver.wait_until_offered(&id)?;
    ask(reader, &["hung-up", &giver.address(), &id])?;
    Ok(())
}
