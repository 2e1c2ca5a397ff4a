//! Random delays.

use std::time::Duration;

/// A moment between two, each as likely.
pub(crate) fn between(rng: &mut fastrand::Rng, least: Duration, most: Duration) -> Duration {
    least + most.saturating_sub(least).mul_f64(rng.f64())
}

/// The delay of one of many who all could answer: the truncated exponential of RFC 5401, section 5.
///
/// Most of them draw nearly all of `spread`, so that a few answer before the many; the expected number of answers
/// within one round trip hardly depends on how many there are.
pub(crate) fn thinning_delay(rng: &mut fastrand::Rng, spread: Duration, nodes: u32) -> Duration {
    if spread.is_zero() {
        return Duration::ZERO;
    }
    let most = spread.as_secs_f64();
    let lambda = f64::from(nodes.max(1)).ln() + 1.0;
    let delay = most / lambda * (rng.f64() * lambda.exp_m1()).ln_1p();
    Duration::from_secs_f64(delay.clamp(0.0, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ten_thousand_only_a_few_answer_before_the_rest_can_hear_them() {
        let mut rng = fastrand::Rng::with_seed(1);
        let spread = Duration::from_millis(20);
        let early: Vec<usize> = (0..20)
            .map(|_| {
                let mut delays: Vec<Duration> = (0..10_000)
                    .map(|_| thinning_delay(&mut rng, spread, 10_000))
                    .collect();
                delays.sort_unstable();
                assert!(*delays.last().unwrap() <= spread);
                // The third answer silences everybody who would speak later than 1 ms after it.
                let heard = delays[2] + Duration::from_millis(1);
                delays.iter().filter(|delay| **delay <= heard).count()
            })
            .collect();
        let mean = early.iter().sum::<usize>() / early.len();
        assert!((3..=10).contains(&mean), "{early:?}");
    }

    #[test]
    fn nothing_to_spread_over_is_no_delay() {
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!(thinning_delay(&mut rng, Duration::ZERO, 9), Duration::ZERO);
        for nodes in [0, 1, 2, u32::MAX] {
            let spread = Duration::from_millis(300);
            assert!(thinning_delay(&mut rng, spread, nodes) <= spread);
        }
    }
}
