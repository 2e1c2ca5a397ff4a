//! Addresses of machines and networks.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    str::FromStr,
};

/// The address of a machine, with the interface that a link-local one needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    ip: IpAddr,
    /// The interface's index; 0 for every address that is not link-local.
    scope: u32,
}

impl Place {
    /// Takes the machine out of a socket address.
    pub fn of(address: SocketAddr) -> Self {
        let scope = match address {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
            SocketAddr::V4(_) | SocketAddr::V6(_) => 0,
        };
        Self {
            ip: address.ip().to_canonical(),
            scope,
        }
    }

    /// The address alone.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The interface of a link-local address; 0 for others.
    pub fn scope(&self) -> u32 {
        self.scope
    }

    /// One of the machine's ports.
    pub fn port(&self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
            IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, self.scope)),
        }
    }

    /// Whether it can be one machine's address at all.
    pub(crate) fn is_one_machine(&self) -> bool {
        let broadcast = self.ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        !self.ip.is_unspecified() && !self.ip.is_multicast() && !broadcast
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        if self.scope != 0 {
            write!(f, "%{}", self.scope)?;
        }
        Ok(())
    }
}

/// A network: an address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    address: IpAddr,
    prefix_len: u8,
}

/// Text or numbers that are no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address and a prefix length, such as 172.28.1.0/24 or fd00::/64")]
pub struct SubnetError;

impl Subnet {
    /// Makes a network of any address in it.
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<Self, SubnetError> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix_len > most {
            return Err(SubnetError);
        }
        Ok(Self {
            address,
            prefix_len,
        })
    }

    /// An address in it: that with which it was made.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits of the address count.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether an address lies in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same_prefix(bits4(own), bits4(other), self.prefix_len)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                same_prefix(bits6(own), bits6(other), self.prefix_len)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Addresses as the upper bits of a number.
fn bits4(ip: Ipv4Addr) -> u128 {
    u128::from(ip.to_bits()) << 96
}

fn bits6(ip: Ipv6Addr) -> u128 {
    ip.to_bits()
}

fn same_prefix(a: u128, b: u128, prefix_len: u8) -> bool {
    (a ^ b).leading_zeros() >= u32::from(prefix_len)
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (address, prefix) = text.split_once('/').ok_or(SubnetError)?;
        let address = address.parse().map_err(|_| SubnetError)?;
        Self::new(address, prefix.parse().map_err(|_| SubnetError)?)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let net: Subnet = "172.28.1.17/24".parse().unwrap();
        assert!(net.contains("172.28.1.0".parse().unwrap()));
        assert!(net.contains("::ffff:172.28.1.9".parse().unwrap()));
        assert!(!net.contains("172.28.2.0".parse().unwrap()));
        assert!(!net.contains("fe80::1".parse().unwrap()));
        let all: Subnet = "::/0".parse().unwrap();
        assert!(all.contains("fd00::1".parse().unwrap()));
        assert!(!all.contains("10.0.0.1".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "::/129", "10.0.0.0", "x/8", "10.0.0.0/"] {
            assert_eq!(wrong.parse::<Subnet>(), Err(SubnetError), "{wrong}");
        }
    }

    #[test]
    fn only_link_local_places_have_a_scope() {
        let link_local = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 5, 0, 3));
        assert_eq!(Place::of(link_local).port(9).to_string(), "[fe80::1%3]:9");
        let global = SocketAddr::V6(SocketAddrV6::new("fd00::1".parse().unwrap(), 5, 0, 3));
        assert_eq!(Place::of(global).scope(), 0);
    }
}
