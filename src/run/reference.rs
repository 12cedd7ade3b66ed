//! The reference executor: runs a plan kernel by kernel in f64 on the CPU. Slow, deterministic, no GPU.

use crate::error::Result;
use crate::graph::{Node, Plan, Source};
use crate::kernels::Io;
use crate::run::progress::Observed;
use crate::tensor::{Array, DType};

/// Output of the reference of a kernel: values in f64, and how far correct device arithmetic may be from each.
pub(super) struct ReferenceOutput {
    pub(super) values: Vec<f64>,
    pub(super) bounds: Vec<f64>,
}

/// Runs the reference of one kernel, with the bounds for factors of a type. Elements that it does not write stay NaN.
pub(super) fn evaluate(kernel: &dyn crate::kernels::Kernel, factors: DType, inputs: &[&[f32]]) -> ReferenceOutput {
    let len = kernel.output_len();
    let mut values = vec![f64::NAN; len];
    let mut bounds = vec![f64::NAN; len];
    kernel.reference(&mut Io::new(inputs, &mut values, &mut bounds).with_factors(factors));
    ReferenceOutput { values, bounds }
}

/// Reads every weight of a plan, so that a bad one is reported before anything runs.
pub(super) fn check_weights(plan: &Plan) -> Result<()> {
    for &id in &plan.uploads {
        plan.values[id].source.to_array()?;
    }
    Ok(())
}

/// Runs all launches; reports progress after each.
pub(super) fn run(plan: &Plan, inputs: &[&Array], observed: &Observed) -> Result<Vec<Array>> {
    let mut host = Host::new(plan, inputs)?;
    let mut report = observed.after_each(plan);
    for (at, node) in plan.nodes.iter().enumerate() {
        let output = evaluate(&*node.kernel, DType::F32, &host.operands(node));
        host.keep(node, &output.values, at);
        report(at);
    }
    Ok(plan.outputs.iter().map(|&(id, shape)| Array::new(shape, host.values[id].clone())).collect())
}

/// Host copies of the values that later launches still read.
pub(super) struct Host<'p> {
    plan: &'p Plan,
    values: Vec<Vec<f32>>,
    last_use: Vec<usize>,
}

impl<'p> Host<'p> {
    pub(super) fn new(plan: &'p Plan, inputs: &[&Array]) -> Result<Host<'p>> {
        let mut values = vec![Vec::new(); plan.values.len()];
        let mut last_use = vec![0; plan.values.len()];
        for (at, node) in plan.nodes.iter().enumerate() {
            for &id in node.inputs.iter().flatten() {
                last_use[id] = at;
            }
        }
        for &(id, _) in &plan.outputs {
            last_use[id] = usize::MAX;
        }
        for (id, value) in plan.values.iter().enumerate() {
            match &value.source {
                Source::Input(at) => values[id] = inputs[*at].data().to_vec(),
                Source::Weight(_) | Source::Constant(_) | Source::Launch(_) => {}
            }
        }
        for &id in &plan.uploads {
            let value = &plan.values[id];
            let array = value.source.to_array()?.expect("a plan uploads weights and constants");
            values[id] = array.data().iter().map(|&x| stored(f64::from(x), value.dtype)).collect();
        }
        Ok(Host { plan, values, last_use })
    }

    pub(super) fn operands(&self, node: &Node) -> Vec<&[f32]> {
        node.inputs.iter().map(|id| id.map_or(&[][..], |id| self.values[id].as_slice())).collect()
    }

    /// Stores a result as its storage type would, and drops what no later launch reads.
    pub(super) fn keep(&mut self, node: &Node, values: &[f64], at: usize) {
        let dtype = self.plan.values[node.output].dtype;
        self.values[node.output] = values.iter().map(|&value| stored(value, dtype)).collect();
        for &id in node.inputs.iter().flatten() {
            if self.last_use[id] == at {
                self.values[id] = Vec::new();
            }
        }
    }
}

/// A value as an element of `dtype` holds it.
pub(super) fn stored(value: f64, dtype: DType) -> f32 {
    dtype.round(value) as f32
}
