//! What a network takes, measured by machines that may be busy.

use std::{collections::VecDeque, time::Duration};

/// So many measurements are remembered: a network that became slower is noticed after as many.
const REMEMBERED: usize = 8;

/// Of the last few measured times the one that a quarter are shorter than: what a busy machine adds is not the network's.
#[derive(Debug, Default)]
pub(crate) struct NetworkTime {
    recent: VecDeque<Duration>,
}

impl NetworkTime {
    pub(crate) fn measure(&mut self, took: Duration) {
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(took);
    }

    /// The shortest, for what the network itself never holds back: then all that is longer is the machines'. `None` until as much
    /// was measured as is remembered: a process that just starts is slow.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        let shortest = self.recent.iter().min().copied();
        shortest.filter(|_| self.recent.len() >= REMEMBERED)
    }

    /// `None` until something was measured.
    pub(crate) fn get(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 4).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_busy_does_not_count_and_what_is_slower_now_does_soon() {
        let ms = Duration::from_millis;
        let mut time = NetworkTime::default();
        assert_eq!(time.get(), None);
        for took in [ms(9), ms(2), ms(30)] {
            time.measure(took);
        }
        assert_eq!(time.get(), Some(ms(2)));
        assert_eq!(time.shortest(), None);
        for _ in 0..REMEMBERED {
            time.measure(ms(120));
        }
        assert_eq!(time.get(), Some(ms(120)));
        assert_eq!(time.shortest(), Some(ms(120)));
        time.measure(ms(1));
        assert_eq!((time.get(), time.shortest()), (Some(ms(120)), Some(ms(1))));
    }
}
