//! A recording made ready for a device: compile once, run many times.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::error::{Code, Error, Remedy, Result};
use crate::graph::{Graph, Place, Plan, Source, Tensor, ValueId};
use crate::run::device::{Backend, Device};
use crate::run::gpu::{Counted, Gpu, UNIFORM_ALIGNMENT, aligned, decode, lock};
use crate::run::profile::{Memory, Profile, Row};
use crate::run::reference;
use crate::run::schedule::{Dispatch, Schedule, Submission};
use crate::tensor::{Array, DType};

/// A compiled recording with its buffers; runs allocate nothing on the device.
pub struct Program {
    plan: Plan,
    device: Device,
    gpu: Option<Prepared>,
}

/// Everything a run on a GPU needs, made once.
struct Prepared {
    steps: Vec<Step>,
    /// Held during a run: its buffers serve one at a time.
    running: Mutex<()>,
    schedule: Schedule,
    /// Numbers of first workgroups, where the dispatches' offsets point.
    first_groups: wgpu::BindGroup,
    inputs: Vec<Counted>,
    outputs: Vec<Output>,
    /// Kept for the bind groups.
    _slots: Vec<Counted>,
    _weights: Vec<Arc<Counted>>,
    _uniforms: [Counted; 2],
}

/// A launch.
struct Step {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    file: &'static str,
}

struct Output {
    from: wgpu::Buffer,
    readback: Counted,
    bytes: usize,
    dtype: DType,
}

