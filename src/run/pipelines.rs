//! Compiled kernels of a device, each compiled once, and the layouts of what is bound to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Code, Error, Result};
use crate::kernels::{Constants, Implementation, Kernel, Operand};
use crate::run::faults::{Faults, lock};
use crate::run::pipeline_cache::PipelineCache;
use crate::shader::{Access, Library, MatrixUnits, assemble, reflect};
use crate::tensor::DType;

/// Most threads that compile at once.
const MAX_THREADS: usize = 8;

/// What a pipeline is compiled from.
#[derive(Clone, PartialEq, Eq, Hash)]
struct PipelineKey {
    file: &'static str,
    constants: Constants,
    elem: DType,
    units: MatrixUnits,
}

/// A compiled kernel and the layout its bind groups need.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    /// Whether a program has sent a dispatch of it.
    is_warm: AtomicBool,
}

impl Pipeline {
    /// True the first time.
    pub(super) fn is_cold(&self) -> bool {
        !self.is_warm.swap(true, Ordering::Relaxed)
    }
}

/// A kernel with the file and the storage it is to be compiled for.
#[derive(Clone, Copy)]
pub(super) struct PipelineRequest<'a> {
    pub(super) kernel: &'a dyn Kernel,
    pub(super) implementation: &'a Implementation,
    pub(super) elem: DType,
}

/// All pipelines of one device.
pub(super) struct Pipelines {
    device: wgpu::Device,
    faults: Faults,
    library: Library,
    adapter: String,
    max_workgroup_bytes: u32,
    built: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    /// Layout of bind group 1: the number of a dispatch's first workgroup, at an offset of its own.
    first_group_layout: wgpu::BindGroupLayout,
    /// Placeholder that is bound where an operand is left out.
    absent: wgpu::Buffer,
    /// Pipelines that earlier runs compiled.
    cache: Option<PipelineCache>,
}

impl Pipelines {
    pub(super) fn new(
        device: &wgpu::Device,
        faults: &Faults,
        library: &Library,
        adapter: String,
        cache: Option<PipelineCache>,
    ) -> Pipelines {
        let absent = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("absent operand"),
            size: 256,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let first_group_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("first_group"),
            entries: &[layout_entry(0, wgpu::BufferBindingType::Uniform, true)],
        });
        Pipelines {
            device: device.clone(),
            faults: faults.clone(),
            library: library.clone(),
            adapter,
            max_workgroup_bytes: device.limits().max_compute_workgroup_storage_size,
            built: Mutex::default(),
            first_group_layout,
            absent,
            cache,
        }
    }

    /// The pipelines in the order they are wanted; those that are missing are compiled on several threads.
    pub(super) fn all(&self, wanted: &[PipelineRequest<'_>]) -> Result<Vec<Arc<Pipeline>>> {
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS).min(wanted.len());
        std::thread::scope(|scope| {
            let work = || -> Result<()> {
                while let Some(one) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    self.one(*one)?;
                }
                Ok(())
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        wanted.iter().map(|one| self.one(*one)).collect()
    }

    /// Writes compiled pipelines to the cache, for later runs.
    pub(super) fn keep(&self) {
        if let Some(cache) = &self.cache {
            cache.keep();
        }
    }

    /// The pipeline of a kernel, compiled the first time.
    pub(super) fn one(&self, wanted: PipelineRequest<'_>) -> Result<Arc<Pipeline>> {
        let PipelineRequest { implementation, elem, .. } = wanted;
        let key = PipelineKey {
            file: implementation.file,
            constants: implementation.constants.clone(),
            elem,
            units: implementation.units,
        };
        if let Some(found) = lock(&self.built).get(&key) {
            return Ok(Arc::clone(found));
        }
        let built = Arc::new(self.build(wanted)?);
        Ok(Arc::clone(lock(&self.built).entry(key).or_insert(built)))
    }

    fn build(&self, PipelineRequest { kernel, implementation, elem }: PipelineRequest<'_>) -> Result<Pipeline> {
        let shader = assemble(&self.library, implementation.file, &implementation.constants, elem, implementation.units)?;
        // naga's own message carries our file and line; wgpu's would refer to the assembled text.
        let needed = reflect(&shader)?.workgroup_memory;
        let what = format!("compiling shaders/{}.wgsl", implementation.file);
        if needed > self.max_workgroup_bytes {
            let message =
                format!("{} offers {} bytes of workgroup memory, {kernel:?} needs {needed}", self.adapter, self.max_workgroup_bytes);
            return Err(Error::new(Code::GpuMemory, message).context(what));
        }
        self.faults.scoped(&what, || {
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
                cache: self.cache.as_ref().map(PipelineCache::wgpu),
            });
            Pipeline { pipeline, layout, is_warm: AtomicBool::new(false) }
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
                None => self.absent.as_entire_binding(),
            },
        });
        let entries: Vec<wgpu::BindGroupEntry<'_>> = [uniform].into_iter().chain(storage).collect();
        self.device
            .create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &pipeline.layout, entries: &entries })
    }

    /// Binds the numbers of first workgroups, which dynamic offsets choose from.
    pub(super) fn bind_first_groups(&self, numbers: wgpu::BufferBinding<'_>) -> wgpu::BindGroup {
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("first_group"),
            layout: &self.first_group_layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(numbers) }],
        })
    }
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
