//! Peers that lie, stall, flood and never read, against real nodes: clear errors or another provider, nothing wrong in
//! the store, bounded memory.
#![expect(clippy::print_stdout, reason = "a story tells what it measured")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use zeroshare_content::{Algorithm, Family};
use zeroshare_network::{Host, Lan, Running, wait_until};
use zeroshare_testkit::{
    Fault, Offered, Peer, TestTree, Which,
    attack::{DeafReaders, Flood},
    evil_manifests, put_in_store,
};

const PORT: u16 = 38339;
const LIMIT_KIB: u64 = 100 * 1024;

/// Host 1 is honest, host 2 asks, host 3 is hostile.
struct Story {
    lan: Lan,
    honest: Running,
    asker: Running,
    tree: TestTree,
    id: String,
}

impl Story {
    fn begin() -> Result<Self> {
        Self::begin_with(TestTree::with_slices(7))
    }

    fn begin_with(tree: TestTree) -> Result<Self> {
        let lan = Lan::new(3)?;
        put_in_store(&tree, &lan.host(1).store(), Algorithm::Sha256New);
        let id = tree.tree_id(Algorithm::Sha256New).to_string();
        let honest = lan.host(1).start_node(&[])?;
        let asker = lan.host(2).start_node(&[])?;
        lan.host(1).wait_until_offered(&id)?;
        Ok(Self {
            lan,
            honest,
            asker,
            tree,
            id,
        })
    }

    /// Runs a hostile peer on host 3 while `story` is told.
    fn beside(
        &self,
        offered: Offered,
        faults: Vec<Fault>,
        story: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let hostile =
            move |ready: &_, ended: &_| Ok(Peer::stay(PORT, [offered], faults, ready, ended)?);
        self.lan.host(3).beside(hostile, story)
    }

    fn asker(&self) -> &Host {
        self.lan.host(2)
    }

    fn visible(&self) -> bool {
        self.asker().store().join(&self.id).exists()
    }

    fn memory_is_bounded(&self) -> Result<()> {
        for (name, node) in [("honest", &self.honest), ("asker", &self.asker)] {
            let peak = node.peak_resident_kib()?;
            println!("{name}: at most {peak} KiB resident");
            ensure!(peak < LIMIT_KIB, "{name}: {peak} KiB");
            ensure!(!node.log().contains("panicked"), "{}", node.log());
        }
        Ok(())
    }
}

#[test]
fn no_fault_of_a_provider_gets_anything_wrong_into_the_store() -> Result<()> {
    let story = Story::begin()?;
    let faults = [
        Fault::WrongBytes(Which::All),
        Fault::WrongBytes(Which::Slices),
        Fault::WrongManifest,
        Fault::EndlessManifest { announced: false },
        Fault::EndlessManifest { announced: true },
        Fault::EndlessPiece(Which::Runs),
        Fault::EndlessPiece(Which::Slices),
        Fault::StallBeforeHead,
        Fault::StallInPiece(Which::All),
        Fault::EndInPiece(Which::All),
        Fault::HugeMessages(Which::All),
        Fault::LacksContent,
        Fault::LacksPieces(Which::All),
    ];
    let (honest, hostile) = (story.lan.host(1).address(), story.lan.host(3).address());
    for (number, fault) in faults.into_iter().enumerate() {
        let name = format!("{fault:?}");
        let offered = Offered::tree(&story.tree, Algorithm::Sha256New);
        story.beside(offered, vec![fault], || {
            let alone = story.asker().home().join(format!("alone-{number}"));
            let words = [
                "fetch",
                &story.id,
                "--from",
                &hostile,
                "--into",
                &alone.to_string_lossy(),
            ];
            let output = story.asker().zeroshare(&words)?;
            println!(
                "{name}: {}",
                output.stderr.trim().lines().last().unwrap_or_default()
            );
            ensure!(
                matches!(output.status.code(), Some(1 | 3)),
                "{name}: {}\n{}",
                output.status,
                output.stderr
            );
            ensure!(!output.stderr.trim().is_empty(), "{name} is not explained");
            ensure!(!alone.exists(), "{name} made {}", alone.display());

            let both = story.asker().home().join(format!("both-{number}"));
            let both = both.to_string_lossy();
            let words = [
                "fetch", &story.id, "--from", &hostile, "--from", &honest, "--into", &both,
            ];
            story.asker().must_zeroshare(&words).context(name.clone())?;
            let digest = story
                .asker()
                .must("0install", &["digest", "--algorithm=sha256new", &both])?;
            ensure!(digest == story.id, "{name}: {digest}");
            Ok(())
        })?;
        ensure!(!story.visible());
    }
    story.memory_is_bounded()
}

