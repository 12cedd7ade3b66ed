//! Keys of scores: whole numbers in the order of the f32 they stand for.

/// The key of a score: higher scores have higher keys, and −0 has that of 0. A NaN has no place in the order.
pub(super) fn key_of(score: f32) -> u32 {
    // −0 + 0 = +0; every other score stays as it is.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The score that has a key.
pub(super) fn score_of(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key ^ 1 << 31 } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_of_scores_and_zeros_are_equal() {
        let scores = [f32::NEG_INFINITY, f32::MIN, -1.0, -f32::MIN_POSITIVE, -1e-45, 0.0, 1e-45, 0.5, 1.0, f32::MAX, f32::INFINITY];
        assert!(scores.map(key_of).is_sorted_by(|a, b| a < b));
        assert_eq!(scores.map(|score| score_of(key_of(score))), scores);
        assert_eq!(key_of(-0.0), key_of(0.0));
    }
}
