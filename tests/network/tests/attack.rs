//! An attack from the LAN itself, with real sockets: what it sends, and what it fails to do.
#![expect(clippy::print_stdout, reason = "a story tells what it measured")]

use std::{
    env,
    io::IoSlice,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use rustix::net::{
    MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, addr::SocketAddrArg as _, sendmmsg,
    sockopt::set_ipv6_unicast_hops,
};
use zeroshare_network::{Host, Lan, Running, wait_until, zero_install_hello};
use zeroshare_wire::{
    AtMost,
    datagram::{
        Alive, Answer, Body, Datagram, GroupKey, Holding, HoldingState, NodeId, Query, decode,
        encode,
    },
    pb::beacon::v1 as pb,
};

const PORT: u16 = 38339;

/// A node's id is so long.
const ID_BYTES: usize = 16;

/// Where everybody is asked.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0x95, 0xc3);

/// Memory that a node may take more under attack: full tables of 16,384 peers and 8,192 questions.
const MOST_GROWTH_KIB: u64 = 32 * 1024;

/// Datagrams a second: more would be a test of this machine.
const RATE: u64 = 50_000;

/// A flood that is slower shows nothing.
const LEAST_RATE: u64 = 40_000;

/// So many ids are invented at least.
const INVENTED: u64 = 1_000_000;

/// Datagrams that one call of the system sends.
const BATCH: usize = 64;

/// How long it lasts at least; `ZEROSHARE_NOISE_SECONDS=60` for a longer one.
fn duration() -> Duration {
    let seconds = env::var("ZEROSHARE_NOISE_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

#[test]
fn floods_inventions_replays_and_spoofed_answers_harm_nobody() -> Result<()> {
    let lan = Lan::new(4)?;
    let (holder, asker, attacker, bystander) = (lan.host(1), lan.host(2), lan.host(3), lan.host(4));
    let id = zero_install_hello(holder)?;
    let mut nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;
    wait_until("they know each other", Duration::from_secs(20), || {
        Ok(peer_count(asker)? == 1)
    })?;
    let before: Vec<u64> = nodes
        .iter()
        .map(Running::resident_kib)
        .collect::<Result<_>>()?;
    prepare(attacker, bystander)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let flood = attacker.inside(flood)?;
    let until = Arc::clone(&is_over);
    let answers = attacker.inside(move || answer_everything(&until))?;

    let mut took = Vec::new();
    while !flood.is_finished() {
        took.push(fetch(asker, &id, took.len())?);
        let nobody = format!("sha256new_{}", "A".repeat(52));
        asker.zeroshare(&["find", &nobody, "--wait", "300ms"])?;
    }
    is_over.store(true, Ordering::Relaxed);
    took.sort_unstable();
    let lookups = took.len() as u64;
    let ended = |_| anyhow::anyhow!("the attack ended badly");
    let (flooded, forged) = (
        flood.join().map_err(ended)??,
        answers.join().map_err(ended)??,
    );
    let counted = bystander.must("nft", &["list", "table", "inet", "t"])?;
    let (connections, datagrams, bytes) = reached(&counted)?;
    let rate = flooded.rate();
    println!(
        "{} datagrams in {:?}, {rate} a second, {} invented ids; {forged} spoofed answers; \
         {lookups} fetches of a tree meanwhile (median {:?}, slowest {:?}), and as many lookups of nothing; \
         the bystander got {connections} connections, {datagrams} datagrams, {bytes} bytes",
        flooded.sent,
        flooded.took,
        flooded.invented,
        took[took.len() / 2],
        took[took.len() - 1],
    );
    ensure!(rate >= LEAST_RATE, "only {rate} datagrams a second");
    ensure!(connections == 0, "{counted}");
    // At most 16 echoes of 5 tries for each lookup and second, and what is asked ahead.
    ensure!(datagrams < lookups * 160 + 200, "{counted}");
    ensure!(forged > 0, "nothing was answered");
    are_well(&mut nodes, &before)?;
    let peers = asker.must_zeroshare(&["peers", "--json"])?;
    ensure!(peers.contains("10.77.0.1:38339"), "{peers}");
    ensure!(peers.contains("\"bans\":[]"), "{peers}");
    Ok(())
}

/// Counts what reaches the bystander, in whose name the attacker answers.
///
/// The attacker speaks with any address of the network, and takes nobody's datagrams.
fn prepare(attacker: &Host, bystander: &Host) -> Result<()> {
    let rules = "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
        add rule inet t c tcp flags syn counter; add rule inet t c udp dport 38339 counter";
    bystander.must("nft", &[rules])?;
    let quiet = "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_ignore; echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind";
    attacker.must("sh", &["-c", quiet])?;
    for range in ["10.77.0.128/25", "10.77.0.4/32", "fd77:0:0:0:1::/80"] {
        attacker.must("ip", &["route", "add", "local", range, "dev", "lo"])?;
    }
    Ok(())
}

/// How long it takes to get a copy of the tree.
fn fetch(host: &Host, id: &str, number: usize) -> Result<Duration> {
    let copy = host.home().join(format!("copy-{number}"));
    let copy = copy.to_str().context("a path")?;
    let began = Instant::now();
    host.must_zeroshare(&["fetch", id, "--into", copy, "--timeout", "10s"])?;
    Ok(began.elapsed())
}

/// They live, have not grown much, and gave nobody up.
fn are_well(nodes: &mut [Running], before: &[u64]) -> Result<()> {
    for (node, before) in nodes.iter_mut().zip(before) {
        ensure!(node.is_alive()?, "a node died: {}", node.log());
        let now = node.resident_kib()?;
        println!("resident {before} KiB before, {now} KiB after");
        ensure!(now < before + MOST_GROWTH_KIB, "from {before} to {now} KiB");
        ensure!(!node.log().contains("peer is gone"), "{}", node.log());
    }
    Ok(())
}

/// What a flood came to.
struct Flooded {
    sent: u64,
    invented: u64,
    took: Duration,
}

impl Flooded {
    fn rate(&self) -> u64 {
        self.sent * 1_000
            / u64::try_from(self.took.as_millis())
                .unwrap_or(u64::MAX)
                .max(1)
    }
}

/// Speaks in many names from many addresses: invented nodes, filters that claim everything, replays, wild numbers.
fn flood() -> Result<Flooded> {
    let sockets: Vec<UdpSocket> = (128..=250).map(speaking_as).collect::<Result<_>>()?;
    let targets = [1, 2].map(|last| SocketAddr::from((Ipv4Addr::new(10, 77, 0, last), PORT)));
    let targets = targets.map(|target| target.as_any());
    let targets6 = [1, 2].map(|last| Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last));
    let targets6 = targets6.map(|target| SocketAddr::from((target, PORT)).as_any());
    let mut rng = Rng::with_seed(7);
    let mut inventions: Vec<Invention> = (0..BATCH / 2)
        .map(|at| match at % 8 {
            0 => Invention::of(&mut rng, all_ones),
            1 => Invention::of(&mut rng, |rng| invented(rng, Body::Leaving)),
            // Said again and again, as it is.
            2 => Ok(Invention::replayed(invented(&mut rng, alive()))),
            _ => Invention::of(&mut rng, |rng| invented(rng, alive())),
        })
        .collect::<Result<_>>()?;
    let mut flooded = Flooded {
        sent: 0,
        invented: 0,
        took: Duration::ZERO,
    };
    let start = Instant::now();
    while start.elapsed() < duration() || flooded.invented < INVENTED {
        for socket in &sockets {
            for invention in &mut inventions {
                flooded.invented += u64::from(invention.rename(&mut rng));
            }
            flooded.sent += send_all(socket, &inventions, &targets);
            for invention in &mut inventions {
                flooded.invented += u64::from(invention.rename(&mut rng));
            }
            // Each time another one.
            let newcomer = speaking_as_newcomer(&mut rng)?;
            flooded.sent += send_all(&newcomer, &inventions, &targets6);
            while flooded.sent * 1_000 > RATE * millis(start.elapsed()) {
                std::thread::yield_now();
            }
        }
    }
    flooded.took = start.elapsed();
    Ok(flooded)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Sends each to each target, in one call. A full queue drops; that is fine for a flood.
fn send_all(socket: &UdpSocket, inventions: &[Invention], targets: &[SocketAddrAny; 2]) -> u64 {
    let slices: Vec<[IoSlice<'_>; 1]> = inventions
        .iter()
        .map(|one| [IoSlice::new(&one.bytes)])
        .collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        (0..BATCH).map(|_| SendAncillaryBuffer::default()).collect();
    let pairs = slices
        .iter()
        .flat_map(|slice| targets.iter().map(move |target| (slice, target)));
    let mut messages: Vec<MMsgHdr<'_>> = pairs
        .zip(&mut controls)
        .map(|((slice, target), control)| MMsgHdr::new_with_addr(target, slice, control))
        .collect();
    sendmmsg(socket, &mut messages, SendFlags::empty()).unwrap_or(0) as u64
}

/// A datagram whose sender's id can be replaced where it stands.
struct Invention {
    bytes: Vec<u8>,
    id_at: Option<usize>,
}

impl Invention {
    fn of(rng: &mut Rng, make: impl Fn(&mut Rng) -> Vec<u8>) -> Result<Self> {
        let bytes = make(rng);
        let id = decoded_id(&bytes)?;
        let id_at = bytes.windows(id.len()).position(|part| part == id);
        ensure!(id_at.is_some(), "an id stands in its datagram as it is");
        Ok(Self { bytes, id_at })
    }

    fn replayed(bytes: Vec<u8>) -> Self {
        Self { bytes, id_at: None }
    }

    /// Speaks in the name of somebody else. Says whether it can.
    fn rename(&mut self, rng: &mut Rng) -> bool {
        let Some(at) = self.id_at else {
            return false;
        };
        rng.fill(&mut self.bytes[at..at + ID_BYTES]);
        true
    }
}

/// The sender's id, wherever it stands.
fn decoded_id(bytes: &[u8]) -> Result<[u8; ID_BYTES]> {
    use prost::Message as _;
    let envelope = pb::Envelope::decode(bytes)?;
    let datagram = pb::Datagram::decode(&envelope.datagram[..])?;
    Ok(datagram.node_id[..].try_into()?)
}

/// A socket with an address of the network, whose datagrams look like a neighbour's.
fn speaking_as(last: u8) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::new(10, 77, 0, last), PORT))?;
    socket.set_ttl(255)?;
    Ok(socket)
}

/// A socket with an address of the network that nobody had yet.
fn speaking_as_newcomer(rng: &mut Rng) -> Result<UdpSocket> {
    let parts = [0; 3].map(|_: u16| rng.u16(..));
    let source = Ipv6Addr::new(0xfd77, 0, 0, 0, 1, parts[0], parts[1], parts[2]);
    let socket = UdpSocket::bind((source, PORT))?;
    set_ipv6_unicast_hops(&socket, Some(255))?;
    Ok(socket)
}

/// Answers every question in the bystander's name, many times.
fn answer_everything(is_over: &AtomicBool) -> Result<u64> {
    let ears = UdpSocket::bind((GROUP, PORT))?;
    ears.join_multicast_v4(&GROUP, &Ipv4Addr::new(10, 77, 0, 3))?;
    ears.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mouth = speaking_as(4)?;
    let mut rng = Rng::with_seed(8);
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
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
            let to = SocketAddr::new(asker.ip(), heard.unicast_port);
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
        held_back: None,
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
