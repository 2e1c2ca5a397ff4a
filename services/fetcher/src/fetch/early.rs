//! Writing the pieces that came along with the manifest.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tracing::warn;
use zeroshare_api::parts::Part;
use zeroshare_content::{BlobId, Piece};
use zeroshare_staging::{PutError, SourceId, Staged};
use zeroshare_transfer::{CallEnd, DropReason, Pace, PaceRule};
use zeroshare_wire::pb::discovery::v1::ProviderFault;
use zeroshare_wire::pb::fetcher::v1::PeerFault;
use zeroshare_wire::pb::store::v1::{PieceSpan, ReadPiecesRequest};

use super::blocking;
use super::call::{ask, next_part, read_data};
use super::failure::FetchFailure;
use super::opening::{EarlyPiece, is_whole, run_of};
use super::providers::Hunt;
use super::report::{Deed, Whom, fault_of, report};
use super::writing::{WriteFault, put_items};
use crate::peers::Peer;
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
    let (items, wrong) =
        blocking(shared, "write a small tree", move || put(&own, &early)).await??;
    hunt.early_items = items;
    if let Some(wrong) = wrong
        && let Some(peer) = hunt.peer.take()
    {
        let id = hunt.described.content;
        // It may be its disk: asked to look at it, only a liar insists.
        let pace = shared.config.patience.pace;
        let reason = match insists(&peer, staged, wrong, pace).await {
            Ok(true) => DropReason::WrongTwice,
            Ok(false) | Err(_) => DropReason::Corrupt,
        };
        warn!(peer = %peer.address, %reason, "a provider sent wrong bytes and is dropped");
        let told = fault_of(reason, id.hash_kind())
            .map(|fault| report(shared, id, &Whom::reached(&peer), Deed::Fault(fault)));
        let wrong = if told == Some(ProviderFault::Convicted) {
            PeerFault::Convicted
        } else {
            PeerFault::WrongBytes
        };
        let (peer_id, address) = (&peer.candidate.peer_id, peer.address.to_string());
        hunt.accused.add(peer_id, &address, wrong);
        hunt.liars.extend(&peer.candidate.addresses);
    }
    Ok(())
}

/// Asks once more for pieces that were wrong, to be hashed by the sender first, and says whether they are wrong again.
///
/// Whatever else comes is an error, and no lie.
async fn insists(
    peer: &Peer,
    staged: &Staged,
    pieces: Range<u32>,
    rule: PaceRule,
) -> Result<bool, CallEnd> {
    let layout = staged.layout();
    let request = ReadPiecesRequest {
        content_id: staged.content().to_string(),
        spans: vec![PieceSpan {
            first: pieces.start,
            count: pieces.end - pieces.start,
            ..PieceSpan::default()
        }],
        recheck: true,
        ..ReadPiecesRequest::default()
    };
    let mut pace = Pace::new(rule, Instant::now());
    let mut stream = ask(peer, &request, &pace).await?;
    let Some(Part::Head(_)) = next_part(&mut stream, &mut pace).await? else {
        return Err(CallEnd::Violation);
    };
    let mut bytes = BytesMut::new();
    for piece in pieces.clone() {
        let size = layout.piece_len(piece).unwrap_or(0);
        match next_part(&mut stream, &mut pace).await? {
            Some(Part::Header(header)) if is_whole(&header, piece, size) => {}
            Some(_) => return Err(CallEnd::Violation),
            None => return Err(CallEnd::Lost),
        }
        bytes.unsplit(read_data(peer, &mut stream, &mut pace, size).await?);
    }
    let items = match layout.piece(pieces.start) {
        Some(Piece::Run { items }) => items,
        Some(Piece::Slice { item, .. }) => item..item + 1,
        None => return Err(CallEnd::Violation),
    };
    let mut rest = bytes.freeze();
    let is_wrong = |item: u32| {
        layout.items().get(item as usize).is_none_or(|item| {
            let size = usize::try_from(item.size).unwrap_or(usize::MAX);
            let own = rest.split_to(size.min(rest.len()));
            BlobId::of(item.blob.kind(), &own) != item.blob
        })
    };
    Ok(items.map(is_wrong).fold(false, |any, wrong| any | wrong))
}

/// Gives how many entries were right, and which pieces were wrong, if any: a run, or all slices of one file.
fn put(staged: &Staged, early: &[EarlyPiece]) -> Result<(u32, Option<Range<u32>>), FetchFailure> {
    let layout = staged.layout();
    let mut count = 0;
    let mut sliced: Option<u32> = None;
    for EarlyPiece { piece, bytes } in early {
        if let Some(items) = run_of(layout, *piece) {
            let written = put_items(staged, items, bytes.clone().into());
            count += written.proven_items;
            match written.fault {
                None => {}
                Some(WriteFault::Wrong | WriteFault::Useless) => {
                    return Ok((count, Some(*piece..*piece + 1)));
                }
                Some(WriteFault::Disk(error)) => return Err(FetchFailure::of_put(&error)),
            }
        } else if let Some(Piece::Slice { item, offset, len }) = layout.piece(*piece) {
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
                    return Ok((count, layout.pieces_of_item(item)));
                }
                Err(error) => return Err(FetchFailure::of_put(&error)),
            }
        }
    }
    Ok((count, None))
}
