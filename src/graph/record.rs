//! The graph that a model records into: values, and the launches that compute them.

use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::error::Result;
use crate::graph::{Constant, Tensor};
use crate::kernels::Kernel;
use crate::tensor::{Array, DType, Precision, Shape};
use crate::weights::Weight;

/// Number of a value in its graph.
pub type ValueId = usize;

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The input with this position in [`Graph::inputs`].
    Input(usize),
    /// A tensor of a checkpoint.
    Weight(Weight),
    /// Numbers made on the host.
    Constant(Constant),
    /// The launch with this position in [`Graph::nodes`].
    Launch(usize),
}

impl Source {
    /// The key of an upload that programs share; `None` for what each run computes or is given.
    pub fn upload_key(&self) -> Option<u64> {
        match self {
            Source::Weight(weight) => Some(weight.id()),
            Source::Constant(constant) => Some(constant.id()),
            Source::Input(_) | Source::Launch(_) => None,
        }
    }

    /// The numbers of a weight or a constant; `None` for what each run computes or is given.
    ///
    /// Errors when a weight cannot be read or is not finite.
    pub fn to_array(&self) -> Result<Option<Array>> {
        match self {
            Source::Weight(weight) => weight.to_array().map(Some),
            Source::Constant(constant) => Ok(Some(constant.array().clone())),
            Source::Input(_) | Source::Launch(_) => Ok(None),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Input(at) => write!(f, "input {at}"),
            Source::Weight(weight) => write!(f, "weight `{}`", weight.name()),
            Source::Constant(constant) => write!(f, "constant `{}`", constant.name()),
            Source::Launch(at) => write!(f, "launch {at}"),
        }
    }
}

/// An input of a recording.
#[derive(Clone, Debug)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// Sizes of its axes.
    pub shape: Shape,
    /// Storage type.
    pub dtype: DType,
}

impl InputInfo {
    /// Size on a device.
    pub fn bytes(&self) -> usize {
        self.shape.len() * self.dtype.size()
    }
}

/// A buffer of the recording, written once.
#[derive(Clone, Debug)]
pub struct Value {
    /// Number of elements.
    pub len: usize,
    /// Storage type.
    pub dtype: DType,
    /// Where its contents come from.
    pub source: Source,
}

impl Value {
    /// Size on a device.
    pub fn bytes(&self) -> usize {
        self.len * self.dtype.size()
    }
}

/// One kernel launch.
#[derive(Clone)]
pub struct Node {
    /// The kernel that is launched.
    pub kernel: Arc<dyn Kernel>,
    /// Values read, in binding order; `None` where an optional operand is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Value written.
    pub output: ValueId,
    /// The concrete type of `Elem`.
    pub elem: DType,
    /// Shape of the result.
    pub shape: Shape,
    /// Name of the first tensor of a checkpoint that is read.
    pub weight: Option<String>,
    /// The line of the model that recorded it.
    pub location: &'static Location<'static>,
}

impl Node {
    /// `src/models/wide_resnet.rs:88`.
    pub fn line(&self) -> String {
        format!("{}:{}", self.location.file(), self.location.line())
    }
}

impl fmt::Display for Node {
    /// Kernel, weight, shape and line, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kernel.name())?;
        if let Some(weight) = &self.weight {
            write!(f, " (`{weight}`)")?;
        }
        write!(f, " → {} at {}", self.shape, self.line())
    }
}

/// A recording: models append to it, devices run it.
#[derive(Default)]
pub struct Graph {
    precision: Precision,
    recorded: RefCell<Recorded>,
}

#[derive(Default)]
struct Recorded {
    values: Vec<Value>,
    nodes: Vec<Node>,
    inputs: Vec<InputInfo>,
    uploads: HashMap<(u64, DType), ValueId>,
}

impl Graph {
    /// An empty recording whose weights and activations are stored at `precision`.
    pub fn new(precision: Precision) -> Graph {
        Graph { precision, ..Graph::default() }
    }

