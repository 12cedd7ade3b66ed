//! The CPU as a device: runs plans by the kernels' native forms, in f32 on all cores it may use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rayon::prelude::*;

use crate::error::{Code, Error, Remedy, Result};
use crate::graph::{self, Place, Plan, ValueId};
use crate::kernels::Kernel;
use crate::run::budget::{Budget, Held, SharedUploads};
use crate::run::faults::{lock, lost_on_request};
use crate::run::machine::{free_memory, processor};
use crate::run::options::DeviceOptions;
use crate::run::progress::Observed;
use crate::run::value::Value;
use crate::tensor::{Array, DType};

/// Most threads of the CPU: with far more than cores, starting them and sharing work takes longer than the work.
pub const MAX_THREADS: usize = 1024;

/// The environment variable by which programs on `rayon` are told how many threads to start.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// The threads and the memory that programs on the CPU share.
pub(super) struct Cpu {
    processor: String,
    pool: rayon::ThreadPool,
    budget: Budget,
    uploads: SharedUploads<HostBuffer>,
    /// Set on purpose alone, for tests.
    is_lost: AtomicBool,
}

/// Numbers that count as memory of the CPU as long as they live.
struct HostBuffer {
    data: Vec<f32>,
    _held: Held,
}

impl Cpu {
    /// Starts the threads.
    ///
    /// Without a limit of its own, memory is limited to three quarters of what is free now: images and results take memory too.
    pub(super) fn open(options: &DeviceOptions) -> Result<Cpu> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(thread_count(options.threads)?)
            .thread_name(|number| format!("zsas cpu {number}"))
            .build()
            .map_err(|error| Error::new(Code::NoAdapter, format!("the threads of the CPU cannot be started: {error}")))?;
        Ok(Cpu {
            processor: processor(),
            pool,
            budget: Budget::new(options.memory.or_else(|| Some(free_memory()? / 4 * 3)).unwrap_or(u64::MAX)),
            uploads: SharedUploads::default(),
            is_lost: AtomicBool::new(false),
        })
    }

    /// The processor, on which results depend to the last bit.
    pub(super) fn processor(&self) -> &str {
        &self.processor
    }

    /// Number of threads, on which they do not.
    pub(super) fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Bytes of all weights and buffers that live.
    pub(super) fn held(&self) -> u64 {
        self.budget.held()
    }

    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// The fault, if it was lost.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_lost.load(Ordering::Relaxed) { Err(lost_on_request()) } else { Ok(()) }
    }

    /// Runs one kernel.
    pub(super) fn launch(&self, kernel: &dyn Kernel, inputs: &[&[f32]], y: &mut [f32]) {
        self.install(|| kernel.native(inputs, y));
    }

    /// Does work on the threads. A worker of another pool would take up other work of its own while it waits, such as a run that waits for
    /// this one; so a thread waits for it.
    fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        if rayon::current_thread_index().is_none() {
            return self.pool.install(work);
        }
        let waiting = || self.pool.install(work);
        std::thread::scope(|scope| scope.spawn(waiting).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Refuses a storage in which the CPU does not compute, and says if it was lost.
    pub(super) fn check_storage(&self, dtype: DType) -> Result<()> {
        if dtype == DType::F16 {
            return Err(Error::new(Code::NoAdapter, "the CPU computes in f32, it stores no f16").hint(Remedy::UseF32));
        }
        self.check()
    }

    /// A result that stays, counted as memory.
    fn value(&self, array: Array) -> Result<Value> {
        let held = self.budget.take(size_of_val(array.data()) as u64, &format!("value {}", array.shape()))?;
        Ok(Value::on_host(array, Some(held)))
    }

    /// A weight or constant, read unless a program holds it already.
    fn upload(&self, value: &graph::Value) -> Result<Arc<HostBuffer>> {
        if let Some(buffer) = self.uploads.get(value) {
            return Ok(buffer);
        }
        let held = self.budget.take(value.bytes() as u64, &value.source.to_string())?;
        let array = value.source.to_array()?.expect("a plan uploads weights and constants");
        let buffer = Arc::new(HostBuffer { data: array.into_data(), _held: held });
        self.uploads.insert(value, &buffer);
        Ok(buffer)
    }
}

/// Number of threads: what is asked for, else `$RAYON_NUM_THREADS`; where that is 0, as many as the system lets this process use.
fn thread_count(asked: Option<usize>) -> Result<usize> {
    let (what, text) = match asked {
        Some(count) => ("the number of threads".to_owned(), count.to_string()),
        None => (format!("`${THREADS_VARIABLE}`"), std::env::var_os(THREADS_VARIABLE).unwrap_or_default().to_string_lossy().into_owned()),
    };
    match if text.is_empty() { Ok(0) } else { text.trim().parse() } {
        Ok(0) => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)),
        Ok(count) if count <= MAX_THREADS => Ok(count),
        _ => Err(Error::new(Code::Usage, format!("{what} is `{text}`, it is a whole number up to {MAX_THREADS}"))),
    }
}

