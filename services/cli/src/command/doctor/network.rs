//! What trying the network says: interfaces, roads, neighbours, and who else is heard.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio_stream::StreamExt as _;
use zeroshare_wire::convert::socket_address;
use zeroshare_wire::pb::discovery::v1::check_network_response::{
    Finding as Told, InterfaceFinding, NeighbourFinding, RoadFinding, Unused,
};
use zeroshare_wire::pb::discovery::v1::{CheckNetworkRequest, DescribeNetworkResponse};

use super::finding::Finding;
use super::stores;
use crate::command::find::story::{address, road_words, span};
use crate::command::outsiders;
use crate::failure::Failure;
use crate::reach::DiscoveryClient;
use crate::render::words;
use crate::words::of_status;

/// How a firewall is opened.
pub(super) const LET_IN: &str = "Let UDP and TCP port 38339 in, from your network:\n\
    ufw:       ufw allow from 192.168.1.0/24 to any port 38339\n\
    firewalld: firewall-cmd --permanent --add-port=38339/udp --add-port=38339/tcp && firewall-cmd --reload\n\
    nft:       nft insert rule inet filter input udp dport 38339 accept (and the same for tcp)";

/// The road of those who may be in any network.
const UNICAST: &str = "unicast";

/// What discovery found.
#[derive(Debug, Default)]
pub(super) struct Facts {
    interfaces: Vec<InterfaceFinding>,
    roads: Vec<RoadFinding>,
    neighbours: Vec<NeighbourFinding>,
}

impl Facts {
    /// The addresses of the interfaces in use.
    fn used_addresses(&self) -> Vec<IpAddr> {
        let used = self.interfaces.iter().filter(|one| is_used(one));
        let addresses = used.flat_map(|one| &one.addresses);
        addresses.filter_map(|text| text.parse().ok()).collect()
    }
}

fn is_used(interface: &InterfaceFinding) -> bool {
    interface.unused() == Unused::Unspecified
}

/// Has discovery try the network.
pub(super) async fn gather(mut discovery: DiscoveryClient) -> Result<Facts, Failure> {
    let failed = |status| of_status("the network", &status);
    let told = discovery.check_network(CheckNetworkRequest {}).await;
    let mut told = told.map_err(failed)?.into_inner();
    let mut facts = Facts::default();
    while let Some(told) = told.next().await {
        match told.map_err(failed)?.finding {
            Some(Told::Interface(interface)) => facts.interfaces.push(interface),
            Some(Told::Road(road)) => facts.roads.push(road),
            Some(Told::Neighbour(neighbour)) => facts.neighbours.push(neighbour),
            None => {}
        }
    }
    Ok(facts)
}

/// Which interfaces are used, and why the others are not.
pub(super) fn interfaces(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts
        .interfaces
        .iter()
        .map(|one| {
            let name = &one.name;
            let text = if is_used(one) {
                format!("interface {name} is used: {}", one.addresses.join(", "))
            } else {
                format!("interface {name} is not used: {}", why_unused(one.unused()))
            };
            Finding::ok("interface", text).about(name)
        })
        .collect();
    if !facts.interfaces.iter().any(is_used) {
        let text = "no interface of this machine is used, so it reaches nobody";
        findings.push(Finding::fault("interface", text).advise(
            "Plug in a cable or join a Wi-Fi. A bridge of containers or a tunnel is used when it is named: \
             `--interface NAME`.",
        ));
    }
    findings
}

fn why_unused(unused: Unused) -> &'static str {
    match unused {
        Unused::Unspecified => "it is",
        Unused::Down => "it is down, or has no carrier",
        Unused::Loopback => "it leads to this machine alone",
        Unused::Containers => "it belongs to containers or virtual machines (--interface names it)",
        Unused::PointToPoint => "it is a tunnel or a dialled line (--interface names it)",
        Unused::NoMulticast => "it carries no multicast (--interface names it)",
        Unused::Excluded => "the configuration excludes it (no-interface)",
        Unused::NotNamed => "the configuration names others (interface)",
        Unused::Metered => "by its name it costs by volume (skip-metered)",
    }
}

