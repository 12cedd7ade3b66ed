//! Sets of buffers of a program: each serves one run at a time, and there are as many as runs are under way.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Code, Error, Remedy, Result};
use crate::graph::{InputInfo, Place, Plan, ValueId};
use crate::kernels::Implementation;
use crate::run::faults::lock;
use crate::run::gpu::Gpu;
use crate::run::launch::{Launches, schedule, uniform_bytes};
use crate::run::memory::{Reclaim, TrackedBuffer, padded};
use crate::run::pipelines::PipelineRequest;
use crate::run::schedule::Submission;
use crate::tensor::DType;

/// Everything that runs of a program on a GPU share, made once.
pub(super) struct Prepared {
    pub(super) launches: Launches,
    uploads: Vec<Arc<TrackedBuffer>>,
    sets: Arc<BufferSets>,
}

/// The buffers of one run, and the launches bound to them.
pub(super) struct BufferSet {
    pub(super) inputs: Vec<TrackedBuffer>,
    pub(super) outputs: Vec<Output>,
    pub(super) bound: Vec<wgpu::BindGroup>,
    /// Kept for the bind groups.
    _slots: Vec<TrackedBuffer>,
}

/// A result in its slot, and the buffer through which the host reads it.
pub(super) struct Output {
    pub(super) from: wgpu::Buffer,
    pub(super) readback: TrackedBuffer,
    pub(super) bytes: usize,
    pub(super) dtype: DType,
}

/// The sets of a program: those that no run uses, and how many there are and may be.
struct BufferSets {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: Vec<BufferSet>,
    /// Number of sets, those in use and those being made included.
    made: usize,
    in_making: usize,
    most: usize,
}

/// A set in use; given back when dropped.
pub(super) struct Borrowed<'p> {
    sets: &'p BufferSets,
    /// Present until the drop.
    set: Option<BufferSet>,
}

impl std::ops::Deref for Borrowed<'_> {
    type Target = BufferSet;

    fn deref(&self) -> &BufferSet {
        self.set.as_ref().expect("a set is given back in the drop alone")
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(set) = self.set.take() {
            lock(&self.sets.state).free.push(set);
            self.sets.freed.notify_one();
        }
    }
}

impl Reclaim for BufferSets {
    fn release(&self) -> bool {
        let released: Vec<BufferSet> = {
            let mut state = lock(&self.state);
            // Making a set may still fail, so sets being made do not count: one that exists stays, which a waiting run can get.
            let unneeded = state.free.len().min(state.made.saturating_sub(state.in_making + 1));
            state.made -= unneeded;
            let keep = state.free.len() - unneeded;
            state.free.drain(keep..).collect()
        };
        !released.is_empty()
    }
}

impl Prepared {
    /// Checks a plan against the adapter, then makes what all runs share, and one set.
    pub(super) fn new(gpu: &Gpu, plan: &Plan) -> Result<Prepared> {
        gpu.faults.check()?;
        check_tensors(gpu, plan)?;
        let implementations: Vec<Vec<Implementation>> = plan.nodes.iter().map(|node| node.kernel.implementations()).collect();
        let wanted: Vec<PipelineRequest<'_>> = plan
            .nodes
            .iter()
            .zip(&implementations)
            .map(|(node, all)| PipelineRequest { kernel: &*node.kernel, implementation: gpu.tier.choose(all, node.elem), elem: node.elem })
            .collect();
        let schedule = schedule(gpu, &wanted);
        let beside = set_bytes(plan) + uniform_bytes(plan.nodes.len(), schedule.dispatches.len());
        gpu.memory.check_plan(plan, beside)?;

        let uploads = plan.uploads.iter().map(|&id| gpu.memory.upload(&plan.values[id])).collect::<Result<Vec<_>>>()?;
        let launches = Launches::new(gpu, &wanted, schedule)?;
        let set = BufferSet::new(gpu, plan, &launches, &uploads)?;
        launches.warm_up(gpu, &set.bound)?;
        gpu.pipelines.keep();
        let state = State { free: vec![set], made: 1, in_making: 0, most: gpu.runs_at_once };
        let sets = Arc::new(BufferSets { state: Mutex::new(state), freed: Condvar::new() });
        let spare: Arc<dyn Reclaim> = Arc::<BufferSets>::clone(&sets);
        gpu.memory.add_reclaimable(Arc::downgrade(&spare));
        Ok(Prepared { launches, uploads, sets })
    }

