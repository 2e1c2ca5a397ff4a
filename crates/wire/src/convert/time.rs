//! Times and durations.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

use crate::FieldError;

/// Reads a duration that must be set: not negative, at most `most`.
pub fn duration(
    field: &'static str,
    value: Option<&prost_types::Duration>,
    most: Duration,
) -> Result<Duration, FieldError> {
    optional_duration(field, value, most)?.ok_or_else(|| FieldError::missing(field))
}

/// Reads a duration that may be unset: not negative, at most `most`.
pub fn optional_duration(
    field: &'static str,
    value: Option<&prost_types::Duration>,
    most: Duration,
) -> Result<Option<Duration>, FieldError> {
    let Some(value) = value else {
        return Ok(None);
    };
    let value = Duration::try_from(*value)
        .map_err(|_| FieldError::refused(field, "not a duration from 0 up"))?;
    if value > most {
        let why = format!("{value:?} is longer than {most:?}");
        return Err(FieldError::refused(field, why));
    }
    Ok(Some(value))
}

/// Writes a duration; what does not fit becomes the longest that does.
pub fn to_duration(value: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    }
}

/// Reads a moment that may be unset.
pub fn optional_system_time(
    field: &'static str,
    value: Option<&Timestamp>,
) -> Result<Option<SystemTime>, FieldError> {
    let Some(value) = value else {
        return Ok(None);
    };
    stamp(field, Some(value))?;
    SystemTime::try_from(*value)
        .map(Some)
        .map_err(|_| FieldError::refused(field, "not a moment"))
}

/// Writes a moment.
pub fn from_system_time(value: SystemTime) -> Timestamp {
    Timestamp::from(value)
}

/// Reads a file's time as (seconds since 1970, nanoseconds below 10⁹), which must be set.
pub fn stamp(field: &'static str, value: Option<&Timestamp>) -> Result<(i64, u32), FieldError> {
    let value = value.ok_or_else(|| FieldError::missing(field))?;
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|&nanos| nanos < 1_000_000_000)
        .ok_or_else(|| FieldError::unknown(field, value.nanos))?;
    Ok((value.seconds, nanos))
}

/// Writes a file's time; `nanos` is below 10⁹.
pub fn to_stamp(seconds: i64, nanos: u32) -> Timestamp {
    Timestamp {
        seconds,
        nanos: i32::try_from(nanos).unwrap_or(0),
    }
}
