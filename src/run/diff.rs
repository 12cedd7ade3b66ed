//! Finds the first launch of a recording where a device differs from the reference by more than the bound.

use std::fmt;

use crate::error::Result;
use crate::graph::{Graph, Plan, Tensor};
use crate::run::device::Device;
use crate::run::reference::Host;
use crate::run::trial::expected;
use crate::tensor::Array;

/// A launch whose output is outside its bound.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Divergence {
    /// Position among the launches.
    pub launch: usize,
    /// Kernel, weight, shape and the model's line.
    pub node: String,
    /// Stem of the WGSL file that ran, or [`NATIVE`](crate::kernels::NATIVE).
    pub file: String,
    /// Position of the worst element.
    pub index: usize,
    /// What the device computed there.
    pub device: f64,
    /// What the reference computed there.
    pub reference: f64,
    /// How far they may be apart.
    pub bound: f64,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Divergence { launch, node, file, index, device, reference, bound } = self;
        writeln!(f, "launch {launch} diverges: {node}")?;
        writeln!(f, "  by `{file}`, element {index}: device {device:e}, reference {reference:e}")?;
        write!(f, "  apart by {:e}, bound {bound:e}", (device - reference).abs())
    }
}

/// The worst element of an output relative to its bound; `None` when all are within. A non-finite difference is always outside.
pub fn worst(output: &[f32], values: &[f64], bounds: &[f64]) -> Option<usize> {
    let excess = |at: usize| {
        let (device, value) = (f64::from(output[at]), values[at]);
        if device == value { 0.0 } else { (device - value).abs() / bounds[at] }
    };
    let mut found: Option<(usize, f64)> = None;
    for at in 0..output.len() {
        let ratio = excess(at);
        if (ratio > 1.0 || ratio.is_nan()) && found.is_none_or(|(_, most)| ratio > most) {
            found = Some((at, ratio));
        }
    }
    found.map(|(at, _)| at)
}

/// Runs every launch on the device with the reference's own inputs, so that errors do not compound, and returns the
/// first outside its bound.
///
/// `on_launch` receives the position and the number of launches, for progress.
pub fn diff(
    device: &Device,
    graph: &Graph,
    outputs: &[Tensor<'_>],
    inputs: &[&Array],
    mut on_launch: impl FnMut(usize, usize),
) -> Result<Option<Divergence>> {
    let plan = Plan::new(graph, outputs);
    let mut host = Host::new(&plan, inputs)?;
    for (at, node) in plan.nodes.iter().enumerate() {
        on_launch(at, plan.nodes.len());
        let operands = host.operands(node);
        let implementation = device.implementation(&*node.kernel, node.elem);
        let launched = device.launch(&*node.kernel, &implementation, node.elem, &operands)?;
        let (values, bounds) = expected(&*node.kernel, node.elem, implementation.factors(), &operands);
        if let Some(index) = worst(&launched.output, &values, &bounds) {
            return Ok(Some(Divergence {
                launch: at,
                node: node.to_string(),
                file: implementation.file.to_owned(),
                index,
                device: f64::from(launched.output[index]),
                reference: values[index],
                bound: bounds[index],
            }));
        }
        host.keep(node, &values, at);
    }
    Ok(None)
}
