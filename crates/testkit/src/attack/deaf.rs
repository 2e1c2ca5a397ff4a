//! Readers that never read.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tonic::{Status, Streaming, transport::Endpoint};
use tower::service_fn;
use zeroshare_api::{
    connect::TracedChannel, rpc::store::v1::store_service_client::StoreServiceClient,
};
use zeroshare_content::ContentId;
use zeroshare_wire::{
    convert::{ReadPieces, Span, Wanted},
    pb::store::v1::{ReadPiecesRequest, ReadPiecesResponse},
};

/// Calls for pieces that are answered and never read: over one connection each, whose windows are as
/// large as HTTP/2 allows, and that stops reading from TCP too.
pub struct DeafReaders {
    streams: Vec<Streaming<ReadPiecesResponse>>,
    cut_off: Vec<Arc<AtomicBool>>,
}

impl DeafReaders {
    /// Opens calls for all pieces of some content until one is refused.
    ///
    /// Gives those that were taken and why the next one was not, if it was not.
    pub async fn open(
        store: SocketAddr,
        content: ContentId,
        pieces: u32,
        count: usize,
    ) -> (Self, Option<Status>) {
        let mut readers = Self {
            streams: Vec::new(),
            cut_off: Vec::new(),
        };
        let read = ReadPieces {
            content,
            wanted: Wanted::Spans(vec![Span::Pieces(0..pieces)]),
            with_manifest: true,
            recheck: false,
            accepted: Vec::new(),
        };
        for _ in 0..count {
            if let Err(refused) = readers.open_one(store, &read).await {
                return (readers, Some(refused));
            }
        }
        (readers, None)
    }

    /// How many calls were answered.
    pub fn count(&self) -> usize {
        self.streams.len()
    }

    /// How many connections the store has closed meanwhile.
    pub fn cut_off(&self) -> usize {
        let cut_off = self.cut_off.iter();
        cut_off.filter(|gone| gone.load(Ordering::Relaxed)).count()
    }

    async fn open_one(&mut self, store: SocketAddr, read: &ReadPieces) -> Result<(), Status> {
        let deaf = Arc::new(AtomicBool::new(false));
        let cut_off = Arc::new(AtomicBool::new(false));
        let ears = (Arc::clone(&deaf), Arc::clone(&cut_off));
        let connector = service_fn(move |_| {
            let (deaf, cut_off) = ears.clone();
            async move {
                let stream = TcpStream::connect(store).await?;
                let stream = DeafStream {
                    stream,
                    deaf,
                    cut_off,
                };
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        let channel = Endpoint::from_static("http://store")
            .initial_stream_window_size(LARGEST_WINDOW)
            .initial_connection_window_size(LARGEST_WINDOW)
            .connect_with_connector_lazy(connector);
        let mut client = StoreServiceClient::new(TracedChannel::new(channel));
        let stream = client.read_pieces(ReadPiecesRequest::from(read)).await?;
        deaf.store(true, Ordering::Relaxed);
        self.streams.push(stream.into_inner());
        self.cut_off.push(cut_off);
        Ok(())
    }
}

impl std::fmt::Debug for DeafReaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "DeafReaders({} of {} cut off)",
            self.cut_off(),
            self.count()
        )
    }
}

/// The largest window of HTTP/2: nothing but TCP itself holds the sender back.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// A connection that can stop listening without closing.
struct DeafStream {
    stream: TcpStream,
    deaf: Arc<AtomicBool>,
    cut_off: Arc<AtomicBool>,
}

impl AsyncRead for DeafStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.deaf.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        // The kernel still tells of a reset or of the end, beside what lies unread.
        let mut peek = [0];
        let mut peek = ReadBuf::new(&mut peek);
        match self.stream.poll_peek(context, &mut peek) {
            Poll::Ready(Ok(1..)) | Poll::Pending => Poll::Pending,
            Poll::Ready(end) => {
                self.cut_off.store(true, Ordering::Relaxed);
                Poll::Ready(end.map(|_| ()))
            }
        }
    }
}

impl AsyncWrite for DeafStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
