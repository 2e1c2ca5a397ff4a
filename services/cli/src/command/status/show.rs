//! A node's state for people.

use std::fmt::{self, Write as _};

use super::{DiscoveryPart, StatusReport, StorePart, gather};
use crate::command::outsiders::why_unheard;
use crate::render::{Page, Report, words};

impl Report for StatusReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        self.write_node(page)?;
        for service in &self.services {
            write!(page, "  {:<10} ", service.name)?;
            if service.health == gather::SERVING {
                page.good(service.health)?;
            } else {
                page.bad(service.health)?;
            }
            writeln!(page)?;
        }
        if let Some(discovery) = &self.discovery {
            write_discovery(discovery, page)?;
        }
        if let Some(store) = &self.store {
            write_store(store, page)?;
        }
        if let Some(fetcher) = &self.fetcher {
            page.strong("fetches")?;
            writeln!(
                page,
                "    {} running, {} known",
                fetcher.running_fetches, fetcher.known_fetches
            )?;
        }
        Ok(())
    }
}

impl StatusReport {
    fn write_node(&self, page: &mut Page) -> fmt::Result {
        page.strong(if self.node.owner == "machine" {
            "the machine's node"
        } else {
            "your node"
        })?;
        if let Some(process) = self.node.pid {
            write!(page, "  process {process}")?;
        }
        if let Some(version) = &self.node.version {
            write!(page, ", version {version}")?;
        }
        if let Some(since) = &self.node.start_time {
            write!(page, ", since {since}")?;
        }
        for port in &self.node.ports {
            write!(page, ", port {port}")?;
        }
        writeln!(page)
    }
}

fn write_discovery(discovery: &DiscoveryPart, page: &mut Page) -> fmt::Result {
    page.strong("network")?;
    writeln!(
        page,
        "    id {}, {}, {} datagrams sent, {} received, {} dropped",
        discovery.node_id,
        words::count(discovery.live_peers.into(), "peer"),
        discovery.sent_datagrams,
        discovery.received_datagrams,
        discovery.dropped_datagrams
    )?;
    if discovery.in_group {
        writeln!(page, "  in a group: hears and answers its members only")?;
    }
    for outsider in &discovery.outsiders {
        let why = why_unheard(discovery.in_group, outsider.in_group);
        page.bad(&format!("  not heard: {} {why}\n", outsider.address))?;
    }
    for interface in &discovery.interfaces {
        let roads = match interface.roads.as_slice() {
            [] => "no road to everybody".to_owned(),
            roads => roads.join(", "),
        };
        writeln!(
            page,
            "  {:<10} {} ({roads})",
            interface.name,
            interface.addresses.join(" ")
        )?;
    }
    Ok(())
}

fn write_store(store: &StorePart, page: &mut Page) -> fmt::Result {
    page.strong("stores")?;
    let transfers = words::count(store.active_transfers.into(), "transfer");
    writeln!(
        page,
        "     {transfers} running, {} sent",
        words::size(store.sent_bytes)
    )?;
    if let Some(time) = &store.resume_time {
        page.bad(&format!("  paused: nothing is shared until {time}\n"))?;
    }
    if store.upload_limit_bytes > 0 {
        let limit = words::size(store.upload_limit_bytes);
        writeln!(page, "  peers are sent at most {limit} a second")?;
    }
    for root in &store.roots {
        let shared = if root.shared {
            "offered"
        } else {
            "not offered"
        };
        write!(
            page,
            "  {}  {}, {shared}",
            root.path,
            words::count(root.held_trees.into(), "tree")
        )?;
        if root.quarantined_trees > 0 {
            page.bad(&format!(", {} corrupt", root.quarantined_trees))?;
        }
        writeln!(page)?;
    }
    if store.shared_files > 0 {
        writeln!(
            page,
            "  {} shared",
            words::count(store.shared_files.into(), "single file")
        )?;
    }
    if store.lan_addresses.is_empty() {
        writeln!(page, "  not readable by others")?;
    } else {
        let readers = store.readers.join(", ");
        writeln!(
            page,
            "  readable at {} by {readers}",
            store.lan_addresses.join(" ")
        )?;
    }
    writeln!(page, "  restricted by {}", store.restriction)
}
