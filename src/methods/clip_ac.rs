//! CLIP-AC: zero-shot classification of a photo by the texts of its two states (Jeong et al. 2023, table 1, rows "CLIP-AC").

use crate::error::Result;
use crate::image::Rgb;
use crate::methods::language::{PhotoProgram, anomalous};
use crate::methods::{Method, Reading, Scale, Scored};
use crate::models::clip::Clip;
use crate::run::Device;
use crate::tensor::{Array, Precision};

/// CLIP-AC on one network and device, with one pair of texts or an ensemble of them.
///
/// It localises nothing: its map is the score of the photo at every pixel.
pub struct ClipAc {
    name: &'static str,
    program: PhotoProgram,
}

impl ClipAc {
    /// Prepares the method. `prototypes` `[2, embed]` are those of the normal and the anomalous state, rows of unit length; `name` is what it
    /// reports, as variants differ in their prompts only.
    ///
    /// Errors: a device that cannot hold the network.
    pub fn new(device: &Device, clip: &Clip, prototypes: &Array, name: &'static str, precision: Precision) -> Result<ClipAc> {
        Ok(ClipAc { name, program: PhotoProgram::of_whole(device, clip, prototypes, 1, precision)? })
    }
}

impl Method for ClipAc {
    fn name(&self) -> &'static str {
        self.name
    }

    fn reading(&self) -> Reading {
        Reading::Paper
    }

    /// Probabilities.
    fn scale(&self) -> Scale {
        Scale { range: [0.0, 1.0], level: None }
    }

    fn score(&self, photo: &Rgb) -> Result<Scored> {
        self.program.score(photo, |outputs, geometry| {
            let score = anomalous(&outputs[0])[0];
            let (height, width) = geometry.original;
            (Array::new([height, width], vec![score; height * width]), score)
        })
    }
}
