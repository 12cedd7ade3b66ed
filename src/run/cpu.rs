//! The CPU as a device: runs plans by the kernels' native forms, in f32 on all cores it may use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use rayon::prelude::*;

use crate::error::{Code, Error, Remedy, Result};
use crate::graph::{Node, Place, Plan};
use crate::kernels::Kernel;
use crate::run::faults::lock;
use crate::run::options::DeviceOptions;
use crate::run::progress::Observed;
use crate::tensor::{Array, DType};

/// The threads and the memory that programs on the CPU share.
pub(super) struct Cpu {
    name: String,
    threads: rayon::ThreadPool,
    /// Most bytes that weights and buffers of programs may take.
    limit: u64,
    held: Arc<AtomicU64>,
    /// Set on purpose alone, for tests.
    is_lost: AtomicBool,
    /// Weights and constants that a program holds, by their key.
    uploads: Mutex<HashMap<u64, Weak<Numbers>>>,
}

/// Numbers that count as memory of the CPU as long as they live.
struct Numbers {
    data: Vec<f32>,
    held: Arc<AtomicU64>,
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.held.fetch_sub(bytes(self.data.len()), Ordering::Relaxed);
    }
}

fn bytes(elements: usize) -> u64 {
    4 * elements as u64
}

impl Cpu {
    /// Starts the threads: as many as are asked for, else `$RAYON_NUM_THREADS`, else as many as the system lets this process use.
    ///
    /// Without a limit of its own, memory is limited to what is free now, in a container to what it leaves.
    pub(super) fn open(options: &DeviceOptions) -> Result<Cpu> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(options.threads.unwrap_or(0));
        let threads = builder
            .thread_name(|number| format!("zsas cpu {number}"))
            .build()
            .map_err(|error| Error::new(Code::NoAdapter, format!("the threads of the CPU cannot be started: {error}")))?;
        let machine = Machine::read();
        let count = threads.current_num_threads();
        let name = format!("{} ({count} thread{})", machine.processor, if count == 1 { "" } else { "s" });
        let limit = options.memory.unwrap_or(machine.free);
        Ok(Cpu {
            name,
            threads,
            limit,
            held: Arc::default(),
            is_lost: AtomicBool::new(false),
            uploads: Mutex::default(),
        })
    }

    /// Processor and number of threads.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of all weights and buffers that live.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// The fault, if it was lost.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_lost.load(Ordering::Relaxed) {
            return Err(Error::new(Code::DeviceLost, "the device was lost on request"));
        }
        Ok(())
    }

    /// Runs one kernel.
    pub(super) fn launch(&self, kernel: &dyn Kernel, inputs: &[&[f32]], y: &mut [f32]) {
        self.threads.install(|| kernel.native(inputs, y));
    }

    fn count(&self, data: Vec<f32>) -> Numbers {
        self.held.fetch_add(bytes(data.len()), Ordering::Relaxed);
        Numbers { data, held: Arc::clone(&self.held) }
    }

    /// Weights and constants of a plan, each read unless a program holds it already.
    fn uploads(&self, plan: &Plan) -> Result<Vec<Arc<Numbers>>> {
        let read = |&id: &usize| {
            let source = &plan.values[id].source;
            let key = source.upload_key().expect("a plan uploads weights and constants");
            if let Some(numbers) = lock(&self.uploads).get(&key).and_then(Weak::upgrade) {
                return Ok(numbers);
            }
            let array = source.to_array()?.expect("a plan uploads weights and constants");
            let numbers = Arc::new(self.count(array.into_data()));
            lock(&self.uploads).insert(key, Arc::downgrade(&numbers));
            Ok(numbers)
        };
        let all = self.threads.install(|| plan.uploads.par_iter().map(read).collect::<Result<Vec<_>>>())?;
        lock(&self.uploads).retain(|_, numbers| numbers.strong_count() > 0);
        Ok(all)
    }

    /// Refuses a plan that needs more memory than may be held, before anything of it is read.
    fn check_plan(&self, plan: &Plan) -> Result<()> {
        let missing: u64 = {
            let uploads = lock(&self.uploads);
            let is_held = |key| uploads.get(&key).is_some_and(|numbers| numbers.strong_count() > 0);
            let values = plan.uploads.iter().map(|&id| &plan.values[id]);
            values
                .filter(|value| !value.source.upload_key().is_some_and(is_held))
                .map(|value| value.bytes() as u64)
                .sum()
        };
        let (held, needed) = (self.held(), missing + plan.slot_bytes() as u64);
        if held.saturating_add(needed) <= self.limit {
            return Ok(());
        }
        let largest = plan.nodes.iter().max_by_key(|node| plan.values[node.output].bytes());
        let largest = largest.map_or_else(String::new, |node| format!("; the largest of its tensors is that of {node}"));
        let message = format!("{needed} bytes are needed beside the {held} that are held, more than the {} allowed{largest}", self.limit);
        Err(Error::new(Code::GpuMemory, message).hint(Remedy::RaiseMemoryLimit))
    }
}

