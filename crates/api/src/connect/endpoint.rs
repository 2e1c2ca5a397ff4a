//! Where a service of this machine listens.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

const UNIX: &str = "unix:";

/// Where a service of this machine listens: `unix:/path` or `address:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LocalEndpoint {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A TCP port, switched on for tools.
    Tcp(SocketAddr),
}

/// Text that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither unix:/path nor address:port")]
pub struct EndpointError {
    text: String,
}

impl FromStr for LocalEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let refused = || EndpointError {
            text: text.to_owned(),
        };
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().map(Self::Tcp).map_err(|_| refused());
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains('\0') {
            return Err(refused());
        }
        Ok(Self::Unix(path.into()))
    }
}

impl fmt::Display for LocalEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_they_are_written() {
        for text in ["unix:/run/zeroshare/store.sock", "127.0.0.1:80", "[::1]:80"] {
            let endpoint: LocalEndpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        assert_eq!("unix:///a".parse(), Ok(LocalEndpoint::Unix("/a".into())));
    }

    #[test]
    fn what_names_no_endpoint_is_shown() {
        for text in ["", "unix:", "unix://", "localhost", "127.0.0.1"] {
            let error = text.parse::<LocalEndpoint>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")));
        }
    }
}
