//! Writing the pieces that came along with the manifest.

use std::sync::Arc;

use tracing::warn;
use zeroshare_staging::{PutError, SourceId, Staged};
use zeroshare_wire::pb::discovery::v1::ProviderFault;

use super::blocking;
use super::failure::FetchFailure;
use super::opening::{EarlyPiece, run_of};
use super::providers::Hunt;
use super::report::{Deed, report};
use super::writing::{WriteFault, put_items};
use crate::shared::Shared;

/// Writes them; whoever sent wrong ones is asked no more.
pub(crate) async fn write(
    shared: &Arc<Shared>,
    staged: &Arc<Staged>,
    hunt: &mut Hunt,
) -> Result<(), FetchFailure> {
    let early = std::mem::take(&mut hunt.early);
    if early.is_empty() {
        return Ok(());
    }
    let own = staged.clone();
    let (items, is_right) =
        blocking(shared, "write a small tree", move || put(&own, &early)).await??;
    hunt.early_items = items;
    if !is_right && let Some(peer) = hunt.peer.take() {
        warn!(peer = %peer.address, "a provider sent wrong bytes and is dropped");
        let id = hunt.described.content;
        let deed = Deed::Fault(ProviderFault::Corrupt);
        report(shared, id, &peer.candidate.peer_id, peer.address, deed);
        hunt.liars.extend(&peer.candidate.addresses);
    }
    Ok(())
}

/// Gives how many entries were right, and whether nothing was wrong.
fn put(staged: &Staged, early: &[EarlyPiece]) -> Result<(u32, bool), FetchFailure> {
    let layout = staged.layout();
    let mut count = 0;
    let mut sliced: Option<u32> = None;
    for EarlyPiece { piece, bytes } in early {
        if let Some(items) = run_of(layout, *piece) {
            let written = put_items(staged, items, bytes.clone().into());
            count += written.proven_items;
            match written.fault {
                None => {}
                Some(WriteFault::Wrong | WriteFault::Useless) => return Ok((count, false)),
                Some(WriteFault::Disk(error)) => return Err(FetchFailure::of_put(&error)),
            }
        } else if let Some(zeroshare_content::Piece::Slice { item, offset, len }) =
            layout.piece(*piece)
        {
            if staged.is_proven(item) {
                continue;
            }
            let put = staged.put_slice(item, offset, bytes, SourceId(0));
            put.map_err(|error| FetchFailure::of_put(&error))?;
            let size = super::writing::item_size(layout, item);
            sliced = (offset + len == size).then_some(item);
        }
        if let Some(item) = sliced.take() {
            match staged.finish_item(item) {
                Ok(()) => count += 1,
                Err(PutError::Mismatch { .. }) => {
                    // Nothing of it is worth keeping: it all came from one hand.
                    let all = 0..super::writing::item_size(layout, item);
                    let dropped = staged.drop_slices(item, all);
                    dropped.map_err(|error| FetchFailure::of_put(&error))?;
                    return Ok((count, false));
                }
                Err(error) => return Err(FetchFailure::of_put(&error)),
            }
        }
    }
    Ok((count, true))
}
