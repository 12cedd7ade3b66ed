//! Slower variants of `shaders/matmul.wgsl`, for comparison: each adds one optimisation to the one before.
//!
//! They share the operands and the reference of `matmul`; `tests/variants.rs` compares them with it, `benches/kernels.rs` times them.

use zsas::kernels::{Activation, Implementation, Io, Kernel, Launch, Matmul, Operand, Pairing, ParamBlock, Tier, Work};
use zsas::run::adapters;
use zsas::shader::Library;
use zsas::{Device, DeviceChoice, DeviceOptions, Result};

/// A matrix product computed by a file of this folder.
#[derive(Clone, Debug)]
pub struct Variant {
    matmul: Matmul,
    file: &'static str,
    tile: usize,
}

/// Every variant, slowest first, for a product of these sizes.
pub fn all(rows: usize, cols: usize, inner: usize) -> Vec<Variant> {
    let matmul = Matmul {
        batch: 1,
        rows,
        cols,
        inner,
        pairing: Pairing::Product,
        has_bias: false,
        has_residual: false,
        activation: Activation::Identity,
    };
    // The file, and the rows and columns that a workgroup computes.
    let files = [("matmul_1_naive", 16), ("matmul_2_tiled", 16), ("matmul_3_register", 64)];
    files.map(|(file, tile)| Variant { matmul: matmul.clone(), file, tile }).into()
}

/// A GPU, else the first software adapter, reading its shaders from this folder.
pub fn device() -> Result<Device> {
    let library = Library::folder(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/variants"));
    let has_gpu = adapters().iter().any(|adapter| !adapter.is_software());
    let choice = if has_gpu { DeviceChoice::Auto } else { DeviceChoice::Index(0) };
    Device::open(&DeviceOptions { choice, library, tier: Some(Tier::Plain), ..DeviceOptions::default() })
}

impl Kernel for Variant {
    fn name(&self) -> &'static str {
        self.file
    }

    fn operands(&self) -> Vec<Operand> {
        self.matmul.operands()
    }

    fn params(&self) -> ParamBlock {
        self.matmul.params()
    }

    fn implementations(&self) -> Vec<Implementation> {
        let tiles = self.matmul.rows.div_ceil(self.tile) * self.matmul.cols.div_ceil(self.tile);
        vec![Implementation::plain(self.file, Vec::new(), Launch::groups(tiles))]
    }

    fn work(&self) -> Work {
        self.matmul.work()
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        self.matmul.native(inputs, y);
    }

    fn reference(&self, io: &mut Io<'_>) {
        self.matmul.reference(io);
    }
}
