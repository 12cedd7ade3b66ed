//! Kernels, one file each: what a kernel computes, how it is launched, what it costs, its native form, and its reference in f64.
//!
//! A kernel pairs a file here with one or more WGSL files of the same stem in `shaders/`. [`every_kernel`] lists instances of all
//! of them; tests, benches and `zsas-gpu shader --list` iterate over it.

mod activation;
mod attention;
mod cast;
mod channels_last;
mod concat;
mod conv2d;
mod deformable_attention;
mod elementwise;
mod gather;
mod geometry;
mod group_norm;
mod layer_norm;
mod logit;
mod matmul;
mod native;
mod normalize;
mod permute;
mod pool;
mod region_mask;
mod representative;
mod resize;
mod sample;
mod sine_positions;
mod softmax;
mod sum;
mod top_mean;
mod top_rows;
mod window_attention;

use std::fmt;

use bytemuck::Pod;

pub use activation::Activation;
pub use attention::{Attention, Grid, HeadLayout};
pub use cast::{Cast, CastDirection};
pub use channels_last::ChannelsLast;
pub use concat::Concat;
pub use conv2d::Conv2d;
pub use deformable_attention::{DeformableAttention, MAX_LEVELS};
pub use elementwise::{Binary, BinaryOp, Unary};
pub use gather::Gather;
pub use geometry::{ELEMENT_LANES, SOFTWARE_LANES};
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use logit::Logit;
pub use matmul::{Matmul, Pairing};
pub use normalize::NormalizeRows;
pub use permute::Permute;
pub use pool::{Pool, PoolKind};
pub use region_mask::{MaskGeometry, PIXELS_PER_NUMBER, RegionMask};
pub use representative::representative;
pub use resize::{Interpolation, Resize};
pub use sample::{sample, sample_numbers};
pub use sine_positions::SinePositions;
pub use softmax::Softmax;
pub use sum::Sum;
pub use top_mean::{Selection, TopMean};
pub use top_rows::TopRows;
pub use window_attention::{WindowAttention, WindowGeometry};

use crate::shader::{Access, FieldInfo, MatrixUnits};
use crate::tensor::DType;

/// A kernel with its sizes: a computation on flat buffers, and everything that follows from the sizes.
pub trait Kernel: fmt::Debug + Send + Sync {
    /// Name of the family; the stem of this file and of the plain WGSL file.
    fn name(&self) -> &'static str;

    /// The buffers in binding order (from 1); the last one is the only one written.
    fn operands(&self) -> Vec<Operand>;

    /// The uniform at binding 0.
    fn params(&self) -> ParamBlock;

    /// WGSL files that can do this, best first; the last serves every adapter.
    fn implementations(&self) -> Vec<Implementation>;

    /// Arithmetic and traffic of one launch, for rates and for splitting long work.
    fn work(&self) -> Work;

    /// The native form: fills the output in f32 on the CPU, on the threads of the pool that calls it. Inputs are in binding order, an absent
    /// one is empty; the output may hold anything before.
    fn native(&self, inputs: &[&[f32]], y: &mut [f32]);

    /// The reference: fills the output in f64, with the error that correct f32 arithmetic may make.
    fn reference(&self, io: &mut Io<'_>);

    /// Number of elements written.
    fn output_len(&self) -> usize {
        self.operands().last().map_or(0, |operand| operand.len)
    }
}

/// Storage type of a binding's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// `Elem`: the storage of activations and weights in this launch.
    Elem,
    /// Always f32: biases, norms, scores.
    F32,
    /// Whole numbers: rows, ends of ranges.
    U32,
}

impl Storage {
    /// The concrete type when `Elem` is `elem`.
    pub fn dtype(self, elem: DType) -> DType {
        match self {
            Storage::Elem => elem,
            Storage::F32 => DType::F32,
            Storage::U32 => DType::U32,
        }
    }
}

