//! MaskCLIP (Zhou, Loy, Dai, ECCV 2022): patch embeddings compared with the texts of the two states. In the last block each patch keeps its
//! own attention value instead of the weighted sum over all patches, so that its embedding is comparable with texts and stays local.

use crate::error::Result;
use crate::graph::Tensor;
use crate::image::Rgb;
use crate::methods::image_program::{ImageProgram, before_last_block, last_block};
use crate::methods::prompts::PromptEnsemble;
use crate::methods::text_prototypes::{LEARNT_TEMPERATURE, anomalous, class_probabilities, prototype_columns};
use crate::methods::{Clock, Finding, Method, MethodInfo, MethodInputs, Reading, Scale, ScoreOf};
use crate::models::clip::{self, Block, Clip};
use crate::run::Device;
use crate::tensor::{Array, Precision};

/// The entry of the table of methods.
pub(super) static INFO: MethodInfo = MethodInfo {
    name: "maskclip",
    about: "Baseline: each patch's own value in the last block (Zhou et al. 2022)",
    networks: &[&clip::NETWORK],
    inputs: MethodInputs::TEXT,
    readings: &[Reading::Released, Reading::Paper],
    localizes: true,
    score: ScoreOf::MapMaximum,
    suits_f16: false,
    build: |context| {
        let clip = context.clip()?;
        let prototypes = context.prototypes(&clip, &PromptEnsemble::winclip(&context.recipe.class, Reading::Paper))?;
        Ok(Box::new(MaskClip::new(context.device, &clip, &prototypes, context.recipe.reading, context.recipe.precision)?))
    },
};

/// MaskCLIP on one network and device, without its key smoothing and prompt denoising, which are off in the released code too.
pub struct MaskClip {
    program: ImageProgram,
}

impl MaskClip {
    /// Prepares the method. `prototypes` `[2, embed]` are those of the normal and the anomalous state, rows of unit length.
    ///
    /// The released code passes the values through the block's residuals and MLP; the paper projects them directly. The reading
    /// `reproduction` is the released code. Errors: a tower without blocks, or a device that cannot hold it.
    pub fn new(device: &Device, clip: &Clip, prototypes: &Array, reading: Reading, precision: Precision) -> Result<MaskClip> {
        let block = last_block(clip)?;
        let program = ImageProgram::new(device, clip, 1, precision, |pixels| {
            let patches = (1..clip.image.tokens_per_image()).collect::<Vec<usize>>();
            let tokens = before_last_block(clip, pixels).gather(&patches);
            let embeddings = clip.image.project(own_values(block, tokens, reading)); // [n, embed]
            vec![class_probabilities(embeddings, &prototype_columns(prototypes), LEARNT_TEMPERATURE)]
        })?;
        Ok(MaskClip { program })
    }
}

/// The last block with each token attending to itself only: `tokens` `[n, width]` → `[n, width]`.
fn own_values<'g>(block: &Block, tokens: Tensor<'g>, reading: Reading) -> Tensor<'g> {
    let values = block.attn.values(block.ln_1.forward(tokens));
    match reading {
        Reading::Released | Reading::Reproduction => block.finish(tokens, values),
        Reading::Paper => block.attn.out_proj.forward(values),
    }
}

impl Method for MaskClip {
    /// Probabilities.
    fn scale(&self) -> Scale {
        Scale { range: [0.0, 1.0], level: None }
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        self.program.score_patches(image, clock, |outputs| anomalous(&outputs[0]))
    }
}
