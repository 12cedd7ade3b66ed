//! The error type of the library: its kind, the message, where it happened, and a remedy.

use std::borrow::Cow;
use std::fmt;

/// Result of everything that can fail because of a file, a device or a user's request.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of an [`Error`], as written to `error.code` of a record.
///
/// Codes are part of the record format: they are added, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A request that contradicts itself or names something unknown.
    Usage,
    /// A path that does not exist, or that this user may not look at.
    NotFound,
    /// Inputs without a single image among them.
    NoInputs,
    /// An image that cannot be decoded.
    Decode,
    /// An image that killed the process twice.
    Crashed,
    /// An image of more pixels than the limit.
    TooLarge,
    /// An image with a side that is too short: below the limit, or for the views asked for.
    TooSmall,
    /// An output folder that cannot be used.
    Output,
    /// A read or a write that failed.
    Io,
    /// An output folder in use by another run.
    Locked,
    /// Weights that are not where they were looked for, or not the only ones there.
    WeightsMissing,
    /// A weights file that is damaged or is not safetensors.
    WeightsFormat,
    /// Weights of another network than the one asked for.
    WeightsMismatch,
    /// Weights that hold NaN or infinity.
    WeightsNonfinite,
    /// The device that was asked for is not there, or cannot run the kernels.
    NoAdapter,
    /// A tensor that does not fit the memory or the limits of the device.
    GpuMemory,
    /// The device was taken away during the run.
    DeviceLost,
    /// The device did not answer in time.
    GpuTimeout,
    /// The driver refused something that the kernels need.
    Gpu,
    /// A shader that does not assemble or does not validate.
    Shader,
    /// Reference images, or a memory of them, that cannot be used.
    Reference,
    /// A region of interest that marks nothing, or of another size than the image.
    Region,
    /// A map that holds NaN.
    Nonfinite,
    /// A name or phrase that cannot stand in a prompt.
    Prompt,
    /// A profile that does not say what a profile says.
    Config,
    /// A data set whose files do not fit together, or a map of one of its photos that cannot be told.
    Dataset,
    /// Good photos that give no calibration, or a file that is none.
    Calibration,
    /// A calibration of another method, profile, precision, of other weights or options than those of the run.
    CalibrationMismatch,
}

impl Code {
    /// The code as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Usage => "usage",
            Code::NotFound => "not_found",
            Code::NoInputs => "no_inputs",
            Code::Decode => "decode",
            Code::Crashed => "crashed",
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
            Code::Region => "region",
            Code::Nonfinite => "nonfinite",
            Code::Prompt => "prompt",
            Code::Config => "config",
            Code::Dataset => "dataset",
            Code::Calibration => "calibration",
            Code::CalibrationMismatch => "calibration_mismatch",
        }
    }
}

