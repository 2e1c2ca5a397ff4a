//! Node keys and the ids made from them.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER_PERMISSIVE;
use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha256};

/// Names a node: the first 16 bytes of SHA-256 over its public key. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 16]);

/// Text that is no node id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a node id is 32 hex digits")]
pub struct NodeIdError;

/// A node's public Ed25519 key, as it travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A node's secret key: whoever has it is the node.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl NodeId {
    /// Derives the id from a key.
    pub fn of(key: &PublicKey) -> Self {
        let digest: [u8; 32] = Sha256::digest(key.0).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// Takes an id as it travels.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Gives the id as it travels.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first 8 bytes, big-endian: how `exclude` of a query names a node.
    pub fn first_half(&self) -> u64 {
        let mut half = [0; 8];
        half.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(half)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let bytes = HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .map_err(|_| NodeIdError)?;
        Ok(Self(bytes.try_into().map_err(|_| NodeIdError)?))
    }
}

impl PublicKey {
    /// Takes a key as it travels; whether it is one shows when a signature is checked.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Gives the key as it travels.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` over `message` was made with this key. Costs some 50 µs.
    pub(super) fn verifies(&self, message: &[u8], signature: [u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature);
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl SigningKey {
    /// Makes the key that belongs to 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The bytes that it was made from: whoever has them is the node.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The key that others know.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The id that others know.
    pub fn node_id(&self) -> NodeId {
        NodeId::of(&self.public_key())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.node_id())
    }
}
