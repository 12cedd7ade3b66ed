//! Every reference against PyTorch, from `tests/golden/kernels/`: needs neither a GPU nor Python.

use std::collections::BTreeSet;

use serde_json::Value;
use zsas::kernels::*;
use zsas::run::expected;
use zsas::weights::Checkpoint;
use zsas::{Array, DType};

/// The cases of one file: parameters, operands by name.
struct Golden {
    checkpoint: Checkpoint,
}

impl Golden {
    fn open(kernel: &str) -> Golden {
        let path = format!("{}/tests/golden/kernels/{kernel}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let hint = "regenerate with: python tools/golden.py kernels";
        Golden { checkpoint: Checkpoint::open(&path).unwrap_or_else(|error| panic!("{error:?}\n{hint}")) }
    }

    fn tensor(&self, case: usize, name: &str) -> Array {
        let name = format!("{case}.{name}");
        let shape = self.checkpoint.shape(&name).unwrap_or_else(|| panic!("`{name}` is not in the golden"));
        self.checkpoint.root().weight(&name, shape).unwrap().to_array().unwrap()
    }

    /// Holds the reference of each case to PyTorch: results were computed in f64 and rounded once to f32.
    fn check(&self, build: impl Fn(&Parameters) -> Box<dyn Kernel>) {
        let mut cases = 0;
        while let Some(text) = self.checkpoint.metadata().get(&cases.to_string()) {
            let kernel = build(&Parameters(serde_json::from_str(text).unwrap()));
            let operands = kernel.operands();
            let inputs: Vec<Array> = operands
                .iter()
                .take(operands.len() - 1)
                .map(|operand| if operand.len == 0 { Array::zeros([0]) } else { self.tensor(cases, operand.name) })
                .collect();
            let inputs: Vec<&[f32]> = inputs.iter().map(Array::data).collect();
            let (values, bounds) = expected(&*kernel, DType::F32, DType::F32, &inputs);
            let truth = self.tensor(cases, "y");
            assert_eq!(values.len(), truth.data().len(), "{kernel:?}");
            for (at, (value, &truth)) in values.iter().zip(truth.data()).enumerate() {
                // The reference rounds to f32 where the definition does (positions of `resize`, ε), PyTorch's f64 does not.
                assert!((value - f64::from(truth)).abs() <= bounds[at], "{kernel:?}: element {at} is {value}, PyTorch says {truth}");
            }
            cases += 1;
        }
        assert!(cases > 0, "the golden holds no case");
    }
}

/// Parameters of a case, as JSON.
struct Parameters(Value);

impl Parameters {
    fn size(&self, name: &str) -> usize {
        self.0[name].as_u64().unwrap_or_else(|| panic!("no size `{name}` in {}", self.0)) as usize
    }

    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    fn is(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap()
    }

    /// Rows and columns of grids.
    fn grids(&self, name: &str) -> Vec<Grid> {
        let sizes = self.0[name].as_array().unwrap().iter();
        let size = |grid: &Value, axis: usize| grid[axis].as_u64().unwrap() as usize;
        sizes.map(|grid| Grid { rows: size(grid, 0), cols: size(grid, 1) }).collect()
    }

    fn number(&self, name: &str) -> f32 {
        self.0[name].as_f64().unwrap() as f32
    }

    fn sizes<const N: usize>(&self, name: &str) -> [usize; N] {
        std::array::from_fn(|at| self.0[name][at].as_u64().unwrap() as usize)
    }

