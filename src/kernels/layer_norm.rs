//! Rows shifted and scaled to mean 0 and variance 1, then by learnt factors.

use crate::kernels::{
    Implementation, Io, Kernel, Launch, Operand, ParamBlock, Sum, UNIT_ROUNDOFF, Work, boxed, params, read, read_f32, write,
};

/// `y = (x − mean) / √(variance + eps) · weight + bias` over the last axis (Ba et al. 2016; biased variance, as PyTorch).
///
/// `x` and `y` `[rows, cols]`, `weight` and `bias` `[cols]` in f32.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Rows.
    pub rows: usize,
    /// Elements that share a mean.
    pub cols: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl Kernel for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![
            read("x", self.rows * self.cols),
            read_f32("weight", self.cols),
            read_f32("bias", self.cols),
            write("y", self.rows * self.cols),
        ]
    }

    fn params(&self) -> ParamBlock {
        params! { rows: u32 = self.rows, cols: u32 = self.cols, eps: f32 = self.eps }
    }

    fn implementations(&self) -> Vec<Implementation> {
        row_kernel("layer_norm", "layer_norm_software", self.rows, self.cols)
    }

    fn work(&self) -> Work {
        Work::new(8 * self.rows * self.cols, &self.operands())
    }

    fn reference(&self, io: &mut Io<'_>) {
        let [x, weight, bias] = [0, 1, 2].map(|at| io.input(at));
        let (u, n) = (UNIT_ROUNDOFF, self.cols as f64);
        for (row, x) in x.chunks_exact(self.cols).enumerate() {
            let mut sum = Sum::default();
            x.iter().for_each(|&x| sum.add(f64::from(x)));
            let mean = sum.value / n;
            // The mean's division takes 2.5 units in the last place.
            let shift = sum.bound() / n + 5.0 * u * mean.abs();

            let deviations = x.iter().map(|&x| f64::from(x) - mean);
            let variance = deviations.clone().map(|d| d * d).sum::<f64>() / n;
            let spread = deviations.clone().map(f64::abs).sum::<f64>() / n;
            // A rounding of each deviation, of each square and of each addition, and the division; then each deviation is off by `shift`.
            let variance_error = (n + 8.0) * u * variance + 2.0 * shift * spread + shift * shift;
            let scale = 1.0 / (variance + f64::from(self.eps)).sqrt();
            // The slope of 1 / √v is −scale³ / 2; the root's reciprocal takes 2 units in the last place.
            let scale_error = 0.5 * scale * scale * variance_error + 5.0 * u;

            for (col, deviation) in deviations.enumerate() {
                let (weight, bias) = (f64::from(weight[col]), f64::from(bias[col]));
                let term = deviation * scale * weight;
                let moved = (shift + u * deviation.abs()) * scale * weight.abs();
                let bound = moved + (scale_error + 3.0 * u) * term.abs() + u * (term.abs() + bias.abs());
                io.put(row * self.cols + col, term + bias, bound);
            }
        }
    }
}

/// Implementations that make a row from a row: a workgroup per row, and on software adapters a lane per row.
pub(super) fn row_kernel(plain: &'static str, cpu: &'static str, rows: usize, cols: usize) -> Vec<Implementation> {
    let mut all = Vec::new();
    if let Some(launch) = lane_rows(rows) {
        all.push(Implementation::software(cpu, vec![], launch));
    }
    all.push(Implementation::plain(plain, vec![("WORKGROUP", row_lanes(cols))], Launch::groups(rows)));
    all
}

/// Lanes of a workgroup that shares a row: short rows would leave most of 256 idle.
pub(super) fn row_lanes(cols: usize) -> u32 {
    if cols <= 256 { 64 } else { 256 }
}

/// Launch of 8 rows per workgroup, a lane each; none for fewer rows than lanes of two cores, which would sit idle.
pub(super) fn lane_rows(rows: usize) -> Option<Launch> {
    (rows >= 16).then(|| Launch::invocations(rows, 8))
}

/// Rows and columns that row kernels are tested with: single elements, odd sizes, either size of workgroup, folded launches.
pub(super) const INSTANCE_SIZES: [(usize, usize); 8] = [(1, 1), (1, 3), (3, 7), (17, 5), (65, 1280), (2, 257), (3, 10_000), (65_537, 3)];

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed(INSTANCE_SIZES.map(|(rows, cols)| LayerNorm { rows, cols, eps: 1e-5 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variance_is_biased() {
        // Mean 2, variance (1 + 1) / 2 = 1 and not 2; eps 3 makes the divisor √4.
        let layer_norm = LayerNorm { rows: 1, cols: 2, eps: 3.0 };
        let (mut y, mut bounds) = ([0.0; 2], [0.0; 2]);
        layer_norm.reference(&mut Io::new(&[&[1.0, 3.0], &[10.0, 10.0], &[0.0, 1.0]], &mut y, &mut bounds));
        assert_eq!(y, [-5.0, 6.0]);
    }
}
