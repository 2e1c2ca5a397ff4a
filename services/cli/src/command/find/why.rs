//! Why nobody was found, and what to do about it.

use serde::Serialize;
use zeroshare_wire::pb::discovery::v1::DescribeNetworkResponse;
use zeroshare_wire::pb::discovery::v1::explain_find_response::{NobodyCause, NobodyReason};

use crate::command::outsiders;
use crate::render::words;

/// The cause of which [`DescribeNetworkResponse`] knows more.
const OTHER_GROUP: &str = "other_group";

/// A cause of finding nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Why {
    /// One word for programs.
    pub(super) reason: &'static str,
    /// How many peers, claimants or datagrams it is about.
    pub(super) count: u64,
    /// The same in words.
    pub(super) text: String,
    /// What to do about it.
    pub(super) advice: &'static str,
}

impl Why {
    /// A cause that discovery told; `None` for what only a newer one tells.
    pub(super) fn of(told: &NobodyReason) -> Option<Self> {
        let count = told.count;
        let (reason, text, advice) = explained(told.cause(), count)?;
        Some(Self {
            reason,
            count,
            text,
            advice,
        })
    }

    /// Whether machines of another group, or of none, are the cause.
    pub(super) fn is_other_group(&self) -> bool {
        self.reason == OTHER_GROUP
    }

    /// Says who they are, where they are the cause.
    pub(super) fn name_outsiders(&mut self, described: &DescribeNetworkResponse) {
        if self.is_other_group() {
            self.text = outsiders::heard(described, self.count);
            self.advice = outsiders::advice(described);
        }
    }

    /// Those who said to have it had nothing when their stores were asked.
    pub(super) fn untrue(peers: u64) -> Self {
        Self {
            reason: "claim_untrue",
            count: peers,
            text: format!(
                "{} said to have it, and had nothing of it when asked for it",
                words::count(peers, "peer")
            ),
            advice: "Its node may have removed it a moment ago, or speaks untruth: nothing wrong can come of that. Ask again.",
        }
    }

    /// Those who say to have it do not prove to be of this user's group.
    pub(super) fn unproven(peers: u64) -> Self {
        Self {
            reason: "store_unproven",
            count: peers,
            text: format!(
                "{} that may have it can be connected to, and did not prove to be of this group",
                words::count(peers, "peer")
            ),
            advice: "Its node may run with an older group secret: give it the same file, and start it anew. `zeroshare doctor` \
                looks closer.",
        }
    }

    /// Those who say to have it cannot be connected to.
    pub(super) fn unreachable(peers: u64) -> Self {
        Self {
            reason: "store_unreachable",
            count: peers,
            text: format!(
                "{} that may have it cannot be read from",
                words::count(peers, "peer")
            ),
            advice: "A firewall there probably lets UDP in and not TCP: open TCP port 38339 on it.",
        }
    }
}

fn explained(cause: NobodyCause, count: u64) -> Option<(&'static str, String, &'static str)> {
    let of = words::count;
    Some(match cause {
        NobodyCause::Unspecified => return None,
        NobodyCause::NoInterface => (
            "no_interface",
            "this machine has no interface that can be used".to_owned(),
            "Is the cable in, or Wi-Fi on? `zeroshare doctor` says why each interface is not used.",
        ),
        NobodyCause::NoRoad => (
            "no_road",
            "neither multicast nor broadcast works on any interface".to_owned(),
            "Name a machine: `--static-peer HOST` for a node, `--from HOST` for one command.",
        ),
        NobodyCause::NothingSent => (
            "nothing_sent",
            "this machine refused to send the questions".to_owned(),
            "A firewall here probably forbids it: let UDP port 38339 out. `zeroshare doctor` looks closer.",
        ),
        NobodyCause::OwnUnheard => (
            "own_unheard",
            "this machine does not hear its own questions, so it would hear nobody else's either"
                .to_owned(),
            "A firewall here probably drops what comes in: let UDP port 38339 in. `zeroshare doctor` looks closer.",
        ),
        NobodyCause::PassedOver => (
            "passed_over",
            format!("{} that may have it cannot be used", of(count, "peer")),
            "`zeroshare peers` shows who is banned, `zeroshare peers forgive` lifts it.",
        ),
        NobodyCause::Silent => (
            "silent",
            format!(
                "{} answered, but did not send back what was sent to it alone",
                of(count, "peer")
            ),
            "A firewall there or here probably drops UDP that is meant for one machine: open UDP port 38339. Or a VPN claims \
             their addresses. `zeroshare doctor` looks closer.",
        ),
        NobodyCause::OtherGroup
        | NobodyCause::OtherDay
        | NobodyCause::OtherVersion
        | NobodyCause::NobodyHeard
        | NobodyCause::NoneHolds
        | NobodyCause::NotAsked => return explained_by_others(cause, count),
    })
}

