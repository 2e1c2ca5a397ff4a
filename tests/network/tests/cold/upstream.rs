//! A server of one file, that counts what it sends.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use zeroshare_network::Lan;

const PORT: u16 = 8080;

/// What is sent before the server looks whether it is to stop.
const CHUNK: usize = 64 * 1024;

/// How long sending so much takes a slow server.
const CHUNK_TIME: Duration = Duration::from_micros(5243);

/// What a server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ways {
    Ranges,
    /// All or nothing.
    Whole,
    /// Ranges, at 100 Mbit/s for all together.
    Slow,
}

/// A server of one file on a host of its own.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: String,
    scheme: &'static str,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    content: Vec<u8>,
    tls: Option<Arc<ServerConfig>>,
    ways: Ways,
    sent: AtomicU64,
    stop: AtomicBool,
    /// When all that was sent so far has left a slow server.
    free: Mutex<Instant>,
}

impl Upstream {
    pub(crate) fn start(lan: &Lan, host: u8, content: &[u8], ways: Ways) -> Result<Self> {
        Self::serve(lan, host, content, (ways, None))
    }

    /// The same over https.
    pub(crate) fn start_tls(
        lan: &Lan,
        host: u8,
        content: &[u8],
        tls: Arc<ServerConfig>,
    ) -> Result<Self> {
        Self::serve(lan, host, content, (Ways::Ranges, Some(tls)))
    }

    fn serve(
        lan: &Lan,
        host: u8,
        content: &[u8],
        (ways, tls): (Ways, Option<Arc<ServerConfig>>),
    ) -> Result<Self> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let host = lan.host(host);
        let address = format!("{}:{PORT}", host.address());
        let state = Arc::new(State {
            content: content.to_vec(),
            tls,
            ways,
            sent: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            free: Mutex::new(Instant::now()),
        });
        let (serving, at) = (state.clone(), address.clone());
        let (ready, is_ready) = std::sync::mpsc::channel();
        host.inside(move || {
            let listener = TcpListener::bind(at)?;
            listener.set_nonblocking(true)?;
            ready.send(()).ok();
            while !serving.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let serving = serving.clone();
                        thread::spawn(move || serving.serve(stream));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(2));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })?;
        is_ready.recv_timeout(Duration::from_secs(10))?;
        Ok(Self {
            address,
            scheme,
            state,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}/file.bin", self.scheme, self.address)
    }

    /// Bytes of bodies sent so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        stream.set_nonblocking(false).ok();
        stream.set_nodelay(true).ok();
        let Some(tls) = &self.tls else {
            return self.serve_over(stream);
        };
        if let Ok(session) = ServerConnection::new(tls.clone()) {
            self.serve_over(StreamOwned::new(session, stream));
        }
    }

    /// Answers one request after the other, until the client goes.
    fn serve_over(&self, stream: impl Read + Write) {
        let mut lines = BufReader::new(stream);
        while !self.stop.load(Ordering::Relaxed) {
            let mut request = Vec::new();
            loop {
                let mut line = String::new();
                match lines.read_line(&mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) if line.trim().is_empty() => break,
                    Ok(_) => request.push(line.trim().to_owned()),
                }
            }
            if self.answer(lines.get_mut(), &request).is_err() {
                return;
            }
        }
    }

    fn answer(&self, stream: &mut impl Write, request: &[String]) -> std::io::Result<()> {
        let first = request.first().map_or("", String::as_str);
        let size = self.content.len();
        if !first.contains(" /file.bin ") {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            return stream.flush();
        }
        let has_ranges = self.ways != Ways::Whole;
        let range = request.iter().find_map(|line| {
            line.to_lowercase()
                .strip_prefix("range: bytes=")
                .map(str::to_owned)
        });
        let range = range.filter(|_| has_ranges).and_then(|range| {
            let (first, last) = range.split_once('-')?;
            Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
        });
        let accept = if has_ranges {
            "Accept-Ranges: bytes\r\n"
        } else {
            ""
        };
        let (status, part) = match range {
            Some(range) => {
                let said = format!(
                    "206 Partial Content\r\nContent-Range: bytes {}-{}/{size}",
                    range.start,
                    range.end - 1
                );
                (said, range)
            }
            None => ("200 OK".to_owned(), 0..size),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\n{accept}Content-Length: {}\r\n\r\n",
            part.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.flush()?;
        if first.starts_with("HEAD") {
            return Ok(());
        }
        for chunk in self.content[part].chunks(CHUNK) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ErrorKind::Interrupted.into());
            }
            if self.ways == Ways::Slow {
                self.wait_for_turn();
            }
            stream.write_all(chunk)?;
            self.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        stream.flush()
    }

    /// Waits until what others send has left.
    fn wait_for_turn(&self) {
        let turn = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + CHUNK_TIME;
            *free
        };
        thread::sleep(turn.saturating_duration_since(Instant::now()));
    }
}
