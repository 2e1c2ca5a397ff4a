//! Socket addresses, with the interface that `fe80::` needs.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::{
    FieldError,
    datagram::{address_bytes, host_address, port},
    field::within,
    pb::discovery::v1::StoreAddress,
};

/// Reads where a store listens; link-local addresses come with their interface.
pub fn socket_address(
    field: &'static str,
    address: &StoreAddress,
) -> Result<SocketAddr, FieldError> {
    let ip = host_address(field, &address.address)?;
    let port: u16 = within(field, port(field, address.port)?, 1, u64::from(u16::MAX))?;
    match ip {
        IpAddr::V4(v4) => Ok(SocketAddrV4::new(v4, port).into()),
        IpAddr::V6(v6) => {
            let link_local = v6.is_unicast_link_local();
            if link_local && address.interface_index == 0 {
                let why = "a link-local address without interface_index";
                return Err(FieldError::refused(field, why));
            }
            // Only a link-local address is bound to an interface; elsewhere the index is a remark.
            let scope = if link_local {
                address.interface_index
            } else {
                0
            };
            Ok(SocketAddrV6::new(v6, port, 0, scope).into())
        }
    }
}

/// Writes where a store listens.
pub fn store_address(address: SocketAddr) -> StoreAddress {
    let interface_index = match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    };
    StoreAddress {
        address: address_bytes(address.ip().to_canonical()),
        port: address.port().into(),
        interface_index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_wire_with_their_interface() {
        for text in ["10.0.0.1:1", "[fe80::1%7]:38339", "[2001:db8::1]:2"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(
                socket_address("address", &store_address(address)),
                Ok(address)
            );
        }
    }

    #[test]
    fn addresses_that_cannot_be_called_are_refused() {
        let good = store_address("[fe80::1%7]:38339".parse().unwrap());
        for bad in [
            StoreAddress {
                interface_index: 0,
                ..good.clone()
            },
            StoreAddress {
                port: 0,
                ..good.clone()
            },
            StoreAddress {
                port: 65_536,
                ..good.clone()
            },
            StoreAddress {
                address: vec![0; 16].into(),
                ..good
            },
        ] {
            assert_eq!(
                socket_address("address", &bad).unwrap_err().field,
                "address"
            );
        }
    }
}
