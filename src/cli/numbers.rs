//! Numbers on the command line.

use std::num::NonZeroUsize;

/// Reads `LO,HI`.
pub fn parse_range(text: &str) -> Result<[f32; 2], String> {
    let range = text
        .split_once(',')
        .and_then(|(low, high)| Some([low.trim().parse().ok()?, high.trim().parse().ok()?]));
    match range {
        Some([low, high]) if f32::is_finite(low) && f32::is_finite(high) && low < high => Ok([low, high]),
        _ => Err("expected two numbers, the smaller first, as in `0,0.5`".to_owned()),
    }
}

/// Reads a finite number.
pub fn parse_number(text: &str) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|number: &f32| number.is_finite())
        .ok_or_else(|| "expected a finite number".to_owned())
}

/// Reads a finite number in f64.
pub fn parse_finite(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| "expected a finite number".to_owned())
}

/// Reads a number from 0 to 1.
pub fn parse_share(text: &str) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|number| (0.0..=1.0).contains(number))
        .ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// Reads a whole number from 1 on.
pub fn parse_count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a whole number from 1 on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_numbers_are_finite() {
        assert_eq!(parse_range("0, 0.5"), Ok([0.0, 0.5]));
        for wrong in ["1,1", "2,1", "NaN,1", "0,inf", "1"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
        assert!(parse_number("nan").is_err());
    }
}
