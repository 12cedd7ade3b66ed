//! Casts of elements from the storage type of a launch to f32, or back.

use crate::kernels::geometry::fours;
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, Work, boxed, params, read, read_f32, write, write_f32};

/// Which side of a cast is f32; the other is the storage type of the launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastDirection {
    /// The output is f32.
    ToF32,
    /// The input is f32.
    FromF32,
}

/// `y[i] = x[i]` in another storage type; to f16 rounded to the nearest.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Which side is f32.
    pub direction: CastDirection,
    /// Number of elements.
    pub len: usize,
}

impl Kernel for Cast {
    fn name(&self) -> &'static str {
        match self.direction {
            CastDirection::ToF32 => "cast_to_f32",
            CastDirection::FromF32 => "cast_from_f32",
        }
    }

    fn operands(&self) -> Vec<Operand> {
        match self.direction {
            CastDirection::ToF32 => vec![read("x", self.len), write_f32("y", self.len)],
            CastDirection::FromF32 => vec![read_f32("x", self.len), write("y", self.len)],
        }
    }

    fn params(&self) -> ParamBlock {
        params! { len: u32 = self.len }
    }

    fn implementations(&self) -> Vec<Implementation> {
        vec![Implementation::plain(self.name(), vec![], fours(self.len))]
    }

    fn work(&self) -> Work {
        Work::new(0, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        y.copy_from_slice(inputs[0]);
    }

    fn reference(&self, io: &mut Io<'_>) {
        // Exact in f32; what f16 storage loses is the storage's own bound.
        for (at, &x) in io.input(0).iter().enumerate() {
            io.put(at, f64::from(x), 0.0);
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let with = |direction| [1, 255, 257, 65 * 1280 + 3].map(|len| Cast { direction, len });
    boxed([CastDirection::ToF32, CastDirection::FromF32].into_iter().flat_map(with))
}
