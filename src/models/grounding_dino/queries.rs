//! Language-guided query selection: the cells of the image that are most like a token become queries (Liu et al. 2023, §3.2).

use crate::error::Result;
use crate::graph::{Constant, Epilogue, Tensor};
use crate::kernels::{Activation, Selection};
use crate::models::grounding_dino::Captions;
use crate::models::grounding_dino::pyramid::{Proposals, Pyramid};
use crate::nn::{LayerNorm, Linear, PredictionHead};
use crate::tensor::{Array, DType};
use crate::weights::Scope;

/// Selects cells and predicts a box from each.
pub(super) struct QuerySelection {
    enc_output: Linear,
    enc_output_norm: LayerNorm,
    bbox_embed: PredictionHead,
}

/// Selected queries, in the order of their scores.
pub(super) struct Queries<'g> {
    /// Their cells, counted through all captions, whole numbers `[captions, queries]`.
    pub rows: Tensor<'g>,
    /// Boxes from which the decoder starts `[captions, queries, 4]`: column and row of the middle, width and height, as shares of the image.
    pub boxes: Tensor<'g>,
}

impl QuerySelection {
    pub fn load(weights: &Scope, dim: usize, eps: f32) -> Result<QuerySelection> {
        Ok(QuerySelection {
            enc_output: Linear::load(&weights.at("enc_output"), dim, dim)?,
            enc_output_norm: LayerNorm::load(&weights.at("enc_output_norm"), dim, eps)?,
            bbox_embed: box_head(&weights.at("encoder_output_bbox_embed"), dim)?,
        })
    }

    /// Selects from `image` `[captions, cells, dim]` by likeness to `text` `[captions · tokens, dim]`; `rows` are taken instead where given.
    pub fn forward<'g>(
        &self,
        image: Tensor<'g>,
        text: Tensor<'g>,
        captions: &Captions<'g>,
        pyramid: &Pyramid<'g>,
        rows: Option<Tensor<'g>>,
    ) -> Queries<'g> {
        let graph = image.graph();
        let (count, cells, dim) = (captions.count, pyramid.cells(), text.shape().cols());
        let proposals = Proposals::new(&pyramid.levels);
        let considered = (0..count * cells).map(|row| proposals.considered[row % cells].then_some(row));
        let memory = image.reshape([count * cells, dim]).gather_padded(&considered.collect::<Vec<_>>());
        let output = self.enc_output_norm.forward(self.enc_output.forward(memory)); // [captions · cells, dim]
        let rows = rows.unwrap_or_else(|| {
            let epilogue = Epilogue { bias: Some(captions.padding), ..Epilogue::default() };
            let likeness = output.reshape([count, cells, dim]).batched_matmul(captions.columns(text), epilogue);
            let likeness = likeness.reshape([count * cells, captions.tokens]).cast(DType::F32);
            likeness.top_mean(Selection::Largest, 1).reshape([count, cells]).top_rows(captions.queries)
        });
        let logits = Array::new([count * cells, 4], proposals.logits.data().repeat(count));
        let logits = graph.constant_f32(&Constant::real("proposals", logits)).gather_at(rows);
        let boxes = refined(&self.bbox_embed, output.gather_at(rows), logits);
        Queries { rows, boxes: boxes.reshape([count, captions.queries, 4]) }
    }
}

/// A head of linear layers, in published files three, that predicts a box.
pub(super) fn box_head(weights: &Scope, dim: usize) -> Result<PredictionHead> {
    let layers = weights.at("layers");
    // Of a head that is not there the first layer is missed.
    let names: Vec<String> = (0..layers.blocks().max(1)).map(|at| at.to_string()).collect();
    PredictionHead::load(&layers, &names, dim, 4)
}

/// Boxes that a head makes of boxes: `sigmoid(head(x) + logits)` in f32, `x` `[…, dim]` and `logits` `[…, 4]` → `[rows, 4]`.
pub(super) fn refined<'g>(head: &PredictionHead, x: Tensor<'g>, logits: Tensor<'g>) -> Tensor<'g> {
    let graph = x.graph();
    let last = head.layers().last().expect("a head has layers");
    let epilogue = Epilogue {
        bias: last.bias().map(|bias| graph.weight_f32(bias)),
        residual: Some(logits),
        activation: Activation::Sigmoid,
    };
    head.hidden(x).cast(DType::F32).matmul(graph.weight_f32(last.weight()), epilogue)
}
