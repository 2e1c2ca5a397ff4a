//! A filter in the kernel over how many routers a datagram crossed (RFC 5082), and over whom it was meant for.
//!
//! Everybody sends with a time to live, or hop limit, of 255, and each router takes one off: what has 255 left comes from
//! the next machine, whatever its source address says. Reading the value with each datagram takes ancillary data that
//! no safe interface gives; a classic BPF program on the socket sees it in the IP header and costs nothing.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use socket2::{SockFilter, Socket};
use zeroshare_kin::MARK;
use zeroshare_membership::Subnet;

/// Classic BPF, as in `linux/filter.h`.
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Offsets from here count from the start of the IP header.
const IP_HEADER: u32 = 0xfff0_0000;
const TTL4: u32 = IP_HEADER + 8;
const SOURCE4: u32 = IP_HEADER + 12;
const DESTINATION4: u32 = IP_HEADER + 16;
const HOP_LIMIT6: u32 = IP_HEADER + 7;
const SOURCE6: u32 = IP_HEADER + 8;

/// Where the kernel says whom the link carried a packet to, and its word for this machine alone (`linux/if_packet.h`).
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const PACKET_HOST: u32 = 0;

/// Offsets without a base count from the start of the UDP header; this is behind it.
const PAYLOAD: u32 = 8;

/// What a program returns: how many bytes of the datagram to keep.
const KEEP: u32 = u32::MAX;
const DROP: u32 = 0;

/// A program has room for so many networks; in more of them, only what crossed no router is heard by unicast.
const MOST_SUBNETS: usize = 64;

/// … and for so many broadcast addresses; for the others, it has the kernel's word.
const MOST_BROADCASTS: usize = 64;

/// The families of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Drops everything that crossed a router.
pub(super) fn only_from_next_machine(socket: &Socket, family: Family) -> std::io::Result<()> {
    let mut program = vec![load_hops(family)];
    program.extend([skip_if_equal(255, 1), answer(DROP), answer(KEEP)]);
    socket.attach_filter(&program)
}

/// Drops everything that crossed a router, but what 0share says: its clients know nothing of hop limits, and send with
/// what their system has.
///
/// Whoever is beyond a router can thus ask in a neighbour's name, if the router carries broadcasts; the neighbour gets
/// what it did not ask for, about as long as the question.
pub(super) fn only_from_next_machine_or_0share(
    socket: &Socket,
    family: Family,
) -> std::io::Result<()> {
    let program = [
        load_hops(family),
        skip_if_equal(255, 3),
        SockFilter::new(LOAD_WORD, 0, 0, PAYLOAD),
        skip_if_equal(u32::from_be_bytes(MARK), 1),
        answer(DROP),
        answer(KEEP),
    ];
    socket.attach_filter(&program)
}

/// Drops what crossed a router although its source is in a directly connected network, and what was sent to more than
/// one machine.
pub(super) fn only_true_neighbours(
    socket: &Socket,
    family: Family,
    subnets: impl Iterator<Item = Subnet>,
    broadcasts: impl Iterator<Item = Ipv4Addr>,
) -> std::io::Result<()> {
    let mut program = only_to_one_machine(family, broadcasts);
    program.extend([load_hops(family), skip_if_equal(255, 1)]);
    // Here from the next machine: keep. Else the source decides.
    program.extend([skip_always(1), answer(KEEP)]);
    let networks: BTreeSet<Network> = subnets
        .filter_map(|subnet| Network::of(family, &subnet))
        .collect();
    if networks.len() > MOST_SUBNETS {
        program.push(answer(DROP));
    } else {
        program.extend(networks.iter().flat_map(|one| drop_if_from(family, one)));
        program.push(answer(KEEP));
    }
    socket.attach_filter(&program)
}

/// Drops broadcasts: of the link, and of IP where the link carried it to this machine alone, as some access points do.
fn only_to_one_machine(
    family: Family,
    broadcasts: impl Iterator<Item = Ipv4Addr>,
) -> Vec<SockFilter> {
    let mut program = vec![SockFilter::new(LOAD_WORD, 0, 0, PACKET_TYPE)];
    program.extend([skip_if_equal(PACKET_HOST, 1), answer(DROP)]);
    if family == Family::V4 {
        program.push(SockFilter::new(LOAD_WORD, 0, 0, DESTINATION4));
        let directed = broadcasts.take(MOST_BROADCASTS);
        for address in std::iter::once(Ipv4Addr::BROADCAST).chain(directed) {
            program.extend([skip_unless_equal(address.to_bits(), 1), answer(DROP)]);
        }
    }
    program
}

