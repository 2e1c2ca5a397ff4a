//! What a feed in the cache is called, and where that lies.

use super::Path;

/// The longest name that a file system takes.
const MAX_NAME_BYTES: usize = 255;

/// Names on the way to a feed.
const MAX_NAMES: usize = 32;

/// The beginnings of addresses, the better one first.
const SCHEMES: [&str; 2] = ["https://", "http://"];

/// Where a feed comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) text: String,
    /// Its host and path, by which it is found.
    pub(crate) path: Path,
    /// By which of two with one path comes first: the smaller.
    pub(crate) rank: usize,
}

impl Address {
    /// Reads the name of a file in 0install's cache of feeds; `None` if it is none, or if its path is none.
    ///
    /// All bytes but letters, digits, `-`, `_` and `.` stand there as `%` and two hexadecimal digits.
    pub(crate) fn of_file(name: &[u8]) -> Option<Self> {
        let text = String::from_utf8(unescaped(name)?).ok()?;
        let begins = |(_, scheme): &(usize, &&str)| text.starts_with(**scheme);
        let (rank, scheme) = SCHEMES.iter().enumerate().find(begins)?;
        let names = text[scheme.len()..].split('/');
        let path: Path = names.take(MAX_NAMES + 1).map(ToOwned::to_owned).collect();
        let is_path =
            (2..=MAX_NAMES).contains(&path.len()) && path.iter().all(|name| is_name(name));
        is_path.then_some(Self { text, path, rank })
    }
}

/// Whether a file can be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let is_odd = |found: char| found == '/' || found.is_control();
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME_BYTES && !name.contains(is_odd)
}

fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
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
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_lies_where_its_address_says() {
        for (name, host, rank) in [
            (
                "http%3a%2f%2fexample.org%2ffeeds%2fan_a-b.xml",
                "example.org",
                1,
            ),
            (
                "https%3A%2F%2F127.0.0.1%3a8080%2ffeeds%2fan_a-b.xml",
                "127.0.0.1:8080",
                0,
            ),
        ] {
            let address = Address::of_file(name.as_bytes()).unwrap();
            assert_eq!(address.path, [host, "feeds", "an_a-b.xml"]);
            assert_eq!(address.rank, rank);
            assert!(
                address
                    .text
                    .ends_with(&format!("://{host}/feeds/an_a-b.xml"))
            );
        }
    }

    #[test]
    fn what_is_no_path_is_passed_over() {
        for name in [
            "",
            "readme",
            "%2fhome%2fme%2flocal.xml",
            "ftp%3a%2f%2fexample.org%2fa.xml",
            "http%3a%2f%2fexample.org",
            "http%3a%2f%2fexample.org%2f",
            "http%3a%2f%2f%2fa.xml",
            "http%3a%2f%2fexample.org%2f..%2f..%2fa.xml",
            "http%3a%2f%2fexample.org%2f.%2fa.xml",
            "http%3a%2f%2fexample.org%2f%2fa.xml",
            "http%3a%2f%2fexample.org%2fa%00.xml",
            "http%3a%2f%2fexample.org%2fa%0a.xml",
            "http%3a%2f%2fexample.org%2fa%f",
            "http%3a%2f%2fexample.org%2fa%zz",
            "http%3a%2f%2fexample.org%2fa%+1",
            "http%3a%2f%2fexample.org%2fa%ff",
        ] {
            assert_eq!(Address::of_file(name.as_bytes()), None, "{name}");
        }
        let long = format!("http%3a%2f%2fexample.org%2f{}", "a".repeat(256));
        assert_eq!(Address::of_file(long.as_bytes()), None);
        let deep = format!("http%3a%2f%2fexample.org{}", "%2fa".repeat(32));
        assert_eq!(Address::of_file(deep.as_bytes()), None);
        assert!(Address::of_file(&deep.as_bytes()[..deep.len() - 4]).is_some());
    }
}
