//! Numbers on the host: shapes, element types, dense f32 arrays, seeded random numbers.

use std::sync::atomic::{AtomicU64, Ordering};

mod array;
mod dtype;
mod seeded;
mod shape;

pub use array::Array;
pub use dtype::{DType, Precision};
pub use seeded::Seeded;
pub use shape::{MAX_RANK, Shape};

/// A number that no other call of this process returns.
pub(crate) fn unique_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
