//! The socket on which this node alone is spoken to, one for each family.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tracing::info;
use zeroshare_chassis::Lifetime;
use zeroshare_membership::{Road, Subnet};

use super::{
    Inbox,
    hops::{Family, only_true_neighbours},
    receive_from,
};
use crate::interfaces::UsableInterface;

/// How often another free port is tried when one is free for one family only.
const TRIES: u32 = 16;

/// The sockets, both on one port. IPv6 may be missing on this machine.
#[derive(Debug)]
pub(crate) struct UnicastSockets {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
    port: u16,
}

impl UnicastSockets {
    /// Takes a port, or any if that one is taken and another will do; 0 takes any.
    pub(crate) fn bind(port: u16, may_change: bool) -> io::Result<Self> {
        if port != 0 {
            match Self::bind_free(port) {
                Err(error) if may_change && error.kind() == io::ErrorKind::AddrInUse => {
                    info!(port, "another node has the port; taking any");
                }
                bound => return bound,
            }
        }
        let mut last = Err(io::ErrorKind::AddrInUse.into());
        for _ in 0..TRIES {
            last = Self::bind_pair(0);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// Takes a port if no other node has it.
    ///
    /// The groups' sockets of every node of this machine share the port with this one, so the port must be shared; but
    /// of two unicast sockets only the last would hear anything. A socket on loopback that shares with nobody finds out:
    /// it collides with unicast sockets, and with no group's.
    fn bind_free(port: u16) -> io::Result<Self> {
        let probe = udp(Domain::IPV4)?;
        probe.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        // From here on another node's probe collides with this one, and ours with its socket.
        probe.set_reuse_address(true)?;
        Self::bind_pair(port)
    }

    fn bind_pair(port: u16) -> io::Result<Self> {
        let v4 = udp(Domain::IPV4)?;
        v4.set_ttl_v4(255)?;
        // Else groups that other sockets of this machine joined would be heard too, on the port that all share.
        v4.set_multicast_all_v4(false)?;
        v4.set_reuse_address(port != 0)?;
        v4.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        v4.set_reuse_address(true)?;
        let v4 = UdpSocket::from(v4);
        let bound = v4.local_addr()?.port();
        let v6 = match bind_v6(bound, port != 0) {
            Ok(v6) => Some(UdpSocket::from(v6)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => {
                info!(%error, "no IPv6 on this machine");
                None
            }
        };
        let sockets = Self {
            v4,
            v6,
            port: bound,
        };
        sockets.set_neighbours(&[])?;
        Ok(sockets)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Has the kernel drop what pretends to come from these interfaces' networks and crossed a router, and broadcasts.
    pub(super) fn set_neighbours(&self, interfaces: &[UsableInterface]) -> io::Result<()> {
        let subnets = || interfaces.iter().flat_map(UsableInterface::subnets);
        let broadcasts = interfaces.iter().flat_map(|one| &one.broadcasts).copied();
        let v4 = SockRef::from(&self.v4);
        only_true_neighbours(&v4, Family::V4, subnets(), broadcasts)?;
        let Some(v6) = &self.v6 else {
            return Ok(());
        };
        // Link-local addresses are next door by nature, on whatever interface.
        let link_local = Subnet::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10);
        let subnets = link_local.into_iter().chain(subnets());
        let v6 = SockRef::from(v6);
        only_true_neighbours(&v6, Family::V6, subnets, std::iter::empty())
    }

    /// Begins to read.
    pub(super) fn receive(&self, inbox: &Inbox, lifetime: &Lifetime) -> io::Result<()> {
        for socket in std::iter::once(&self.v4).chain(&self.v6) {
            let socket = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
            let (stopping, inbox) = (lifetime.stopping(), inbox.clone());
            lifetime.spawn("unicast socket", async move {
                tokio::select! {
                    () = stopping => {}
                    () = receive_from(socket, None, Road::Unicast, inbox) => {}
                }
            });
        }
        Ok(())
    }

    pub(super) fn send(&self, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let socket = match (to, &self.v6) {
            (SocketAddr::V4(_), _) => &self.v4,
            (SocketAddr::V6(_), Some(v6)) => v6,
            (SocketAddr::V6(_), None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        socket.send_to(payload, to).map(|_| ())
    }
}

fn bind_v6(port: u16, shared: bool) -> io::Result<Socket> {
    let v6 = udp(Domain::IPV6)?;
    v6.set_only_v6(true)?;
    v6.set_unicast_hops_v6(255)?;
    v6.set_multicast_all_v6(false)?;
    v6.set_reuse_address(shared)?;
    v6.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    v6.set_reuse_address(true)?;
    Ok(v6)
}

fn udp(domain: Domain) -> io::Result<Socket> {
    Socket::new(
        domain,
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_node_of_a_machine_takes_another_port() {
        let first = UnicastSockets::bind(0, true).unwrap();
        let second = UnicastSockets::bind(first.port(), true).unwrap();
        assert_ne!(first.port(), second.port());
        let error = UnicastSockets::bind(first.port(), false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn no_family_hears_the_groups_of_others() {
        // No group can be spoken to on loopback by IPv6, so this looks at the options.
        let sockets = UnicastSockets::bind(0, true).unwrap();
        assert!(!SockRef::from(&sockets.v4).multicast_all_v4().unwrap());
        if let Some(v6) = &sockets.v6 {
            assert!(!SockRef::from(v6).multicast_all_v6().unwrap());
        }
    }

    #[test]
    fn a_port_is_free_again_when_its_node_is_gone_though_others_hear_groups_on_it() {
        let first = UnicastSockets::bind(0, true).unwrap();
        let port = first.port();
        let group = udp(Domain::IPV4).unwrap();
        group.set_reuse_address(true).unwrap();
        group
            .bind(&SocketAddr::from((super::super::GROUP4, port)).into())
            .unwrap();
        drop(first);
        assert_eq!(UnicastSockets::bind(port, false).unwrap().port(), port);
    }
}
