//! GroundingDINO (Liu et al. 2023) as transformers publishes it: boxes of what a caption names.
//!
//! An image is encoded once, captions are embedded once; then each pair is enhanced, queries are selected and refined to boxes.

mod bert;
mod config;
mod decoder;
mod deformable;
mod encoder;
mod neck;
mod pyramid;
mod queries;
mod raw;
mod swin;

use bert::Bert;
use config::{CONFIG, Config};
use decoder::Decoder;
use encoder::Encoder;
use neck::Neck;
use pyramid::Pyramid;
use queries::QuerySelection;
use swin::Swin;

use crate::error::{Code, Error, Result};
use crate::graph::{Constant, Epilogue, GivenKeyRanges, Graph, Tensor};
use crate::kernels::Grid;
use crate::models::catalog::{Layout, NetworkInfo, Published};
use crate::nn::Linear;
use crate::tensor::{Array, DType};
use crate::text::SubSentences;
use crate::weights::{Checkpoint, Weight};

/// Its entry in the table of networks.
pub static NETWORK: NetworkInfo = NetworkInfo {
    name: "grounding-dino",
    layouts: &[Layout {
        signature: &["model.backbone.conv_encoder.model.embeddings.norm.weight"],
        configuration: Some(CONFIG),
    }],
    published: Some(Published { repository: "IDEA-Research/grounding-dino-tiny", files: &["model.safetensors", CONFIG] }),
    raw: &[raw::BERT, raw::GROUNDING_DINO, raw::GROUNDING_DINO_STAGES],
};

/// Temperature of the sine positions of tokens.
const TEMPERATURE: f32 = 10_000.0;

/// Added to the scores of padding tokens: low enough that none counts, and an f16.
const PADDING: f32 = -30_000.0;

/// GroundingDINO; `IDEA-Research/grounding-dino-tiny` and `-base` differ in sizes only.
pub struct GroundingDino {
    swin: Swin,
    neck: Neck,
    /// Embedding of each level of the pyramid `[levels, dim]`.
    level_embed: Weight,
    bert: Bert,
    text_projection: Linear,
    encoder: Encoder,
    selection: QuerySelection,
    decoder: Decoder,
    config: Config,
}

/// Where the original code and transformers' differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semantics {
    /// The original code, with which the published weights were trained.
    #[default]
    Original,
    /// transformers': logits of coordinates are cut off nearer to 0 and 1, and images are scaled before a side is rounded.
    Transformers,
}

impl Semantics {
    /// Both.
    pub const ALL: [Semantics; 2] = [Semantics::Original, Semantics::Transformers];

    /// The name in records and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Semantics::Original => "original",
            Semantics::Transformers => "transformers",
        }
    }

    /// Description in a line, for help texts.
    pub fn about(self) -> &'static str {
        match self {
            Semantics::Original => "The original code, with which the weights were trained",
            Semantics::Transformers => "transformers': sizes of photos and logits of coordinates are rounded otherwise",
        }
    }

    /// Least distance from 0 and 1 of a coordinate whose logit is taken.
    fn logit_eps(self) -> f32 {
        match self {
            Semantics::Original => 1e-3,
            Semantics::Transformers => 1e-5,
        }
    }
}

/// What a recording knows of captions, each padded to the same number of tokens.
pub struct Captions<'g> {
    /// Number of captions.
    pub count: usize,
    /// Tokens of each, padding included.
    pub tokens: usize,
    /// Queries for each.
    pub queries: usize,
    /// Tokens that each token attends to: those of its phrase.
    phrases: GivenKeyRanges<'g>,
    /// Tokens that each query of the decoder attends to: those of its caption, without padding.
    of_queries: GivenKeyRanges<'g>,
    /// Sine positions of tokens in their phrase `[count · tokens, dim]`.
    sines: Tensor<'g>,
    /// 0, and for padding what makes a score count for nothing, f32 `[count, tokens]`.
    padding: Tensor<'g>,
}

/// Features of an image.
pub struct ImageFeatures<'g> {
    /// Normalised feature maps of the backbone `[1, h, w, c]`, finest first.
    pub maps: Vec<Tensor<'g>>,
    /// Projected features of all cells of the pyramid `[cells, dim]`.
    pub cells: Tensor<'g>,
}

/// Features of an image and captions that attended to each other.
#[derive(Clone, Copy)]
pub struct Enhanced<'g> {
    /// `[captions, cells, dim]`.
    pub image: Tensor<'g>,
    /// `[captions · tokens, dim]`.
    pub text: Tensor<'g>,
}

