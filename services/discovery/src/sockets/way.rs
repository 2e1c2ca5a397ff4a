//! Which way the system would send to a neighbour.
//!
//! Routes may be narrower than the network of a cable: a VPN that comes up has some, and what is sent to a neighbour goes
//! into it from then on, datagrams and connections alike. Datagrams could be forced onto the cable, but the connections of
//! other services follow the routes; so a neighbour counts as out of reach for as long as such a route is there. Static
//! peers and allowed networks are not neighbours: their user wants them spoken to where the routes lead.
//!
//! The kernel is asked by netlink (rtnetlink(7)), which sends nothing and needs no privilege.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, recv,
    sendto, socket_with,
};

use crate::interfaces::UsableInterface;

/// A route in answer to a question takes about a hundred bytes.
const ANSWER_BYTES: usize = 1024;

/// `NLMSG_ERROR` of `linux/netlink.h`, `RTM_NEWROUTE` and `RTM_GETROUTE` of `linux/rtnetlink.h`.
const ERROR: u16 = 2;
const ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// The heads of a message and of a route, and both.
const MESSAGE_BYTES: usize = 16;
const ROUTE_BYTES: usize = 12;
const HEADS_BYTES: u16 = 28;

/// Where the head of a route says what kind it is.
const TYPE_AT: usize = 7;

/// `AF_INET` and `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;

/// `RTA_DST` and `RTA_OIF`: where to, and by which interface.
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;

/// `RTN_LOCAL`: this machine itself.
const LOCAL: u8 = 2;

/// Nothing is sent.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is a neighbour, but the way to it leads by an interface that is not in use, perhaps that of a VPN"
)]
struct Astray;

/// Where the system would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To this machine itself.
    Here,
    /// By the interface with this index.
    By(u32),
}

/// Fails where an address lies in the network of an interface in use, and the system would send to it by another one.
pub(super) fn check(to: SocketAddr, interfaces: &[UsableInterface]) -> io::Result<()> {
    // A link-local address says itself by which interface.
    let is_bound = matches!(to, SocketAddr::V6(to) if to.scope_id() != 0);
    let ip = to.ip().to_canonical();
    let near = near(ip, interfaces);
    if is_bound || near.is_empty() {
        return Ok(());
    }
    match way(ip) {
        Ok(way) if is_right(way, &near) => Ok(()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::NetworkUnreachable, Astray)),
        // Some sandboxes have one interface, and no way to ask for routes.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(error) => Err(error),
    }
}

/// The interfaces in whose networks an address lies.
fn near(ip: IpAddr, interfaces: &[UsableInterface]) -> Vec<u32> {
    let is_near = |one: &&UsableInterface| one.addresses.iter().any(|net| net.contains(ip));
    interfaces
        .iter()
        .filter(is_near)
        .map(|one| one.index)
        .collect()
}

fn is_right(way: Way, near: &[u32]) -> bool {
    match way {
        Way::Here => true,
        Way::By(index) => near.contains(&index),
    }
}

/// Asks the kernel, which answers while it takes the question.
fn way(to: IpAddr) -> io::Result<Way> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &question(to), SendFlags::empty(), &kernel)?;
    let mut bytes = [0; ANSWER_BYTES];
    let (len, _) = recv(&socket, &mut bytes[..], RecvFlags::empty())?;
    answer(bytes.get(..len).unwrap_or_default())
}

/// Which route leads to an address?
fn question(to: IpAddr) -> Vec<u8> {
    let (family, bits, address) = match to {
        IpAddr::V4(ip) => (INET, 32, ip.octets().to_vec()),
        IpAddr::V6(ip) => (INET6, 128, ip.octets().to_vec()),
    };
    // In bytes: an attribute's head, and an address of so many bits.
    let attribute = 4 + u16::from(bits / 8);
    let message = u32::from(HEADS_BYTES + attribute);
    let mut bytes = message.to_ne_bytes().to_vec();
    bytes.extend([GET_ROUTE, REQUEST].map(u16::to_ne_bytes).concat());
    // The first message of this socket, whose number the kernel knows.
    bytes.extend([0; 8]);
    bytes.extend([family, bits]);
    bytes.extend([0; ROUTE_BYTES - 2]);
    bytes.extend([attribute, DESTINATION].map(u16::to_ne_bytes).concat());
    bytes.extend(address);
    bytes
}

