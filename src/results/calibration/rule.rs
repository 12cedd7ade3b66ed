//! Rules that find a threshold on the scores of good parts: a quantile, mean + k standard deviations, the maximum.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// Rule that names a value on the scores of good parts. The threshold is the next 32-bit float above that value, since a score that reaches
/// the threshold is anomalous: a good part that scores exactly the value is called normal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rule {
    /// The quantile q by nearest rank: the smallest score that at least a share q of the good parts does not exceed, which is the one of rank
    /// ⌈q·n⌉. Nothing is interpolated. With n < 1 / (1 − q) parts it is the largest score.
    Quantile(f64),
    /// The mean plus this many standard deviations (with n − 1), as MVTec suggests 3 for MVTec AD 2. It may lie below the largest good score.
    Sigma(f64),
    /// The largest score: none of the good parts is called anomalous.
    Max,
}

/// Slack of ⌈q·n⌉ against the rounding of q, whose decimals are few: 0.07 · 100 is 7.000000000000001 in binary.
const RANK_SLACK: f64 = 1e-9;

impl Default for Rule {
    /// One good part in 200 may be called anomalous.
    fn default() -> Rule {
        Rule::Quantile(0.995)
    }
}

impl Rule {
    /// Refuses a quantile outside 0 to 1 and a factor that is not above 0, with [`Code::Usage`].
    pub fn check(self) -> Result<Rule> {
        let is_right = match self {
            Rule::Quantile(share) => share > 0.0 && share <= 1.0,
            Rule::Sigma(factor) => factor > 0.0 && factor.is_finite(),
            Rule::Max => true,
        };
        if is_right {
            return Ok(self);
        }
        let error = Error::new(Code::Usage, format!("there is no rule `{self}`"));
        Err(error.hint("a quantile is above 0 and at most 1, a factor of sigma is above 0"))
    }

    /// The rule in a word, for the source of a threshold: `q0.995`, `mean+3sigma`, `max`.
    pub fn short(self) -> String {
        match self {
            Rule::Quantile(share) => format!("q{share}"),
            Rule::Sigma(factor) => format!("mean+{factor}sigma"),
            Rule::Max => "max".to_owned(),
        }
    }

    /// The threshold by this rule.
    ///
    /// `sorted` are the scores of the good parts, in ascending order, at least one; `mean` and `deviation` are theirs.
    pub(super) fn threshold(self, sorted: &[f32], (mean, deviation): (f64, f64)) -> f32 {
        match self {
            Rule::Quantile(share) => sorted[rank(share, sorted.len()) - 1].next_up(),
            Rule::Sigma(factor) => just_above(mean + factor * deviation),
            Rule::Max => sorted[sorted.len() - 1].next_up(),
        }
    }
}

/// Nearest rank ⌈q·n⌉ of a quantile, from 1 to n.
fn rank(share: f64, count: usize) -> usize {
    ((share * count as f64 - RANK_SLACK).ceil() as usize).clamp(1, count)
}

/// The smallest 32-bit float above a value.
fn just_above(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) > value { near } else { near.next_up() }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Quantile(share) => write!(f, "quantile {share}"),
            Rule::Sigma(factor) => write!(f, "mean + {factor} sigma"),
            Rule::Max => f.write_str("max"),
        }
    }
}

impl FromStr for Rule {
    type Err = Error;

    /// Reads what `Display` writes. Errors with [`Code::Usage`].
    fn from_str(text: &str) -> Result<Rule> {
        let rule = if text == "max" {
            Some(Rule::Max)
        } else if let Some(share) = text.strip_prefix("quantile ") {
            share.parse().ok().map(Rule::Quantile)
        } else {
            let factor = text.strip_prefix("mean + ").and_then(|rest| rest.strip_suffix(" sigma"));
            factor.and_then(|factor| factor.parse().ok()).map(Rule::Sigma)
        };
        let unknown = || Error::new(Code::Usage, format!("there is no rule `{text}`"));
        rule.ok_or_else(|| unknown().hint("the rules are as `quantile 0.995`, `mean + 3 sigma` and `max`"))?
            .check()
    }
}

