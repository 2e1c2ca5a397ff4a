//! Sockets on which everybody is spoken to.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
};

use rustix::net::sockopt::set_ip_multicast_if_with_ifindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use zeroshare_chassis::Lifetime;
use zeroshare_membership::Road;

use super::{
    GROUP4, GROUP6, Inbox,
    hops::{Family, only_from_next_machine, only_from_next_machine_or_0share},
    receive_from,
};
use crate::interfaces::UsableInterface;

/// Bursts of answers, not yet read.
const RECEIVE_BUFFER_BYTES: usize = 512 * 1024;

/// One socket of one road of one interface; its reader ends with it.
#[derive(Debug)]
pub(super) struct GroupSocket {
    socket: UdpSocket,
    target: SocketAddr,
    reader: Option<Lifetime>,
}

/// Opens the sockets of a road: one, or for broadcast one for each address.
pub(super) fn open(
    interface: &UsableInterface,
    road: Road,
    port: u16,
    hears_0share: bool,
) -> io::Result<Vec<GroupSocket>> {
    match road {
        Road::Multicast4 => Ok(vec![multicast4(interface, port)?]),
        Road::Multicast6 => Ok(vec![multicast6(interface, port)?]),
        Road::Broadcast => {
            let directed = interface.broadcasts.iter().copied();
            let addresses = std::iter::once(Ipv4Addr::BROADCAST).chain(directed);
            addresses
                .map(|address| broadcast(interface, address, port, hears_0share))
                .collect()
        }
        Road::Unicast => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn multicast4(interface: &UsableInterface, port: u16) -> io::Result<GroupSocket> {
    let socket = on_device(interface, Domain::IPV4)?;
    // Else groups that other sockets of this machine joined would be heard too.
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.set_multicast_loop_v4(true)?;
    // Else the source may be another interface's address, when this one's is for this machine alone.
    let own = interface.first_v4().unwrap_or(Ipv4Addr::UNSPECIFIED);
    set_ip_multicast_if_with_ifindex(&socket, &GROUP4, &own, interface.index)?;
    let target = SocketAddr::V4(SocketAddrV4::new(GROUP4, port));
    socket.bind(&target.into())?;
    socket.join_multicast_v4_n(&GROUP4, &InterfaceIndexOrAddress::Index(interface.index))?;
    Ok(GroupSocket::new(socket, target))
}

fn multicast6(interface: &UsableInterface, port: u16) -> io::Result<GroupSocket> {
    let socket = on_device(interface, Domain::IPV6)?;
    socket.set_only_v6(true)?;
    socket.set_multicast_all_v6(false)?;
    socket.set_multicast_hops_v6(255)?;
    socket.set_multicast_loop_v6(true)?;
    socket.set_multicast_if_v6(interface.index)?;
    let target = SocketAddr::V6(SocketAddrV6::new(GROUP6, port, 0, interface.index));
    socket.bind(&target.into())?;
    socket.join_multicast_v6(&GROUP6, interface.index)?;
    Ok(GroupSocket::new(socket, target))
}

fn broadcast(
    interface: &UsableInterface,
    address: Ipv4Addr,
    port: u16,
    hears_0share: bool,
) -> io::Result<GroupSocket> {
    let socket = on_device(interface, Domain::IPV4)?;
    if hears_0share {
        only_from_next_machine_or_0share(&socket, Family::V4)?;
    }
    socket.set_broadcast(true)?;
    socket.set_ttl_v4(255)?;
    let target = SocketAddr::V4(SocketAddrV4::new(address, port));
    socket.bind(&target.into())?;
    Ok(GroupSocket::new(socket, target))
}

/// A socket that hears and speaks on one device only; needs no privilege since Linux 5.7.
fn on_device(interface: &UsableInterface, domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(
        domain,
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    // Several nodes of a machine, of several users, listen on the port; each gets a copy. (REUSEPORT would demand that
    // they belong to one user.)
    socket.set_reuse_address(true)?;
    // Smaller where the system allows no more.
    drop(socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES));
    let family = if domain == Domain::IPV4 {
        Family::V4
    } else {
        Family::V6
    };
    only_from_next_machine(&socket, family)?;
    Ok(socket)
}

impl GroupSocket {
    fn new(socket: Socket, target: SocketAddr) -> Self {
        Self {
            socket: socket.into(),
            target,
            reader: None,
        }
    }

    /// Begins to read.
    pub(super) fn receive(
        &mut self,
        interface: u32,
        road: Road,
        inbox: &Inbox,
        lifetime: &Lifetime,
    ) -> io::Result<()> {
        let socket = tokio::net::UdpSocket::from_std(self.socket.try_clone()?)?;
        let reader = lifetime.child();
        let stopping = reader.stopping();
        let inbox = inbox.clone();
        reader.spawn("group socket", async move {
            tokio::select! {
                () = stopping => {}
                () = receive_from(socket, Some(interface), road, inbox) => {}
            }
        });
        self.reader = Some(reader);
        Ok(())
    }

    pub(super) fn send(&self, payload: &[u8]) -> io::Result<()> {
        let target = SockAddr::from(self.target);
        socket2::SockRef::from(&self.socket)
            .send_to(payload, &target)
            .map(|_| ())
    }
}

impl Drop for GroupSocket {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.stop();
        }
    }
}
