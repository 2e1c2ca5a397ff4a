//! The unmodified 0install of an ordinary user takes its programs from the machine beside it, by way of a mount.

mod by_name;
mod classroom;
mod command;
mod feeds;
mod forged;
mod killed;
mod launcher;
mod listing;
mod mounted;
mod posix;
mod troubled;
mod upstream;
mod user;
mod website;

use std::{
    fs,
    io::ErrorKind,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use zeroshare_content::Algorithm;
use zeroshare_network::{
    Host, Lan, hello_tree, noisy_tree, wait_until, zero_install_add, zero_install_hello,
};
use zeroshare_testkit::{Fault, Offered, Peer, TestTree, Which, put_in_store};

use mounted::{Mounted, is_mounted};
use user::User;
use website::{Pages, Website, url};

const GREETING: &str = "hello from the machine beside you";
const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn an_uncached_program_comes_from_the_machine_beside_without_one_request_upstream() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let _node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let website = Website::start(b, Pages::new())?;
    let mounted = Mounted::start(b, &[])?;
    let user = User::new(b, &mounted.dir())?;
    user.cache_feed(&url("/hello.xml"), &feed(&id, 1000)?)?;

    let start = Instant::now();
    let said = user.must("0install", &["run", &url("/hello.xml")])?;
    println!("ran after {:?}", start.elapsed());
    assert_eq!(said, GREETING);
    assert_eq!(website.requests(), [""; 0]);

    let shown = mounted.dir().join(&id);
    let verified = user.must("0install", &["store", "verify", text(&shown)?])?;
    assert!(verified.contains("OK"), "{verified}");
    let stored = b.store().join(&id);
    wait_until("lookups lead to the store", LIMIT, || {
        Ok(fs::read_link(&shown).is_ok_and(|target| target == stored))
    })?;
    assert!(
        b.must("0install", &["store", "verify", text(&stored)?])?
            .contains("OK")
    );
    let listed: Vec<_> = fs::read_dir(mounted.dir())?.collect::<Result<_, _>>()?;
    let names: Vec<_> = listed.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(names, [id.as_str()]);
    let offline = user.must("0install", &["run", "--offline", &url("/hello.xml")])?;
    assert_eq!(offline, GREETING);
    assert_eq!(website.requests(), [""; 0]);
    Ok(())
}

#[test]
fn what_nobody_has_is_quickly_no_such_file_and_then_comes_from_upstream() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let _node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    let tree = b.home().join("tree");
    hello_tree(&tree)?;
    let id = b.must(
        "0install",
        &["digest", "--algorithm=sha256new", text(&tree)?],
    )?;
    let archive = b.home().join("hello.tar.gz");
    let packed = Command::new("tar")
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(&tree)
        .arg(".")
        .status()?;
    ensure!(packed.success(), "tar failed");
    let archive = fs::read(archive)?;
    let size = archive.len();
    let website = Website::start(b, Pages::from([("/hello.tar.gz".to_owned(), archive)]))?;
    let mounted = Mounted::start(b, &[])?;
    // Nobody is to be found, and that takes its time.
    wait_until("the machines know each other", LIMIT, || {
        Ok(b.must_zeroshare(&["peers"])?.contains(&a.address()))
    })?;

    let first = absent(&mounted.dir().join(&id))?;
    let again = absent(&mounted.dir().join(&id))?;
    println!("nobody has it: {first:?}, and once more {again:?}");
    assert!(first < Duration::from_millis(600), "{first:?}");
    assert!(again < Duration::from_millis(50), "{again:?}");
    let start = Instant::now();
    for number in 0..12_u8 {
        let other = TestTree::new().file("number", vec![number]);
        absent(
            &mounted
                .dir()
                .join(other.tree_id(Algorithm::Sha256New).to_string()),
        )?;
    }
    let twelve = start.elapsed();
    println!("twelve that nobody has: {twelve:?}");
    assert!(twelve < Duration::from_millis(900), "{twelve:?}");

    let user = User::new(b, &mounted.dir())?;
    // A local feed, which has no address.
    let feed = feed(&id, size)?.replace(&format!(" uri=\"{}\"", url("/hello.xml")), "");
    let feed = user.keep("hello.xml", &feed)?;
    let said = user.must("0install", &["run", text(&feed)?])?;
    assert_eq!(said, GREETING);
    assert_eq!(website.requests(), ["/hello.tar.gz"]);
    let stored = user.must("0install", &["store", "find", &id])?;
    println!("0install put it into {stored}");
    assert!(!stored.starts_with(text(&mounted.dir())?), "{stored}");
    Ok(())
}

