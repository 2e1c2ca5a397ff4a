//! URLs, and where they redirect to.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{Parts, PathAndQuery, Scheme};

/// A URL is not endless.
const MAX_URL_BYTES: usize = 4096;

/// An absolute http or https URL without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamUrl(Uri);

/// Why something is not a URL to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    /// It is too long.
    #[error("longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// It cannot be read.
    #[error("not an absolute URL like https://host/path")]
    Malformed,
    /// It is something else than http or https.
    #[error("neither http nor https")]
    OtherScheme,
    /// It carries a password, which logs and other users of this machine would see.
    #[error("names a user or password: they are not sent")]
    Credentials,
    /// From https to http.
    #[error("leads from https to http")]
    Downgrade,
}

impl UpstreamUrl {
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// The host, and the port if it is named.
    pub(crate) fn host(&self) -> &str {
        self.0
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// The last part of its path, as it stands there; empty if there is none.
    pub(crate) fn file_name(&self) -> &str {
        self.0.path().rsplit('/').next().unwrap_or_default()
    }

    /// Where a `Location` in an answer from here leads.
    pub(crate) fn join(&self, location: &str) -> Result<Self, AddressError> {
        let location = location.split('#').next().unwrap_or_default();
        let text = if location.starts_with("//") {
            format!("{}:{location}", self.0.scheme_str().unwrap_or("https"))
        } else if has_scheme(location) {
            location.to_owned()
        } else {
            self.relative(location)
        };
        let joined: Self = text.parse()?;
        if self.is_https() && !joined.is_https() {
            return Err(AddressError::Downgrade);
        }
        Ok(joined)
    }

    fn relative(&self, location: &str) -> String {
        let scheme = self.0.scheme_str().unwrap_or("https");
        let host = self.host();
        if location.starts_with('/') {
            return format!("{scheme}://{host}{location}");
        }
        if location.starts_with('?') {
            return format!("{scheme}://{host}{}{location}", self.0.path());
        }
        let directory = self
            .0
            .path()
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        format!("{scheme}://{host}{directory}/{location}")
    }
}

fn has_scheme(location: &str) -> bool {
    let scheme = location.split_once(':').map_or("", |(scheme, _)| scheme);
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

impl FromStr for UpstreamUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_URL_BYTES {
            return Err(AddressError::TooLong);
        }
        let text = text.split('#').next().unwrap_or_default();
        let uri: Uri = text.parse().map_err(|_| AddressError::Malformed)?;
        let mut parts: Parts = uri.into_parts();
        let is_known = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&parts.scheme.as_ref());
        let Some(authority) = &parts.authority else {
            return Err(AddressError::Malformed);
        };
        if !is_known {
            return Err(AddressError::OtherScheme);
        }
        if authority.as_str().contains('@') {
            return Err(AddressError::Credentials);
        }
        if authority.host().is_empty() {
            return Err(AddressError::Malformed);
        }
        parts
            .path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        Uri::from_parts(parts)
            .map(Self)
            .map_err(|_| AddressError::Malformed)
    }
}

impl fmt::Display for UpstreamUrl {
    /// Without what follows `?`, which may be a key to it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}{}", self.host(), self.0.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_http_and_https_urls_without_credentials_are_taken() {
        for text in [
            "http://host",
            "https://host:8/a/b?c=d#e",
            "http://[::1]:80/x",
        ] {
            assert!(text.parse::<UpstreamUrl>().is_ok(), "{text}");
        }
        for (text, error) in [
            ("host/path", AddressError::Malformed),
            ("/path", AddressError::Malformed),
            ("", AddressError::Malformed),
            ("ftp://host/", AddressError::OtherScheme),
            ("file:///etc/passwd", AddressError::Malformed),
            ("http://me:secret@host/", AddressError::Credentials),
        ] {
            assert_eq!(text.parse::<UpstreamUrl>(), Err(error), "{text}");
        }
        let long = format!("http://host/{}", "a".repeat(5000));
        assert_eq!(long.parse::<UpstreamUrl>(), Err(AddressError::TooLong));
    }

    #[test]
    fn locations_are_joined_as_browsers_do_and_never_lead_from_https_to_http() {
        let from: UpstreamUrl = "https://host:8/a/b?c".parse().unwrap();
        let joined = |location| from.join(location).map(|url| url.uri().to_string());
        assert_eq!(joined("https://other/x?y").unwrap(), "https://other/x?y");
        assert_eq!(joined("//other/x").unwrap(), "https://other/x");
        assert_eq!(joined("/x#y").unwrap(), "https://host:8/x");
        assert_eq!(joined("x").unwrap(), "https://host:8/a/x");
        assert_eq!(joined("?x").unwrap(), "https://host:8/a/b?x");
        assert_eq!(joined("http://host/"), Err(AddressError::Downgrade));
        let plain: UpstreamUrl = "http://host/".parse().unwrap();
        assert!(plain.join("https://host/").unwrap().is_https());
    }

    #[test]
    fn what_may_be_a_key_is_not_shown() {
        let url: UpstreamUrl = "https://host/a/b.tar?token=1".parse().unwrap();
        assert_eq!(url.to_string(), "https://host/a/b.tar");
        assert_eq!((url.file_name(), url.host()), ("b.tar", "host"));
    }
}
