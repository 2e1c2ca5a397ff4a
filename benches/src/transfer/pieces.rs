//! Our own protocol's client, that forgets what it gets: no hashing, no disk.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use zeroshare_api::{
    clients,
    connect::{PeerChannelOptions, TracedChannel, peer_channel},
    parts::{Part, PartStream},
};
use zeroshare_identity::{GroupSecret, Member, node_key};
use zeroshare_wire::pb::store::v1::{
    PieceSpan, ReadPiecesRequest, StreamEncoding, read_pieces_response,
};

use super::{Moved, settings::Flavour};

/// Reads all pieces of a tree or file.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadPieces {
    address: SocketAddr,
    id: String,
    /// How many pieces there are.
    pieces: u32,
    #[command(flatten)]
    how: Reading,
    /// The secret of the group that is read.
    #[arg(long)]
    group_secret: Option<PathBuf>,
}

/// How it is read.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reading {
    /// The client's runtime.
    #[arg(long, value_enum, default_value_t = Flavour::Single)]
    pub(super) flavour: Flavour,
    /// Calls that share the pieces.
    #[arg(long, default_value_t = 1)]
    pub(super) calls: u32,
    /// Connections that share the calls.
    #[arg(long, default_value_t = 1)]
    pub(super) connections: u32,
    /// Who takes the answer apart.
    #[arg(long, value_enum, default_value_t = Taker::Parts)]
    pub(super) taker: Taker,
}

/// Who takes an answer apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Taker {
    /// What fetches use: no byte is copied.
    Parts,
    /// The generated client, which puts each message together.
    Generated,
}

/// A way to read, with a name for people.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) how: Reading,
}

/// As fetches read, and other ways.
pub(super) fn ways() -> Vec<Way> {
    let way = |name, change: fn(&mut Reading)| {
        let mut how = Reading::default();
        change(&mut how);
        Way { name, how }
    };
    vec![
        way("one call, one thread", |_| {}),
        way("a thread for each processor", |how| {
            how.flavour = Flavour::Multi;
        }),
        way("two calls on one connection", |how| how.calls = 2),
        way("two connections", |how| {
            (how.calls, how.connections) = (2, 2);
        }),
        way("four connections", |how| {
            (how.calls, how.connections) = (4, 4);
        }),
        way("the generated client", |how| how.taker = Taker::Generated),
    ]
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            flavour: Flavour::Single,
            calls: 1,
            connections: 1,
            taker: Taker::Parts,
        }
    }
}

impl Reading {
    /// The words of a command line that say the same.
    pub(super) fn words(&self) -> Vec<String> {
        let taker = match self.taker {
            Taker::Parts => "parts",
            Taker::Generated => "generated",
        };
        vec![
            format!("--flavour={}", self.flavour.word()),
            format!("--calls={}", self.calls),
            format!("--connections={}", self.connections),
            format!("--taker={taker}"),
        ]
    }
}

impl ReadPieces {
    pub(crate) fn run(&self) -> Result<()> {
        // As every process that fetches.
        zeroshare_chassis::heap::keep_buffers();
        let moved: Result<Moved> = self.how.flavour.runtime()?.block_on(async {
            let options = self.options()?;
            let start = Instant::now();
            let bytes = self.read_all(&options).await?;
            Ok(Moved {
                bytes,
                seconds: start.elapsed().as_secs_f64(),
            })
        });
        moved?.print()
    }

    fn options(&self) -> Result<PeerChannelOptions> {
        let secret = GroupSecret::read_if_named(self.group_secret.as_deref())?;
        let member = secret.map(|secret| -> Result<_> {
            Ok(Arc::new(Member::new(&secret, &node_key::in_memory()?)?))
        });
        Ok(PeerChannelOptions {
            member: member.transpose()?,
            ..PeerChannelOptions::default()
        })
    }

    async fn read_all(&self, options: &PeerChannelOptions) -> Result<u64> {
        let mut channels = Vec::new();
        for _ in 0..self.how.connections.max(1) {
            channels.push(peer_channel(self.address, options).await?);
        }
        let calls = self.how.calls.max(1);
        let share = self.pieces.div_ceil(calls);
        let mut reading = JoinSet::new();
        for call in 0..calls {
            let first = (call * share).min(self.pieces);
            let span = PieceSpan {
                first,
                count: share.min(self.pieces - first),
                ..PieceSpan::default()
            };
            let channel = channels.get(call as usize % channels.len());
            let channel = channel.context("there is a connection")?.clone();
            let request = ReadPiecesRequest {
                content_id: self.id.clone(),
                spans: vec![span],
                accept_encodings: vec![StreamEncoding::Raw.into()],
                ..ReadPiecesRequest::default()
            };
            let taker = self.how.taker;
            reading.spawn(async move {
                match taker {
                    Taker::Parts => read_parts(channel, request).await,
                    Taker::Generated => read_generated(channel, request).await,
                }
            });
        }
        let mut bytes = 0;
        while let Some(read) = reading.join_next().await {
            bytes += read??;
        }
        Ok(bytes)
    }
}

async fn read_parts(channel: TracedChannel, request: ReadPiecesRequest) -> Result<u64> {
    let mut stream = PartStream::open(channel, &request).await?;
    let mut bytes = 0;
    while let Some(part) = stream.next().await? {
        match part {
            Part::Data(data) => bytes += data.len() as u64,
            Part::Head(_) | Part::Header(_) => {}
            Part::ManifestData(_) => bail!("a manifest came unasked"),
        }
    }
    Ok(bytes)
}

async fn read_generated(channel: TracedChannel, request: ReadPiecesRequest) -> Result<u64> {
    let mut parts = clients::store(channel)
        .read_pieces(request)
        .await?
        .into_inner();
    let mut bytes = 0;
    while let Some(part) = parts.next().await {
        if let Some(read_pieces_response::Part::Data(data)) = part?.part {
            bytes += data.len() as u64;
        }
    }
    Ok(bytes)
}
