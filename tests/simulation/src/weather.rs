//! What happens to datagrams on their way.

use std::{ops::Range, time::Duration};

/// How the network behaves.
#[derive(Debug, Clone)]
pub struct Weather {
    /// The part of all datagrams that is lost, each copy by itself.
    pub loss: f64,
    /// The part that arrives twice.
    pub duplication: f64,
    /// How long each takes; different delays let them overtake each other.
    pub delay: Range<Duration>,
    /// Whether multicast passes.
    pub multicast: bool,
}

impl Weather {
    /// A cable: nothing is lost, all takes half a millisecond to one.
    pub fn fair() -> Self {
        Self {
            loss: 0.0,
            duplication: 0.0,
            delay: Duration::from_micros(500)..Duration::from_millis(1),
            multicast: true,
        }
    }

    /// A bad one: a fifth is lost, some come twice, and they overtake each other.
    pub fn foul() -> Self {
        Self {
            loss: 0.2,
            duplication: 0.05,
            delay: Duration::from_millis(1)..Duration::from_millis(15),
            multicast: true,
        }
    }

    pub(crate) fn delays(&self, rng: &mut fastrand::Rng) -> Vec<Duration> {
        let copies = 1 + usize::from(rng.f64() < self.duplication);
        let mut delays = Vec::new();
        for _ in 0..copies {
            let (least, most) = (self.delay.start, self.delay.end);
            let delay = least + most.saturating_sub(least).mul_f64(rng.f64());
            if rng.f64() >= self.loss {
                delays.push(delay);
            }
        }
        delays
    }
}
