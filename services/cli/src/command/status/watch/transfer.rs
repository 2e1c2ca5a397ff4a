//! One fetch in words.

use zeroshare_wire::pb::fetcher::v1::{Fetch, FetchState};

use crate::command::fetch::follow::step_of;
use crate::command::fetches::state_name;
use crate::command::setup::name_of;
use crate::render::{shortened, words};

/// Which fetch: one that was started again is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// In seconds and nanoseconds, so that they stand in the order of their start.
    start_time: (i64, i32),
    pub(super) content_id: String,
    pub(super) into_path: String,
}

impl Name {
    pub(super) fn of(fetch: &Fetch) -> Self {
        let start = fetch.start_time.as_ref();
        Self {
            start_time: start.map_or((0, 0), |time| (time.seconds, time.nanos)),
            content_id: fetch.content_id.clone(),
            into_path: fetch.into_path.clone(),
        }
    }
}

/// The users of this machine by their numbers, as the file of users has them.
#[derive(Debug, Default)]
pub(super) struct Users {
    file: String,
}

impl Users {
    pub(super) fn new(file: String) -> Self {
        Self { file }
    }

    /// "ann and user 1001"; nothing of nobody.
    fn names(&self, uids: &[u32]) -> String {
        let name = |uid: &u32| name_of(&self.file, *uid).unwrap_or_else(|| format!("user {uid}"));
        let names: Vec<_> = uids.iter().map(name).collect();
        match names.as_slice() {
            [] => String::new(),
            [only] => only.clone(),
            [first, second] => format!("{first} and {second}"),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        }
    }
}

/// Whether it ended, well or not.
pub(super) fn is_over(fetch: &Fetch) -> bool {
    match fetch.state() {
        FetchState::Unspecified
        | FetchState::Locating
        | FetchState::Transferring
        | FetchState::Committing => false,
        FetchState::Succeeded | FetchState::Failed | FetchState::Cancelled => true,
    }
}

/// Bytes per second, of one that runs.
pub(super) fn rate(fetch: &Fetch) -> u64 {
    if is_over(fetch) {
        return 0;
    }
    step_of(fetch).bytes_per_second
}

/// All of it on one line.
pub(super) fn sentence(fetch: &Fetch, users: &Users) -> String {
    let id = &fetch.content_id;
    if is_over(fetch) {
        return match outcome(fetch) {
            outcome if outcome.is_empty() => format!("{id}: {}", state_name(fetch.state())),
            outcome => format!("{id}: {}: {outcome}", state_name(fetch.state())),
        };
    }
    match users.names(&fetch.user_ids) {
        names if names.is_empty() => format!("{id}: {}", step_of(fetch).words()),
        names => format!("{id}: {}, for {names}", step_of(fetch).words()),
    }
}

/// The headings of [`cells`].
pub(super) const HEADINGS: [&str; 7] = ["ID", "NOW", "DONE", "OF", "RATE", "FROM", "FOR"];

/// All of it in columns.
pub(super) fn cells(fetch: &Fetch, users: &Users) -> [String; 7] {
    let step = step_of(fetch);
    let unless_zero = |bytes: u64, words: String| match bytes {
        0 => String::new(),
        _ => words,
    };
    let from = match step.peers.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    let (now, last) = if is_over(fetch) {
        (state_name(fetch.state()), outcome(fetch))
    } else {
        (step.phase.word(), users.names(&fetch.user_ids))
    };
    let rate = rate(fetch);
    [
        shortened(&fetch.content_id),
        now.to_owned(),
        unless_zero(step.done_bytes, words::size(step.done_bytes)),
        unless_zero(step.total_bytes, words::size(step.total_bytes)),
        unless_zero(rate, format!("{}/s", words::size(rate))),
        from,
        last,
    ]
}

/// Where it lies, or why it failed, on one line.
fn outcome(fetch: &Fetch) -> String {
    let words = match fetch.path.as_str() {
        "" => &fetch.failure_message,
        path => path,
    };
    words.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use zeroshare_wire::pb::fetcher::v1::{FetchProgress, PeerShare};

    use super::*;

    const FILE: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";

    #[test]
    fn users_have_names_or_numbers() {
        let users = Users::new(FILE.to_owned());
        for (uids, words) in [
            (&[][..], ""),
            (&[1000], "ann"),
            (&[0, 7], "root and user 7"),
            (&[0, 7, 1000], "root and 2 more"),
        ] {
            assert_eq!(users.names(uids), words);
        }
    }

    #[test]
    fn a_sentence_says_how_far_how_fast_from_whom_and_for_whom() {
        let users = Users::new(FILE.to_owned());
        let mut fetch = Fetch {
            content_id: "id".to_owned(),
            progress: Some(FetchProgress {
                done_bytes: 1024,
                total_bytes: 4096,
                peers: vec![PeerShare {
                    address: "10.0.0.2:38339".to_owned(),
                    received_bytes: 1024,
                    bytes_per_second: 512,
                    ..PeerShare::default()
                }],
                ..FetchProgress::default()
            }),
            user_ids: vec![1000],
            ..Fetch::default()
        };
        fetch.set_state(FetchState::Transferring);
        assert_eq!(
            sentence(&fetch, &users),
            "id: fetching 1.0 KiB of 4.0 KiB (512 B/s, from 10.0.0.2:38339), for ann"
        );
        fetch.set_state(FetchState::Failed);
        fetch.failure_message = "nobody\nhas it".to_owned();
        assert_eq!(sentence(&fetch, &users), "id: failed: nobody has it");
    }
}
