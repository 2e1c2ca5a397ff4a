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
