//! Numbers and times as people read them.

use std::time::Duration;

use bytesize::ByteSize;
use prost_types::Timestamp;

/// "1.5 MiB".
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// "1 file", "3 files".
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

/// "2026-11-21T07:00:00Z", or nothing for a time that no calendar has.
pub(crate) fn moment(time: Option<&Timestamp>) -> Option<String> {
    let time = time?;
    let stamp = jiff::Timestamp::new(time.seconds, time.nanos).ok()?;
    Some(stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// "3 s", "12 min", "5 h", "2 d": in the largest unit of which there is one.
pub(crate) fn span(time: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let seconds = time.as_secs();
    let unit = UNITS.into_iter().find(|(least, _)| seconds >= *least);
    let (least, name) = unit.unwrap_or((1, "s"));
    format!("{} {name}", seconds / least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_powers_of_two() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
    }

    #[test]
    fn spans_are_in_one_unit() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7_199, "1 h"),
            (172_800, "2 d"),
        ];
        for (seconds, words) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn times_are_in_utc() {
        let time = Timestamp {
            seconds: 1_700_000_000,
            nanos: 5,
        };
        assert_eq!(moment(Some(&time)).unwrap(), "2023-11-14T22:13:20Z");
        assert_eq!(
            moment(Some(&Timestamp {
                seconds: i64::MAX,
                nanos: 0
            })),
            None
        );
    }
}
