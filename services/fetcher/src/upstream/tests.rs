//! Against a real server in this process, with the faults that servers have.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

const SIZE: usize = 1_000_000;

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NoHead,
    NoRanges,
    NoSize,
    Answers(u16),
    Encoded,
    Short,
    Silent,
    OtherRange,
    /// Another version from the second request on.
    Changes,
    /// `/` leads to `/1`, that to `/2` and so on up to this.
    Redirects(u32),
    ToFtp,
}

struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(Method, String)>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let seen = seen.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let count = {
                        let mut seen = seen.lock().unwrap();
                        seen.push((request.method().clone(), request.uri().path().to_owned()));
                        seen.len()
                    };
                    let response = answer(fault, &request, count);
                    async move { Ok::<_, Infallible>(response) }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(serving.await) });
            }
        });
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }

    fn url(&self) -> UpstreamUrl {
        format!("http://{}/file", self.address).parse().unwrap()
    }
}

type Body = BoxBody<Bytes, std::io::Error>;

fn content() -> Bytes {
    (0..SIZE)
        .map(|index| u8::try_from(index * 31 % 251).unwrap())
        .collect()
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// The first bytes, and then an end or silence.
fn broken(bytes: &Bytes, fault: Fault) -> Body {
    let first = [Ok(Frame::data(bytes.slice(..bytes.len() / 2)))];
    let error = std::io::Error::other("broken");
    let rest = futures_of(fault == Fault::Silent, error);
    http_body_util::BodyExt::boxed(StreamBody::new(tokio_stream::StreamExt::chain(
        tokio_stream::iter(first),
        rest,
    )))
}

fn futures_of(
    is_silent: bool,
    error: std::io::Error,
) -> Pin<Box<dyn tokio_stream::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Sync>> {
    if is_silent {
        Box::pin(tokio_stream::pending())
    } else {
        Box::pin(tokio_stream::once(Err(error)))
    }
}

#[expect(clippy::too_many_lines, reason = "one fault after the other")]
fn answer(fault: Fault, request: &Request<Incoming>, count: usize) -> Response<Body> {
    let all = content();
    let is_head = request.method() == Method::HEAD;
    let response = Response::builder();
    let empty = || full(Bytes::new());
    match fault {
        Fault::Answers(status) => return response.status(status).body(empty()).unwrap(),
        Fault::NoHead if is_head => return response.status(405).body(empty()).unwrap(),
        Fault::ToFtp => {
            return response
                .status(302)
                .header("location", "ftp://host/")
                .body(empty())
                .unwrap();
        }
        Fault::Redirects(most) => {
            let at = request
                .uri()
                .path()
                .trim_start_matches('/')
                .parse()
                .unwrap_or(0);
            if at < most {
                let location = format!("/{}", at + 1);
                return response
                    .status(302)
                    .header("location", location)
                    .body(empty())
                    .unwrap();
            }
        }
        Fault::None
        | Fault::NoHead
        | Fault::NoRanges
        | Fault::NoSize
        | Fault::Encoded
        | Fault::Short
        | Fault::Silent
        | Fault::OtherRange
        | Fault::Changes => {}
    }
    let tag = if fault == Fault::Changes && count > 1 {
        "\"two\""
    } else {
        "\"one\""
    };
    let mut response = response.header("etag", tag);
    if !matches!(fault, Fault::NoRanges | Fault::NoHead) {
        response = response.header("accept-ranges", "bytes");
    }
    if fault == Fault::Encoded {
        response = response.header("content-encoding", "gzip");
    }
    let is_same = request
        .headers()
        .get("if-range")
        .is_none_or(|known| known == tag);
    let range = request
        .headers()
        .get("range")
        .filter(|_| is_same && fault != Fault::NoRanges);
    let body = match range {
        Some(range) => {
            let (first, last) = range
                .to_str()
                .unwrap()
                .strip_prefix("bytes=")
                .unwrap()
                .split_once('-')
                .unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            let said = if fault == Fault::OtherRange {
                first + 1
            } else {
                first
            };
            response = response
                .status(StatusCode::PARTIAL_CONTENT)
                .header("content-range", format!("bytes {said}-{last}/{SIZE}"));
            all.slice(first..=last)
        }
        None => all,
    };
    if is_head {
        if fault != Fault::NoSize {
            response = response.header("content-length", SIZE);
        }
        return response.body(empty()).unwrap();
    }
    match fault {
        Fault::Short | Fault::Silent | Fault::NoSize => {
            response.body(broken(&body, fault)).unwrap()
        }
        Fault::None
        | Fault::NoHead
        | Fault::NoRanges
        | Fault::Answers(_)
        | Fault::Encoded
        | Fault::OtherRange
        | Fault::Changes
        | Fault::Redirects(_)
        | Fault::ToFtp => response.body(full(body)).unwrap(),
    }
}

async fn probe(servers: &[&Server]) -> Result<Upstream, UpstreamError> {
    let urls: Vec<UpstreamUrl> = servers.iter().map(|server| server.url()).collect();
    let patience = UpstreamPatience {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(5),
        late: Duration::from_secs(5),
        pace: PaceRule {
            silence: Duration::from_millis(200),
            ..PaceRule::default()
        },
    };
    Upstream::probe(&urls, Roots::None, patience, Arc::default()).await
}

async fn read(upstream: &Upstream, range: std::ops::Range<u64>) -> Result<Vec<u8>, UpstreamError> {
    let mirror = upstream.choose().expect("no mirror is left");
    let mut reading = upstream.read(mirror, range).await?;
    let mut bytes = Vec::new();
    while let Some(data) = reading.next().await? {
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[tokio::test]
async fn parts_and_the_whole_come_as_they_are() {
    for fault in [Fault::None, Fault::NoHead, Fault::Redirects(9)] {
        let server = Server::start(fault).await;
        let upstream = probe(&[&server]).await.unwrap();
        assert_eq!(
            (upstream.size(), upstream.has_ranges()),
            (SIZE as u64, true),
            "{fault:?}"
        );
        assert_eq!(
            read(&upstream, 1000..5000).await.unwrap(),
            content()[1000..5000]
        );
        assert_eq!(read(&upstream, 0..SIZE as u64).await.unwrap(), content());
    }
}

#[tokio::test]
async fn where_it_was_redirected_to_is_asked_next_time() {
    let server = Server::start(Fault::Redirects(3)).await;
    let upstream = probe(&[&server]).await.unwrap();
    server.asked.lock().unwrap().clear();
    read(&upstream, 0..10).await.unwrap();
    assert_eq!(
        *server.asked.lock().unwrap(),
        [(Method::GET, "/3".to_owned())]
    );
}

#[tokio::test]
async fn a_server_without_ranges_gives_the_whole() {
    let server = Server::start(Fault::NoRanges).await;
    let upstream = probe(&[&server]).await.unwrap();
    assert!(!upstream.has_ranges());
    assert_eq!(read(&upstream, 0..SIZE as u64).await.unwrap(), content());
}

#[tokio::test]
async fn a_server_that_is_of_no_use_is_known_by_the_time_it_is_probed() {
    let check = async |fault: Fault, is_expected: fn(&UpstreamError) -> bool| {
        let server = Server::start(fault).await;
        let error = probe(&[&server]).await.unwrap_err();
        assert!(is_expected(&error), "{fault:?}: {error}");
        assert!(
            error.to_string().contains(&server.address.to_string()),
            "{error}"
        );
    };
    check(Fault::Answers(404), |error| {
        matches!(error, UpstreamError::Status { .. }) && error.is_final()
    })
    .await;
    check(Fault::Answers(403), |error| {
        matches!(error, UpstreamError::Status { .. }) && error.is_final()
    })
    .await;
    check(Fault::Answers(503), |error| {
        matches!(error, UpstreamError::Status { .. }) && !error.is_final()
    })
    .await;
    check(Fault::Encoded, |error| {
        matches!(error, UpstreamError::Encoded { .. })
    })
    .await;
    check(Fault::Redirects(50), |error| {
        matches!(error, UpstreamError::TooManyRedirects { .. })
    })
    .await;
    check(Fault::ToFtp, |error| {
        matches!(error, UpstreamError::Redirect { .. })
    })
    .await;
}

#[tokio::test]
async fn what_changes_or_breaks_off_is_noticed() {
    let check = async |fault: Fault,
                       range: std::ops::Range<u64>,
                       is_expected: fn(&UpstreamError) -> bool| {
        let server = Server::start(fault).await;
        let upstream = probe(&[&server]).await.unwrap();
        let error = read(&upstream, range).await.unwrap_err();
        assert!(is_expected(&error), "{fault:?}: {error}");
        let mirror = upstream.mirrors.first().unwrap();
        assert_eq!(mirror.is_dead(), error.is_final());
        assert!(mirror.failures() > 0);
    };
    check(Fault::Changes, 5..10, |error| {
        matches!(error, UpstreamError::Changed { .. })
    })
    .await;
    check(Fault::OtherRange, 5..10, |error| {
        matches!(error, UpstreamError::Changed { .. })
    })
    .await;
    check(Fault::Short, 0..SIZE as u64, |error| {
        // It may break off before its head was read.
        let is_early = matches!(error, UpstreamError::Unreachable { .. });
        is_early || matches!(error, UpstreamError::Short { .. })
    })
    .await;
    check(Fault::Silent, 0..SIZE as u64, |error| {
        matches!(error, UpstreamError::Stalled { .. })
    })
    .await;
}

#[tokio::test]
async fn a_mirror_that_fails_is_asked_after_the_others() {
    let (bad, good) = (
        Server::start(Fault::Short).await,
        Server::start(Fault::None).await,
    );
    let upstream = probe(&[&bad, &good]).await.unwrap();
    assert!(read(&upstream, 0..100).await.is_err());
    assert_eq!(read(&upstream, 0..100).await.unwrap(), content()[..100]);
    let dead = Server::start(Fault::Answers(404)).await;
    let upstream = probe(&[&dead, &good]).await.unwrap();
    assert_eq!(upstream.mirrors.len(), 1);
    let last = upstream.choose().unwrap();
    assert!(!upstream.condemn(&last), "there is no other");
}

#[test]
fn the_size_that_most_mirrors_say_is_believed() {
    let agreed = |sizes: &[u64]| agreed_size(sizes);
    assert_eq!(agreed(&[]), None);
    assert_eq!(agreed(&[7, 9]), Some(7));
    assert_eq!(agreed(&[7, 9, 9]), Some(9));
    assert_eq!(agreed(&[8, 7, 9, 9, 8]), Some(8));
}

#[tokio::test]
async fn a_mirror_that_does_not_answer_is_not_waited_for_once_another_did() {
    type Answer = Pin<Box<dyn Future<Output = Result<u32, u32>>>>;
    let never = || -> Answer { Box::pin(std::future::pending()) };
    let now = |answer| -> Answer { Box::pin(std::future::ready(answer)) };
    let asked = [now(Err(1)), never(), now(Ok(2)), never()];
    let answers = join_all(asked.map(Box::pin).into(), Duration::ZERO).await;
    assert_eq!(answers, [Err(1), Ok(2)]);
    let asked = [now(Err(1)), now(Err(2))];
    let answers = join_all(asked.map(Box::pin).into(), Duration::ZERO).await;
    assert_eq!(answers, [Err(1), Err(2)]);
}

#[tokio::test]
async fn https_without_anybody_to_vouch_says_what_to_do() {
    let urls = ["https://127.0.0.1:1/".parse().unwrap()];
    let error = Upstream::probe(
        &urls,
        Roots::None,
        UpstreamPatience::default(),
        Arc::default(),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, UpstreamError::NoRootCertificates));
    assert!(error.to_string().contains("ca-certificates"), "{error}");
}
