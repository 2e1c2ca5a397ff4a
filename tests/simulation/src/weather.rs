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
    /// The same for what goes to everybody, where that is another.
    pub delay_to_all: Option<Range<Duration>>,
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
            delay_to_all: None,
            multicast: true,
        }
    }

    /// A bad one: a fifth is lost, some come twice, and they overtake each other.
    pub fn foul() -> Self {
        Self {
            loss: 0.2,
            duplication: 0.05,
            delay: Duration::from_millis(1)..Duration::from_millis(15),
            delay_to_all: None,
            multicast: true,
        }
    }

    /// A fifth is lost, and what arrives takes a millisecond.
    pub fn lossy() -> Self {
        Self {
            loss: 0.2,
            ..Self::fair()
        }
    }

    /// A wireless LAN: access points hold back what goes to everybody until sleeping stations listen.
    pub fn wireless() -> Self {
        Self {
            delay: Duration::from_millis(1)..Duration::from_millis(10),
            delay_to_all: Some(Duration::from_millis(100)..Duration::from_millis(300)),
            ..Self::fair()
        }
    }

    /// How long each copy of a datagram takes that arrives: none, one or two.
    pub(crate) fn delays(
        &self,
        rng: &mut fastrand::Rng,
        is_to_all: bool,
    ) -> impl Iterator<Item = Duration> {
        let delay = match &self.delay_to_all {
            Some(delay) if is_to_all => delay,
            Some(_) | None => &self.delay,
        };
        let range = delay.end.saturating_sub(delay.start);
        let is_twice = self.duplication > 0.0 && rng.f64() < self.duplication;
        let mut copy = |is_sent: bool| {
            let arrives = is_sent && (self.loss <= 0.0 || rng.f64() >= self.loss);
            arrives.then(|| delay.start + range.mul_f64(rng.f64()))
        };
        let (first, second) = (copy(true), copy(is_twice));
        [first, second].into_iter().flatten()
    }
}
