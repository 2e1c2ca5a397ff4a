//! What is told when something is not found: `find --explain` and `doctor` on networks in trouble.

use std::fmt::Write as _;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use zeroshare_content::Algorithm;
use zeroshare_network::{Host, Lan, hello_tree, wait_until, zero_install_add};
use zeroshare_testkit::{Peer, TestTree};
use zeroshare_wire::{
    AtMost,
    datagram::{
        Alive, Answer, Body, Datagram, Echo, GroupKey, Holding, HoldingState, NodeId, decode,
        encode,
    },
};

const PORT: u16 = 38339;

/// Where everybody is asked.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0x95, 0xc3);

/// Nodes hear each other within this.
const MEETING: Duration = Duration::from_secs(20);

/// An id that nobody has.
fn nobodys() -> String {
    format!("sha256new_{}", "A".repeat(52))
}

#[test]
fn on_a_healthy_lan_the_story_names_who_has_it_and_doctor_is_content() -> Result<()> {
    let lan = Lan::new(2)?;
    let (holder, asker) = (lan.host(1), lan.host(2));
    let id = hold(holder)?;
    let _nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;
    meet(asker, 1)?;

    let found = explain(asker, &id)?;
    ensure!(found.code == Some(0), "{found:?}");
    let events = found.events();
    let claims = ["on_record", "answered"];
    ensure!(
        events.iter().any(|one| claims.contains(&one.as_str())),
        "{events:?}"
    );
    ensure!(events.contains(&"confirmed".to_owned()), "{events:?}");
    ensure!(found.reasons().is_empty(), "{found:?}");
    let text = asker.must_zeroshare(&["find", &id, "--explain"])?;
    println!("{text}");
    ensure!(
        text.contains("38339 itself: it has 2 of 2 pieces"),
        "{text}"
    );

    let nobody = explain(asker, &nobodys())?;
    ensure!(nobody.code == Some(3), "{nobody:?}");
    ensure!(nobody.reasons() == ["none_holds"], "{nobody:?}");
    let again = explain(asker, &nobodys())?;
    let began = again.text_of("began")?;
    ensure!(began.contains("nobody had it"), "{began}");

    let doctor = doctor(asker)?;
    ensure!(doctor.code == Some(0), "{doctor:?}");
    for check in [
        "interface",
        "road",
        "neighbour",
        "store",
        "clock",
        "port",
        "state",
    ] {
        ensure!(
            doctor.levels(check).contains(&"ok".to_owned()),
            "{check}: {doctor:?}"
        );
    }
    ensure!(doctor.document["healthy"] == true, "{doctor:?}");
    println!("{}", asker.must_zeroshare(&["doctor"])?);
    Ok(())
}

#[test]
fn blocked_multicast_is_named_while_broadcast_still_finds() -> Result<()> {
    let lan = Lan::new(2)?;
    let (holder, asker) = (lan.host(1), lan.host(2));
    let id = hold(holder)?;
    for host in [holder, asker] {
        drop_incoming(host, &["ip daddr 224.0.0.0/4", "ip6 daddr ff12::/16"])?;
    }
    let _nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;
    meet(asker, 1)?;
    let found = explain(asker, &id)?;
    ensure!(found.code == Some(0), "{found:?}");

    let doctor = doctor(asker)?;
    ensure!(doctor.code == Some(1), "{doctor:?}");
    let road = doctor.finding("road", "eth0 multicast4")?;
    ensure!(road["level"] == "fault", "{road}");
    let text = road["text"].as_str().unwrap_or_default();
    ensure!(
        text.contains("does not come back") && text.contains("broadcast works"),
        "{text}"
    );
    let broadcast = doctor.finding("road", "eth0 broadcast")?;
    ensure!(broadcast["level"] == "ok", "{broadcast}");
    let rule = doctor.finding("firewall", "nft")?;
    ensure!(
        rule["text"]
            .as_str()
            .is_some_and(|text| text.contains("224.0.0.0/4")),
        "{rule}"
    );
    println!("{}", asker.zeroshare(&["doctor"])?.stdout);
    Ok(())
}

