//! LANs that fall apart and come together again, and nodes that come and go all the time.

use std::time::Duration;

use zeroshare_content::{BlobId, ContentId, HashKind};
use zeroshare_membership::Membership;
use zeroshare_simulation::{Found, Lan, NodeOptions, Weather};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn content(name: &str) -> ContentId {
    ContentId::Blob(BlobId::of(HashKind::Sha256, name.as_bytes()))
}

/// How many peers each of these nodes knows.
fn known(lan: &Lan, nodes: &[usize]) -> Vec<usize> {
    let peers = |node: &usize| lan.machine(*node).peers(lan.now()).len();
    nodes.iter().map(peers).collect()
}

/// Whether a lookup found one of these nodes.
fn names_one_of(lan: &Lan, found: &Found, nodes: &[usize]) -> bool {
    let ids: Vec<_> = nodes
        .iter()
        .map(|one| lan.machine(*one).node_id())
        .collect();
    let mut providers = found.providers.iter();
    providers.any(|(_, provider)| ids.contains(&provider.peer.node))
}

#[test]
fn halves_of_a_lan_that_was_split_forget_each_other_and_find_each_other_again() {
    let mut lan = Lan::new(1, Weather::fair());
    let here = lan.start_many(10, &[]);
    let there = lan.start_many(9, &[content("other")]);
    let holder = lan.start(&[content("it")], NodeOptions::default());
    lan.run(10 * SECOND);
    assert_eq!(known(&lan, &here), [19; 10]);
    for node in there.iter().chain([&holder]) {
        lan.split_off(*node);
    }
    lan.run(30 * MINUTE);
    assert_eq!(known(&lan, &here), [9; 10]);
    assert_eq!(known(&lan, &there), [9; 9]);
    let found = lan.find(here[0], &[content("it")], SECOND);
    assert!(found.providers.is_empty());
    let found = lan.find(there[0], &[content("it")], SECOND);
    assert_eq!(found.providers.len(), 1, "each half goes on");
    lan.join_again();
    let found = lan.find(here[1], &[content("it")], SECOND);
    let (took, _) = found.providers.first().expect("found by a question");
    assert!(*took < Duration::from_millis(25), "{took:?}");
    lan.run(5 * MINUTE);
    assert_eq!(known(&lan, &here), [19; 10]);
    assert_eq!(known(&lan, &there), [19; 9]);
}

#[test]
fn while_nodes_come_and_go_all_the_time_a_living_holder_is_found() {
    for (seed, weather) in [(1, Weather::fair()), (2, Weather::lossy())] {
        let mut lan = Lan::new(seed, weather);
        let mut rng = fastrand::Rng::with_seed(seed);
        let asker = lan.start(&[], NodeOptions::default());
        let mut alive = lan.start_many(30, &[content("it")]);
        lan.run(5 * SECOND);
        let mut missed = 0;
        for round in 0..150 {
            let one = alive.swap_remove(rng.usize(..alive.len()));
            if round % 2 == 0 {
                lan.with(one, Membership::leave);
            }
            lan.kill(one);
            // Only one at a time holds what is rare.
            let rare = content(&format!("rare {round}"));
            alive.push(lan.start(&[content("it"), rare], NodeOptions::default()));
            lan.run(2 * SECOND);
            let found = lan.find(asker, &[content("it")], SECOND);
            assert!(names_one_of(&lan, &found, &alive), "round {round}");
            let found = lan.find(asker, &[rare], SECOND);
            missed += u32::from(!names_one_of(&lan, &found, &alive));
        }
        assert_eq!(missed, 0);
        lan.weather = Weather::fair();
        lan.run(30 * MINUTE);
        assert_eq!(known(&lan, &alive), vec![alive.len(); alive.len()]);
        assert_eq!(
            known(&lan, &[asker]),
            [alive.len()],
            "the dead are forgotten"
        );
    }
}
