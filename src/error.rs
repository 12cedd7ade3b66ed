//! The one error of the library: what kind it is, what went wrong, where, and what to do about it.

use std::fmt;

/// Result of everything that can fail because of a file, a device or a user's wish.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of an [`Error`], as written to `error.code` of a record.
///
/// Codes are part of the record format: they are added, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A wish that contradicts itself or names something unknown.
    Usage,
    /// A path that does not exist.
    NotFound,
    /// Inputs without a single image among them.
    NoInputs,
    /// An image that cannot be decoded.
    Decode,
    /// An image of more pixels than the limit.
    TooLarge,
    /// An image with a side below the limit.
    TooSmall,
    /// An output folder that cannot be used.
    Output,
    /// A read or a write that failed.
    Io,
    /// An output folder in use by another run.
    Locked,
    /// Weights that are not where they were looked for.
    WeightsMissing,
    /// A weights file that is damaged or is not safetensors.
    WeightsFormat,
    /// Weights of another network than the one asked for.
    WeightsMismatch,
    /// Weights that hold NaN or infinity.
    WeightsNonfinite,
    /// No adapter that can run the kernels.
    NoAdapter,
    /// A tensor that does not fit the adapter's memory or limits.
    GpuMemory,
    /// The device was taken away during the run.
    DeviceLost,
    /// The device did not answer in time.
    GpuTimeout,
    /// The driver refused something that the kernels need.
    Gpu,
    /// A shader that does not assemble or does not validate.
    Shader,
    /// Reference photos, or a memory of them, that cannot be used.
    Reference,
    /// A map that holds NaN.
    Nonfinite,
    /// A name or phrase that cannot stand in a prompt.
    Prompt,
    /// A profile that does not say what a profile says.
    Config,
}

impl Code {
    /// The code as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Usage => "usage",
            Code::NotFound => "not_found",
            Code::NoInputs => "no_inputs",
            Code::Decode => "decode",
            Code::TooLarge => "too_large",
            Code::TooSmall => "too_small",
            Code::Output => "output",
            Code::Io => "io",
            Code::Locked => "locked",
            Code::WeightsMissing => "weights_missing",
            Code::WeightsFormat => "weights_format",
            Code::WeightsMismatch => "weights_mismatch",
            Code::WeightsNonfinite => "weights_nonfinite",
            Code::NoAdapter => "no_adapter",
            Code::GpuMemory => "gpu_memory",
            Code::DeviceLost => "device_lost",
            Code::GpuTimeout => "gpu_timeout",
            Code::Gpu => "gpu",
            Code::Shader => "shader",
            Code::Reference => "reference",
            Code::Nonfinite => "nonfinite",
            Code::Prompt => "prompt",
            Code::Config => "config",
        }
    }
}

/// What went wrong, where it happened (innermost first), and a hint where one is known.
///
/// `{}` prints the message alone, `{:#}` the whole: message, context lines, hint.
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    message: String,
    context: Vec<String>,
    hint: Option<String>,
}

impl Error {
    /// An error of a kind with its message: lower case, no full stop, literals in backticks.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { code, message: message.into(), context: Vec::new(), hint: None }))
    }

    /// A failed read or write, naming what was being done.
    pub fn io(action: impl fmt::Display, source: &std::io::Error) -> Error {
        Error::new(Code::Io, format!("{action}: {source}"))
    }

    /// Adds where it happened; the caller's line comes after the callee's.
    pub fn context(mut self, line: impl Into<String>) -> Error {
        self.0.context.push(line.into());
        self
    }

    /// Says what to do; the innermost hint wins, since it knows most.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The kind.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message without context and hint, as `{}` prints it.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// True when a different command line or input would avoid it.
    pub fn is_user(&self) -> bool {
        matches!(
            self.code(),
            Code::Usage
                | Code::NotFound
                | Code::NoInputs
                | Code::Decode
                | Code::TooLarge
                | Code::TooSmall
                | Code::Output
                | Code::Locked
                | Code::Prompt
                | Code::Config
                | Code::Reference
        )
    }

    /// True when the graphics device or its driver is the cause.
    pub fn is_device(&self) -> bool {
        matches!(self.code(), Code::NoAdapter | Code::GpuMemory | Code::DeviceLost | Code::GpuTimeout | Code::Gpu)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if f.alternate() {
            for line in &self.0.context {
                write!(f, "\n  {line}")?;
            }
            if let Some(hint) = &self.0.hint {
                write!(f, "\n\nhint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {self:#}", self.code().as_str())
    }
}

impl std::error::Error for Error {}

/// Adds context to the error of a result.
pub trait Context<T> {
    /// Adds a context line, made only when there is an error.
    fn context<S: Into<String>>(self, line: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<S: Into<String>>(self, line: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.context(line()))
    }
}

/// The known name that an unknown one was probably meant to be, if any is near enough to ask.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(unknown, name);
    known.into_iter().min_by_key(distance).filter(|name| distance(name) <= 1 + unknown.len() / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_form_holds_message_context_and_hint_in_that_order() {
        let error = Error::new(Code::Decode, "not a PNG")
            .context("in `a.png`")
            .hint("convert it")
            .hint("a later hint is dropped");
        assert_eq!(format!("{error}"), "not a PNG");
        assert_eq!(format!("{error:#}"), "not a PNG\n  in `a.png`\n\nhint: convert it");
    }

    #[test]
    fn only_a_name_that_is_near_is_taken_for_the_one_meant() {
        assert_eq!(nearest("mathmul", ["conv2d", "matmul"]), Some("matmul"));
        assert_eq!(nearest("attention", ["conv2d", "matmul"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
