//! Namespaces and the switch between them.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, bail};

use crate::{Host, neighbours::LargeNeighbourTable};

/// LANs with more hosts need a larger neighbour table: 17 that know each other by IPv4, IPv6 and link-local addresses have
/// 800 entries in it, and other LANs may be there at the same time.
const MANY_HOSTS: u8 = 8;

static LANS: AtomicU32 = AtomicU32::new(0);

/// Hosts in namespaces of their own on one switch, removed when dropped.
///
/// Host `n` (from 1) has `10.77.0.n/24` and `fd77::n/64` on `eth0`.
#[derive(Debug)]
pub struct Lan {
    prefix: String,
    hosts: Vec<Host>,
    _table: Option<LargeNeighbourTable>,
}

impl Lan {
    /// Makes a LAN of `count` hosts, at most 200.
    pub fn new(count: u8) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("network namespaces need root: run these tests as root (see README, Tests)");
        }
        let table = (count > MANY_HOSTS)
            .then(LargeNeighbourTable::new)
            .transpose()?;
        let number = LANS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("zs{}-{number}", std::process::id());
        let mut lan = Self {
            prefix,
            hosts: Vec::new(),
            _table: table,
        };
        let switch = lan.switch();
        ip(&["netns", "add", &switch])?;
        ip(&[
            "-n",
            &switch,
            "link",
            "add",
            "br0",
            "type",
            "bridge",
            "mcast_snooping",
            "0",
        ])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])?;
        for n in 1..=count {
            lan.add_host(n)?;
        }
        Ok(lan)
    }

    /// The host with this number, counted from 1.
    pub fn host(&self, n: u8) -> &Host {
        &self.hosts[usize::from(n) - 1]
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Takes a host's cable out of the switch.
    pub fn unplug(&self, n: u8) -> anyhow::Result<()> {
        ip(&[
            "-n",
            &self.switch(),
            "link",
            "set",
            &format!("v{n}"),
            "nomaster",
        ])
    }

    /// Puts it in again.
    pub fn plug(&self, n: u8) -> anyhow::Result<()> {
        ip(&[
            "-n",
            &self.switch(),
            "link",
            "set",
            &format!("v{n}"),
            "master",
            "br0",
        ])
    }

    /// Lays a cable between two hosts, apart from the switch: `eth1`, `10.78.0.n/24`.
    pub fn join(&self, one: u8, other: u8) -> anyhow::Result<()> {
        let (near, far) = (self.host(one).namespace(), self.host(other).namespace());
        ip(&[
            "-n", near, "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", far,
        ])?;
        for n in [one, other] {
            let namespace = self.host(n).namespace();
            ip(&["-n", namespace, "link", "set", "eth1", "up"])?;
            let address = format!("10.78.0.{n}/24");
            let words = [
                "-n",
                namespace,
                "addr",
                "add",
                &address,
                "broadcast",
                "10.78.0.255",
                "dev",
                "eth1",
            ];
            ip(&words)?;
        }
        Ok(())
    }

    /// Keeps a host from everybody else who is kept so, as guest Wi-Fi does.
    pub fn isolate(&self, n: u8) -> anyhow::Result<()> {
        let (switch, port) = (self.switch(), format!("v{n}"));
        let words = [
            "netns", "exec", &switch, "bridge", "link", "set", "dev", &port, "isolated", "on",
        ];
        ip(&words)
    }

    /// Removes a host's interface, as when a card is pulled.
    pub fn remove_interface(&self, n: u8) -> anyhow::Result<()> {
        ip(&["-n", &self.switch(), "link", "del", &format!("v{n}")])
    }

    /// Gives a host without an interface a new one with the old addresses.
    pub fn add_interface(&self, n: u8) -> anyhow::Result<()> {
        let namespace = self.host(n).namespace().to_owned();
        self.wire(n, &namespace)
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.prefix)
    }

    fn add_host(&mut self, n: u8) -> anyhow::Result<()> {
        let namespace = format!("{}-h{n}", self.prefix);
        ip(&["netns", "add", &namespace])?;
        // Recorded first, so that what fails later is cleaned up.
        self.hosts.push(Host::new(&namespace, n)?);
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        self.wire(n, &namespace)
    }

    fn wire(&self, n: u8, namespace: &str) -> anyhow::Result<()> {
        let (switch, port) = (self.switch(), format!("v{n}"));
        ip(&[
            "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
            namespace,
        ])?;
        ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
        let v4 = format!("10.77.0.{n}/24");
        ip(&[
            "-n",
            namespace,
            "addr",
            "add",
            &v4,
            "broadcast",
            "10.77.0.255",
            "dev",
            "eth0",
        ])?;
        let v6 = format!("fd77::{n}/64");
        ip(&[
            "-n", namespace, "-6", "addr", "add", &v6, "dev", "eth0", "nodad",
        ])
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for host in &self.hosts {
            host.kill_all();
            ip(&["netns", "del", host.namespace()]).ok();
        }
        ip(&["netns", "del", &self.switch()]).ok();
    }
}

/// Runs `ip` and fails with its words.
pub(crate) fn ip(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(words)
        .output()
        .context("cannot start ip: install iproute2")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
