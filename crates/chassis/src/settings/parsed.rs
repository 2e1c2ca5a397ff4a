//! Settings that are written in the file as in a flag.

use std::{fmt, str::FromStr};

use serde::{Deserialize as _, Deserializer, de};

/// Reads what `FromStr` reads out of a string: the `Deserialize` of a setting that flags and the file write alike.
pub fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}