/// What a user can do about an error.
///
/// The library names no option of a command line: a front end words each variant with the names its users know (flags, keyword arguments).
/// `Display` is the wording of this library.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Advice that reads the same in every front end.
    Advice(String),
    /// The image has more pixels than [`crate::image::Limits::max_pixels`].
    RaisePixelLimit,
    /// The file has more bytes than [`crate::image::Limits::max_bytes`].
    RaiseFileLimit,
    /// A side is longer than [`crate::image::Limits::max_side`].
    RaiseSideLimit,
    /// A side is shorter than [`crate::image::Limits::min_side`].
    LowerSideLimit,
    /// The memory limit of the device is too low for this program.
    RaiseMemoryLimit,
    /// The device cannot store f16.
    UseF32,
    /// NaN or infinity came out of a network.
    CheckNumerics,
    /// This adapter cannot run the kernels; another one, or the CPU, may.
    UseAnotherDevice,
    /// The adapter lacks what kernels of the chosen tier need.
    UseOwnTier,
    /// Only an adapter can do this.
    UseAnAdapter,
    /// The reference cannot do this; the CPU and adapters can.
    UseCpuOrAdapter,
    /// The image is too small for the chosen views.
    UseOtherViews,
    /// A memory of reference images is of other weights, or damaged.
    MakeMemoryAgain,
    /// A kernel file of this name does not exist.
    ListShaders,
    /// The output folder is searched for inputs, is no folder, or cannot be written to.
    ChooseOtherOutput,
    /// The output folder holds results of an earlier run.
    ResumeOrOverwrite,
    /// Another run writes to the output folder.
    WaitOrChooseOtherOutput,
    /// The output folder holds results that were made with other parameters.
    RepeatOptionsOrOverwrite,
    /// The colour range of the weights is empty.
    GiveRange,
    /// There is no value to cut maps at.
    GiveThreshold,
    /// A calibration does not fit, or is damaged.
    Recalibrate {
        /// Its file, where it has one.
        file: Option<String>,
    },
    /// Good photos that cannot be scored.
    MendGoodPhotos,
    /// The device fails again and again.
    TestDevice,
    /// The method needs reference images, and none are given.
    GiveReferences,
    /// The method takes no reference images.
    UseMethodWithReferences,
    /// The method takes no text.
    UseMethodWithText,
    /// The method has no parts to leave out.
    UseSaaPlus,
    /// The method takes no views.
    UseMethodWithViews,
    /// The method does not inspect an image in tiles.
    UseMethodWithTiles,
    /// The image would be cut into too many tiles.
    UseFewerTiles,
    /// The score of the method is of the whole image.
    UseMethodWithRegion,
    /// A PyTorch checkpoint: `tools/convert.py` makes safetensors of it.
    ConvertWeights,
    /// Weights are published, and have to be fetched.
    FetchWeights {
        /// Folder of the network in a folder of snapshots.
        network: &'static str,
        /// Repository on the hub.
        repository: &'static str,
        /// The files that are needed.
        files: &'static [&'static str],
    },
    /// There are weights inside the library.
    UseEmbeddedWeights,
    /// A data set is not as its layout says.
    AcceptMismatches,
    /// Finish the run that makes maps, join all its parts, or leave photos out.
    FinishMaps,
    /// Take fewer reference images.
    TakeFewerShots,
    /// Resize maps and masks to one size before they are compared.
    CompareAtOneSize,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::FetchWeights { network, repository, files } => {
                let files = files.join("`, `");
                return write!(f, "fetch `{files}` of `{repository}` from the hub into a folder `{network}`");
            }
            Remedy::Advice(text) => text,
            Remedy::Recalibrate { .. } => {
                "repeat the options that it was made with, or make it again from good photos with those of this run"
            }
            Remedy::MendGoodPhotos => "mend them or leave them out, or be lenient to calibrate without them",
            Remedy::RaisePixelLimit => "scale the image down, or raise `max_pixels`",
            Remedy::RaiseFileLimit => "check that it is an image, or raise `max_bytes`",
            Remedy::RaiseSideLimit => "cut it into parts, or raise `max_side`",
            Remedy::LowerSideLimit => "leave it out, or lower `min_side`",
            Remedy::RaiseMemoryLimit => "raise the memory limit of the device, store in f16, or use a smaller network or image",
            Remedy::UseF32 => "use `Precision::F32`",
            Remedy::CheckNumerics => "`run::diff` finds the first launch that goes wrong; `Precision::F32` rules out overflow",
            Remedy::UseAnotherDevice => "use another adapter; the reference device needs none",
            Remedy::UseOwnTier => "leave the tier to the adapter",
            Remedy::UseAnAdapter => "open a device with an adapter",
            Remedy::UseCpuOrAdapter => "open the CPU or an adapter as the device",
            Remedy::UseOtherViews => "use other views",
            Remedy::MakeMemoryAgain => "make the memory again from the reference images",
            Remedy::ListShaders => "`shader::Library` lists the names",
            Remedy::ChooseOtherOutput => "choose another output folder that can be written to",
            Remedy::ResumeOrOverwrite => "use `Existing::Overwrite` or `Existing::Resume`, or choose another output folder",
            Remedy::WaitOrChooseOtherOutput => "wait for it, or choose another output folder",
            Remedy::RepeatOptionsOrOverwrite => "repeat the earlier options, overwrite, or choose another output folder",
            Remedy::GiveRange => "give a range of colours",
            Remedy::GiveThreshold => "give a threshold",
            Remedy::TestDevice => "test the device with the kernels' own tests",
            Remedy::GiveReferences => "give reference images, or use the method `winclip`, which needs none",
            Remedy::UseMethodWithReferences => "the methods `winclip+`, `patchcore`, `spade` and `padim` take reference images",
            Remedy::UseMethodWithText => "a class and a profile are for `saa+`, `winclip` and the other methods on CLIP",
            Remedy::UseSaaPlus => "parts of `saa+` can be left out; `saa` is `saa+` without them",
            Remedy::UseMethodWithViews => "views are for `winclip` and `winclip+`; `utad` takes tiles",
            Remedy::UseMethodWithTiles => "tiles are for methods that inspect the central square of an image, as `utad` does",
            Remedy::UseFewerTiles => "use fewer tiles along the shorter side, or let them overlap less",
            Remedy::UseMethodWithRegion => "use a method whose score is the largest value of its map, as `utad`, `saliency` and `saa+`",
            Remedy::ConvertWeights => "only safetensors are read: convert it with `python tools/convert.py CHECKPOINT FOLDER`",
            Remedy::UseEmbeddedWeights => "the weights inside the library need no file",
            Remedy::FinishMaps => {
                "resume the run that makes them, name the folders of all its parts, or be lenient and leave these photos out"
            }
            Remedy::CompareAtOneSize => "give the size at which maps and masks are to be compared",
            Remedy::TakeFewerShots => "take fewer reference images",
            Remedy::AcceptMismatches => "correct them, or open it with `is_lenient`, which counts them and leaves out what they touch",
        })
    }
}

