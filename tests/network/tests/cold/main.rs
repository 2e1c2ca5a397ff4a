//! Several machines want the same file at the same moment, and nobody has it.

mod authority;
mod upstream;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use zeroshare_content::{BlobId, HashKind};
use zeroshare_network::{Host, Lan, Running, program, wait_until};

use authority::Authority;
use upstream::{Upstream, Ways};

const SIZE: usize = 24 * 1024 * 1024;

/// Bytes that upstream may send, in percent of the content.
const MOST_PERCENT: u64 = 105;

#[test]
fn machines_that_start_together_read_it_from_upstream_once() -> Result<()> {
    let scene = Scene::new(5, Ways::Slow)?;
    let fetches = scene.start_all(1..=5)?;
    scene.all_end(fetches)?;
    let percent = scene.percent();
    assert!(percent <= MOST_PERCENT, "upstream sent {percent} %");
    Ok(())
}

#[test]
fn one_alone_reads_all_of_it_and_gives_it_to_others_without_upstream() -> Result<()> {
    let scene = Scene::new(3, Ways::Ranges)?;
    scene.all_end(scene.start_all(1..=1)?)?;
    assert_eq!(scene.percent(), 100);
    scene.all_end(scene.start_all(2..=2)?)?;
    assert_eq!(scene.percent(), 100, "a peer had it");
    let path = scene.target(3);
    scene
        .lan
        .host(3)
        .must_zeroshare(&["fetch", &scene.id, "-o", &path])?;
    scene.is_right(3)?;
    Ok(())
}

#[test]
fn a_machine_that_dies_half_way_is_replaced() -> Result<()> {
    let mut scene = Scene::new(5, Ways::Slow)?;
    let mut fetches = scene.start_all(1..=5)?;
    wait_until("half of it is sent", Duration::from_secs(30), || {
        Ok(scene.percent() >= 50)
    })?;
    drop(fetches.remove(4));
    scene.nodes.remove(4).kill()?;
    scene.all_end(fetches)?;
    let percent = scene.percent();
    assert!(percent <= 130, "upstream sent {percent} %");
    Ok(())
}

#[test]
fn a_server_without_ranges_is_read_by_one_only() -> Result<()> {
    let scene = Scene::new(4, Ways::Whole)?;
    scene.all_end(scene.start_all(1..=4)?)?;
    let percent = scene.percent();
    assert!(percent <= MOST_PERCENT, "upstream sent {percent} %");
    Ok(())
}

#[test]
fn a_machine_that_was_given_poison_is_found_out_against_upstream() -> Result<()> {
    let scene = Scene::new(4, Ways::Ranges)?;
    // It reads elsewhere what is not the file, and states it in good faith: for others it is a liar.
    let poisoned = Upstream::start(&scene.lan, 6, &poison(&scene.content), Ways::Ranges)?;
    let liar = scene.start(4, &poisoned.url())?;
    let fetches = scene.start_all(1..=3)?;
    scene.all_end(fetches)?;
    drop(liar);
    let log: String = scene.nodes[..3].iter().map(Running::log).collect();
    assert!(log.contains("sent wrong bytes and is dropped"), "{log}");
    assert!(
        !Path::new(&scene.target(4)).exists() || scene.is_right(4).is_ok(),
        "something wrong is committed"
    );
    Ok(())
}

#[test]
fn an_https_upstream_is_read_if_the_system_trusts_it_and_never_otherwise() -> Result<()> {
    let scene = Scene::new(2, Ways::Ranges)?;
    let (authority, server) = (Authority::new()?, scene.lan.host(6));
    let tls = authority.server(&server.address())?;
    let upstream = Upstream::start_tls(&scene.lan, 6, &scene.content, tls)?;
    let url = upstream.url();
    let words = |n: u8| {
        let words = ["fetch", &scene.id, "--upstream", &url, "-o"];
        [&words.map(str::to_owned)[..], &[scene.target(n)]].concat()
    };
    // A command without a node reads by itself, and trusts what its environment says.
    let lone = scene.lan.host(3);
    let fetch = |roots: &Path| -> Result<std::process::Output> {
        let mut command = lone.command(program("zeroshare")?);
        command.args(words(3)).env("SSL_CERT_FILE", roots);
        // Nobody listens there: proxies are not used.
        command.env("https_proxy", "http://127.0.0.1:9");
        Ok(command.output()?)
    };
    let stranger = Authority::new()?;
    let refused = fetch(&stranger.root())?;
    let complaint = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(
        complaint.contains("invalid peer certificate"),
        "{complaint}"
    );
    assert_eq!(upstream.sent_bytes(), 0);
    assert!(!Path::new(&scene.target(3)).exists());
    let fetched = fetch(&authority.root())?;
    assert!(
        fetched.status.success(),
        "{}",
        String::from_utf8_lossy(&fetched.stderr)
    );
    scene.is_right(3)?;
    assert_eq!(upstream.sent_bytes(), SIZE as u64);
    Ok(())
}

