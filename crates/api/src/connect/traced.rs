//! Channels that carry the trace along.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request, Response};
use opentelemetry::trace::TraceContextExt as _;
use tonic::{Status, TimeoutExpired, body::Body, transport::Channel};
use tower::Service;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use zeroshare_wire::datagram::PublicKey;

use super::pool::Seat;

type BoxError = Box<dyn Error + Send + Sync>;

/// A channel that tells the called service which trace a call belongs to.
///
/// `traceparent` and `tracestate` of W3C are made from the span in which the call is made; without a
/// tracer nothing is sent. A deadline set by `Request::set_timeout` that passes before the answer
/// begins is `DEADLINE_EXCEEDED`. Cloning is cheap, and clones share the connection.
#[derive(Debug, Clone)]
pub struct TracedChannel {
    channel: Channel,
    /// Who proved to be at the other end.
    proven: Option<PublicKey>,
    /// Its place among shared connections, for as long as it is used.
    _seat: Option<Arc<Seat>>,
}

impl TracedChannel {
    /// Sends traces along on a channel made elsewhere.
    pub fn new(channel: Channel) -> Self {
        Self {
            channel,
            proven: None,
            _seat: None,
        }
    }

    /// The node key that the other end proved to have, and has after each new connection too; `None` without TLS.
    pub fn node_key(&self) -> Option<PublicKey> {
        self.proven
    }

    pub(super) fn proven(self, proven: Option<PublicKey>) -> Self {
        Self { proven, ..self }
    }

    /// A user of a shared connection.
    pub(super) fn seated(self, seat: Arc<Seat>) -> Self {
        Self {
            _seat: Some(seat),
            ..self
        }
    }
}

impl Service<Request<Body>> for TracedChannel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        add_trace(request.headers_mut(), &Span::current());
        let response = self.channel.call(request);
        Box::pin(async move { response.await.map_err(|error| name_deadline(error.into())) })
    }
}

fn add_trace(headers: &mut HeaderMap, span: &Span) {
    let context = span.context();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return;
    }
    let flags = span.trace_flags().to_u8();
    let parent = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    let state = span.trace_state().header();
    if let Ok(parent) = HeaderValue::try_from(parent) {
        headers.insert("traceparent", parent);
    }
    if let (false, Ok(state)) = (state.is_empty(), HeaderValue::try_from(state)) {
        headers.insert("tracestate", state);
    }
}

/// tonic reports a passed deadline as if the caller had cancelled.
fn name_deadline(error: BoxError) -> BoxError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
    while let Some(at) = cause {
        if at.is::<TimeoutExpired>() {
            return Status::deadline_exceeded("no answer in time").into();
        }
        cause = at.source();
    }
    error
}