/// One storage binding: name as in the WGSL file, access, element type and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Variable name in the WGSL file.
    pub name: &'static str,
    /// Read, or write for the output.
    pub access: Access,
    /// Element type.
    pub storage: Storage,
    /// Number of elements; 0 when an optional operand is left out.
    pub len: usize,
    /// What the elements mean.
    pub content: Content,
}

/// What the elements of an operand mean, and so which values are valid: for sample inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Any numbers.
    Numbers,
    /// Numbers above 0, such as divisors.
    Positive,
    /// Numbers of rows: whole, below this.
    Rows(usize),
    /// Key ranges: pairs of whole numbers up to this, the first key and the one after the last.
    KeyRanges(usize),
}

impl Content {
    /// Makes any number a valid element.
    pub fn fit(self, x: f32) -> f32 {
        let whole = |count: usize| ((x.abs() * 1009.0) as usize % count) as f32;
        match self {
            Content::Numbers => x,
            Content::Positive => 0.25 + x.abs(),
            Content::Rows(below) => whole(below),
            Content::KeyRanges(most) => whole(most + 1),
        }
    }
}

/// A read operand of activations or weights.
pub const fn read(name: &'static str, len: usize) -> Operand {
    Operand { name, access: Access::Read, storage: Storage::Elem, len, content: Content::Numbers }
}

/// A read operand that is f32 whatever the precision.
pub const fn read_f32(name: &'static str, len: usize) -> Operand {
    Operand { name, access: Access::Read, storage: Storage::F32, len, content: Content::Numbers }
}

/// A read operand of row numbers below `below`.
pub const fn read_rows(name: &'static str, len: usize, below: usize) -> Operand {
    Operand { storage: Storage::U32, content: Content::Rows(below), ..read(name, len) }
}

/// A read operand of key ranges up to `most`, two numbers each.
pub const fn read_key_ranges(name: &'static str, len: usize, most: usize) -> Operand {
    Operand { storage: Storage::U32, content: Content::KeyRanges(most), ..read(name, len) }
}

/// The output.
pub const fn write(name: &'static str, len: usize) -> Operand {
    Operand { name, access: Access::Write, storage: Storage::Elem, len, content: Content::Numbers }
}

/// The output of a kernel whose result is f32 whatever the precision.
pub const fn write_f32(name: &'static str, len: usize) -> Operand {
    Operand { name, access: Access::Write, storage: Storage::F32, len, content: Content::Numbers }
}

/// Named `const … : u32` values put in front of a WGSL file; they distinguish pipelines.
pub type Constants = Vec<(&'static str, u32)>;

/// One WGSL file of a family, with what it needs and how it is launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Implementation {
    /// Stem of the file in `shaders/`.
    pub file: &'static str,
    /// The adapters it is written for.
    pub tier: Tier,
    /// The storage it is written for; `None` for any.
    pub elem: Option<DType>,
    /// What computes its fragments, where it is for matrix units.
    pub units: MatrixUnits,
    /// Tile sizes and switches.
    pub constants: Constants,
    /// Number of workgroups.
    pub launch: Launch,
}

impl Implementation {
    /// A file for any adapter.
    pub fn plain(file: &'static str, constants: Constants, launch: Launch) -> Implementation {
        Implementation { file, tier: Tier::Plain, elem: None, units: MatrixUnits::Hardware, constants, launch }
    }

    /// A file for software adapters.
    pub fn software(file: &'static str, constants: Constants, launch: Launch) -> Implementation {
        Implementation { tier: Tier::Software, ..Implementation::plain(file, constants, launch) }
    }

    /// A file for software adapters with subgroups of [`SOFTWARE_LANES`].
    pub fn subgroup(file: &'static str, constants: Constants, launch: Launch) -> Implementation {
        Implementation { tier: Tier::Subgroup, ..Implementation::plain(file, constants, launch) }
    }

    /// A file for adapters with matrix units, which multiply f16.
    pub fn matrix(file: &'static str, constants: Constants, launch: Launch) -> Implementation {
        Implementation { tier: Tier::Matrix, elem: Some(DType::F16), ..Implementation::plain(file, constants, launch) }
    }

