//! A filter in the kernel over how many routers a datagram crossed (RFC 5082).
//!
//! Everybody sends with a time to live, or hop limit, of 255, and each router takes one off: what has 255 left comes from
//! the next machine, whatever its source address says. Reading the value with each datagram takes ancillary data that
//! no safe interface gives; a classic BPF program on the socket sees it in the IP header and costs nothing.

use std::net::IpAddr;

use socket2::{SockFilter, Socket};
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
const HOP_LIMIT6: u32 = IP_HEADER + 7;
const SOURCE6: u32 = IP_HEADER + 8;

/// What a program returns: how many bytes of the datagram to keep.
const KEEP: u32 = u32::MAX;
const DROP: u32 = 0;

/// A program's jumps reach so many networks; a machine in more of them drops what they send by unicast.
const MOST_SUBNETS: usize = 64;

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

/// Drops what crossed a router although its source is in a directly connected network.
pub(super) fn only_true_neighbours(
    socket: &Socket,
    family: Family,
    subnets: impl Iterator<Item = Subnet>,
) -> std::io::Result<()> {
    let mut program = vec![load_hops(family), skip_if_equal(255, 1)];
    // Here from the next machine: keep. Else the source decides.
    program.extend([skip_always(1), answer(KEEP)]);
    for subnet in subnets.take(MOST_SUBNETS) {
        program.extend(drop_if_from(family, &subnet));
    }
    program.push(answer(KEEP));
    socket.attach_filter(&program)
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

fn skip_always(instructions: u8) -> SockFilter {
    // Jumps either way.
    SockFilter::new(JUMP_IF_EQUAL, instructions, instructions, 0)
}

fn answer(bytes: u32) -> SockFilter {
    SockFilter::new(RETURN, 0, 0, bytes)
}

/// Compares the source with a network word by word; returns only when all of them agree.
fn drop_if_from(family: Family, subnet: &Subnet) -> Vec<SockFilter> {
    let (start, bits) = match (family, subnet.address()) {
        (Family::V4, IpAddr::V4(ip)) => (SOURCE4, u128::from(ip.to_bits()) << 96),
        (Family::V6, IpAddr::V6(ip)) => (SOURCE6, ip.to_bits()),
        (Family::V4, IpAddr::V6(_)) | (Family::V6, IpAddr::V4(_)) => return Vec::new(),
    };
    let prefix = u32::from(subnet.prefix_len());
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    let words: Vec<(u32, u32, u32)> = (0..prefix.div_ceil(32))
        .map(|word| {
            (
                start + 4 * word,
                word_of(mask, word),
                word_of(bits & mask, word),
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
                only_true_neighbours(&socket, family, networks).unwrap();
            };
            watch(&[other]);
            assert!(arrives(&receiver, 64), "{other}");
            watch(&[other, own]);
            assert!(!arrives(&receiver, 64), "{own}");
            assert!(arrives(&receiver, 255), "{own}");
        }
    }
}
