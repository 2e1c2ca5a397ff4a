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
    // By hand: prost's own conversion overflows on the least number of seconds.
    let (Ok(seconds), Ok(nanos @ ..=999_999_999)) =
        (u64::try_from(value.seconds), u32::try_from(value.nanos))
    else {
        return Err(FieldError::refused(field, "not a duration from 0 up"));
    };
    let value = Duration::new(seconds, nanos);
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

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn durations_survive_the_wire() {
        for sent in [Duration::ZERO, Duration::from_millis(1500), DAY] {
            assert_eq!(duration("wait", Some(&to_duration(sent)), DAY), Ok(sent));
        }
        assert_eq!(optional_duration("wait", None, DAY), Ok(None));
    }

    #[test]
    fn durations_out_of_bounds_are_refused() {
        let duration_of = |seconds, nanos| prost_types::Duration { seconds, nanos };
        for sent in [
            None,
            Some(duration_of(-1, 0)),
            Some(duration_of(0, -1)),
            Some(duration_of(86_400, 1)),
            Some(duration_of(i64::MAX, i32::MAX)),
            Some(duration_of(i64::MIN, i32::MIN)),
        ] {
            let error = duration("wait", sent.as_ref(), DAY).unwrap_err();
            assert_eq!(error.field, "wait");
        }
    }

    #[test]
    fn times_of_files_survive_the_wire_before_1970_too() {
        for sent in [(-1, 999_999_999), (0, 0), (i64::MAX, 1)] {
            let stamped = to_stamp(sent.0, sent.1);
            assert_eq!(stamp("modify_time", Some(&stamped)), Ok(sent));
        }
        let late = SystemTime::UNIX_EPOCH + Duration::new(1, 5);
        let sent = from_system_time(late);
        assert_eq!(optional_system_time("time", Some(&sent)), Ok(Some(late)));
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for nanos in [-1, 1_000_000_000] {
            let sent = Timestamp { seconds: 0, nanos };
            assert!(stamp("modify_time", Some(&sent)).is_err());
            assert!(optional_system_time("time", Some(&sent)).is_err());
        }
        assert!(stamp("modify_time", None).is_err());
    }

    #[test]
    fn moments_at_the_ends_of_time_are_read_or_refused() {
        for seconds in [i64::MIN, i64::MIN + 1, i64::MAX] {
            let sent = to_stamp(seconds, 999_999_999);
            match optional_system_time("time", Some(&sent)) {
                Ok(read) => assert_eq!(read.map(from_system_time), Some(sent)),
                Err(error) => assert_eq!(error.field, "time"),
            }
        }
    }
}
