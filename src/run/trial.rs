//! Runs one launch alone, between guard bands and on a poisoned output: for tests, `diff` and kernel benchmarks.

use std::time::{Duration, Instant};

use crate::error::{Code, Result};
use crate::kernels::{Implementation, Kernel, Tier, UNIT_ROUNDOFF, sample};
use crate::run::codec::{decode, encode};
use crate::run::cpu::Cpu;
use crate::run::device::{Backend, Device};
use crate::run::diff::worst;
use crate::run::gpu::Gpu;
use crate::run::launch::{Launches, schedule};
use crate::run::memory::TrackedBuffer;
use crate::run::pipelines::PipelineRequest;
use crate::run::readback::{read, ticks};
use crate::run::reference;
use crate::tensor::{DType, Seeded};

/// Bytes before and after each buffer that no kernel may touch; also the alignment of binding offsets.
const GUARD: usize = 256;

/// Nanoseconds between two timestamps, at the least: a timestamp alone takes several thousand. Short launches are repeated.
const TIMED: f64 = 300_000.0;

/// Most launches between two timestamps.
const MAX_LAUNCHES: f64 = 100.0;

/// How long a GPU is warmed up, at the least and at the most, and how much faster a launch must become for it to go on.
const WARM_UP: Duration = Duration::from_millis(100);
const LONGEST_WARM_UP: Duration = Duration::from_secs(3);
const STILL_WARMING: f64 = 0.98;

/// Output of one launch.
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
    /// The median of the repetitions.
    pub fn median(&self) -> f64 {
        self.nanoseconds.get(self.nanoseconds.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl Device {
    /// The implementation this device uses for a kernel on this storage.
    pub fn implementation(&self, kernel: &dyn Kernel, elem: DType) -> Implementation {
        let of_tier = |tier: Tier| tier.choose(&kernel.implementations(), elem).clone();
        match &self.backend {
            Backend::Gpu(gpu) => of_tier(gpu.tier),
            Backend::Cpu(_) => Implementation::native(),
            Backend::Reference => of_tier(Tier::Plain),
        }
    }

    /// Runs one launch on given inputs (an absent operand is empty); on the CPU the kernel's native form, on the
    /// reference device its reference.
    ///
    /// Inputs are followed by NaN, so that a read past the end shows in the output.
    pub fn launch(&self, kernel: &dyn Kernel, implementation: &Implementation, elem: DType, inputs: &[&[f32]]) -> Result<Launched> {
        match &self.backend {
            Backend::Gpu(gpu) => Ready::new(gpu, kernel, implementation, elem, inputs)?.run(gpu),
            Backend::Cpu(cpu) => {
                cpu.check_storage(elem)?;
                Ok(launch_native(cpu, kernel, inputs))
            }
            Backend::Reference => {
                let reference = reference::evaluate(kernel, DType::F32, inputs);
                let dtype = output_dtype(kernel, elem);
                let output = reference.values.iter().map(|&value| reference::stored(value, dtype)).collect();
                Ok(Launched { output, guards_intact: true })
            }
        }
    }

    /// Runs one launch on sample inputs and compares it with the reference; returns what is wrong with it, or `None`.
    ///
    /// A refused launch is wrong; a lost device is an error.
    pub fn check(&self, kernel: &dyn Kernel, implementation: &Implementation, elem: DType, random: &mut Seeded) -> Result<Option<String>> {
        let inputs = sample(kernel, elem, random);
        let borrowed: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let launched = match self.launch(kernel, implementation, elem, &borrowed) {
            Ok(launched) => launched,
            Err(error) if error.code() == Code::DeviceLost => return Err(error),
            Err(error) => return Ok(Some(error.to_string())),
        };
        if !launched.guards_intact {
            return Ok(Some("wrote outside its output".to_owned()));
        }
        let (values, bounds) = expected(kernel, elem, implementation.factors(), &borrowed);
        Ok(worst(&launched.output, &values, &bounds).map(|at| {
            let [found, wanted, bound] = [f64::from(launched.output[at]), values[at], bounds[at]];
            format!("element {at} is {found:e} on the device, {wanted:e} by the reference, bound {bound:e}")
        }))
    }

    /// Times repeated launches by device timestamps where the adapter has them, else by wall clock. Warm-ups precede them; a short launch is
    /// measured as one of many between two timestamps.
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
                let once = ready.time(gpu, 1)?;
                let launches = if gpu.adapter.is_software() { 1 } else { (TIMED / once).clamp(1.0, MAX_LAUNCHES) as usize };
                if !gpu.adapter.is_software() {
                    ready.warm_up(gpu, launches)?;
                }
                for _ in 0..repetitions {
                    nanoseconds.push(ready.time(gpu, launches)?);
                }
            }
            Backend::Cpu(cpu) => {
                cpu.check_storage(elem)?;
                let mut y = vec![0.0; kernel.output_len()];
                cpu.launch(kernel, inputs, &mut y);
                for _ in 0..repetitions {
                    let start = Instant::now();
                    cpu.launch(kernel, inputs, &mut y);
                    nanoseconds.push(start.elapsed().as_nanos() as f64);
                }
            }
            Backend::Reference => {
                for _ in 0..repetitions {
                    let start = Instant::now();
                    reference::evaluate(kernel, DType::F32, inputs);
                    nanoseconds.push(start.elapsed().as_nanos() as f64);
                }
            }
        }
        nanoseconds.sort_by(f64::total_cmp);
        Ok(Timing { nanoseconds })
    }
}

