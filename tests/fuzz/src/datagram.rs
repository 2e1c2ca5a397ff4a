//! What comes in on UDP.

use zeroshare_wire::datagram::{
    GroupKey, MAX_DATAGRAM_BYTES, NodeId, decode, encode, origin, verify_origin,
};

/// Reads the bytes with and without a group; whatever is read is written so that it is read again.
pub fn check(bytes: &[u8]) {
    let _origin = origin(bytes);
    let _verified = verify_origin(bytes, NodeId::from_bytes([0; 16]));
    for group in [GroupKey::none(), GroupKey::from_keys([7; 32], [7; 32])] {
        let Ok(datagram) = decode(bytes, &group) else {
            continue;
        };
        let _verified = verify_origin(bytes, datagram.node);
        let written = encode(&datagram, &group, None);
        assert!(
            written.len() <= MAX_DATAGRAM_BYTES,
            "{} bytes",
            written.len()
        );
        assert_eq!(decode(&written, &group).as_ref(), Ok(&datagram));
    }
}
