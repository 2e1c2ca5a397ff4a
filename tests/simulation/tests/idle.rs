//! What an idle node costs its network.

use std::time::Duration;

use zeroshare_content::{BlobId, ContentId, HashKind};
use zeroshare_simulation::{Lan, Weather};

/// After the excitement of the start.
const SETTLED: Duration = Duration::from_mins(5);

/// Long enough for several beacons of everybody.
const WATCHED_MINUTES: u32 = 30;

#[test]
fn an_idle_node_sends_a_few_datagrams_a_minute() {
    println!("neighbours  to all/min  to one/min  bytes/s of the LAN");
    for neighbours in [0, 2, 30, 99] {
        let mut lan = Lan::new(11, Weather::fair());
        let held: Vec<ContentId> = (0..300_u32)
            .map(|number| ContentId::Blob(BlobId::of(HashKind::Sha256, &number.to_be_bytes())))
            .collect();
        let nodes = lan.start_many(neighbours + 1, &held);
        lan.run(SETTLED);
        for node in &nodes {
            lan.take_traffic(*node);
        }
        lan.run(Duration::from_mins(WATCHED_MINUTES.into()));
        let all: Vec<_> = nodes.iter().map(|node| lan.take_traffic(*node)).collect();
        for node in &nodes {
            assert_eq!(lan.machine(*node).live_peers(), neighbours, "all are known");
        }
        let minutes = f64::from(WATCHED_MINUTES);
        let sum = |of: fn(&zeroshare_simulation::Traffic) -> u64| -> f64 {
            let sum: u64 = all.iter().map(of).sum();
            f64::from(u32::try_from(sum).expect("a few"))
        };
        let each = f64::from(u32::try_from(nodes.len()).expect("a few")) * minutes;
        let to_all = sum(|one| one.to_all) / each;
        let to_one = sum(|one| one.to_one) / each;
        let per_second = sum(|one| one.bytes) / (minutes * 60.0);
        println!("{neighbours:10}  {to_all:10.2}  {to_one:10.2}  {per_second:18.0}");
        assert!(
            to_all + to_one < 5.0,
            "{neighbours} neighbours: {to_all} + {to_one}"
        );
        assert!(
            per_second < 2_000.0,
            "{neighbours} neighbours: {per_second}"
        );
    }
}
