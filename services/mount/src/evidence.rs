//! What shows that a process downloads what it was told that nobody has.
//!
//! Whoever says that something is on its way makes others wait, so it must be true: `0install select`, `store find` and a list
//! of versions look digests up and never download. The owner looks, and hands in what it saw and the time.

use std::time::{Duration, Instant};

/// Between two signs of a download.
const SIGN: Duration = Duration::from_secs(2);

/// How long a tree may take to be verified and offered once it lies in a store.
const VERIFYING: Duration = Duration::from_secs(30);

/// Words of 0install that may end in a download.
const DOWNLOADING: [&str; 6] = ["run", "download", "update", "add", "slave", "_update-bg"];

/// Options with which it does not.
const NOT_DOWNLOADING: [&str; 5] = ["--offline", "-o", "--dry-run", "--help", "--version"];

/// Names of directories in which downloads become trees.
const UNFINISHED: [&str; 2] = ["0install-unpack-", "tmp-"];

/// Whether a process with these words may download what it looks up.
pub(crate) fn may_download<'a>(words: impl IntoIterator<Item = &'a str>) -> bool {
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_default();
    let program = name.rsplit('/').next().unwrap_or(name);
    let own: Vec<&str> = match program {
        "0install" => words.collect(),
        "0launch" => std::iter::once("run").chain(words).collect(),
        _ => return false,
    };
    let command = own.iter().position(|word| !word.starts_with('-'));
    let Some(command) = command.filter(|at| DOWNLOADING.contains(&own[*at])) else {
        return false;
    };
    // What comes behind the program's address is for the program.
    let address = own[command + 1..]
        .iter()
        .position(|word| !word.starts_with('-'));
    let end = address.map_or(own.len(), |at| command + 1 + at);
    !own[..end].iter().any(|word| NOT_DOWNLOADING.contains(word))
}

/// Whether a directory of a store holds a download that is not finished.
pub(crate) fn is_unfinished(name: &str) -> bool {
    UNFINISHED.iter().any(|prefix| name.starts_with(prefix))
}

/// The numbers of sockets with an open connection, or one that is being opened, in `/proc/PID/net/tcp` or `tcp6`.
pub(crate) fn connections(table: &str) -> impl Iterator<Item = u64> {
    const ESTABLISHED: &str = "01";
    const SYN_SENT: &str = "02";
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(3);
        let state = fields.next()?;
        let socket = fields.nth(5)?.parse().ok()?;
        (state == ESTABLISHED || state == SYN_SENT).then_some(socket)
    })
}

/// The number of a socket, as a link in `/proc/PID/fd` names it.
pub(crate) fn socket(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// What is seen of a process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its thread group lives.
    pub(crate) is_alive: bool,
    /// Something shows that it downloads.
    pub(crate) has_sign: bool,
    /// What it wanted lies in a store that is shared.
    pub(crate) has_landed: bool,
}

/// A claim that something is on its way.
#[derive(Debug)]
pub(crate) struct Claim {
    last_sign: Instant,
    landed: Option<Instant>,
}

impl Claim {
    /// It may take two seconds until anything is seen.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            last_sign: now,
            landed: None,
        }
    }

    /// Takes in what is seen; says whether the claim goes on.
    pub(crate) fn handle(&mut self, now: Instant, seen: Seen) -> bool {
        if seen.has_landed {
            let landed = *self.landed.get_or_insert(now);
            return now.saturating_duration_since(landed) < VERIFYING;
        }
        if !seen.is_alive {
            return false;
        }
        if seen.has_sign {
            self.last_sign = now;
        }
        now.saturating_duration_since(self.last_sign) < SIGN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DOWNLOADS: Seen = Seen {
        is_alive: true,
        has_sign: true,
        has_landed: false,
    };

    #[test]
    fn only_words_that_may_end_in_a_download_count() {
        let cases = [
            ("0install run http://example.org/hello.xml", true),
            (
                "/usr/bin/0install -v run http://example.org/hello.xml",
                true,
            ),
            ("0install download http://example.org/hello.xml", true),
            ("0install run http://example.org/hello.xml --offline", true),
            ("0launch http://example.org/hello.xml", true),
            ("0install slave 2.7", true),
            ("0install run --offline http://example.org/hello.xml", false),
            ("0install -o run http://example.org/hello.xml", false),
            ("0install run --dry-run http://example.org/hello.xml", false),
            ("0launch --offline http://example.org/hello.xml", false),
            ("0install select http://example.org/hello.xml", false),
            ("0install store find sha256new_A", false),
            ("0install store run", false),
            ("0install list", false),
            ("0install", false),
            ("ls -l /mnt/sha256new_A", false),
            ("run", false),
            ("", false),
        ];
        for (line, expected) in cases {
            assert_eq!(may_download(line.split(' ')), expected, "{line}");
        }
    }

    #[test]
    fn a_claim_lasts_as_long_as_the_download_shows() {
        let start = Instant::now();
        let mut claim = Claim::new(start);
        for seconds in 0..600 {
            assert!(claim.handle(start + seconds * SECOND, DOWNLOADS));
        }
        let quiet = Seen {
            has_sign: false,
            ..DOWNLOADS
        };
        let end = start + 599 * SECOND;
        assert!(claim.handle(end + SECOND, quiet));
        assert!(!claim.handle(end + SIGN, quiet));
    }

    #[test]
    fn who_shows_nothing_within_two_seconds_claims_nothing_and_who_is_dead_neither() {
        let start = Instant::now();
        let quiet = Seen {
            is_alive: true,
            ..Seen::default()
        };
        assert!(Claim::new(start).handle(start + SECOND, quiet));
        assert!(!Claim::new(start).handle(start + SIGN, quiet));
        let dead = Seen {
            is_alive: false,
            ..DOWNLOADS
        };
        assert!(!Claim::new(start).handle(start, dead));
    }

    #[test]
    fn what_has_landed_may_take_its_time_to_be_offered_and_not_more() {
        let start = Instant::now();
        let mut claim = Claim::new(start);
        let landed = Seen {
            has_landed: true,
            ..Seen::default()
        };
        assert!(claim.handle(start, landed), "the process need not live");
        assert!(claim.handle(start + VERIFYING.mul_f64(0.9), landed));
        assert!(!claim.handle(start + VERIFYING, landed));
    }

    #[test]
    fn open_connections_are_those_of_tcp() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0\n   \
             1: 0100007F:CAFE 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 222 1 0 20 4\n   \
             2: 0100007F:CAFF 0100007F:1F90 02 00000000:00000000 00:00000000 00000000  1000        0 333 1 0 20 4\n   \
             3: 0100007F:CB00 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0\nnonsense\n";
        assert_eq!(connections(table).collect::<Vec<_>>(), [222, 333]);
        assert_eq!(socket("socket:[222]"), Some(222));
        assert_eq!(socket("pipe:[222]"), None);
        assert!(is_unfinished("0install-unpack-x") && is_unfinished("tmp-9"));
        assert!(!is_unfinished("sha256new_A"));
    }
}
