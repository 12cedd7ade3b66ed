//! Numbers on the host: shapes, element types and dense f32 arrays.

mod array;
mod dtype;
mod shape;

pub use array::Array;
pub use dtype::{DType, Precision};
pub use shape::{MAX_RANK, Shape};