/// Boxes for captions.
pub struct Detections<'g> {
    /// Enhanced features.
    pub enhanced: Enhanced<'g>,
    /// Cells of the image that became queries, counted through all captions, whole numbers `[captions, queries]`.
    pub rows: Tensor<'g>,
    /// Normalised queries after each layer of the decoder `[captions, queries, dim]`.
    pub queries: Vec<Tensor<'g>>,
    /// Logits of each query for each token, f32 `[captions, queries, tokens]`; columns of padding mean nothing.
    pub logits: Tensor<'g>,
    /// Column and row of the middle, width and height of each query's box as shares of the image, f32 `[captions, queries, 4]`.
    pub boxes: Tensor<'g>,
}

impl<'g> Captions<'g> {
    /// `[count · tokens, dim]` → `[count, dim, tokens]`.
    fn columns(&self, text: Tensor<'g>) -> Tensor<'g> {
        text.reshape([self.count, self.tokens, text.shape().cols()]).permute(&[0, 2, 1])
    }
}

impl GroundingDino {
    /// Reads a snapshot with `config.json`; sizes are those of the tensors.
    ///
    /// Errors: no configuration, one that does not fit the tensors, or the first tensors that are missing or ill-shaped.
    pub fn load(checkpoint: &Checkpoint) -> Result<GroundingDino> {
        let config = Config::of(checkpoint)?;
        checkpoint.root().load(|weights| {
            let model = weights.at("model");
            let [levels, dim] = model.sizes("level_embed")?;
            let [queries, _] = model.sizes("query_position_embeddings.weight")?;
            for (key, named, found) in [("num_feature_levels", config.levels, levels), ("num_queries", config.num_queries, queries)] {
                if named != found {
                    return Err(Error::new(Code::WeightsMismatch, format!("`{CONFIG}` sets `{key}` to {named}, the tensors have {found}")));
                }
            }
            let backbone = model.at("backbone.conv_encoder.model");
            let swin = Swin::load(&backbone, &backbone.at("hidden_states_norms"), &config.swin)?;
            let bert = Bert::load(&model.at("text_backbone"), &config.bert)?;
            let query_embed = model.weight("query_position_embeddings.weight", [queries, dim])?;
            let heads = [&weights.at("bbox_embed"), &model.at("decoder.bbox_embed")];
            Ok(GroundingDino {
                neck: Neck::load(&model.at("input_proj_vision"), &swin.channels(), levels, dim)?,
                level_embed: model.weight("level_embed", [levels, dim])?,
                text_projection: Linear::load(&model.at("text_projection"), bert.width(), dim)?,
                encoder: Encoder::load(&model.at("encoder"), dim, &config)?,
                selection: QuerySelection::load(&model, dim, config.layer_norm_eps)?,
                decoder: Decoder::load(&model.at("decoder"), query_embed, heads, &config)?,
                swin,
                bert,
                config,
            })
        })
    }

    /// Elements of a feature.
    pub fn dim(&self) -> usize {
        self.level_embed.shape().cols()
    }

    /// Queries that are refined to boxes for each caption: fewer where an image has fewer cells.
    pub fn queries(&self, levels: &[Grid]) -> usize {
        self.config.num_queries.min(levels.iter().map(|level| level.cells()).sum())
    }

    /// Tokens of the longest caption.
    pub fn max_tokens(&self) -> usize {
        self.config.max_text_len.min(self.bert.positions())
    }

    /// Number of token ids.
    pub fn vocabulary(&self) -> usize {
        self.bert.vocabulary()
    }

    /// Images are padded with zeros, to the right and below, to multiples of this.
    pub fn patch(&self) -> usize {
        self.swin.patch()
    }

    /// Levels of the pyramid of an image of `height` × `width` pixels.
    pub fn levels(&self, height: usize, width: usize) -> Vec<Grid> {
        let halved = |size: usize, times: usize| (0..times).fold(size.div_ceil(self.patch()), |size, _| size.div_ceil(2));
        // Of the stages the first has whole patches; a level without a stage follows the last.
        let stages = self.config.swin.outputs.iter().map(|stage| stage - 1);
        let last = self.config.swin.depths.len() - 1;
        let times = stages.chain(last + 1..).take(self.config.levels);
        times.map(|times| Grid { rows: halved(height, times), cols: halved(width, times) }).collect()
    }

