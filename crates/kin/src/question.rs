//! 0share's datagrams, as its client of December 2008 sends and reads them (branch `peer2peer` of 0install,
//! `zeroinstall/injector/policy.py`): a first line that says which it is, then an id a line, and no line end at the end.

use zeroshare_content::TreeId;

/// What all that 0share says begins with, and no datagram of ours.
pub const MARK: [u8; 4] = *b"0sha";

/// The first line of a question.
const ASKS: &[u8] = b"0share";

/// The first line of a reply.
const REPLIES: &[u8] = b"0share-reply";

/// What its client reads of a reply.
pub const MAX_REPLY_BYTES: usize = 1024;

/// Ids in one question that are looked at: what a reply has room for.
pub const MAX_IDS: usize = 32;

/// Says whether a datagram is one of 0share's, in whatever state, and none of ours.
pub fn is_0share(datagram: &[u8]) -> bool {
    datagram.starts_with(&MARK)
}

/// Who has any of these trees?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// As they were spelled, since the asker looks for what it asked for.
    ids: Vec<(String, TreeId)>,
}

impl Question {
    /// Asks for trees, of which the first [`MAX_IDS`] count, by the names that they may have in a store.
    pub fn of(trees: &[TreeId]) -> Self {
        let names = trees.iter().flat_map(|tree| {
            let names = tree.directory_names();
            names.into_iter().map(|name| (name, *tree))
        });
        Self {
            ids: names.take(MAX_IDS).collect(),
        }
    }

    /// Reads a question; `None` if it is none, or asks for nothing that we know how to name.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let mut lines = lines(datagram, ASKS)?;
        let ids: Vec<(String, TreeId)> = lines
            .by_ref()
            .take(MAX_IDS)
            .filter_map(|line| {
                let text = str::from_utf8(line).ok()?;
                Some((text.to_owned(), text.parse().ok()?))
            })
            .collect();
        (!ids.is_empty()).then_some(Self { ids })
    }

    /// The datagram.
    pub fn to_bytes(&self) -> Vec<u8> {
        joined(ASKS, self.ids.iter().map(|(name, _)| name.as_str()))
    }

    /// The trees that are asked for.
    pub fn trees(&self) -> impl Iterator<Item = TreeId> {
        self.ids.iter().map(|(_, tree)| *tree)
    }

    /// What is replied to it by who holds some of these; who holds nothing keeps silent.
    ///
    /// It is at most six bytes longer than the question.
    pub fn reply(&self, holds: impl Fn(&TreeId) -> bool) -> Option<Vec<u8>> {
        let mut left = MAX_REPLY_BYTES - REPLIES.len();
        let held = self.ids.iter().filter(|(_, tree)| holds(tree));
        let fitting = held.map_while(|(name, _)| {
            left = left.checked_sub(1 + name.len())?;
            Some(name.as_str())
        });
        let reply = joined(REPLIES, fitting);
        (reply.len() > REPLIES.len()).then_some(reply)
    }

    /// Reads a reply: which of the trees that were asked for somebody says to hold. What was not asked for is left out.
    pub fn held_by(&self, reply: &[u8]) -> Vec<TreeId> {
        let Some(lines) = lines(reply, REPLIES) else {
            return Vec::new();
        };
        let lines: Vec<&[u8]> = lines.take(MAX_IDS).collect();
        let said = |name: &str| lines.contains(&name.as_bytes());
        let mut held: Vec<TreeId> = self
            .ids
            .iter()
            .filter(|(name, _)| said(name))
            .map(|(_, tree)| *tree)
            .collect();
        held.dedup();
        held
    }
}

/// The lines behind the first one, if that is as it must be.
fn lines<'d>(datagram: &'d [u8], first: &[u8]) -> Option<impl Iterator<Item = &'d [u8]>> {
    let mut lines = datagram.split(|byte| *byte == b'\n');
    (lines.next()? == first).then_some(lines)
}

fn joined<'n>(first: &[u8], names: impl Iterator<Item = &'n str>) -> Vec<u8> {
    let mut datagram = first.to_vec();
    for name in names {
        datagram.push(b'\n');
        datagram.extend_from_slice(name.as_bytes());
    }
    datagram
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroshare_content::Family;

    use super::*;

    const HELLO: &str = "sha256=156ed6a81a6915f6385bffb3024a915b5ee5528ed7ade87c1d3241896ca157f9";
    const HELLO_NEW: &str = "sha256new_CVXNNKA2NEK7MOC376ZQESURLNPOKUUO26W6Q7A5GJAYS3FBK74Q";
    const OTHER: &str = "sha1new=0123456789abcdef0123456789abcdef01234567";

    fn tree(id: &str) -> TreeId {
        id.parse().unwrap()
    }

    #[test]
    fn a_question_is_replied_to_in_its_own_words() {
        let datagram = format!("0share\n{HELLO}\n{OTHER}\nsomething else\n{HELLO_NEW}");
        let question = Question::parse(datagram.as_bytes()).unwrap();
        let asked: Vec<TreeId> = question.trees().collect();
        assert_eq!(asked, [tree(HELLO), tree(OTHER), tree(HELLO_NEW)]);
        let reply = question.reply(|id| *id == tree(HELLO)).unwrap();
        let expected = format!("0share-reply\n{HELLO}\n{HELLO_NEW}");
        assert_eq!(String::from_utf8(reply.clone()).unwrap(), expected);
        assert_eq!(question.held_by(&reply), [tree(HELLO)]);
        assert_eq!(question.reply(|_| false), None);
    }

    #[test]
    fn what_is_no_question_is_none() {
        let reply = format!("0share-reply\n{HELLO}");
        for other in [
            "",
            "0share",
            "0share\n",
            "0share\nsha256=12",
            "0SHARE\nx",
            &reply,
        ] {
            assert_eq!(Question::parse(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_heard() {
        let question = Question::of(&[tree(HELLO)]);
        let asked = format!("0share\n{HELLO_NEW}\n{HELLO}");
        assert_eq!(question.to_bytes(), asked.as_bytes());
        let reply = format!("0share-reply\n{OTHER}\n{HELLO}");
        assert_eq!(question.held_by(reply.as_bytes()), [tree(HELLO)]);
        assert_eq!(question.held_by(asked.as_bytes()), []);
    }

    #[test]
    fn no_reply_is_longer_than_its_readers_read() {
        let trees: Vec<TreeId> = (0..200)
            .map(|number| TreeId::new(Family::Sha256, &[number; 32]).unwrap())
            .collect();
        let question = Question::parse(&Question::of(&trees).to_bytes()).unwrap();
        assert_eq!(question.trees().count(), MAX_IDS);
        let reply = question.reply(|_| true).unwrap();
        assert!(reply.len() <= MAX_REPLY_BYTES && reply.len() > MAX_REPLY_BYTES - 72);
    }

    proptest! {
        #[test]
        fn replies_are_hardly_longer_than_questions(
            rest in proptest::collection::vec(
                prop_oneof![Just(HELLO.to_owned()), Just(OTHER.to_owned()), "[ -~]{0,9}"],
                0..40,
            ),
        ) {
            let datagram = format!("0share\n{}", rest.join("\n"));
            let reply = Question::parse(datagram.as_bytes()).and_then(|asked| asked.reply(|_| true));
            prop_assert!(reply.is_none_or(|reply| reply.len() <= datagram.len() + 6));
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            let datagram = [b"0share\n", &bytes[..]].concat();
            let question = Question::parse(&datagram).unwrap_or(Question::of(&[tree(HELLO)]));
            prop_assert_eq!(question.held_by(&bytes), []);
        }
    }
}
