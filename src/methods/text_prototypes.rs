//! Text prototypes: the embeddings of prompts, their averages for the normal and the anomalous state, and the probability of each state for
//! an image embedding.

use crate::error::Result;
use crate::graph::{Constant, Epilogue, Graph, Tensor};
use crate::methods::prompts::Average;
use crate::methods::{LEAST_NORM, finite};
use crate::models::clip::Clip;
use crate::run::{Device, Program};
use crate::tensor::{Array, DType, Precision};

/// Temperature: the divisor of the cosines before the softmax over the two states.
///
/// WinCLIP prints a symbol only; 0.07 is CLIP's value at the start of its training, and that of the public reproduction.
pub const TEMPERATURE: f32 = 0.07;

/// CLIP's learnt temperature, 1 / 100, which MaskCLIP and Trans-MM use.
pub const LEARNT_TEMPERATURE: f32 = 0.01;

/// Most text tokens in one batch, so that the widest activations of a large tower fit the largest binding of common adapters.
const MAX_TOKENS: usize = 4096;

/// Embeddings of texts given as token ids, projected and not normalised: `[texts, embed]`.
///
/// `done` is called with the number of embedded texts after each batch. Errors: ids that the tower does not know, a device fault, or an
/// error of `done`.
pub fn embed_texts(
    device: &Device,
    clip: &Clip,
    texts: &[Vec<u32>],
    precision: Precision,
    mut done: impl FnMut(usize) -> Result<()>,
) -> Result<Array> {
    let embed = clip.text.embed();
    let mut data = Vec::with_capacity(texts.len() * embed);
    let mut rest = texts;
    // The previous program, held so that the weights stay on the device for the next one.
    let mut held = None;
    while !rest.is_empty() {
        let mut tokens = 0;
        let fitting = rest.iter().take_while(|text| {
            tokens += text.len();
            tokens <= MAX_TOKENS
        });
        let (batch, later) = rest.split_at(fitting.count().max(1));
        let graph = Graph::new(precision);
        let lengths: Vec<usize> = batch.iter().map(Vec::len).collect();
        let rows = clip.text.embed_tokens(batch)?;
        let embeddings = clip.text.forward(&graph, &lengths).cast(DType::F32);
        let program = Program::compile(device, &graph, &[embeddings])?;
        data.extend_from_slice(finite(program.run(&[&rows])?.remove(0), "the embedding of a prompt")?.data());
        held = Some(program);
        rest = later;
        done(texts.len() - rest.len())?;
    }
    drop(held);
    Ok(Array::new([texts.len(), embed], data))
}

/// The prototype of a state from the embeddings of its prompts `[n, embed]`: a row of unit length.
pub fn prototype(embeddings: &Array, average: Average) -> Vec<f32> {
    let embed = embeddings.shape().cols();
    let mut mean = vec![0.0_f64; embed];
    for row in embeddings.data().chunks_exact(embed) {
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        let scale = match average {
            Average::NormalizeEach => 1.0 / norm(&row),
            Average::MeanRaw => 1.0,
        };
        mean.iter_mut().zip(&row).for_each(|(mean, x)| *mean += scale * x);
    }
    let scale = 1.0 / norm(&mean);
    mean.into_iter().map(|x| (scale * x) as f32).collect()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::from(LEAST_NORM))
}

/// The prototypes of both states as columns `[embed, 2]`, normal first.
pub(super) fn prototype_columns(prototypes: &Array) -> Constant {
    Constant::real("prototypes", prototypes.transposed())
}

/// Class probabilities of each embedding: softmax(cosines / temperature) over the prototypes of the normal and the anomalous state.
///
/// `embeddings` `[n, embed]`, of any length, `prototypes` `[embed, 2]` → f32 `[n, 2]`, whose columns sum to 1.
pub(super) fn class_probabilities<'g>(embeddings: Tensor<'g>, prototypes: &Constant, temperature: f32) -> Tensor<'g> {
    let unit = embeddings.cast(DType::F32).normalize_rows(LEAST_NORM);
    let prototypes = unit.graph().constant_f32(prototypes);
    unit.matmul(prototypes, Epilogue::default()).scale(1.0 / temperature).softmax()
}

/// The probability of the anomalous state: the second column of `[n, 2]`.
pub(super) fn anomalous(probabilities: &Array) -> Vec<f32> {
    probabilities.data().chunks_exact(2).map(|row| row[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_of_prompts_differ_by_whether_each_is_normalised_first() {
        // Lengths 5 and 1: normalised, the mean points between both; raw, along the longer one.
        let embeddings = Array::new([2, 2], vec![5.0, 0.0, 0.0, 1.0]);
        let each = prototype(&embeddings, Average::NormalizeEach);
        assert!(each.iter().all(|x| (x - 0.5_f32.sqrt()).abs() < 1e-7), "{each:?}");
        let raw = prototype(&embeddings, Average::MeanRaw);
        assert!((raw[0] - 5.0 / 26.0_f32.sqrt()).abs() < 1e-7, "{raw:?}");
    }
}