/// A program's weights and buffers on the CPU.
pub(super) struct CpuProgram {
    cpu: Arc<Cpu>,
    uploads: Vec<Arc<HostBuffer>>,
    /// The buffers of the run that has them; others wait.
    slots: Mutex<Vec<HostBuffer>>,
}

impl CpuProgram {
    /// Checks a plan against the memory, reads its weights and makes its buffers.
    pub(super) fn new(cpu: &Arc<Cpu>, plan: &Plan) -> Result<CpuProgram> {
        plan.values.iter().try_for_each(|value| cpu.check_storage(value.dtype))?;
        let missing = cpu.uploads.missing(plan).into_iter().map(|value| value.bytes() as u64).sum();
        cpu.budget.check_plan(plan, missing, plan.slot_bytes() as u64)?;
        let uploads = cpu.install(|| plan.uploads.par_iter().map(|&id| cpu.upload(&plan.values[id])).collect::<Result<_>>())?;
        let slot = |(number, &bytes): (usize, &usize)| {
            let held = cpu.budget.take(bytes as u64, &format!("slot {number}"))?;
            Ok(HostBuffer { data: vec![0.0; bytes / size_of::<f32>()], _held: held })
        };
        let slots = plan.slots.iter().enumerate().map(slot).collect::<Result<_>>()?;
        Ok(CpuProgram { cpu: Arc::clone(cpu), uploads, slots: Mutex::new(slots) })
    }

    /// Runs all launches; reports progress after each.
    ///
    /// Errors: a lost device.
    pub(super) fn run(&self, plan: &Plan, inputs: &[&Array], observed: &Observed) -> Result<Vec<Array>> {
        self.cpu.check()?;
        let outputs = self.launch_all(plan, inputs, observed.after_each(plan));
        self.cpu.check()?;
        Ok(outputs)
    }

    /// Runs all launches and keeps the results.
    ///
    /// Errors: a lost device, too little memory for the results.
    pub(super) fn run_resident(&self, plan: &Plan, inputs: &[&Array], observed: &Observed) -> Result<Vec<Value>> {
        self.run(plan, inputs, observed)?.into_iter().map(|array| self.cpu.value(array)).collect()
    }

    /// Nanoseconds of each launch.
    ///
    /// Errors: a lost device.
    pub(super) fn times(&self, plan: &Plan, inputs: &[&Array]) -> Result<Vec<f64>> {
        self.cpu.check()?;
        let (mut times, mut start) = (Vec::new(), Instant::now());
        self.launch_all(plan, inputs, |_| {
            times.push(start.elapsed().as_nanos() as f64);
            start = Instant::now();
        });
        Ok(times)
    }

    /// Runs all launches, calling `after` with the number of each on the calling thread.
    fn launch_all(&self, plan: &Plan, inputs: &[&Array], mut after: impl FnMut(usize)) -> Vec<Array> {
        let mut slots = lock(&self.slots);
        for (number, node) in plan.nodes.iter().enumerate() {
            let Place::Slot(target) = plan.places[node.output] else { unreachable!("a launch writes into a slot") };
            // No launch reads the slot that it writes.
            let mut y = std::mem::take(&mut slots[target].data);
            // A launch that panicked has taken it away for good.
            y.resize(plan.slots[target] / size_of::<f32>(), 0.0);
            let operand = |id: &Option<ValueId>| id.map_or(&[][..], |id| self.operand(plan, &slots, inputs, id));
            let operands: Vec<&[f32]> = node.inputs.iter().map(operand).collect();
            self.cpu.launch(&*node.kernel, &operands, &mut y[..node.kernel.output_len()]);
            slots[target].data = y;
            after(number);
        }
        let output = |&(id, shape)| Array::new(shape, self.operand(plan, &slots, inputs, id).to_vec());
        plan.outputs.iter().map(output).collect()
    }

    /// The numbers of a value.
    fn operand<'v>(&'v self, plan: &Plan, slots: &'v [HostBuffer], inputs: &[&'v Array], id: ValueId) -> &'v [f32] {
        match plan.places[id] {
            Place::Input(at) => inputs[at].data(),
            Place::Upload(at) => &self.uploads[at].data,
            Place::Slot(at) => &slots[at].data[..plan.values[id].bytes() / size_of::<f32>()],
            Place::Unused => unreachable!("a planned launch reads and writes placed values"),
        }
    }
}
