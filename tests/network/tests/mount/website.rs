//! A web server on a host's loopback, that counts what it is asked.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::Result;
use zeroshare_network::Host;

const PORT: u16 = 8080;

/// Pages by path.
pub(crate) type Pages = BTreeMap<String, Vec<u8>>;

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Website {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    pages: Pages,
    requests: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// The address of a page.
pub(crate) fn url(page: &str) -> String {
    format!("http://127.0.0.1:{PORT}{page}")
}

impl Website {
    pub(crate) fn start(host: &Host, pages: Pages) -> Result<Self> {
        let state = Arc::new(State {
            pages,
            ..State::default()
        });
        let serving = state.clone();
        let (ready, is_ready) = mpsc::channel();
        host.inside(move || {
            let listener = TcpListener::bind(("127.0.0.1", PORT))?;
            listener.set_nonblocking(true)?;
            ready.send(()).ok();
            while !serving.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => serving.serve(&stream).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(2));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })?;
        is_ready.recv_timeout(Duration::from_secs(10))?;
        Ok(Self { state })
    }

    /// What was asked for so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.state.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Website {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let page = self.pages.get(&path);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(path);
        drop(requests);
        let (status, body) = match page {
            Some(body) => ("200 OK", body.as_slice()),
            None => ("404 Not Found", &b""[..]),
        };
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        Ok(())
    }
}
