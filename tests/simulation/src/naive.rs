//! What happens where everybody who holds it answers at once, as other systems do.

use std::time::Duration;

use crate::Quantiles;

/// Answers of 200 bytes that a socket's default receive buffer holds; measured.
const BUFFERED: usize = 166;

/// How long a process takes for one datagram.
const SERVICE: Duration = Duration::from_micros(20);

/// A lookup in which everybody answers.
#[derive(Debug)]
pub struct Naive {
    /// Datagrams on the LAN: the question and all answers.
    pub datagrams: u64,
    /// Answers that the asker's buffer took.
    pub received: Quantiles<u64>,
    /// Until the third was read.
    pub third: Quantiles<Duration>,
}

/// Has all holders answer to the asker, each after one to two milliseconds on a cable.
pub fn everybody_answers(holders: usize, lookups: usize, seed: u64) -> Naive {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut received, mut third) = (Vec::new(), Vec::new());
    for _ in 0..lookups {
        let mut arrivals: Vec<Duration> = (0..holders)
            .map(|_| Duration::from_micros(1_000 + rng.u64(0..1_000)))
            .collect();
        arrivals.sort_unstable();
        let read = read_through_buffer(&arrivals);
        received.push(read.len() as u64);
        third.push(read.get(2).copied().unwrap_or(Duration::MAX));
    }
    Naive {
        datagrams: holders as u64 + 1,
        received: Quantiles::of(received),
        third: Quantiles::of(third),
    }
}

/// When each answer was read that did not meet a full buffer.
fn read_through_buffer(arrivals: &[Duration]) -> Vec<Duration> {
    let mut read: Vec<Duration> = Vec::new();
    for arrival in arrivals {
        let waiting = read.iter().rev().take_while(|done| *done > arrival).count();
        if waiting < BUFFERED {
            let free = read.last().copied().unwrap_or_default();
            read.push(free.max(*arrival) + SERVICE);
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_asker_drowns_when_many_answer() {
        let few = everybody_answers(100, 5, 1);
        assert_eq!((few.datagrams, few.received.p50()), (101, 100));
        let many = everybody_answers(10_000, 5, 1);
        assert_eq!(many.datagrams, 10_001);
        assert!(many.received.most() < 300, "{many:?}");
    }
}
