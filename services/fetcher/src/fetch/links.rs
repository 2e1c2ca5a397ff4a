//! The targets of symlinks alone: what shows a tree without fetching it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tracing::debug;
use zeroshare_content::{BlobId, ItemKind, Layout, Manifest};
use zeroshare_transfer::{CallEnd, Pace};
use zeroshare_wire::pb::store::v1::{PieceSpan, ReadPiecesRequest};

use super::call::{ask, next_part};
use super::opening::run_of;
use crate::peers::Peer;
use crate::shared::Shared;
use zeroshare_api::parts::Part;

/// More targets than this are not held in memory.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Reads them from one peer; those that it does not give right are left out.
pub(crate) async fn read_links(
    shared: &Arc<Shared>,
    peer: &Peer,
    manifest: &Manifest,
    layout: &Layout,
) -> BTreeMap<BlobId, Bytes> {
    let items = layout.items();
    let is_link = |item: u32| {
        items
            .get(item as usize)
            .is_some_and(|it| it.kind == ItemKind::Link)
    };
    let count = (0..layout.piece_count())
        .take_while(|piece| run_of(layout, *piece).is_some_and(|run| is_link(run.start)))
        .count();
    let pieces = u32::try_from(count).unwrap_or(0);
    let bytes: u64 = (0..pieces)
        .filter_map(|piece| layout.piece_len(piece))
        .sum();
    let mut links = BTreeMap::new();
    if pieces == 0 || bytes > MAX_BYTES {
        return links;
    }
    let request = ReadPiecesRequest {
        content_id: manifest.id().to_string(),
        spans: vec![PieceSpan {
            first: 0,
            count: pieces,
            skip_bytes: 0,
            limit_bytes: 0,
        }],
        ..ReadPiecesRequest::default()
    };
    if let Err(end) = read(shared, peer, request, layout, &mut links).await {
        debug!(peer = %peer.address, ?end, "not all targets of symlinks were read");
    }
    links
}

async fn read(
    shared: &Arc<Shared>,
    peer: &Peer,
    request: ReadPiecesRequest,
    layout: &Layout,
    links: &mut BTreeMap<BlobId, Bytes>,
) -> Result<(), CallEnd> {
    let pieces = request.spans.first().map_or(0, |span| span.count);
    let mut pace = Pace::new(shared.config.patience.pace, Instant::now());
    let mut stream = ask(peer, &request, &pace).await?;
    let Some(Part::Head(_)) = next_part(&mut stream, &mut pace).await? else {
        return Err(CallEnd::Violation);
    };
    for piece in 0..pieces {
        let size = layout.piece_len(piece).unwrap_or(0);
        match next_part(&mut stream, &mut pace).await? {
            Some(Part::Header(header))
                if (header.piece, header.offset_bytes, header.size_bytes) == (piece, 0, size) => {}
            Some(_) => return Err(CallEnd::Violation),
            None => return Ok(()),
        }
        let mut bytes = BytesMut::new();
        while (bytes.len() as u64) < size {
            match next_part(&mut stream, &mut pace).await? {
                Some(Part::Data(data)) if (bytes.len() + data.len()) as u64 <= size => {
                    bytes.extend_from_slice(&data);
                }
                Some(_) => return Err(CallEnd::Violation),
                None => return Ok(()),
            }
        }
        take_links(layout, piece, bytes.freeze(), links);
    }
    Ok(())
}

fn take_links(layout: &Layout, piece: u32, mut bytes: Bytes, links: &mut BTreeMap<BlobId, Bytes>) {
    for item in run_of(layout, piece).into_iter().flatten() {
        let Some(item) = layout.items().get(item as usize) else {
            return;
        };
        let Ok(size) = usize::try_from(item.size) else {
            return;
        };
        if bytes.len() < size {
            return;
        }
        let target = bytes.split_to(size);
        if BlobId::of(item.blob.kind(), &target) == item.blob {
            links.insert(item.blob, target);
        }
    }
}
