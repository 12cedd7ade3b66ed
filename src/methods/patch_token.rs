//! Patch tokens compared with the texts of the two states, a baseline of WinCLIP (Jeong et al. 2023, ablation "patch tokens").

use crate::error::Result;
use crate::image::Rgb;
use crate::methods::image_program::ImageProgram;
use crate::methods::prompts::PromptEnsemble;
use crate::methods::text_prototypes::{TEMPERATURE, anomalous, class_probabilities, prototype_columns};
use crate::methods::{Clock, Finding, Method, MethodInfo, MethodInputs, Reading, Scale, ScoreOf};
use crate::models::clip::{self, Clip};
use crate::run::Device;
use crate::tensor::{Array, Precision};

/// The entry of the table of methods.
pub(super) static INFO: MethodInfo = MethodInfo {
    name: "patch-token",
    about: "Baseline: patch tokens against text",
    networks: &[&clip::NETWORK],
    inputs: MethodInputs::TEXT,
    readings: &[Reading::Paper],
    localizes: true,
    score: ScoreOf::MapMaximum,
    suits_f16: false,
    build: |context| {
        let clip = context.clip()?;
        let prototypes = context.prototypes(&clip, &PromptEnsemble::winclip(&context.recipe.class, Reading::Paper))?;
        Ok(Box::new(PatchToken::new(context.device, &clip, &prototypes, context.recipe.precision)?))
    },
};

/// Patch tokens compared with texts, on one network and device.
///
/// Like the class token they pass through `ln_post` and `proj`, although training never aligned them with texts.
pub struct PatchToken {
    program: ImageProgram,
}

impl PatchToken {
    /// Prepares the method. `prototypes` `[2, embed]` are those of the normal and the anomalous state, rows of unit length.
    ///
    /// Errors: a device that cannot hold the network.
    pub fn new(device: &Device, clip: &Clip, prototypes: &Array, precision: Precision) -> Result<PatchToken> {
        let program = ImageProgram::new(device, clip, 1, precision, |pixels| {
            let patches = clip.image.forward(pixels).patches; // [1, n, width]
            let [_, patches_per_image, width] = patches.shape().axes();
            let embeddings = clip.image.project(patches.reshape([patches_per_image, width])); // [n, embed]
            vec![class_probabilities(embeddings, &prototype_columns(prototypes), TEMPERATURE)]
        })?;
        Ok(PatchToken { program })
    }
}

impl Method for PatchToken {
    /// Probabilities.
    fn scale(&self) -> Scale {
        Scale { range: [0.0, 1.0], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        self.program.score_patches(image, clock, |outputs| anomalous(&outputs[0]))
    }
}