/// Whether what is said to everybody comes back, and whom it reaches.
pub(super) fn roads(facts: &Facts) -> Vec<Finding> {
    facts
        .roads
        .iter()
        .map(|road| of_road(facts, road))
        .collect()
}

fn of_road(facts: &Facts, road: &RoadFinding) -> Finding {
    let (interface, name) = (&road.interface_name, road_words(&road.road));
    let about = format!("{interface} {}", road.road);
    let on_it = || {
        facts
            .roads
            .iter()
            .filter(move |one| one.interface_name == *interface)
    };
    let others: Vec<&str> = on_it()
        .filter(|one| one.came_back)
        .map(|one| road_words(&one.road))
        .collect();
    let finding = if !road.error.is_empty() {
        Finding::fault(
            "road",
            format!("{name} on {interface} does not work: {}", road.error),
        )
        .advise("A firewall here may forbid it, or the interface has just come up: try again in a minute.")
    } else if !road.sent {
        let text = format!("{name} on {interface} was not tried: this node is busy speaking");
        Finding::hint("road", text).advise("Try again in a few seconds.")
    } else if !road.came_back {
        let rest = match others.as_slice() {
            [] => "nothing that is said to everybody gets in here".to_owned(),
            others => format!("{} works", others.join(" and ")),
        };
        let text = format!(
            "what this machine says by {name} on {interface} does not come back to it: something here drops it, \
             probably a firewall; {rest}"
        );
        Finding::fault("road", text).advise(LET_IN)
    } else {
        of_working_road(road, on_it())
    };
    finding.about(about)
}

fn of_working_road<'a>(
    road: &RoadFinding,
    on_it: impl Iterator<Item = &'a RoadFinding>,
) -> Finding {
    let (interface, name) = (&road.interface_name, road_words(&road.road));
    // Peers are heard by the first road that works: only a later one tells that this one is swallowed.
    let later: u32 = on_it
        .skip_while(|one| one.road != road.road)
        .map(|one| one.peers)
        .sum();
    if road.peers == 0 && later > 0 {
        let text = format!(
            "{name} on {interface} works here, but nobody is heard by it, and {} by another road: the network \
             (an access point, a switch) seems to swallow it",
            words::count(later.into(), "peer")
        );
        return Finding::hint("road", text).advise(
            "Nothing has to be done while the other road works. Multicast is switched on in the access point or switch \
             (IGMP snooping without a querier is a usual cause).",
        );
    }
    let heard = match road.peers {
        0 => String::new(),
        peers => format!(", {} heard by it", words::count(peers.into(), "peer")),
    };
    Finding::ok("road", format!("{name} on {interface} works{heard}"))
}

/// Whether neighbours send back what is sent to them. With `are_outsiders`, others are heard that are not of this group.
pub(super) fn neighbours(facts: &Facts, are_outsiders: bool) -> Vec<Finding> {
    let is_alone = !facts.neighbours.iter().any(echoes);
    let mut findings: Vec<Finding> = facts
        .neighbours
        .iter()
        .map(|one| echo(one, is_alone, &facts.used_addresses()))
        .collect();
    if facts.neighbours.is_empty() && are_outsiders {
        let text = "no machine is heard that this node can understand";
        findings.push(
            Finding::hint("neighbour", text)
                .advise("Others are there, and keep to another group: see below."),
        );
    } else if facts.neighbours.is_empty() {
        let text = "no other machine is heard";
        findings.push(Finding::hint("neighbour", text).advise(
            "Is `zeroshare node` running on another machine of this network? It is heard about once a minute. Guest Wi-Fi \
             often keeps machines apart: then use a cable, or name a machine of a network in reach with `--static-peer HOST`.",
        ));
    }
    findings
}

/// The stores of those who do.
pub(super) fn stores(facts: &Facts) -> Vec<stores::At> {
    let near = facts.neighbours.iter().filter(|one| echoes(one));
    let at = near.filter_map(|one| {
        let at = one.store_address.as_ref()?;
        let at = socket_address("store_address", at).ok()?;
        Some((at, one.peer_id.parse().ok()))
    });
    at.collect()
}

