//! A local API on one address of this machine.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use super::ListenError;

/// How many connections may wait to be accepted.
pub(super) const BACKLOG: i32 = 512;

/// Binds one named address, so that only callers on its own interface and on this machine reach it.
///
/// Linux answers for all of its addresses on all interfaces; bound to the device as well, an address of a management
/// network cannot be reached from the LAN. Own callers come over loopback, so that gets a socket of its own.
pub(super) fn bind(address: SocketAddr) -> Result<(Vec<TcpListener>, SocketAddr), ListenError> {
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(ListenError::Unspecified { address });
    }
    let failed = |source: io::Error| {
        let address = address.to_string();
        if source.kind() == io::ErrorKind::AddrInUse {
            ListenError::InUse { address }
        } else {
            ListenError::Io { address, source }
        }
    };
    let Some(device) = device_of(address.ip()).map_err(failed)? else {
        let listener = listen(address, None).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        return Ok((vec![listener], bound));
    };
    let listener = match listen(address, Some(&device)) {
        Ok(listener) => listener,
        Err(error) if is_about_devices(&error) => {
            warn!(%address, device, "cannot bind to the device: other networks may reach the local API");
            let listener = listen(address, None).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            return Ok((vec![listener], bound));
        }
        Err(error) => return Err(failed(error)),
    };
    let bound = listener.local_addr().map_err(failed)?;
    let mut listeners = vec![listener];
    match device_of(IpAddr::from([127, 0, 0, 1])).map_err(failed)? {
        Some(loopback) if loopback != device => {
            listeners.push(listen(bound, Some(&loopback)).map_err(failed)?);
        }
        _ => {}
    }
    Ok((listeners, bound))
}

/// A listening socket, bound to a device if one is named.
fn listen(address: SocketAddr, device: Option<&str>) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The interface that has this address; none where loopback answers for a whole network of them.
fn device_of(address: IpAddr) -> io::Result<Option<String>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let exact = interfaces
        .iter()
        .find(|interface| interface.ip() == address);
    let loopback = || {
        let loopback = |interface: &&if_addrs::Interface| interface.is_loopback();
        interfaces
            .iter()
            .find(loopback)
            .filter(|_| address.is_loopback())
    };
    Ok(exact
        .or_else(loopback)
        .map(|interface| interface.name.clone()))
}

/// Says whether the kernel refuses to bind to devices at all, rather than this address.
fn is_about_devices(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(rustix::io::Errno::NOPROTOOPT.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn every_interface_is_refused() {
        for address in ["0.0.0.0:0", "[::]:0", "224.0.0.1:0"] {
            let error = bind(address.parse().unwrap()).unwrap_err();
            assert!(matches!(error, ListenError::Unspecified { .. }), "{error}");
        }
    }

    #[test]
    fn loopback_is_reached() {
        for address in ["127.0.0.1:0", "127.9.8.7:0"] {
            let (_listeners, bound) = bind(address.parse().unwrap()).unwrap();
            assert_ne!(bound.port(), 0);
            TcpStream::connect(bound).unwrap();
        }
    }

    #[test]
    fn this_machine_reaches_its_own_other_addresses() {
        let interfaces = if_addrs::get_if_addrs().unwrap();
        let others = interfaces
            .iter()
            .filter(|interface| !interface.is_loopback());
        for interface in others.filter(|interface| interface.ip().is_ipv4()) {
            let (_listeners, bound) = bind(SocketAddr::new(interface.ip(), 0)).unwrap();
            TcpStream::connect(bound).unwrap();
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let error = bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(error, ListenError::Io { .. }), "{error}");
    }

    #[test]
    fn a_taken_port_is_named() {
        let (_listeners, bound) = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(bound).unwrap_err();
        assert_eq!(error.to_string(), format!("{bound} is in use"));
    }
}
