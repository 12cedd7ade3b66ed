//! A wgpu device with what its programs share: pipelines, layouts, uploaded weights, and the state of the device.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::Duration;

use crate::error::{Code, Error, Remedy, Result};
use crate::graph::{Plan, Source, ValueId};
use crate::kernels::{Constants, Implementation, Kernel, Operand, Tier};
use crate::run::schedule::Pace;
use crate::run::{AdapterReport, DeviceOptions};
use crate::shader::{Access, Library, assemble, reflect};
use crate::tensor::DType;
use crate::weights::Weight;

/// Uniform offsets that every adapter accepts.
pub(super) const UNIFORM_ALIGNMENT: usize = 256;

/// Longest wait for a submission: a GPU that needs longer hangs; a software adapter may be busy.
const GPU_TIMEOUT: Duration = Duration::from_secs(60);
const SOFTWARE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Bytes of weights on their way to the device: until they have arrived, wgpu holds them a second time.
const MOST_UNDER_WAY: u64 = 64 << 20;

/// An open adapter.
pub(super) struct Gpu {
    pub(super) adapter: AdapterReport,
    pub(super) tier: Tier,
    pub(super) pace: Pace,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) limits: wgpu::Limits,
    library: Library,
    pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    /// Those that a program holds.
    weights: Mutex<HashMap<(u64, DType), Weak<Counted>>>,
    /// Bytes of weights written since the queue was last waited for.
    under_way: AtomicU64,
    nothing: wgpu::Buffer,
    /// Of bind group 1: the number of a dispatch's first workgroup, at an offset of its own.
    first_group_layout: wgpu::BindGroupLayout,
    allocated: Arc<AtomicU64>,
    /// Most bytes to hold.
    memory: u64,
    fault: Arc<Mutex<Option<Error>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PipelineKey {
    file: &'static str,
    constants: Constants,
    elem: DType,
}

/// A compiled kernel and the layout its bind groups need.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// A buffer whose bytes are counted as long as it lives.
pub(super) struct Counted {
    pub(super) buffer: wgpu::Buffer,
    allocated: Arc<AtomicU64>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.allocated.fetch_sub(self.buffer.size(), Ordering::Relaxed);
    }
}

