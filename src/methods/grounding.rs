//! Boxes of what a caption names (GroundingDINO, Liu et al. 2023).

use crate::error::{Code, Error, Result};
use crate::graph::Graph;
use crate::image::{Channels, Filter, Fit, Geometry, Normalization, Preprocess, Resampler, Rgb};
use crate::kernels::Grid;
use crate::methods::finite;
use crate::methods::programs::{BatchSize, Programs};
use crate::models::GroundingDino;
use crate::models::grounding_dino::Semantics;
use crate::run::{Device, Input, Program, Value};
use crate::tensor::{Array, DType, Precision};
use crate::text::{BertTokenizer, Caption, SubSentences};

/// Shorter side of images after scaling, and the bound of the longer one (`groundingdino/util/inference.py`).
const SHORTER_SIDE: usize = 800;
const LONGER_SIDE: usize = 1333;

/// Captions are padded to a multiple of this many tokens, so that captions of similar lengths share programs and kernels find whole blocks.
const TOKENS_TOGETHER: usize = 16;

/// Cells of all captions of a batch together, in this order of size a GPU has enough to do. What does not fit a device is found when it is tried.
const BATCH_CELLS: usize = 65_536;

/// Sizes of images whose programs are kept: upright and lying ones.
const SIZES_KEPT: usize = 2;

/// GroundingDINO on a device: an image is encoded once; then captions that were embedded once are looked for in it.
pub struct Grounder {
    device: Device,
    network: GroundingDino,
    precision: Precision,
    semantics: Semantics,
    encoders: Programs<[usize; 2]>,
    finders: Programs<FinderKey>,
    /// In cells.
    batch: BatchSize,
}

/// What a program that looks for captions is made for: the levels of the image's pyramid, captions, and tokens of each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FinderKey {
    levels: Vec<Grid>,
    captions: usize,
    tokens: usize,
}

/// An image resized and normalised for the encoder.
pub struct PreparedImage {
    /// `[1, 3, h, w]`.
    pixels: Array,
    geometry: Geometry,
    levels: Vec<Grid>,
}

/// Features of an image, on the device.
pub struct EncodedImage {
    /// `[cells, dim]`; they stay where they were computed.
    cells: Value,
    geometry: Geometry,
    levels: Vec<Grid>,
}

/// Captions whose features are on the device.
pub struct EmbeddedCaptions {
    /// Features `[tokens, dim]` of each, and what its tokens attend to.
    captions: Vec<(Value, SubSentences)>,
    /// Tokens of each, padding included.
    tokens: usize,
}

/// A box that the network predicts for a caption; most of them mean nothing, as their probabilities say.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// x0, y0, x1, y1 in pixels of the image, which they may leave.
    pub corners: [f32; 4],
    /// Area as a share of the image's, before anything is cut off.
    pub area: f32,
    /// Probability of each token of the caption, special ones included.
    pub probabilities: Vec<f32>,
}

impl Candidate {
    /// The largest probability of a token.
    pub fn score(&self) -> f32 {
        self.probabilities.iter().copied().fold(0.0, f32::max)
    }
}

impl Grounder {
    /// A network on a device. Programs are compiled when they are first needed.
    pub fn new(device: &Device, network: GroundingDino, precision: Precision, semantics: Semantics) -> Grounder {
        Grounder {
            device: device.clone(),
            network,
            precision,
            semantics,
            encoders: Programs::new(SIZES_KEPT),
            finders: Programs::new(2 * SIZES_KEPT),
            batch: BatchSize::new(BATCH_CELLS),
        }
    }

    /// Gives the memory of the programs that encode images back; they are compiled again when they are needed.
    pub(super) fn release_encoders(&self) {
        self.encoders.clear();
    }

    /// The same of the programs that look for captions.
    pub(super) fn release_finders(&self) {
        self.finders.clear();
    }

    /// Embeds captions, for any number of images. The text network leaves the device again.
    ///
    /// Errors: weights for fewer tokens or shorter captions, a device fault, or a device that cannot hold the weights.
    pub fn embed(&self, captions: &[Caption]) -> Result<EmbeddedCaptions> {
        if self.network.vocabulary() < BertTokenizer::VOCABULARY {
            let message = format!("weights for {} tokens; captions are read with {}", self.network.vocabulary(), BertTokenizer::VOCABULARY);
            return Err(Error::new(Code::WeightsMismatch, message));
        }
        if captions.is_empty() {
            return Ok(EmbeddedCaptions { captions: Vec::new(), tokens: 0 });
        }
        let longest = captions.iter().map(|caption| caption.tokens().ids.len()).max().unwrap_or(0);
        if longest > self.network.max_tokens() {
            let message = format!("a caption of {longest} tokens, these weights are for at most {}", self.network.max_tokens());
            return Err(Error::new(Code::Prompt, message));
        }
        let tokens = longest.next_multiple_of(TOKENS_TOGETHER);
        let embedder = {
            let graph = Graph::new(self.precision);
            let text = self.network.project_text(self.network.embed_text(&graph, 1, tokens));
            Program::compile(&self.device, &graph, &[text.cast(DType::F32)])?
        };
        let embed = |caption: &Caption| {
            let arrays = self.network.embedding_inputs(std::slice::from_ref(caption.tokens()), tokens);
            let inputs: Vec<Input<'_>> = arrays.iter().map(Input::from).collect();
            Ok((embedder.run_resident(&inputs)?.remove(0), caption.tokens().clone()))
        };
        let embedded = captions.iter().map(embed).collect::<Result<_>>()?;
        Ok(EmbeddedCaptions { captions: embedded, tokens })
    }