/// Values of the reference, and how far an output element as the kernel stores it for `elem` may be from each, where products have such
/// [`factors`](Implementation::factors).
pub fn expected(kernel: &dyn Kernel, elem: DType, factors: DType, inputs: &[&[f32]]) -> (Vec<f64>, Vec<f64>) {
    let reference = reference::evaluate(kernel, factors, inputs);
    let dtype = output_dtype(kernel, elem);
    let bounds = reference
        .values
        .iter()
        .zip(&reference.bounds)
        .map(|(&value, &bound)| stored_bound(value, bound, dtype))
        .collect();
    (reference.values, bounds)
}

/// How far one stored element may be from the reference's value: arithmetic plus the rounding of its storage.
fn stored_bound(value: f64, bound: f64, dtype: DType) -> f64 {
    bound + dtype.unit_roundoff().max(UNIT_ROUNDOFF) * (value.abs() + bound) + dtype.underflow()
}

fn output_dtype(kernel: &dyn Kernel, elem: DType) -> DType {
    kernel.operands().last().map_or(elem, |output| output.storage.dtype(elem))
}

/// One launch on buffers of its own, prepared as those of a program are.
struct Ready {
    launches: Launches,
    bound: [wgpu::BindGroup; 1],
    output: TrackedBuffer,
    readback: TrackedBuffer,
    bytes: usize,
    poison: Vec<u8>,
    dtype: DType,
    _inputs: Vec<Option<TrackedBuffer>>,
}

impl Ready {
    fn new(gpu: &Gpu, kernel: &dyn Kernel, implementation: &Implementation, elem: DType, inputs: &[&[f32]]) -> Result<Ready> {
        let operands = kernel.operands();
        let (out, read) = operands.split_last().expect("a kernel has an output");
        assert!(read.len() == inputs.len(), "{kernel:?} reads {} buffers, not {}", read.len(), inputs.len());
        let wanted = [PipelineRequest { kernel, implementation, elem }];
        let launches = Launches::new(gpu, &wanted, schedule(gpu, &wanted))?;
        let mut buffers = Vec::new();
        for (operand, input) in read.iter().zip(inputs) {
            assert!(operand.len == input.len(), "{kernel:?}: `{}` holds {} elements, not {}", operand.name, operand.len, input.len());
            let dtype = operand.storage.dtype(elem);
            buffers.push(if operand.len == 0 { None } else { Some(guarded_input(gpu, operand.name, input, dtype)?) });
        }
        let dtype = out.storage.dtype(elem);
        let bytes = out.len * dtype.size();
        let full = GUARD + bytes.next_multiple_of(4) + GUARD;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let output = gpu.memory.buffer(out.name, full, usage)?;
        let readback = gpu.memory.buffer("result", full, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;

        let mut bindings: Vec<Option<wgpu::BufferBinding<'_>>> = buffers
            .iter()
            .map(|buffer| buffer.as_ref().map(|buffer| buffer.buffer.as_entire_buffer_binding()))
            .collect();
        bindings.push(Some(wgpu::BufferBinding { buffer: &output.buffer, offset: GUARD as u64, size: None }));
        let bound = [launches.bind(gpu, 0, kernel.name(), &bindings)?];
        // All ones is a NaN in both storages.
        let poison = vec![0xff; full];
        Ok(Ready { launches, bound, output, readback, bytes, poison, dtype, _inputs: buffers })
    }

    fn run(&self, gpu: &Gpu) -> Result<Launched> {
        gpu.queue.write_buffer(&self.output.buffer, 0, &self.poison);
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.launches.record(&mut pass, &self.bound, 0..self.launches.schedule.dispatches.len());
        }
        encoder.copy_buffer_to_buffer(&self.output.buffer, 0, &self.readback.buffer, 0, self.poison.len() as u64);
        let index = gpu.queue.submit([encoder.finish()]);
        read(gpu, &self.readback.buffer, self.poison.len(), index, |bytes| {
            let (before, rest) = bytes.split_at(GUARD);
            let (output, after) = rest.split_at(self.bytes);
            let guards_intact = before.iter().chain(after).all(|&byte| byte == 0xff);
            Launched { output: decode(output, self.dtype), guards_intact }
        })
    }

