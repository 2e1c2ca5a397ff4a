//! Medians, quantiles, and how sure a ratio is.

use fastrand::Rng;

/// Samples drawn anew for an interval.
const RESAMPLES: usize = 2_000;

/// The middle; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let half = sorted.len() / 2;
    match (sorted.get(half), sorted.len() % 2) {
        (Some(upper), 0) => f64::midpoint(*upper, sorted[half - 1]),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

/// The value that this share of all do not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a small count"
)]
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Where the ratio of two medians lies with 95 % certainty, by bootstrap.
pub(crate) fn ratio_interval(ours: &[f64], theirs: &[f64]) -> (f64, f64) {
    let mut rng = Rng::with_seed(1);
    let mut draw = |values: &[f64]| {
        let drawn: Vec<f64> = (0..values.len())
            .map(|_| values[rng.usize(..values.len())])
            .collect();
        median(&drawn)
    };
    let ratios: Vec<f64> = (0..RESAMPLES).map(|_| draw(ours) / draw(theirs)).collect();
    (quantile(&ratios, 0.025), quantile(&ratios, 0.975))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((quantile(&values, 0.99) - 198.0).abs() < f64::EPSILON);
        assert!((quantile(&values, 0.5) - 100.0).abs() < f64::EPSILON);
    }

    #[test]
    fn an_interval_holds_the_ratio_and_is_narrow_where_nothing_varies() {
        let (low, high) = ratio_interval(&[1.0, 1.0, 1.0], &[2.0, 2.0, 2.0]);
        assert!((low - 0.5).abs() < f64::EPSILON && (high - 0.5).abs() < f64::EPSILON);
        let (low, high) = ratio_interval(&[1.0, 1.2, 0.9, 1.1], &[2.0, 2.3, 1.9, 2.1]);
        assert!(low < 0.51 && 0.51 < high, "{low} {high}");
    }
}
