//! How one trace spans processes: by HTTP headers, and by 25 bytes in a datagram.

use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use opentelemetry::{
    Context as TraceParent, SpanId, TraceFlags, TraceId,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _, TraceState},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, info_span, instrument::Instrumented};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A span's place in its trace: trace id (16 bytes), span id (8), flags (1).
pub type TraceContext = [u8; 25];

/// The current span's place, when traces are recorded.
pub fn trace_context() -> Option<TraceContext> {
    context_of(&Span::current())
}

/// A span's place, when traces are recorded.
pub fn context_of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let span = context.span();
    let place = span.span_context();
    if !place.is_valid() {
        return None;
    }
    let mut bytes = [0; 25];
    bytes[..16].copy_from_slice(&place.trace_id().to_bytes());
    bytes[16..24].copy_from_slice(&place.span_id().to_bytes());
    bytes[24] = place.trace_flags().to_u8();
    Some(bytes)
}

/// Makes a span that was *not entered yet* the child of one in another process.
///
/// A span that was entered has its place already, and its trace would silently be another: so make it, call this, enter
/// it. What a stranger sent may be anything; what names no span is ignored.
pub fn set_parent(span: &Span, parent: &TraceContext) {
    let mut trace_id = [0; 16];
    trace_id.copy_from_slice(&parent[..16]);
    let mut span_id = [0; 8];
    span_id.copy_from_slice(&parent[16..24]);
    let place = SpanContext::new(
        TraceId::from_bytes(trace_id),
        SpanId::from_bytes(span_id),
        TraceFlags::new(parent[24]),
        true,
        TraceState::default(),
    );
    adopt(span, TraceParent::new().with_remote_span_context(place));
}

/// The same, with the parent as W3C headers name it.
pub fn set_parent_from_headers(span: &Span, headers: &HeaderMap) {
    adopt(
        span,
        TraceContextPropagator::new().extract(&Headers(headers)),
    );
}

/// Names a span in W3C headers, when traces are recorded.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut HeadersMut(headers));
}

/// A fresh span for a request, with the caller's as its parent; not entered yet.
pub fn request_span<B>(request: &Request<B>) -> Span {
    let path = request.uri().path();
    let span = info_span!(
        "grpc",
        otel.name = path.trim_start_matches('/'),
        otel.kind = "server"
    );
    set_parent_from_headers(&span, request.headers());
    span
}

fn adopt(span: &Span, parent: TraceParent) {
    if parent.span().span_context().is_valid() {
        // Fails where nothing records traces, which is no fault.
        drop(span.set_parent(parent));
    }
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'h>(&'h mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::try_from(key);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// Puts every request in a span of its own, for servers other than [`crate::serve`], which does it by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLayer;

/// What [`TraceLayer`] makes of a service.
#[derive(Debug, Clone)]
pub struct Traced<S> {
    inner: S,
}

impl<S> Layer<S> for TraceLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner }
    }
}

impl<S, B> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let span = request_span(&request);
        let call = span.in_scope(|| self.inner.call(request));
        call.instrument(span)
    }
}
