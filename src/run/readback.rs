//! Reads results and timestamps back from a device.

use std::sync::mpsc;
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::run::gpu::Gpu;

/// Timeout of the callback of a mapped buffer, once its submission is done.
const HANDOVER: Duration = Duration::from_secs(60);

/// Reads the first `bytes` of a buffer created with `MAP_READ`, once the submission that fills it is done. Waits for no later one.
pub(super) fn read<T>(
    gpu: &Gpu,
    buffer: &wgpu::Buffer,
    bytes: usize,
    filled_by: wgpu::SubmissionIndex,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<T> {
    let slice = buffer.slice(..(bytes.next_multiple_of(4).max(4)) as u64);
    let (send, receive) = mpsc::channel();
    // Without a receiver nobody waits for the answer any more.
    slice.map_async(wgpu::MapMode::Read, move |result| drop(send.send(result)));
    gpu.faults.wait(Some(filled_by))?;
    // Another thread's wait may be the one that calls back, a moment after ours returned.
    if !matches!(receive.recv_timeout(HANDOVER), Ok(Ok(()))) {
        gpu.faults.check()?;
        return Err(Error::new(Code::DeviceLost, format!("{} did not hand a result back", gpu.adapter.name)));
    }
    let view = slice
        .get_mapped_range()
        .map_err(|error| Error::new(Code::Gpu, format!("mapping a result: {error}")))?;
    let taken = take(&view[..bytes]);
    drop(view);
    buffer.unmap();
    Ok(taken)
}

/// Records one compute pass with `count` timestamps, runs it, and returns them in nanoseconds.
pub(super) fn ticks(gpu: &Gpu, count: usize, record: impl FnOnce(&mut wgpu::ComputePass<'_>, &wgpu::QuerySet)) -> Result<Vec<f64>> {
    let queries =
        gpu.device
            .create_query_set(&wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: count as u32 });
    let bytes = count * size_of::<u64>();
    let resolved = gpu
        .memory
        .buffer("timestamps", bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
    let readback = gpu
        .memory
        .buffer("timestamps", bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()), &queries);
    encoder.resolve_query_set(&queries, 0..count as u32, &resolved.buffer, 0);
    encoder.copy_buffer_to_buffer(&resolved.buffer, 0, &readback.buffer, 0, bytes as u64);
    let index = gpu.queue.submit([encoder.finish()]);
    let period = f64::from(gpu.queue.get_timestamp_period());
    read(gpu, &readback.buffer, bytes, index, |bytes| {
        bytemuck::pod_collect_to_vec::<u8, u64>(bytes)
            .into_iter()
            .map(|tick| tick as f64 * period)
            .collect()
    })
}
