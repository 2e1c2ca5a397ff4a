//! A web server for many at once, as slow as the Internet, that counts the bytes of the one file that it has.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::Result;
use zeroshare_network::Host;

const PORT: u16 = 8081;

/// So many bytes are sent at once …
const PART: usize = 32 * 1024;

/// … with such a pause behind them.
const PAUSE: Duration = Duration::from_millis(15);

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: String,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Vec<u8>,
    sent: AtomicU64,
    /// Who asked for the file.
    askers: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Upstream {
    pub(crate) fn start(host: &Host, file: Vec<u8>) -> Result<Self> {
        let state = Arc::new(State {
            file,
            ..State::default()
        });
        let serving = state.clone();
        let (ready, is_ready) = mpsc::channel();
        host.inside(move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            listener.set_nonblocking(true)?;
            ready.send(()).ok();
            while !serving.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let serving = serving.clone();
                        // Whoever asked may be killed.
                        thread::spawn(move || serving.serve(&stream).unwrap_or_default());
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
        let address = format!("http://{}:{PORT}", host.address());
        Ok(Self { address, state })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Bytes of the file that were sent so far, to all.
    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// The addresses of those who asked for it, in their order.
    pub(crate) fn askers(&self) -> Vec<String> {
        let askers = self.state.askers.lock();
        askers.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let mut stream = stream;
        if first.split(' ').nth(1) != Some("/hello.tar.gz") {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(());
        }
        let asker = stream.peer_addr()?.ip().to_string();
        let mut askers = self.askers.lock().unwrap_or_else(PoisonError::into_inner);
        askers.push(asker);
        drop(askers);
        let size = self.file.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
        )?;
        for part in self.file.chunks(PART) {
            stream.write_all(part)?;
            self.sent.fetch_add(part.len() as u64, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}