    /// Resizes and normalises an image for [`Grounder::encode`].
    pub fn prepare(&self, image: &Rgb) -> PreparedImage {
        let recipe = Preprocess {
            fit: match self.semantics {
                Semantics::Original => Fit::Within { size: SHORTER_SIDE, longest: LONGER_SIDE },
                Semantics::Transformers => Fit::WithinUnrounded { size: SHORTER_SIDE, longest: LONGER_SIDE },
            },
            resampler: Resampler::Pillow(Filter::Bilinear),
            channels: Channels::Rgb,
            normalization: Normalization::IMAGENET,
        };
        let (pixels, geometry) = recipe.apply(image);
        let levels = self.network.levels(geometry.frame.0, geometry.frame.1);
        PreparedImage { pixels: self.network.pad(&pixels), geometry, levels }
    }

    /// Encodes an image: what does not depend on captions.
    ///
    /// Errors: a device fault, too little memory. Numbers that are not finite are found by [`Grounder::find`].
    pub fn encode(&self, prepared: &PreparedImage) -> Result<EncodedImage> {
        let [_, _, height, width] = prepared.pixels.shape().axes();
        let compile = || {
            let graph = Graph::new(self.precision);
            let features = self.network.encode_image(graph.input("pixels", prepared.pixels.shape()));
            Program::compile(&self.device, &graph, &[features.cells.cast(DType::F32)])
        };
        let encode = |encoder: &Program| Ok(encoder.run_resident(&[Input::from(&prepared.pixels)])?.remove(0));
        let cells = self.encoders.with(&[height, width], compile, encode)?;
        Ok(EncodedImage { cells, geometry: prepared.geometry, levels: prepared.levels.clone() })
    }

    /// The candidates for each caption, in the order of the network's queries.
    ///
    /// Errors: a device fault, too little memory for a single caption, numbers that are not finite.
    pub fn find(&self, image: &EncodedImage, captions: &EmbeddedCaptions) -> Result<Vec<Vec<Candidate>>> {
        let cells = image.levels.iter().map(|level| level.cells()).sum();
        self.batch
            .run(&captions.captions, cells, "captions", |batch| self.find_batch(image, batch, captions.tokens))
    }

    fn find_batch(&self, image: &EncodedImage, batch: &[(Value, SubSentences)], tokens: usize) -> Result<Vec<Vec<Candidate>>> {
        let (network, queries) = (&self.network, self.network.queries(&image.levels));
        let key = FinderKey { levels: image.levels.clone(), captions: batch.len(), tokens };
        let compile = || {
            let graph = Graph::new(self.precision);
            let (storage, dim) = (self.precision.storage(), network.dim());
            let cells = graph.input("cells", image.cells.shape()).cast(storage);
            let texts = (0..batch.len()).map(|at| graph.input(&format!("text {at}"), [tokens, dim]).reshape([1, tokens * dim]));
            // One row of all captions, which follow each other in it.
            let joined = texts.reduce(|all, text| all.concat(text)).expect("a batch has captions");
            let text = joined.reshape([batch.len() * tokens, dim]).cast(storage);
            let captions = network.captions(&graph, batch.len(), tokens, queries);
            let found = network.detect([cells, text], &image.levels, &captions, self.semantics, None);
            Program::compile(&self.device, &graph, &[found.logits, found.boxes])
        };
        let sentences: Vec<SubSentences> = batch.iter().map(|(_, sentences)| sentences.clone()).collect();
        let arrays = network.detection_inputs(&sentences, tokens, queries);
        let texts = batch.iter().map(|(text, _)| Input::from(text));
        let inputs: Vec<Input<'_>> = std::iter::once(Input::from(&image.cells))
            .chain(texts)
            .chain(arrays.iter().map(Input::from))
            .collect();
        let mut outputs = self.finders.with(&key, compile, |finder| finder.submit(&inputs)?.wait())?.into_iter();
        let mut next = |what| finite(outputs.next().expect("a finder has two outputs"), what);
        let (logits, boxes) = (next("the logits of GroundingDINO")?, next("the boxes of GroundingDINO")?);
        let of_caption = |(at, sentences): (usize, &SubSentences)| {
            let rows = at * queries..(at + 1) * queries;
            let row = |row: usize| {
                let logits = &logits.data()[row * tokens..][..sentences.ids.len()];
                image.candidate(logits, &boxes.data()[4 * row..][..4])
            };
            rows.map(row).collect()
        };
        Ok(sentences.iter().enumerate().map(of_caption).collect())
    }
}

impl EncodedImage {
    /// A candidate from logits of tokens, and from column, row, width and height as shares of the image.
    fn candidate(&self, logits: &[f32], shares: &[f32]) -> Candidate {
        let (height, width) = (self.geometry.original.0 as f32, self.geometry.original.1 as f32);
        let [x, y, w, h] = [shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height];
        let [x0, y0] = [x - w / 2.0, y - h / 2.0];
        Candidate {
            corners: [x0, y0, x0 + w, y0 + h],
            area: shares[2] * shares[3],
            probabilities: logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
        }
    }
}
