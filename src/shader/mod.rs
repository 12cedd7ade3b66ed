//! Shader text and what can be read off it: the embedded folder, the assembler, reflection. Knows no device.

mod assemble;
mod library;
mod reflect;

pub use assemble::{Assembled, assemble};
pub use library::Library;
pub use reflect::{Access, BindingInfo, FieldInfo, Reflection, reflect};
