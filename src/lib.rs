//! Finds defects in images without training on them: hand-written WGSL kernels on `wgpu` run published networks and methods, on any Vulkan,
//! Metal or DX12 GPU or on a software driver, with no ML framework.
//!
//! # One image
//!
//! An [`inspect::Detector`] is a method built from its weights on a device. By default it is the strongest method whose weights are on this
//! machine; `utad` runs on weights inside the library.
//!
//! ```no_run
//! use zsas::image::Rgb;
//! use zsas::inspect::Detector;
//!
//! let detector = Detector::builder().method("utad").open()?;
//! let found = detector.inspect(&Rgb::open("part.png")?)?;
//! println!("{} {:?}", found.score, found.regions(2.4));
//! # Ok::<(), zsas::Error>(())
//! ```
//!
//! The parts also stand alone. A network is recorded into a [`Graph`], compiled into a [`Program`] for a [`Device`], and run on arrays:
//!
//! ```
//! use zsas::{Array, Device, Graph, Precision, Program};
//!
//! let device = Device::reference();               // f64, slow; `Device::open` for a GPU or the CPU
//! let graph = Graph::new(Precision::F32);
//! let x = graph.input("x", [2, 3]);
//! let y = x.scale(2.0).softmax();
//! let program = Program::compile(&device, &graph, &[y])?;
//! let result = program.run(&[&Array::new([2, 3], vec![0.0, 0.0, 0.0, 1.0, 2.0, 3.0])])?;
//! assert!((result[0].data()[0] - 1.0 / 3.0).abs() < 1e-6);
//! # Ok::<(), zsas::Error>(())
//! ```
//!
//! # Layers
//!
//! Each uses only those above it; `ARCHITECTURE.md` says more.
//!
//! - [`error`], [`files`], [`uninspected`], [`tensor`]: the error type; files written whole; what was not inspected; arrays on the host
//! - [`weights`]: safetensors, read piece by piece; [`image`]: decoding, exact resizing, maps; [`text`]: prompts as token ids; [`inputs`]: finding
//!   images; [`datasets`]: public data sets, folders and manifests as classes of labelled photos
//! - [`metrics`]: exact metrics of scores and maps against what is known of them
//! - [`shader`], [`kernels`]: WGSL text and reflection; what each kernel computes, with its f64 reference
//! - [`graph`], [`run`]: the recording of a network's operations; devices and programs, the only module that uses `wgpu`
//! - [`nn`], [`models`]: layers and published networks, with the table [`models::NETWORKS`]
//! - [`methods`]: published methods that turn images into anomaly maps, with the table [`methods::METHODS`]
//! - [`evaluation`]: a data set, maps of its test photos, exact metrics, and what shows them
//! - [`results`], [`inspect`]: the output folder; the top-level API, for one image or many

pub mod datasets;
pub mod error;
pub mod evaluation;
pub mod files;
pub mod graph;
pub mod image;
pub mod inputs;
pub mod inspect;
pub mod kernels;
pub mod methods;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod results;
pub mod run;
pub mod shader;
pub mod tensor;
pub mod text;
pub mod uninspected;
pub mod weights;

/// Version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that the library was built from, where it is known.
pub const COMMIT: Option<&str> = option_env!("ZSAS_COMMIT");

pub use error::{Code, Error, Remedy, Result};
pub use graph::{Graph, Tensor};
pub use kernels::Tier;
pub use run::{Device, DeviceChoice, DeviceOptions, Program};
pub use tensor::{Array, DType, Precision, Shape};
pub use weights::Checkpoint;