    /// Pads `pixels` `[1, 3, h, w]` with zeros to whole patches.
    pub fn pad(&self, pixels: &Array) -> Array {
        let [images, channels, height, width] = pixels.shape().axes();
        let [rows, cols] = [height, width].map(|size| size.next_multiple_of(self.patch()));
        let lines = pixels.data().chunks_exact(width);
        let mut padded = Array::zeros([images, channels, rows, cols]);
        for (at, line) in lines.enumerate() {
            let start = (at / height * rows + at % height) * cols;
            padded.data_mut()[start..start + width].copy_from_slice(line);
        }
        padded
    }

    /// Encodes an image: `pixels` `[1, 3, h, w]` of whole patches, normalised with ImageNet's statistics.
    pub fn encode_image<'g>(&self, pixels: Tensor<'g>) -> ImageFeatures<'g> {
        let maps = self.swin.forward(pixels);
        let levels = self
            .neck
            .forward(&maps)
            .into_iter()
            .map(|level| level.reshape([level.shape().len() / self.dim(), self.dim()]));
        // Concatenation joins rows: the levels, each as one row.
        let joined = levels.map(|level| level.reshape([1, level.shape().len()])).reduce(Tensor::concat);
        let joined = joined.expect("a pyramid has levels");
        ImageFeatures { maps, cells: joined.reshape([joined.shape().len() / self.dim(), self.dim()]) }
    }

    /// Inputs of captions for an embedding: `ids` and `positions` `[count · tokens]`, `phrases` `[count · tokens, 2]`.
    ///
    /// Panics where a caption has more tokens.
    pub fn embedding_inputs(&self, captions: &[SubSentences], tokens: usize) -> Vec<Array> {
        let rows = captions.len() * tokens;
        let padded = |of: fn(&SubSentences) -> &[u32]| {
            let one = move |caption| padded(of(caption), tokens, |_| 0);
            Array::new([rows], captions.iter().flat_map(one).collect())
        };
        vec![padded(|caption| &caption.ids), padded(|caption| &caption.positions), phrase_ranges(captions, tokens)]
    }

    /// Inputs of captions for a detection with so many queries: `positions` `[count · tokens]`, `phrases` `[count · tokens, 2]`, `queries` `[count · queries, 2]`,
    /// `padding` `[count, tokens]`.
    ///
    /// Panics where a caption has more tokens.
    pub fn detection_inputs(&self, captions: &[SubSentences], tokens: usize, queries: usize) -> Vec<Array> {
        let [_, positions, phrases] = <[Array; 3]>::try_from(self.embedding_inputs(captions, tokens)).expect("there are three");
        let of_query = |(at, caption): (usize, &SubSentences)| {
            let start = (at * tokens) as f32;
            [start, start + caption.ids.len() as f32].repeat(queries)
        };
        let ranges = captions.iter().enumerate().flat_map(of_query).collect();
        let padding = captions
            .iter()
            .flat_map(|caption| (0..tokens).map(|at| if at < caption.ids.len() { 0.0 } else { PADDING }))
            .collect();
        vec![positions, phrases, Array::new([captions.len() * queries, 2], ranges), Array::new([captions.len(), tokens], padding)]
    }

    /// Contextual embeddings of captions by BERT: records the inputs of [`GroundingDino::embedding_inputs`] → `[count · tokens, width]`.
    pub fn embed_text<'g>(&self, graph: &'g Graph, count: usize, tokens: usize) -> Tensor<'g> {
        let rows = count * tokens;
        let [ids, positions] = ["ids", "positions"].map(|name| graph.input_whole(name, [rows]));
        let phrases = GivenKeyRanges::new(graph.input_whole("phrases", [rows, 2]), rows, rows * tokens);
        self.bert.forward(graph, ids, positions, phrases)
    }

    /// Features of embedded tokens: `[count · tokens, width]` → `[count · tokens, dim]`.
    pub fn project_text<'g>(&self, embedded: Tensor<'g>) -> Tensor<'g> {
        self.text_projection.forward(embedded)
    }

    /// Records the inputs of [`GroundingDino::detection_inputs`]; `queries` are those of [`GroundingDino::queries`].
    pub fn captions<'g>(&self, graph: &'g Graph, count: usize, tokens: usize, queries: usize) -> Captions<'g> {
        let rows = count * tokens;
        let positions = graph.input_whole("positions", [rows]);
        Captions {
            count,
            tokens,
            queries,
            phrases: GivenKeyRanges::new(graph.input_whole("phrases", [rows, 2]), rows, rows * tokens),
            of_queries: GivenKeyRanges::new(graph.input_whole("queries", [count * queries, 2]), rows, count * queries * tokens),
            sines: graph
                .constant(&Constant::real("sines", token_sines(self.bert.positions(), self.dim())))
                .gather_at(positions),
            padding: graph.input("padding", [count, tokens]),
        }
    }

    /// Boxes for captions: `cells` `[cells, dim]` of an image with these `levels`, `text` `[count · tokens, dim]`. Queries are selected by
    /// likeness, unless `rows` `[count, queries]` of the cells are given.
    pub fn detect<'g>(
        &self,
        [cells, text]: [Tensor<'g>; 2],
        levels: &[Grid],
        captions: &Captions<'g>,
        semantics: Semantics,
        rows: Option<Tensor<'g>>,
    ) -> Detections<'g> {
        let [count, dim] = cells.shape().axes();
        let pyramid = Pyramid::new(cells.graph(), levels, &self.level_embed, self.config.temperature);
        let copies: Vec<usize> = (0..captions.count * count).map(|row| row % count).collect();
        let image = if captions.count == 1 { cells } else { cells.gather(&copies) }.reshape([captions.count, count, dim]);
        let [image, text] = self.encoder.forward(image, text, captions, &pyramid);
        let selected = self.selection.forward(image, text, captions, &pyramid, rows);
        let decoded = self.decoder.forward([image, text], selected.boxes, captions, &pyramid, semantics);
        let last = decoded.queries.last().copied().expect("a decoder has layers");
        let logits = last.batched_matmul(captions.columns(text), Epilogue::default()).cast(DType::F32);
        Detections {
            enhanced: Enhanced { image, text },
            rows: selected.rows,
            queries: decoded.queries,
            logits,
            boxes: decoded.boxes,
        }
    }
}

