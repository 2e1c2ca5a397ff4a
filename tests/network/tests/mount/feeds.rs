//! A feed that this user has not cached comes from the machine beside, with the key that it is signed with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64;
use tempfile::TempDir;
use zeroshare_network::{Host, Lan, Running, wait_until, zero_install_hello};
use zeroshare_testkit::{Fault, Offered, Peer};

use crate::{
    GREETING, LIMIT,
    command::own_zeroshare,
    feed, text,
    user::{User, feed_name},
    website::url,
};

const FEED: &str = "/hello.xml";
const PORT: u16 = 38339;

#[test]
fn a_feed_comes_from_the_machine_beside_once_its_key_is_trusted() -> Result<()> {
    let lan = Lan::new(2)?;
    let (author, _node_a) = sharing(lan.host(1))?;
    let address = url(FEED);
    let user = User::new(lan.host(2), Path::new("/nowhere"))?;
    let zeroshare = own_zeroshare(&user)?;
    let run = |own: &[&str]| {
        let words = [&["0install", "--wait", "2s"], own, &["run", &address]].concat();
        user.run(&zeroshare, &words)
    };
    let refused = run(&[])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "nobody could be asked: {said}");
    let advice = format!("--trust-key {}", author.fingerprint);
    assert!(said.contains(&advice), "{said}");
    assert_untouched(&user, &author)?;

    let done = run(&["--trust-key", &author.fingerprint])?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(said.trim(), GREETING, "{done:?}");
    assert!(has_key(&user, &author)? && trusts(&user, &author));
    let offline = user.must("0install", &["run", "--offline", &address])?;
    assert_eq!(offline, GREETING, "it is an ordinary feed now");

    let another = User::new(lan.host(2), Path::new("/nowhere"))?;
    let zeroshare = own_zeroshare(&another)?;
    let words = ["prefetch", &address, "--trust-key", &author.fingerprint];
    let fetched = another.must(&zeroshare, &[&words[..], &["--wait", "2s"]].concat())?;
    assert!(fetched.contains("fetched"), "{fetched}");
    Ok(())
}

#[test]
fn at_a_terminal_the_user_is_asked_about_the_key_and_then_by_0install() -> Result<()> {
    let lan = Lan::new(2)?;
    let (author, _node_a) = sharing(lan.host(1))?;
    let person = User::new(lan.host(2), Path::new("/nowhere"))?;
    let zeroshare = own_zeroshare(&person)?;
    let line = format!("{zeroshare} 0install --wait 2s run {}", url(FEED));
    let typed = |answers: &str| -> Result<String> {
        let shell = format!("printf '{answers}' | script -qec '{line}' /dev/null");
        let output = person.run("sh", &["-c", &shell])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let declined = typed("n\\n")?;
    for shown in [&*author.fingerprint, "Author <author@example.org>"] {
        assert!(declined.contains(shown), "{declined}");
    }
    assert!(!declined.contains(GREETING), "{declined}");
    assert_untouched(&person, &author)?;
    let distrusted = typed("y\\nN\\n")?;
    assert!(!distrusted.contains(GREETING), "{distrusted}");
    assert_untouched(&person, &author)?;
    let trusted = typed("y\\nY\\n")?;
    for shown in ["Do you want to trust this key", GREETING] {
        assert!(trusted.contains(shown), "{trusted}");
    }
    assert!(has_key(&person, &author)? && trusts(&person, &author));
    Ok(())
}

#[test]
fn a_feed_that_is_not_what_it_should_be_is_refused_and_leaves_nothing() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let author = Author::new(a, "Author")?;
    let other = Author::new(a, "Other")?;
    let plain = feed(&format!("sha256new_{}", "A".repeat(52)), 1000)?;
    let good = author.sign(&plain)?;
    let elsewhere = author.sign(&plain.replace(&url(FEED), &url("/other.xml")))?;
    let key = author.key.clone();
    let both = [key.clone(), other.key.clone()].concat();
    let large = " ".repeat(3 << 20);
    let cases = [
        (
            good.replace("says hello", "says howdy"),
            key.clone(),
            "its signature is wrong",
        ),
        (plain.clone(), key.clone(), "it is not signed"),
        (elsewhere, key.clone(), "it is not the feed of this address"),
        (
            good.clone(),
            other.key.clone(),
            "it is signed with another key",
        ),
        (good.clone(), both, "not one public key"),
        (
            good.clone(),
            "no key at all".to_owned(),
            "not one public key",
        ),
        (format!("{good}{large}"), key.clone(), "its feed is larger"),
        (good.clone(), format!("{key}{large}"), "its key is larger"),
        ("<a".to_owned(), key, "it is not XML"),
    ];
    let user = User::new(b, Path::new("/nowhere"))?;
    let zeroshare = own_zeroshare(&user)?;
    // Whom the user trusts is of no use to whoever lies.
    let trusted = [
        "--trust-key",
        &author.fingerprint,
        "--trust-key",
        &other.fingerprint,
    ];
    let (neighbour, address) = (a.address(), url(FEED));
    let words = ["prefetch", &address, "--from", &neighbour];
    let words = [&words[..], &trusted].concat();
    for (feed, key, why) in cases {
        beside(a, feed, key, || {
            let output = user.run(&zeroshare, &words)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(1), "{why}: {output:?}");
            ensure!(said.contains(why), "{why}: {said}");
            Ok(())
        })?;
        assert_untouched(&user, &author)?;
        assert_untouched(&user, &other)?;
    }
    Ok(())
}

