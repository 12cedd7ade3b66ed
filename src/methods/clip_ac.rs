//! CLIP-AC: zero-shot classification of an image by the texts of its two states (Jeong et al. 2023, table 1, rows "CLIP-AC").

use crate::error::Result;
use crate::image::Rgb;
use crate::methods::image_program::ImageProgram;
use crate::methods::prompts::PromptEnsemble;
use crate::methods::text_prototypes::anomalous;
use crate::methods::{BuildContext, Clock, Finding, Method, MethodInfo, MethodInputs, Reading, Scale, ScoreOf};
use crate::models::clip::{self, Clip};
use crate::run::Device;
use crate::tensor::{Array, Precision};

/// The entry of the table of methods.
pub(super) static CLIP_AC: MethodInfo = MethodInfo {
    name: "clip-ac",
    about: "Baseline: the whole image against `normal …` and `anomalous …`; its map is flat",
    networks: &[&clip::NETWORK],
    inputs: MethodInputs::TEXT,
    readings: &[Reading::Paper],
    localizes: false,
    score: ScoreOf::Image,
    suits_f16: false,
    build: |context| build(context, &PromptEnsemble::clip_ac(&context.recipe.class)),
};

/// The entry of the table of methods.
pub(super) static CLIP_AC_ENSEMBLE: MethodInfo = MethodInfo {
    name: "clip-ac-ensemble",
    about: "Baseline: CLIP-AC with the 80 templates of CLIP; its map is flat",
    networks: &[&clip::NETWORK],
    inputs: MethodInputs::TEXT,
    readings: &[Reading::Paper],
    localizes: false,
    score: ScoreOf::Image,
    suits_f16: false,
    build: |context| build(context, &PromptEnsemble::clip_ac_ensemble(&context.recipe.class)),
};

fn build(context: &BuildContext<'_>, prompts: &PromptEnsemble) -> Result<Box<dyn Method>> {
    let clip = context.clip()?;
    let prototypes = context.prototypes(&clip, prompts)?;
    Ok(Box::new(ClipAc::new(context.device, &clip, &prototypes, context.recipe.precision)?))
}

/// CLIP-AC on one network and device, with one pair of texts or an ensemble of them.
///
/// It does not localise defects: its map holds the score of the image at every pixel.
pub struct ClipAc {
    program: ImageProgram,
}

impl ClipAc {
    /// Prepares the method. `prototypes` `[2, embed]` are those of the normal and the anomalous state, rows of unit length; variants
    /// differ in their prompts only.
    ///
    /// Errors: a device that cannot hold the network.
    pub fn new(device: &Device, clip: &Clip, prototypes: &Array, precision: Precision) -> Result<ClipAc> {
        Ok(ClipAc { program: ImageProgram::of_whole(device, clip, prototypes, 1, precision)? })
    }
}

impl Method for ClipAc {
    /// Probabilities.
    fn scale(&self) -> Scale {
        Scale { range: [0.0, 1.0], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        let mut scored = self.program.score(image, clock, |outputs, geometry| {
            let score = anomalous(&outputs[0])[0];
            let (height, width) = geometry.original;
            (Array::new([height, width], vec![score; height * width]), score)
        })?;
        scored
            .warnings
            .push("CLIP-AC localises nothing: its map holds the score of the image at every pixel".to_owned());
        Ok(scored)
    }
}