    /// Storage of weights and activations.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// A named f32 input, given anew in each run.
    pub fn input(&self, name: &str, shape: impl Into<Shape>) -> Tensor<'_> {
        self.input_as(name, shape.into(), DType::F32)
    }

    /// A named input of whole numbers below 2²⁴, given anew in each run.
    pub fn input_whole(&self, name: &str, shape: impl Into<Shape>) -> Tensor<'_> {
        self.input_as(name, shape.into(), DType::U32)
    }

    fn input_as(&self, name: &str, shape: Shape, dtype: DType) -> Tensor<'_> {
        let mut recorded = self.recorded.borrow_mut();
        let source = Source::Input(recorded.inputs.len());
        recorded.inputs.push(InputInfo { name: name.to_owned(), shape, dtype });
        let id = recorded.value(shape.len(), dtype, source);
        Tensor::new(self, id, shape, dtype)
    }

    /// A weight stored at the precision of the graph.
    pub fn weight(&self, weight: &Weight) -> Tensor<'_> {
        self.upload(Source::Weight(weight.clone()), weight.id(), weight.shape(), self.precision.storage())
    }

    /// A weight that stays f32 whatever the precision: a bias, the scale of a norm.
    pub fn weight_f32(&self, weight: &Weight) -> Tensor<'_> {
        self.upload(Source::Weight(weight.clone()), weight.id(), weight.shape(), DType::F32)
    }

    /// A constant; real numbers are stored at the precision of the graph.
    pub fn constant(&self, constant: &Constant) -> Tensor<'_> {
        let dtype = constant.dtype(self.precision.storage());
        self.upload(Source::Constant(constant.clone()), constant.id(), constant.shape(), dtype)
    }

    /// A constant whose real numbers stay f32 whatever the precision: positions, a bias.
    pub fn constant_f32(&self, constant: &Constant) -> Tensor<'_> {
        self.upload(Source::Constant(constant.clone()), constant.id(), constant.shape(), constant.dtype(DType::F32))
    }

    fn upload(&self, source: Source, id: u64, shape: Shape, dtype: DType) -> Tensor<'_> {
        let mut recorded = self.recorded.borrow_mut();
        let value = match recorded.uploads.get(&(id, dtype)) {
            Some(&value) => value,
            None => {
                let value = recorded.value(shape.len(), dtype, source);
                recorded.uploads.insert((id, dtype), value);
                value
            }
        };
        Tensor::new(self, value, shape, dtype)
    }

    /// Appends a launch whose shapes the calling operation has checked.
    ///
    /// Panics at the model's line when an operand's length or storage is not what the kernel declares.
    #[track_caller]
    pub(super) fn launch(&self, kernel: impl Kernel + 'static, inputs: &[Option<Tensor<'_>>], shape: Shape, elem: DType) -> Tensor<'_> {
        let operands = kernel.operands();
        let (output, declared) = operands.split_last().expect("a kernel has an output");
        assert!(declared.len() == inputs.len(), "{kernel:?} reads {} buffers, not {}", declared.len(), inputs.len());
        assert!(output.len == shape.len(), "{kernel:?} writes {} elements, {shape} holds {}", output.len, shape.len());
        // Kernels run without bounds checks and count from the last element: there must be one.
        let is_empty = |tensor: &Tensor<'_>| tensor.shape().is_empty();
        assert!(!shape.is_empty() && !inputs.iter().flatten().any(is_empty), "{kernel:?}: an empty tensor");
        let mut recorded = self.recorded.borrow_mut();
        let mut weight = None;
        for (operand, input) in declared.iter().zip(inputs) {
            let len = input.map_or(0, |tensor| tensor.shape().len());
            assert!(len == operand.len, "{kernel:?}: `{}` holds {} elements, not {len}", operand.name, operand.len);
            let Some(input) = input else { continue };
            assert!(std::ptr::eq(input.graph(), self), "{kernel:?}: `{}` belongs to another graph", operand.name);
            let wanted = operand.storage.dtype(elem);
            assert!(input.dtype() == wanted, "{kernel:?}: `{}` is {}, not {wanted}", operand.name, input.dtype());
            if let Source::Weight(source) = &recorded.values[input.id()].source {
                weight.get_or_insert_with(|| source.name().to_owned());
            }
        }
        let dtype = output.storage.dtype(elem);
        let source = Source::Launch(recorded.nodes.len());
        let id = recorded.value(shape.len(), dtype, source);
        recorded.nodes.push(Node {
            kernel: Arc::new(kernel),
            inputs: inputs.iter().map(|input| input.map(|tensor| tensor.id())).collect(),
            output: id,
            elem,
            shape,
            weight,
            location: Location::caller(),
        });
        Tensor::new(self, id, shape, dtype)
    }

    /// All launches in order.
    pub fn nodes(&self) -> Ref<'_, [Node]> {
        Ref::map(self.recorded.borrow(), |recorded| recorded.nodes.as_slice())
    }

    /// All values in order.
    pub fn values(&self) -> Ref<'_, [Value]> {
        Ref::map(self.recorded.borrow(), |recorded| recorded.values.as_slice())
    }

    /// The inputs, in the order runs expect them.
    pub fn inputs(&self) -> Ref<'_, [InputInfo]> {
        Ref::map(self.recorded.borrow(), |recorded| recorded.inputs.as_slice())
    }
}

impl Recorded {
    fn value(&mut self, len: usize, dtype: DType, source: Source) -> ValueId {
        self.values.push(Value { len, dtype, source });
        self.values.len() - 1
    }
}
