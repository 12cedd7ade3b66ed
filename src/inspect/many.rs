//! Many images: decoded, inspected and finished by several threads at once, committed in order.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::image::{Decoded, ReadOptions, Rgb, Warning};
use crate::inspect::pipeline::{Budget, in_order};
use crate::results::SourceFile;
use crate::uninspected::Uninspected;

/// Bytes that images in work may hold together, by estimate.
const MEMORY: u64 = 3 << 30;

/// Bytes that a pixel of an image in work takes: the image, its map, and pictures before and after encoding.
const BYTES_PER_PIXEL: u64 = 40;

/// Threads at most, whatever the machine.
const MAX_THREADS: usize = 32;

/// Something that looks at images, from several threads at the same time.
pub trait Inspect: Sync {
    /// What it finds in an image.
    type Finding: Send;

    /// Looks at an image.
    ///
    /// Errors concern this image, unless [`Inspect::fault`] says that every further image fails.
    fn inspect(&self, image: &Rgb) -> Result<Self::Finding>;

    /// The error after which it gave up, if it did: every further image fails with it.
    fn fault(&self) -> Option<Error>;

    /// Whether images have to be inspected one after the other.
    fn is_sequential(&self) -> bool;
}

/// An image that was inspected.
pub struct Inspected<F> {
    /// Its pixels.
    pub image: Rgb,
    /// What was found in it.
    pub finding: F,
    /// Parts of the file that were not decoded.
    pub uninspected: Vec<Uninspected>,
    /// What was done to its samples when it was decoded.
    pub warnings: Vec<Warning>,
    /// Size, time and content of its file.
    pub source: Option<SourceFile>,
    /// How long reading and decoding took.
    pub decode: Duration,
}

/// How many threads work on images: one for each core and one more, so that a core is busy while another waits for the device or the disk.
pub fn default_threads() -> usize {
    (std::thread::available_parallelism().map_or(1, NonZeroUsize::get) + 1).min(MAX_THREADS)
}

/// Inspects files in several threads.
///
/// Each thread takes the next file: `begin` makes a value that is held while it is in work. It reads the file, inspects the image, and calls
/// `finish` (pictures, regions). `commit` is called on this thread, in the order of the files. Once `is_stopped` says yes, `commit` breaks, or the
/// inspector gives up, no file is begun any more; those in work are finished.
pub fn inspect_many<I: Inspect, W, T: Send, B>(
    inspector: &I,
    files: &[impl AsRef<Path> + Sync],
    (threads, read): (usize, ReadOptions),
    is_stopped: impl Fn() -> bool + Sync,
    begin: impl Fn(usize) -> W + Sync,
    finish: impl Fn(usize, Result<Inspected<I::Finding>>) -> T + Sync,
    commit: impl FnMut(usize, T) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let threads = if inspector.is_sequential() { 1 } else { threads.min(MAX_THREADS) };
    let budget = Budget::new(MEMORY);
    let work = |at: usize| {
        let _in_work = begin(at);
        let file = files[at].as_ref();
        let held = budget.take(bytes_to_decode(&read, file));
        let start = Instant::now();
        // Before the image is read: if the file is replaced meanwhile, a resumed run sees another one than the record names.
        let source = read.may_read(file).then(|| SourceFile::of(file)).flatten();
        let Decoded { image, warnings, uninspected } = match read.open(file) {
            Ok(decoded) => decoded,
            Err(error) => return finish(at, Err(error)),
        };
        let decode = start.elapsed();
        let _held = held.at_least((image.width() * image.height()) as u64 * BYTES_PER_PIXEL);
        let found = inspector.inspect(&image);
        finish(at, found.map(|finding| Inspected { image, finding, uninspected, warnings, source, decode }))
    };
    in_order(files.len(), threads, || is_stopped() || inspector.fault().is_some(), work, commit)
}

/// An estimate of the bytes that it takes to decode a file and to work on the image; everything where the header does not say its size.
fn bytes_to_decode(read: &ReadOptions, file: &Path) -> u64 {
    if !read.may_read(file) {
        return 0; // refused before it is read
    }
    // The file, and samples of its depth.
    let in_file = file.metadata().map_or(0, |metadata| 2 * metadata.len());
    read.announced_pixels(file)
        .map_or(u64::MAX, |pixels| pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(in_file))
}
