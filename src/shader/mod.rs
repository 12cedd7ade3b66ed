//! Shader text: the embedded folder, the assembler, reflection. Needs no device.

mod assemble;
mod library;
mod reflect;

pub use assemble::{Assembled, MatrixUnits, assemble};
pub use library::Library;
pub use reflect::{Access, BindingInfo, FieldInfo, Reflection, reflect};