fn echoes(neighbour: &NeighbourFinding) -> bool {
    neighbour.echo_time.is_some()
}

fn echo(neighbour: &NeighbourFinding, is_alone: bool, used: &[IpAddr]) -> Finding {
    let at = neighbour.address.as_ref().and_then(address);
    let at = at.unwrap_or_else(|| "a neighbour".to_owned());
    let roads: Vec<&str> = neighbour
        .roads
        .iter()
        .map(|road| road_words(road))
        .collect();
    let roads = roads.join(", ");
    let finding = if let Some(took) = neighbour.echo_time.as_ref() {
        let took = millis(span(Some(took)));
        let text = format!("{at} answers by UDP, after {took} ms; heard by {roads}");
        Finding::ok("neighbour", text)
    } else if leads_elsewhere(neighbour, used) {
        let text = format!(
            "{at} was heard by {roads}, and this machine's way to it leads by an interface that is not in use, so nothing is \
             sent to it"
        );
        Finding::fault_if(is_alone, "neighbour", text).advise(
            "A VPN may claim this network: have it leave the local network alone, or end it. Another card in the same network \
             can be used too, `--interface NAME`. `ip route get ADDRESS` shows the way.",
        )
    } else {
        let text = format!(
            "{at} was heard by {roads}, and does not answer what is sent to it alone: it has gone, or a firewall there \
             or here drops UDP"
        );
        Finding::fault_if(is_alone, "neighbour", text).advise(LET_IN)
    };
    finding.about(at)
}

/// Whether it was heard here, and the system would send to it from an address that no interface in use has. Where nothing is
/// known of interfaces, nothing is known of that.
fn leads_elsewhere(neighbour: &NeighbourFinding, used: &[IpAddr]) -> bool {
    if neighbour.roads.iter().all(|road| road == UNICAST) {
        return false;
    }
    let at = neighbour.address.as_ref();
    let at = at.and_then(|at| socket_address("address", at).ok());
    let source = at.and_then(source);
    source.is_some_and(|source| !used.is_empty() && !used.contains(&source))
}

