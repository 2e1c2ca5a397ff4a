//! Times and sizes as people write them.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use zeroshare_chassis::settings::parsed;

/// A time: `500ms`, `2s`, `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patience(
    /// How long.
    pub Duration,
);

/// A number of bytes: `4096`, `500MB`, `10GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(
    /// How many.
    pub u64,
);

/// Why a text is no time or no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// It is no time.
    #[error("`{text}` is not a time like 500ms, 2s or 1m30s")]
    Time {
        /// What was given.
        text: String,
    },
    /// It is no size.
    #[error("`{text}` is not a size like 4096, 500MB or 10GiB")]
    Size {
        /// What was given.
        text: String,
    },
}

impl FromStr for Patience {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = || ValueError::Time {
            text: text.to_owned(),
        };
        let parsed: jiff::SignedDuration = text.trim().parse().map_err(|_| refused())?;
        Duration::try_from(parsed).map(Self).map_err(|_| refused())
    }
}

impl FromStr for Amount {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parsed = text.trim().parse::<bytesize::ByteSize>();
        parsed
            .map(|size| Self(size.as_u64()))
            .map_err(|_| ValueError::Size {
                text: text.to_owned(),
            })
    }
}

impl<'de> Deserialize<'de> for Patience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        assert_eq!("500ms".parse(), Ok(Patience(Duration::from_millis(500))));
        assert_eq!("1m30s".parse(), Ok(Patience(Duration::from_secs(90))));
        assert_eq!("10GiB".parse(), Ok(Amount(10 << 30)));
        assert_eq!("4096".parse(), Ok(Amount(4096)));
        for text in ["", "-1s", "soon", "3"] {
            assert!(text.parse::<Patience>().is_err(), "{text}");
        }
        for text in ["", "-1", "much"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }
}
