//! Older programs of the family read from us, and we from them: 0share of 2008 and Zero Install for .NET, as they are
//! described.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use zeroshare_network::{Host, Lan, Running, noisy_tree, wait_until};

/// Asks from another host with nothing but Python's own library, GNU tar and unzip.
fn ask(reader: &Host, words: &[&str]) -> Result<String> {
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
    fs::write(&secret, "the members of this test know it\n")?;
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let _node = giver.start_node(&["--group-secret", &secret.to_string_lossy()])?;
    let tree = giver.home().join("tree");
    noisy_tree(&tree, 3, 1000)?;
    let id = giver.must_zeroshare(&["add", &tree.to_string_lossy()])?;
    giver.wait_until_offered(&id)?;
    ask(reader, &["hung-up", &giver.address(), &id])?;
    Ok(())
}

/// Serves a tree as both do, well or not.
fn serve(giver: &Host, tree: &Path, id: &str, how: &str) -> Result<Running> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve_as_kin.py");
    let mut command = giver.command("python3");
    command.arg(script).arg(tree).args([id, how]);
    let serving = giver.spawn_command(command)?;
    wait_until("it serves", Duration::from_secs(20), || {
        Ok(serving.log().contains("ready"))
    })?;
    Ok(serving)
}

/// A tree, and its id, which the host itself does not hold.
fn tree_of(giver: &Host) -> Result<(std::path::PathBuf, String)> {
    let tree = giver.home().join("tree");
    noisy_tree(&tree, 40, 3_000_000)?;
    let said = giver.must_zeroshare(&["digest", &tree.to_string_lossy()])?;
    let id = said
        .split_whitespace()
        .find(|word| word.starts_with("sha256new_"));
    Ok((tree, id.unwrap_or_default().to_owned()))
}

#[test]
fn a_tree_comes_from_the_original_0share_and_from_zero_install_for_dotnet() -> Result<()> {
    let lan = Lan::new(3)?;
    let (giver, one, other) = (lan.host(1), lan.host(2), lan.host(3));
    let (tree, id) = tree_of(giver)?;
    let _serving = serve(giver, &tree, &id, "well")?;
    let path = one.must_zeroshare(&["fetch", &id, "--from-0share"])?;
    ensure!(Path::new(&path) == one.store().join(&id), "{path}");
    one.must_zeroshare(&["verify", &id])?;
    let from = format!("--from-0share={}", giver.address());
    let again = one.must_zeroshare(&["fetch", &id, &from])?;
    ensure!(again == path, "{again}");
    let from = format!("{}:38339", giver.address());
    let path = other.must_zeroshare(&["fetch", &id, "--from-dotnet", &from])?;
    ensure!(Path::new(&path) == other.store().join(&id), "{path}");
    other.must_zeroshare(&["verify", &id])?;
    let unknown = "sha256new_4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKA";
    let nobody = other.zeroshare(&["fetch", unknown, "--from-0share"])?;
    ensure!(nobody.status.code() == Some(3), "{}", nobody.stderr);
    let nobody = other.zeroshare(&["fetch", unknown, "--from-dotnet", &from])?;
    ensure!(nobody.status.code() == Some(3), "{}", nobody.stderr);
    Ok(())
}

#[test]
fn what_older_programs_send_badly_is_refused() -> Result<()> {
    let lan = Lan::new(2)?;
    let (giver, reader) = (lan.host(1), lan.host(2));
    let (tree, id) = tree_of(giver)?;
    for how in [
        "another", "climbing", "absolute", "link-out", "twice", "bomb", "cut",
    ] {
        let _serving = serve(giver, &tree, &id, how)?;
        let from = format!("{}:38339", giver.address());
        let zero_share = format!("--from-0share={from}");
        let mut ways = vec![vec!["fetch", &id, "--max-size", "100MB", &zero_share]];
        if how != "bomb" {
            ways.push(vec!["fetch", &id, "--from-dotnet", &from]);
        }
        for words in ways {
            let refused = reader.zeroshare(&words)?;
            println!("{how}: {}", refused.stderr.trim());
            ensure!(
                refused.status.code() == Some(1),
                "{how}: {}",
                refused.stdout
            );
            ensure!(!reader.store().join(&id).exists(), "{how}");
        }
        ensure!(!Path::new("/tmp/zeroshare-absolute").exists(), "{how}");
    }
    Ok(())
}

/// Speaks multicast DNS on a host with nothing but Python's own library.
fn mdns(host: &Host, words: &[&str]) -> std::process::Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mdns_as_kin.py");
    let mut command = host.command("python3");
    command.arg(script).arg(host.address()).args(words);
    command
}

/// The same to its end; gives what it printed.
fn ask_mdns(host: &Host, words: &[&str]) -> Result<String> {
    let output = mdns(host, words).output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}{complaint}");
    Ok(said)
}

#[test]
fn zero_install_for_dotnet_finds_a_node_by_mdns() -> Result<()> {
    let lan = Lan::new(2)?;
    let (giver, reader) = (lan.host(1), lan.host(2));
    let _node = giver.start_node(&[])?;
    let tree = giver.home().join("tree");
    noisy_tree(&tree, 10, 300_000)?;
    let id = giver.must_zeroshare(&["add", &tree.to_string_lossy()])?;
    giver.wait_until_offered(&id)?;
    let found = ask_mdns(reader, &["find", &id, &tree.to_string_lossy()])?;
    ensure!(found == format!("{}:38339", giver.address()), "{found}");
    // And so do we.
    let path = reader.must_zeroshare(&["fetch", &id, "--from-dotnet"])?;
    ensure!(Path::new(&path) == reader.store().join(&id), "{path}");
    Ok(())
}

#[test]
fn nothing_is_told_by_mdns_where_that_is_switched_off() -> Result<()> {
    let lan = Lan::new(2)?;
    let (giver, listener) = (lan.host(1), lan.host(2));
    let secret = giver.home().join("secret");
    fs::write(&secret, "the members of this test know it\n")?;
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let secret = secret.to_string_lossy();
    for words in [
        &["--no-dotnet"][..],
        &["--group-secret", &secret],
        &["--no-interface", "eth0"],
        &["--no-multicast4"],
    ] {
        let _node = giver.start_node(words)?;
        ask_mdns(listener, &["silent"]).map_err(|error| error.context(format!("{words:?}")))?;
    }
    Ok(())
}

#[test]
fn a_tree_comes_from_zero_install_for_dotnet_that_is_found_by_mdns() -> Result<()> {
    let lan = Lan::new(2)?;
    let (giver, reader) = (lan.host(1), lan.host(2));
    let (tree, id) = tree_of(giver)?;
    let nobody = reader.zeroshare(&["fetch", &id, "--from-dotnet"])?;
    ensure!(nobody.status.code() == Some(3), "{}", nobody.stderr);
    let _serving = serve(giver, &tree, &id, "well")?;
    let announcing = giver.spawn_command(mdns(giver, &["serve", "38339"]))?;
    wait_until("it announces", Duration::from_secs(20), || {
        Ok(announcing.log().contains("ready"))
    })?;
    let path = reader.must_zeroshare(&["fetch", &id, "--from-dotnet"])?;
    ensure!(Path::new(&path) == reader.store().join(&id), "{path}");
    reader.must_zeroshare(&["verify", &id])?;
    Ok(())
}
