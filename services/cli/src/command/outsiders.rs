//! Machines that are heard and not listened to, because they are not of this node's group: in words.

use zeroshare_wire::pb::discovery::v1::{DescribeNetworkResponse, Outsider};

use crate::command::find::story::address;
use crate::render::words;

/// So many are named.
const MOST_NAMED: usize = 4;

/// What to do where nobody knows more than that they are there.
pub(super) const ADVICE: &str = "Probably a group secret is wrong or missing, here or there: give all machines that belong together the same file, \
     `zeroshare node --group-secret FILE`.";

const ADVICE_TO_MEMBERS: &str = "Probably the group secret is wrong here, or wrong or missing there. Give all machines that belong together the same file, \
     then start their nodes anew: `zeroshare node --group-secret FILE`, or group-secret = \"FILE\" under [common] in the \
     configuration.";

const ADVICE_TO_OTHERS: &str = "Probably the group secret is missing here. Copy the file from one of those machines, then start this node anew: \
     `zeroshare node --group-secret FILE`, or group-secret = \"FILE\" under [common] in the configuration.";

/// What keeps another machine and this node from hearing each other.
pub(super) fn why_unheard(is_own_in_group: bool, is_other_in_group: bool) -> &'static str {
    match (is_own_in_group, is_other_in_group) {
        (true, true) => "has another group secret",
        (true, false) => "has no group secret",
        (false, _) => "has a group secret, and this node has none",
    }
}

/// That so many datagrams came from them, and from whom.
pub(super) fn heard(described: &DescribeNetworkResponse, datagrams: u64) -> String {
    let came = words::count(datagrams, "datagram");
    let head = if described.in_group {
        format!("{came} came in that are not of this node's group, and were not listened to")
    } else {
        format!("{came} of a group came in, and this node is in none: they were not listened to")
    };
    let name = |one: &Outsider| {
        let at = one.address.as_ref().and_then(address)?;
        let why = why_unheard(described.in_group, one.in_group);
        Some(format!("{at} {why}"))
    };
    let named: Vec<String> = described.outsiders.iter().filter_map(name).collect();
    let first = named.iter().take(MOST_NAMED).cloned();
    let mut parts: Vec<String> = first.collect();
    match named.len().saturating_sub(MOST_NAMED) {
        0 => {}
        1 => parts.push("so it is with 1 more".to_owned()),
        more => parts.push(format!("so it is with {more} more")),
    }
    if parts.is_empty() {
        return head;
    }
    format!("{head}: {}", parts.join("; "))
}

/// What to do about them.
pub(super) fn advice(described: &DescribeNetworkResponse) -> &'static str {
    if described.in_group {
        ADVICE_TO_MEMBERS
    } else {
        ADVICE_TO_OTHERS
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_wire::convert::store_address;

    use super::*;

    fn outsider(last: u8, in_group: bool) -> Outsider {
        Outsider {
            address: Some(store_address(([10, 0, 0, last], 38339).into())),
            datagrams: 1,
            in_group,
            ..Outsider::default()
        }
    }

    fn described(in_group: bool, outsiders: Vec<Outsider>) -> DescribeNetworkResponse {
        DescribeNetworkResponse {
            in_group,
            outsiders,
            ..DescribeNetworkResponse::default()
        }
    }

    #[test]
    fn a_member_is_told_who_has_another_secret_and_who_none() {
        let described = described(true, vec![outsider(3, false), outsider(4, true)]);
        let text = heard(&described, 7);
        assert!(text.starts_with("7 datagrams came in"), "{text}");
        assert!(text.contains("10.0.0.3:38339 has no group secret"));
        assert!(text.contains("10.0.0.4:38339 has another group secret"));
        assert!(advice(&described).contains("wrong here"));
    }

    #[test]
    fn who_is_in_no_group_is_told_that_others_are() {
        let described = described(false, vec![outsider(1, true)]);
        let text = heard(&described, 1);
        assert!(text.starts_with("1 datagram of a group"), "{text}");
        assert!(text.contains("10.0.0.1:38339 has a group secret"), "{text}");
        assert!(advice(&described).contains("missing here"));
    }

    #[test]
    fn of_a_crowd_a_few_are_named() {
        let crowd = (1..=16).map(|last| outsider(last, true)).collect();
        let text = heard(&described(true, crowd), 99);
        assert!(text.ends_with("10.0.0.4:38339 has another group secret; so it is with 12 more"));
        assert!(!heard(&described(true, Vec::new()), 9).contains(':'));
    }
}
