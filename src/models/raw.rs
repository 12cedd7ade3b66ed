//! Raw networks: parts of networks that run alone, from named arrays to named arrays, for example to compare them with PyTorch.

use super::catalog::{NETWORKS, NetworkInfo};
use crate::error::{Code, Error, Result};
use crate::graph::{Graph, Tensor};
use crate::tensor::{Array, Seeded, Shape};
use crate::weights::Checkpoint;

/// Name of the input of networks that take images.
pub const PIXELS: &str = "pixel_values";

/// Most tensors that a message names.
const MAX_NAMED: usize = 5;

/// A raw network before its weights are read.
#[derive(Debug)]
pub struct RawInfo {
    /// The name users give.
    pub name: &'static str,
    /// Its inputs and outputs with their shapes, in a sentence.
    pub about: &'static str,
    /// Loads the network from its weights.
    pub load: fn(&Checkpoint) -> Result<Box<dyn RawNetwork>>,
}

/// A raw network on its weights.
pub trait RawNetwork {
    /// Names of its inputs in a file of arrays.
    fn inputs(&self) -> &'static [&'static str];

    /// Random inputs, reproducible for a seed. `size` is the height and width of images; without it the network's own
    /// size is used, else the usual one.
    ///
    /// Fails with [`Code::Usage`] where the network has no such size.
    fn sample(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<NetworkInputs>;

    /// The inputs in a file of named arrays.
    ///
    /// Fails with [`Code::Usage`] where they are missing or of another shape or type.
    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs>;

    /// Records the network on inputs like these; its outputs with their names, as PyTorch lays them out, in f32.
    fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)>;
}

/// Inputs of a raw network.
#[derive(Clone, Debug)]
pub struct NetworkInputs {
    /// The inputs of the recording, in its order.
    pub arrays: Vec<Array>,
    /// Tokens of each text, for networks that read texts.
    pub lengths: Vec<usize>,
}

impl NetworkInputs {
    /// References to the arrays, as a program takes them.
    pub fn arrays(&self) -> Vec<&Array> {
        self.arrays.iter().collect()
    }
}

impl From<Vec<Array>> for NetworkInputs {
    fn from(arrays: Vec<Array>) -> NetworkInputs {
        NetworkInputs { arrays, lengths: Vec::new() }
    }
}

impl RawInfo {
    /// The raw network of a name.
    pub fn named(name: &str) -> Option<&'static RawInfo> {
        all().find(|raw| raw.name == name)
    }

    /// The network on whose weights it runs.
    pub fn network(&self) -> &'static NetworkInfo {
        let network = NETWORKS.iter().find(|network| network.raw.iter().any(|raw| raw.name == self.name));
        network.expect("a raw network stands in the table of networks")
    }
}

/// All raw networks, in the order of the table of networks.
pub fn all() -> impl Iterator<Item = &'static RawInfo> {
    NETWORKS.iter().flat_map(|network| network.raw)
}

/// The error for a wrong input of a raw network.
pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(Code::Usage, message)
}

/// Shape of an input in a file of arrays; a refusal that names what the file holds where it is missing.
pub(super) fn input_shape(arrays: &Checkpoint, name: &str) -> Result<Shape> {
    if !arrays.contains(name) {
        let names: Vec<&str> = arrays.names().take(MAX_NAMED).collect();
        return Err(refused(format!("`{}` holds no `{name}` but `{}`", arrays.name(), names.join("`, `"))));
    }
    arrays
        .shape(name)
        .ok_or_else(|| refused(format!("`{name}` in `{}` has too many axes", arrays.name())))
}

/// The values of an input in a file of arrays.
pub(super) fn input_array(arrays: &Checkpoint, name: &str) -> Result<Array> {
    let shape = input_shape(arrays, name)?;
    let read = arrays.root().weight(name, shape).and_then(|array| array.to_array());
    read.map_err(|error| refused(error.message()).context(format!("in `{}`", arrays.name())))
}

/// Reads [`PIXELS`] `[b, 3, h, w]`; `fixed` is the only height and width that the network takes, if there is one.
pub(super) fn read_pixels(arrays: &Checkpoint, fixed: Option<(usize, usize)>) -> Result<Array> {
    let shape = input_shape(arrays, PIXELS)?;
    match *shape.sizes() {
        [batch, 3, height, width] if batch * height * width > 0 => check_size((height, width), fixed)?,
        _ => return Err(refused(format!("`{PIXELS}` in `{}` is {shape}, it must be [batch, 3, height, width]", arrays.name()))),
    }
    input_array(arrays, PIXELS)
}

/// Random [`PIXELS`] `[1, 3, h, w]`.
pub(super) fn sample_pixels(random: &mut Seeded, (height, width): (usize, usize), fixed: Option<(usize, usize)>) -> Result<Array> {
    check_size((height, width), fixed)?;
    Ok(Array::new([1, 3, height, width], random.numbers(3 * height * width)))
}

fn check_size(size: (usize, usize), fixed: Option<(usize, usize)>) -> Result<()> {
    match fixed {
        Some(fixed) if fixed != size => {
            Err(refused(format!("`{PIXELS}` is {}×{}, these weights are for {}×{}", size.0, size.1, fixed.0, fixed.1)))
        }
        Some(_) | None => Ok(()),
    }
}
