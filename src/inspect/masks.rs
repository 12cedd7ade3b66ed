//! Segmentation of boxes on one image (Segment Anything): masks are computed on a device that may be lost, and written to an output folder.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result};
use crate::image::{BoundingBox, Channels, Decoded, ReadOptions, check_boxes};
use crate::inputs;
use crate::inspect::{DeviceRequest, Recoverable};
use crate::kernels::Tier;
use crate::methods::{Segment, Segmenter};
use crate::models::store::FoundWeights;
use crate::models::{Sam, sam};
use crate::results::{
    Counts, Existing, Head, Latency, MaskFile, MaskFiles, MaskInvocation, MaskParameters, MaskRun, MasksRecord, Milliseconds, Named,
    Output, RunFile, Tally,
};
use crate::run::Device;
use crate::tensor::Precision;
use crate::weights::Identity;

/// Segment Anything on a device. A device that is lost or hangs is opened again and the image tried once more.
pub struct MaskFinder {
    segmenter: Recoverable<Segmenter>,
    identity: Identity,
    precision: Precision,
}

/// The masks of an image, and the time of each stage.
pub struct FoundMasks {
    segments: Vec<Segment>,
    pre: Duration,
    device: Duration,
}

impl MaskFinder {
    /// Opens the device and loads the network.
    pub fn open(request: DeviceRequest, weights: FoundWeights, precision: Precision) -> Result<MaskFinder> {
        let identity = weights.identity()?;
        let build = move |device: &Device| {
            let network = Sam::load(&weights.checkpoint)?;
            weights.checkpoint.finish();
            Segmenter::new(device, network, precision)
        };
        Ok(MaskFinder { segmenter: Recoverable::open(request, build)?, identity, precision })
    }

    /// The device in use.
    pub fn device(&self) -> Device {
        self.segmenter.current().0.clone()
    }
}

/// Options of a segmentation: the boxes, how the image is read, and which files are written.
#[derive(Clone, Debug)]
pub struct MaskOptions {
    /// Boxes to segment, in pixels of the upright image.
    pub boxes: Vec<BoundingBox>,
    /// Kinds of files.
    pub save: Vec<MaskFile>,
    /// What to do with results that are already in the output folder.
    pub existing: Existing,
    /// How the image is read.
    pub read: ReadOptions,
    /// Tier of kernels that was forced, for `run.json`.
    pub tier: Option<Tier>,
}

/// One segmentation: an image that is read, boxes that fit it, and an output folder that is locked.
pub struct MaskJob {
    options: MaskOptions,
    output: Output,
    input: Named,
    decoded: Decoded,
    warnings: Vec<String>,
    start: Instant,
    decode: Duration,
}

impl MaskJob {
    /// Reads the image, checks the boxes and opens the output folder.
    ///
    /// Errors: an argument that is not a single file, a file that cannot be read, a box outside the image, a folder that cannot be used,
    /// files in it that no earlier run wrote.
    pub fn new(image: &Path, output: &Path, options: MaskOptions) -> Result<MaskJob> {
        let input = inputs::single(image)?;
        let start = Instant::now();
        // It is the only input, so a file that cannot be read is a usage error.
        let unreadable = |error: Error| if error.code() == Code::Io { Error::new(Code::Usage, error.message()) } else { error };
        let decoded = options.read.open(&input.file).map_err(unreadable)?;
        let decode = start.elapsed();
        let mut warnings: Vec<String> = decoded.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(check_boxes(&options.boxes, decoded.image.width(), decoded.image.height())?);
        let output = Output::open(output, options.existing)?;
        let input = output.name(vec![input]).remove(0);
        let job = MaskJob { options, output, input, decoded, warnings, start, decode };
        job.output.refuse_foreign(job.files().names(job.options.boxes.len()).iter().map(String::as_str))?;
        Ok(job)
    }

    /// Warnings about the image and the boxes, known before anything is computed.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The output folder.
    pub fn root(&self) -> &Path {
        self.output.root()
    }

    /// Computes the masks. Nothing is written.
    pub fn find(&self, finder: &MaskFinder) -> Result<FoundMasks> {
        finder.segmenter.run(|segmenter| {
            let start = Instant::now();
            let prepared = segmenter.prepare(&self.decoded.image, Channels::Rgb);
            let pre = start.elapsed();
            let encoded = segmenter.encode(&prepared)?;
            let segments = segmenter.segment(&encoded, &self.options.boxes)?;
            Ok(FoundMasks { segments, pre, device: start.elapsed() - pre })
        })
    }

    /// Writes the masks, the record and `run.json`; returns the record and its line.
    ///
    /// `stopped` is called before each file and returns the number of the signal that stops the job, if one came; the inner `Err` is that
    /// number.
    pub fn write(
        &mut self,
        finder: &MaskFinder,
        found: &FoundMasks,
        stopped: impl Fn() -> Option<u8>,
    ) -> Result<std::result::Result<(MasksRecord, String), u8>> {
        let mut run = self.run_file(finder);
        self.output.begin(&[])?;
        run.write(&self.output)?;
        let saved = self.save(found, &stopped);
        let (end, done) = match &saved {
            Ok(Some(_)) => (Ok(None), 1),
            Ok(None) => (Ok(stopped()), 0),
            Err(error) => (Err(error.clone()), 0),
        };
        let mut tally = Tally::new(1);
        if done == 1 {
            tally.count_parts(&self.decoded.uninspected);
            run.uninspected.in_part = tally.in_part().clone();
        }
        let counts = Counts { scored: done, failed: usize::from(saved.is_err()), ..tally.counts };
        run.end(&end, counts, None::<Latency>, self.start.elapsed());
        let finished = run.write(&self.output);
        self.output.forget_kills();
        let saved = saved?;
        finished?;
        Ok(saved.ok_or_else(|| stopped().unwrap_or_default()))
    }

    /// Writes the files and the record; `None` where a signal stopped it.
    fn save(&self, found: &FoundMasks, stopped: &impl Fn() -> Option<u8>) -> Result<Option<(MasksRecord, String)>> {
        let image = &self.decoded.image;
        let written = self.files().write(image, &self.options.boxes, &found.segments, || stopped().is_some())?;
        let Some(written) = written else { return Ok(None) };
        let record = MasksRecord {
            head: Head::new(&self.input.path, self.input.output(), [image.width(), image.height()], sam::NETWORK.name),
            masks: written.masks,
            overlay: written.overlay,
            uninspected: self.decoded.uninspected.clone(),
            ms: Milliseconds { decode: self.decode, pre: found.pre, device: found.device, post: written.post, write: written.write },
            warnings: self.warnings.clone(),
        };
        let line = self.output.append(&record)?;
        Ok(Some((record, line)))
    }

    fn files(&self) -> MaskFiles<'_> {
        MaskFiles { output: &self.output, name: &self.input.name, save: &self.options.save }
    }

    fn run_file(&self, finder: &MaskFinder) -> MaskRun {
        let parameters = MaskParameters {
            network: sam::NETWORK.name,
            boxes: self.options.boxes.clone(),
            precision: finder.precision.as_str(),
            save: self.options.save.clone(),
            read: self.options.read,
        };
        let invocation = MaskInvocation { kernels: self.options.tier.map(Tier::as_str) };
        let mut run = RunFile::new(&finder.device(), finder.identity.clone(), parameters, invocation);
        run.files = self.files().names(self.options.boxes.len());
        run
    }
}