/// A program's weights and buffers on the CPU.
pub(super) struct CpuProgram {
    cpu: Arc<Cpu>,
    uploads: Vec<Arc<Numbers>>,
    /// The buffers of the run that has them; others wait.
    slots: Mutex<Vec<Numbers>>,
}

impl CpuProgram {
    /// Checks a plan against the memory, reads its weights and makes its buffers.
    pub(super) fn new(cpu: &Arc<Cpu>, plan: &Plan) -> Result<CpuProgram> {
        if plan.values.iter().any(|value| value.dtype == DType::F16) {
            return Err(Error::new(Code::NoAdapter, "the CPU computes in f32, it stores no f16").hint(Remedy::UseF32));
        }
        cpu.check()?;
        cpu.check_plan(plan)?;
        let uploads = cpu.uploads(plan)?;
        let slots = plan.slots.iter().map(|&slot| cpu.count(vec![0.0; slot / 4])).collect();
        Ok(CpuProgram { cpu: Arc::clone(cpu), uploads, slots: Mutex::new(slots) })
    }

    /// Runs all launches; reports progress after each.
    ///
    /// Errors: a lost device.
    pub(super) fn run(&self, plan: &Plan, inputs: &[&Array], observed: &Observed) -> Result<Vec<Array>> {
        self.cpu.check()?;
        let cost = plan.nodes.iter().map(|node| node.kernel.work().cost()).sum();
        let (mut done, mut weight) = (0, "");
        let outputs = self.launch_all(plan, inputs, |node| {
            done += node.kernel.work().cost();
            weight = node.weight.as_deref().unwrap_or(weight);
            observed.report(done, cost, weight);
        });
        self.cpu.check()?;
        Ok(outputs)
    }

    /// Nanoseconds of each launch.
    pub(super) fn times(&self, plan: &Plan, inputs: &[&Array]) -> Vec<f64> {
        let (mut times, mut start) = (Vec::new(), Instant::now());
        self.launch_all(plan, inputs, |_| {
            times.push(start.elapsed().as_nanos() as f64);
            start = Instant::now();
        });
        times
    }

    /// Runs all launches, calling `after` with each.
    fn launch_all<'p>(&self, plan: &'p Plan, inputs: &[&Array], mut after: impl FnMut(&'p Node) + Send) -> Vec<Array> {
        let mut slots = lock(&self.slots);
        let slots = &mut *slots;
        self.cpu.threads.install(|| {
            for node in &plan.nodes {
                let Place::Slot(target) = plan.places[node.output] else { unreachable!("a launch writes into a slot") };
                // No slot is read and written by one launch.
                let mut y = std::mem::take(&mut slots[target].data);
                let operands: Vec<&[f32]> =
                    node.inputs.iter().map(|id| id.map_or(&[][..], |id| self.value(plan, slots, inputs, id))).collect();
                node.kernel.native(&operands, &mut y[..node.kernel.output_len()]);
                slots[target].data = y;
                after(node);
            }
        });
        plan.outputs
            .iter()
            .map(|&(id, shape)| Array::new(shape, self.value(plan, slots, inputs, id).to_vec()))
            .collect()
    }

    /// The numbers of a value.
    fn value<'v>(&'v self, plan: &Plan, slots: &'v [Numbers], inputs: &[&'v Array], id: usize) -> &'v [f32] {
        match plan.places[id] {
            Place::Input(at) => inputs[at].data(),
            Place::Upload(at) => &self.uploads[at].data,
            Place::Slot(at) => &slots[at].data[..plan.values[id].bytes() / 4],
            Place::Unused => unreachable!("a planned launch reads and writes placed values"),
        }
    }
}

/// What this machine is.
struct Machine {
    /// Product name of its processor.
    processor: String,
    /// Bytes of memory that are free.
    free: u64,
}

impl Machine {
    fn read() -> Machine {
        let kinds = sysinfo::RefreshKind::nothing()
            .with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram())
            .with_cpu(sysinfo::CpuRefreshKind::nothing());
        let unknown = Machine { processor: std::env::consts::ARCH.to_owned(), free: u64::MAX };
        let Ok(system) = sysinfo::System::new_with_specifics(kinds) else { return unknown };
        let name = system.cpus().first().map(|cpu| cpu.brand().trim()).filter(|name| !name.is_empty());
        // What is cached of files is free in a container too.
        let within = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory.saturating_sub(limits.rss));
        let free = Some(system.available_memory()).filter(|&free| free > 0).unwrap_or(unknown.free);
        Machine { processor: name.map_or(unknown.processor, str::to_owned), free: free.min(within) }
    }
}
