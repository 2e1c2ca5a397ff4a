//! What users have of a mount day by day: launchers, updates, one copy for all.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use zeroshare_network::{Host, Lan, hello_tree, wait_until, zero_install_add};

use crate::{
    GREETING, LIMIT, feed,
    mounted::Mounted,
    user::User,
    website::{Pages, Website, url},
};

const FEED: &str = "/hello.xml";
const NEWER: &str = "hello from a newer version";

#[test]
fn a_launcher_runs_and_its_update_comes_from_the_machine_beside() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let (old, new) = (program(a, GREETING)?, program(a, NEWER)?);
    let _node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&old)?;
    a.wait_until_offered(&new)?;
    let mounted = Mounted::start(b, &[])?;
    let user = User::new(b, &mounted.dir())?;
    let older = user.sign(&feed(&old, 1000)?)?;
    user.cache_feed(&url(FEED), &String::from_utf8(older)?)?;
    let newer = feed(&old, 1000)?.replace("</interface>", &version(&new)?);
    let newer = user.sign(&newer)?;
    let website = Website::start(b, Pages::from([(FEED.to_owned(), newer)]))?;

    let path = format!("PATH={}/bin:/usr/bin:/bin", user.home().display());
    user.must("mkdir", &["bin"])?;
    user.must("env", &[&path, "0install", "add", "hello", &url(FEED)])?;
    let launcher = user.home().join("bin/hello");
    ensure!(launcher.is_file(), "no launcher");
    let run = || user.must("env", &[&path, "hello"]);
    ensure!(run()? == GREETING);
    ensure!(website.requests().is_empty(), "{:?}", website.requests());

    // What 0install does behind a launcher's back too, where a desktop says that there is a network.
    let said = user.run("env", &[&path, "0install", "-v", "update", "hello"])?;
    ensure!(run()? == NEWER, "{said:?}; {:?}", website.requests());
    let archives = website.requests();
    ensure!(archives.iter().all(|page| page == FEED), "{archives:?}");
    Ok(())
}

#[test]
fn two_users_run_one_copy() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = program(a, GREETING)?;
    let _node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let website = Website::start(b, Pages::new())?;
    let mounted = Mounted::start(b, &[])?;
    // On a busy machine a lookup may be given up.
    wait_until("it is found", LIMIT, || {
        Ok(mounted.dir().join(&id).exists())
    })?;
    let mut sent = Vec::new();
    for number in [65_534, 65_533] {
        let user = User::numbered(b, &mounted.dir(), number)?;
        user.cache_feed(&url(FEED), &feed(&id, 1000)?)?;
        ensure!(user.must("0install", &["run", &url(FEED)])? == GREETING);
        wait_until("it is here", LIMIT, || Ok(b.store().join(&id).is_dir()))?;
        let found = user.must("0install", &["store", "find", &id])?;
        ensure!(Path::new(&found) == mounted.dir().join(&id), "{found}");
        let own = user.home().join("cache/0install.net/implementations");
        ensure!(!own.exists(), "a copy of one's own");
        sent.push(a.sent_bytes()?);
    }
    ensure!(sent[0] > 0 && sent[0] == sent[1], "sent again: {sent:?}");
    ensure!(website.requests().is_empty(), "{:?}", website.requests());
    Ok(())
}

/// A program that says this, in a host's store.
fn program(host: &Host, says: &str) -> Result<String> {
    let tree = host.home().join(says.replace(' ', "-"));
    hello_tree(&tree)?;
    fs::write(tree.join("share/greeting"), format!("{says}\n"))?;
    zero_install_add(host, &tree)
}

/// Another version for a feed, up to its end.
fn version(id: &str) -> Result<String> {
    let digest = id.strip_prefix("sha256new_").context("a sha256new id")?;
    let archive = url("/newer.tar.gz");
    Ok(format!(
        r#"  <implementation id="hello-2" version="2.0" main="bin/hello" released="2026-02-01">
    <manifest-digest sha256new="{digest}"/>
    <archive href="{archive}" size="1000"/>
  </implementation>
</interface>"#
    ))
}