#[test]
fn what_upstream_does_not_have_is_said_with_its_answer() -> Result<()> {
    let scene = Scene::new(1, Ways::Ranges)?;
    let url = format!("{}-other", scene.upstream.url());
    let output = scene.lan.host(1).zeroshare(&[
        "fetch",
        &scene.id,
        "--upstream",
        &url,
        "-o",
        &scene.target(1),
    ])?;
    assert!(!output.status.success());
    assert!(output.stderr.contains("404"), "{}", output.stderr);
    let other = BlobId::of(HashKind::Sha256, b"something else").to_string();
    let output = scene.lan.host(1).zeroshare(&[
        "fetch",
        &other,
        "--upstream",
        &scene.upstream.url(),
        "-o",
        &scene.target(1),
    ])?;
    assert!(
        output
            .stderr
            .contains("something else: check the URL and the id"),
        "{}",
        output.stderr
    );
    assert!(!Path::new(&scene.target(1)).exists());
    Ok(())
}

/// A LAN with nodes, and a server of which nobody else knows.
struct Scene {
    nodes: Vec<Running>,
    upstream: Upstream,
    lan: Lan,
    content: Vec<u8>,
    id: String,
}

impl Scene {
    /// The server stands on the host after the last but one.
    fn new(count: u8, ways: Ways) -> Result<Self> {
        let lan = Lan::new(count.max(4) + 2)?;
        let mut random = fastrand::Rng::with_seed(7);
        let mut content = vec![0; SIZE];
        random.fill(&mut content);
        let id = BlobId::of(HashKind::Sha256, &content).to_string();
        let upstream = Upstream::start(&lan, count.max(4) + 1, &content, ways)?;
        let nodes = (1..=count)
            .map(|n| lan.host(n).start_node(&[]))
            .collect::<Result<_>>()?;
        Ok(Self {
            nodes,
            upstream,
            lan,
            content,
            id,
        })
    }

    fn target(&self, n: u8) -> String {
        self.lan.host(n).home().join("file").display().to_string()
    }

    fn start(&self, n: u8, url: &str) -> Result<Running> {
        let host: &Host = self.lan.host(n);
        let words = ["fetch", &self.id, "--upstream", url, "-o", &self.target(n)];
        host.spawn(&program("zeroshare")?.display().to_string(), &words)
    }

    fn start_all(&self, hosts: impl Iterator<Item = u8>) -> Result<Vec<(u8, Running)>> {
        let url = self.upstream.url();
        hosts.map(|n| Ok((n, self.start(n, &url)?))).collect()
    }

    fn all_end(&self, fetches: Vec<(u8, Running)>) -> Result<()> {
        for (n, mut fetch) in fetches {
            let status = fetch.wait(Duration::from_mins(2))?;
            if !status.success() {
                bail!(
                    "host {n}: {status}: {}\n{}",
                    fetch.log(),
                    self.nodes[usize::from(n) - 1].log()
                );
            }
            self.is_right(n)?;
        }
        Ok(())
    }

    fn is_right(&self, n: u8) -> Result<()> {
        let path = self.target(n);
        let bytes = fs::read(&path).with_context(|| path.clone())?;
        if bytes != self.content {
            bail!("{path} is something else");
        }
        Ok(())
    }

    /// Bytes of bodies that upstream sent, in percent of the content.
    fn percent(&self) -> u64 {
        self.upstream.sent_bytes() * 100 / SIZE as u64
    }
}

/// The same size, another byte in each of many places.
fn poison(content: &[u8]) -> Vec<u8> {
    let mut poisoned = content.to_vec();
    for byte in poisoned.iter_mut().step_by(100_000) {
        *byte ^= 1;
    }
    poisoned
}