#[test]
fn a_feed_that_is_not_shared_is_not_given() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let author = Author::new(a, "Author")?;
    share(a, &author, &author.sign(&feed(&id, 1000)?)?)?;
    let _node_a = a.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let address = url(FEED);
    let words = ["prefetch", &address, "--wait", "500ms"];
    let nobody = b.zeroshare(&words)?;
    assert_eq!(nobody.status.code(), Some(3), "{nobody:?}");
    assert!(
        nobody.stderr.contains("nobody shares the feed"),
        "{nobody:?}"
    );
    let neighbour = a.address();
    let asked = b.zeroshare(&[&words[..], &["--from", &neighbour]].concat())?;
    assert_eq!(asked.status.code(), Some(3), "{asked:?}");
    Ok(())
}

/// A machine that has the program and shares its feed. Nothing listens where the feed says that it comes from.
fn sharing(host: &Host) -> Result<(Author, Running)> {
    let id = zero_install_hello(host)?;
    let author = Author::new(host, "Author")?;
    share(host, &author, &author.sign(&feed(&id, 1000)?)?)?;
    let node = host.start_node(&["--share-feeds"])?;
    host.wait_until_offered(&id)?;
    wait_until("the feed is offered", LIMIT, || {
        Ok(node.log().contains("feed offered"))
    })?;
    Ok((author, node))
}

/// Runs a peer that gives this feed and key, whatever it is asked for, while a story is told.
fn beside(
    host: &Host,
    feed: String,
    key: String,
    story: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let fault = Fault::Feed {
        feed: feed.into(),
        key: key.into(),
    };
    let nothing: [Offered; 0] = [];
    let hostile = move |ready: &_, ended: &_| Ok(Peer::stay(PORT, nothing, [fault], ready, ended)?);
    host.beside(hostile, story)
}

/// Somebody who signs feeds.
struct Author {
    home: TempDir,
    fingerprint: String,
    key: String,
}

impl Author {
    fn new(host: &Host, name: &str) -> Result<Self> {
        // Its agent ends with the directory.
        let home = tempfile::Builder::new().prefix("zs-author-").tempdir()?;
        let mut author = Self {
            home,
            fingerprint: String::new(),
            key: String::new(),
        };
        let user = format!("{name} <{}@example.org>", name.to_lowercase());
        let words = [
            "--passphrase",
            "",
            "--quick-gen-key",
            &user,
            "ed25519",
            "sign",
            "never",
        ];
        author.gpg(host, &words)?;
        let listed = author.gpg(host, &["--with-colons", "--list-keys"])?;
        let line = listed.lines().find(|line| line.starts_with("fpr:"));
        let fingerprint = line.and_then(|line| line.split(':').nth(9));
        author.fingerprint = fingerprint.context("no fingerprint")?.into();
        author.key = author.gpg(host, &["--armor", "--export"])? + "\n";
        Ok(author)
    }

    /// A feed with its signature.
    fn sign(&self, feed: &str) -> Result<String> {
        let place = |name: &str| self.home.path().join(name);
        fs::write(place("feed"), feed)?;
        let signed = std::process::Command::new("gpg")
            .args(["--homedir", text(self.home.path())?, "--batch", "--yes"])
            .args(["--output", text(&place("signature"))?, "--detach-sign"])
            .arg(place("feed"))
            .output()?;
        ensure!(signed.status.success(), "{signed:?}");
        let signature = BASE64.encode(&fs::read(place("signature"))?);
        Ok(format!("{feed}<!-- Base64 Signature\n{signature}\n\n-->\n"))
    }

    fn gpg(&self, host: &Host, words: &[&str]) -> Result<String> {
        let own = ["--homedir", text(self.home.path())?, "--batch", "--quiet"];
        host.must("gpg", &[&own[..], words].concat())
    }
}

/// Puts a feed into a host's cache, and its author's key into the keyring, as 0install would have.
fn share(host: &Host, author: &Author, signed: &str) -> Result<()> {
    let cache = host.home().join("cache/0install.net/interfaces");
    fs::create_dir_all(&cache)?;
    fs::write(cache.join(feed_name(&url(FEED))), signed)?;
    let key = host.home().join("key.asc");
    fs::write(&key, &author.key)?;
    host.must(
        "gpg",
        &[
            "--batch",
            "--no-autostart",
            "--quiet",
            "--import",
            text(&key)?,
        ],
    )?;
    Ok(())
}

fn assert_untouched(user: &User<'_>, author: &Author) -> Result<()> {
    assert!(!has_key(user, author)?, "a key was left");
    assert!(!trusts(user, author), "a key is trusted");
    let cached: PathBuf = user
        .home()
        .join("cache/0install.net/interfaces")
        .join(feed_name(&url(FEED)));
    assert!(!cached.exists(), "the feed was left");
    Ok(())
}

fn has_key(user: &User<'_>, author: &Author) -> Result<bool> {
    let words = [
        "--batch",
        "--no-autostart",
        "--list-keys",
        &author.fingerprint,
    ];
    Ok(user.run("gpg", &words)?.status.success())
}

fn trusts(user: &User<'_>, author: &Author) -> bool {
    let list = user.home().join("config/0install.net/injector/trustdb.xml");
    fs::read_to_string(list).is_ok_and(|list| list.contains(&author.fingerprint))
}
