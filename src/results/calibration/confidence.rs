//! Confidence of a threshold: how many good parts it may call anomalous, whatever the distribution of scores (Clopper & Pearson 1934).

/// Probability with which a bound holds.
pub const CONFIDENCE: f64 = 0.95;

/// Share of false alarms for which the number of good parts is named that bounds it.
pub const WANTED_SHARE: f64 = 0.01;

/// Halvings of the interval in which the bound lies: more change no bit of it.
const HALVINGS: usize = 100;

/// The share of good parts that reach a threshold is at most this, with probability [`CONFIDENCE`], where `below` of `count` good parts lie
/// below it.
///
/// The share of good parts above the `below`-th of `count` sorted scores has the distribution Beta(n − r + 1, r) where scores are continuous,
/// and is smaller where they tie; this is its 95 % quantile. It is the share p at which n − r or fewer of n parts would reach the threshold
/// with probability 5 %, so no beta function is needed. Without a part below it, 1.
pub fn bound(count: usize, below: usize) -> f64 {
    let above = count - below;
    if below == 0 {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if at_most(above, count, middle) > 1.0 - CONFIDENCE {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The fewest good parts, all below a threshold, that bound the share of false alarms by this: 1 − 0.05^(1/n) ≤ share.
pub fn parts_for(share: f64) -> usize {
    ((1.0 - CONFIDENCE).ln() / (-share).ln_1p()).ceil() as usize
}

/// Probability that at most `most` of `count` independent parts, each with probability `share` between 0 and 1, do: the binomial
/// distribution function. Terms are multiplied in the logarithm, where none is too small.
fn at_most(most: usize, count: usize, share: f64) -> f64 {
    let (ln_share, ln_rest) = (share.ln(), (-share).ln_1p());
    let mut ln_term = count as f64 * ln_rest;
    let mut sum = ln_term.exp();
    for i in 1..=most {
        ln_term += ((count - i + 1) as f64 / i as f64).ln() + ln_share - ln_rest;
        sum += ln_term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_40_good_parts_below_bound_the_share_by_7_in_100() {
        // 1 − 0.05^(1/40) = 1 − e^(−2.9957/40) = 0.07216
        assert!((bound(40, 40) - 0.07216).abs() < 5e-6);
        assert!((bound(1, 1) - 0.95).abs() < 1e-12, "a single part says nearly nothing");
        assert_eq!(bound(7, 0), 1.0);
    }

    /// `python -c "from scipy.stats import beta; print(beta.ppf(0.95, n - r + 1, r))"`, SciPy 1.17.
    #[test]
    fn bounds_are_the_beta_quantiles_of_scipy() {
        let scipy = [
            ((10, 10), 0.2588655508930522),
            ((40, 40), 0.07215752450551455),
            ((40, 39), 0.11318836094473754),
            ((299, 299), 0.009969146792899269),
            ((1000, 995), 0.010484076911415651),
            ((100, 90), 0.16371762327581477),
            ((20, 10), 0.6980460887135065),
            ((5, 1), 0.9897937816869885),
            ((20_000, 19_900), 0.005901292740007359),
        ];
        for ((count, below), expected) in scipy {
            let found = bound(count, below);
            assert!((found - expected).abs() <= 1e-10 * expected, "{count} {below}: {found}, {expected}");
            // One part more above the threshold, or one part more in all, is another bound.
            assert!((bound(count + 1, below) - expected).abs() > 1e-6 && (bound(count + 1, below + 1) - expected).abs() > 1e-8);
        }
    }

    #[test]
    fn it_takes_299_good_parts_for_1_in_100() {
        assert_eq!([parts_for(0.01), parts_for(0.05), parts_for(0.001)], [299, 59, 2995]);
        assert!(bound(299, 299) <= 0.01 && bound(298, 298) > 0.01);
    }
}
