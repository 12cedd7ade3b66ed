//! Console output: data to stdout, messages, log and progress bars to stderr. A closed stream does not end the program.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zsas::error::printable;
use zsas::run::{Observer, Progress};
use zsas::{Device, Error, Remedy, Result};

/// Steps of a progress bar over one program.
const PARTS: u64 = 1000;

/// Starts the log: warnings by default, errors only with `--quiet`, information with `-v`, details with `-vv`. `RUST_LOG` overrides this.
pub fn start(verbose: u8, is_quiet: bool) {
    let level = if is_quiet { "error" } else { ["warn", "info", "debug"][usize::from(verbose.min(2))] };
    // Errors of the graphics crates are reported by our own errors; their log is about internals.
    let filter = format!("error,zsas={level},zsas_gpu={level}");
    let line = |buffer: &mut env_logger::fmt::Formatter, record: &log::Record<'_>| {
        let level = if record.level() == log::Level::Warn { "warning".to_owned() } else { record.level().to_string().to_lowercase() };
        writeln!(buffer, "{level}: {}", printable(&record.args().to_string()))
    };
    // A second logger cannot exist yet; where it does, it stays.
    let _ = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter))
        .format(line)
        .try_init();
}

/// Prints an error with its context and remedy.
pub fn error(error: &Error) {
    say(format_args!("error: {}", error.worded(word)));
}

/// The text of a remedy, with the options of the command line.
fn word(remedy: &Remedy) -> Cow<'_, str> {
    Cow::Borrowed(match remedy {
        Remedy::Advice(text) => text,
        Remedy::RaisePixelLimit => "scale it down, or raise the limit (`--max-pixels`)",
        Remedy::RaiseFileLimit => "check that it is an image, or raise the limit (`--max-bytes`)",
        Remedy::RaiseSideLimit => "cut it into parts, or raise the limit (`--max-side`)",
        Remedy::LowerSideLimit => "leave it out, or lower the least side (`--min-size`)",
        Remedy::RaiseMemoryLimit => {
            "raise $ZSAS_GPU_MEMORY, store in f16 where the device does (`--precision f16`), or use a smaller network or image"
        }
        Remedy::UseF32 => "use `--precision f32`",
        Remedy::CheckNumerics => "`zsas-gpu diff` names the first launch that goes wrong; `--precision f32` rules out overflow",
        Remedy::UseAnotherDevice => "`zsas-gpu doctor` lists other adapters; `--device cpu` needs none",
        Remedy::UseOwnTier => "leave `--tier` out: each adapter has a tier of its own, which `zsas-gpu doctor` names",
        Remedy::UseAnAdapter => "choose an adapter with `--device`",
        Remedy::UseCpuOrAdapter => "choose `--device cpu` or an adapter",
        Remedy::UseOtherViews => "use another `--multi-crop`",
        Remedy::MakeMemoryAgain => "make it anew with `--normal PHOTOS --save-memory FILE`",
        Remedy::ListShaders => "`zsas-gpu shader --list` names them all",
        Remedy::ChooseOtherOutput => {
            "choose another `--output` that can be written to and is not searched for photos, a folder inside it for example"
        }
        Remedy::ResumeOrOverwrite => "`--overwrite` starts anew, `--resume` of `infer` and `detect` goes on; or choose another `--output`",
        Remedy::WaitOrChooseOtherOutput => "wait for it, or choose another `--output`; shards need a folder each",
        Remedy::RepeatOptionsOrOverwrite => {
            "repeat the earlier options to resume, `--overwrite` to start anew, or choose another `--output`"
        }
        Remedy::GiveRange => "give one with `--range LO,HI`",
        Remedy::GiveThreshold => "add `--threshold X`, or `--calibration FILE`, which `zsas-gpu calibrate` makes from good photos",
        Remedy::Recalibrate { file } => return Cow::Owned(recalibrate(file.as_deref())),
        Remedy::MendGoodPhotos => "mend them or leave them out; `--lenient` calibrates without them",
        Remedy::TestDevice => "`zsas-gpu doctor --selftest` tests the device; `--resume` continues from here",
        Remedy::GiveReferences => "add `--normal PHOTO_OR_FOLDER`, or take `--method winclip`, which needs none",
        Remedy::UseMethodWithReferences => "`--method winclip+` takes reference images, and so do patchcore, spade and padim",
        Remedy::UseMethodWithText => "drop `--class` and `--profile`, or use `--method winclip` or another method on CLIP",
        Remedy::UseMethodWithViews => "`--multi-crop` is for winclip and winclip+; utad inspects the whole photo with `--tiles 1`",
        Remedy::UseMethodWithTiles => {
            "`--tiles` is for utad, which inspects the central square without it; this method sees the whole photo"
        }
        Remedy::UseFewerTiles => "lower `--tiles` or `--tile-overlap`, or cut the photo into parts",
        Remedy::UseMethodWithRegion => {
            "`--roi` is for methods whose score is the largest value of their map, as utad, saliency and saa+; or cut the photos"
        }
        Remedy::UseEmbeddedWeights => "`--weights embedded` needs no file",
        Remedy::FinishMaps => {
            "`--resume` finishes the run that makes them, `--maps PART…` joins all its parts, `--lenient` leaves these photos out"
        }
        Remedy::CompareAtOneSize => "`--eval-size SIDE` resizes maps and masks before they are compared",
        Remedy::TakeFewerShots => "take fewer with `--shots`",
        Remedy::AcceptMismatches => "correct them, or add `--lenient`, which counts them and leaves out what they touch",
        Remedy::FetchWeights { network, repository, files } => return Cow::Owned(fetch(network, repository, files)),
        other => return Cow::Owned(other.to_string()),
    })
}

