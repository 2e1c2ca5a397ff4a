//! The transfer alone: reads all pieces of a tree from a store, forgets them, and says what that cost.
//!
//! Every setting of the connection can be undone by itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use prost::Message as _;
use tokio_stream::StreamExt as _;
use zeroshare_content::TreeId;
use zeroshare_wire::pb::store::v1::{PieceSpan, ReadPiecesRequest, read_pieces_response::Part};

/// Reads all pieces of a tree from a store, and forgets them.
#[derive(Parser)]
struct Read {
    /// Where the store serves peers.
    address: SocketAddr,
    /// The tree.
    id: String,
    #[arg(long, value_enum, default_value = "multi")]
    runtime: Flavour,
    #[arg(long, value_enum, default_value = "raw")]
    decode: Decode,
    #[arg(long, default_value_t = 2 * 1024 * 1024)]
    stream_window: u32,
    #[arg(long, default_value_t = 4 * 1024 * 1024)]
    connection_window: u32,
    #[arg(long, default_value_t = 1024 * 1024)]
    frame: u32,
    #[arg(long)]
    delay: bool,
    /// Connections, between which the pieces are divided.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Calls at once on each.
    #[arg(long, default_value_t = 1)]
    calls: u32,
    /// Pieces of one call; 0: all of them.
    #[arg(long, default_value_t = 0)]
    pieces: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Flavour {
    Current,
    Multi,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decode {
    /// The frames as HTTP/2 gives them.
    Raw,
    /// Messages, as tonic's generated client gives them.
    Tonic,
}

fn main() -> anyhow::Result<()> {
    let read = Read::parse();
    runtime(read.runtime)?.block_on(read.run())
}

fn runtime(flavour: Flavour) -> std::io::Result<tokio::runtime::Runtime> {
    match flavour {
        Flavour::Current => tokio::runtime::Builder::new_current_thread(),
        Flavour::Multi => tokio::runtime::Builder::new_multi_thread(),
    }
    .enable_all()
    .build()
}

impl Read {
    #[expect(clippy::print_stdout, reason = "what it measured is what it is for")]
    async fn run(self) -> anyhow::Result<()> {
        let id: TreeId = self.id.parse()?;
        let total = self.piece_count(&id).await?;
        let before = cpu();
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        let parts = self.connections * self.calls;
        for connection in 0..self.connections {
            let channel = self.channel().await?;
            for call in 0..self.calls {
                let number = connection * self.calls + call;
                let pieces = total * number / parts..total * (number + 1) / parts;
                tasks.spawn(read(channel.clone(), id, pieces, self.pieces, self.decode));
            }
        }
        let mut bytes = 0;
        while let Some(done) = tasks.join_next().await {
            bytes += done??;
        }
        let took = began.elapsed().as_secs_f64();
        let spent = cpu().saturating_sub(before).as_secs_f64();
        let (gigabytes, gibibytes) = (in_units(bytes, 1e9), in_units(bytes, f64::from(1 << 30)));
        let (rate, cost) = (gigabytes / took, spent / gibibytes);
        println!("{rate:.2} GB/s, {cost:.3} CPU-s a GiB reading, {bytes} bytes in {took:.3} s");
        Ok(())
    }

    async fn piece_count(&self, id: &TreeId) -> anyhow::Result<u32> {
        let mut client = zeroshare_api::clients::store(zeroshare_api::connect::TracedChannel::new(
            self.channel().await?,
        ));
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let request = zeroshare_wire::pb::store::v1::StatContentRequest {
                content_ids: vec![id.to_string()],
            };
            let stats = client.stat_content(request).await?.into_inner().stats;
            if let Some(stat) = stats.first() {
                return Ok(stat.total_pieces);
            }
            if Instant::now() > deadline {
                bail!("{id} is not there");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn channel(&self) -> anyhow::Result<tonic::transport::Channel> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address))?
            .tcp_nodelay(!self.delay)
            .initial_stream_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_frame_size(self.frame);
        Ok(endpoint.connect().await?)
    }
}

async fn read(
    channel: tonic::transport::Channel,
    id: TreeId,
    pieces: std::ops::Range<u32>,
    at_once: u32,
    decode: Decode,
) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let step = if at_once == 0 { pieces.end } else { at_once }.max(1);
    let mut first = pieces.start;
    while first < pieces.end {
        let count = step.min(pieces.end - first);
        let request = ReadPiecesRequest {
            content_id: id.to_string(),
            spans: vec![PieceSpan {
                first,
                count,
                ..PieceSpan::default()
            }],
            ..ReadPiecesRequest::default()
        };
        bytes += match decode {
            Decode::Raw => read_raw(channel.clone(), &request).await?,
            Decode::Tonic => read_tonic(channel.clone(), request).await?,
        };
        first += count;
    }
    Ok(bytes)
}

async fn read_tonic(
    channel: tonic::transport::Channel,
    request: ReadPiecesRequest,
) -> anyhow::Result<u64> {
    let channel = zeroshare_api::connect::TracedChannel::new(channel);
    let answer = zeroshare_api::clients::store(channel)
        .read_pieces(request)
        .await?;
    let mut answer = answer.into_inner();
    let mut bytes = 0;
    while let Some(message) = answer.next().await {
        if let Some(Part::Data(data)) = message?.part {
            bytes += data.len() as u64;
        }
    }
    Ok(bytes)
}

/// Counts the bytes of all messages: headers are next to nothing.
async fn read_raw(
    mut channel: tonic::transport::Channel,
    request: &ReadPiecesRequest,
) -> anyhow::Result<u64> {
    use http_body_util::BodyExt as _;
    use tower::{Service as _, ServiceExt as _};
    let mut framed = vec![0];
    framed.extend(u32::try_from(request.encoded_len())?.to_be_bytes());
    request.encode(&mut framed)?;
    let body = tonic::body::Body::new(
        http_body_util::Full::new(Bytes::from(framed)).map_err(|never| match never {}),
    );
    let request = http::Request::post("/zeroshare.store.v1.StoreService/ReadPieces")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)?;
    let mut body = channel.ready().await?.call(request).await?.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            bytes += data.len() as u64;
        }
        if let Some(trailers) = frame.trailers_ref() {
            let status = tonic::Status::from_header_map(trailers).context("no status")?;
            if status.code() != tonic::Code::Ok {
                bail!("{status}");
            }
        }
    }
    Ok(bytes)
}

/// User and system time of this process.
fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(usage.tv_sec).unwrap_or(0),
        u32::try_from(usage.tv_nsec).unwrap_or(0),
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody reads more than four digits"
)]
fn in_units(bytes: u64, unit: f64) -> f64 {
    bytes as f64 / unit
}