/// The interface that a route in answer names.
fn answer(bytes: &[u8]) -> io::Result<Way> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = u16_at(bytes, 4).ok_or_else(malformed)?;
    let body = bytes.get(MESSAGE_BYTES..).ok_or_else(malformed)?;
    if kind == ERROR {
        let negative = u32_at(body, 0).ok_or_else(malformed)?.cast_signed();
        return Err(io::Error::from_raw_os_error(negative.saturating_neg()));
    }
    if kind != ROUTE {
        return Err(malformed());
    }
    if body.get(TYPE_AT) == Some(&LOCAL) {
        return Ok(Way::Here);
    }
    let mut rest = body.get(ROUTE_BYTES..).ok_or_else(malformed)?;
    while let (Some(len), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        if kind == INTERFACE {
            return u32_at(rest, 4).map(Way::By).ok_or_else(malformed);
        }
        // Attributes begin at multiples of four.
        let next = usize::from(len).next_multiple_of(4).max(4);
        rest = rest.get(next..).unwrap_or_default();
    }
    Err(malformed())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_ne_bytes(bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn interface(index: u32, network: &str) -> UsableInterface {
        UsableInterface {
            index,
            name: format!("eth{index}"),
            addresses: [network.parse().unwrap()].into(),
            broadcasts: BTreeSet::new(),
            roads: BTreeSet::new(),
        }
    }

    /// A route in answer, of this type and with these attributes.
    fn route(kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; MESSAGE_BYTES + ROUTE_BYTES];
        bytes[4..6].copy_from_slice(&ROUTE.to_ne_bytes());
        bytes[MESSAGE_BYTES + TYPE_AT] = kind;
        for (name, value) in attributes {
            let len = u16::try_from(4 + value.len()).unwrap();
            bytes.extend([len, *name].map(u16::to_ne_bytes).concat());
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn only_the_interfaces_in_whose_network_it_lies_are_right() {
        let all = [
            interface(2, "10.0.0.7/8"),
            interface(3, "10.1.0.7/16"),
            interface(4, "192.168.1.7/24"),
        ];
        let near = |ip: &str| near(ip.parse().unwrap(), &all);
        assert_eq!(near("10.1.0.9"), [2, 3]);
        assert_eq!(near("10.2.0.9"), [2]);
        assert!(near("172.16.0.1").is_empty());
        assert!(is_right(Way::By(3), &near("10.1.0.9")));
        assert!(!is_right(Way::By(4), &near("10.1.0.9")));
        assert!(!is_right(Way::By(3), &near("10.2.0.9")));
        assert!(is_right(Way::Here, &near("10.2.0.9")));
    }

    #[test]
    fn the_kernel_knows_the_way_to_this_machine() {
        assert_eq!(way("127.0.0.9".parse().unwrap()).unwrap(), Way::Here);
        let lo = interface(1, "127.0.0.1/8");
        check("127.0.0.1:9".parse().unwrap(), &[lo]).unwrap();
        match way("::1".parse().unwrap()) {
            Ok(way) => assert_eq!(way, Way::Here),
            // Without IPv6 nobody is asked about it.
            Err(error) => assert_ne!(error.kind(), io::ErrorKind::InvalidData),
        }
    }

    #[test]
    fn who_is_no_neighbour_or_link_local_is_sent_to_without_a_question() {
        let to = |text: &str| text.parse().unwrap();
        let all = [interface(2, "10.0.0.7/24"), interface(3, "fe80::2/64")];
        check(to("203.0.113.9:9"), &all).unwrap();
        check(to("[fe80::1%3]:9"), &all).unwrap();
    }

    #[test]
    fn the_interface_is_found_among_what_a_route_says() {
        let index = 7_u32.to_ne_bytes();
        let said = route(
            1,
            &[
                (8, &[254]),
                (DESTINATION, &[10, 0, 0, 9]),
                (INTERFACE, &index),
            ],
        );
        assert_eq!(answer(&said).unwrap(), Way::By(7));
        assert_eq!(answer(&route(LOCAL, &[])).unwrap(), Way::Here);
    }

    #[test]
    fn an_error_is_the_systems_and_nonsense_is_one_too() {
        let mut refused = vec![0; MESSAGE_BYTES + 4];
        refused[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        refused[MESSAGE_BYTES..].copy_from_slice(&(-101_i32).to_ne_bytes());
        let error = answer(&refused).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
        let index = 7_u32.to_ne_bytes();
        let whole = route(1, &[(8, &[254]), (INTERFACE, &index)]);
        for len in 0..whole.len() {
            answer(&whole[..len]).unwrap_err();
        }
        let endless = route(1, &[(8, &[])]);
        answer(&[&endless[..], &[0; 64]].concat()).unwrap_err();
        let mut other = whole.clone();
        other[4] = 99;
        answer(&other).unwrap_err();
    }
}
