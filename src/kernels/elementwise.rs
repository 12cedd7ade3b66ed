//! Element-wise functions of one or two tensors.

use crate::kernels::geometry::fours;
use crate::kernels::native::{each_chunk, each_row};
use crate::kernels::{Activation, Implementation, Io, Kernel, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read, write};

/// `y[i] = activation(scale · x[i] + offset)`.
#[derive(Clone, Debug)]
pub struct Unary {
    /// Activation, applied after scaling and offset.
    pub activation: Activation,
    /// Factor of x.
    pub scale: f32,
    /// Added after scaling.
    pub offset: f32,
    /// Number of elements.
    pub len: usize,
}

impl Kernel for Unary {
    fn name(&self) -> &'static str {
        "unary"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.len), write("y", self.len)]
    }

    fn params(&self) -> ParamBlock {
        params! { len: u32 = self.len, scale: f32 = self.scale, offset: f32 = self.offset }
    }

    fn implementations(&self) -> Vec<Implementation> {
        vec![Implementation::plain("unary", vec![("ACTIVATION", self.activation.number())], fours(self.len))]
    }

    fn work(&self) -> Work {
        Work::new(2 * self.len, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        each_chunk(y, |at, y| {
            for (y, x) in y.iter_mut().zip(&inputs[0][at..]) {
                *y = self.scale * x + self.offset;
            }
            self.activation.activate(y);
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let (scale, offset) = (f64::from(self.scale), f64::from(self.offset));
        for (at, &x) in io.input(0).iter().enumerate() {
            let scaled = scale * f64::from(x);
            // Two roundings where the adapter does not fuse; Σ|terms| covers cancellation.
            let bound = 2.0 * UNIT_ROUNDOFF * (scaled.abs() + offset.abs());
            let (value, bound) = self.activation.apply(scaled + offset, bound);
            io.put(at, value, bound);
        }
    }
}

/// Operation on two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// a + b.
    Add,
    /// a − b.
    Sub,
    /// a · b.
    Mul,
}

/// `y[i] = a[i] op b[i mod right_len]`: the right operand repeats along the leading axes.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Sum, difference or product.
    pub op: BinaryOp,
    /// Elements of a and y.
    pub len: usize,
    /// Elements of b; divides `len`.
    pub right_len: usize,
}

impl Kernel for Binary {
    fn name(&self) -> &'static str {
        "binary"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read("a", self.len), read("b", self.right_len), write("y", self.len)]
    }

    fn params(&self) -> ParamBlock {
        params! { len: u32 = self.len, right_len: u32 = self.right_len }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let constants = vec![("OP", self.op as u32), ("BROADCAST", u32::from(self.right_len != self.len))];
        vec![Implementation::plain("binary", constants, fours(self.len))]
    }

    fn work(&self) -> Work {
        Work::new(self.len, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let (left, right) = (inputs[0], inputs[1]);
        let combine = |a: &[f32], b: &[f32], y: &mut [f32]| {
            let pairs = y.iter_mut().zip(a.iter().zip(b));
            match self.op {
                BinaryOp::Add => pairs.for_each(|(y, (a, b))| *y = a + b),
                BinaryOp::Sub => pairs.for_each(|(y, (a, b))| *y = a - b),
                BinaryOp::Mul => pairs.for_each(|(y, (a, b))| *y = a * b),
            }
        };
        if self.right_len == self.len {
            each_chunk(y, |at, y| combine(&left[at..], &right[at..], y));
        } else {
            each_row(y, self.right_len, |row, y| combine(&left[row * self.right_len..], right, y));
        }
    }

    fn reference(&self, io: &mut Io<'_>) {
        let (a, b) = (io.input(0), io.input(1));
        for (at, &left) in a.iter().enumerate() {
            let (left, right) = (f64::from(left), f64::from(b[at % self.right_len]));
            let value = match self.op {
                BinaryOp::Add => left + right,
                BinaryOp::Sub => left - right,
                BinaryOp::Mul => left * right,
            };
            // One rounding of the result.
            io.put(at, value, UNIT_ROUNDOFF * value.abs());
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let unary = |activation, len| Unary { activation, scale: 1.0, offset: 0.0, len };
    let mut all = boxed([
        unary(Activation::Identity, 1),
        unary(Activation::Identity, 65_537 * 3),
        Unary { scale: -0.5, offset: 0.25, ..unary(Activation::Relu, 257) },
    ]);
    all.extend(boxed(Activation::ALL.map(|activation| Unary { scale: 1.75, offset: -0.125, ..unary(activation, 1003) })));
    for op in [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul] {
        all.extend(boxed([(1, 1), (21, 7), (1030, 1030), (65 * 1280, 1280), (771, 1)].map(|(len, right_len)| Binary {
            op,
            len,
            right_len,
        })));
    }
    all
}
