//! Detector: a method built from its weights on a device, used by several threads.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::sha256;
use crate::image::{ReadOptions, Rgb};
use crate::inspect::many::Inspect;
use crate::inspect::scoring::parameters;
use crate::inspect::{DetectorBuilder, DeviceRequest, Recoverable, RegionOfInterest};
use crate::methods::{Clock, Finding, Method, MethodInfo, Reading, Recipe, Scale};
use crate::models::store::{self, FoundWeights};
use crate::results::{Calibration, Conditions, Parameters, PromptParameters};
use crate::run::Device;
use crate::weights::Identity;

/// A detector of defects: a method built from its weights on a device. Threads share it by reference and inspect images at the same time.
///
/// ```no_run
/// use zsas::image::Rgb;
/// use zsas::inspect::Detector;
///
/// let detector = Detector::builder().method("winclip").class("bottle").weights("snapshots").open()?;
/// let found = detector.inspect(&Rgb::open("part.png")?)?;
/// println!("{} {:?}", found.score, found.regions(0.5));
/// # Ok::<(), zsas::Error>(())
/// ```
pub struct Detector {
    recipe: Arc<Recipe>,
    weights: Vec<FoundWeights>,
    threshold: Option<f32>,
    prompt: Option<PromptParameters>,
    region: Option<RegionOfInterest>,
    calibration: Option<Calibration>,
    method: Recoverable<Box<dyn Method>>,
}

impl Detector {
    /// A builder with the options method, class, references, weights and device.
    pub fn builder() -> DetectorBuilder {
        DetectorBuilder::default()
    }

    /// Builds the method on an open device, which the request opens again where it is lost.
    pub(super) fn build(
        recipe: Recipe,
        weights: Vec<FoundWeights>,
        threshold: Option<f32>,
        prompt: Option<PromptParameters>,
        request: DeviceRequest,
        device: Device,
    ) -> Result<Detector> {
        let recipe = Arc::new(recipe);
        let method = {
            let recipe = Arc::clone(&recipe);
            Recoverable::on(device, request, move |device| recipe.build(device))?
        };
        Ok(Detector { recipe, weights, threshold, prompt, region: None, calibration: None, method })
    }

    /// The detector that inspects this region of every image.
    pub(super) fn with_region(self, region: Option<RegionOfInterest>) -> Detector {
        Detector { region, ..self }
    }

    /// This detector with a calibration, whose choices it was planned by.
    ///
    /// Errors with [`Code::CalibrationMismatch`](crate::Code::CalibrationMismatch) where its reference images are others.
    pub(super) fn calibrated(self, calibration: Calibration) -> Result<Detector> {
        let mut now = Conditions::of(&self.parameters(ReadOptions::default()), &self.weights_identity()?, None);
        if calibration.conditions.differing_references(&now).is_some() {
            now.memory = self.memory_sha256()?;
        }
        match calibration.conditions.differing_references(&now) {
            Some(differing) => Err(calibration.mismatch(&differing)),
            None => Ok(Detector { calibration: Some(calibration), ..self }),
        }
    }

    /// Scores an image. A device that is lost or hangs is opened again and the image tried once more.
    ///
    /// Errors concern this image, unless [`Detector::fault`] says that the detector gave up.
    pub fn inspect(&self, image: &Rgb) -> Result<Finding> {
        self.region.as_ref().map_or(Ok(()), |region| region.check(image.width(), image.height()))?;
        self.method.run(|method| {
            let mut clock = Clock::start();
            let mut finding = method.inspect(image, &mut clock)?;
            if let Some(region) = &self.region {
                region.restrict(&mut finding, method.scale().range[0]);
            }
            Ok(Finding { stages: clock.finish(), ..finding })
        })
    }

    /// The error after which the detector gave up, if it did: every further image fails with it.
    pub fn fault(&self) -> Option<Error> {
        self.method.fault()
    }

    /// The entry of the method in the table of methods.
    pub fn method(&self) -> &'static MethodInfo {
        self.recipe.method
    }

    /// Reading of the method.
    pub fn reading(&self) -> Reading {
        self.recipe.reading
    }

    /// Colour range and level of the method's maps.
    pub fn scale(&self) -> Scale {
        self.method.current().1.scale()
    }

    /// The region of every image that is inspected; `None` where that is all of it.
    pub fn region(&self) -> Option<&RegionOfInterest> {
        self.region.as_ref()
    }

    /// The recipe that the method was built from.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The weights of each of the method's networks.
    pub fn weights(&self) -> &[FoundWeights] {
        &self.weights
    }

    /// The identity of the weights of all networks.
    pub fn weights_identity(&self) -> Result<Identity> {
        store::identity(&self.weights)
    }

    /// Class, phrases, views and references; `None` for a method that takes no text.
    pub fn prompt(&self) -> Option<&PromptParameters> {
        self.prompt.as_ref()
    }

    /// The memory of the reference images as a file, for [`DetectorBuilder::memory`]; `None` for a method without.
    pub fn memory_file(&self) -> Result<Option<Vec<u8>>> {
        self.recipe.memory_file()
    }

    /// The threshold of the profile: scores from here on are anomalous.
    pub fn threshold(&self) -> Option<f32> {
        self.threshold
    }

    /// The calibration that it was opened with.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Everything that decides the scores of images that are read in this way.
    ///
    /// Errors: weights that cannot be read again to be hashed.
    pub fn conditions(&self, read: ReadOptions) -> Result<Conditions> {
        Ok(Conditions::of(&self.parameters(read), &self.weights_identity()?, self.memory_sha256()?))
    }

    /// Parameters of a run that scores images, before anything is decided on the scores.
    pub(super) fn parameters(&self, read: ReadOptions) -> Parameters {
        parameters(&self.recipe, self.prompt.as_ref(), self.region.as_ref(), read)
    }

    /// SHA-256 of the features of the reference images. The header of their file is left out, as its keys have no fixed order.
    fn memory_sha256(&self) -> Result<Option<String>> {
        let file = self.memory_file()?;
        Ok(file.as_deref().map(|bytes| sha256(tensor_bytes(bytes))))
    }

    /// The device in use; another one after it was lost.
    pub fn device(&self) -> Device {
        self.method.current().0.clone()
    }

    /// Whether images have to be inspected one after the other; see [`Recoverable::is_sequential`].
    pub fn is_sequential(&self) -> bool {
        self.method.is_sequential()
    }
}

/// The bytes of the tensors in a safetensors file: its header begins with its length, as a little-endian u64.
fn tensor_bytes(file: &[u8]) -> &[u8] {
    let header = file.first_chunk().map_or(0, |length: &[u8; 8]| 8 + u64::from_le_bytes(*length) as usize);
    file.get(header..).unwrap_or_default()
}

impl Inspect for Detector {
    type Finding = Finding;

    fn inspect(&self, image: &Rgb) -> Result<Finding> {
        Detector::inspect(self, image)
    }

    fn fault(&self) -> Option<Error> {
        Detector::fault(self)
    }

    fn is_sequential(&self) -> bool {
        Detector::is_sequential(self)
    }
}
