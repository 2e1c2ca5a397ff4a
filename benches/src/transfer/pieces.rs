//! Our own protocol's client, that forgets what it gets: no hashing, no disk.

use std::{net::SocketAddr, time::Instant};

use anyhow::Result;
use clap::Args;
use tokio_stream::StreamExt as _;
use zeroshare_api::{
    clients,
    connect::{PeerChannelOptions, peer_channel},
};
use zeroshare_wire::pb::store::v1::{
    ReadPiecesRequest, StreamEncoding, read_pieces_response::Part,
};

use super::{Moved, settings::Flavour};

/// Reads all pieces of a tree or file in one call.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadPieces {
    address: SocketAddr,
    id: String,
    /// The client's runtime.
    #[arg(long, value_enum, default_value_t = Flavour::Single)]
    flavour: Flavour,
}

impl ReadPieces {
    pub(crate) fn run(&self) -> Result<()> {
        let moved: Result<Moved> = self.flavour.runtime()?.block_on(async {
            let start = Instant::now();
            let channel = peer_channel(self.address, &PeerChannelOptions::default()).await?;
            let request = ReadPiecesRequest {
                content_id: self.id.clone(),
                all_if_at_most_bytes: u64::MAX,
                accept_encodings: vec![StreamEncoding::Raw.into()],
                ..ReadPiecesRequest::default()
            };
            let mut parts = clients::store(channel)
                .read_pieces(request)
                .await?
                .into_inner();
            let mut bytes = 0;
            while let Some(part) = parts.next().await {
                if let Some(Part::Data(data)) = part?.part {
                    bytes += data.len() as u64;
                }
            }
            Ok(Moved {
                bytes,
                seconds: start.elapsed().as_secs_f64(),
            })
        });
        moved?.print()
    }
}
