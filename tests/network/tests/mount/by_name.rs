//! Paths that are made of the names of feeds.

use std::{fs, path::Path};

use anyhow::Result;
use zeroshare_network::{Host, Lan, wait_until, zero_install_hello};

use crate::{
    GREETING, LIMIT, feed,
    mounted::Mounted,
    text,
    user::{User, feed_name},
    website::url,
};

#[test]
fn a_program_runs_by_the_name_of_its_feed_and_its_version() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let _node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let mounted = Mounted::start(b, &[])?;
    let user = User::new(b, &mounted.dir())?;
    let by_name = mounted.dir().join("by-name");
    assert_eq!(names(&by_name)?, [""; 0], "no feed is cached");
    assert_eq!(names(&mounted.dir())?, [""; 0]);

    let first = feed(&id, 1000)?;
    cache(b, &url("/hello.xml"), &first)?;
    cache(b, "http://example.org/broken.xml", "<interface/>")?;
    let host = by_name.join("127.0.0.1:8080");
    wait_until("the feed is seen", LIMIT, || Ok(host.is_dir()))?;
    assert_eq!(names(&mounted.dir())?, ["by-name"]);
    assert_eq!(names(&by_name)?, ["127.0.0.1:8080", "example.org"]);
    assert_eq!(names(&by_name.join("example.org/broken.xml"))?, [""; 0]);
    assert_eq!(names(&host)?, ["hello.xml"]);
    let versions = host.join("hello.xml");
    assert_eq!(names(&versions)?, ["1.0"]);
    let version = versions.join("1.0");
    let up = Path::new("../../..").join("by-name/127.0.0.1:8080/hello.xml/1.0");
    assert_eq!(fs::read_link(&version)?, Path::new("../../..").join(&id));
    let program = version.join("bin/hello");
    assert_eq!(user.must(text(&program)?, &[])?, GREETING);
    // Baked into a program of somebody's own.
    let baked = versions.join(up).join("bin/hello");
    let baked = user.keep("baked", &format!("#!/bin/sh\nexec {}\n", text(&baked)?))?;
    assert_eq!(user.must("sh", &[text(&baked)?])?, GREETING);

    let second = first.replace("version=\"1.0\"", "version=\"1.1\"");
    cache(b, &url("/hello.xml"), &second)?;
    wait_until("the feed is read again", LIMIT, || {
        Ok(names(&versions)? == ["1.1"] && fs::symlink_metadata(&version).is_err())
    })?;
    assert_eq!(
        user.must(text(&versions.join("1.1/bin/hello"))?, &[])?,
        GREETING
    );
    let error = fs::write(versions.join("2.0"), "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);

    // The real 0install walks past it.
    let stored = b.store().join(&id);
    wait_until("the tree is here", LIMIT, || Ok(stored.is_dir()))?;
    let audit = user.must("0install", &["store", "audit"])?;
    assert!(
        audit.contains("Corrupted or modified implementations: 0"),
        "{audit}"
    );
    Ok(())
}

/// Puts a feed into the cache of the user who mounts.
fn cache(host: &Host, url: &str, feed: &str) -> Result<()> {
    let dir = host.home().join("cache/0install.net/interfaces");
    fs::create_dir_all(&dir)?;
    // In one step, as 0install does.
    let fresh = dir.join("fresh.new");
    fs::write(&fresh, feed)?;
    Ok(fs::rename(fresh, dir.join(feed_name(url)))?)
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
