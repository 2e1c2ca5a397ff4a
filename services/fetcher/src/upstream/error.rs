//! Why upstream is of no use.

use http::StatusCode;

use super::{AddressError, UpstreamUrl};

/// Why upstream is of no use.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// No URL was named.
    #[error("no upstream URL")]
    NoUrl,
    /// Nothing vouches for servers.
    #[error(
        "https needs root certificates, and this system has none: install ca-certificates, or name a file of them in SSL_CERT_FILE"
    )]
    NoRootCertificates,
    /// TLS cannot be set up.
    #[error("TLS cannot be used: {why}")]
    Tls { why: String },
    /// It cannot be reached.
    #[error("cannot reach {url}: {why}")]
    Unreachable { url: UpstreamUrl, why: String },
    /// It takes too long.
    #[error("{url} does not answer in time")]
    TimedOut { url: UpstreamUrl },
    /// It refused.
    #[error("{url} answers {status}")]
    Status {
        url: UpstreamUrl,
        status: StatusCode,
    },
    /// It sends elsewhere, and not where we go.
    #[error("{url} redirects to where we do not go: {source}")]
    Redirect {
        url: UpstreamUrl,
        source: AddressError,
    },
    /// It sends round in circles.
    #[error("{url} redirects more than {most} times", most = super::client::MAX_REDIRECTS)]
    TooManyRedirects { url: UpstreamUrl },
    /// It does not say how much there is.
    #[error("{url} does not say how large it is")]
    NoSize { url: UpstreamUrl },
    /// It is not as it was when it was asked first.
    #[error("{url} has changed while it was read")]
    Changed { url: UpstreamUrl },
    /// The answer is encoded, though that was not asked for.
    #[error("{url} sends it encoded, though that was not asked for")]
    Encoded { url: UpstreamUrl },
    /// The answer ended early.
    #[error("{url} sends less than it said")]
    Short { url: UpstreamUrl },
    /// It stalled.
    #[error("{url} stalls")]
    Stalled { url: UpstreamUrl },
}

impl UpstreamError {
    /// Whether trying again is of no use.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::NoUrl
            | Self::NoRootCertificates
            | Self::Tls { .. }
            | Self::Redirect { .. }
            | Self::TooManyRedirects { .. }
            | Self::NoSize { .. }
            | Self::Changed { .. }
            | Self::Encoded { .. } => true,
            Self::Status { status, .. } => {
                status.is_client_error()
                    && *status != StatusCode::REQUEST_TIMEOUT
                    && *status != StatusCode::TOO_MANY_REQUESTS
            }
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Short { .. }
            | Self::Stalled { .. } => false,
        }
    }
}
