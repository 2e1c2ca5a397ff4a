//! Hosts that share a secret, and those beside them that do not know it.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use zeroshare_content::ContentId;
use zeroshare_identity::GroupSecret;
use zeroshare_network::{Host, Lan, Output, wait_until, zero_install_hello};
use zeroshare_wire::datagram::{Body, Datagram, Day, GroupKey, Tag, decode, tag};

const PORT: u16 = 38339;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0x95, 0xc3);

const SECRET: &str = "EdvX6yWvx6QQ4lHkYlMmYkR9c2VjcmV0IQ==";
const ANOTHER: &str = "bm90IHRoZSBzYW1lIHNlY3JldCBhdCBhbGwh";

/// Nobody is there for who knocks: soon enough said.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whoever is there already says so to newcomers of its group alone, and to everybody within 75 s.
const HEARING: Duration = Duration::from_secs(80);

/// Hosts 1 and 2 share a secret, host 3 has none, host 4 has another.
struct Story {
    lan: Lan,
    id: String,
}

impl Story {
    fn begin() -> Result<Self> {
        let lan = Lan::new(4)?;
        for number in [1, 2] {
            give(lan.host(number), SECRET)?;
        }
        give(lan.host(4), ANOTHER)?;
        let id = zero_install_hello(lan.host(1))?;
        Ok(Self { lan, id })
    }

    fn fetch(&self, host: u8, more: &[&str]) -> Result<Output> {
        let words = [&["fetch", &self.id, "--timeout", "10s"], more].concat();
        self.lan.host(host).zeroshare(&words)
    }
}

#[test]
fn members_read_each_other_and_for_others_there_is_nobody() -> Result<()> {
    let story = Story::begin()?;
    let hosts = [1, 2, 3, 4].map(|number| story.lan.host(number));
    let _first = hosts[0].start_node(&[])?;
    hosts[0].wait_until_offered(&story.id)?;

    // Without a node of its own, a member finds and reads it.
    let copy = hosts[1].home().join("copy");
    let copy = copy.to_string_lossy();
    let fetched = story.fetch(2, &["--into", &copy])?;
    ensure!(fetched.status.success(), "{}", fetched.stderr);

    let _others = [
        hosts[1].start_node(&[])?,
        hosts[2].start_node(&[])?,
        hosts[3].start_node(&[])?,
    ];
    let fetched = story.fetch(2, &[])?;
    ensure!(fetched.status.success(), "{}", fetched.stderr);
    ensure!(hosts[0].sent_bytes()? > 0, "it came from the other member");

    for outsider in [3, 4] {
        for more in [&[][..], &["--from", "10.77.0.1"]] {
            let refused = story.fetch(outsider, more)?;
            ensure!(!refused.status.success(), "host {outsider} read it");
            println!("host {outsider}, {more:?}: {}", refused.stderr.trim());
        }
    }

    // Each hears the other member alone, and says whom it does not listen to.
    let ids = hosts.map(node_id);
    let ids: Vec<String> = ids.into_iter().collect::<Result<_>>()?;
    wait_until("members know each other", PATIENCE, || {
        Ok(peers(hosts[0])? == [ids[1].clone()] && peers(hosts[1])? == [ids[0].clone()])
    })?;
    for (host, expected) in [
        (hosts[0], [("10.77.0.3", false), ("10.77.0.4", true)]),
        (hosts[2], [("10.77.0.1", true), ("10.77.0.4", true)]),
    ] {
        wait_until("outsiders are told", HEARING, || {
            let outsiders = outsiders(host)?;
            let is_told = |one: &(&str, bool)| outsiders.contains(&(one.0.to_owned(), one.1));
            Ok(expected.iter().all(is_told))
        })?;
    }
    for (host, in_group) in [(hosts[0], true), (hosts[2], false), (hosts[3], true)] {
        ensure!(host.status()?["discovery"]["in_group"] == in_group);
    }
    for outsider in [2, 3] {
        ensure!(peers(hosts[outsider])?.is_empty(), "an outsider hears one");
    }
    Ok(())
}

#[test]
fn whoever_knocks_without_the_secret_gets_not_a_byte() -> Result<()> {
    let story = Story::begin()?;
    let _node = story.lan.host(1).start_node(&[])?;
    story.lan.host(3).within(|| {
        let words: [&[u8]; 4] = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            b"GET /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: a\r\n\r\n",
            b"",
            // The head of a TLS record, and nothing that belongs to it.
            &[0x16, 3, 1, 0, 4, 1, 0, 0, 0],
        ];
        for word in words {
            let address = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), PORT);
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(word)?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error.into()),
            }
            ensure!(answer.is_empty(), "{} bytes came back", answer.len());
        }
        Ok(())
    })
}

