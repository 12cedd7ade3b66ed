//! Constants of a recording: numbers that a model computes on the host, such as which rows to gather.

use std::fmt;
use std::sync::Arc;

use crate::tensor::{Array, DType, Shape, unique_id};

/// Whole numbers below this are exact in f32, which holds them on the host.
pub(super) const MAX_WHOLE: usize = 1 << 24;

/// Numbers made on the host and uploaded once, however many programs and layers read them. Cheap to clone.
#[derive(Clone)]
pub struct Constant {
    name: &'static str,
    id: u64,
    array: Arc<Array>,
    is_whole: bool,
}

impl Constant {
    /// Real numbers, such as a table of positional encodings, under a name for messages.
    pub fn real(name: &'static str, array: Array) -> Constant {
        Constant { name, id: unique_id(), array: Arc::new(array), is_whole: false }
    }

    /// Whole numbers, such as numbers of rows, which kernels read as u32.
    ///
    /// Panics where there are more or fewer than `shape` holds, or one is 2²⁴ or larger.
    #[track_caller]
    pub fn whole(name: &'static str, shape: impl Into<Shape>, numbers: impl IntoIterator<Item = usize>) -> Constant {
        let exact = |number: usize| {
            assert!(number < MAX_WHOLE, "constant `{name}`: {number} is more than f32 counts exactly");
            number as f32
        };
        let array = Array::new(shape, numbers.into_iter().map(exact).collect());
        Constant { name, id: unique_id(), array: Arc::new(array), is_whole: true }
    }

    /// The name for messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A number that clones share and no other constant or weight of this process has: the key of a cache of uploads.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Sizes of its axes.
    pub fn shape(&self) -> Shape {
        self.array.shape()
    }

    /// The numbers.
    pub fn array(&self) -> &Array {
        &self.array
    }

    /// Storage on a device where real numbers are stored as `real`.
    pub fn dtype(&self, real: DType) -> DType {
        if self.is_whole { DType::U32 } else { real }
    }
}

impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Constant({} {})", self.name, self.shape())
    }
}
