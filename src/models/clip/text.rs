//! CLIP's text tower: a causal transformer; its output at the last token is the embedding of the text.

use crate::error::{Code, Error, Result};
use crate::graph::{Epilogue, Graph, KeyRanges, Tensor};
use crate::models::clip::transformer::Transformer;
use crate::models::clip::{ClipConfig, Naming};
use crate::nn::LayerNorm;
use crate::tensor::Array;
use crate::weights::{Scope, Weight};

/// The text tower.
pub struct TextTower {
    token_embedding: Weight,
    positional_embedding: Weight,
    transformer: Transformer,
    ln_final: LayerNorm,
    /// `[width, embed]`.
    text_projection: Weight,
}

impl TextTower {
    /// Reads the tower; its sizes are those of the tensors.
    pub fn load(weights: &Scope, config: &ClipConfig) -> Result<TextTower> {
        let (tokens, positions, blocks, ln_final) = match config.naming {
            Naming::OpenClip => ("token_embedding.weight", "positional_embedding", "transformer.resblocks", "ln_final"),
            Naming::Transformers => (
                "text_model.embeddings.token_embedding.weight",
                "text_model.embeddings.position_embedding.weight",
                "text_model.encoder.layers",
                "text_model.final_layer_norm",
            ),
        };
        let [vocabulary, width] = weights.sizes(tokens)?;
        let [context, _] = weights.sizes(positions)?;
        let text_projection = match config.naming {
            Naming::OpenClip => {
                let [_, embed] = weights.sizes("text_projection")?;
                weights.weight("text_projection", [width, embed])?
            }
            Naming::Transformers => {
                let [embed, _] = weights.sizes("text_projection.weight")?;
                weights.weight("text_projection.weight", [embed, width])?.transposed()
            }
        };
        Ok(TextTower {
            token_embedding: weights.weight(tokens, [vocabulary, width])?,
            positional_embedding: weights.weight(positions, [context, width])?,
            transformer: Transformer::load(&weights.at(blocks), config.naming, width, &config.text)?,
            ln_final: LayerNorm::load(&weights.at(ln_final), width, config.text.eps)?,
            text_projection,
        })
    }

    /// Largest number of tokens in a text.
    pub fn context(&self) -> usize {
        self.positional_embedding.shape().sizes()[0]
    }

    /// Number of token ids.
    pub fn vocabulary(&self) -> usize {
        self.token_embedding.shape().sizes()[0]
    }

    /// Elements of an embedding.
    pub fn embed(&self) -> usize {
        self.text_projection.shape().cols()
    }

    /// Embeds the tokens of texts and adds positions, one text after the other: `[rows, width]`. Done on the host, because the table of a
    /// large tower is larger than what some adapters can bind.
    ///
    /// Errors: an id beyond the vocabulary, a text longer than the context, weights that are not finite.
    pub fn embed_tokens(&self, texts: &[Vec<u32>]) -> Result<Array> {
        let (table, positions) = (self.token_embedding.to_array()?, self.positional_embedding.to_array()?);
        let width = self.token_embedding.shape().cols();
        let mut rows = Vec::new();
        for text in texts {
            if text.is_empty() || text.len() > self.context() {
                let message = format!("a text of {} tokens; the tower takes 1 to {}", text.len(), self.context());
                return Err(Error::new(Code::Usage, message));
            }
            for (&id, position) in text.iter().zip(positions.data().chunks_exact(width)) {
                let token = table.data().chunks_exact(width).nth(id as usize).ok_or_else(|| {
                    let message = format!("token {id} is beyond the vocabulary of {}", self.vocabulary());
                    Error::new(Code::WeightsMismatch, message).context(format!("in `{}`", self.token_embedding.name()))
                })?;
                rows.extend(token.iter().zip(position).map(|(token, position)| token + position));
            }
        }
        Ok(Array::new([rows.len() / width, width], rows))
    }

    /// Embeddings of texts: records an input `tokens`, which takes what [`TextTower::embed_tokens`] gives for texts of these lengths, and
    /// returns `[texts, embed]`, taken from the last token of each.
    ///
    /// Attention is causal, so padding after the end of a text cannot affect it and is left out.
    pub fn forward<'g>(&self, graph: &'g Graph, lengths: &[usize]) -> Tensor<'g> {
        let rows = lengths.iter().sum::<usize>();
        let x = graph.input("tokens", [rows, self.token_embedding.shape().cols()]).cast(graph.precision().storage());
        let ends: Vec<usize> = lengths
            .iter()
            .scan(0, |end, length| Some(std::mem::replace(end, *end + length) + length - 1))
            .collect();
        let x = self.transformer.forward(x, &KeyRanges::causal(lengths.iter().copied()), &ends);
        self.ln_final.forward(x).matmul(graph.weight(&self.text_projection), Epilogue::default())
    }
}

/// The ids of a text up to its end token, which is the first largest id: open_clip takes the embedding there.
pub fn until_end(ids: &[u32]) -> Vec<u32> {
    let largest = ids.iter().max();
    let end = ids.iter().position(|id| Some(id) == largest).unwrap_or(0);
    ids.iter().take(end + 1).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_at_its_first_largest_id() {
        assert_eq!(until_end(&[8, 2, 9, 0, 9]), [8, 2, 9]);
        assert_eq!(until_end(&[8, 2, 1]), [8]);
        assert_eq!(until_end(&[]), [0; 0]);
    }
}