    /// A free set; a new one where none is free and there may be more; else the next that becomes free.
    ///
    /// A set that the memory does not suffice for is no error: the run waits.
    pub(super) fn borrow(&self, gpu: &Gpu, plan: &Plan) -> Result<Borrowed<'_>> {
        let mut state = lock(&self.sets.state);
        loop {
            if let Some(set) = state.free.pop() {
                return Ok(Borrowed { sets: &self.sets, set: Some(set) });
            }
            if state.made < state.most {
                // Counted while it is made, so that no other thread makes it too.
                state.made += 1;
                state.in_making += 1;
                drop(state);
                let made = BufferSet::new(gpu, plan, &self.launches, &self.uploads);
                state = lock(&self.sets.state);
                state.in_making -= 1;
                match made {
                    Ok(set) => return Ok(Borrowed { sets: &self.sets, set: Some(set) }),
                    Err(error) => {
                        state.made -= 1;
                        if error.code() != Code::GpuMemory {
                            return Err(error);
                        }
                        log::debug!("{} runs of a program at once: {error}", state.made);
                        state.most = state.made;
                    }
                }
            } else {
                state = self.sets.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The submissions of a run in order.
    pub(super) fn submissions(&self) -> &[Submission] {
        &self.launches.schedule.submissions
    }

    /// The launch with which a submission ends.
    pub(super) fn last_launch(&self, submission: &Submission) -> usize {
        self.launches.schedule.dispatches[submission.dispatches.end - 1].launch
    }
}

impl BufferSet {
    fn new(gpu: &Gpu, plan: &Plan, launches: &Launches, uploads: &[Arc<TrackedBuffer>]) -> Result<BufferSet> {
        let storage = wgpu::BufferUsages::STORAGE;
        let mut inputs = Vec::new();
        for input in &plan.inputs {
            let label = format!("input `{}` {}", input.name, input.shape);
            inputs.push(gpu.memory.buffer(&label, input.bytes(), storage | wgpu::BufferUsages::COPY_DST)?);
        }
        let mut slots = Vec::new();
        for (at, &bytes) in plan.slots.iter().enumerate() {
            slots.push(gpu.memory.buffer(&format!("slot {at}"), bytes, storage | wgpu::BufferUsages::COPY_SRC)?);
        }
        let buffer_of = |id: ValueId| -> &wgpu::Buffer {
            match plan.places[id] {
                Place::Input(at) => &inputs[at].buffer,
                Place::Upload(at) => &uploads[at].buffer,
                Place::Slot(at) => &slots[at].buffer,
                Place::Unused => unreachable!("a planned launch reads and writes placed values"),
            }
        };
        let mut bound = Vec::new();
        for (step, node) in plan.nodes.iter().enumerate() {
            let operands = node.inputs.iter().copied().chain([Some(node.output)]);
            let operands: Vec<_> = operands.map(|id| id.map(|id| buffer_of(id).as_entire_buffer_binding())).collect();
            bound.push(launches.bind(gpu, step, &node.to_string(), &operands)?);
        }
        let mut outputs = Vec::new();
        for &(id, shape) in &plan.outputs {
            let (bytes, dtype) = (plan.values[id].bytes(), plan.values[id].dtype);
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let readback = gpu.memory.buffer(&format!("result {shape}"), bytes, usage)?;
            outputs.push(Output { from: buffer_of(id).clone(), readback, bytes, dtype });
        }
        Ok(BufferSet { inputs, outputs, bound, _slots: slots })
    }
}

/// Refuses f16 where the adapter lacks it, and tensors that it cannot bind.
fn check_tensors(gpu: &Gpu, plan: &Plan) -> Result<()> {
    if plan.values.iter().any(|value| value.dtype == DType::F16) && !gpu.adapter.f16 {
        return Err(Error::new(Code::NoAdapter, format!("{} cannot store f16", gpu.adapter.name)).hint(Remedy::UseF32));
    }
    for node in &plan.nodes {
        for &id in node.inputs.iter().flatten().chain([&node.output]) {
            gpu.memory.check_binding(&node.to_string(), plan.values[id].bytes() as u64)?;
        }
    }
    Ok(())
}

/// Bytes of one set.
fn set_bytes(plan: &Plan) -> u64 {
    let inputs = plan.inputs.iter().map(InputInfo::bytes);
    let outputs = plan.outputs.iter().map(|&(id, _)| plan.values[id].bytes());
    inputs.chain(outputs).chain(plan.slots.iter().copied()).map(padded).sum()
}
