//! Who comes, leaves and comes back while nobody has a blob.

use std::time::Instant;

use zeroshare_content::{BlobId, HashKind, Layout};

use super::start;
use crate::cold::*;

const PIECE: u64 = 128 * 1024;

fn machine(now: Instant) -> ColdStart {
    let blob = BlobId::of(HashKind::Sha256, b"blob");
    let layout = Layout::of_blob(blob, 4 * PIECE).unwrap();
    let me = (name(255), blob);
    ColdStart::new(me, &layout, Origin::None, ColdSettings::default(), now)
}

fn name(number: u8) -> NodeName {
    NodeName::new([number; 16])
}

#[test]
fn however_many_leave_others_can_come() {
    let now = start();
    let mut machine = machine(now);
    for round in 0..4 {
        for number in 0..64 {
            let member = machine.add_member(now, name(number)).unwrap();
            machine.handle_stated(now, member, 0, [round; 32]);
            machine.handle_gone(member);
            assert!(machine.remembers(member));
        }
    }
}

#[test]
fn nobody_who_is_followed_has_to_make_room() {
    let now = start();
    let mut machine = machine(now);
    let mut members = Vec::new();
    for number in 0..64 {
        members.push(machine.add_member(now, name(number)).unwrap());
    }
    assert_eq!(machine.add_member(now, name(99)), None);
    machine.handle_gone(members[7]);
    let newest = machine.add_member(now, name(99)).unwrap();
    assert!(!machine.remembers(members[7]));
    assert!(!machine.handle_back(now, members[7]));
    // What still comes under the old name is nobody's.
    machine.handle_stated(now, members[7], 1, [1; 32]);
    machine.handle_held(members[7], 0..4, true);
    assert_eq!(machine.poll_action(now), None);
    machine.handle_held(newest, 1..2, true);
    let action = machine.poll_action(now).unwrap();
    assert!(
        matches!(action, ColdAction::Take { member, ref pieces, .. } if member == newest && *pieces == [1]),
        "{action:?}"
    );
}

#[test]
fn who_was_gone_may_come_back_and_who_sent_wrong_bytes_may_not() {
    let now = start();
    let mut machine = machine(now);
    let (one, two) = (
        machine.add_member(now, name(1)),
        machine.add_member(now, name(2)),
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(!machine.handle_back(now, one), "it is followed");
    machine.handle_gone(one);
    assert!(machine.handle_back(now, one));
    machine.drop_member(one, ColdDrop::Unreachable);
    assert!(machine.handle_back(now, one));
    machine.drop_member(two, ColdDrop::WrongWord);
    machine.handle_gone(two);
    assert!(!machine.handle_back(now, two));
}
