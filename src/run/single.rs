//! One launch on its own, between guard bands and on poisoned outputs: what tests, `diff` and kernel benchmarks run.

use crate::error::Result;
use crate::kernels::{Implementation, Kernel, UNIT_ROUNDOFF};
use crate::run::device::{Backend, Device};
use crate::run::gpu::{Counted, Gpu, Pipeline, UNIFORM_ALIGNMENT, aligned, decode, encode};
use crate::run::reference;
use crate::run::schedule::{Dispatch, Schedule};
use crate::tensor::DType;

/// Bytes before and after each buffer that no kernel may touch; also the alignment of binding offsets.
const GUARD: usize = 256;

/// What a launch wrote.
#[derive(Clone, Debug)]
pub struct Launched {
    /// The output, NaN where nothing was written.
    pub output: Vec<f32>,
    /// Whether the bytes around the output are as they were.
    pub guards_intact: bool,
}

/// Device times of repeated launches.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Nanoseconds of each repetition, sorted.
    pub nanoseconds: Vec<f64>,
}

impl Timing {
    /// The middle repetition.
    pub fn median(&self) -> f64 {
        self.nanoseconds.get(self.nanoseconds.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl Device {
    /// The implementation this device uses for a kernel.
    pub fn implementation(&self, kernel: &dyn Kernel) -> Implementation {
        let all = kernel.implementations();
        let tier = match &self.backend {
            Backend::Gpu(gpu) => gpu.tier,
            Backend::Reference => crate::kernels::Tier::Plain,
        };
        tier.choose(&all).clone()
    }

    /// Runs one launch on given inputs (an absent operand is empty); on the reference, its twin.
    ///
    /// Inputs are followed by NaN, so that a read past the end shows in the output.
    pub fn launch(&self, kernel: &dyn Kernel, implementation: &Implementation, elem: DType, inputs: &[&[f32]]) -> Result<Launched> {
        let Backend::Gpu(gpu) = &self.backend else {
            let twin = reference::twin(kernel, inputs);
            let dtype = output_dtype(kernel, elem);
            let output = twin.values.iter().map(|&value| reference::stored(value, dtype)).collect();
            return Ok(Launched { output, guards_intact: true });
        };
        let ready = Ready::new(gpu, kernel, implementation, elem, inputs)?;
        ready.run(gpu)
    }

    /// Times repeated launches by device timestamps where the adapter has them, else by wall clock. At least one warm-up precedes them.
    pub fn time(
        &self,
        kernel: &dyn Kernel,
        implementation: &Implementation,
        elem: DType,
        inputs: &[&[f32]],
        repetitions: usize,
    ) -> Result<Timing> {
        let mut nanoseconds = Vec::new();
        match &self.backend {
            Backend::Gpu(gpu) => {
                let ready = Ready::new(gpu, kernel, implementation, elem, inputs)?;
                ready.time(gpu)?;
                for _ in 0..repetitions {
                    nanoseconds.push(ready.time(gpu)?);
                }
            }
            Backend::Reference => {
                for _ in 0..repetitions {
                    let start = std::time::Instant::now();
                    reference::twin(kernel, inputs);
                    nanoseconds.push(start.elapsed().as_nanos() as f64);
                }
            }
        }
        nanoseconds.sort_by(f64::total_cmp);
        Ok(Timing { nanoseconds })
    }
}

/// Values of the twin, and how far an output element as the kernel stores it for `elem` may be from each.
pub fn expected(kernel: &dyn Kernel, elem: DType, inputs: &[&[f32]]) -> (Vec<f64>, Vec<f64>) {
    let twin = reference::twin(kernel, inputs);
    let dtype = output_dtype(kernel, elem);
    let bounds = twin
        .values
        .iter()
        .zip(&twin.bounds)
        .map(|(&value, &bound)| stored_bound(value, bound, dtype))
        .collect();
    (twin.values, bounds)
}

/// How far one stored element may be from the twin's value: arithmetic plus the rounding of its storage.
fn stored_bound(value: f64, bound: f64, dtype: DType) -> f64 {
    bound + dtype.unit_roundoff().max(UNIT_ROUNDOFF) * (value.abs() + bound) + dtype.underflow()
}

fn output_dtype(kernel: &dyn Kernel, elem: DType) -> DType {
    kernel.operands().last().map_or(elem, |output| output.storage.dtype(elem))
}

struct Ready {
    pipeline: std::sync::Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    first_groups: wgpu::BindGroup,
    dispatches: Vec<Dispatch>,
    output: Counted,
    readback: Counted,
    bytes: usize,
    poison: Vec<u8>,
    dtype: DType,
    _buffers: Vec<Counted>,
}

impl Ready {
    fn new(gpu: &Gpu, kernel: &dyn Kernel, implementation: &Implementation, elem: DType, inputs: &[&[f32]]) -> Result<Ready> {
        let operands = kernel.operands();
        let (out, read) = operands.split_last().expect("a kernel has an output");
        assert!(read.len() == inputs.len(), "{kernel:?} reads {} buffers, not {}", read.len(), inputs.len());
        let pipeline = gpu.pipeline(kernel, implementation, elem)?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let mut buffers = Vec::new();
        for (operand, input) in read.iter().zip(inputs) {
            assert!(operand.len == input.len(), "{kernel:?}: `{}` holds {} elements, not {}", operand.name, operand.len, input.len());
            if operand.len == 0 {
                buffers.push(None);
                continue;
            }
            let dtype = operand.storage.dtype(elem);
            let mut bytes = encode(input, dtype);
            bytes.extend(encode(&[f32::NAN; GUARD / 2], dtype));
            gpu.check_binding(&format!("{} `{}`", kernel.name(), operand.name), bytes.len() as u64)?;
            let buffer = gpu.buffer(operand.name, bytes.len(), usage)?;
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            gpu.queue.write_buffer(&buffer.buffer, 0, &bytes);
            buffers.push(Some(buffer));
        }
        let dtype = out.storage.dtype(elem);
        let bytes = out.len * dtype.size();
        let full = GUARD + bytes.next_multiple_of(4) + GUARD;
        let output = gpu.buffer(out.name, full, usage | wgpu::BufferUsages::COPY_SRC)?;
        let readback = gpu.buffer("result", full, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
        let params = gpu.buffer("parameters", UNIFORM_ALIGNMENT, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST)?;
        gpu.queue.write_buffer(&params.buffer, 0, &aligned(kernel.params().bytes));

        let mut bindings: Vec<Option<wgpu::BufferBinding<'_>>> = buffers
            .iter()
            .map(|buffer| buffer.as_ref().map(|buffer| buffer.buffer.as_entire_buffer_binding()))
            .collect();
        bindings.push(Some(wgpu::BufferBinding { buffer: &output.buffer, offset: GUARD as u64, size: None }));
        let bind_group = gpu.guarded(kernel.name(), || gpu.bind(&pipeline, params.buffer.as_entire_buffer_binding(), &bindings))?;
        let dispatches = Schedule::new([(implementation.launch, kernel.work().cost())], gpu.pace).dispatches;
        let (starts, first_groups) = gpu.first_groups(dispatches.iter().map(|dispatch| dispatch.first_group))?;
        let mut buffers: Vec<Counted> = buffers.into_iter().flatten().collect();
        buffers.extend([params, starts]);
        // All ones is a NaN in both storages.
        let poison = vec![0xff; full];
        Ok(Ready {
            pipeline,
            bind_group,
            first_groups,
            dispatches,
            output,
            readback,
            bytes,
            poison,
            dtype,
            _buffers: buffers,
        })
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        for (dispatch, at) in self.dispatches.iter().zip(0..) {
            pass.set_bind_group(1, &self.first_groups, &[at * UNIFORM_ALIGNMENT as u32]);
            pass.dispatch_workgroups(dispatch.groups.x, dispatch.groups.y, 1);
        }
    }

    fn run(&self, gpu: &Gpu) -> Result<Launched> {
        gpu.queue.write_buffer(&self.output.buffer, 0, &self.poison);
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        encoder.copy_buffer_to_buffer(&self.output.buffer, 0, &self.readback.buffer, 0, self.poison.len() as u64);
        gpu.queue.submit([encoder.finish()]);
        gpu.read(&self.readback.buffer, self.poison.len(), |bytes| {
            let (before, rest) = bytes.split_at(GUARD);
            let (output, after) = rest.split_at(self.bytes);
            let guards_intact = before.iter().chain(after).all(|&byte| byte == 0xff);
            Launched { output: decode(output, self.dtype), guards_intact }
        })
    }

    fn time(&self, gpu: &Gpu) -> Result<f64> {
        if gpu.adapter.timestamps {
            let ticks = gpu.ticks(2, |pass, queries| {
                pass.write_timestamp(queries, 0);
                self.record(pass);
                pass.write_timestamp(queries, 1);
            })?;
            return Ok(ticks[1] - ticks[0]);
        }
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        let start = std::time::Instant::now();
        gpu.queue.submit([encoder.finish()]);
        gpu.wait(None)?;
        Ok(start.elapsed().as_nanos() as f64)
    }
}
