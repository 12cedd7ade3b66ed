//! Activation functions, applied alone (`Unary`) or in the epilogue of `matmul` and `conv2d`; the reference of
//! `shaders/lib/activation.wgsl`.

use crate::kernels::UNIT_ROUNDOFF;
use crate::kernels::native::{exp, max_or_nan, vectorised};

/// The slope inside QuickGELU's sigmoid (Hendrycks & Gimpel 2016).
const QUICK: f64 = 1.702;

/// An activation: a function of one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x.
    #[default]
    Identity,
    /// max(x, 0); NaN stays.
    Relu,
    /// x·Φ(x) with the exact normal distribution function, as PyTorch's default GELU.
    Gelu,
    /// x·σ(1.702 x), as OpenAI's CLIP.
    QuickGelu,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// eˣ.
    Exp,
    /// √max(x, 0); NaN stays.
    Sqrt,
}

impl Activation {
    /// Every function, in the order of their numbers in WGSL.
    pub const ALL: [Activation; 7] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Gelu,
        Activation::QuickGelu,
        Activation::Sigmoid,
        Activation::Exp,
        Activation::Sqrt,
    ];

    /// The number in `shaders/lib/activation.wgsl`.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The value in f64 and its error bound when `x` itself may be off by `bound`.
    ///
    /// The bound is |f′|·bound plus what evaluating f in f32 costs: a few units of the result, and of x·f′ where an exponential
    /// multiplies the rounding of its argument. WGSL grants `exp` 3 + 2|x| units in the last place.
    pub fn apply(self, x: f64, bound: f64) -> (f64, f64) {
        let u = UNIT_ROUNDOFF;
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match self {
            Activation::Identity => (x, bound),
            Activation::Relu => (if x < 0.0 { 0.0 } else { x }, bound),
            Activation::Gelu => {
                // |GELU′| ≤ 1.13; the erf approximation is good to 1.5e-7 = 2.6 u, times x, plus rounding.
                (x * normal_distribution(x), 1.13 * bound + 8.0 * u * x.abs())
            }
            Activation::QuickGelu => {
                let s = sigmoid(QUICK * x);
                (x * s, 1.13 * bound + (8.0 + 4.0 * x.abs()) * u * (x * s).abs())
            }
            Activation::Sigmoid => {
                let s = sigmoid(x);
                (s, 0.25 * bound + (8.0 + 4.0 * x.abs()) * u * s)
            }
            Activation::Exp => {
                let y = x.exp();
                (y, y * (bound.exp_m1() + (6.0 + 4.0 * x.abs()) * u))
            }
            Activation::Sqrt => {
                let x = if x < 0.0 { 0.0 } else { x };
                let y = x.sqrt();
                // The root is steepest near zero, so the errors to both sides differ: take the larger.
                let moved = ((x + bound).sqrt() - y).max(y - (x - bound).max(0.0).sqrt());
                (y, moved + 4.0 * u * y)
            }
        }
    }

    /// Applies it to each of some numbers in f32, as `shaders/lib/activation.wgsl` does.
    pub(super) fn activate(self, x: &mut [f32]) {
        vectorised(
            #[inline(always)]
            || {
                let each = x.iter_mut();
                match self {
                    Activation::Identity => {}
                    Activation::Relu => each.for_each(|x| *x = max_or_nan(*x, 0.0)),
                    Activation::Gelu => each.for_each(|x| *x *= 0.5 * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2))),
                    Activation::QuickGelu => each.for_each(|x| *x *= sigmoid(QUICK as f32 * *x)),
                    Activation::Sigmoid => each.for_each(|x| *x = sigmoid(*x)),
                    Activation::Exp => each.for_each(|x| *x = exp(*x)),
                    Activation::Sqrt => each.for_each(|x| *x = max_or_nan(*x, 0.0).sqrt()),
                }
            },
        );
    }

    /// The derivative in f64; at the kink of `Relu`, and from 0 down for `Sqrt`, it is 0.
    pub fn derivative(self, x: f64) -> f64 {
        let value = |x: f64| self.apply(x, 0.0).0;
        let sigmoid = |x: f64| Activation::Sigmoid.apply(x, 0.0).0;
        match self {
            Activation::Identity => 1.0,
            Activation::Relu => f64::from(u8::from(x > 0.0)),
            Activation::Gelu => {
                // (x·Φ)′ = Φ + x·φ, with the normal density φ.
                let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
                normal_distribution(x) + x * density
            }
            Activation::QuickGelu => {
                let s = sigmoid(QUICK * x);
                s + QUICK * x * s * (1.0 - s)
            }
            Activation::Sigmoid => value(x) * (1.0 - value(x)),
            Activation::Exp => value(x),
            Activation::Sqrt => {
                if x > 0.0 {
                    0.5 / value(x)
                } else {
                    0.0
                }
            }
        }
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Error function in f32, absolute error below 1.5e-7 (Abramowitz & Stegun 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let tail = ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_72) * t + 0.254_829_6) * t;
    (1.0 - tail * exp(-x * x)).copysign(x)
}

/// Φ, the distribution function of the standard normal distribution.
fn normal_distribution(x: f64) -> f64 {
    0.5 * erfc(-x / std::f64::consts::SQRT_2)
}

/// Complementary error function to f64 accuracy near 1e-15, by its series and its continued fraction (Abramowitz & Stegun 7.1.5, 7.1.14).
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.5 {
        let mut term = x;
        let mut sum = x;
        let mut n = 0.0;
        while term.abs() > 1e-18 * sum.abs() && n < 200.0 {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let tail = (1..=80).rev().fold(0.0, |tail, k| f64::from(k) / 2.0 / (x + tail));
    (-x * x).exp() / ((x + tail) * std::f64::consts::PI.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_matches_tables() {
        // Abramowitz & Stegun, table 7.1 and 7.3.
        for (x, expected) in [(0.0, 1.0), (0.5, 0.479_500_122_186_953_5), (1.0, 0.157_299_207_050_285_1), (3.0, 2.209_049_699_858_544e-5)] {
            assert!((erfc(x) - expected).abs() < 1e-14, "erfc({x}) = {}", erfc(x));
        }
        assert!((erfc(-1.0) - 1.842_700_792_949_715).abs() < 1e-14);
        let step = erfc(2.5 - 1e-12) - erfc(2.5 + 1e-12);
        assert!(step.abs() < 1e-14, "the two forms meet at 2.5, step {step}");
    }

    #[test]
    fn derivatives_are_those_of_central_differences() {
        let step = 1e-5;
        for activation in Activation::ALL {
            for x in [-4.0, -1.3, -0.2, 0.3, 0.9, 2.6, 5.0] {
                let [low, high] = [x - step, x + step].map(|x| activation.apply(x, 0.0).0);
                let [found, expected] = [activation.derivative(x), (high - low) / (2.0 * step)];
                assert!((found - expected).abs() <= 1e-8 * expected.abs().max(1.0), "{activation:?}′({x}) = {found}, not {expected}");
            }
        }
        assert_eq!([Activation::Relu, Activation::Sqrt].map(|activation| activation.derivative(0.0)), [0.0; 2]);
    }

    #[test]
    fn the_sqrt_of_a_bound_near_zero_grows_as_its_root() {
        let (y, bound) = Activation::Sqrt.apply(0.0, 1e-6);
        assert_eq!(y, 0.0);
        assert!((bound - 1e-3).abs() < 1e-12, "√1e-6 = 1e-3, not {bound}");
    }
}
