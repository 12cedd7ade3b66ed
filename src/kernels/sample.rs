//! Sample inputs of a kernel that is tested or timed alone: the same on every machine.

use crate::kernels::Kernel;
use crate::tensor::{DType, Seeded};

/// Valid contents for each operand that a kernel reads, in binding order; empty for those that are left out.
pub fn sample(kernel: &dyn Kernel, elem: DType, seeded: &mut Seeded) -> Vec<Vec<f32>> {
    let operands = kernel.operands();
    let read = operands.iter().take(operands.len() - 1);
    read.map(|operand| {
        let numbers = sample_numbers(operand.len, elem, seeded);
        numbers.into_iter().map(|x| operand.content.fit(x)).collect()
    })
    .collect()
}

/// `len` normal numbers of either sign, off centre, representable in `dtype`, some of them zero and some repeated.
///
/// Those for f16 are smaller, so that the exponential of a sum of products stays below its 65,504.
pub fn sample_numbers(len: usize, dtype: DType, seeded: &mut Seeded) -> Vec<f32> {
    let scale = if dtype == DType::F16 { 0.4 } else { 1.0 };
    let mut numbers: Vec<f32> = (0..len).map(|_| dtype.round(scale * (1.3 * seeded.normal() + 0.4)) as f32).collect();
    for _ in 0..len / 16 {
        let (to, from) = (seeded.bits() as usize % len, seeded.bits() as usize % len);
        numbers[to] = if seeded.bits().is_multiple_of(2) { 0.0 } else { numbers[from] };
    }
    numbers
}