/// Takes a lock; a thread that panicked while holding it left nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// All adapters, in the driver's order.
    pub(super) fn adapters() -> Vec<wgpu::Adapter> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        pollster::block_on(instance.enumerate_adapters(wgpu::Backends::from_env().unwrap_or(wgpu::Backends::PRIMARY)))
    }

    pub(super) fn report(adapter: &wgpu::Adapter, tier: Option<Tier>) -> AdapterReport {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let is_software = info.device_type == wgpu::DeviceType::Cpu;
        AdapterReport {
            name: info.name,
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            kind: format!("{:?}", info.device_type),
            pci: info.device_pci_bus_id,
            tier: tier.unwrap_or(own_tier(is_software)).as_str().to_owned(),
            f16: features.contains(wgpu::Features::SHADER_F16),
            timestamps: features.contains(timestamps()),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
        }
    }

    pub(super) fn open(adapter: &wgpu::Adapter, options: &DeviceOptions) -> Result<Gpu> {
        let report = Gpu::report(adapter, options.tier);
        let limits = adapter.limits();
        check_limits(&report, &limits)?;
        let wanted = wgpu::Features::SHADER_F16 | timestamps();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("zsas"),
            required_features: adapter.features() & wanted,
            required_limits: limits.clone(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| Error::new(Code::NoAdapter, format!("{report} cannot be opened: {error}")))?;

        let fault: Arc<Mutex<Option<Error>>> = Arc::default();
        let keep = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("{error}");
            lock(&keep).get_or_insert_with(|| translate(&error, "running"));
        }));
        let keep = Arc::clone(&fault);
        device.set_device_lost_callback(move |reason, message| {
            let said = if message.is_empty() { String::new() } else { format!(": {message}") };
            let error = Error::new(Code::DeviceLost, format!("the device was lost ({reason:?}){said}"));
            *lock(&keep) = Some(error);
        });
        let nothing = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("absent operand"),
            size: 256,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let first_group_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("first_group"),
            entries: &[layout_entry(0, wgpu::BufferBindingType::Uniform, true)],
        });
        let is_software = report.is_software();
        Ok(Gpu {
            tier: options.tier.unwrap_or(own_tier(is_software)),
            pace: options.pace.unwrap_or(if is_software { Pace::SOFTWARE } else { Pace::GPU }),
            memory: options.memory.unwrap_or(u64::MAX),
            first_group_layout,
            adapter: report,
            device,
            queue,
            limits,
            library: options.library.clone(),
            pipelines: Mutex::default(),
            weights: Mutex::default(),
            under_way: AtomicU64::default(),
            nothing,
            allocated: Arc::default(),
            fault,
        })
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    pub(super) fn lose(&self) {
        self.device.destroy();
        // The callback comes with the next poll.
        let _ = self.device.poll(wgpu::PollType::Poll);
        lock(&self.fault).get_or_insert_with(|| Error::new(Code::DeviceLost, "the device was given up"));
    }

    /// The first fault since the device was opened, if any: nothing runs after one.
    pub(super) fn check(&self) -> Result<()> {
        match &*lock(&self.fault) {
            None => Ok(()),
            Some(fault) => Err(Error::new(fault.code(), fault.message().to_owned())),
        }
    }

    /// A zeroed buffer of at least `bytes`, counted in [`Gpu::allocated_bytes`].
    pub(super) fn buffer(&self, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> Result<Counted> {
        let size = padded(bytes);
        if size > self.limits.max_buffer_size {
            let limit = self.limits.max_buffer_size;
            let message = format!("{label} needs {size} bytes, {} allows {limit} per buffer", self.adapter.name);
            return Err(Error::new(Code::GpuMemory, message));
        }
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let buffer = self.guarded(label, || self.device.create_buffer(&descriptor))?;
        self.allocated.fetch_add(size, Ordering::Relaxed);
        Ok(Counted { buffer, allocated: Arc::clone(&self.allocated) })
    }

    /// Runs something that creates wgpu objects and turns what wgpu reports into an error that names `what`.
    pub(super) fn guarded<T>(&self, what: &str, make: impl FnOnce() -> T) -> Result<T> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = make();
        let faults = [pollster::block_on(internal.pop()), pollster::block_on(memory.pop()), pollster::block_on(validation.pop())];
        match faults.into_iter().flatten().next() {
            None => Ok(made),
            Some(fault) => {
                self.check()?;
                Err(translate(&fault, what))
            }
        }
    }

    /// The buffer of a weight at a storage type, uploaded unless a program holds it already. It goes when the last of them does.
    pub(super) fn weight(&self, weight: &Weight, dtype: DType) -> Result<Arc<Counted>> {
        let key = (weight.id(), dtype);
        if let Some(buffer) = lock(&self.weights).get(&key).and_then(Weak::upgrade) {
            return Ok(buffer);
        }
        let array = weight.to_array()?;
        let mut bytes = encode(array.data(), dtype);
        bytes.resize(bytes.len().next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT as usize), 0);
        let label = format!("weight `{}`", weight.name());
        self.check_binding(&label, padded(bytes.len()))?;
        let buffer = Arc::new(self.buffer(&label, bytes.len(), wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST)?);
        self.queue.write_buffer(&buffer.buffer, 0, &bytes);
        let under_way = self.under_way.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        if under_way > MOST_UNDER_WAY {
            self.queue.submit([]);
            self.wait(None)?;
            self.under_way.store(0, Ordering::Relaxed);
        }
        let mut weights = lock(&self.weights);
        weights.retain(|_, held| held.strong_count() > 0);
        weights.insert(key, Arc::downgrade(&buffer));
        Ok(buffer)
    }

    /// Refuses a plan that needs more memory than may be held, before anything of it is allocated, naming its largest tensor.
    pub(super) fn check_memory(&self, plan: &Plan) -> Result<()> {
        let held = self.allocated_bytes();
        let missing: usize = {
            let uploaded = lock(&self.weights);
            let is_there = |key| uploaded.get(&key).is_some_and(|buffer| buffer.strong_count() > 0);
            let is_missing = |id: &&ValueId| match &plan.values[**id].source {
                Source::Weight(weight) => !is_there((weight.id(), plan.values[**id].dtype)),
                _ => false,
            };
            plan.weights.iter().filter(is_missing).map(|&id| plan.values[id].bytes()).sum()
        };
        let outputs: usize = plan.outputs.iter().map(|&(id, _)| plan.values[id].bytes()).sum();
        let inputs: usize = plan.inputs.iter().map(|(_, shape)| shape.len() * DType::F32.size()).sum();
        let needed = (missing + plan.slot_bytes() + inputs + outputs) as u64;
        log::debug!("memory: {held} bytes are held, {missing} of weights are to come, {} of intermediates", plan.slot_bytes());
        if held.saturating_add(needed) <= self.memory {
            return Ok(());
        }
        let largest = plan.nodes.iter().max_by_key(|node| plan.values[node.output].bytes());
        let largest = largest.map_or_else(String::new, |node| format!("; the largest of its tensors is that of {node}"));
        let message = format!("{needed} bytes are needed beside the {held} that are held, more than the {} allowed{largest}", self.memory);
        Err(Error::new(Code::GpuMemory, message).hint(Remedy::RaiseMemoryLimit))
    }

    /// Refuses a binding larger than the adapter allows, naming the tensor and the limit.
    pub(super) fn check_binding(&self, label: &str, bytes: u64) -> Result<()> {
        let limit = self.limits.max_storage_buffer_binding_size;
        if bytes <= limit {
            return Ok(());
        }
        let message = format!("{label} takes {bytes} bytes, {} binds at most {limit}", self.adapter.name);
        Err(Error::new(Code::GpuMemory, message).hint("use a smaller image, or an adapter with larger bindings"))
    }

    /// The compiled pipeline of an implementation, from the cache after the first time.
    pub(super) fn pipeline(&self, kernel: &dyn Kernel, implementation: &Implementation, elem: DType) -> Result<Arc<Pipeline>> {
        let key = PipelineKey { file: implementation.file, constants: implementation.constants.clone(), elem };
        if let Some(found) = lock(&self.pipelines).get(&key) {
            return Ok(Arc::clone(found));
        }
        let built = Arc::new(self.build(kernel, implementation, elem)?);
        lock(&self.pipelines).insert(key, Arc::clone(&built));
        Ok(built)
    }

    fn build(&self, kernel: &dyn Kernel, implementation: &Implementation, elem: DType) -> Result<Pipeline> {
        let shader = assemble(&self.library, implementation.file, &implementation.constants, elem)?;
        // naga's own message carries our file and line; wgpu's would speak of the assembled text.
        let needed = reflect(&shader)?.workgroup_memory;
        let what = format!("compiling shaders/{}.wgsl", implementation.file);
        if needed > self.adapter.max_workgroup_bytes {
            let message = format!(
                "{} offers {} bytes of workgroup memory, {kernel:?} needs {needed}",
                self.adapter, self.adapter.max_workgroup_bytes
            );
            return Err(Error::new(Code::GpuMemory, message).context(what));
        }
        self.guarded(&what, || {
            let entries = layout_entries(&kernel.operands());
            let layout = self
                .device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(implementation.file), entries: &entries });
            let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(implementation.file),
                bind_group_layouts: &[Some(&layout), Some(&self.first_group_layout)],
                immediate_size: 0,
            });
            let source =
                wgpu::ShaderModuleDescriptor { label: Some(implementation.file), source: wgpu::ShaderSource::Wgsl(shader.text.into()) };
            // SAFETY: every kernel clamps or guards each index by its own sizes, which recordings keep positive; `tests/kernels.rs` runs
            // each variant between guard bands on sizes that no tile divides; every loop has a bound that does not depend on data.
            let module = unsafe { self.device.create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked()) };
            let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(implementation.file),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..wgpu::PipelineCompilationOptions::default()
                },
                cache: None,
            });
            Pipeline { pipeline, layout }
        })
    }

    /// Binds the uniform and the operands of one launch; `None` stands for an absent operand.
    pub(super) fn bind(
        &self,
        pipeline: &Pipeline,
        params: wgpu::BufferBinding<'_>,
        operands: &[Option<wgpu::BufferBinding<'_>>],
    ) -> wgpu::BindGroup {
        let uniform = wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(params) };
        let storage = operands.iter().zip(1..).map(|(operand, binding)| wgpu::BindGroupEntry {
            binding,
            resource: match operand {
                Some(bound) => wgpu::BindingResource::Buffer(bound.clone()),
                None => self.nothing.as_entire_binding(),
            },
        });
        let entries: Vec<wgpu::BindGroupEntry<'_>> = [uniform].into_iter().chain(storage).collect();
        self.device
            .create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &pipeline.layout, entries: &entries })
    }

    /// The bind group of first workgroups: the number at position `i` is met at offset `i ·` [`UNIFORM_ALIGNMENT`]. Its buffer is returned too.
    pub(super) fn first_groups(&self, numbers: impl ExactSizeIterator<Item = u32>) -> Result<(Counted, wgpu::BindGroup)> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = self.buffer("first workgroups", numbers.len().max(1) * UNIFORM_ALIGNMENT, usage)?;
        let bytes: Vec<u8> = numbers.flat_map(|number| aligned(number.to_le_bytes().to_vec())).collect();
        self.queue.write_buffer(&buffer.buffer, 0, &bytes);
        let one = wgpu::BufferBinding { buffer: &buffer.buffer, offset: 0, size: wgpu::BufferSize::new(UNIFORM_ALIGNMENT as u64) };
        let group = self.guarded("first workgroups", || {
            self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("first_group"),
                layout: &self.first_group_layout,
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(one) }],
            })
        })?;
        Ok((buffer, group))
    }

    /// Waits for a submission, or for all so far, at most as long as a healthy adapter needs.
    pub(super) fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let timeout = if self.adapter.is_software() { SOFTWARE_TIMEOUT } else { GPU_TIMEOUT };
        let waited = self.device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(timeout) });
        if let Err(error) = waited {
            let fault = match error {
                wgpu::PollError::Timeout => {
                    Error::new(Code::GpuTimeout, format!("{} did not answer within {} s", self.adapter.name, timeout.as_secs()))
                }
                error => Error::new(Code::DeviceLost, format!("waiting for {}: {error}", self.adapter.name)),
            };
            lock(&self.fault).get_or_insert(fault);
        }
        self.check()
    }

    /// Records one compute pass with `count` timestamps, runs it, and returns them in nanoseconds.
    pub(super) fn ticks(&self, count: usize, record: impl FnOnce(&mut wgpu::ComputePass<'_>, &wgpu::QuerySet)) -> Result<Vec<f64>> {
        let queries =
            self.device
                .create_query_set(&wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: count as u32 });
        let bytes = count * size_of::<u64>();
        let resolved = self.buffer("timestamps", bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        let readback = self.buffer("timestamps", bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()), &queries);
        encoder.resolve_query_set(&queries, 0..count as u32, &resolved.buffer, 0);
        encoder.copy_buffer_to_buffer(&resolved.buffer, 0, &readback.buffer, 0, bytes as u64);
        self.queue.submit([encoder.finish()]);
        let period = f64::from(self.queue.get_timestamp_period());
        self.read(&readback.buffer, bytes, |bytes| {
            bytemuck::pod_collect_to_vec::<u8, u64>(bytes)
                .into_iter()
                .map(|tick| tick as f64 * period)
                .collect()
        })
    }

    /// Reads the first `bytes` of a buffer created with `MAP_READ`, after the copies into it were submitted.
    pub(super) fn read<T>(&self, buffer: &wgpu::Buffer, bytes: usize, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let slice = buffer.slice(..(bytes.next_multiple_of(4).max(4)) as u64);
        let (send, receive) = mpsc::channel();
        // Without a receiver nobody waits for the answer any more.
        slice.map_async(wgpu::MapMode::Read, move |result| drop(send.send(result)));
        self.wait(None)?;
        // Another thread's wait may be the one that calls back, a moment after ours returned.
        if !matches!(receive.recv_timeout(GPU_TIMEOUT), Ok(Ok(()))) {
            self.check()?;
            return Err(Error::new(Code::DeviceLost, format!("{} did not hand a result back", self.adapter.name)));
        }
        let view = slice
            .get_mapped_range()
            .map_err(|error| Error::new(Code::Gpu, format!("mapping a result: {error}")))?;
        let taken = take(&view[..bytes]);
        drop(view);
        buffer.unmap();
        Ok(taken)
    }
}

