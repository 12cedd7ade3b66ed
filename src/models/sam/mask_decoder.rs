//! SAM's mask decoder: mask logits are products of a box's mask token with upscaled features of the image (Kirillov et al. 2023, §3).

use crate::error::Result;
use crate::graph::{Epilogue, Tensor};
use crate::kernels::Activation;
use crate::models::sam::MaskDecoderConfig;
use crate::models::sam::two_way::TwoWay;
use crate::nn::{ConvTranspose, LayerNorm, PredictionHead};
use crate::weights::{Scope, Weight};

/// ε of the norm between the two upscaling layers.
const UPSCALE_EPS: f32 = 1e-6;

/// Mask decoder: from the tokens of boxes to masks.
pub(super) struct MaskDecoder {
    /// The IoU token, then the mask tokens `[1 + masks, channels]`.
    pub tokens: Weight,
    transformer: TwoWay,
    upscale_conv1: ConvTranspose,
    upscale_layer_norm: LayerNorm,
    upscale_conv2: ConvTranspose,
    /// Hypernetwork MLP of mask token 0.
    hypernetwork: PredictionHead,
    /// MLP that predicts the IoU of mask token 0.
    iou_prediction_head: PredictionHead,
}

impl MaskDecoder {
    /// Reads what mask token 0 needs; the networks of the other mask tokens are skipped.
    pub fn load(weights: &Scope, channels: usize, config: &MaskDecoderConfig) -> Result<MaskDecoder> {
        let [masks, _] = weights.sizes("mask_tokens.weight")?;
        let tokens = [weights.weight("iou_token.weight", [1, channels])?, weights.weight("mask_tokens.weight", [masks, channels])?];
        let hypernetworks = weights.at("output_hypernetworks_mlps");
        (1..masks).for_each(|other| hypernetworks.ignore(&other.to_string()));
        Ok(MaskDecoder {
            tokens: Weight::stacked(&tokens),
            transformer: TwoWay::load(&weights.at("transformer"), channels, config)?,
            upscale_conv1: ConvTranspose::load(&weights.at("upscale_conv1"), channels, channels / 4)?,
            upscale_layer_norm: LayerNorm::load(&weights.at("upscale_layer_norm"), channels / 4, UPSCALE_EPS)?,
            upscale_conv2: ConvTranspose::load(&weights.at("upscale_conv2"), channels / 4, channels / 8)?,
            hypernetwork: prediction_head(&hypernetworks.at(0), channels, channels / 8)?,
            iou_prediction_head: prediction_head(&weights.at("iou_prediction_head"), channels, masks)?.outputs(0..1),
        })
    }

    /// Cells of a mask along one side of a patch.
    pub fn enlargement(&self) -> usize {
        self.upscale_conv1.kernel() * self.upscale_conv2.kernel()
    }

    /// `image` `[grid², channels]`, its positions, and `tokens` `[boxes, n, channels]` → logits `[boxes, cells]` and scores `[boxes, 1]`.
    pub fn forward<'g>(&self, image: Tensor<'g>, image_positions: Tensor<'g>, tokens: Tensor<'g>) -> (Tensor<'g>, Tensor<'g>) {
        let [boxes, count, channels] = tokens.shape().axes();
        let [tokens, image] = self.transformer.forward(tokens, image, image_positions);
        let of_each_box = |token: usize| tokens.gather(&(0..boxes).map(|at| at * count + token).collect::<Vec<_>>());
        let scores = self.iou_prediction_head.forward(of_each_box(0));
        let hyper = self.hypernetwork.forward(of_each_box(1)); // [boxes, channels / 8]

        let grid = image_positions.shape().rows().isqrt();
        let x = self.upscale_conv1.forward(image.reshape([boxes, grid, grid, channels]), Activation::Identity);
        let x = self.upscale_layer_norm.forward(x).activate(Activation::Gelu);
        let upscaled = self.upscale_conv2.forward(x, Activation::Gelu); // [boxes, 4·grid, 4·grid, channels / 8]
        (dot(upscaled, hyper), scores)
    }
}

/// The product of each cell with the vector of its box: `cells` `[boxes, …, dim]` and `vectors` `[boxes, dim]` → `[boxes, cells]`.
///
/// One matrix product of all cells with the vectors of all boxes, of which each cell keeps the product with its own box: more arithmetic,
/// but no intermediate of the size of all features. Columns are padded to a multiple of 4, for which there are faster kernels.
fn dot<'g>(cells: Tensor<'g>, vectors: Tensor<'g>) -> Tensor<'g> {
    let [boxes, dim] = vectors.shape().axes();
    let rows = cells.shape().rows();
    let columns: Vec<usize> = (0..boxes.next_multiple_of(4)).map(|column| column % boxes).collect();
    let products = cells.reshape([rows, dim]).matmul(vectors.gather(&columns).transposed(), Epilogue::default()); // [rows, columns]
    let own: Vec<usize> = (0..rows).map(|row| row * columns.len() + row / (rows / boxes)).collect();
    products.reshape([rows * columns.len(), 1]).gather(&own).reshape([boxes, rows / boxes])
}

fn prediction_head(weights: &Scope, inputs: usize, outputs: usize) -> Result<PredictionHead> {
    let between = (0..weights.at("layers").blocks()).map(|at| format!("layers.{at}"));
    let names: Vec<String> = std::iter::once("proj_in".to_owned()).chain(between).chain(["proj_out".to_owned()]).collect();
    PredictionHead::load(weights, &names, inputs, outputs)
}
