//! Prepared launches: pipelines, parameters and dispatches, made once and recorded any number of times.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::run::gpu::Gpu;
use crate::run::memory::TrackedBuffer;
use crate::run::pipelines::{Pipeline, PipelineRequest};
use crate::run::readback::ticks;
use crate::run::schedule::{Dispatch, Schedule};

/// Alignment of uniform offsets that every adapter accepts.
const UNIFORM_ALIGNMENT: usize = 256;

/// Compiling for longer than this gives a warning.
const LONG_COMPILATION: Duration = Duration::from_secs(3);

/// Prepared launches in order, without their buffers.
pub(super) struct Launches {
    launches: Vec<PreparedLaunch>,
    pub(super) schedule: Schedule,
    params: TrackedBuffer,
    /// Numbers of first workgroups, where the dispatches' offsets point.
    first_groups: wgpu::BindGroup,
    /// Kept for the bind group.
    _numbers: TrackedBuffer,
}

/// A launch with its compiled pipeline.
struct PreparedLaunch {
    pipeline: Arc<Pipeline>,
    file: &'static str,
}

/// Bytes of parameters and of first workgroups for a number of launches and of their dispatches.
pub(super) fn uniform_bytes(launches: usize, dispatches: usize) -> u64 {
    ((launches.max(1) + dispatches.max(1)) * UNIFORM_ALIGNMENT) as u64
}