#[test]
fn a_large_tree_starts_before_it_is_here_and_completes_by_itself() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let tree = a.home().join("tree");
    let bytes = 200 * 1024 * 1024;
    noisy_tree(&tree, 200, bytes)?;
    let id = zero_install_add(a, &tree)?;
    let _node_a = a.start_node(&["--upload-limit", "40MiB"])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let mounted = Mounted::start(b, &[])?;
    let user = User::new(b, &mounted.dir())?;
    user.cache_feed(&url("/hello.xml"), &feed(&id, 1000)?)?;

    let before = b.received_bytes()?;
    let start = Instant::now();
    let said = user.must("0install", &["run", &url("/hello.xml")])?;
    let (ran, came) = (start.elapsed(), b.received_bytes()? - before);
    assert_eq!(said, GREETING);
    println!("of {bytes} bytes {came} had come when the program had ended, after {ran:?}");
    assert!(came < bytes / 2, "{came}");

    // A handle that was opened before goes on, and gives the same bytes.
    let large = mounted.dir().join(&id).join("share/large");
    let copied = fs::read(&large)?;
    assert!(
        copied == fs::read(tree.join("share/large"))?,
        "other bytes than on the other machine"
    );
    let stored = b.store().join(&id);
    wait_until("the tree is here", LIMIT, || Ok(stored.is_dir()))?;
    assert!(
        b.must("0install", &["store", "verify", text(&stored)?])?
            .contains("OK")
    );
    Ok(())
}

#[test]
fn a_tree_that_is_shown_is_like_the_tree_on_a_disk() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let tree = TestTree::with_slices(11).symlink("dangling", "nothing/there");
    let disk = put_in_store(&tree, &a.store(), Algorithm::Sha256New);
    let id = tree.tree_id(Algorithm::Sha256New).to_string();
    let _node_a = a.start_node(&["--upload-limit", "1MiB"])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let mounted = Mounted::start(b, &[])?;
    let shown = mounted.dir().join(&id);

    // Of directories neither time nor size is part of a tree, of links not the time.
    let facts = "find . ! -path ./.manifest \\( -type d -printf '%p %y %m\\n' -o \
                 -type l -printf '%p %y %m %n %s %l\\n' -o -printf '%p %y %m %n %s %T@\\n' \\) | sort";
    assert_eq!(shell(&shown, facts)?, shell(&disk, facts)?);
    assert!(fs::symlink_metadata(&shown)?.is_dir(), "it is not here yet");
    let readers = (0..8).map(|_| {
        let (shown, disk) = (shown.clone(), disk.clone());
        std::thread::spawn(move || {
            let sums = "find . -type f -print0 | sort -z | xargs -0 sha256sum";
            Ok::<_, anyhow::Error>((shell(&shown, sums)?, shell(&disk, sums)?))
        })
    });
    let readers: Vec<_> = readers.collect();
    for reader in readers {
        let (shown, disk) = reader
            .join()
            .map_err(|_| anyhow::anyhow!("a reader failed"))??;
        assert_eq!(shown, disk);
    }
    let copy = mounted.dir().with_file_name("copy");
    shell(&shown, &format!("cp -a . {}", text(&copy)?))?;
    let same = format!(
        "rsync -aOJni --checksum --delete --exclude=/.manifest {}/ {}/",
        text(&shown)?,
        text(&disk)?
    );
    assert_eq!(shell(&shown, &same)?, "");
    // Owners and hard links are no part of a tree.
    let pack = "tar --sort=name --mtime=@0 --owner=0 --group=0 --hard-dereference -cf - .";
    let listed = format!("{pack} | tar -tvf -");
    assert_eq!(shell(&copy, &listed)?, shell(&disk, &listed)?);
    let packed = &format!("{pack} | sha256sum");
    assert_eq!(shell(&copy, packed)?, shell(&disk, packed)?);
    assert_eq!(shell(&shown, packed)?, shell(&disk, packed)?);
    let names = &mut [0_u8; 64];
    assert_eq!(rustix::fs::listxattr(shown.join("lib/even"), names)?, 0);
    Ok(())
}

