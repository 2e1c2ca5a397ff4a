//! A peer that is named, not found.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Deserializer};

use super::parsed;
use crate::places::DEFAULT_PORT;

/// The longest name that DNS knows.
const MAX_HOST_BYTES: usize = 253;

/// A host to ask although it is not found by itself: `host`, `host:port`, `10.0.0.7`, `fd00::7` or `[fd00::7]:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaticPeer {
    host: String,
    port: Option<u16>,
}

/// Why a text names no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a peer: HOST, HOST:PORT, or [IPV6]:PORT")]
pub struct StaticPeerError {
    text: String,
}

impl StaticPeer {
    /// A name or an address, the latter without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port, which is every node's usual one when none was named.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }
}

impl FromStr for StaticPeer {
    type Err = StaticPeerError;

    fn from_str(text: &str) -> Result<Self, StaticPeerError> {
        split(text).ok_or_else(|| StaticPeerError {
            text: text.to_owned(),
        })
    }
}

fn split(text: &str) -> Option<StaticPeer> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            is_ipv6(host).then_some(())?;
            (
                host,
                if port.is_empty() {
                    None
                } else {
                    Some(port.strip_prefix(':')?)
                },
            )
        }
        None if is_ipv6(text) => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let fits = !host.is_empty() && host.len() <= MAX_HOST_BYTES;
    let plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte));
    let port = match port {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0)?)
        }
        Some(_) => return None,
        None => None,
    };
    (fits && plain && (is_ipv6(host) || !host.contains([':', '%']))).then(|| StaticPeer {
        host: host.to_owned(),
        port,
    })
}

/// Says whether it is an IPv6 address, with or without the interface it is local to.
fn is_ipv6(text: &str) -> bool {
    let (address, interface) = text.split_once('%').unwrap_or((text, "any"));
    address.parse::<Ipv6Addr>().is_ok() && !interface.is_empty()
}

impl fmt::Display for StaticPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (_, None) => f.write_str(&self.host),
        }
    }
}

impl<'de> Deserialize<'de> for StaticPeer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_and_written() {
        for (text, host, port) in [
            ("build-1.example", "build-1.example", DEFAULT_PORT),
            ("build_1:99", "build_1", 99),
            ("10.0.0.7", "10.0.0.7", DEFAULT_PORT),
            ("10.0.0.7:99", "10.0.0.7", 99),
            ("fd00::7", "fd00::7", DEFAULT_PORT),
            ("[fd00::7]:99", "fd00::7", 99),
            ("fe80::7%eth0", "fe80::7%eth0", DEFAULT_PORT),
        ] {
            let peer: StaticPeer = text.parse().unwrap();
            assert_eq!((peer.host(), peer.port()), (host, port), "{text}");
            assert_eq!(peer.to_string(), text);
        }
        assert_eq!(
            "[fd00::7]".parse::<StaticPeer>().unwrap().to_string(),
            "fd00::7"
        );
    }

    #[test]
    fn what_names_no_peer_is_refused() {
        let long = "a".repeat(MAX_HOST_BYTES + 1);
        for text in [
            "", ":99", "a:", "a:0", "a:65536", "a:+9", "a b", "a/b", "[a]:9", "[fd00::7", "a:9:9",
            "http://a", "fe80::7%", &long,
        ] {
            assert!(text.parse::<StaticPeer>().is_err(), "{text}");
        }
    }
}