    /// The native form, which is no WGSL file.
    pub fn native() -> Implementation {
        Implementation::plain(NATIVE, vec![], Launch { x: 1, y: 1 })
    }

    /// The same on emulated matrix units, which every adapter has that stores f16.
    pub fn emulated(self) -> Implementation {
        Implementation { units: MatrixUnits::Emulated, ..self }
    }

    /// Type of the factors of its products.
    pub fn factors(&self) -> DType {
        if self.tier == Tier::Matrix { DType::F16 } else { DType::F32 }
    }

    /// Whether it is written for this storage.
    pub fn serves(&self, elem: DType) -> bool {
        self.elem.is_none_or(|only| only == elem)
    }
}

/// What stands for a WGSL file where the native form of a kernel ran.
pub const NATIVE: &str = "native";

/// Tier: a class of adapters for which kernels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Any GPU: f32, workgroup memory, no subgroups.
    Plain,
    /// A GPU whose subgroups of 32 lanes multiply 16 × 16 blocks of f16 on matrix units.
    Matrix,
    /// A software adapter (lavapipe, SwiftShader, WARP): wide register tiles, no workgroup memory.
    Software,
    /// A software adapter whose subgroups have [`SOFTWARE_LANES`], which give each other what they loaded; where no kernel is written for
    /// that, one for any software adapter.
    Subgroup,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Tier; 4] = [Tier::Plain, Tier::Matrix, Tier::Software, Tier::Subgroup];

    /// The first implementation written for this tier and storage, else for the one that it refines, else the plain one.
    pub fn choose(self, implementations: &[Implementation], elem: DType) -> &Implementation {
        let of = |tier: Tier| implementations.iter().find(move |one| one.tier == tier && one.serves(elem));
        of(self)
            .or_else(|| if self == Tier::Subgroup { of(Tier::Software) } else { None })
            .or_else(|| implementations.iter().find(|one| one.tier == Tier::Plain))
            .expect("a kernel has a plain implementation; `every_kernel` tests hold that")
    }

    /// What it is for, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Tier::Plain => "Kernels for GPUs",
            Tier::Matrix => "Kernels for the matrix units of GPUs",
            Tier::Software => "Kernels for software adapters",
            Tier::Subgroup => "Kernels for software adapters whose subgroups have 8 lanes",
        }
    }

    /// The name users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Plain => "plain",
            Tier::Matrix => "matrix",
            Tier::Software => "software",
            Tier::Subgroup => "subgroup",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Tier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Most invocations of a workgroup of a kernel: what WebGPU guarantees.
pub const MAX_INVOCATIONS: u32 = 256;

/// Most bytes of workgroup memory that a kernel uses: what WebGPU guarantees.
pub const MAX_WORKGROUP_BYTES: u32 = 16_384;

/// Most bytes of workgroup memory that a kernel for matrix units uses.
pub const MAX_MATRIX_WORKGROUP_BYTES: u32 = 24_576;

/// Most workgroups along one axis that every adapter accepts.
pub const MAX_GROUPS: usize = 65_535;

/// Size of a launch: workgroups along x and y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Workgroups along x.
    pub x: u32,
    /// Workgroups along y.
    pub y: u32,
}

impl Launch {
    /// `count` workgroups, folded evenly into a second axis beyond [`MAX_GROUPS`]: 70,000 → 35,000 × 2.
    ///
    /// `linear_group` of `shaders/lib/index.wgsl` unfolds them; a kernel must allow for a few spare groups.
    pub fn groups(count: usize) -> Launch {
        let y = count.div_ceil(MAX_GROUPS).max(1);
        let x = count.div_ceil(y).max(1);
        Launch { x: x as u32, y: y as u32 }
    }

    /// Enough workgroups of `size` invocations for `count` invocations.
    pub fn invocations(count: usize, size: usize) -> Launch {
        Launch::groups(count.div_ceil(size))
    }
}