impl From<&str> for Remedy {
    fn from(advice: &str) -> Remedy {
        Remedy::Advice(advice.to_owned())
    }
}

impl From<String> for Remedy {
    fn from(advice: String) -> Remedy {
        Remedy::Advice(advice)
    }
}

/// What went wrong, where it happened (innermost first), and a remedy where one is known.
///
/// `{}` prints the message alone, `{:#}` the whole: message, context lines, remedy.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: String,
    context: Vec<String>,
    remedy: Option<Remedy>,
}

impl Error {
    /// An error of a kind with its message: lower case, no full stop, literals in backticks.
    ///
    /// Control and bidirectional characters, which names of files and tensors may hold, are escaped, and long names shortened: see
    /// [`printable`].
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        let message = printable(&message.into()).into_owned();
        Error(Box::new(Inner { code, message, context: Vec::new(), remedy: None }))
    }

    /// A failed read or write, naming what was being done.
    pub fn io(action: impl fmt::Display, source: &std::io::Error) -> Error {
        let error = Error::new(Code::Io, format!("{action}: {source}"));
        match source.kind() {
            std::io::ErrorKind::FileTooLarge => {
                error.hint("`ulimit -f` shows the limit of the process, the file system may have one of its own")
            }
            _ => error,
        }
    }

    /// Adds where it happened; the caller's line comes after the callee's.
    pub fn context(mut self, line: impl Into<String>) -> Error {
        self.0.context.push(printable(&line.into()).into_owned());
        self
    }

    /// Adds what to do about it; the innermost remedy is kept, as the most specific.
    pub fn hint(mut self, remedy: impl Into<Remedy>) -> Error {
        self.0.remedy.get_or_insert_with(|| remedy.into());
        self
    }

    /// What to do about it, where that is known.
    pub fn remedy(&self) -> Option<&Remedy> {
        self.0.remedy.as_ref()
    }

    /// Message, context and remedy, the remedy as a front end words it.
    pub fn worded<'a>(&'a self, word: impl Fn(&'a Remedy) -> Cow<'a, str>) -> String {
        let mut text = self.0.message.clone();
        for line in &self.0.context {
            text = text + "\n  " + line;
        }
        match &self.0.remedy {
            Some(remedy) => text + "\n\nhint: " + &word(remedy),
            None => text,
        }
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
                | Code::Dataset
                | Code::Region
                | Code::Calibration
                | Code::CalibrationMismatch
        )
    }

    /// True when the graphics device or its driver is the cause.
    pub fn is_device(&self) -> bool {
        matches!(self.code(), Code::NoAdapter | Code::GpuMemory | Code::DeviceLost | Code::GpuTimeout | Code::Gpu)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f.write_str(&self.worded(|remedy| Cow::Owned(remedy.to_string())));
        }
        f.write_str(&self.0.message)
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

