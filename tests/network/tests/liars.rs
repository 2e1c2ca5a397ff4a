//! Liars among real nodes, a large file: nothing wrong is committed, who lied is named and banned, and nobody else is.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use zeroshare_content::Algorithm;
use zeroshare_network::{Host, Lan, Running, wait_until};
use zeroshare_testkit::{Fault, Offered, Peer, TestTree, Which, put_in_store};

const PORT: u16 = 38339;

/// Large enough for many slices.
const SIZE: usize = 24 * 1024 * 1024;

/// Hosts 1 and 2 are honest and have it, host 3 lies, host 4 has nothing, host 5 asks.
struct Story {
    lan: Lan,
    nodes: Vec<Running>,
    tree: TestTree,
    id: String,
}

impl Story {
    fn begin() -> Result<Self> {
        let lan = Lan::new(5)?;
        let tree = TestTree::one_file(5, SIZE);
        let id = tree.tree_id(Algorithm::Sha256New).to_string();
        let mut nodes = Vec::new();
        for number in [1, 2, 4, 5] {
            let host = lan.host(number);
            if number <= 2 {
                put_in_store(&tree, &host.store(), Algorithm::Sha256New);
            }
            nodes.push(host.start_node(&[])?);
        }
        for number in [1, 2] {
            lan.host(number).wait_until_offered(&id)?;
        }
        Ok(Self {
            lan,
            nodes,
            tree,
            id,
        })
    }

    /// Runs a liar on host 3 while `story` is told.
    fn beside<T>(&self, faults: Vec<Fault>, story: impl FnOnce() -> Result<T>) -> Result<T> {
        let offered = Offered::tree(&self.tree, Algorithm::Sha256New);
        let liar =
            move |ready: &_, ended: &_| Ok(Peer::stay(PORT, [offered], faults, ready, ended)?);
        self.lan.host(3).beside(liar, story)
    }

    fn from(&self, number: u8) -> String {
        format!("--from={}:{PORT}", self.lan.host(number).address())
    }

    /// One fetch by host 5, which must succeed; who did something wrong, by address.
    fn fetch(&self, from: &[u8]) -> Result<Vec<(String, String)>> {
        let from: Vec<String> = from.iter().map(|number| self.from(*number)).collect();
        let mut words = vec!["fetch", &self.id, "--json"];
        words.extend(from.iter().map(String::as_str));
        let host = self.lan.host(5);
        let fetched = host.must_zeroshare(&words).with_context(|| self.log(5))?;
        let fetched: Value = serde_json::from_str(&fetched)?;
        let verified = host.must_zeroshare(&["verify", &self.id]);
        verified.context("something wrong is committed")?;
        let peers = fetched["fetches"][0]["peers"]
            .as_array()
            .context("no peers")?;
        let faults = peers.iter().filter_map(|peer| {
            let (address, fault) = (peer["address"].as_str()?, peer["fault"].as_str()?);
            Some((address.to_owned(), fault.to_owned()))
        });
        Ok(faults.collect())
    }

    /// The addresses that host 5 has banned.
    fn banned(&self) -> Result<Vec<String>> {
        let peers = self.lan.host(5).must_zeroshare(&["peers", "--json"])?;
        let peers: Value = serde_json::from_str(&peers)?;
        let bans = peers["bans"].as_array().context("no bans")?;
        let addresses = bans.iter().filter_map(|ban| ban["address"].as_str());
        Ok(addresses.map(str::to_owned).collect())
    }

    fn address(&self, number: u8) -> String {
        format!("{}:{PORT}", self.lan.host(number).address())
    }

    fn log(&self, number: u8) -> String {
        let place = match number {
            1 | 2 => number - 1,
            _ => number - 2,
        };
        self.nodes[usize::from(place)].log()
    }
}

#[test]
fn who_insists_on_wrong_slices_is_named_and_banned_and_nobody_else() -> Result<()> {
    let story = Story::begin()?;
    let wrong = vec![Fault::WrongBytes(Which::Slices)];
    story.beside(wrong, || {
        let named = story.fetch(&[1, 2, 3])?;
        let liar = story.address(3);
        ensure!(
            named == [(liar.clone(), "convicted".to_owned())],
            "{named:?}: {}",
            story.log(5)
        );
        wait_until("the liar is banned", Duration::from_secs(10), || {
            Ok(story.banned()? == [liar.as_str()])
        })?;
        Ok(())
    })
}

#[test]
fn a_relay_that_was_fed_by_a_liar_passes_nothing_wrong_on_and_is_not_blamed() -> Result<()> {
    let story = Story::begin()?;
    // What it sends agrees with its list, which is not the file's; and it never ends, so that the relay stays one.
    let faults = vec![
        Fault::ConsistentFake,
        Fault::Slow(Which::Slices, Duration::from_millis(100)),
    ];
    story.beside(faults, || {
        let relay: &Host = story.lan.host(4);
        let program = zeroshare_network::program("zeroshare")?;
        let program = program.to_str().context("an odd target directory")?;
        let _fed = relay.spawn(program, &["fetch", &story.id, &story.from(3)])?;
        wait_until("the relay has something", Duration::from_secs(30), || {
            let listed: Value = serde_json::from_str(&relay.must_zeroshare(&["list", "--json"])?)?;
            let held = listed["contents"][0]["held_pieces"].as_u64();
            Ok(held.unwrap_or(0) > 4)
        })
        .with_context(|| story.log(4))?;
        let named = story.fetch(&[4, 1, 2])?;
        ensure!(named.is_empty(), "{named:?}: {}", story.log(5));
        ensure!(story.banned()?.is_empty(), "somebody is banned");
        Ok(())
    })
}
