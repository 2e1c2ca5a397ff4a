//! Many measurements in a few numbers.

/// Measurements in order.
#[derive(Debug, Clone)]
pub struct Quantiles<T>(Vec<T>);

impl<T: Ord + Copy> Quantiles<T> {
    /// Takes at least one measurement.
    pub fn of(mut measured: Vec<T>) -> Self {
        assert!(!measured.is_empty(), "nothing was measured");
        measured.sort_unstable();
        Self(measured)
    }

    /// The median.
    pub fn p50(&self) -> T {
        self.at(50)
    }

    /// What 99 of 100 do not exceed.
    pub fn p99(&self) -> T {
        self.at(99)
    }

    /// The largest.
    pub fn most(&self) -> T {
        self.at(100)
    }

    fn at(&self, percent: usize) -> T {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_counted_from_the_smallest() {
        let hundred = Quantiles::of((1..=100).rev().collect());
        assert_eq!(
            (hundred.p50(), hundred.p99(), hundred.most()),
            (50, 99, 100)
        );
        let few = Quantiles::of(vec![3, 1, 2]);
        assert_eq!((few.p50(), few.p99()), (2, 3));
    }
}