/// Longest text in bytes that [`printable`] leaves whole, and what it keeps of each end of a longer one.
const LONGEST: usize = 4096;
const KEPT: usize = 1024;

/// A text that is safe to print on one line of a terminal: control characters, line breaks among them, and characters that change the
/// direction of writing are escaped as in Rust, `\u{1b}`; the middle of what is longer than 4 kB is left out.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Shortened first, so that a huge name is not escaped whole, and again, since escaping lengthens.
    match shortened(text) {
        Cow::Borrowed(text) => match escaped(text) {
            Cow::Borrowed(text) => Cow::Borrowed(text),
            Cow::Owned(text) => Cow::Owned(shortened(&text).into_owned()),
        },
        Cow::Owned(text) => Cow::Owned(shortened(&escaped(&text)).into_owned()),
    }
}

fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    let (start, end) = (text.floor_char_boundary(KEPT), text.ceil_char_boundary(text.len() - KEPT));
    Cow::Owned(format!("{} … {} bytes … {}", &text[..start], end - start, &text[end..]))
}

fn escaped(text: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::new(), |mut out, c| {
        if is_unsafe(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    }))
}

/// The known name that an unknown one was probably meant to be, if one is similar enough.
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
    fn a_name_cannot_steer_a_terminal() {
        let error = Error::new(Code::Decode, "not a PNG: `\u{1b}[31ma\nb\u{202e}`").context("in `\u{7}ü`");
        assert_eq!(format!("{error:#}"), "not a PNG: `\\u{1b}[31ma\\nb\\u{202e}`\n  in `\\u{7}ü`");
        assert!(matches!(printable("größe 零"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_name_of_megabytes_is_told_by_its_ends() {
        let name = format!("{}.png", "é".repeat(3_000_000));
        let error = Error::new(Code::NotFound, format!("`{name}` does not exist")).context(name.as_str());
        let shown = format!("{error:#}");
        assert!(shown.len() < 5000, "{}", shown.len());
        assert!(shown.starts_with("`é") && error.message().ends_with(".png` does not exist"), "{shown}");
        assert!(error.message().contains("é … 59979"), "{shown}");
        // What is shortened stays as it is where a line is made of it, and escapes do not lengthen it again.
        assert_eq!(printable(&format!("error: {}", error.message())), format!("error: {}", error.message()));
        assert!(printable(&"\u{1b}".repeat(100_000)).len() < 2500);
        assert_eq!(printable(&"x".repeat(LONGEST)).len(), LONGEST);
    }

    #[test]
    fn a_front_end_words_the_remedy() {
        let error = Error::new(Code::TooSmall, "8×8").hint(Remedy::LowerSideLimit);
        assert_eq!(format!("{error:#}"), "8×8\n\nhint: leave it out, or lower `min_side`");
        assert_eq!(error.worded(|_| Cow::Borrowed("press 7")), "8×8\n\nhint: press 7");
    }

    #[test]
    fn only_a_name_that_is_near_is_taken_for_the_one_meant() {
        assert_eq!(nearest("mathmul", ["conv2d", "matmul"]), Some("matmul"));
        assert_eq!(nearest("attention", ["conv2d", "matmul"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