#[test]
fn bytes_that_nobody_can_prove_are_an_error() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let tree = TestTree::with_slices(7);
    let id = tree.tree_id(Algorithm::Sha256New).to_string();
    let liar = format!("{}:{PORT}", a.address());
    beside_a_liar(a, Offered::tree(&tree, Algorithm::Sha256New), || {
        let _node_b = b.start_node(&[])?;
        let mounted = Mounted::start(b, &["--from", &liar])?;
        let shown = mounted.dir().join(&id);
        let readme = fs::metadata(shown.join("share/doc/README"))?;
        assert_eq!(readme.len(), 11, "the manifest was right");
        let error = fs::read(shown.join("lib/large.so")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EIO), "{error}");
        assert!(
            mounted.running.log().contains("a file cannot be read"),
            "{}",
            mounted.running.log()
        );
        assert!(!b.store().join(&id).exists());
        let error = fs::write(shown.join("new"), "").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        Ok(())
    })
}

#[test]
fn it_ends_when_it_is_told_to_and_is_replaced_when_it_was_killed() -> Result<()> {
    let lan = Lan::new(1)?;
    let host = lan.host(1);
    let mut mounted = Mounted::start(host, &[])?;
    let dir = mounted.dir();
    assert!(is_mounted(&dir)?);
    mounted.running.signal(Signal::TERM)?;
    assert!(mounted.running.wait(LIMIT)?.success());
    assert!(!is_mounted(&dir)?);

    mounted.restart(host)?;
    let unmounted = Command::new("fusermount3").arg("-u").arg(&dir).status()?;
    assert!(unmounted.success());
    assert!(
        mounted.running.wait(LIMIT)?.success(),
        "{}",
        mounted.running.log()
    );

    mounted.restart(host)?;
    mounted.running.signal(Signal::KILL)?;
    assert_eq!(
        mounted.running.wait(LIMIT)?.signal(),
        Some(Signal::KILL.as_raw())
    );
    assert!(is_mounted(&dir)?, "what is left of it");
    mounted.restart(host)?;
    assert_eq!(fs::read_dir(&dir)?.count(), 0);

    let second = host.within(|| {
        let mut command = host.bare_command(zeroshare_network::program("zeroshare")?);
        Ok(command.arg("mount").arg(&dir).output()?)
    })?;
    assert!(!second.status.success());
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("mounted already"),
        "{second:?}"
    );
    Ok(())
}

const PORT: u16 = 38339;
const EIO: i32 = 5;

/// A feed whose only implementation this is.
fn feed(id: &str, size: usize) -> Result<String> {
    let digest = id.strip_prefix("sha256new_").context("a sha256new id")?;
    let (own, archive) = (url("/hello.xml"), url("/hello.tar.gz"));
    Ok(format!(
        r#"<?xml version="1.0"?>
<interface xmlns="http://zero-install.sourceforge.net/2004/injector/interface" uri="{own}">
  <name>Hello</name><summary>says hello</summary>
  <implementation id="hello-1" version="1.0" main="bin/hello" released="2026-01-01">
    <manifest-digest sha256new="{digest}"/>
    <archive href="{archive}" size="{size}"/>
  </implementation>
</interface>
"#
    ))
}

/// How long it takes to be told that there is no such file.
fn absent(path: &Path) -> Result<Duration> {
    let start = Instant::now();
    let error = fs::metadata(path).err().context("somebody has it")?;
    ensure!(error.kind() == ErrorKind::NotFound, "{error}");
    Ok(start.elapsed())
}

/// Tells a story beside a peer whose every byte is wrong, and whose manifests are right.
fn beside_a_liar(host: &Host, offered: Offered, story: impl FnOnce() -> Result<()>) -> Result<()> {
    // Its links are right, else nothing would be shown.
    let faults = [
        Fault::WrongBytes(Which::Slices),
        Fault::WrongBytes(Which::Number(1)),
    ];
    let liar = move |ready: &_, ended: &_| Ok(Peer::stay(PORT, [offered], faults, ready, ended)?);
    host.beside(liar, story)
}

/// What a line of shell prints in a directory.
fn shell(directory: &Path, line: &str) -> Result<String> {
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(directory)
        .output()?;
    ensure!(output.status.success(), "{line}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("an odd path")
}
