//! The same without a mount: `zeroshare 0install` and `zeroshare prefetch`; and `zeroshare refresh`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use zeroshare_network::{
    Host, Lan, hello_tree, local_feed, program, wait_until, zero_install_add, zero_install_hello,
};

use crate::{
    GREETING, LIMIT, absent, feed,
    mounted::Mounted,
    text,
    user::User,
    website::{Pages, Website, url},
};

const FEED: &str = "/hello.xml";
const ARCHIVE: &str = "/hello.tar.gz";

#[test]
fn an_uncached_program_comes_without_a_mount_and_without_one_request_upstream() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let _node_a = a.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let website = Website::start(b, Pages::new())?;
    let user = User::new(b, Path::new("/nowhere"))?;
    user.cache_feed(&url(FEED), &feed(&id, 1000)?)?;
    let zeroshare = own_zeroshare(&user)?;

    let start = Instant::now();
    let run = ["0install", "run", &url(FEED)];
    assert_eq!(user.must(&zeroshare, &run)?, GREETING);
    println!("ran after {:?}", start.elapsed());
    assert_eq!(website.requests(), [""; 0]);
    let stored = user.must("0install", &["store", "find", &id])?;
    assert!(stored.starts_with(text(user.home())?), "{stored}");
    let verified = user.must("0install", &["store", "verify", &stored])?;
    assert!(verified.contains("OK"), "{verified}");

    let start = Instant::now();
    assert_eq!(user.must(&zeroshare, &run)?, GREETING);
    let through = start.elapsed();
    let start = Instant::now();
    assert_eq!(user.must("0install", &run[1..])?, GREETING);
    println!(
        "once more after {through:?}, by itself after {:?}",
        start.elapsed()
    );
    assert_eq!(website.requests(), [""; 0]);
    Ok(())
}

#[test]
fn an_update_takes_the_new_version_from_the_machine_beside() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let _node_a = a.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let website = Website::start(b, Pages::new())?;
    let user = User::new(b, Path::new("/nowhere"))?;
    let zeroshare = own_zeroshare(&user)?;
    let local = feed(&id, 1000)?.replace(&format!(" uri=\"{}\"", url(FEED)), "");
    let place = user.keep("hello.xml", &local)?;
    let said = user.must(&zeroshare, &["0install", "update", text(&place)?])?;
    println!("{said}");
    assert_eq!(user.must("0install", &["run", text(&place)?])?, GREETING);
    assert_eq!(website.requests(), [""; 0]);
    Ok(())
}

#[test]
fn what_nobody_has_comes_from_upstream_as_ever() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let _node_a = a.start_node(&[])?;
    let (id, archive) = packed_hello(b)?;
    let size = archive.len();
    let website = Website::start(b, Pages::from([(ARCHIVE.to_owned(), archive)]))?;
    let run = |with: bool| -> Result<_> {
        let user = User::new(b, Path::new("/nowhere"))?;
        user.cache_feed(&url(FEED), &feed(&id, size)?)?;
        let zeroshare = own_zeroshare(&user)?;
        let start = Instant::now();
        let said = if with {
            user.must(&zeroshare, &["0install", "run", &url(FEED)])?
        } else {
            user.must("0install", &["run", &url(FEED)])?
        };
        assert_eq!(said, GREETING);
        Ok(start.elapsed())
    };
    let (with, without) = (run(true)?, run(false)?);
    println!("from upstream after {with:?}, without us after {without:?}");
    let archives = website.requests();
    let archives = archives.iter().filter(|path| *path == ARCHIVE);
    assert_eq!(archives.count(), 2);
    Ok(())
}

#[test]
fn a_neighbour_that_falls_silent_holds_0install_up_for_seconds_only() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let node_a = a.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let archive = archive_of(&a.home().join("tree"))?;
    let size = archive.len();
    let website = Website::start(b, Pages::from([(ARCHIVE.to_owned(), archive)]))?;
    let user = User::new(b, Path::new("/nowhere"))?;
    user.cache_feed(&url(FEED), &feed(&id, size)?)?;
    let zeroshare = own_zeroshare(&user)?;
    // Its port takes calls still, and nobody answers them.
    node_a.signal(Signal::STOP)?;

    let start = Instant::now();
    let address = a.address();
    let words = ["0install", "--from", &address, "run", &url(FEED)];
    assert_eq!(user.must(&zeroshare, &words)?, GREETING);
    let took = start.elapsed();
    println!("went on after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(website.requests().contains(&ARCHIVE.to_owned()));
    Ok(())
}

