//! One call: who asks, in which trace, with how much, and what is on its way back.

use std::{
    convert::Infallible,
    future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::Notify,
    time::{self, Instant, Sleep},
};
use tonic::{Status, service::Routes};
use tower::Service as _;
use tracing::{Instrument as _, Span};

use super::{
    Bounds, PageBudget, PeerAddress, PeerCredentials,
    activity::{Activity, Call},
    direct::{self, DirectBody},
};
use crate::propagate;

/// Answers the calls of one connection.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) routes: Routes,
    pub(super) caller: Caller,
    pub(super) activity: Arc<Activity>,
    pub(super) limits: Limits,
    pub(super) refusal: Option<Refusal>,
}

/// The only answer that somebody gets.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: Status,
    /// Says that it was given.
    pub(super) told: Arc<Notify>,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) address: Option<PeerAddress>,
    pub(super) credentials: Option<PeerCredentials>,
    pub(super) pages: PageBudget,
}

/// What a request may be, and how long its answer may say nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    bytes: Option<usize>,
    duration: Option<Duration>,
    silence: Option<Duration>,
}

impl Limits {
    pub(super) fn of(bounds: &Bounds) -> Self {
        Self {
            bytes: bounds.request_bytes,
            duration: bounds.request,
            silence: bounds.silence,
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let call = Call::begin(&self.activity);
        if let Some(refusal) = &self.refusal {
            let mut response = refusal.status.clone().into_http();
            if !speaks_grpc(request.version()) {
                *response.status_mut() = StatusCode::FORBIDDEN;
            }
            refusal.told.notify_one();
            let body = |inner| ResponseBody::new(inner, call, Span::none(), None);
            return Box::pin(future::ready(Ok(response.map(body))));
        }
        let span = propagate::request_span(&request);
        let mut request = request.map(|body| RequestBody::new(body, self.limits));
        let extensions = request.extensions_mut();
        extensions.insert(self.caller.pages.clone());
        if let Some(address) = self.caller.address {
            extensions.insert(address);
        }
        if let Some(credentials) = self.caller.credentials {
            extensions.insert(credentials);
        }
        let has_trailers = speaks_grpc(request.version());
        let mut routes = self.routes.clone();
        let answering = span
            .in_scope(|| routes.call(request))
            .instrument(span.clone());
        let silence = self.limits.silence;
        Box::pin(async move {
            let response = match silence {
                None => answering.await?,
                Some(silence) => match time::timeout(silence, answering).await {
                    Ok(response) => response?,
                    Err(_) => too_silent().into_http(),
                },
            };
            let (mut parts, inner) = response.into_parts();
            let direct = parts.extensions.remove::<DirectBody>();
            let body = direct.map_or(inner, DirectBody::into_body);
            let mut body = ResponseBody::new(body, call, span, silence);
            body.has_trailers = has_trailers;
            Ok(Response::from_parts(parts, body))
        })
    }
}

/// A request's body within its limits.
pub(super) struct RequestBody {
    inner: Incoming,
    left_bytes: Option<usize>,
    limit_bytes: usize,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    fn new(inner: Incoming, limits: Limits) -> Self {
        Self {
            inner,
            left_bytes: limits.bytes,
            limit_bytes: limits.bytes.unwrap_or(usize::MAX),
            deadline: limits
                .duration
                .map(|duration| Box::pin(time::sleep(duration))),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    // A status, since tonic hands that to the caller as it is.
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            let deadline = self
                .deadline
                .as_mut()
                .map(|deadline| deadline.as_mut().poll(cx));
            return match deadline {
                Some(Poll::Ready(())) => Poll::Ready(Some(Err(Status::deadline_exceeded(
                    "the request took too long",
                )))),
                Some(Poll::Pending) | None => Poll::Pending,
            };
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
            None => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if let Some(left) = &mut self.left_bytes {
            let Some(rest) = left.checked_sub(bytes) else {
                let message = format!("the request has more than {} bytes", self.limit_bytes);
                return Poll::Ready(Some(Err(Status::resource_exhausted(message))));
            };
            *left = rest;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body, followed until the peer has it, in the span of its call.
pub(super) struct ResponseBody {
    inner: tonic::body::Body,
    call: Call,
    span: Span,
    silence: Option<Silence>,
    /// Whether a status behind it is seen; else an answer that ends early must be broken off.
    has_trailers: bool,
}

/// Waits for an answer to go on.
struct Silence {
    patience: Duration,
    is_waiting: bool,
    end: Pin<Box<Sleep>>,
}

impl ResponseBody {
    fn new(inner: tonic::body::Body, call: Call, span: Span, patience: Option<Duration>) -> Self {
        Self {
            inner,
            call,
            span,
            silence: patience.map(Silence::new),
            has_trailers: true,
        }
    }

    /// Ends an answer that had nothing to say for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<Bytes>, Status>> {
        let Some(silence) = &mut self.silence else {
            return Poll::Pending;
        };
        ready!(silence.poll_end(cx));
        self.silence = None;
        self.inner = tonic::body::Body::empty();
        if !self.has_trailers {
            return Poll::Ready(Err(too_silent()));
        }
        Poll::Ready(Ok(Frame::trailers(direct::trailers(&too_silent()))))
    }
}

impl Silence {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            is_waiting: false,
            end: Box::pin(time::sleep(patience)),
        }
    }

    /// Counts from the first wait: before that, the peer may have taken its time.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_waiting {
            self.is_waiting = true;
            self.end.as_mut().reset(Instant::now() + self.patience);
        }
        self.end.as_mut().poll(cx)
    }
}

/// gRPC is HTTP/2; what comes by HTTP/1 are other programs, which know neither its statuses nor trailers.
fn speaks_grpc(version: Version) -> bool {
    version >= Version::HTTP_2
}

fn too_silent() -> Status {
    Status::deadline_exceeded("nothing happened for too long; call again to go on waiting")
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let span = this.span.clone();
        let _in_span = span.enter();
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            return this.poll_silence(cx).map(Some);
        };
        if let Some(silence) = &mut this.silence {
            silence.is_waiting = false;
        }
        let call = &this.call;
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|data| call.follow(data)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
