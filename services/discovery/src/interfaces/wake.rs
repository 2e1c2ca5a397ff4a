//! Wakes up when the kernel changes an interface or an address.

use std::{io, os::unix::net::UnixDatagram as StdDatagram, time::Duration};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, socket_with,
};
use tokio::{net::UnixDatagram, time::sleep};

/// Links, IPv4 addresses, IPv6 addresses: `RTMGRP_…` of `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Changes come in bursts: an interface, then its addresses.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// More messages than the kernel queues.
const MOST_MESSAGES: usize = 10_000;

/// A netlink socket whose messages only say that something happened: what it is, is found by looking.
#[derive(Debug)]
pub(super) struct Wake {
    // Only received from, which is the same call for every kind of datagram socket.
    socket: UnixDatagram,
}

impl Wake {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self {
            socket: UnixDatagram::from_std(StdDatagram::from(socket))?,
        })
    }

    /// Waits for a change and for the end of its burst; may be dropped midway.
    pub(super) async fn changed(&mut self) {
        let mut buffer = [0; 4096];
        // An error is a change as well: lost messages say that there were many.
        drop(self.socket.recv(&mut buffer).await);
        sleep(DEBOUNCE).await;
        for _ in 0..MOST_MESSAGES {
            match self.socket.try_recv(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {}
            }
        }
    }
}
