//! Parses and validates an assembled shader with naga and reports its interface. Needs no GPU.

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};

use crate::error::{Code, Error, Result};
use crate::shader::Assembled;

/// How a shader uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// One storage binding of a shader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingInfo {
    /// Variable name.
    pub name: String,
    /// `@binding` number in group 0.
    pub binding: u32,
    /// Read or write.
    pub access: Access,
    /// WGSL scalar of the elements: `f32`, `f16` or `u32`.
    pub scalar: &'static str,
}

/// One field of the uniform `Params` struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// Field name.
    pub name: String,
    /// Offset in bytes.
    pub offset: u32,
}

/// The interface of a shader, as naga reports it.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// Fields of the uniform at binding 0; empty without one.
    pub params: Vec<FieldInfo>,
    /// Bytes of the uniform.
    pub params_size: u32,
    /// Storage bindings in order of their number.
    pub bindings: Vec<BindingInfo>,
    /// Invocations per workgroup along x, y, z.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// The validated module and its analysis, for translation to other languages.
    pub module: Module,
    /// naga's analysis of the module.
    pub info: naga::valid::ModuleInfo,
}

/// Parses and validates; errors carry the file and line of the source that is edited, and the line itself.
pub fn reflect(shader: &Assembled) -> Result<Reflection> {
    let module = naga::front::wgsl::parse_str(&shader.text).map_err(|error| {
        let place = error.location(&shader.text).map(|at| (at.line_number, at.line_position));
        located(shader, place, error.message())
    })?;
    let capabilities = Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module).map_err(|error| {
        let place = error.location(&shader.text).map(|at| (at.line_number, at.line_position));
        let mut message = error.as_inner().to_string();
        let mut source = std::error::Error::source(error.as_inner());
        while let Some(inner) = source {
            message = format!("{message}: {inner}");
            source = inner.source();
        }
        located(shader, place, &message)
    })?;

    let mut layouter = naga::proc::Layouter::default();
    layouter
        .update(module.to_ctx())
        .map_err(|error| Error::new(Code::Shader, format!("laying out types: {error}")))?;
    let mut params = Vec::new();
    let mut params_size = 0;
    let mut bindings = Vec::new();
    let mut workgroup_memory = 0;
    for (_, variable) in module.global_variables.iter() {
        let inner = &module.types[variable.ty].inner;
        let name = variable.name.clone().unwrap_or_default();
        let binding = variable.binding.map_or(0, |at| at.binding);
        match variable.space {
            AddressSpace::Uniform => {
                if let TypeInner::Struct { members, span } = inner {
                    params_size = *span;
                    params = members
                        .iter()
                        .map(|field| FieldInfo { name: field.name.clone().unwrap_or_default(), offset: field.offset })
                        .collect();
                }
            }
            AddressSpace::Storage { access } => bindings.push(BindingInfo {
                name,
                binding,
                access: if access.contains(StorageAccess::STORE) { Access::Write } else { Access::Read },
                scalar: scalar_name(&module, inner),
            }),
            AddressSpace::WorkGroup => workgroup_memory += layouter[variable.ty].size,
            _ => {}
        }
    }
    bindings.sort_by_key(|binding| binding.binding);
    let entry = module
        .entry_points
        .first()
        .ok_or_else(|| Error::new(Code::Shader, format!("{}: no entry point", shader.origin(1))))?;
    let workgroup_size = entry.workgroup_size;
    Ok(Reflection { params, params_size, bindings, workgroup_size, workgroup_memory, module, info })
}

fn scalar_name(module: &Module, inner: &TypeInner) -> &'static str {
    let scalar = match inner {
        TypeInner::Array { base, .. } => return scalar_name(module, &module.types[*base].inner),
        TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } => scalar,
        _ => return "struct",
    };
    match (scalar.kind, scalar.width) {
        (naga::ScalarKind::Float, 4) => "f32",
        (naga::ScalarKind::Float, 2) => "f16",
        (naga::ScalarKind::Uint, 4) => "u32",
        (naga::ScalarKind::Sint, 4) => "i32",
        _ => "other",
    }
}

fn located(shader: &Assembled, place: Option<(u32, u32)>, message: &str) -> Error {
    let Some((line, column)) = place else {
        return Error::new(Code::Shader, message.to_owned());
    };
    let text = shader.text.lines().nth(line as usize - 1).unwrap_or_default();
    Error::new(Code::Shader, format!("{}:{column}: {message}", shader.origin(line as usize))).context(format!("| {}", text.trim_end()))
}
