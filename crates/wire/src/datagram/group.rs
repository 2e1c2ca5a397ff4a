//! Groups: who shares a secret hears only each other.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::DatagramError;

/// The length of a group's MAC on the wire.
pub(super) const MAC_BYTES: usize = 16;

/// Stands in for a secret where there is none, so that everybody computes the same tags.
const PUBLIC_SECRET: &[u8; 32] = b"zeroshare public group, format 1";

/// What the members of a group speak with, or that there is no group.
///
/// Without a group, tags hide nothing from somebody who can guess digests.
#[derive(Clone, Default)]
pub struct GroupKey(Option<Keys>);

#[derive(Clone)]
struct Keys {
    mac: [u8; 32],
    tags: [u8; 32],
}

impl GroupKey {
    /// Belongs to no group: datagrams carry no MAC.
    pub fn none() -> Self {
        Self(None)
    }

    /// Belongs to the group of those who have the same keys: for MACs, and for the keys of days.
    pub fn from_keys(mac: [u8; 32], tags: [u8; 32]) -> Self {
        Self(Some(Keys { mac, tags }))
    }

    /// Whether there is a group.
    pub fn is_secret(&self) -> bool {
        self.0.is_some()
    }

    /// The key from which the keys of days are made.
    pub(super) fn tag_secret(&self) -> &[u8; 32] {
        self.0.as_ref().map_or(PUBLIC_SECRET, |keys| &keys.tags)
    }

    /// The MAC over a serialised datagram; empty without a group.
    pub(super) fn mac(&self, datagram: &[u8]) -> Vec<u8> {
        match &self.0 {
            Some(keys) => hmac(&keys.mac, datagram)[..MAC_BYTES].to_vec(),
            None => Vec::new(),
        }
    }

    pub(super) fn check(&self, datagram: &[u8], mac: &[u8]) -> Result<(), DatagramError> {
        let Some(keys) = &self.0 else {
            return if mac.is_empty() {
                Ok(())
            } else {
                Err(DatagramError::OtherGroup)
            };
        };
        if mac.is_empty() {
            return Err(DatagramError::NoGroup);
        }
        if mac.len() != MAC_BYTES {
            return Err(DatagramError::OtherGroup);
        }
        keyed(&keys.mac, datagram)
            .verify_truncated_left(mac)
            .map_err(|_| DatagramError::OtherGroup)
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "GroupKey(secret)"
        } else {
            "GroupKey(none)"
        })
    }
}

/// HMAC-SHA-256 under a key of 32 bytes.
pub(super) fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    keyed(key, message).finalize().into_bytes().into()
}

fn keyed(key: &[u8; 32], message: &[u8]) -> Hmac<Sha256> {
    // HMAC pads a short key with zeros to SHA-256's block: doing so here leaves nothing that fails.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac
}
