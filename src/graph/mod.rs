//! The recording: a list of kernel launches in the order a model wrote them. What is written is what runs.

mod constant;
mod key_ranges;
mod plan;
mod record;
mod tensor;

pub use constant::Constant;
pub use key_ranges::{GivenKeyRanges, GridKeyRanges, KeyRanges, Ranges};
pub use plan::{Place, Plan};
pub use record::{Graph, InputInfo, Node, Source, Value, ValueId};
pub use tensor::{ColumnView, Epilogue, Tensor};