#[test]
fn what_selects_nothing_or_fails_is_as_without_us() -> Result<()> {
    let lan = Lan::new(1)?;
    let host = lan.host(1);
    let user = User::new(host, Path::new("/nowhere"))?;
    let zeroshare = own_zeroshare(&user)?;
    let absent = format!("sha256new_{}", "A".repeat(52));
    user.cache_feed(&url(FEED), &feed(&absent, 1000)?)?;
    for words in [
        &["--version"][..],
        &["config", "network_use"],
        &["store", "list"],
        &["run"],
        &["run", "--no-such-option", "x"],
        &["run", "--offline", &url(FEED)],
        &["run", "--wrapper=echo", &url(FEED)],
        &["select", &url(FEED)],
        &["download", "/no/such/feed.xml"],
    ] {
        let plain = user.run("0install", words)?;
        let through = user.run(&zeroshare, &[&["0install", "--"], words].concat())?;
        assert_eq!(
            through.status.code(),
            plain.status.code(),
            "{words:?}: {through:?}"
        );
        assert_eq!(through.stdout, plain.stdout, "{words:?}");
        let said = without_numbers(&through.stderr);
        let plainly = without_numbers(&plain.stderr);
        assert!(said.ends_with(&plainly), "{words:?}: {said}");
    }
    Ok(())
}

/// After how many milliseconds a connection failed is another number each time.
fn without_numbers(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let words = said.split(' ').filter(|word| word.parse::<u32>().is_err());
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_program_is_prefetched_and_what_the_lan_lacks_is_said() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let _node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let place = local_feed(b.home(), &id)?;
    let lacking = fs::read_to_string(&place)?.replace(&id["sha256new_".len()..], &"A".repeat(52));
    let other = b.home().join("other.xml");
    fs::write(&other, lacking)?;

    let said = b.must_zeroshare(&["prefetch", text(&place)?, "--json"])?;
    assert!(said.contains(r#""state":"fetched""#), "{said}");
    assert_eq!(b.must("0install", &["run", text(&place)?])?, GREETING);
    let start = Instant::now();
    let nobody = b.zeroshare(&["prefetch", text(&other)?])?;
    println!("nobody has it: {:?}", start.elapsed());
    assert_eq!(nobody.status.code(), Some(3), "{nobody:?}");
    assert!(nobody.stdout.contains("nobody has it"), "{nobody:?}");
    Ok(())
}

#[test]
fn what_was_refreshed_is_asked_for_by_the_mount_anew() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let _node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    let mounted = Mounted::start(b, &[])?;
    let tree = a.home().join("tree");
    hello_tree(&tree)?;
    let id = a.must(
        "0install",
        &["digest", "--algorithm=sha256new", text(&tree)?],
    )?;
    let shown = mounted.dir().join(&id);
    absent(&shown)?;
    let refused = b.zeroshare(&["refresh", &id, "--wait", "100ms"])?;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    zero_install_add(a, &tree)?;
    a.wait_until_offered(&id)?;
    b.must_zeroshare(&["refresh", &id])?;
    wait_until("it is shown", LIMIT, || {
        Ok(shown.join("bin/hello").exists())
    })?;
    Ok(())
}

/// The program's id and its archive, in no store.
fn packed_hello(host: &Host) -> Result<(String, Vec<u8>)> {
    let tree = host.home().join("packed");
    hello_tree(&tree)?;
    let id = host.must(
        "0install",
        &["digest", "--algorithm=sha256new", text(&tree)?],
    )?;
    Ok((id, archive_of(&tree)?))
}

fn archive_of(tree: &Path) -> Result<Vec<u8>> {
    let packed = Command::new("tar")
        .args(["-czf", "-", "-C", text(tree)?, "."])
        .output()?;
    ensure!(packed.status.success(), "{packed:?}");
    Ok(packed.stdout)
}

/// The command where an ordinary user can run it, wherever it was built.
pub(crate) fn own_zeroshare(user: &User<'_>) -> Result<String> {
    let place: PathBuf = user.keep("zeroshare", "")?;
    fs::copy(program("zeroshare")?, &place)?;
    Ok(place.to_str().context("an odd path")?.to_owned())
}
