//! Whether the clock can be right: names on the network change every day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroshare_wire::pb::discovery::v1::DescribeNetworkResponse;

use super::finding::Finding;
use super::network::dropped;
use crate::render::words;

/// No clock of a machine that runs this shows an earlier time: 2026-01-01.
const EARLIEST: Duration = Duration::from_hours(490_896);

pub(super) fn clock(described: &DescribeNetworkResponse) -> Vec<Finding> {
    vec![judge(SystemTime::now(), dropped(described, "other_day"))]
}

fn judge(now: SystemTime, of_other_day: u64) -> Finding {
    let advice = "Set it: `timedatectl set-ntp true`, or `date --set`.";
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    if since < EARLIEST {
        let text = "this machine's clock is years behind: it finds nobody, and nobody finds it";
        return Finding::fault("clock", text).advise(advice);
    }
    if of_other_day > 0 {
        let text = format!(
            "{} of another day came in: the clock of this machine, or of another one, is wrong by more than a day",
            words::count(of_other_day, "datagram")
        );
        return Finding::fault("clock", text).advise(advice);
    }
    Finding::ok("clock", "the clock agrees with the neighbours' to the day")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_clock_of_1970_and_neighbours_of_another_day_are_wrong() {
        assert_eq!(judge(UNIX_EPOCH, 0).level, Level::Fault);
        let now = UNIX_EPOCH + EARLIEST;
        assert_eq!(judge(now, 0).level, Level::Ok);
        let found = judge(now, 1);
        assert_eq!(found.level, Level::Fault);
        assert!(found.text.starts_with("1 datagram of another day"));
    }
}