impl Program {
    /// Plans buffers, builds missing pipelines, uploads weights that are not yet on the device, and writes all parameters and bind groups.
    ///
    /// Errors, before anything is uploaded: a tensor beyond the adapter's limits, more memory than there may be, f16 where the adapter lacks
    /// it; then: memory that the driver refuses, unreadable or non-finite weights.
    /// Panics when an output belongs to another graph or is an input or a weight.
    #[track_caller]
    pub fn compile(device: &Device, graph: &Graph, outputs: &[Tensor<'_>]) -> Result<Program> {
        let plan = Plan::new(graph, outputs);
        let gpu = match &device.backend {
            Backend::Gpu(gpu) => Some(Prepared::new(gpu, &plan)?),
            Backend::Reference => {
                reference::check_weights(&plan)?;
                None
            }
        };
        Ok(Program { plan, device: device.clone(), gpu })
    }

    /// What runs, and where its values live.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs with the inputs in the order they were recorded; returns the outputs in the order they were asked for. Whoever observes the
    /// device is told how far it is.
    ///
    /// Errors: a lost or hanging device. Panics when the inputs are not those of the recording.
    #[track_caller]
    pub fn run(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        self.check_inputs(inputs);
        match (&self.device.backend, &self.gpu) {
            (Backend::Gpu(gpu), Some(prepared)) => {
                let _running = lock(&prepared.running);
                prepared.upload(gpu, inputs)?;
                // Two are under way at a time: a GPU never waits, and a software adapter, which computes while it is sent work, is heard early.
                let mut before = None;
                for submission in &prepared.schedule.submissions {
                    let sent = (submission, prepared.send(gpu, submission));
                    if let Some(before) = before.replace(sent) {
                        self.finish(gpu, prepared, before)?;
                    }
                }
                before.map_or(Ok(()), |last| self.finish(gpu, prepared, last))?;
                prepared.download(gpu, &self.plan)
            }
            _ => reference::run(&self.plan, inputs, &self.device.observed),
        }
    }

    /// Waits for a submission, and tells of it.
    fn finish(&self, gpu: &Gpu, prepared: &Prepared, (submission, index): (&Submission, wgpu::SubmissionIndex)) -> Result<()> {
        gpu.wait(Some(index))?;
        self.tell(prepared, submission);
        Ok(())
    }

    fn tell(&self, prepared: &Prepared, submission: &Submission) {
        let last = prepared.schedule.dispatches[submission.dispatches.end - 1].step;
        let weight = self.plan.nodes[..=last].iter().rev().find_map(|node| node.weight.as_deref());
        self.device.observed.tell(submission.done, prepared.schedule.cost(), weight.unwrap_or_default());
    }

    /// Runs once with a timestamp between launches and reports each of them. The device time of launches must not be summed to compare
    /// recordings: launches overlap, and a fused kernel does the work of several.
    #[track_caller]
    pub fn profile(&self, inputs: &[&Array]) -> Result<Profile> {
        self.check_inputs(inputs);
        let (Backend::Gpu(gpu), Some(prepared)) = (&self.device.backend, &self.gpu) else {
            return Err(Error::new(Code::Usage, "the reference has no device time to profile").hint(Remedy::UseAnAdapter));
        };
        let _running = lock(&prepared.running);
        prepared.upload(gpu, inputs)?;
        let nanoseconds = prepared.timed(gpu, |submission| self.tell(prepared, submission))?;
        let rows = self.plan.nodes.iter().zip(&prepared.steps).zip(nanoseconds);
        let rows = rows.map(|((node, step), nanoseconds)| Row::new(node, step.file, nanoseconds)).collect();
        let memory = Memory { held: self.device.allocated_bytes(), live: self.plan.needed_bytes() as u64 };
        Ok(Profile { device: self.device.name(), rows, memory })
    }

    #[track_caller]
    fn check_inputs(&self, inputs: &[&Array]) {
        let expected = &self.plan.inputs;
        assert!(expected.len() == inputs.len(), "the program takes {} inputs, not {}", expected.len(), inputs.len());
        for ((name, shape), input) in expected.iter().zip(inputs) {
            assert!(*shape == input.shape(), "input `{name}` is {shape}, not {}", input.shape());
        }
    }
}

impl Prepared {
    fn new(gpu: &Gpu, plan: &Plan) -> Result<Prepared> {
        gpu.check()?;
        if plan.values.iter().any(|value| value.dtype == DType::F16) && !gpu.adapter.f16 {
            return Err(Error::new(Code::NoAdapter, format!("{} cannot store f16", gpu.adapter.name)).hint(Remedy::UseF32));
        }
        for node in &plan.nodes {
            for &id in node.inputs.iter().flatten().chain([&node.output]) {
                gpu.check_binding(&node.to_string(), plan.values[id].bytes() as u64)?;
            }
        }
        gpu.check_memory(plan)?;
        let storage = wgpu::BufferUsages::STORAGE;
        let mut inputs = Vec::new();
        for (name, shape) in &plan.inputs {
            let label = format!("input `{name}` {shape}");
            inputs.push(gpu.buffer(&label, shape.len() * DType::F32.size(), storage | wgpu::BufferUsages::COPY_DST)?);
        }
        let mut slots = Vec::new();
        for (at, &bytes) in plan.slots.iter().enumerate() {
            slots.push(gpu.buffer(&format!("slot {at}"), bytes, storage | wgpu::BufferUsages::COPY_SRC)?);
        }
        let mut weights = Vec::new();
        for &id in &plan.weights {
            if let Source::Weight(weight) = &plan.values[id].source {
                weights.push(gpu.weight(weight, plan.values[id].dtype)?);
            }
        }
        let buffer_of = |id: ValueId| -> &wgpu::Buffer {
            match plan.places[id] {
                Place::Input(at) => &inputs[at].buffer,
                Place::Weight(at) => &weights[at].buffer,
                Place::Slot(at) => &slots[at].buffer,
                Place::Unused => unreachable!("a planned launch reads and writes placed values"),
            }
        };

        let bytes: Vec<u8> = plan.nodes.iter().flat_map(|node| aligned(node.kernel.params().bytes)).collect();
        let params = gpu.buffer("parameters", bytes.len(), wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST)?;
        gpu.queue.write_buffer(&params.buffer, 0, &bytes);

        let implementations: Vec<_> = plan.nodes.iter().map(|node| node.kernel.implementations()).collect();
        let chosen: Vec<_> = implementations.iter().map(|all| gpu.tier.choose(all)).collect();
        build_pipelines(gpu, plan, &chosen)?;
        let mut steps = Vec::new();
        for (at, (node, implementation)) in plan.nodes.iter().zip(&chosen).enumerate() {
            let pipeline = gpu.pipeline(&*node.kernel, implementation, node.elem)?;
            let operands: Vec<Option<wgpu::BufferBinding<'_>>> = node
                .inputs
                .iter()
                .chain([&Some(node.output)])
                .map(|id| id.map(|id| buffer_of(id).as_entire_buffer_binding()))
                .collect();
            let uniform = wgpu::BufferBinding {
                buffer: &params.buffer,
                offset: (at * UNIFORM_ALIGNMENT) as u64,
                size: wgpu::BufferSize::new(UNIFORM_ALIGNMENT as u64),
            };
            let bind_group = gpu.guarded(&node.to_string(), || gpu.bind(&pipeline, uniform, &operands))?;
            steps.push(Step { pipeline: pipeline.pipeline.clone(), bind_group, file: implementation.file });
        }
        let launches = plan
            .nodes
            .iter()
            .zip(&chosen)
            .map(|(node, implementation)| (implementation.launch, node.kernel.work().cost()));
        let schedule = Schedule::new(launches, gpu.pace);
        let (starts, first_groups) = gpu.first_groups(schedule.dispatches.iter().map(|dispatch| dispatch.first_group))?;

        let mut outputs = Vec::new();
        for &(id, shape) in &plan.outputs {
            let value = &plan.values[id];
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let readback = gpu.buffer(&format!("result {shape}"), value.bytes(), usage)?;
            outputs.push(Output { from: buffer_of(id).clone(), readback, bytes: value.bytes(), dtype: value.dtype });
        }
        Ok(Prepared {
            steps,
            running: Mutex::default(),
            schedule,
            first_groups,
            inputs,
            outputs,
            _slots: slots,
            _weights: weights,
            _uniforms: [params, starts],
        })
    }

