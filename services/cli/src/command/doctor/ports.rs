//! Who has the ports.

use std::fs;
use std::path::Path;

use zeroshare_wire::pb::store::v1::DescribeStoreResponse;

use super::finding::Finding;

/// Processes looked at to find out whose a socket is.
const MOST_PROCESSES: usize = 32_768;

/// Files of one process looked at for that.
const MOST_FILES: usize = 4_096;

/// Whether a running node has the usual ports, and who has them if not.
pub(super) fn ports(
    usual: u16,
    unicast: Option<u32>,
    store: Option<&DescribeStoreResponse>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(port) = unicast {
        findings.push(udp(usual, port));
    }
    if let Some(store) = store {
        findings.push(tcp(usual, &store.lan_addresses));
    }
    findings
}

fn udp(usual: u16, port: u32) -> Finding {
    if port == u32::from(usual) {
        let text = format!("this node is asked on UDP port {port}");
        return Finding::ok("port", text).about(format!("udp {port}"));
    }
    let text = format!(
        "this node is asked on UDP port {port}, because {usual} {}; others learn that by themselves",
        taken("udp", usual)
    );
    let advice = format!("Nothing has to be done, but a firewall must let UDP port {port} in too.");
    let finding = Finding::hint("port", text).about(format!("udp {port}"));
    finding.advise(advice)
}

fn tcp(usual: u16, addresses: &[String]) -> Finding {
    let port = addresses.first().and_then(|one| one.rsplit_once(':'));
    let Some((_, port)) = port else {
        let text = "this machine's stores cannot be read by others";
        let advice = "That is as configured with --no-lan; else another program has the port: the node's log says so.";
        return Finding::hint("port", text).about("tcp").advise(advice);
    };
    if port == usual.to_string() {
        let text = format!("this machine's stores are read on TCP port {port}");
        return Finding::ok("port", text).about(format!("tcp {port}"));
    }
    let text = format!(
        "this machine's stores are read on TCP port {port}, because {usual} {}; others learn that by themselves",
        taken("tcp", usual)
    );
    let advice = format!("Nothing has to be done, but a firewall must let TCP port {port} in too.");
    let finding = Finding::hint("port", text).about(format!("tcp {port}"));
    finding.advise(advice)
}

/// Who has a port, in words.
fn taken(protocol: &str, port: u16) -> String {
    let inodes: Vec<u64> = [protocol.to_owned(), format!("{protocol}6")]
        .iter()
        .filter_map(|table| fs::read_to_string(Path::new("/proc/net").join(table)).ok())
        .flat_map(|table| sockets_on(&table, port))
        .collect();
    if inodes.is_empty() {
        return "was taken when it started".to_owned();
    }
    match owner(&inodes) {
        Some((pid, name)) => format!("is taken by {name} (process {pid})"),
        None => "is taken by another user's program".to_owned(),
    }
}

/// The inodes of sockets bound to a port, out of a table of `/proc/net` (proc(5)).
fn sockets_on(table: &str, port: u16) -> Vec<u64> {
    let lines = table.lines().skip(1);
    let inode = |line: &str| {
        let mut words = line.split_whitespace();
        let (_, local) = words.nth(1)?.rsplit_once(':')?;
        let is_on = u16::from_str_radix(local, 16).ok()? == port;
        // After the local address: remote, state, queues, timer, retransmits, user, timeout, inode.
        let inode = words.nth(7)?.parse().ok()?;
        is_on.then_some(inode)
    };
    lines.filter_map(inode).collect()
}

/// The process that has one of these sockets, as far as this user may see it; not this process.
fn owner(inodes: &[u64]) -> Option<(u32, String)> {
    let links: Vec<String> = inodes.iter().map(|one| format!("socket:[{one}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten().take(MOST_PROCESSES);
    for process in processes {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let mut links_of = files
            .flatten()
            .take(MOST_FILES)
            .filter_map(|file| fs::read_link(file.path()).ok());
        let has = links_of.any(|link| links.iter().any(|one| link.as_os_str() == one.as_str()));
        if has && pid != std::process::id() {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn sockets_are_found_by_their_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            1: 00000000:95C3 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4711 2 0\n\
            2: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0\n";
        assert_eq!(sockets_on(table, 38339), [4711]);
        assert!(sockets_on(table, 1).is_empty());
        assert!(sockets_on("nonsense\nx y z\n1: a:b c", 38339).is_empty());
    }

    #[test]
    fn the_process_that_has_a_port_is_named() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        // It is this process itself, which is left out.
        says(port, "is taken by another user's program");
        drop(socket);
        says(port, "was taken when it started");
    }

    /// Waits for these words: what another test starts has our sockets too, until it runs its program.
    fn says(port: u16, expected: &str) {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let mut words = taken("udp", port);
        while words != expected && std::time::Instant::now() < end {
            std::thread::yield_now();
            words = taken("udp", port);
        }
        assert_eq!(words, expected);
    }

    #[test]
    fn another_port_is_worth_a_note_and_the_usual_one_is_fine() {
        assert_eq!(udp(38339, 38339).level, Level::Ok);
        assert_eq!(udp(38339, 5).level, Level::Hint);
        assert_eq!(tcp(38339, &["[::]:38339".to_owned()]).level, Level::Ok);
        assert_eq!(tcp(38339, &["0.0.0.0:5".to_owned()]).level, Level::Hint);
        assert_eq!(tcp(38339, &[]).level, Level::Hint);
    }
}