#[test]
fn a_firewall_that_drops_udp_is_told_apart_from_an_empty_network() -> Result<()> {
    let lan = Lan::new(2)?;
    let (holder, asker) = (lan.host(1), lan.host(2));
    let id = hold(holder)?;
    drop_incoming(asker, &["udp dport 38339"])?;
    let _nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;

    let found = explain(asker, &id)?;
    ensure!(found.code == Some(3), "{found:?}");
    ensure!(
        found.reasons() == ["own_unheard", "nobody_heard"],
        "{found:?}"
    );
    let said = asker.zeroshare(&["find", &id, "--explain"])?;
    println!("{}{}", said.stdout, said.stderr);
    ensure!(
        said.stdout.contains("let UDP port 38339 in"),
        "{}",
        said.stdout
    );

    let doctor = doctor(asker)?;
    ensure!(doctor.code == Some(1), "{doctor:?}");
    ensure!(
        doctor.levels("road").iter().all(|level| level == "fault"),
        "{doctor:?}"
    );
    let rule = doctor.finding("firewall", "nft")?;
    ensure!(rule["level"] == "fault", "{rule}");
    println!("{}", asker.zeroshare(&["doctor"])?.stdout);

    // On an empty network without a firewall: another reason, and nothing is wrong here.
    asker.must("nft", &["delete table inet t"])?;
    lan.unplug(2)?;
    let found = explain(asker, &id)?;
    ensure!(found.reasons() == ["nobody_heard"], "{found:?}");
    Ok(())
}

#[test]
fn a_firewall_that_drops_tcp_is_found_by_asking_the_store() -> Result<()> {
    let lan = Lan::new(2)?;
    let (holder, asker) = (lan.host(1), lan.host(2));
    let id = hold(holder)?;
    drop_incoming(holder, &["tcp dport 38339"])?;
    let _nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;
    meet(asker, 1)?;

    let found = explain(asker, &id)?;
    ensure!(found.code == Some(3), "{found:?}");
    ensure!(found.reasons() == ["store_unreachable"], "{found:?}");
    let doctor = doctor(asker)?;
    ensure!(doctor.code == Some(1), "{doctor:?}");
    let store = doctor.finding("store", "10.77.0.1:38339")?;
    ensure!(store["level"] == "fault", "{store}");
    ensure!(
        doctor.levels("neighbour").iter().all(|level| level == "ok"),
        "{doctor:?}"
    );
    Ok(())
}

#[test]
fn a_neighbour_that_lies_about_holding_it_is_named() -> Result<()> {
    let lan = Lan::new(3)?;
    let (asker, liar) = (lan.host(2), lan.host(3));
    let id = TestTree::with_slices(7)
        .tree_id(Algorithm::Sha256New)
        .to_string();
    let _node = asker.start_node(&[])?;
    let (end, ended) = mpsc::channel::<()>();
    let (ready, begun) = mpsc::channel();
    liar.must("ip", &["route", "add", "224.0.0.0/4", "dev", "eth0"])?;
    let lying = liar.inside(move || lie(&ready, &ended))?;
    begun.recv().context("the liar did not start")?;
    meet(asker, 1)?;

    let found = explain(asker, &id)?;
    drop(end);
    lying
        .join()
        .map_err(|_| anyhow::anyhow!("the liar ended badly"))??;
    ensure!(found.code == Some(3), "{found:?}");
    let events = found.events();
    for event in ["answered", "found", "denied"] {
        ensure!(events.contains(&event.to_owned()), "{events:?}");
    }
    ensure!(found.reasons() == ["claim_untrue"], "{found:?}");
    ensure!(
        found.text_of("denied")?.contains("10.77.0.3:38339"),
        "{found:?}"
    );
    Ok(())
}

/// What a command with `--json` came to.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    document: Value,
}

impl Told {
    fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.document[name].as_array().into_iter().flatten()
    }

    fn events(&self) -> Vec<String> {
        words(self.list("story"), "event")
    }

    fn reasons(&self) -> Vec<String> {
        words(self.list("why"), "reason")
    }

    fn text_of(&self, event: &str) -> Result<String> {
        let mut steps = self.list("story").filter(|step| step["event"] == event);
        let step = steps
            .next()
            .with_context(|| format!("no {event} in {self:?}"))?;
        Ok(step["text"].as_str().context("no text")?.to_owned())
    }

    fn levels(&self, check: &str) -> Vec<String> {
        words(
            self.list("findings").filter(|one| one["check"] == check),
            "level",
        )
    }

    fn finding(&self, check: &str, about: &str) -> Result<&Value> {
        let mut of_check = self.list("findings").filter(|one| one["check"] == check);
        let found = of_check.find(|one| one["about"] == about);
        found.with_context(|| format!("no {check} of {about} in {self:?}"))
    }
}