#[test]
fn what_is_overheard_cannot_be_tested_against_known_digests() -> Result<()> {
    let story = Story::begin()?;
    let is_over = Arc::new(AtomicBool::new(false));
    let overheard = overhear(story.lan.host(3), is_over.clone())?;
    let _first = story.lan.host(1).start_node(&[])?;
    let _second = story.lan.host(2).start_node(&[])?;
    story.lan.host(1).wait_until_offered(&story.id)?;
    // A question whose answer is in no filter goes to everybody.
    let nobodys = "sha256new_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for id in [nobodys, &story.id] {
        drop(story.lan.host(2).zeroshare(&["find", id])?);
    }
    let fetched = story.fetch(2, &[])?;
    ensure!(fetched.status.success(), "{}", fetched.stderr);
    is_over.store(true, Ordering::Relaxed);
    let overheard = overheard
        .join()
        .map_err(|_| anyhow::anyhow!("the listener ended badly"))??;

    let key = GroupSecret::of(SECRET.as_bytes()).datagrams();
    let ids: Vec<ContentId> = [nobodys, &story.id]
        .iter()
        .map(|id| id.parse())
        .collect::<Result<_, _>>()?;
    let (mut spoken, mut seen, mut matched) = (0, 0, 0);
    for bytes in &overheard {
        ensure!(
            decode(bytes, &GroupKey::none()).is_err(),
            "said in the clear to everybody"
        );
        let said = decode(bytes, &key).context("overheard, and not of the group")?;
        spoken += 1;
        seen += usize::from(names(&said, &tags(&ids, &key)?));
        matched += usize::from(names(&said, &tags(&ids, &GroupKey::none())?));
    }
    println!(
        "{spoken} datagrams overheard, {seen} name what was looked for to members, {matched} to others"
    );
    ensure!(
        seen >= 3,
        "a question, an answer or a filter of each member"
    );
    ensure!(matched == 0, "a public tag matches");
    Ok(())
}

/// Puts a secret and a configuration that names it on a host.
fn give(host: &Host, secret: &str) -> Result<()> {
    let directory = host.home().join("config/zeroshare");
    fs::create_dir_all(&directory)?;
    let file = directory.join("secret");
    fs::write(&file, format!("{secret}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let configuration = format!("[common]\ngroup-secret = \"{}\"\n", file.display());
    fs::write(directory.join("config.toml"), configuration)?;
    Ok(())
}

/// Writes down all that is said to everybody until it is over.
fn overhear(host: &Host, is_over: Arc<AtomicBool>) -> Result<JoinHandle<Result<Vec<Vec<u8>>>>> {
    let address: Ipv4Addr = host.address().parse()?;
    host.inside(move || {
        let ears = UdpSocket::bind((GROUP, PORT))?;
        ears.join_multicast_v4(&GROUP, &address)?;
        ears.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut overheard = Vec::new();
        let mut buffer = [0; 2048];
        while !is_over.load(Ordering::Relaxed) {
            if let Ok(len) = ears.recv(&mut buffer) {
                overheard.push(buffer[..len].to_vec());
            }
        }
        Ok(overheard)
    })
}

/// What these ids are called, on all days that may count.
fn tags(ids: &[ContentId], group: &GroupKey) -> Result<Vec<Tag>> {
    let today = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let days = Day::of_unix_seconds(today).accepted();
    let of_day = |day: Day| ids.iter().map(move |id| tag(day, id, group));
    Ok(days.into_iter().flat_map(of_day).collect())
}

/// Whether a datagram names any of these.
fn names(said: &Datagram, tags: &[Tag]) -> bool {
    match &said.body {
        Body::Alive(alive) => alive
            .filter
            .iter()
            .any(|part| tags.iter().any(|tag| part.bloom.contains(*tag))),
        Body::Query(query) => query.tags.iter().any(|tag| tags.contains(tag)),
        Body::Answer(answer) => answer.holdings.iter().any(|held| tags.contains(&held.tag)),
        Body::Leaving | Body::PeersRequest(_) | Body::Peers(_) | Body::Echo(_) => false,
    }
}

fn node_id(host: &Host) -> Result<String> {
    let status = host.status()?;
    let id = status["discovery"]["node_id"].as_str();
    Ok(id.context("no node id")?.to_owned())
}

fn peers(host: &Host) -> Result<Vec<String>> {
    let told: Value = serde_json::from_str(&host.must_zeroshare(&["peers", "--json"])?)?;
    let peers = told["peers"].as_array().context("no peers")?;
    Ok(peers
        .iter()
        .filter_map(|peer| Some(peer["peer_id"].as_str()?.to_owned()))
        .collect())
}

/// Whom a node does not listen to, and whether they are in a group.
fn outsiders(host: &Host) -> Result<Vec<(String, bool)>> {
    let status = host.status()?;
    let outsiders = status["discovery"]["outsiders"].as_array();
    let outsiders = outsiders.context("no outsiders")?.iter();
    Ok(outsiders
        .filter_map(|one| {
            let (address, _port) = one["address"].as_str()?.rsplit_once(':')?;
            Some((address.to_owned(), one["in_group"].as_bool()?))
        })
        .collect())
}