    fn upload(&self, gpu: &Gpu, inputs: &[&Array]) -> Result<()> {
        gpu.check()?;
        for (buffer, input) in self.inputs.iter().zip(inputs) {
            gpu.queue.write_buffer(&buffer.buffer, 0, bytemuck::cast_slice(input.data()));
        }
        Ok(())
    }

    /// Sends a submission off, the last one with the copies of the outputs.
    fn send(&self, gpu: &Gpu, submission: &Submission) -> wgpu::SubmissionIndex {
        let mut encoder = self.record(gpu, submission.dispatches.clone());
        if submission.dispatches.end == self.schedule.dispatches.len() {
            for output in &self.outputs {
                let bytes = output.readback.buffer.size();
                encoder.copy_buffer_to_buffer(&output.from, 0, &output.readback.buffer, 0, bytes);
            }
        }
        gpu.queue.submit([encoder.finish()])
    }

    fn record(&self, gpu: &Gpu, dispatches: Range<usize>) -> wgpu::CommandEncoder {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let mut bound: Option<&wgpu::ComputePipeline> = None;
            for at in dispatches {
                let pipeline = &self.steps[self.schedule.dispatches[at].step].pipeline;
                if bound != Some(pipeline) {
                    pass.set_pipeline(pipeline);
                    bound = Some(pipeline);
                }
                self.dispatch(&mut pass, at);
            }
        }
        encoder
    }

    /// Records a dispatch whose pipeline is set.
    fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>, at: usize) {
        let Dispatch { step, groups, .. } = self.schedule.dispatches[at];
        pass.set_bind_group(0, &self.steps[step].bind_group, &[]);
        pass.set_bind_group(1, &self.first_groups, &[(at * UNIFORM_ALIGNMENT) as u32]);
        pass.dispatch_workgroups(groups.x, groups.y, 1);
    }

    fn download(&self, gpu: &Gpu, plan: &Plan) -> Result<Vec<Array>> {
        let mut arrays = Vec::new();
        for (output, &(_, shape)) in self.outputs.iter().zip(&plan.outputs) {
            let data = gpu.read(&output.readback.buffer, output.bytes, |bytes| decode(bytes, output.dtype))?;
            arrays.push(Array::new(shape, data));
        }
        Ok(arrays)
    }

    /// Device time of each step in nanoseconds; wall time of a submission each where the adapter has no timestamps.
    fn timed(&self, gpu: &Gpu, tell: impl Fn(&Submission)) -> Result<Vec<f64>> {
        let mut nanoseconds = vec![0.0; self.steps.len()];
        for submission in &self.schedule.submissions {
            let own = submission.dispatches.clone();
            let times = if gpu.adapter.timestamps { self.ticks(gpu, own.clone())? } else { self.wall_times(gpu, own.clone())? };
            for (at, time) in own.zip(times) {
                nanoseconds[self.schedule.dispatches[at].step] += time;
            }
            tell(submission);
        }
        Ok(nanoseconds)
    }

    /// Device times of some dispatches, by the timestamps around each.
    fn ticks(&self, gpu: &Gpu, dispatches: Range<usize>) -> Result<Vec<f64>> {
        let ticks = gpu.ticks(dispatches.len() + 1, |pass, queries| {
            pass.write_timestamp(queries, 0);
            for (at, query) in dispatches.zip(1..) {
                pass.set_pipeline(&self.steps[self.schedule.dispatches[at].step].pipeline);
                self.dispatch(pass, at);
                pass.write_timestamp(queries, query);
            }
        })?;
        Ok(ticks.windows(2).map(|pair| pair[1] - pair[0]).collect())
    }

    /// Wall times of some dispatches, each sent off alone.
    fn wall_times(&self, gpu: &Gpu, dispatches: Range<usize>) -> Result<Vec<f64>> {
        gpu.wait(None)?;
        dispatches
            .map(|at| {
                let start = std::time::Instant::now();
                gpu.queue.submit([self.record(gpu, at..at + 1).finish()]);
                gpu.wait(None)?;
                Ok(start.elapsed().as_nanos() as f64)
            })
            .collect()
    }
}

/// Builds the pipelines of a plan on all cores; the cache keeps them.
fn build_pipelines(gpu: &Gpu, plan: &Plan, chosen: &[&crate::kernels::Implementation]) -> Result<()> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(node) = plan.nodes.get(at) else { return Ok(()) };
                gpu.pipeline(&*node.kernel, chosen[at], node.elem)?;
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