fn load_hops(family: Family) -> SockFilter {
    let offset = match family {
        Family::V4 => TTL4,
        Family::V6 => HOP_LIMIT6,
    };
    SockFilter::new(LOAD_BYTE, 0, 0, offset)
}

fn skip_if_equal(value: u32, instructions: u8) -> SockFilter {
    SockFilter::new(JUMP_IF_EQUAL, instructions, 0, value)
}

fn skip_unless_equal(value: u32, instructions: u8) -> SockFilter {
    SockFilter::new(JUMP_IF_EQUAL, 0, instructions, value)
}

fn skip_always(instructions: u8) -> SockFilter {
    // Jumps either way.
    SockFilter::new(JUMP_IF_EQUAL, instructions, instructions, 0)
}

fn answer(bytes: u32) -> SockFilter {
    SockFilter::new(RETURN, 0, 0, bytes)
}

/// A network as a program compares it: the upper bits of an address, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Network {
    bits: u128,
    prefix: u32,
}

impl Network {
    /// The same network whatever address in it named it; `None` for one of the other family.
    fn of(family: Family, subnet: &Subnet) -> Option<Self> {
        let bits = match (family, subnet.address()) {
            (Family::V4, IpAddr::V4(ip)) => u128::from(ip.to_bits()) << 96,
            (Family::V6, IpAddr::V6(ip)) => ip.to_bits(),
            (Family::V4, IpAddr::V6(_)) | (Family::V6, IpAddr::V4(_)) => return None,
        };
        let prefix = u32::from(subnet.prefix_len());
        let bits = bits & mask_of(prefix);
        Some(Self { bits, prefix })
    }
}