    /// Runs until launches become no faster: a GPU that has nothing to do lowers its clock, and takes a while to raise it.
    fn warm_up(&self, gpu: &Gpu, launches: usize) -> Result<()> {
        let start = Instant::now();
        let mut fastest = f64::INFINITY;
        loop {
            let window = Instant::now();
            let before = fastest;
            while window.elapsed() < WARM_UP {
                fastest = fastest.min(self.time(gpu, launches)?);
            }
            if fastest > STILL_WARMING * before || start.elapsed() > LONGEST_WARM_UP {
                return Ok(());
            }
        }
    }

    /// Nanoseconds of a launch among `launches` that follow each other.
    fn time(&self, gpu: &Gpu, launches: usize) -> Result<f64> {
        let all = 0..self.launches.schedule.dispatches.len();
        if launches == 1 || !gpu.adapter.timestamps {
            return Ok(self.launches.times(gpu, &self.bound, all)?.iter().sum());
        }
        let ticks = ticks(gpu, 2, |pass, queries| {
            pass.write_timestamp(queries, 0);
            for _ in 0..launches {
                self.launches.record(pass, &self.bound, all.clone());
            }
            pass.write_timestamp(queries, 1);
        })?;
        Ok((ticks[1] - ticks[0]) / launches as f64)
    }
}

/// Runs a native form between guard bands, on an output of NaN. Inputs are followed by NaN, as products read through pointers.
fn launch_native(cpu: &Cpu, kernel: &dyn Kernel, inputs: &[&[f32]]) -> Launched {
    let lens = kernel.operands().into_iter().map(|operand| operand.len);
    assert!(lens.take(inputs.len()).eq(inputs.iter().map(|input| input.len())), "{kernel:?}: inputs of other lengths");
    let guarded: Vec<Vec<f32>> = inputs.iter().map(|input| [input, &[f32::NAN; GUARD][..]].concat()).collect();
    let inputs: Vec<&[f32]> = guarded.iter().zip(inputs).map(|(guarded, input)| &guarded[..input.len()]).collect();
    let len = kernel.output_len();
    let mut y = vec![f32::NAN; GUARD + len + GUARD];
    cpu.launch(kernel, &inputs, &mut y[GUARD..GUARD + len]);
    let guards_intact = y[..GUARD].iter().chain(&y[GUARD + len..]).all(|x| x.is_nan());
    Launched { output: y[GUARD..GUARD + len].to_vec(), guards_intact }
}

/// A buffer of numbers that are followed by NaN.
fn guarded_input(gpu: &Gpu, name: &str, input: &[f32], dtype: DType) -> Result<TrackedBuffer> {
    let mut bytes = encode(input, dtype);
    bytes.extend(encode(&[f32::NAN; GUARD / 2], dtype));
    gpu.memory.check_binding(&format!("`{name}`"), bytes.len() as u64)?;
    let buffer = gpu.memory.buffer(name, bytes.len(), wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    gpu.queue.write_buffer(&buffer.buffer, 0, &bytes);
    Ok(buffer)
}
