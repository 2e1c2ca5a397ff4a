//! Reading one grain to be judged, beside all calls: of whom sent a wrong one, and of those who contradict each other.

use std::time::Instant;

use bytes::BytesMut;
use zeroshare_content::GRAIN;
use zeroshare_proof::{GrainVerdict, ListDigest, check_grain, grain_len};
use zeroshare_transfer::{CallEnd, Pace, Probe, ProbeOutcome};
use zeroshare_wire::pb::store::v1::{PieceHeader, PieceSpan, ReadPiecesRequest, StreamEncoding};

use super::call::{ask, next_part, read_data};
use super::lists::hash_of;
use super::reader::{Report, Surroundings};
use crate::peers::Peer;
use zeroshare_api::parts::Part;

/// Reads and judges it, and reports what came of it.
pub(crate) async fn probe(peer: Peer, probe: Probe, around: Surroundings) {
    let stopping = around.tasks.stopping();
    let outcome = tokio::select! {
        read = read(&peer, &probe, &around) => match read {
            Ok((named, bytes)) => judge(&probe, &around, named, bytes).await,
            Err(end) => ProbeOutcome::End(end),
        },
        () = stopping => return,
    };
    let provider = probe.provider;
    drop(
        around
            .reports
            .send(Report::Probed { provider, outcome })
            .await,
    );
}

/// Gives the list that the header names, and the bytes.
async fn read(
    peer: &Peer,
    probe: &Probe,
    around: &Surroundings,
) -> Result<(Option<ListDigest>, BytesMut), CallEnd> {
    let (span, len) = span_of(probe, around).ok_or(CallEnd::Cancelled)?;
    let request = ReadPiecesRequest {
        content_id: around.content.to_string(),
        spans: vec![span],
        recheck: probe.recheck,
        accept_encodings: vec![StreamEncoding::Raw.into()],
        ..ReadPiecesRequest::default()
    };
    let mut pace = Pace::new(around.pace, Instant::now());
    let mut stream = ask(peer, &request, &pace).await?;
    match next_part(&mut stream, &mut pace).await? {
        Some(Part::Head(head)) if head.encoding() == StreamEncoding::Raw => {}
        Some(_) | None => return Err(CallEnd::Violation),
    }
    let header = match next_part(&mut stream, &mut pace).await? {
        Some(Part::Header(header)) if is_of(&header, &span, len) => header,
        Some(_) => return Err(CallEnd::Violation),
        None => return Err(CallEnd::Lost),
    };
    let bytes = read_data(peer, &mut stream, &mut pace, len).await?;
    Ok((
        ListDigest::try_from(header.list_digest.as_ref()).ok(),
        bytes,
    ))
}

async fn judge(
    probe: &Probe,
    around: &Surroundings,
    named: Option<ListDigest>,
    bytes: BytesMut,
) -> ProbeOutcome {
    let hash = hash_of(&around.layout, probe.item);
    let list = named.and_then(|named| around.lists.find(probe.item, named));
    let (Some((digest, size)), Some(list)) = (hash, list) else {
        return ProbeOutcome::Unnamed;
    };
    let (name, grain) = (*list.digest(), probe.grain);
    let judging = around.tasks.spawn_blocking("judge a grain", move || {
        check_grain(list.midstates(), size, &digest, grain, &bytes)
    });
    match judging.await {
        Ok(GrainVerdict::Linked) => ProbeOutcome::Linked(name),
        Ok(GrainVerdict::Broken | GrainVerdict::Unfit) => ProbeOutcome::Broken(name),
        Err(_) => ProbeOutcome::End(CallEnd::Cancelled),
    }
}

fn span_of(probe: &Probe, around: &Surroundings) -> Option<(PieceSpan, u64)> {
    let layout = &around.layout;
    let size = layout.items().get(probe.item as usize)?.size;
    let len = grain_len(size, probe.grain)?;
    let start = u64::from(probe.grain) * GRAIN;
    let pieces = layout.pieces_of_item(probe.item)?;
    let ahead = u32::try_from(start / layout.piece_size()).ok()?;
    let span = PieceSpan {
        first: pieces.start + ahead,
        count: 1,
        skip_bytes: start % layout.piece_size(),
        limit_bytes: len,
    };
    Some((span, len))
}

fn is_of(header: &PieceHeader, span: &PieceSpan, len: u64) -> bool {
    (header.piece, header.offset_bytes, header.size_bytes) == (span.first, span.skip_bytes, len)
}
