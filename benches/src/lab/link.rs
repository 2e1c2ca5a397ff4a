//! Links: their rates, their congestion control, what passed.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use zeroshare_network::Host;

/// Port of a bare stream.
const BARE_PORT: u16 = 9_123;

/// IPv4 and TCP headers with timestamps.
const HEADER_BYTES: u64 = 52;

/// Sets cubic for all of a host's connections: BBR halves what loopback and veth can do, and no LAN needs it.
pub(crate) fn cubic(host: &Host) -> Result<()> {
    congestion(host, "cubic")
}

/// Sets how a host's connections see congestion. The sysctl cannot be set in a namespace.
pub(crate) fn congestion(host: &Host, control: &str) -> Result<()> {
    let address = host.address();
    let route = |words: &[&str]| host.must("ip", &[words, &["congctl", control]].concat());
    route(&["route", "change", "10.77.0.0/24", "dev", "eth0"])?;
    route(&[
        "route", "change", "local", &address, "dev", "eth0", "table", "local",
    ])?;
    for network in ["fd77::/64", "fe80::/64"] {
        route(&[
            "-6", "route", "replace", network, "dev", "eth0", "metric", "256",
        ])?;
    }
    Ok(())
}

/// Limits what a host sends, in Mbit/s.
pub(crate) fn limit(host: &Host, mbit: u32) -> Result<()> {
    // A burst of a millisecond, and never less than the largest packet before it is cut up.
    let burst = (u64::from(mbit) * 125).max(64 * 1024);
    let words = [
        "qdisc",
        "replace",
        "dev",
        "eth0",
        "root",
        "tbf",
        "rate",
        &format!("{mbit}mbit"),
        "burst",
        &burst.to_string(),
        "latency",
        "50ms",
    ];
    host.must("tc", &words)?;
    Ok(())
}

/// Takes the limit away, if there is one.
pub(crate) fn unlimit(host: &Host) -> Result<()> {
    host.run("tc", &["qdisc", "del", "dev", "eth0", "root"])?;
    Ok(())
}

/// Bytes a second of one bare TCP stream of so many bytes between two hosts.
pub(crate) fn bare_goodput(from: &Host, to: &Host, bytes: usize) -> Result<f64> {
    let listener = to.within(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, BARE_PORT))?))?;
    let address: SocketAddr = format!("{}:{BARE_PORT}", to.address()).parse()?;
    thread::scope(|scope| {
        let reader = scope.spawn(move || -> Result<f64> {
            let (mut stream, _) = listener.accept()?;
            let start = Instant::now();
            let mut page = vec![0; 1 << 18];
            let mut count: usize = 0;
            loop {
                match stream.read(&mut page)? {
                    0 => return Ok(count as f64 / start.elapsed().as_secs_f64()),
                    more => count += more,
                }
            }
        });
        let mut stream = from.within(|| {
            Ok(TcpStream::connect_timeout(
                &address,
                Duration::from_secs(5),
            )?)
        })?;
        let page = vec![7_u8; 1 << 18];
        let mut left = bytes;
        while left > 0 {
            let now = left.min(page.len());
            stream.write_all(&page[..now])?;
            left -= now;
        }
        drop(stream);
        reader.join().ok().context("the reader panicked")?
    })
}

/// Counts the TCP payload that a host sends.
///
/// The kernel counts a packet before it is cut up for the wire, with one header; what is subtracted is one header for each.
#[derive(Debug)]
pub(crate) struct TcpCounter<'a> {
    host: &'a Host,
}

impl<'a> TcpCounter<'a> {
    /// Begins to count; once for each host.
    pub(crate) fn begin(host: &'a Host) -> Result<Self> {
        let rules = "add table inet bench; add counter inet bench sent; \
                     add chain inet bench out { type filter hook output priority 0; }; \
                     add rule inet bench out oifname eth0 meta l4proto tcp counter name sent";
        host.must("nft", &[rules])?;
        Ok(Self { host })
    }

    /// Bytes of payload so far.
    pub(crate) fn payload_bytes(&self) -> Result<u64> {
        let said = self
            .host
            .must("nft", &["-j", "list", "counter", "inet", "bench", "sent"])?;
        let said: Value = serde_json::from_str(&said)?;
        let counter = said["nftables"]
            .as_array()
            .and_then(|parts| parts.iter().find_map(|part| part.get("counter")))
            .context("nft names no counter")?;
        let number = |name: &str| counter[name].as_u64().context("nft counts nothing");
        Ok(number("bytes")?.saturating_sub(HEADER_BYTES * number("packets")?))
    }
}
