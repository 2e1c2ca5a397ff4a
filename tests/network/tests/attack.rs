//! An attack from the LAN itself, with real sockets: what it sends, and what it fails to do.

use std::{
    env,
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use zeroshare_network::{Host, Lan, Running, hello_tree, wait_until, zero_install_add};
use zeroshare_wire::{
    AtMost,
    datagram::{
        Alive, Answer, Body, Datagram, GroupKey, Holding, HoldingState, NodeId, Query, decode,
        encode,
    },
    pb::beacon::v1 as pb,
};

const PORT: u16 = 38339;

/// Where everybody is asked.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0x95, 0xc3);

/// Memory that a node may take more under attack: full tables of 16,384 peers and 8,192 questions.
const MOST_GROWTH_KIB: u64 = 32 * 1024;

/// How long it lasts; `ZEROSHARE_NOISE_SECONDS=60` for a longer one.
fn duration() -> Duration {
    let seconds = env::var("ZEROSHARE_NOISE_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

#[test]
fn floods_inventions_replays_and_spoofed_answers_harm_nobody() -> Result<()> {
    let lan = Lan::new(4)?;
    let (holder, asker, attacker, bystander) = (lan.host(1), lan.host(2), lan.host(3), lan.host(4));
    let tree = holder.home().join("tree");
    hello_tree(&tree)?;
    let id = zero_install_add(holder, &tree)?;
    let mut nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;
    wait_until("they know each other", Duration::from_secs(20), || {
        Ok(peer_count(asker)? == 1)
    })?;
    let before: Vec<u64> = nodes
        .iter()
        .map(Running::resident_kib)
        .collect::<Result<_>>()?;
    // What reaches the bystander, in whose name the attacker answers.
    let rules = "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
        add rule inet t c tcp flags syn counter; add rule inet t c udp dport 38339 counter";
    bystander.must("nft", &[rules])?;
    // The attacker speaks with any address of the network, and takes nobody's datagrams.
    let quiet = "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_ignore";
    attacker.must("sh", &["-c", quiet])?;
    for range in ["10.77.0.128/25", "10.77.0.4/32"] {
        attacker.must("ip", &["route", "add", "local", range, "dev", "lo"])?;
    }
    let flood = attacker.inside(flood)?;
    let answers = attacker.inside(answer_everything)?;

    let mut lookups = 0;
    while !flood.is_finished() {
        lookups += 1;
        let copy = asker.home().join(format!("copy-{lookups}"));
        let copy = copy.to_str().context("a path")?;
        asker.must_zeroshare(&["fetch", &id, "--into", copy, "--timeout", "10s"])?;
        let nobody = format!("sha256new_{}", "A".repeat(52));
        asker.zeroshare(&["find", &nobody, "--wait", "300ms"])?;
    }
    let ended = |_| anyhow::anyhow!("the attack ended badly");
    let (sent, forged) = (
        flood.join().map_err(ended)??,
        answers.join().map_err(ended)??,
    );
    let counted = bystander.must("nft", &["list", "table", "inet", "t"])?;
    let (connections, datagrams, bytes) = reached(&counted)?;
    println!(
        "{sent} datagrams in {:?}, {forged} spoofed answers, {lookups} lookups of a tree and of nothing meanwhile; \
         the bystander got {connections} connections, {datagrams} datagrams, {bytes} bytes",
        duration()
    );
    ensure!(connections == 0, "{counted}");
    // At most 16 echoes of 5 tries for each lookup and second, and what is asked ahead.
    ensure!(datagrams < lookups * 160 + 200, "{counted}");
    ensure!(forged > 0, "nothing was answered");
    for (node, before) in nodes.iter_mut().zip(before) {
        ensure!(node.is_alive()?, "a node died: {}", node.log());
        let now = node.resident_kib()?;
        println!("resident {before} KiB before, {now} KiB after");
        ensure!(now < before + MOST_GROWTH_KIB, "from {before} to {now} KiB");
        ensure!(!node.log().contains("peer is gone"), "{}", node.log());
    }
    let peers = asker.must_zeroshare(&["peers", "--json"])?;
    ensure!(peers.contains("10.77.0.1:38339"), "{peers}");
    ensure!(peers.contains("\"bans\":[]"), "{peers}");
    Ok(())
}

/// Speaks in many names from many addresses: invented nodes, filters that claim everything, replays, wild numbers.
fn flood() -> Result<u64> {
    let sockets: Vec<UdpSocket> = (128..=250).map(speaking_as).collect::<Result<_>>()?;
    let mut rng = Rng::with_seed(7);
    let replayed = invented(&mut rng, alive());
    let (start, mut sent) = (Instant::now(), 0_u64);
    while start.elapsed() < duration() {
        for socket in &sockets {
            let bytes = match rng.u8(..4) {
                0 => invented(&mut rng, alive()),
                1 => all_ones(&mut rng),
                2 => replayed.clone(),
                _ => invented(&mut rng, Body::Leaving),
            };
            for last in [1, 2] {
                let to = (Ipv4Addr::new(10, 77, 0, last), PORT);
                // A full queue drops; that is fine for a flood.
                sent += u64::from(socket.send_to(&bytes, to).is_ok());
            }
        }
        // At most 50,000 a second: more would be a test of this machine.
        while sent > 50 * u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) {
            std::thread::yield_now();
        }
    }
    Ok(sent)
}

/// A socket with an address of the network, whose datagrams look like a neighbour's.
fn speaking_as(last: u8) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::new(10, 77, 0, last), PORT))?;
    socket.set_ttl(255)?;
    Ok(socket)
}

