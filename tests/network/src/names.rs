//! A name server for one name, and a host that asks it.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;

use crate::Host;

/// How often it looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Answers for one name (DNS, RFC 1035); ends, and is asked no more, when dropped.
#[derive(Debug)]
pub struct NameServer {
    files: PathBuf,
    addresses: Arc<Mutex<Vec<Ipv4Addr>>>,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl NameServer {
    /// Starts one in a host; programs that are started there later ask it.
    ///
    /// `ip netns exec` shows them the files of `/etc/netns/NAMESPACE` in place of the machine's (ip-netns(8)).
    pub fn start(host: &Host, name: &str, addresses: &[&str]) -> anyhow::Result<Self> {
        let addresses = Arc::new(Mutex::new(parse(addresses)?));
        let files = PathBuf::from("/etc/netns").join(host.namespace());
        fs::create_dir_all(&files)?;
        let (asked, stop) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let mut server = Self {
            files,
            addresses: Arc::clone(&addresses),
            asked: Arc::clone(&asked),
            stop: Arc::clone(&stop),
            thread: None,
        };
        fs::write(
            server.files.join("resolv.conf"),
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )?;
        fs::write(server.files.join("nsswitch.conf"), "hosts: files dns\n")?;
        let (ready, begun) = mpsc::channel();
        let name = labels(name);
        server.thread = Some(host.inside(move || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))?;
            socket.set_read_timeout(Some(LOOK))?;
            ready.send(())?;
            while !stop.load(Ordering::Relaxed) {
                let mut buffer = [0; 512];
                let Ok((len, asker)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let addresses = lock(&addresses).clone();
                if let Some(answer) = answer(&buffer[..len], &name, &addresses) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    socket.send_to(&answer, asker)?;
                }
            }
            Ok(())
        })?);
        begun.recv().context("the name server did not start")?;
        Ok(server)
    }

    /// Gives the name other addresses from now on, or none.
    pub fn set_addresses(&self, addresses: &[&str]) -> anyhow::Result<()> {
        *lock(&self.addresses) = parse(addresses)?;
        Ok(())
    }

    /// How many questions it answered.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        fs::remove_dir_all(&self.files).ok();
    }
}

fn parse(addresses: &[&str]) -> anyhow::Result<Vec<Ipv4Addr>> {
    let addresses = addresses.iter().map(|text| text.parse());
    Ok(addresses.collect::<Result<_, _>>()?)
}

fn lock(addresses: &Mutex<Vec<Ipv4Addr>>) -> MutexGuard<'_, Vec<Ipv4Addr>> {
    addresses.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name as it travels: each label after its length, then nothing.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// The answer to a question: all addresses for the name and IPv4, none for anything else.
fn answer(question: &[u8], name: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    const A: [u8; 2] = [0, 1];
    let asked = question.get(12..)?;
    let end = asked.iter().position(|byte| *byte == 0)? + 1;
    let kind = asked.get(end..end + 2)?;
    let is_known = asked[..end].eq_ignore_ascii_case(name) && kind == A;
    let known: &[Ipv4Addr] = if is_known { addresses } else { &[] };
    let count = u16::try_from(known.len()).ok()?.to_be_bytes();
    // The same id; an answer, with recursion; one question; so many answers; nothing else.
    let mut bytes = question.get(..2)?.to_vec();
    bytes.extend([0x81, 0x80, 0, 1, count[0], count[1], 0, 0, 0, 0]);
    bytes.extend(asked.get(..end + 4)?);
    for address in known {
        // The name of the question; A, IN; for 60 s; four bytes.
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        bytes.extend(address.octets());
    }
    Some(bytes)
}
