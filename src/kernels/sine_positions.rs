//! Sine embedding of positions.

use crate::kernels::geometry::ELEMENT_LANES;
use crate::kernels::native::each_row;
use crate::kernels::{
    Content, Implementation, Io, Kernel, Launch, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read_f32, write,
};

/// `y[i, 2k] = sin(2π x[i] / period[k])` and `y[i, 2k + 1] = cos(2π x[i] / period[k])` (Vaswani et al. 2017, §3.5, with sine and cosine side
/// by side).
///
/// `x` `[positions]` and `periods` `[periods]` in f32, `y` `[positions, 2 · periods]`. Exact to f32 for |x| up to some hundreds: WGSL's own
/// sine is good to 2⁻¹¹ only.
#[derive(Clone, Debug)]
pub struct SinePositions {
    /// Number of positions.
    pub positions: usize,
    /// Number of periods.
    pub periods: usize,
}

impl Kernel for SinePositions {
    fn name(&self) -> &'static str {
        "sine_positions"
    }

    fn operands(&self) -> Vec<Operand> {
        let periods = Operand { content: Content::Positive, ..read_f32("periods", self.periods) };
        vec![read_f32("x", self.positions), periods, write("y", 2 * self.positions * self.periods)]
    }

    fn params(&self) -> ParamBlock {
        params! { positions: u32 = self.positions, periods: u32 = self.periods }
    }

    fn implementations(&self) -> Vec<Implementation> {
        vec![Implementation::plain("sine_positions", vec![], Launch::invocations(self.positions * self.periods, ELEMENT_LANES))]
    }

    fn work(&self) -> Work {
        Work::new(30 * self.positions * self.periods, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        each_row(y, 2 * self.periods, |position, y| {
            for (y, period) in y.as_chunks_mut::<2>().0.iter_mut().zip(inputs[1]) {
                let (sine, cosine) = (std::f32::consts::TAU * inputs[0][position] / period).sin_cos();
                *y = [sine, cosine];
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let (x, periods, u) = (io.input(0), io.input(1), UNIT_ROUNDOFF);
        for at in 0..self.positions * self.periods {
            let angle = std::f64::consts::TAU * f64::from(x[at / self.periods]) / f64::from(periods[at % self.periods]);
            // 2π, the product and the quotient (2.5 units in the last place) are rounded, and what is left of the angle after quarter turns;
            // the series has five terms, each rounded, of at most 1.
            let bound = 8.0 * u * angle.abs() + 8.0 * u;
            io.put(2 * at, angle.sin(), bound.min(2.0));
            io.put(2 * at + 1, angle.cos(), bound.min(2.0));
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed([(1, 1), (5, 3), (70, 33), (13, 128)].map(|(positions, periods)| SinePositions { positions, periods }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_a_period_is_the_top_of_the_sine() {
        let (mut y, mut bounds) = ([0.0; 4], [0.0; 4]);
        SinePositions { positions: 1, periods: 2 }.reference(&mut Io::new(&[&[1.0], &[4.0, 2.0]], &mut y, &mut bounds));
        let near = |(found, expected): (&f64, f64)| (found - expected).abs() < 1e-12;
        assert!(y.iter().zip([1.0, 0.0, 0.0, -1.0]).all(near), "{y:?}");
    }
}