/// Causes that lie with other machines, or with the question.
fn explained_by_others(
    cause: NobodyCause,
    count: u64,
) -> Option<(&'static str, String, &'static str)> {
    let of = words::count;
    Some(match cause {
        NobodyCause::OtherGroup => (
            OTHER_GROUP,
            format!(
                "{} of another group, or of none, came in, and were not listened to",
                of(count, "datagram")
            ),
            outsiders::ADVICE,
        ),
        NobodyCause::OtherDay => (
            "other_day",
            format!("{} of another day came in", of(count, "datagram")),
            "The clock of this machine or of another one is wrong by more than a day: set it.",
        ),
        NobodyCause::OtherVersion => (
            "other_version",
            format!("{} of another version came in", of(count, "datagram")),
            "Bring zeroshare to the same version everywhere.",
        ),
        NobodyCause::NobodyHeard => (
            "nobody_heard",
            "no other machine was heard".to_owned(),
            "Is `zeroshare node` running on another machine of this network, with the same group secret if any? Guest Wi-Fi \
             often keeps machines apart: then name one with `--from HOST`, or use a cable.",
        ),
        NobodyCause::NoneHolds => (
            "none_holds",
            match count {
                1 => "1 peer is there, and does not have it".to_owned(),
                peers => format!("{peers} peers are there, and none of them has it"),
            },
            "Start `zeroshare node` on a machine that has it; `zeroshare list` there shows whether it is offered.",
        ),
        NobodyCause::NotAsked => (
            "not_asked",
            "nobody was asked".to_owned(),
            "Give it time: `--wait 1s`.",
        ),
        NobodyCause::Unspecified
        | NobodyCause::NoInterface
        | NobodyCause::NoRoad
        | NobodyCause::NothingSent
        | NobodyCause::OwnUnheard
        | NobodyCause::PassedOver
        | NobodyCause::Silent => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_another_group_are_named_and_others_causes_left_alone() {
        let why = |cause: NobodyCause| {
            let told = NobodyReason {
                cause: cause.into(),
                count: 3,
            };
            Why::of(&told).unwrap()
        };
        let described = DescribeNetworkResponse::default();
        let mut group = why(NobodyCause::OtherGroup);
        group.name_outsiders(&described);
        assert!(
            group.text.starts_with("3 datagrams of a group"),
            "{}",
            group.text
        );
        let mut other = why(NobodyCause::NobodyHeard);
        other.name_outsiders(&described);
        assert_eq!(other, why(NobodyCause::NobodyHeard));
    }

    #[test]
    fn every_cause_has_words_and_advice() {
        let mut known = 0;
        for number in 1..64 {
            let Ok(cause) = NobodyCause::try_from(number) else {
                continue;
            };
            known += 1;
            let told = NobodyReason {
                cause: cause.into(),
                count: 2,
            };
            let why = Why::of(&told).unwrap();
            assert!(!why.text.is_empty() && !why.advice.is_empty(), "{why:?}");
            let name = cause.as_str_name().strip_prefix("NOBODY_CAUSE_").unwrap();
            assert_eq!(why.reason, name.to_lowercase());
        }
        assert_eq!(known, 12);
    }
}
