//! Readers that never read.

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tonic::{Status, Streaming, transport::Endpoint};
use tower::service_fn;
use zeroshare_api::{clients, connect::TracedChannel};
use zeroshare_content::ContentId;
use zeroshare_wire::{
    convert::{ReadPieces, Span, Wanted},
    pb::store::v1::{ReadPiecesRequest, ReadPiecesResponse, read_pieces_response::Part},
};

/// The largest window of HTTP/2: nothing but TCP itself holds the sender back.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// Calls for pieces that are answered and never read: over one connection each, whose windows are as
/// large as HTTP/2 allows, and that stops reading from TCP too.
pub struct DeafReaders {
    readers: Vec<DeafReader>,
}

struct DeafReader {
    stream: Streaming<ReadPiecesResponse>,
    ears: Arc<Ears>,
}

/// What of a connection can be reached from outside.
#[derive(Default)]
struct Ears(Mutex<EarsState>);

#[derive(Default)]
struct EarsState {
    deaf: bool,
    waker: Option<Waker>,
    connection: Option<OwnedFd>,
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
        let read = ReadPieces {
            content,
            wanted: Wanted::Spans(vec![Span::Pieces(0..pieces)]),
            with_manifest: true,
            recheck: false,
            accepted: Vec::new(),
        };
        let mut readers = Vec::new();
        for _ in 0..count {
            match open_one(store, &read).await {
                Ok(reader) => readers.push(reader),
                Err(refused) => return (Self { readers }, Some(refused)),
            }
        }
        (Self { readers }, None)
    }

    /// How many calls were answered.
    pub fn count(&self) -> usize {
        self.readers.len()
    }

    /// How many connections were closed or reset, as far as the kernel heard.
    ///
    /// A store that closes without a reset is not heard while its last bytes lie unread; see
    /// [`Self::listen_again`].
    pub fn cut_off(&self) -> usize {
        let cut_off = self.readers.iter();
        cut_off.filter(|reader| reader.ears.hear_the_end()).count()
    }

    /// Reads everything after all: for each call how many bytes of pieces still came, or why no more.
    pub async fn listen_again(self) -> Vec<Result<u64, Status>> {
        let mut results = Vec::new();
        for mut reader in self.readers {
            reader.ears.open();
            results.push(read_to_the_end(&mut reader.stream).await);
        }
        results
    }
}

impl fmt::Debug for DeafReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cut_off, count) = (self.cut_off(), self.count());
        write!(f, "DeafReaders({cut_off} of {count} cut off)")
    }
}

async fn open_one(store: SocketAddr, read: &ReadPieces) -> Result<DeafReader, Status> {
    let ears = Arc::new(Ears::default());
    let ears_of_stream = Arc::clone(&ears);
    let connector = service_fn(move |_| {
        let ears = Arc::clone(&ears_of_stream);
        async move {
            let stream = TcpStream::connect(store).await?;
            ears.lock().connection = Some(stream.as_fd().try_clone_to_owned()?);
            Ok::<_, io::Error>(TokioIo::new(DeafStream { stream, ears }))
        }
    });
    let channel = Endpoint::from_static("http://store")
        .initial_stream_window_size(LARGEST_WINDOW)
        .initial_connection_window_size(LARGEST_WINDOW)
        .connect_with_connector_lazy(connector);
    let mut client = clients::store(TracedChannel::new(channel));
    let stream = client.read_pieces(ReadPiecesRequest::from(read)).await?;
    ears.lock().deaf = true;
    Ok(DeafReader {
        stream: stream.into_inner(),
        ears,
    })
}

async fn read_to_the_end(stream: &mut Streaming<ReadPiecesResponse>) -> Result<u64, Status> {
    let mut bytes = 0;
    while let Some(response) = stream.message().await? {
        if let Some(Part::Data(data)) = response.part {
            bytes += data.len() as u64;
        }
    }
    Ok(bytes)
}

impl Ears {
    fn open(&self) {
        let mut state = self.lock();
        state.deaf = false;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn hear_the_end(&self) -> bool {
        let state = self.lock();
        let Some(connection) = &state.connection else {
            return false;
        };
        let mut polled = [PollFd::new(connection, PollFlags::RDHUP)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let over = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll(&mut polled, Some(&at_once)).is_ok() && polled[0].revents().intersects(over)
    }

    fn lock(&self) -> MutexGuard<'_, EarsState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that can stop listening without closing.
struct DeafStream {
    stream: TcpStream,
    ears: Arc<Ears>,
}

impl AsyncRead for DeafStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.ears.lock();
        if state.deaf {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