/// Floating-point operations in the time that the transfer of one element takes: 4 bytes at 80 GB/s against 400 GFLOP/s.
const FLOPS_PER_ELEMENT: u64 = 20;

/// Arithmetic and memory traffic of a launch: the least that it needs, not what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Floating-point operations; a multiply-add counts 2.
    pub flops: u64,
    /// Elements read and written once each.
    pub elements: u64,
}

impl Work {
    /// Estimated cost in floating-point operations: its arithmetic, or the equivalent of its memory traffic, whichever is larger.
    pub fn cost(self) -> u64 {
        self.flops.max(self.elements * FLOPS_PER_ELEMENT)
    }

    /// `flops` operations, each operand's elements moved once.
    pub fn new(flops: usize, operands: &[Operand]) -> Work {
        let elements = operands.iter().map(|operand| operand.len as u64).sum();
        Work { flops: flops as u64, elements }
    }
}

/// Bytes of the uniform and the fields they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamBlock {
    /// The bytes as WGSL lays them out.
    pub bytes: Vec<u8>,
    /// Names and offsets, compared with the WGSL struct by a test.
    pub fields: Vec<FieldInfo>,
}

impl ParamBlock {
    /// The block of a plain struct of 4-byte fields.
    pub fn of<P: Pod>(params: P, names: &[&str]) -> ParamBlock {
        let fields = names
            .iter()
            .enumerate()
            .map(|(at, &name)| FieldInfo { name: name.to_owned(), offset: 4 * at as u32 })
            .collect();
        ParamBlock { bytes: bytemuck::bytes_of(&params).to_vec(), fields }
    }
}

/// Declares and fills the uniform of a kernel: `params! { rows: u32 = self.rows, eps: f32 = self.eps }`.
///
/// Each field is 4 bytes, so Rust and WGSL agree on offsets without padding. `usize` values are converted; sizes beyond u32 cannot occur
/// in a tensor that fits a binding.
macro_rules! params {
    ($($name:ident: $kind:ident = $value:expr),+ $(,)?) => {{
        #[repr(C)]
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        struct Params { $($name: $kind),+ }
        $crate::kernels::ParamBlock::of(Params { $($name: $value as $kind),+ }, &[$(stringify!($name)),+])
    }};
}
pub(crate) use params;

/// Buffers of one reference run: inputs in binding order, the output with its error bound.
pub struct Io<'a> {
    inputs: &'a [&'a [f32]],
    output: &'a mut [f64],
    bounds: &'a mut [f64],
    factors: DType,
}

impl<'a> Io<'a> {
    /// Inputs by binding order (an absent one is empty), outputs to be filled.
    pub fn new(inputs: &'a [&'a [f32]], output: &'a mut [f64], bounds: &'a mut [f64]) -> Io<'a> {
        Io { inputs, output, bounds, factors: DType::F32 }
    }

    /// The same for an implementation that rounds the factors of its products to this type, as matrix units need them.
    pub fn with_factors(self, factors: DType) -> Io<'a> {
        Io { factors, ..self }
    }

    /// How far rounding may move a factor that the kernel computes itself, relative to it and where it underflows; zeros in f32, whose
    /// roundings are counted with the arithmetic.
    pub fn factor_rounding(&self) -> (f64, f64) {
        match self.factors {
            DType::F16 => (DType::F16.unit_roundoff(), DType::F16.underflow()),
            DType::F32 | DType::U32 => (0.0, 0.0),
        }
    }

    /// Elements of an input.
    pub fn input(&self, at: usize) -> &'a [f32] {
        self.inputs[at]
    }

    /// Writes one element: its value, and how far correct f32 arithmetic may be from it.
    pub fn put(&mut self, at: usize, value: f64, bound: f64) {
        self.output[at] = value;
        self.bounds[at] = bound;
    }
}

/// Unit roundoff of f32, 2⁻²⁴.
pub const UNIT_ROUNDOFF: f64 = 1.0 / 16_777_216.0;