/// The address that the system would send from: to connect a UDP socket looks for a route, and sends nothing.
fn source(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Milliseconds, to a tenth.
pub(super) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

/// Others that are heard, and cannot be understood.
pub(super) fn strangers(facts: &Facts, described: &DescribeNetworkResponse) -> Vec<Finding> {
    let is_alone = !facts.neighbours.iter().any(echoes);
    let mut findings = Vec::new();
    let of_group = dropped(described, "other_group");
    if of_group > 0 {
        let text = outsiders::heard(described, of_group);
        let finding = Finding::fault_if(is_alone, "group", text);
        findings.push(finding.advise(outsiders::advice(described)));
    }
    let of_version = dropped(described, "other_version");
    if of_version > 0 {
        let text = format!(
            "{} of another version came in",
            words::count(of_version, "datagram")
        );
        let finding = Finding::fault_if(is_alone, "version", text);
        findings.push(finding.advise("Bring zeroshare to the same version everywhere."));
    }
    findings
}

/// How many datagrams were dropped for a reason.
pub(super) fn dropped(described: &DescribeNetworkResponse, reason: &str) -> u64 {
    let mut drops = described.drops.iter();
    let found = drops.find(|drop| drop.reason == reason);
    found.map_or(0, |drop| drop.datagrams)
}

#[cfg(test)]
mod tests {
    use zeroshare_wire::convert::{store_address, to_duration};
    use zeroshare_wire::pb::discovery::v1::DropCount;

    use super::super::finding::Level;
    use super::*;

    fn road(name: &str, came_back: bool, peers: u32) -> RoadFinding {
        RoadFinding {
            interface_name: "eth0".to_owned(),
            road: name.to_owned(),
            sent: true,
            came_back,
            peers,
            ..RoadFinding::default()
        }
    }

    fn levels(roads_of: Vec<RoadFinding>) -> Vec<Level> {
        let facts = Facts {
            roads: roads_of,
            ..Facts::default()
        };
        roads(&facts).iter().map(|one| one.level).collect()
    }

    #[test]
    fn a_road_that_brings_nothing_back_is_wrong_and_one_that_the_network_swallows_worth_a_note() {
        let healthy = vec![
            road("multicast4", true, 2),
            road("multicast6", true, 0),
            road("broadcast", true, 0),
        ];
        assert_eq!(levels(healthy), [Level::Ok; 3]);
        let firewall = vec![road("multicast4", false, 0), road("broadcast", true, 1)];
        assert_eq!(levels(firewall), [Level::Fault, Level::Ok]);
        let swallowed = vec![road("multicast4", true, 0), road("broadcast", true, 1)];
        assert_eq!(levels(swallowed), [Level::Hint, Level::Ok]);
        let broken = RoadFinding {
            error: "Network is unreachable".to_owned(),
            ..road("multicast4", false, 0)
        };
        let facts = Facts {
            roads: vec![broken],
            ..Facts::default()
        };
        assert!(roads(&facts)[0].text.contains("Network is unreachable"));
    }

    #[test]
    fn a_silent_neighbour_is_wrong_when_no_other_answers() {
        let neighbour = |last: u8, echo: Option<Duration>| NeighbourFinding {
            address: Some(store_address(([10, 0, 0, last], 38339).into())),
            roads: vec!["multicast4".to_owned()],
            echo_time: echo.map(to_duration),
            ..NeighbourFinding::default()
        };
        let mut facts = Facts {
            neighbours: vec![neighbour(1, None)],
            ..Facts::default()
        };
        let found = neighbours(&facts, false);
        assert_eq!(found[0].level, Level::Fault);
        assert!(found[0].text.contains("drops UDP"), "{}", found[0].text);
        let near = neighbour(2, Some(Duration::from_micros(1_234)));
        facts.neighbours.push(near);
        let found = neighbours(&facts, false);
        assert_eq!((found[0].level, found[1].level), (Level::Hint, Level::Ok));
        assert!(found[1].text.contains("after 1.2 ms"), "{}", found[1].text);
        let alone = neighbours(&Facts::default(), false);
        assert_eq!(alone[0].level, Level::Hint);
    }

    #[test]
    fn a_silent_neighbour_behind_another_network_is_no_firewalls_fault() {
        let silent = NeighbourFinding {
            address: Some(store_address(([127, 0, 0, 9], 38339).into())),
            roads: vec!["multicast4".to_owned()],
            ..NeighbourFinding::default()
        };
        let facts = |own: &str| Facts {
            interfaces: vec![InterfaceFinding {
                name: "eth0".to_owned(),
                addresses: vec![own.to_owned()],
                ..InterfaceFinding::default()
            }],
            neighbours: vec![silent.clone()],
            ..Facts::default()
        };
        // What is sent within 127.0.0.0/8 comes from 127.0.0.1.
        let text = |own| neighbours(&facts(own), false)[0].text.clone();
        assert!(text("127.0.0.1").contains("drops UDP"));
        assert!(text("10.0.0.1").contains("not in use"));
    }

    #[test]
    fn who_hears_only_others_groups_is_not_told_that_nobody_is_there() {
        let text = |others| neighbours(&Facts::default(), others)[0].text.clone();
        assert_eq!(text(false), "no other machine is heard");
        assert!(text(true).contains("can understand"));
    }

    #[test]
    fn without_a_usable_interface_nothing_works() {
        let unused = InterfaceFinding {
            name: "eth0".to_owned(),
            unused: Unused::Down.into(),
            ..InterfaceFinding::default()
        };
        let facts = Facts {
            interfaces: vec![unused],
            ..Facts::default()
        };
        let found = interfaces(&facts);
        assert!(found[0].text.contains("no carrier"));
        assert_eq!(found[1].level, Level::Fault);
    }

    #[test]
    fn another_group_is_wrong_when_nobody_else_is_there() {
        let described = DescribeNetworkResponse {
            drops: vec![DropCount {
                reason: "other_group".to_owned(),
                datagrams: 7,
            }],
            ..DescribeNetworkResponse::default()
        };
        let found = strangers(&Facts::default(), &described);
        assert_eq!((found[0].check, found[0].level), ("group", Level::Fault));
        assert!(found[0].text.starts_with("7 datagrams"));
    }
}
