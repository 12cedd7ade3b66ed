//! Numbers on the host: shapes, element types, dense f32 arrays, seeded random numbers.

mod array;
mod dtype;
mod seeded;
mod shape;

pub use array::Array;
pub use dtype::{DType, Precision};
pub use seeded::Seeded;
pub use shape::{MAX_RANK, Shape};
