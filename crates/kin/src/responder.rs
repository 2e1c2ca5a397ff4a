//! Who replies to 0share's questions, and how often.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use zeroshare_content::TreeId;

use crate::Question;

/// What follows is counted anew after this.
const WINDOW: Duration = Duration::from_secs(1);

/// Replies to one address: a program with some dozens of dependencies asks for each by itself.
const MOST_TO_ONE: u32 = 50;

/// Replies in all, and so the most addresses that are remembered.
const MOST_IN_ALL: u32 = 200;

/// Replies to questions, as often as is good.
///
/// A source address proves nothing, so the replies that anybody draws upon somebody else are few, and no longer than what
/// was sent for them.
#[derive(Debug, Default)]
pub struct Responder {
    counting_since: Option<Instant>,
    replies: BTreeMap<IpAddr, u32>,
    in_all: u32,
}

impl Responder {
    /// What is to be sent back to where a datagram came from; `None`: nothing.
    pub fn handle(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &[u8],
        holds: impl Fn(&TreeId) -> bool,
    ) -> Option<Vec<u8>> {
        let reply = Question::parse(datagram)?.reply(holds)?;
        self.count(now, from).then_some(reply)
    }

    /// Counts one more reply, if it may be sent.
    fn count(&mut self, now: Instant, to: IpAddr) -> bool {
        let is_over = |since| now.saturating_duration_since(since) >= WINDOW;
        if self.counting_since.is_none_or(is_over) {
            self.counting_since = Some(now);
            self.replies.clear();
            self.in_all = 0;
        }
        if self.in_all >= MOST_IN_ALL {
            return false;
        }
        let to_one = self.replies.entry(to).or_insert(0);
        if *to_one >= MOST_TO_ONE {
            return false;
        }
        *to_one += 1;
        self.in_all += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_some_replies_a_second_and_all_together_some_more() {
        let question = b"0share\nsha1new=0123456789abcdef0123456789abcdef01234567";
        let start = Instant::now();
        let mut responder = Responder::default();
        let mut replies = |now, last| {
            let from = IpAddr::from([10, 0, 0, last]);
            let replies = || responder.handle(now, from, question, |_| true);
            std::iter::repeat_with(replies).take(1000).flatten().count()
        };
        assert_eq!(
            [1, 2, 3, 4, 5].map(|last| replies(start, last)),
            [50, 50, 50, 50, 0]
        );
        assert_eq!(replies(start + WINDOW, 5), 50);
        assert!(responder.replies.len() == 1);
        let from = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(
            responder.handle(start + WINDOW, from, question, |_| false),
            None
        );
    }
}
