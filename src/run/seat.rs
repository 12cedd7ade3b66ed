//! Sets of buffers of a program: each serves one run at a time, and there are as many as runs are under way.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Code, Error, Remedy, Result};
use crate::graph::{Place, Plan, Source, ValueId};
use crate::kernels::Implementation;
use crate::run::faults::lock;
use crate::run::gpu::Gpu;
use crate::run::launch::{Launches, schedule, uniform_bytes};
use crate::run::memory::{Spare, TrackedBuffer, padded};
use crate::run::pipelines::Wanted;
use crate::run::schedule::Submission;
use crate::tensor::DType;

/// Everything that runs of a program on a GPU share, made once.
pub(super) struct Prepared {
    pub(super) launches: Launches,
    weights: Vec<Arc<TrackedBuffer>>,
    seats: Arc<Seats>,
}

/// The buffers of one run, and the launches bound to them.
pub(super) struct Seat {
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

/// Seats that no run uses, and how many there are and may be.
struct Seats {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: Vec<Seat>,
    /// How many there are, in use and in the making included.
    made: usize,
    in_making: usize,
    most: usize,
}

/// A seat in use; given back when dropped.
pub(super) struct Taken<'p> {
    seats: &'p Seats,
    /// Present until the drop.
    seat: Option<Seat>,
}

impl std::ops::Deref for Taken<'_> {
    type Target = Seat;

    fn deref(&self) -> &Seat {
        self.seat.as_ref().expect("a seat is given back in the drop alone")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            lock(&self.seats.state).free.push(seat);
            self.seats.freed.notify_one();
        }
    }
}

impl Spare for Seats {
    fn release(&self) -> bool {
        let released: Vec<Seat> = {
            let mut state = lock(&self.state);
            // One stays, and one that is being made may yet fail: what is free is not the last that a run can wait for.
            let spare = state.free.len().min(state.made.saturating_sub(state.in_making + 1));
            state.made -= spare;
            let keep = state.free.len() - spare;
            state.free.drain(keep..).collect()
        };
        !released.is_empty()
    }
}

impl Prepared {
    /// Checks a plan against the adapter, then makes what all runs share, and one seat.
    pub(super) fn new(gpu: &Gpu, plan: &Plan) -> Result<Prepared> {
        gpu.faults.check()?;
        check_tensors(gpu, plan)?;
        let implementations: Vec<Vec<Implementation>> = plan.nodes.iter().map(|node| node.kernel.implementations()).collect();
        let wanted: Vec<Wanted<'_>> = plan
            .nodes
            .iter()
            .zip(&implementations)
            .map(|(node, all)| Wanted { kernel: &*node.kernel, implementation: gpu.tier.choose(all), elem: node.elem })
            .collect();
        let schedule = schedule(gpu, &wanted);
        let beside = seat_bytes(plan) + uniform_bytes(plan.nodes.len(), schedule.dispatches.len());
        gpu.memory.check_plan(plan, beside)?;

        let mut weights = Vec::new();
        for &id in &plan.weights {
            if let Source::Weight(weight) = &plan.values[id].source {
                weights.push(gpu.memory.weight(weight, plan.values[id].dtype)?);
            }
        }
        let launches = Launches::new(gpu, &wanted, schedule)?;
        let seat = Seat::new(gpu, plan, &launches, &weights)?;
        launches.warm_up(gpu, &seat.bound)?;
        gpu.pipelines.keep();
        let state = State { free: vec![seat], made: 1, in_making: 0, most: gpu.runs_at_once };
        let seats = Arc::new(Seats { state: Mutex::new(state), freed: Condvar::new() });
        let spare: Arc<dyn Spare> = Arc::<Seats>::clone(&seats);
        gpu.memory.add_spare(Arc::downgrade(&spare));
        Ok(Prepared { launches, weights, seats })
    }

    /// A free seat; a new one where none is free and there may be more; else the next that becomes free.
    ///
    /// A seat that the memory does not suffice for is no error: the run waits.
    pub(super) fn seat(&self, gpu: &Gpu, plan: &Plan) -> Result<Taken<'_>> {
        let mut state = lock(&self.seats.state);
        loop {
            if let Some(seat) = state.free.pop() {
                return Ok(Taken { seats: &self.seats, seat: Some(seat) });
            }
            if state.made < state.most {
                // Counted while it is made, so that no other thread makes it too.
                state.made += 1;
                state.in_making += 1;
                drop(state);
                let made = Seat::new(gpu, plan, &self.launches, &self.weights);
                state = lock(&self.seats.state);
                state.in_making -= 1;
                match made {
                    Ok(seat) => return Ok(Taken { seats: &self.seats, seat: Some(seat) }),
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
                state = self.seats.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
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

impl Seat {
    fn new(gpu: &Gpu, plan: &Plan, launches: &Launches, weights: &[Arc<TrackedBuffer>]) -> Result<Seat> {
        let storage = wgpu::BufferUsages::STORAGE;
        let mut inputs = Vec::new();
        for (name, shape) in &plan.inputs {
            let label = format!("input `{name}` {shape}");
            inputs.push(gpu.memory.buffer(&label, shape.len() * DType::F32.size(), storage | wgpu::BufferUsages::COPY_DST)?);
        }
        let mut slots = Vec::new();
        for (at, &bytes) in plan.slots.iter().enumerate() {
            slots.push(gpu.memory.buffer(&format!("slot {at}"), bytes, storage | wgpu::BufferUsages::COPY_SRC)?);
        }
        let buffer_of = |id: ValueId| -> &wgpu::Buffer {
            match plan.places[id] {
                Place::Input(at) => &inputs[at].buffer,
                Place::Weight(at) => &weights[at].buffer,
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
        Ok(Seat { inputs, outputs, bound, _slots: slots })
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

/// Bytes of one seat.
fn seat_bytes(plan: &Plan) -> u64 {
    let inputs = plan.inputs.iter().map(|(_, shape)| shape.len() * DType::F32.size());
    let outputs = plan.outputs.iter().map(|&(id, _)| plan.values[id].bytes());
    inputs.chain(outputs).chain(plan.slots.iter().copied()).map(padded).sum()
}