/// The shape of kernels an adapter wants.
fn own_tier(is_software: bool) -> Tier {
    if is_software { Tier::Cpu } else { Tier::Plain }
}

fn timestamps() -> wgpu::Features {
    wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
}

/// What the kernels take for granted: 256 invocations and the workgroup memory of the largest tile.
fn check_limits(report: &AdapterReport, limits: &wgpu::Limits) -> Result<()> {
    let needs = [
        ("invocations per workgroup", 256, u64::from(limits.max_compute_invocations_per_workgroup)),
        ("bytes of workgroup memory", 16_896, u64::from(limits.max_compute_workgroup_storage_size)),
        ("storage buffers per stage", 8, u64::from(limits.max_storage_buffers_per_shader_stage)),
        ("workgroups along an axis", crate::kernels::MAX_GROUPS as u64, u64::from(limits.max_compute_workgroups_per_dimension)),
    ];
    for (what, needed, offered) in needs {
        if offered < needed {
            let message = format!("{report} offers {offered} {what}, the kernels need {needed}");
            return Err(Error::new(Code::NoAdapter, message).hint(Remedy::UseAnotherDevice));
        }
    }
    Ok(())
}

fn layout_entries(operands: &[Operand]) -> Vec<wgpu::BindGroupLayoutEntry> {
    let storage = operands.iter().zip(1..).map(|(operand, binding)| {
        let read_only = operand.access == Access::Read;
        layout_entry(binding, wgpu::BufferBindingType::Storage { read_only }, false)
    });
    [layout_entry(0, wgpu::BufferBindingType::Uniform, false)].into_iter().chain(storage).collect()
}

