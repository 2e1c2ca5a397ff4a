//! Which trees may go: decided from what is known of them, and from nothing else.

use std::time::{Duration, SystemTime};

/// By what trees go; with none of these, none does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Only what was added so long ago.
    pub(crate) older_than: Option<Duration>,
    /// Only what nobody read for so long.
    pub(crate) unused_for: Option<Duration>,
    /// Only as much as it takes to come down to so many bytes, what was not read for longest first.
    pub(crate) keep_bytes: Option<u64>,
}

/// What is known of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) size_bytes: u64,
    pub(crate) added: SystemTime,
    /// When one of its files was read last, as far as the file system says; never before it was added.
    pub(crate) used: SystemTime,
    /// Whether some program has it open, mapped, or as its directory, root or program.
    pub(crate) in_use: bool,
}

/// The trees that go, by their places in the list, what was not read for longest first.
pub(crate) fn choose(trees: &[Known], rules: &Rules, now: SystemTime) -> Vec<usize> {
    if *rules == Rules::default() {
        return Vec::new();
    }
    let has_passed = |since: SystemTime, limit: Option<Duration>| {
        // What is in the future is new.
        let passed = now.duration_since(since).unwrap_or_default();
        limit.is_none_or(|limit| passed >= limit)
    };
    let mut chosen: Vec<usize> = (0..trees.len())
        .filter(|index| {
            let tree = trees[*index];
            !tree.in_use
                && has_passed(tree.added, rules.older_than)
                && has_passed(tree.used, rules.unused_for)
        })
        .collect();
    chosen.sort_by_key(|index| (trees[*index].used, trees[*index].added, *index));
    if let Some(keep) = rules.keep_bytes {
        let sizes = trees.iter().map(|tree| tree.size_bytes);
        let mut left = sizes.fold(0, u64::saturating_add);
        chosen.retain(|index| {
            let goes = left > keep;
            if goes {
                left = left.saturating_sub(trees[*index].size_bytes);
            }
            goes
        });
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 1000 * DAY
    }

    /// A tree of 100 bytes that was added and read so many days ago.
    fn tree(added: u32, used: u32) -> Known {
        Known {
            size_bytes: 100,
            added: now() - added * DAY,
            used: now() - used * DAY,
            in_use: false,
        }
    }

    fn check(trees: &[Known], rules: Rules, expected: &[usize]) {
        assert_eq!(choose(trees, &rules, now()), expected, "{rules:?}");
    }

    #[test]
    fn without_a_rule_nothing_goes() {
        check(&[tree(900, 900)], Rules::default(), &[]);
    }

    #[test]
    fn age_and_disuse_must_both_hold_where_both_are_given() {
        let trees = [tree(9, 1), tree(9, 5), tree(2, 2), tree(30, 20)];
        let older_than = Some(5 * DAY);
        let unused_for = Some(2 * DAY);
        let rules = Rules::default;
        check(
            &trees,
            Rules {
                older_than,
                ..rules()
            },
            &[3, 1, 0],
        );
        check(
            &trees,
            Rules {
                unused_for,
                ..rules()
            },
            &[3, 1, 2],
        );
        let both = Rules {
            older_than,
            unused_for,
            ..rules()
        };
        check(&trees, both, &[3, 1]);
    }

    #[test]
    fn only_as_much_goes_as_is_too_much_the_longest_unread_first() {
        let trees = [tree(9, 1), tree(9, 5), tree(9, 3)];
        let keep = |bytes| Rules {
            keep_bytes: Some(bytes),
            ..Rules::default()
        };
        check(&trees, keep(300), &[]);
        check(&trees, keep(299), &[1]);
        check(&trees, keep(200), &[1]);
        check(&trees, keep(199), &[1, 2]);
        check(&trees, keep(0), &[1, 2, 0]);
        let with_age = Rules {
            older_than: Some(20 * DAY),
            ..keep(0)
        };
        check(&trees, with_age, &[]);
    }

    #[test]
    fn what_is_in_use_stays_and_counts_as_room_taken() {
        let used = Known {
            in_use: true,
            ..tree(900, 900)
        };
        let keep = Rules {
            keep_bytes: Some(100),
            ..Rules::default()
        };
        check(&[used, tree(1, 1)], keep, &[1]);
        check(&[used], keep, &[]);
    }

    #[test]
    fn what_comes_from_the_future_is_new() {
        let mut future = tree(0, 0);
        future.added = now() + 900 * DAY;
        let rules = Rules {
            older_than: Some(Duration::from_secs(1)),
            ..Rules::default()
        };
        check(&[future], rules, &[]);
    }
}
