//! The recording: a list of kernel launches in the order a model wrote them. What is written is what runs.

mod plan;
mod record;
mod spans;
mod tensor;

pub use plan::{Place, Plan};
pub use record::{Graph, Node, Source, Value, ValueId};
pub use spans::{GridSpans, Spans};
pub use tensor::{Epilogue, Slice, Tensor};