fn layout_entry(binding: u32, ty: wgpu::BufferBindingType, has_dynamic_offset: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    }
}

fn translate(error: &wgpu::Error, what: &str) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::new(Code::GpuMemory, format!("{what}: out of device memory"))
            .hint("close other programs that use the GPU, or use a smaller image"),
        other => Error::new(Code::Gpu, format!("{what}: {other}")),
    }
}

/// Bytes up to the next offset at which a uniform may begin.
pub(super) fn aligned(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(UNIFORM_ALIGNMENT).max(UNIFORM_ALIGNMENT), 0);
    bytes
}

/// Size of the buffer for so many bytes: whole vec4, and never empty.
fn padded(bytes: usize) -> u64 {
    bytes.next_multiple_of(16).max(16) as u64
}

/// Bytes of numbers in a storage type.
pub(super) fn encode(values: &[f32], dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => bytemuck::cast_slice(values).to_vec(),
        DType::F16 => {
            let halves: Vec<half::f16> = values.iter().map(|&value| half::f16::from_f32(value)).collect();
            bytemuck::cast_slice(&halves).to_vec()
        }
    }
}

/// Numbers from their bytes in a storage type.
pub(super) fn decode(bytes: &[u8], dtype: DType) -> Vec<f32> {
    match dtype {
        DType::F32 => bytemuck::pod_collect_to_vec(bytes),
        DType::F16 => bytemuck::pod_collect_to_vec::<u8, half::f16>(bytes).into_iter().map(f32::from).collect(),
    }
}
