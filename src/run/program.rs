//! A program: a recording compiled for a device, run any number of times, from any number of threads.

use std::sync::Arc;

use crate::error::{Code, Error, Remedy, Result};
use crate::graph::{Graph, Plan, Tensor};
use crate::kernels::NATIVE;
use crate::run::buffer_set::Prepared;
use crate::run::cpu::CpuProgram;
use crate::run::device::{Backend, Device};
use crate::run::gpu::Gpu;
use crate::run::pending::{Context, Pending, Sent, timed};
use crate::run::profile::{LaunchProfile, MemoryUse, Row};
use crate::run::reference;
use crate::run::value::{Input, Value};
use crate::tensor::Array;

/// A compiled recording with its buffers.
///
/// Several threads may run it at once: each run has buffers of its own, up to [`DeviceOptions::runs_at_once`](crate::DeviceOptions) and as
/// far as memory allows; further ones wait, on the CPU all but one. Results do not depend on other runs: they are the same bit by bit.
pub struct Program {
    plan: Plan,
    device: Device,
    on_device: OnDevice,
}

/// What a device holds of a program.
enum OnDevice {
    Gpu(Arc<Gpu>, Prepared),
    Cpu(CpuProgram),
    Reference,
}

impl Program {
    /// Plans buffers, builds missing pipelines, uploads weights that are not yet on the device, and writes all parameters and bind groups.
    ///
    /// Errors, before anything is uploaded: a tensor beyond the adapter's limits, more memory than the limit, f16 where the adapter lacks
    /// it; then: memory that the driver refuses, unreadable or non-finite weights.
    /// Panics when an output belongs to another graph or is an input or a weight.
    #[track_caller]
    pub fn compile(device: &Device, graph: &Graph, outputs: &[Tensor<'_>]) -> Result<Program> {
        let plan = Plan::new(graph, outputs);
        let on_device = match &device.backend {
            Backend::Gpu(gpu) => {
                let prepared = match Prepared::new(gpu, &plan) {
                    // Other programs may hold buffers for runs that are not in flight.
                    Err(error) if error.code() == Code::GpuMemory && gpu.memory.reclaim() => Prepared::new(gpu, &plan)?,
                    prepared => prepared?,
                };
                OnDevice::Gpu(Arc::clone(gpu), prepared)
            }
            Backend::Cpu(cpu) => OnDevice::Cpu(CpuProgram::new(cpu, &plan)?),
            Backend::Reference => {
                reference::check_weights(&plan)?;
                OnDevice::Reference
            }
        };
        Ok(Program { plan, device: device.clone(), on_device })
    }

    /// The device it was compiled for.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The plan: the launches, and where values live.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs with the inputs in the order they were recorded; returns the outputs in the order they were asked for. Calls the
    /// progress callback of the device.
    ///
    /// Errors: a lost or hanging device. Panics when the inputs are not those of the recording.
    #[track_caller]
    pub fn run(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        let inputs: Vec<Input<'_>> = inputs.iter().map(|&array| Input::Host(array)).collect();
        self.submit(&inputs)?.wait()
    }

    /// Submits a run with inputs from the host or the device. Blocks on a GPU only while the largest number of runs is in flight: a thread that
    /// keeps a [`Pending`] of this program must wait for it before it submits another, or it may wait for itself. The CPU and the reference
    /// compute at once.
    ///
    /// Errors: a lost or hanging device. Panics when the inputs are not those of the recording, or on another device.
    #[track_caller]
    pub fn submit(&self, inputs: &[Input<'_>]) -> Result<Pending<'_>> {
        self.check_inputs(inputs);
        match &self.on_device {
            OnDevice::Gpu(gpu, prepared) => Ok(Pending::sent(Sent::new(self.context(gpu, prepared), inputs, false)?)),
            OnDevice::Cpu(_) | OnDevice::Reference => Ok(Pending::done(self.run_on_host(inputs)?)),
        }
    }

    /// Runs as [`Program::run`] does, and leaves the results on the device.
    ///
    /// Errors: a lost or hanging device, too little memory for the results. Panics as [`Program::submit`] does.
    #[track_caller]
    pub fn run_resident(&self, inputs: &[Input<'_>]) -> Result<Vec<Value>> {
        self.check_inputs(inputs);
        match &self.on_device {
            OnDevice::Gpu(gpu, prepared) => Sent::new(self.context(gpu, prepared), inputs, true)?.wait_on_device(),
            OnDevice::Cpu(program) => program.run_resident(&self.plan, &on_host(inputs), &self.device.observed),
            OnDevice::Reference => Ok(self.run_on_host(inputs)?.into_iter().map(|array| Value::on_host(array, None)).collect()),
        }
    }

    /// Runs once with a timestamp between launches and reports each of them. The device time of launches must not be summed to compare
    /// recordings: launches overlap, and a fused kernel does the work of several.
    #[track_caller]
    pub fn profile(&self, inputs: &[&Array]) -> Result<LaunchProfile> {
        let inputs: Vec<Input<'_>> = inputs.iter().map(|&array| Input::Host(array)).collect();
        self.check_inputs(&inputs);
        let (files, nanoseconds): (Vec<&str>, _) = match &self.on_device {
            OnDevice::Gpu(gpu, prepared) => (prepared.launches.files().collect(), timed(self.context(gpu, prepared), &inputs)?),
            OnDevice::Cpu(program) => (vec![NATIVE; self.plan.nodes.len()], program.times(&self.plan, &on_host(&inputs))?),
            OnDevice::Reference => {
                return Err(Error::new(Code::Usage, "the reference has no device time to profile").hint(Remedy::UseCpuOrAdapter));
            }
        };
        let rows = self.plan.nodes.iter().zip(files).zip(nanoseconds);
        let rows = rows.map(|((node, file), nanoseconds)| Row::new(node, file, nanoseconds)).collect();
        let memory = MemoryUse { held: self.device.allocated_bytes(), live: self.plan.needed_bytes() as u64 };
        Ok(LaunchProfile { device: self.device.name(), tier: self.device.adapter().map(|adapter| adapter.tier), rows, memory })
    }

    /// Context of a run on a GPU.
    fn context<'p>(&'p self, gpu: &'p Arc<Gpu>, prepared: &'p Prepared) -> Context<'p> {
        Context { gpu, prepared, plan: &self.plan, observed: &self.device.observed }
    }

    /// Runs on a device whose values are those of the host.
    fn run_on_host(&self, inputs: &[Input<'_>]) -> Result<Vec<Array>> {
        let (inputs, observed) = (on_host(inputs), &self.device.observed);
        match &self.on_device {
            OnDevice::Cpu(program) => program.run(&self.plan, &inputs, observed),
            OnDevice::Reference => reference::run(&self.plan, &inputs, observed),
            OnDevice::Gpu(..) => unreachable!("a GPU has values of its own"),
        }
    }

    #[track_caller]
    fn check_inputs(&self, inputs: &[Input<'_>]) {
        let expected = &self.plan.inputs;
        assert!(expected.len() == inputs.len(), "the program takes {} inputs, not {}", expected.len(), inputs.len());
        for (info, input) in expected.iter().zip(inputs) {
            assert!(info.shape == input.shape(), "input `{}` is {}, not {}", info.name, info.shape, input.shape());
        }
    }
}

/// The arrays of inputs of a device whose values are those of the host.
fn on_host<'a>(inputs: &[Input<'a>]) -> Vec<&'a Array> {
    let array = |input: &Input<'a>| match *input {
        Input::Host(array) => array,
        Input::Resident(value) => value.host(),
    };
    inputs.iter().map(array).collect()
}