fn words<'a>(of: impl Iterator<Item = &'a Value>, name: &str) -> Vec<String> {
    of.filter_map(|one| Some(one[name].as_str()?.to_owned()))
        .collect()
}

fn explain(host: &Host, id: &str) -> Result<Told> {
    told(host, &["find", id, "--explain", "--json"])
}

fn doctor(host: &Host) -> Result<Told> {
    told(host, &["doctor", "--json"])
}

fn told(host: &Host, words: &[&str]) -> Result<Told> {
    let output = host.zeroshare(words)?;
    let document = serde_json::from_str(&output.stdout)
        .with_context(|| format!("{words:?}: {}{}", output.stdout, output.stderr))?;
    Ok(Told {
        code: output.status.code(),
        document,
    })
}

/// Puts a tree into a host's store, and gives its id.
fn hold(host: &Host) -> Result<String> {
    let tree = host.home().join("tree");
    hello_tree(&tree)?;
    zero_install_add(host, &tree)
}

/// Waits until a host's node knows so many peers.
fn meet(host: &Host, count: usize) -> Result<()> {
    wait_until("they know each other", MEETING, || {
        let text = host.must_zeroshare(&["peers", "--json"])?;
        let peers: Value = serde_json::from_str(&text)?;
        Ok(peers["peers"].as_array().map_or(0, Vec::len) >= count)
    })?;
    Ok(())
}

/// A firewall that drops what comes in and matches one of these.
fn drop_incoming(host: &Host, matches: &[&str]) -> Result<()> {
    let mut rules =
        "add table inet t; add chain inet t c { type filter hook input priority 0; }".to_owned();
    for one in matches {
        write!(rules, "; add rule inet t c iifname eth0 {one} drop")?;
    }
    host.must("nft", &[&rules])?;
    Ok(())
}

/// Says by datagram to have everything, and has nothing when asked.
fn lie(ready: &mpsc::Sender<()>, ended: &mpsc::Receiver<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    listener.set_nonblocking(true)?;
    let _store = Peer::listening(listener, [], []);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    socket.set_ttl(255)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.join_multicast_v4(&GROUP, &Ipv4Addr::new(10, 77, 0, 3))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.send_to(&said(alive()), (GROUP, PORT))?;
    ready.send(())?;
    while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
        let mut buffer = [0; 2048];
        let Ok((len, source)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        answer(&socket, &buffer[..len], source)?;
    }
    Ok(())
}

fn answer(socket: &UdpSocket, bytes: &[u8], source: SocketAddr) -> Result<()> {
    let Ok(heard) = decode(bytes, &GroupKey::none()) else {
        return Ok(());
    };
    let reply = if let Body::Query(query) = heard.body {
        let holdings = query.tags.iter().map(|tag| Holding {
            tag: *tag,
            part: 255,
            state: HoldingState::Held,
        });
        Body::Answer(Answer {
            nonce: query.nonce,
            day: query.day,
            held_back: None,
            holdings: AtMost::first(holdings),
        })
    } else if let Body::Echo(Echo {
        nonce,
        reply: false,
    }) = heard.body
    {
        Body::Echo(Echo { nonce, reply: true })
    } else {
        return Ok(());
    };
    let to = SocketAddr::new(source.ip(), heard.unicast_port);
    socket.send_to(&said(reply), to)?;
    Ok(())
}

fn alive() -> Body {
    Body::Alive(Alive {
        ttl: Duration::from_mins(4),
        known_nodes: 1,
        filter: None,
    })
}

fn said(body: Body) -> Vec<u8> {
    let datagram = Datagram {
        node: NodeId::from_bytes([7; 16]),
        incarnation: 1,
        sequence: 1,
        store_port: PORT,
        unicast_port: PORT,
        trace: None,
        body,
    };
    encode(&datagram, &GroupKey::none(), None)
}