#[test]
fn manifests_with_evil_names_are_refused_though_their_digest_is_right() -> Result<()> {
    let story = Story::begin()?;
    let hostile = story.lan.host(3).address();
    for evil in evil_manifests() {
        let offered = Offered::manifest(Family::Sha256, evil.text);
        let id = offered.id().to_string();
        story.beside(offered, vec![], || {
            let output = story
                .asker()
                .zeroshare(&["fetch", &id, "--from", &hostile])?;
            println!(
                "{}: {}",
                evil.name,
                output.stderr.trim().lines().last().unwrap_or_default()
            );
            ensure!(
                output.status.code() == Some(1),
                "{}: {}\n{}",
                evil.name,
                output.status,
                output.stderr
            );
            ensure!(!story.asker().store().join(&id).exists(), "{}", evil.name);
            Ok(())
        })?;
        ensure!(!Path::new("/escape").exists(), "{}", evil.name);
    }
    story.memory_is_bounded()
}

#[test]
fn readers_that_never_read_and_ten_thousand_connections_starve_nobody() -> Result<()> {
    // More than sockets buffer: what fits into them is soon sent, read or not.
    let story = Story::begin_with(TestTree::one_file(8, 32 << 20))?;
    let content = story.tree.tree_id(Algorithm::Sha256New).into();
    let pieces = Offered::tree(&story.tree, Algorithm::Sha256New).piece_count();
    let (end, ended) = mpsc::channel::<()>();
    let attack = story.lan.host(3).inside(move || {
        let honest = SocketAddr::from((Ipv4Addr::new(10, 77, 0, 1), PORT));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (deaf, refused) = DeafReaders::open(honest, content, pieces, 64).await;
            ensure!(deaf.count() > 0, "no reader was taken: {refused:?}");
            let flood = Flood::open(honest, 10_000, 500).await;
            let (taken, turned_away) = (deaf.count(), flood.refused());
            drop(flood);
            // The deaf ones hold on until the story has been told.
            ended.recv().ok();
            drop(deaf);
            Ok((taken, turned_away))
        })
    })?;

    let into = |number: u32| story.asker().home().join(format!("copy-{number}"));
    let mut copies = 0;
    wait_until(
        "the deaf readers are cut off",
        Duration::from_mins(2),
        || {
            copies += 1;
            let into = into(copies);
            let into = into.to_string_lossy();
            let words = ["fetch", &story.id, "--into", &into, "--timeout", "10s"];
            story.asker().must_zeroshare(&words)?;
            let held = held_connections(story.lan.host(1), &story.lan.host(3).address())?;
            Ok(attack.is_finished() || held == 0)
        },
    )?;
    drop(end);
    let (deaf, refused) = attack
        .join()
        .map_err(|_| anyhow::anyhow!("the attack ended badly"))??;
    println!(
        "{deaf} deaf readers, {refused} of 10,000 connections refused, {copies} fetches meanwhile"
    );
    story.memory_is_bounded()
}

/// Connections at a host's port that another one has, as the host's kernel sees them.
fn held_connections(host: &Host, other: &str) -> Result<usize> {
    let listed = host.must("ss", &["-Htn", "state", "established", "dst", other])?;
    Ok(listed.lines().count())
}
