//! SAM's prompt encoder for boxes: random Fourier features of two corners (Tancik et al. 2020), computed on the host.

use std::f64::consts::TAU;

use crate::error::Result;
use crate::tensor::Array;
use crate::weights::{Scope, Weight};

/// Embeddings of boxes and of image positions for the decoder.
pub(super) struct PromptEncoder {
    /// Frequencies `[2, features]`: turns per half of the frame along x and y.
    positional_embedding: Weight,
    /// Embeddings of the upper left and of the lower right corner `[2, channels]`.
    corner_embed: Weight,
    /// Positions of the middles of the patches `[grid², channels]`.
    pub image_positions: Weight,
    /// Embedding of "no mask prompt" `[channels]`, added at each position of the image.
    pub no_mask_embed: Weight,
}

impl PromptEncoder {
    /// Reads what boxes need; embeddings of points and masks are skipped.
    pub fn load(weights: &Scope, channels: usize, grid: usize) -> Result<PromptEncoder> {
        let own = weights.at("prompt_encoder");
        // One tensor under two names, of which files hold either or both.
        let names = ["shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding"];
        names.iter().for_each(|name| weights.ignore(name));
        let name = if weights.contains(names[1]) && !weights.contains(names[0]) { names[1] } else { names[0] };
        for unused in ["mask_embed", "not_a_point_embed", "point_embed.0", "point_embed.1"] {
            own.ignore(unused);
        }
        let corner = |at: usize| own.at("point_embed").at(at).weight("weight", [1, channels]);
        let positional_embedding = weights.weight(name, [2, channels / 2])?;
        Ok(PromptEncoder {
            image_positions: positional_embedding.map([grid * grid, channels], move |turns| Ok(image_positions(&turns, grid))),
            positional_embedding,
            corner_embed: Weight::stacked(&[corner(2)?, corner(3)?]),
            no_mask_embed: own.weight("no_mask_embed.weight", [1, channels])?.reshaped([channels]),
        })
    }

    /// Both corners of each box side by side: `boxes` `[n, 4]` in pixels of a frame of `side` → `[n, 2·channels]`.
    pub fn corners(&self, boxes: &Array, side: usize) -> Result<Array> {
        let (turns, corner_embed) = (self.positional_embedding.to_array()?, self.corner_embed.to_array()?);
        // Coordinates refer to pixel centres: + ½.
        let relative = |pixel: f32| (f64::from(pixel) + 0.5) / side as f64;
        let of_box = |corners: &[f32]| -> Vec<f32> {
            let positions = corners.chunks(2).flat_map(|corner| fourier(&turns, [relative(corner[0]), relative(corner[1])]));
            positions.zip(corner_embed.data()).map(|(position, kind)| position + kind).collect()
        };
        Ok(Array::new([boxes.shape().rows(), corner_embed.shape().len()], boxes.data().chunks(4).flat_map(of_box).collect()))
    }
}

/// Positions of the middles of the patches: `turns` `[2, features]` → `[grid², 2·features]`.
fn image_positions(turns: &Array, grid: usize) -> Array {
    let middle = |at: usize| (at as f64 + 0.5) / grid as f64;
    let data = (0..grid * grid).flat_map(|at| fourier(turns, [middle(at % grid), middle(at / grid)]));
    Array::new([grid * grid, 2 * turns.shape().cols()], data.collect())
}

/// `sin φ` for all features, then `cos φ`, with φ = 2π (2·position − 1) · turns: a position in [0, 1]² and `turns` `[2, features]` →
/// `2·features`.
fn fourier(turns: &Array, [x, y]: [f64; 2]) -> Vec<f32> {
    let (along_x, along_y) = turns.data().split_at(turns.shape().cols());
    let turns = along_x.iter().zip(along_y);
    let phases: Vec<f64> = turns
        .map(|(&along_x, &along_y)| TAU * ((2.0 * x - 1.0) * f64::from(along_x) + (2.0 * y - 1.0) * f64::from(along_y)))
        .collect();
    let sines = phases.iter().map(|phase| phase.sin());
    sines.chain(phases.iter().map(|phase| phase.cos())).map(|value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_to_the_right_and_half_a_turn_down() {
        // x = 1 is one half of the frame from its middle, y = ¾ half of that: ¼ turn by the first feature, ½ turn by the second.
        let found = fourier(&Array::new([2, 2], vec![0.25, 0.0, 0.0, 1.0]), [1.0, 0.75]);
        let near = |(found, expected): (&f32, f32)| (found - expected).abs() < 1e-6;
        assert!(found.iter().zip([1.0, 0.0, 0.0, -1.0]).all(near), "{found:?}");
    }
}