/// The command that makes a calibration again.
fn recalibrate(file: Option<&str>) -> String {
    let file = file.unwrap_or("FILE");
    format!(
        "repeat the options that it was made with, or make it again with those of this run:\n  zsas-gpu calibrate GOOD_PHOTOS --output {file} --overwrite …"
    )
}

/// The commands that fetch weights from the hub.
fn fetch(network: &str, repository: &str, files: &[&str]) -> String {
    let command = |file: &&str| {
        format!("\n  curl -fL --create-dirs -o snapshots/{network}/{file} https://huggingface.co/{repository}/resolve/main/{file}")
    };
    format!("fetch them, then pass `--weights snapshots`:{}", files.iter().map(command).collect::<String>())
}

/// Prints lines to stderr, with control characters escaped; a closed stderr is ignored.
pub fn say(text: impl fmt::Display) {
    for line in text.to_string().lines() {
        let _ = writeln!(io::stderr(), "{}", printable(line));
    }
}

/// Prints data to stdout. A reader that closed the pipe, as `head` does, is no error.
pub fn print(text: impl fmt::Display) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("writing to standard output", &error)),
        _ => Ok(()),
    }
}

/// Prints a line of data to stdout.
pub fn print_line(line: impl fmt::Display) -> Result<()> {
    print(format_args!("{line}\n"))
}

/// Prints a value as one line of JSON to stdout.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print_line(to_json(value))
}

/// A value as JSON; what we serialise has string keys and finite or null numbers, which never fails.
pub fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| panic!("our own records serialise: {error}"))
}

/// A progress bar on stderr, drawn only on a terminal.
pub fn progress(total: u64, is_quiet: bool) -> ProgressBar {
    bar(total, "{wide_bar} {pos}/{len}  {eta} left  {msg}", is_quiet)
}

/// A line on stderr that says what is done, shown only on a terminal.
pub fn spinner(is_quiet: bool) -> ProgressBar {
    bar(0, "{spinner} {msg}", is_quiet)
}

fn bar(total: u64, template: &str, is_quiet: bool) -> ProgressBar {
    let is_seen = io::stderr().is_terminal() && !is_quiet;
    let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total), target).with_style(style)
}

/// A progress bar that is cleared when dropped.
pub struct Watch(ProgressBar);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A progress bar over the programs of a device, one after the other, and the observer that updates it.
pub fn watch(is_quiet: bool) -> (Watch, Observer) {
    let bar = bar(PARTS, "{wide_bar} {percent} %  {eta} left  {msg}", is_quiet);
    let shown = bar.clone();
    let observer = move |progress: Progress<'_>| {
        let position = (progress.share * PARTS as f64) as u64;
        if position < shown.position() {
            // Another program: the speed of the last one gives no estimate.
            shown.reset();
        }
        shown.set_message(part(progress.at).to_owned());
        shown.set_position(position);
    };
    (Watch(bar), Arc::new(observer))
}

/// A new progress bar for the programs of a device; see [`watch`].
pub fn watch_device(device: &Device) -> Watch {
    let (watch, observer) = watch(false);
    device.observe(Some(observer));
    watch
}

/// Shows the progress of a device as the message of a progress bar over photos.
pub fn follow(device: &Device, bar: &ProgressBar) {
    let bar = bar.clone();
    device.observe(Some(Arc::new(move |progress: Progress<'_>| {
        bar.set_message(format!("{:.0} % {}", 100.0 * progress.share, part(progress.at)));
    })));
}

/// The block that a weight belongs to, such as `vision_encoder.layers.7`; outside of blocks, the layer.
fn part(weight: &str) -> &str {
    let ends = weight.match_indices('.').map(|(at, _)| at).chain([weight.len()]);
    let mut begin = 0;
    for end in ends {
        if weight[begin..end].parse::<u32>().is_ok() {
            return &weight[..end];
        }
        begin = end + 1;
    }
    weight.rsplit_once('.').map_or(weight, |(layer, _)| layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_part_of_its_block() {
        assert_eq!(part("vision_encoder.layers.7.attn.qkv.weight"), "vision_encoder.layers.7");
        assert_eq!(part("blocks.11"), "blocks.11");
        assert_eq!(part("visual.conv1.weight"), "visual.conv1");
        assert_eq!((part("pos_embed"), part("")), ("pos_embed", ""));
    }
}