/// Whole numbers of a caption's tokens, then those of its padding by its place.
fn padded(numbers: &[u32], tokens: usize, padding: impl Fn(usize) -> u32) -> Vec<f32> {
    assert!(numbers.len() <= tokens, "a caption of {} tokens is padded to {tokens}", numbers.len());
    numbers
        .iter()
        .copied()
        .chain((numbers.len()..tokens).map(padding))
        .map(|number| number as f32)
        .collect()
}

/// Rows that each token of captions attends to `[count · tokens, 2]`; padding attends to itself.
fn phrase_ranges(captions: &[SubSentences], tokens: usize) -> Array {
    let ends = captions.iter().enumerate().flat_map(|(number, caption)| {
        let start = number * tokens;
        let own = caption.ranges.iter().map(|range| range.map(|end| end as usize));
        let padding = (caption.ranges.len()..tokens).map(|at| [at, at + 1]);
        own.chain(padding)
            .flat_map(move |range| range.map(|end| (start + end) as f32))
            .collect::<Vec<f32>>()
    });
    Array::new([captions.len() * tokens, 2], ends.collect())
}

/// Sine positions of tokens `[positions, dim]`, sine and cosine side by side; angles in f32, as the original code has them: they are large.
fn token_sines(positions: usize, dim: usize) -> Array {
    let angle = |position: usize, feature: usize| {
        let period = TEMPERATURE.powf((feature / 2 * 2) as f32 / dim as f32);
        f64::from(position as f32 * std::f32::consts::TAU / period)
    };
    let of_feature = |position: usize, feature: usize| match feature % 2 {
        0 => angle(position, feature).sin() as f32,
        _ => angle(position, feature).cos() as f32,
    };
    let data = (0..positions).flat_map(|position| (0..dim).map(move |feature| of_feature(position, feature)));
    Array::new([positions, dim], data.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_attends_to_itself_and_captions_follow_each_other() {
        let caption = |ids: &[u32]| SubSentences::of(ids);
        // [CLS] a . [SEP], then [CLS] [SEP], padded to four.
        let captions = [caption(&[101, 7, 1012, 102]), caption(&[101, 102])];
        let ranges = phrase_ranges(&captions, 4);
        let expected = [[0, 1], [1, 3], [1, 3], [3, 4], [4, 5], [5, 6], [6, 7], [7, 8]];
        assert_eq!(ranges.data(), expected.as_flattened().iter().map(|&end| end as f32).collect::<Vec<f32>>());
    }

    #[test]
    fn the_second_position_is_a_whole_turn_of_the_first_feature() {
        let sines = token_sines(2, 4);
        assert_eq!(&sines.data()[..4], [0.0, 1.0, 0.0, 1.0]);
        assert!(sines.data()[4].abs() < 1e-6 && (sines.data()[5] - 1.0).abs() < 1e-6);
        // The next pair has a hundred times the period.
        assert!((sines.data()[6] - 0.062_790_52).abs() < 1e-6);
    }
}
