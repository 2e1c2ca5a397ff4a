//! Callers who mean harm.

use http_body_util::{BodyExt as _, Full, StreamBody};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};

use super::{probe::CHUNK_BYTES, *};

/// What HTTP/2 begins with, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn a_reader_that_never_reads_is_cut_off() {
    let server = Server::start(Bounds {
        stall: SHORT,
        ..Bounds::lan()
    });
    for method in ["Endless", "Pages"] {
        let mut client = Client::connect(server.address).await;
        let unread = client.call(method).await.unwrap();
        let began = time::Instant::now();
        client.cut().await;
        assert!(began.elapsed() >= SHORT, "cut too early");
        drop(unread);
        server.settle(0).await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_reader_of_http_1_that_never_reads_is_cut_off() {
    let server = Server::start(Bounds {
        stall: SHORT,
        ..Bounds::lan()
    });
    let mut io = TcpStream::connect(server.address).await.unwrap();
    io.write_all(b"POST /test.Probe/Endless HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 4];
    within(io.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP");
    server.settle(0).await;
    drop(io);
    server.end().await;
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed() {
    let server = Server::start(Bounds {
        idle: SHORT,
        ..Bounds::lan()
    });
    let mut client = Client::connect(server.address).await;
    client.call("Whoami").await.unwrap();
    client.cut().await;
    // One that does not leave when it is asked to.
    let mut io = TcpStream::connect(server.address).await.unwrap();
    io.write_all(PREFACE).await.unwrap();
    io.write_all(&headers_frame(1, "/test.Probe/Whoami"))
        .await
        .unwrap();
    hung_up(&mut io).await;
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn a_reader_that_only_pings_is_cut_off() {
    let server = Server::start(Bounds {
        stall: SHORT,
        ..Bounds::lan()
    });
    let mut io = TcpStream::connect(server.address).await.unwrap();
    io.write_all(PREFACE).await.unwrap();
    io.write_all(&headers_frame(1, "/test.Probe/Endless"))
        .await
        .unwrap();
    // Everything is taken from the socket and no window is ever opened again.
    let ping = *b"\0\0\x08\x06\0\0\0\0\0pingpong";
    let mut buffer = vec![0; 1 << 20];
    within(async {
        loop {
            let read = match io.try_read(&mut buffer) {
                Ok(read) => Some(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(_) => break,
            };
            if read == Some(0) || io.write_all(&ping).await.is_err() {
                break;
            }
            time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn streams_that_share_a_small_budget_all_move_on() {
    let bounds = Bounds {
        pages_per_peer_bytes: 2 * CHUNK_BYTES,
        ..Bounds::lan()
    };
    let server = Server::start(bounds);
    let readers = Lifetime::new();
    let mut reading = Vec::new();
    for _ in 0..Bounds::lan().connections_per_peer {
        let mut client = Client::connect(server.address).await;
        reading.push(readers.spawn("reader", async move {
            let mut body = client.call("Pages").await.unwrap().into_body();
            for _ in 0..64 {
                within(body.frame()).await.unwrap().unwrap();
            }
        }));
    }
    for reader in reading {
        within(reader).await.unwrap();
    }
    server.end().await;
}

#[tokio::test]
async fn a_request_that_never_comes_is_not_waited_for() {
    let server = Server::start(Bounds {
        first_request: SHORT,
        ..Bounds::lan()
    });
    let beginnings: [&[u8]; 5] = [
        b"",
        b"POST /test.Probe/Who",
        b"POST / HTTP/1.1\r\nhost: t\r\n",
        PREFACE,
        &PREFACE[..7],
    ];
    for beginning in beginnings {
        let mut io = TcpStream::connect(server.address).await.unwrap();
        io.write_all(beginning).await.unwrap();
        hung_up(&mut io).await;
    }
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn a_head_that_trickles_in_is_not_waited_for() {
    let server = Server::start(Bounds {
        first_request: SHORT,
        ..Bounds::lan()
    });
    let mut io = TcpStream::connect(server.address).await.unwrap();
    within(async {
        io.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        while io.write_all(b"x-more: 1\r\n").await.is_ok() {
            time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_waited_for() {
    let server = Server::start(Bounds {
        request: Some(SHORT),
        ..Bounds::lan()
    });
    let body = StreamBody::new(tokio_stream::pending::<Result<_, std::convert::Infallible>>());
    assert_eq!(echo(server.address, body).await, Code::DeadlineExceeded);
    server.end().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let bounds = Bounds {
        request_bytes: Some(1000),
        ..Bounds::lan()
    };
    let server = Server::start(bounds);
    let body = |bytes| Full::new(Bytes::from(vec![0_u8; bytes]));
    assert_eq!(echo(server.address, body(1000)).await, Code::Ok);
    assert_eq!(
        echo(server.address, body(1001)).await,
        Code::ResourceExhausted
    );
    server.end().await;
}

#[tokio::test]
async fn headers_that_are_too_long_are_refused() {
    let server = Server::start(Bounds::lan());
    let mut client = Client::connect(server.address).await;
    let request =
        Request::post("http://test/test.Probe/Whoami").header("x-long", "a".repeat(20_000));
    client.sender.ready().await.unwrap();
    let answer = within(
        client
            .sender
            .send_request(request.body(Empty::new()).unwrap()),
    )
    .await;
    assert!(answer.is_err() || !answer.unwrap().status().is_success());
    polite(server.address).await;
    server.end().await;
}

#[tokio::test]
async fn garbage_hurts_nobody() {
    let server = Server::start(Bounds {
        first_request: SHORT,
        ..Bounds::lan()
    });
    let mut random = fastrand_like(7);
    for round in 0..200 {
        let mut io = connect_from(round, server.address).await.unwrap();
        let mut garbage: Vec<u8> = (0..4096).map(|_| random()).collect();
        if round % 2 == 0 {
            garbage.splice(..0, PREFACE.iter().copied());
        }
        // The server may hang up while we are still talking.
        drop(io.write_all(&garbage).await);
    }
    polite(server.address).await;
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn who_is_not_admitted_is_hung_up_on() {
    let neighbour = IpAddr::from([127, 0, 1, 1]);
    let admission = move |address| {
        if address == neighbour {
            Welcome::Served
        } else {
            Welcome::HungUpOn
        }
    };
    let server = Server::start_admitting(Bounds::lan(), Arc::new(admission));
    let mut stranger = connect_from(2, server.address).await.unwrap();
    hung_up(&mut stranger).await;
    let mut client = Client::on(connect_from(1, server.address).await.unwrap()).await;
    client.call("Whoami").await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn a_stranger_gets_one_answer_whatever_it_asks() {
    let told = |_| Welcome::Told(Status::permission_denied("not you"));
    let server = Server::start_admitting(Bounds::lan(), Arc::new(told));
    for method in ["Whoami", "Silent", "Endless", "Panic"] {
        let mut client = Client::connect(server.address).await;
        let answer = within(client.call(method)).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(
            (status.code(), status.message()),
            (Code::PermissionDenied, "not you"),
            "{method}"
        );
        client.cut().await;
    }
    let mut old = TcpStream::connect(server.address).await.unwrap();
    old.write_all(b"POST /any HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    within(old.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("grpc-status: 7\r\n"), "{answer}");
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn a_stranger_that_does_not_leave_is_cut_off() {
    let told = |_| Welcome::Told(Status::permission_denied("not you"));
    let bounds = Bounds {
        drain: SHORT,
        ..Bounds::lan()
    };
    let server = Server::start_admitting(bounds, Arc::new(told));
    let mut io = TcpStream::connect(server.address).await.unwrap();
    io.write_all(PREFACE).await.unwrap();
    io.write_all(&headers_frame(1, "/test.Probe/Whoami"))
        .await
        .unwrap();
    // It acknowledges nothing.
    hung_up(&mut io).await;
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn strangers_leave_seats_to_readers() {
    let reader = IpAddr::from([127, 0, 1, 1]);
    let admission = move |address| {
        if address == reader {
            Welcome::Served
        } else {
            Welcome::Told(Status::permission_denied("not you"))
        }
    };
    let bounds = Bounds {
        strangers: 1,
        first_request: DEADLINE,
        ..Bounds::lan()
    };
    let server = Server::start_admitting(bounds, Arc::new(admission));
    let stranger = connect_from(2, server.address).await.unwrap();
    server.settle(1).await;
    let mut other = connect_from(3, server.address).await.unwrap();
    hung_up(&mut other).await;
    let mut client = Client::on(connect_from(1, server.address).await.unwrap()).await;
    client.call("Whoami").await.unwrap();
    drop(stranger);
    server.end().await;
}

#[tokio::test]
async fn a_call_that_waits_for_ever_holds_no_seat() {
    let server = Server::start(Bounds {
        silence: Some(SHORT),
        idle: SHORT,
        ..Bounds::lan()
    });
    for method in ["Silent", "Never"] {
        let mut client = Client::connect(server.address).await;
        let answer = within(client.call(method)).await.unwrap();
        let head = Status::from_header_map(answer.headers());
        let end = within(answer.into_body().collect()).await.unwrap();
        let status = head.or_else(|| Status::from_header_map(end.trailers()?));
        assert_eq!(status.unwrap().code(), Code::DeadlineExceeded, "{method}");
        client.cut().await;
    }
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn an_answer_by_http_1_that_waits_for_ever_does_not_look_whole() {
    let server = Server::start(Bounds {
        silence: Some(SHORT),
        ..Bounds::lan()
    });
    let mut io = TcpStream::connect(server.address).await.unwrap();
    io.write_all(b"GET /test.Probe/Silent HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // Broken off: with an end of the stream, or with an error.
    drop(within(io.read_to_end(&mut answer)).await);
    let answer = String::from_utf8(answer).unwrap();
    assert!(!answer.contains("\r\n0\r\n"), "{answer}");
    server.settle(0).await;
    server.end().await;
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let bounds = Bounds {
        connections_per_peer: 2,
        ..Bounds::lan()
    };
    let server = Server::start(bounds);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::on(connect_from(1, server.address).await.unwrap()).await;
        client.call("Whoami").await.unwrap();
        clients.push(client);
    }
    let mut third = connect_from(1, server.address).await.unwrap();
    hung_up(&mut third).await;
    let mut other = Client::on(connect_from(2, server.address).await.unwrap()).await;
    other.call("Whoami").await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn ten_thousand_connections_are_survived() {
    const ALL: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .unwrap();
    let at_once = usize::try_from(limit.maximum.unwrap_or(1 << 20)).unwrap() / 4;
    let bounds = Bounds {
        first_request: DEADLINE,
        ..Bounds::lan()
    };
    let most = bounds.connections + doors();
    let server = Server::start(bounds);
    let before = resident_bytes();
    let mut held = Vec::new();
    for number in 0..ALL {
        if held.len() >= at_once {
            held.clear();
        }
        let last = u8::try_from(number % 200).unwrap() + 1;
        let mut io = within(connect_from(last, server.address)).await.unwrap();
        drop(io.write_all(PREFACE).await);
        held.push(io);
        assert!(server.lifetime.running() <= most);
    }
    assert!(resident_bytes().saturating_sub(before) < 100 << 20);
    drop(held);
    server.settle(0).await;
    polite(server.address).await;
    server.end().await;
}

/// Sends a body to be echoed, and returns what the server says about it.
async fn echo<B>(address: SocketAddr, body: B) -> Code
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let tasks = Lifetime::new();
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let executor = connection::Streams(tasks.clone());
    let (mut sender, connection) = http2::handshake(executor, io).await.unwrap();
    drop(tasks.spawn("client", connection));
    let request = Request::post("http://test/test.Probe/Echo")
        .body(body)
        .unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    Status::from_header_map(response.headers()).unwrap().code()
}

async fn polite(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    within(client.call("Whoami")).await.unwrap();
}

/// Waits until the server has hung up, whatever it says before.
async fn hung_up(io: &mut TcpStream) {
    let mut rest = Vec::new();
    drop(within(io.read_to_end(&mut rest)).await);
}

/// A POST without a body to this path, as one HEADERS frame without compression.
fn headers_frame(stream: u8, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    // Static names, literal values that are not indexed (RFC 7541, 6.2.2).
    for (name, value) in [(3_u8, "POST"), (6, "http"), (4, path), (1, "test")] {
        let length = u8::try_from(value.len()).unwrap();
        block.extend([name, length]);
        block.extend(value.as_bytes());
    }
    let length = u8::try_from(block.len()).unwrap();
    let mut frame = vec![0, 0, length, 1, 0b101, 0, 0, 0, stream];
    frame.extend(block);
    frame
}

/// A fixed sequence of bytes that looks like none.
fn fastrand_like(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}
