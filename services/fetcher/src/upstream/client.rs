//! One request, and where it is redirected to.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION, USER_AGENT,
};
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use tokio::time::timeout_at;

use super::{UpstreamError, UpstreamPatience, UpstreamUrl};

/// Redirects followed for one request.
pub(super) const MAX_REDIRECTS: usize = 10;

/// Headers of one answer.
const MAX_HEADERS: usize = 100;

/// What reading the headers of one answer may take in memory.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Connections kept for the next request to a host.
const IDLE_CONNECTIONS: usize = 8;

/// Who vouches for https servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Whom the system trusts.
    System,
    /// Nobody.
    #[cfg(test)]
    None,
}

/// A client that follows redirects, and asks for nothing compressed.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    has_roots: bool,
    pub(super) patience: UpstreamPatience,
}

/// An answer, and where it came from in the end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) url: UpstreamUrl,
    pub(super) response: Response<Incoming>,
}

impl Client {
    /// Reads the root certificates: blocks for some milliseconds.
    pub(crate) fn new(roots: Roots, patience: UpstreamPatience) -> Result<Self, UpstreamError> {
        let tls = |error: rustls::Error| UpstreamError::Tls {
            why: error.to_string(),
        };
        let store = match roots {
            Roots::System => system_roots(),
            #[cfg(test)]
            Roots::None => RootCertStore::empty(),
        };
        let has_roots = !store.is_empty();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls)?
            .with_root_certificates(store)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(patience.connect));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(MAX_HEADER_BYTES.max(256 * 1024))
            .build(connector);
        Ok(Self {
            http,
            has_roots,
            patience,
        })
    }

    /// Sends a request without a body, and follows redirects until somebody answers otherwise.
    pub(super) async fn send(
        &self,
        method: &Method,
        url: &UpstreamUrl,
        headers: &HeaderMap,
    ) -> Result<Answer, UpstreamError> {
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(method, &at, headers).await?;
            if !response.status().is_redirection() {
                if is_encoded(response.headers()) {
                    return Err(UpstreamError::Encoded { url: at });
                }
                return Ok(Answer { url: at, response });
            }
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|location| location.to_str().ok());
            let Some(location) = location else {
                let status = response.status();
                return Err(UpstreamError::Status { url: at, status });
            };
            at = at
                .join(location)
                .map_err(|source| UpstreamError::Redirect {
                    url: at.clone(),
                    source,
                })?;
        }
        Err(UpstreamError::TooManyRedirects { url: url.clone() })
    }

    async fn send_once(
        &self,
        method: &Method,
        url: &UpstreamUrl,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, UpstreamError> {
        if url.is_https() && !self.has_roots {
            return Err(UpstreamError::NoRootCertificates);
        }
        let unreachable = |why: String| UpstreamError::Unreachable {
            url: url.clone(),
            why,
        };
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.uri().clone();
        *request.headers_mut() = headers.clone();
        let own = request.headers_mut();
        own.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let agent = concat!("zeroshare/", env!("CARGO_PKG_VERSION"));
        own.insert(USER_AGENT, HeaderValue::from_static(agent));
        let deadline = Instant::now() + self.patience.answer;
        match timeout_at(deadline.into(), self.http.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(unreachable(zeroshare_chassis::process::chain(&error))),
            Err(_) => Err(UpstreamError::TimedOut { url: url.clone() }),
        }
    }
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "some root certificates cannot be read");
    }
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    store
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let encoding = headers.get(CONTENT_ENCODING);
    encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}
