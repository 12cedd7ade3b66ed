//! Values on a device: results of one program that another one reads without a copy to the host.

use std::sync::Arc;

use crate::error::Result;
use crate::run::budget;
use crate::run::codec::decode;
use crate::run::gpu::Gpu;
use crate::run::memory::TrackedBuffer;
use crate::run::readback::read;
use crate::tensor::{Array, DType, Shape};

/// A result that stays on the device that computed it. It counts as memory of its device and keeps it as long as it lives.
pub struct Value {
    shape: Shape,
    held: Held,
}

enum Held {
    /// Held on the host, by the CPU, where it counts as memory, or by the reference.
    Host {
        array: Array,
        _counted: Option<budget::Held>,
    },
    OnDevice(Resident),
}

/// A buffer of a device that holds the elements of a value.
struct Resident {
    gpu: Arc<Gpu>,
    buffer: TrackedBuffer,
    bytes: usize,
    dtype: DType,
}

/// Input of a program: an array on the host, or a value on the device.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// Numbers of the host, sent to the device.
    Host(&'a Array),
    /// A value that is already on the device, stored as f32.
    Resident(&'a Value),
}

impl<'a> From<&'a Array> for Input<'a> {
    fn from(array: &'a Array) -> Input<'a> {
        Input::Host(array)
    }
}

impl<'a> From<&'a Value> for Input<'a> {
    fn from(value: &'a Value) -> Input<'a> {
        Input::Resident(value)
    }
}

impl Input<'_> {
    /// Shape of the numbers.
    pub fn shape(&self) -> Shape {
        match self {
            Input::Host(array) => array.shape(),
            Input::Resident(value) => value.shape(),
        }
    }
}

impl Value {
    pub(super) fn on_host(array: Array, counted: Option<budget::Held>) -> Value {
        Value { shape: array.shape(), held: Held::Host { array, _counted: counted } }
    }

    /// A buffer on a device for a result of this shape and storage, to be filled by a copy.
    pub(super) fn on_device(gpu: &Arc<Gpu>, shape: Shape, dtype: DType) -> Result<Value> {
        let bytes = shape.len() * dtype.size();
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = gpu.memory.buffer(&format!("value {shape}"), bytes, usage)?;
        Ok(Value { shape, held: Held::OnDevice(Resident { gpu: Arc::clone(gpu), buffer, bytes, dtype }) })
    }

    /// Shape of the numbers.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Copies the numbers to the host; waits for them.
    ///
    /// Errors: a lost or hanging device, or too little memory for the copy.
    pub fn to_host(&self) -> Result<Array> {
        match &self.held {
            Held::Host { array, .. } => Ok(array.clone()),
            Held::OnDevice(Resident { gpu, buffer, bytes, dtype }) => {
                gpu.faults.check()?;
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                let copy = gpu.memory.buffer(&format!("value {}", self.shape), *bytes, usage)?;
                let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                encoder.copy_buffer_to_buffer(&buffer.buffer, 0, &copy.buffer, 0, copy.buffer.size());
                let index = gpu.queue.submit([encoder.finish()]);
                let data = read(gpu, &copy.buffer, *bytes, index, |bytes| decode(bytes, *dtype))?;
                Ok(Array::new(self.shape, data))
            }
        }
    }

    /// The array of a value that the CPU or the reference computed.
    ///
    /// Panics when it is on a device.
    #[track_caller]
    pub(super) fn host(&self) -> &Array {
        match &self.held {
            Held::Host { array, .. } => array,
            Held::OnDevice(_) => panic!("a value {} of an adapter is given to the CPU or the reference", self.shape),
        }
    }

    /// The buffer of a value on this very device, or the fault of the device that it is on.
    ///
    /// Panics when it is on another device that is well, or not stored as f32.
    #[track_caller]
    pub(super) fn resident(&self, gpu: &Arc<Gpu>) -> Result<&wgpu::Buffer> {
        let Held::OnDevice(resident) = &self.held else {
            panic!("a value {} of the CPU or the reference is given to an adapter", self.shape)
        };
        resident.gpu.faults.check()?;
        assert!(Arc::ptr_eq(&resident.gpu, gpu), "a value {} of another device is given", self.shape);
        assert!(resident.dtype == DType::F32, "an input is f32, the value {} is {}", self.shape, resident.dtype);
        Ok(&resident.buffer.buffer)
    }

    /// Where a result is copied to.
    pub(super) fn target(&self) -> Option<&wgpu::Buffer> {
        match &self.held {
            Held::Host { .. } => None,
            Held::OnDevice(resident) => Some(&resident.buffer.buffer),
        }
    }
}