impl TryFrom<String> for Rule {
    type Error = Error;

    fn try_from(text: String) -> Result<Rule> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> String {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 5] = [1.0, 2.0, 3.0, 4.0, 10.0];

    /// The threshold on [`SCORES`]: mean 4, standard deviation √((9 + 4 + 1 + 0 + 36) / 4) = √12.5 = 3.5355.
    fn threshold(rule: Rule) -> f32 {
        rule.threshold(&SCORES, (4.0, 12.5_f64.sqrt()))
    }

    #[test]
    fn a_quantile_is_the_score_of_the_nearest_rank_and_its_part_is_called_normal() {
        // ⌈0.8 · 5⌉ = 4: the fourth score, 4, is normal and everything above it anomalous.
        assert_eq!(threshold(Rule::Quantile(0.8)), 4.0_f32.next_up());
        assert_eq!(threshold(Rule::Quantile(0.81)), 10.0_f32.next_up());
        assert_eq!(threshold(Rule::Quantile(0.5)), 3.0_f32.next_up());
        assert_eq!(threshold(Rule::Quantile(1e-6)), 1.0_f32.next_up());
        assert_eq!(threshold(Rule::default()), threshold(Rule::Max), "5 parts are fewer than 1 / (1 − 0.995) = 200");
    }

    #[test]
    fn ranks_are_those_of_decimals() {
        // 0.07 · 100 is a little over 7 in binary, 0.57 · 100 a little under 57.
        assert_eq!([rank(0.07, 100), rank(0.57, 100), rank(0.995, 200), rank(0.995, 201), rank(1.0, 7)], [7, 57, 199, 200, 7]);
    }

    #[test]
    fn the_maximum_calls_none_of_the_good_parts_anomalous() {
        let threshold = threshold(Rule::Max);
        assert!(SCORES.iter().all(|&score| score < threshold));
        assert_eq!(f64::from(threshold), 10.0 + 2.0_f64.powi(-20), "one unit in the last place above 10");
    }

    #[test]
    fn sigma_adds_standard_deviations_to_the_mean() {
        // 4 + 3 · 3.5355 = 14.6066
        assert_eq!(format!("{:.4}", threshold(Rule::Sigma(3.0))), "14.6066");
        // 4 + 1.5 · 3.5355 = 9.3033: below the largest good score.
        assert!(threshold(Rule::Sigma(1.5)) < 10.0);
        assert_eq!(Rule::Sigma(3.0).threshold(&[2.0; 4], (2.0, 0.0)), 2.0_f32.next_up(), "equal scores are normal");
        // The float nearest to 0.1 is above it, that nearest to 0.3 below 0.3 + 1e-7.
        assert_eq!((just_above(0.1), just_above(0.25)), (0.1, 0.25_f32.next_up()));
    }

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        for (rule, text, short) in [
            (Rule::Quantile(0.995), "quantile 0.995", "q0.995"),
            (Rule::Sigma(3.0), "mean + 3 sigma", "mean+3sigma"),
            (Rule::Sigma(2.5), "mean + 2.5 sigma", "mean+2.5sigma"),
            (Rule::Max, "max", "max"),
        ] {
            assert_eq!((rule.to_string().as_str(), rule.short().as_str()), (text, short));
            assert_eq!(text.parse::<Rule>().unwrap(), rule);
        }
        for wrong in
            ["quantile 0", "quantile 1.01", "quantile NaN", "mean + 0 sigma", "mean + -1 sigma", "mean + inf sigma", "mean", "", "Max"]
        {
            assert_eq!(wrong.parse::<Rule>().unwrap_err().code(), Code::Usage, "{wrong}");
        }
    }
}