fn mask_of(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

/// Compares the source with a network word by word; returns only when all of them agree.
fn drop_if_from(family: Family, network: &Network) -> Vec<SockFilter> {
    let start = match family {
        Family::V4 => SOURCE4,
        Family::V6 => SOURCE6,
    };
    let mask = mask_of(network.prefix);
    let words: Vec<(u32, u32, u32)> = (0..network.prefix.div_ceil(32))
        .map(|word| {
            (
                start + 4 * word,
                word_of(mask, word),
                word_of(network.bits, word),
            )
        })
        .collect();
    let mut program = Vec::new();
    let count = words.len();
    for (at, (offset, mask, value)) in words.into_iter().enumerate() {
        // Three instructions for each later word, and the return, are skipped when this one differs.
        let rest = u8::try_from(3 * (count - at - 1) + 1).unwrap_or(u8::MAX);
        program.push(SockFilter::new(LOAD_WORD, 0, 0, offset));
        program.push(SockFilter::new(AND, 0, 0, mask));
        program.push(SockFilter::new(JUMP_IF_EQUAL, 0, rest, value));
    }
    program.push(answer(DROP));
    program
}

/// The 32-bit words of an address, from its start.
fn word_of(bits: u128, word: u32) -> u32 {
    u32::try_from((bits >> (96 - 32 * word)) & u128::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        net::{SocketAddr, UdpSocket},
        time::Duration,
    };

    use socket2::SockRef;

    use super::*;

    /// Sends with one TTL, then with 255, and says which of the two arrived.
    fn arrives(receiver: &UdpSocket, ttl: u32) -> bool {
        let to = receiver.local_addr().unwrap();
        let any: SocketAddr = (to.ip(), 0).into();
        let sender = UdpSocket::bind(any).unwrap();
        let send = |ttl: u32, text: &[u8]| {
            let socket = SockRef::from(&sender);
            if to.is_ipv4() {
                socket.set_ttl_v4(ttl).unwrap();
            } else {
                socket.set_unicast_hops_v6(ttl).unwrap();
            }
            sender.send_to(text, to).unwrap();
        };
        send(ttl, b"?");
        send(255, b"!");
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut buffer = [0; 1];
        receiver.recv(&mut buffer).unwrap();
        if buffer == *b"!" {
            return false;
        }
        receiver.recv(&mut buffer).unwrap();
        assert_eq!(buffer, *b"!");
        true
    }

    #[test]
    fn what_crossed_a_router_is_dropped_by_the_kernel() {
        for (address, family) in [("127.0.0.1:0", Family::V4), ("[::1]:0", Family::V6)] {
            let receiver = match UdpSocket::bind(address) {
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => continue,
                receiver => receiver.unwrap(),
            };
            let socket = SockRef::from(&receiver);
            assert!(arrives(&receiver, 64));
            only_from_next_machine(&socket, family).unwrap();
            assert!(!arrives(&receiver, 64) && !arrives(&receiver, 254));
            assert!(arrives(&receiver, 255));
        }
    }

    #[test]
    fn what_0share_says_is_heard_from_any_distance() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        only_from_next_machine_or_0share(&SockRef::from(&receiver), Family::V4).unwrap();
        assert!(!arrives(&receiver, 64) && arrives(&receiver, 255));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        SockRef::from(&sender).set_ttl_v4(64).unwrap();
        let to = receiver.local_addr().unwrap();
        for text in ["0", "0share", "1share", "0sh"] {
            sender.send_to(text.as_bytes(), to).unwrap();
        }
        SockRef::from(&sender).set_ttl_v4(255).unwrap();
        sender.send_to(b"!", to).unwrap();
        let mut buffer = [0; 9];
        let first = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..first], b"0share");
        let second = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..second], b"!");
    }

    #[test]
    fn on_the_unicast_socket_that_holds_for_neighbours_only() {
        let cases = [
            ("127.0.0.1:0", Family::V4, "127.0.0.0/8", "127.0.1.0/24"),
            ("127.0.0.1:0", Family::V4, "127.0.0.1/32", "10.0.0.0/8"),
            ("[::1]:0", Family::V6, "::/64", "::2/128"),
            ("[::1]:0", Family::V6, "::1/128", "fe80::/10"),
        ];
        for (address, family, own, other) in cases {
            let receiver = match UdpSocket::bind(address) {
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => continue,
                receiver => receiver.unwrap(),
            };
            let socket = SockRef::from(&receiver);
            let watch = |networks: &[&str]| {
                let networks = networks.iter().map(|text| text.parse::<Subnet>().unwrap());
                only_true_neighbours(&socket, family, networks, std::iter::empty()).unwrap();
            };
            watch(&[other]);
            assert!(arrives(&receiver, 64), "{other}");
            watch(&[other, own]);
            assert!(!arrives(&receiver, 64), "{own}");
            assert!(arrives(&receiver, 255), "{own}");
        }
    }

    fn watch_networks(receiver: &UdpSocket, networks: impl Iterator<Item = String>) {
        let networks = networks.map(|text| text.parse::<Subnet>().unwrap());
        let socket = SockRef::from(receiver);
        only_true_neighbours(&socket, Family::V4, networks, std::iter::empty()).unwrap();
    }

    #[test]
    fn in_more_networks_than_fit_nothing_that_crossed_a_router_is_heard() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let networks = |count: usize| (0..count).map(|at| format!("10.0.{at}.7/24"));
        watch_networks(&receiver, networks(MOST_SUBNETS));
        assert!(arrives(&receiver, 64));
        watch_networks(&receiver, networks(MOST_SUBNETS + 1));
        assert!(!arrives(&receiver, 64));
        assert!(arrives(&receiver, 255));
    }

    #[test]
    fn the_other_family_and_further_addresses_of_a_network_take_no_room() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let others = (0..=MOST_SUBNETS).map(|at| format!("fd00:{at:x}::1/64"));
        let same = (0..=MOST_SUBNETS).map(|at| format!("10.0.0.{at}/24"));
        watch_networks(&receiver, others.clone().chain(same.clone()));
        assert!(arrives(&receiver, 64));
        watch_networks(
            &receiver,
            others.chain(same).chain(["127.0.0.1/8".to_owned()]),
        );
        assert!(!arrives(&receiver, 64));
    }

    #[test]
    fn a_directed_broadcast_is_dropped_though_the_link_names_one_machine() {
        let receiver = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = receiver.local_addr().unwrap().port();
        let broadcast = Ipv4Addr::new(127, 255, 255, 255);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.set_broadcast(true).unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let first = || {
            sender.send_to(b"?", (broadcast, port)).unwrap();
            sender.send_to(b"!", (Ipv4Addr::LOCALHOST, port)).unwrap();
            let mut buffer = [0; 1];
            receiver.recv(&mut buffer).unwrap();
            buffer
        };
        assert_eq!(first(), *b"?");
        receiver.recv(&mut [0; 1]).unwrap();
        let socket = SockRef::from(&receiver);
        let broadcasts = std::iter::once(broadcast);
        only_true_neighbours(&socket, Family::V4, std::iter::empty(), broadcasts).unwrap();
        assert_eq!(first(), *b"!");
    }
}