    /// The variant whose debug form is the parameter.
    fn variant<T: std::fmt::Debug + Copy>(&self, name: &str, all: &[T]) -> T {
        let wanted = self.0[name].as_str().unwrap();
        *all.iter().find(|one| format!("{one:?}") == wanted).unwrap()
    }
}

/// The test of each golden file, by its stem.
type Build = fn(&Parameters) -> Box<dyn Kernel>;

const BUILDS: &[(&str, Build)] = &[
    ("matmul", |p| {
        Box::new(Matmul {
            batch: 1,
            rows: p.size("rows"),
            cols: p.size("cols"),
            inner: p.size("inner"),
            pairing: Pairing::Product,
            has_bias: true,
            has_residual: true,
            activation: p.variant("activation", &Activation::ALL),
        })
    }),
    ("distances", |p| {
        Box::new(Matmul {
            batch: 1,
            rows: p.size("rows"),
            cols: p.size("cols"),
            inner: p.size("inner"),
            pairing: Pairing::SquaredDifference,
            has_bias: false,
            has_residual: false,
            activation: Activation::Sqrt,
        })
    }),
    ("batched_matmul", |p| {
        Box::new(Matmul {
            batch: p.size("batch"),
            rows: p.size("rows"),
            cols: p.size("cols"),
            inner: p.size("inner"),
            pairing: Pairing::Product,
            has_bias: true,
            has_residual: true,
            activation: p.variant("activation", &Activation::ALL),
        })
    }),
    ("region_mask", |p| {
        let pair = |name: &str| (p.size(&format!("{name}_rows")), p.size(&format!("{name}_cols")));
        let geometry = MaskGeometry { mask: pair("mask"), frame: pair("frame"), covered: pair("covered"), image: pair("image") };
        Box::new(RegionMask { masks: p.size("masks"), geometry })
    }),
    ("group_norm", |p| {
        let [images, cells, channels, groups] = ["images", "cells", "channels", "groups"].map(|name| p.size(name));
        Box::new(GroupNorm { images, cells, channels, groups, eps: 1e-5 })
    }),
    ("logit", |p| Box::new(Logit { len: p.size("len"), eps: p.number("eps") })),
    ("sine_positions", |p| Box::new(SinePositions { positions: p.size("positions"), periods: p.size("periods") })),
    ("top_rows", |p| Box::new(TopRows { sequences: p.size("sequences"), rows: p.size("rows"), count: p.size("count") })),
    ("window_attention", |p| {
        let [height, width, window, shift] = ["height", "width", "window", "shift"].map(|name| p.size(name));
        let geometry = WindowGeometry { images: 1, height, width, window, shift };
        Box::new(WindowAttention { geometry, heads: p.size("heads"), head_dim: p.size("head_dim") })
    }),
    ("deformable_attention", |p| {
        Box::new(DeformableAttention {
            sequences: 1,
            queries: p.size("queries"),
            levels: p.grids("levels"),
            heads: p.size("heads"),
            head_dim: p.size("head_dim"),
            points: p.size("points"),
            has_boxes: p.is("has_boxes"),
        })
    }),
    ("conv2d", |p| {
        Box::new(Conv2d {
            batch: p.size("batch"),
            height: p.size("height"),
            width: p.size("width"),
            channels_in: p.size("channels_in"),
            channels_out: p.size("channels_out"),
            kernel: p.sizes::<2>("kernel").into(),
            stride: p.size("stride"),
            padding: p.size("padding"),
            has_bias: true,
            has_residual: true,
            activation: Activation::Relu,
        })
    }),
    ("pool", |p| {
        Box::new(Pool {
            kind: p.variant("kind", &[PoolKind::Max, PoolKind::Average]),
            batch: p.size("batch"),
            height: p.size("height"),
            width: p.size("width"),
            channels: p.size("channels"),
            window: p.size("window"),
            stride: p.size("stride"),
            padding: p.size("padding"),
        })
    }),
    ("unary", |p| {
        Box::new(Unary {
            activation: p.variant("activation", &Activation::ALL),
            scale: p.number("scale"),
            offset: p.number("offset"),
            len: p.size("len"),
        })
    }),
    ("binary", |p| {
        Box::new(Binary {
            op: p.variant("op", &[BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul]),
            len: p.size("len"),
            right_len: p.size("right_len"),
        })
    }),
    ("normalize_rows", |p| Box::new(NormalizeRows { rows: p.size("rows"), cols: p.size("cols"), eps: 1e-12 })),
    ("softmax", |p| Box::new(Softmax { rows: p.size("rows"), cols: p.size("cols") })),
    ("layer_norm", |p| Box::new(LayerNorm { rows: p.size("rows"), cols: p.size("cols"), eps: 1e-6 })),
    ("resize", |p| {
        Box::new(Resize {
            interpolation: p.variant("interpolation", &[Interpolation::Nearest, Interpolation::Bilinear]),
            batch: p.size("batch"),
            height: p.size("height"),
            width: p.size("width"),
            channels: p.size("channels"),
            height_out: p.size("height_out"),
            width_out: p.size("width_out"),
        })
    }),
    ("top_mean", |p| {
        Box::new(TopMean {
            selection: p.variant("selection", &[Selection::Largest, Selection::Smallest]),
            rows: p.size("rows"),
            cols: p.size("cols"),
            count: p.size("count"),
        })
    }),
    ("permute", |p| Box::new(Permute { sizes: p.sizes("sizes"), order: p.sizes("order") })),
    ("channels_last", |p| {
        Box::new(ChannelsLast {
            batch: p.size("batch"),
            channels: p.size("channels"),
            height: p.size("height"),
            width: p.size("width"),
            padded: p.size("padded"),
            border: 0,
        })
    }),
    ("attention", |p| {
        let layout = |name| {
            let [stride, offset] = p.sizes(name);
            HeadLayout { stride, offset }
        };
        Box::new(Attention {
            queries: p.size("queries"),
            keys: p.size("keys"),
            heads: p.size("heads"),
            head_dim: p.size("head_dim"),
            q: layout("q"),
            k: layout("k"),
            v: layout("v"),
            grid: p.has("grid").then(|| {
                let [rows, cols] = p.sizes("grid");
                Grid { rows, cols }
            }),
            pairs: 1,
        })
    }),
    ("gather", |p| Box::new(Gather { rows_in: p.size("rows_in"), rows_out: p.size("rows_out"), cols: p.size("cols") })),
    ("concat", |p| Box::new(Concat { rows: p.size("rows"), left: p.size("left"), right: p.size("right") })),
];

#[test]
fn every_reference_is_what_pytorch_computes() {
    for (name, build) in BUILDS {
        Golden::open(name).check(build);
    }
}

#[test]
fn a_reference_with_another_parameter_is_not() {
    let golden = Golden::open("layer_norm");
    let wrong_eps = || golden.check(|p| Box::new(LayerNorm { rows: p.size("rows"), cols: p.size("cols"), eps: 1e-3 }));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wrong_eps));
    assert!(outcome.is_err(), "an ε of 1e-3 for 1e-6 passes");
}

/// `cast` only changes storage; every other kernel has its golden.
#[test]
fn every_kernel_has_a_golden() {
    let golden: BTreeSet<&str> = BUILDS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !["distances", "batched_matmul"].contains(name))
        .collect();
    let kernels: BTreeSet<&str> = every_kernel().iter().map(|kernel| kernel.name()).filter(|name| !name.starts_with("cast")).collect();
    assert_eq!(kernels, golden);
}
