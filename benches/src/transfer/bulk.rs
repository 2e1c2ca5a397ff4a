//! Plain tonic: a server that sends a file, and a client that forgets what it gets.

use std::{
    fs::File,
    net::SocketAddr,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status,
    transport::{Endpoint, Server},
};

use super::{
    Moved,
    rpc::{
        PlainChunk, ReadRequest, SharedChunk,
        bulk_client::BulkClient,
        bulk_server::{Bulk, BulkServer},
    },
    settings::Settings,
};

/// Messages that wait for the socket.
const MESSAGES_AHEAD: usize = 4;

/// Sends a file to whoever asks.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeBulk {
    address: SocketAddr,
    file: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

/// Gets it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadBulk {
    address: SocketAddr,
    #[command(flatten)]
    settings: Settings,
}

struct Sender {
    file: Arc<File>,
}

impl ServeBulk {
    pub(crate) fn run(&self) -> Result<()> {
        let service = BulkServer::new(Sender {
            file: Arc::new(File::open(&self.file)?),
        });
        self.settings.flavour.runtime()?.block_on(async {
            let mut server = Server::builder().tcp_nodelay(!self.settings.delay);
            if self.settings.frame != 16_384 {
                server = server.max_frame_size(self.settings.frame);
            }
            if self.settings.window != 65_535 {
                server = server
                    .initial_stream_window_size(self.settings.window)
                    .initial_connection_window_size(self.settings.window * 2);
            }
            server.add_service(service).serve(self.address).await?;
            Ok(())
        })
    }
}

impl ReadBulk {
    pub(crate) fn run(&self) -> Result<()> {
        let settings = &self.settings;
        let moved: Result<Moved> = settings.flavour.runtime()?.block_on(async {
            let mut endpoint = Endpoint::from_shared(format!("http://{}", self.address))?
                .connect_timeout(Duration::from_secs(5))
                .tcp_nodelay(!settings.delay);
            if settings.frame != 16_384 {
                endpoint = endpoint.max_frame_size(settings.frame);
            }
            if settings.window != 65_535 {
                endpoint = endpoint
                    .initial_stream_window_size(settings.window)
                    .initial_connection_window_size(settings.window * 2);
            }
            let start = Instant::now();
            let mut client = BulkClient::new(endpoint.connect().await?);
            let request = ReadRequest {
                message_bytes: settings.message,
            };
            let mut bytes = 0;
            if settings.shared {
                let mut parts = client.read_shared(request).await?.into_inner();
                while let Some(part) = parts.next().await {
                    bytes += part?.data.len() as u64;
                }
            } else {
                let mut parts = client.read_plain(request).await?.into_inner();
                while let Some(part) = parts.next().await {
                    bytes += part?.data.len() as u64;
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

impl Sender {
    /// Reads ahead on a thread of its own.
    fn send<T: Send + 'static>(
        &self,
        request: ReadRequest,
        message: impl Fn(Vec<u8>) -> T + Send + 'static,
    ) -> ReceiverStream<Result<T, Status>> {
        let (to, parts) = mpsc::channel(MESSAGES_AHEAD);
        let file = Arc::clone(&self.file);
        let count = usize::try_from(request.message_bytes).unwrap_or(1);
        std::thread::spawn(move || {
            let mut offset = 0;
            loop {
                let mut data = vec![0; count];
                let part = match file.read_at(&mut data, offset) {
                    Ok(0) => return,
                    Ok(read) => {
                        offset += read as u64;
                        data.truncate(read);
                        Ok(message(data))
                    }
                    Err(error) => Err(Status::internal(error.to_string())),
                };
                if to.blocking_send(part).is_err() {
                    return;
                }
            }
        });
        ReceiverStream::new(parts)
    }
}

#[tonic::async_trait]
impl Bulk for Sender {
    type ReadPlainStream = ReceiverStream<Result<PlainChunk, Status>>;

    async fn read_plain(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadPlainStream>, Status> {
        let parts = self.send(request.into_inner(), |data| PlainChunk { data });
        Ok(Response::new(parts))
    }

    type ReadSharedStream = ReceiverStream<Result<SharedChunk, Status>>;

    async fn read_shared(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadSharedStream>, Status> {
        let parts = self.send(request.into_inner(), |data| SharedChunk {
            data: Bytes::from(data),
        });
        Ok(Response::new(parts))
    }
}
