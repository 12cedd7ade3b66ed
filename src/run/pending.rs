//! Runs in flight on a GPU: sent in several submissions, waited for when their results are needed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Result;
use crate::graph::Plan;
use crate::run::buffer_set::{Borrowed, Prepared};
use crate::run::codec::{decode, encode};
use crate::run::gpu::Gpu;
use crate::run::progress::Observed;
use crate::run::readback::read;
use crate::run::value::{Input, Value};
use crate::tensor::Array;

/// Submissions of a run that are in flight at a time: with two a GPU never waits, and a software adapter, which computes during a
/// submission, reports progress early.
const MAX_IN_FLIGHT: usize = 2;

/// A run that was submitted. If it is dropped, its results are lost and its buffers serve the next run.
pub struct Pending<'p>(State<'p>);

enum State<'p> {
    /// The CPU and the reference compute at once.
    Done(Vec<Array>),
    Sent(Box<Sent<'p>>),
}

/// The device, program, plan and progress callback of a run.
#[derive(Clone, Copy)]
pub(super) struct Context<'p> {
    pub(super) gpu: &'p Arc<Gpu>,
    pub(super) prepared: &'p Prepared,
    pub(super) plan: &'p Plan,
    pub(super) observed: &'p Observed,
}

impl Context<'_> {
    /// Reports the progress that a finished submission made.
    fn report(&self, at: usize) {
        let Context { prepared, plan, observed, .. } = self;
        let submission = &prepared.submissions()[at];
        observed.report(submission.done, prepared.launches.schedule.cost(), plan.weight_before(prepared.last_launch(submission)));
    }
}

/// A run on a GPU, its first submissions sent.
pub(super) struct Sent<'p> {
    context: Context<'p>,
    buffers: Borrowed<'p>,
    /// Where results go that stay on the device; empty where the host reads them.
    kept: Vec<Value>,
    /// Submissions that are not waited for yet.
    sent: VecDeque<(usize, wgpu::SubmissionIndex)>,
    /// The next to send.
    next: usize,
}

impl Pending<'_> {
    pub(super) fn done(arrays: Vec<Array>) -> Pending<'static> {
        Pending(State::Done(arrays))
    }

    pub(super) fn sent(sent: Sent<'_>) -> Pending<'_> {
        Pending(State::Sent(Box::new(sent)))
    }

    /// Waits for the run and returns its results in the order they were asked for. Calls the progress callback of the device.
    ///
    /// Errors: a lost or hanging device.
    pub fn wait(self) -> Result<Vec<Array>> {
        match self.0 {
            State::Done(arrays) => Ok(arrays),
            State::Sent(sent) => sent.wait(),
        }
    }
}

impl<'p> Sent<'p> {
    /// Borrows a set of buffers, hands the inputs over and sends the first submissions. With `stays`, results stay on the device.
    #[track_caller]
    pub(super) fn new(context: Context<'p>, inputs: &[Input<'_>], stays: bool) -> Result<Sent<'p>> {
        let Context { gpu, prepared, plan, .. } = context;
        gpu.faults.check()?;
        let mut kept = Vec::new();
        if stays {
            for &(id, shape) in &plan.outputs {
                kept.push(Value::on_device(gpu, shape, plan.values[id].dtype)?);
            }
        }
        let (buffers, encoder) = begin(context, inputs)?;
        let mut run = Sent { context, buffers, kept, sent: VecDeque::new(), next: 0 };
        run.send(encoder);
        while run.sent.len() < MAX_IN_FLIGHT && run.next < prepared.submissions().len() {
            run.send_next();
        }
        Ok(run)
    }

    fn send_next(&mut self) {
        let encoder = self.context.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.send(encoder);
    }

    /// Sends the next submission after what the encoder holds already; the last one with the copies of the results.
    fn send(&mut self, mut encoder: wgpu::CommandEncoder) {
        let Context { gpu, prepared, .. } = self.context;
        let submissions = prepared.submissions();
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            prepared.launches.record(&mut pass, &self.buffers.bound, submissions[self.next].dispatches.clone());
        }
        if self.next + 1 == submissions.len() {
            for (at, output) in self.buffers.outputs.iter().enumerate() {
                let target = self.kept.get(at).and_then(Value::target).unwrap_or(&output.readback.buffer);
                encoder.copy_buffer_to_buffer(&output.from, 0, target, 0, target.size());
            }
        }
        self.sent.push_back((self.next, gpu.queue.submit([encoder.finish()])));
        self.next += 1;
    }

    /// Waits for all submissions, sending the rest meanwhile; returns the last of them.
    fn finish(&mut self) -> Result<wgpu::SubmissionIndex> {
        let Context { gpu, prepared, .. } = self.context;
        loop {
            let (at, index) = self.sent.pop_front().expect("a run has a submission, and its last one ends this loop");
            gpu.faults.wait(Some(index.clone()))?;
            self.context.report(at);
            if self.next < prepared.submissions().len() {
                self.send_next();
            } else if self.sent.is_empty() {
                return Ok(index);
            }
        }
    }

    fn wait(mut self) -> Result<Vec<Array>> {
        let last = self.finish()?;
        let mut arrays = Vec::new();
        for (output, &(_, shape)) in self.buffers.outputs.iter().zip(&self.context.plan.outputs) {
            let data = read(self.context.gpu, &output.readback.buffer, output.bytes, last.clone(), |bytes| decode(bytes, output.dtype))?;
            arrays.push(Array::new(shape, data));
        }
        Ok(arrays)
    }

    /// Waits for a run whose results stay on the device.
    pub(super) fn wait_on_device(mut self) -> Result<Vec<Value>> {
        self.finish()?;
        Ok(self.kept)
    }
}

/// Borrows a set of buffers and hands the inputs over: those of the host are written, those of the device copied by what the encoder records.
#[track_caller]
fn begin<'p>(context: Context<'p>, inputs: &[Input<'_>]) -> Result<(Borrowed<'p>, wgpu::CommandEncoder)> {
    let Context { gpu, prepared, plan, .. } = context;
    for input in inputs {
        if let Input::Resident(value) = input {
            value.resident(gpu)?;
        }
    }
    let buffers = prepared.borrow(gpu, plan)?;
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for ((buffer, input), info) in buffers.inputs.iter().zip(inputs).zip(&plan.inputs) {
        match input {
            Input::Host(array) => gpu.queue.write_buffer(&buffer.buffer, 0, &encode(array.data(), info.dtype)),
            Input::Resident(value) => encoder.copy_buffer_to_buffer(value.resident(gpu)?, 0, &buffer.buffer, 0, buffer.buffer.size()),
        }
    }
    Ok((buffers, encoder))
}

/// Device time of each launch in nanoseconds.
pub(super) fn timed(context: Context<'_>, inputs: &[Input<'_>]) -> Result<Vec<f64>> {
    let Context { gpu, prepared, .. } = context;
    gpu.faults.check()?;
    let (buffers, encoder) = begin(context, inputs)?;
    gpu.queue.submit([encoder.finish()]);
    let mut nanoseconds = vec![0.0; context.plan.nodes.len()];
    for (number, submission) in prepared.submissions().iter().enumerate() {
        let own = submission.dispatches.clone();
        let times = prepared.launches.times(gpu, &buffers.bound, own.clone())?;
        for (at, time) in own.zip(times) {
            nanoseconds[prepared.launches.schedule.dispatches[at].launch] += time;
        }
        context.report(number);
    }
    Ok(nanoseconds)
}
