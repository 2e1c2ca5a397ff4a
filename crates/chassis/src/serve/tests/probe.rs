//! A service that answers as the path says.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tonic::{Status, body::Body, server::NamedService};

use crate::serve::{PageBudget, PageClaim, PeerAddress, PeerCredentials};

/// How large one chunk of an answer is.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;

/// `Echo` answers with the request's outcome, `Whoami` with the caller, `Endless` without end, `Pages` without end and
/// within the budget, `Silent` with nothing, `Never` not even with that, `Panic` not at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe;

impl NamedService for Probe {
    const NAME: &'static str = "test.Probe";
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl tower::Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        Box::pin(async move {
            let method = request
                .uri()
                .path()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            Ok(match method.as_str() {
                "Endless" => Response::new(Body::new(Endless)),
                "Pages" => Response::new(pages(&request)),
                "Never" => std::future::pending().await,
                "Silent" => Response::new(Body::new(Silent)),
                "Whoami" => whoami(&request),
                "Panic" => panic!("a handler's fault"),
                _ => echo(request).await,
            })
        })
    }
}

async fn echo(request: Request<Body>) -> Response<Body> {
    let outcome = request.into_body().collect().await;
    let status = outcome.map_or_else(|status| status, |_| Status::ok(""));
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = trailers;
    response
}

fn whoami(request: &Request<Body>) -> Response<Body> {
    let extensions = request.extensions();
    let address = extensions
        .get::<PeerAddress>()
        .map(|PeerAddress(address)| address.ip().to_string());
    let user = extensions
        .get::<PeerCredentials>()
        .map(|found| found.uid.to_string());
    let caller = address.or(user).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    response
        .headers_mut()
        .insert("caller", HeaderValue::try_from(caller).unwrap());
    response
}

fn pages(request: &Request<Body>) -> Body {
    let budget = request.extensions().get::<PageBudget>().unwrap().clone();
    let claims = Claims {
        claim: Box::pin(claim(budget.clone())),
        budget,
    };
    Body::new(claims)
}

async fn claim(budget: PageBudget) -> PageClaim {
    budget.claim(CHUNK_BYTES).await
}

struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        static CHUNK: [u8; CHUNK_BYTES] = [7; CHUNK_BYTES];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK)))))
    }
}

struct Claims {
    budget: PageBudget,
    claim: Pin<Box<dyn Future<Output = PageClaim> + Send>>,
}

impl http_body::Body for Claims {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.claim.as_mut().poll(cx).map(|claimed| {
            self.claim = Box::pin(claim(self.budget.clone()));
            Some(Ok(Frame::data(claimed.hold(vec![7; CHUNK_BYTES]))))
        })
    }
}

struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Pending
    }
}