/// Answers every question in the bystander's name, many times.
fn answer_everything() -> Result<u64> {
    let ears = UdpSocket::bind((GROUP, PORT))?;
    ears.join_multicast_v4(&GROUP, &Ipv4Addr::new(10, 77, 0, 3))?;
    ears.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mouth = speaking_as(4)?;
    let mut rng = Rng::with_seed(8);
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < duration() {
        let mut buffer = [0; 2048];
        let Ok((len, asker)) = ears.recv_from(&mut buffer) else {
            continue;
        };
        let Ok(heard) = decode(&buffer[..len], &GroupKey::none()) else {
            continue;
        };
        let Body::Query(query) = heard.body else {
            continue;
        };
        for _ in 0..20 {
            let bytes = invented(&mut rng, answer_to(&query));
            let to = std::net::SocketAddr::new(asker.ip(), heard.unicast_port);
            sent += u64::from(mouth.send_to(&bytes, to).is_ok());
        }
    }
    Ok(sent)
}

fn answer_to(query: &Query) -> Body {
    let holdings = query.tags.iter().map(|tag| Holding {
        tag: *tag,
        part: 255,
        state: HoldingState::Held,
    });
    Body::Answer(Answer {
        nonce: query.nonce,
        day: query.day,
        holdings: AtMost::first(holdings),
    })
}

fn alive() -> Body {
    Body::Alive(Alive {
        ttl: Duration::from_secs(1),
        known_nodes: u32::MAX,
        filter: None,
    })
}

fn invented(rng: &mut Rng, body: Body) -> Vec<u8> {
    let datagram = Datagram {
        node: NodeId::from_bytes(std::array::from_fn(|_| rng.u8(..))),
        incarnation: rng.u64(..),
        sequence: rng.u64(..),
        store_port: PORT,
        unicast_port: PORT,
        trace: None,
        body,
    };
    encode(&datagram, &GroupKey::none(), None)
}

/// A beacon whose filter names everything.
fn all_ones(rng: &mut Rng) -> Vec<u8> {
    use prost::Message as _;
    let plain = invented(rng, alive());
    let Ok(mut envelope) = pb::Envelope::decode(&plain[..]) else {
        return plain;
    };
    let Ok(mut datagram) = pb::Datagram::decode(&envelope.datagram[..]) else {
        return plain;
    };
    if let Some(pb::datagram::Body::Alive(alive)) = &mut datagram.body {
        alive.holdings_filter = vec![0xff; 600].into();
        alive.filter_count = 1;
    }
    envelope.datagram = datagram.encode_to_vec().into();
    envelope.encode_to_vec()
}

/// Connections, datagrams and bytes that the two counters saw.
fn reached(counted: &str) -> Result<(u64, u64, u64)> {
    let numbers = |line: &str| -> Option<(u64, u64)> {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| *word != "packets");
        let packets = words.nth(1)?.parse().ok()?;
        Some((packets, words.nth(1)?.parse().ok()?))
    };
    let line = |word: &str| {
        counted
            .lines()
            .find(|line| line.contains(word))
            .and_then(numbers)
    };
    let (connections, _) = line("tcp").with_context(|| counted.to_owned())?;
    let (datagrams, bytes) = line("udp").with_context(|| counted.to_owned())?;
    Ok((connections, datagrams, bytes))
}

fn peer_count(host: &Host) -> Result<usize> {
    let text = host.must_zeroshare(&["peers", "--json"])?;
    let peers: serde_json::Value = serde_json::from_str(&text)?;
    Ok(peers["peers"].as_array().map_or(0, Vec::len))
}