/// An instance of each kernel in each set of constants in use, at small and awkward sizes.
pub fn every_kernel() -> Vec<Box<dyn Kernel>> {
    let mut all: Vec<Box<dyn Kernel>> = Vec::new();
    all.extend(matmul::instances());
    all.extend(conv2d::instances());
    all.extend(pool::instances());
    all.extend(elementwise::instances());
    all.extend(normalize::instances());
    all.extend(softmax::instances());
    all.extend(attention::instances());
    all.extend(layer_norm::instances());
    all.extend(group_norm::instances());
    all.extend(logit::instances());
    all.extend(sine_positions::instances());
    all.extend(top_rows::instances());
    all.extend(window_attention::instances());
    all.extend(deformable_attention::instances());
    all.extend(resize::instances());
    all.extend(region_mask::instances());
    all.extend(top_mean::instances());
    all.extend(permute::instances());
    all.extend(channels_last::instances());
    all.extend(concat::instances());
    all.extend(gather::instances());
    all.extend(cast::instances());
    all
}

/// What the matrix units of an adapter must get right before they are used: products whose subgroups share slabs, and share the inner axis,
/// with edges and an epilogue; attention over keys that two steps walk.
pub(crate) fn matrix_units_trial() -> [Box<dyn Kernel>; 3] {
    let product = |rows, cols, inner| Matmul {
        batch: 1,
        rows,
        cols,
        inner,
        pairing: Pairing::Product,
        has_bias: true,
        has_residual: true,
        activation: Activation::Gelu,
    };
    let layout = HeadLayout { stride: 64, offset: 0 };
    let (queries, keys) = (20, 40);
    let attention = Attention {
        queries,
        keys,
        heads: 2,
        head_dim: 32,
        q: layout,
        k: layout,
        v: layout,
        grid: None,
        pairs: queries * keys,
    };
    [Box::new(product(70, 132, 44)), Box::new(product(40, 68, 256)), Box::new(attention)]
}

/// Boxes kernels of one type for [`every_kernel`].
fn boxed<K: Kernel + 'static>(kernels: impl IntoIterator<Item = K>) -> Vec<Box<dyn Kernel>> {
    kernels.into_iter().map(|kernel| Box::new(kernel) as Box<dyn Kernel>).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_launches_fold_evenly() {
        assert_eq!(Launch::groups(70_000), Launch { x: 35_000, y: 2 });
        assert_eq!(Launch::groups(65_535), Launch { x: 65_535, y: 1 });
        assert_eq!(Launch::groups(0), Launch { x: 1, y: 1 });
    }

    #[test]
    fn a_tier_without_a_file_of_its_own_takes_that_of_the_tier_it_refines() {
        let of = |files: [Implementation; 2], tier: Tier| tier.choose(&files, DType::F32).file;
        let launch = Launch { x: 1, y: 1 };
        let plain = || Implementation::plain("plain", vec![], launch);
        let software = || Implementation::software("software", vec![], launch);
        let subgroup = || Implementation::subgroup("subgroup", vec![], launch);
        assert_eq!(of([software(), plain()], Tier::Subgroup), "software");
        assert_eq!(of([subgroup(), plain()], Tier::Subgroup), "subgroup");
        assert_eq!(of([subgroup(), plain()], Tier::Software), "plain");
        assert_eq!(of([subgroup(), plain()], Tier::Matrix), "plain");
    }

    #[test]
    fn every_kernel_ends_with_a_plain_implementation_and_one_output() {
        for kernel in every_kernel() {
            let last = kernel.implementations().pop().map(|one| one.tier);
            assert_eq!(last, Some(Tier::Plain), "{kernel:?}");
            let written = kernel.operands().iter().filter(|operand| operand.access == Access::Write).count();
            assert_eq!((written, kernel.operands().last().unwrap().access), (1, Access::Write), "{kernel:?}");
        }
    }
}
