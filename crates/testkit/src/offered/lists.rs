//! The midstates of what a peer serves, true ones and others.

use bytes::Bytes;
use zeroshare_content::{BlobId, GRAIN, Piece};
use zeroshare_proof::{GrainHasher, KnownList, Midstates};

use super::{Offered, index};

/// What is wrong with a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListLie {
    /// Its middle state is another one.
    OneState,
    /// It is that of other bytes, with which it agrees but for the end: see [`forged`].
    OtherBytes,
}

/// The same bytes of a file's start, with another first byte.
pub(crate) fn forged(bytes: &Bytes) -> Bytes {
    let mut forged = bytes.to_vec();
    if let Some(byte) = forged.first_mut() {
        *byte ^= 0x55;
    }
    forged.into()
}

impl Offered {
    /// The file of which a piece is a slice; `None` for runs.
    pub(crate) fn item_of_slice(&self, piece: u32) -> Option<u32> {
        match self.layout.as_ref()?.piece(piece)? {
            Piece::Slice { item, .. } => Some(item),
            Piece::Run { .. } => None,
        }
    }

    /// The file that stands at a line, or the blob.
    pub(crate) fn item_of_line(&self, line: u32) -> Option<u32> {
        let items = self.layout.as_ref()?.items().iter().zip(0_u32..);
        let mut found = items.filter(|(item, _)| item.line == line && item.size > GRAIN);
        found.next().map(|(_, index)| index)
    }

    /// The list of an item.
    pub(crate) fn list(&self, item: u32, lie: Option<ListLie>) -> Option<KnownList> {
        let BlobId::Sha256(_) = self.layout.as_ref()?.items().get(index(item))?.blob else {
            return None;
        };
        let bytes = self.items.get(index(item))?;
        let mut hasher = GrainHasher::new();
        match lie {
            Some(ListLie::OtherBytes) => hasher.update(&forged(bytes)),
            Some(ListLie::OneState) | None => hasher.update(bytes),
        }
        let (_, list) = hasher.finish();
        let list = match lie {
            Some(ListLie::OneState) => one_state_wrong(bytes.len() as u64, &list),
            Some(ListLie::OtherBytes) | None => list,
        };
        Some(KnownList::new(list))
    }
}

fn one_state_wrong(size: u64, list: &Midstates) -> Midstates {
    let mut states = list.as_bytes().to_vec();
    let middle = states.len() / 2;
    if let Some(byte) = states.get_mut(middle) {
        *byte ^= 1;
    }
    Midstates::from_bytes(size, states).expect("as long as it was")
}
