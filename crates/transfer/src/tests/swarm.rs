//! A crowd that fetches the same, uplinks limited, in virtual time.
//!
//! Every member runs a real [`crate::Transfer`]. An uplink gives its readers in turn a chunk each; downlinks are not limited.

mod crowd;
mod plan;

use std::time::Duration;

use crowd::{CHUNKS, run};
use plan::Plan;

#[test]
fn a_crowd_that_starts_together_is_done_little_later_than_one_alone() {
    check(&Plan::new(16), 1.10, 1.03);
}

#[test]
fn so_is_a_small_one() {
    // What passes until they meet, and the last hops, weigh more where there is less to send.
    for (members, most_time) in [(2, 1.05), (4, 1.12), (8, 1.3)] {
        check(&small(members), most_time, 1.05);
    }
}

#[test]
fn slow_news_cost_little() {
    let event_delay = Duration::from_millis(100);
    let plan = Plan {
        event_delay,
        ..small(8)
    };
    check(&plan, 1.25, 1.05);
}

#[test]
fn without_claims_the_source_sends_some_pieces_twice() {
    let plan = Plan {
        claims: false,
        ..small(8)
    };
    check(&plan, 1.5, 1.1);
}

#[test]
fn providers_that_are_busy_rather_than_let_wait_are_come_back_to() {
    let plan = Plan {
        served: 4,
        queue: 4,
        retry: Duration::from_millis(100),
        ..small(8)
    };
    check(&plan, 1.3, 1.05);
}

#[test]
fn who_comes_late_is_served_by_all() {
    let late = vec![(3, Duration::from_secs(1)), (4, Duration::from_secs(4))];
    let plan = Plan { late, ..small(8) };
    // All but the last are done by then, and it has eight uplinks to itself.
    check(&plan, 2.0, 1.05);
}

#[test]
fn who_dies_is_missed_by_nobody() {
    let dying = vec![(3, Duration::from_millis(700)), (4, Duration::from_secs(2))];
    let plan = Plan { dying, ..small(8) };
    check(&plan, 1.3, 1.0);
}

#[test]
fn who_gives_nothing_only_takes_his_part() {
    // Six uplinks and the source's carry eight contents: 8/7 of the time of one.
    let free_riders = vec![3, 4];
    let plan = Plan {
        free_riders,
        ..small(8)
    };
    check(&plan, 1.45, 1.05);
}

/// A quarter of the content, so that it takes less time to simulate.
fn small(members: u32) -> Plan {
    Plan {
        pieces: 256,
        ..Plan::new(members)
    }
}

/// Runs a crowd, and compares when the last one was done with the bound, and what was sent with what was needed.
fn check(plan: &Plan, most_time: f64, most_sent: f64) {
    let outcome = run(plan.clone());
    let time = outcome.last.as_secs_f64() / plan.bound().as_secs_f64();
    let needed = f64::from(plan.pieces * plan.leechers * CHUNKS);
    let sent = f64::from(outcome.sent_chunks) / needed;
    println!("{time:.3} of the bound, {sent:.3} sent: {outcome:?}");
    assert!(time <= most_time, "{time} of the bound with {plan:?}");
    assert!(sent <= most_sent, "{sent} of what was needed with {plan:?}");
}
