//! One port on every interface, for both families.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{ListenError, tcp::BACKLOG};

/// How often a port that the first family got may be taken in the second.
const MAX_TRIES: u32 = 16;

/// Listens on a port of every interface, IPv4 first; with IPv6 as well where the machine has it.
///
/// All listeners have the same port. One that is taken gives way to any other only with `fallback_to_any`; port 0 is
/// any from the start.
pub fn bind_lan(port: u16, fallback_to_any: bool) -> Result<Vec<TcpListener>, ListenError> {
    match bind_both(port) {
        Err(error) if is_taken(&error) && (fallback_to_any || port == 0) => bind_any(),
        other => other.map_err(|error| refused(port, error)),
    }
}

fn bind_any() -> Result<Vec<TcpListener>, ListenError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_both(0) {
            Err(error) if is_taken(&error) && tries < MAX_TRIES => {}
            other => return other.map_err(|error| refused(0, error)),
        }
    }
}

fn bind_both(port: u16) -> io::Result<Vec<TcpListener>> {
    let ipv4 = listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    let ipv4 = match ipv4 {
        Err(error) if is_missing(&error) => None,
        other => Some(other?),
    };
    let port = match &ipv4 {
        Some(listener) => listener.local_addr()?.port(),
        None => port,
    };
    match listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Err(error) if is_missing(&error) && ipv4.is_some() => Ok(ipv4.into_iter().collect()),
        other => Ok(ipv4.into_iter().chain([other?]).collect()),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Says whether the machine lacks the whole family.
fn is_missing(error: &io::Error) -> bool {
    let missing = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(missing)
}

fn refused(port: u16, source: io::Error) -> ListenError {
    let address = format!("port {port}");
    if is_taken(&source) {
        ListenError::InUse { address }
    } else {
        ListenError::Io { address, source }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn both_families_get_the_same_port() {
        let listeners = bind_lan(0, false).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        for listener in &listeners {
            let address = listener.local_addr().unwrap();
            assert_eq!(address.port(), port);
            let loopback = if address.is_ipv4() {
                "127.0.0.1"
            } else {
                "::1"
            };
            TcpStream::connect((loopback, port)).unwrap();
        }
    }

    #[test]
    fn a_taken_port_gives_way_only_when_it_may() {
        let first = bind_lan(0, false).unwrap();
        let port = first[0].local_addr().unwrap().port();
        let error = bind_lan(port, false).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        let second = bind_lan(port, true).unwrap();
        assert_ne!(second[0].local_addr().unwrap().port(), port);
    }

    #[test]
    fn a_port_that_one_family_lost_is_given_up_in_the_other() {
        let taken = listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind_lan(port, false).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    }
}
