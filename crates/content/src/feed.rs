use std::fmt;
use std::str::FromStr;

use crate::escape::shortened;
use crate::{BlobId, ContentId, HashKind};

/// The longest name of a file, and a feed is kept under its address.
const MAX_URL_BYTES: usize = 255;

/// The address of a Zero Install feed that machines may tell each other.
///
/// HTTP or HTTPS, printable ASCII, and nothing in it that could be a secret: no user, no password, no query.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedUrl(Box<str>);

/// It is no address of a feed that machines tell each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is no address of a feed that is shared: http or https, at most {MAX_URL_BYTES} characters of ASCII, \
     without user, password, query and fragment"
)]
pub struct FeedUrlError {
    /// What was given, shortened.
    pub given: String,
}

impl FeedUrl {
    /// By what it is asked for on UDP: the blob whose bytes are `feed:` and the address.
    ///
    /// Nobody has a use for such a file, so that it means the feed alone, and its tag is made, filtered and answered like
    /// every other, by older machines too.
    pub fn mark(&self) -> ContentId {
        let bytes = format!("feed:{}", self.0);
        ContentId::Blob(BlobId::of(HashKind::Sha256, bytes.as_bytes()))
    }

    /// The name under which 0install keeps it.
    ///
    /// All bytes but letters, digits, `-`, `_` and `.` stand there as `%` and two hexadecimal digits.
    pub fn file_name(&self) -> String {
        let escaped = self.0.bytes().map(|byte| match byte {
            b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        });
        escaped.collect()
    }

    /// Reads the name of a file in 0install's cache of feeds; `None` if it is none, or not such an address.
    pub fn of_file_name(name: &[u8]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(name.len());
        let mut rest = name;
        while let Some((first, behind)) = rest.split_first() {
            if *first == b'%' {
                let (digits, behind) = behind.split_at_checked(2)?;
                let digits = str::from_utf8(digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = behind;
            } else {
                bytes.push(*first);
                rest = behind;
            }
        }
        str::from_utf8(&bytes).ok()?.parse().ok()
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FeedUrl {
    type Err = FeedUrlError;

    fn from_str(text: &str) -> Result<Self, FeedUrlError> {
        let schemes = ["https://", "http://"];
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
        let is_shared = |rest: &str| {
            let host = rest.split_once('/').map(|(host, _)| host);
            host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
                && !rest.contains(['?', '#'])
        };
        let is_plain =
            text.len() <= MAX_URL_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain && rest.is_some_and(is_shared) {
            Ok(Self(text.into()))
        } else {
            let given = shortened(text.as_bytes());
            Err(FeedUrlError { given })
        }
    }
}

impl fmt::Display for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_kept_under_its_address() {
        let url: FeedUrl = "http://127.0.0.1:8080/feeds/an_a-b.xml".parse().unwrap();
        let name = "http%3a%2f%2f127.0.0.1%3a8080%2ffeeds%2fan_a-b.xml";
        assert_eq!(url.file_name(), name);
        assert_eq!(FeedUrl::of_file_name(name.as_bytes()), Some(url));
        for bad in ["%2fhome%2fu%2ffeed.xml", "http%3a%2f%2fa%2", "http%zz", "x"] {
            assert_eq!(FeedUrl::of_file_name(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_may_hold_a_secret_or_is_no_address_is_refused() {
        let long = format!("http://h/{}", "x".repeat(247));
        for bad in [
            "",
            "/feed.xml",
            "ftp://h/x",
            "http://h",
            "http:///x",
            "http://u:p@h/x",
            "http://h/x?token=1",
            "http://h/x#y",
            "http://h/a b",
            "http://h/\u{e9}",
            &long,
        ] {
            assert!(bad.parse::<FeedUrl>().is_err(), "{bad}");
        }
        assert!(long[..255].parse::<FeedUrl>().is_ok());
    }

    #[test]
    fn the_mark_is_protocol() {
        let url: FeedUrl = "http://example.org/hello.xml".parse().unwrap();
        assert_eq!(
            url.mark().to_string(),
            "blob:sha256:5efd0d07f1024229f96342330092bec9b385f9e4466307495805315946791a3e"
        );
    }
}