/// How launches are cut into dispatches and submissions within the device's limits.
pub(super) fn schedule(gpu: &Gpu, wanted: &[PipelineRequest<'_>]) -> Schedule {
    Schedule::new(wanted.iter().map(|one| (one.implementation.launch, one.kernel.work().cost())), gpu.submit_limits)
}

impl Launches {
    /// Compiles what is not compiled yet and writes all parameters.
    pub(super) fn new(gpu: &Gpu, wanted: &[PipelineRequest<'_>], schedule: Schedule) -> Result<Launches> {
        let params = uniforms(gpu, "parameters", wanted.iter().map(|one| one.kernel.params().bytes))?;
        let pipelines = gpu.pipelines.all(wanted)?;
        let launches = pipelines
            .into_iter()
            .zip(wanted)
            .map(|(pipeline, one)| PreparedLaunch { pipeline, file: one.implementation.file });
        let launches = launches.collect();
        let starts = schedule.dispatches.iter().map(|dispatch| dispatch.first_group.to_le_bytes().to_vec());
        let numbers = uniforms(gpu, "first workgroups", starts)?;
        let first_groups = gpu
            .faults
            .scoped("first workgroups", || gpu.pipelines.bind_first_groups(uniform(&numbers.buffer, 0)))?;
        Ok(Launches { launches, schedule, params, first_groups, _numbers: numbers })
    }

    /// Binds a launch to its operands in binding order; `None` stands for an absent one. `what` names the launch in errors.
    pub(super) fn bind(
        &self,
        gpu: &Gpu,
        launch: usize,
        what: &str,
        operands: &[Option<wgpu::BufferBinding<'_>>],
    ) -> Result<wgpu::BindGroup> {
        let params = uniform(&self.params.buffer, launch);
        gpu.faults.scoped(what, || gpu.pipelines.bind(&self.launches[launch].pipeline, params, operands))
    }

    /// Warms up each pipeline that was never used by a dispatch of no workgroups: llvmpipe and others compile a kernel when it first runs,
    /// and the first image should not have to wait for that.
    pub(super) fn warm_up(&self, gpu: &Gpu, bound: &[wgpu::BindGroup]) -> Result<()> {
        let cold: Vec<usize> = (0..self.launches.len()).filter(|&launch| self.launches[launch].pipeline.is_cold()).collect();
        let (start, mut has_warned) = (Instant::now(), false);
        for &launch in &cold {
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.set_pipeline(&self.launches[launch].pipeline.pipeline);
                pass.set_bind_group(0, &bound[launch], &[]);
                pass.set_bind_group(1, &self.first_groups, &[0]);
                pass.dispatch_workgroups(0, 1, 1);
            }
            let begun = start.elapsed();
            let index = gpu.queue.submit([encoder.finish()]);
            gpu.faults.wait(Some(index))?;
            log::debug!("shaders/{}.wgsl was ready after {:.0?}", self.launches[launch].file, start.elapsed() - begun);
            if start.elapsed() > LONG_COMPILATION && !has_warned {
                log::warn!(
                    "compiling {} kernels for this adapter; later starts find them where the driver keeps what it compiles",
                    cold.len()
                );
                has_warned = true;
            }
        }
        Ok(())
    }

    /// The WGSL file of each launch.
    pub(super) fn files(&self) -> impl Iterator<Item = &'static str> {
        self.launches.iter().map(|launch| launch.file)
    }

    /// Records some dispatches on the operands that `bound` gives for each launch.
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>, bound: &[wgpu::BindGroup], dispatches: Range<usize>) {
        let mut current: Option<&wgpu::ComputePipeline> = None;
        for at in dispatches {
            let Dispatch { launch, groups, .. } = self.schedule.dispatches[at];
            let pipeline = &self.launches[launch].pipeline.pipeline;
            if current != Some(pipeline) {
                pass.set_pipeline(pipeline);
                current = Some(pipeline);
            }
            pass.set_bind_group(0, &bound[launch], &[]);
            pass.set_bind_group(1, &self.first_groups, &[(at * UNIFORM_ALIGNMENT) as u32]);
            pass.dispatch_workgroups(groups.x, groups.y, 1);
        }
    }

    /// Runs some dispatches and returns the time of each in nanoseconds: by timestamps of the device where it has them, else by wall clock,
    /// each submitted alone.
    pub(super) fn times(&self, gpu: &Gpu, bound: &[wgpu::BindGroup], dispatches: Range<usize>) -> Result<Vec<f64>> {
        if gpu.adapter.timestamps {
            let ticks = ticks(gpu, dispatches.len() + 1, |pass, queries| {
                pass.write_timestamp(queries, 0);
                for (at, query) in dispatches.zip(1..) {
                    self.record(pass, bound, at..at + 1);
                    pass.write_timestamp(queries, query);
                }
            })?;
            return Ok(ticks.windows(2).map(|pair| pair[1] - pair[0]).collect());
        }
        gpu.faults.wait(None)?;
        dispatches
            .map(|at| {
                let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                self.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()), bound, at..at + 1);
                let start = Instant::now();
                let index = gpu.queue.submit([encoder.finish()]);
                gpu.faults.wait(Some(index))?;
                Ok(start.elapsed().as_nanos() as f64)
            })
            .collect()
    }
}

/// A buffer of uniforms, one at each multiple of the alignment.
fn uniforms(gpu: &Gpu, label: &str, all: impl Iterator<Item = Vec<u8>>) -> Result<TrackedBuffer> {
    let mut bytes: Vec<u8> = all.flat_map(aligned).collect();
    bytes.resize(bytes.len().max(UNIFORM_ALIGNMENT), 0);
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let buffer = gpu.memory.buffer(label, bytes.len(), usage)?;
    gpu.queue.write_buffer(&buffer.buffer, 0, &bytes);
    Ok(buffer)
}

fn uniform(buffer: &wgpu::Buffer, at: usize) -> wgpu::BufferBinding<'_> {
    let size = wgpu::BufferSize::new(UNIFORM_ALIGNMENT as u64);
    wgpu::BufferBinding { buffer, offset: (at * UNIFORM_ALIGNMENT) as u64, size }
}

/// Bytes up to the next offset at which a uniform may begin.
fn aligned(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(UNIFORM_ALIGNMENT).max(UNIFORM_ALIGNMENT), 0);
    bytes
}
