//! Detector: a method built from its weights on a device, used by several threads.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::Rgb;
use crate::inspect::many::Inspect;
use crate::inspect::{DetectorBuilder, DeviceRequest, Recoverable, RegionOfInterest};
use crate::methods::{Clock, Finding, Method, MethodInfo, Reading, Recipe, Scale};
use crate::models::store::{self, FoundWeights};
use crate::results::PromptParameters;
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
        Ok(Detector { recipe, weights, threshold, prompt, region: None, method })
    }

    /// The detector that inspects this region of every image.
    pub(super) fn with_region(self, region: Option<RegionOfInterest>) -> Detector {
        Detector { region, ..self }
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

    /// The device in use; another one after it was lost.
    pub fn device(&self) -> Device {
        self.method.current().0.clone()
    }

    /// Whether images have to be inspected one after the other; see [`Recoverable::is_sequential`].
    pub fn is_sequential(&self) -> bool {
        self.method.is_sequential()
    }
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
