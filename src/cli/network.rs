//! What `forward`, `diff` and `profile` share: a raw network, its weights, its input.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use zsas::methods::winclip::{SIDES, windows};
use zsas::models::clip::{Clip, until_end};
use zsas::models::{Sam, WideResNet};
use zsas::{Array, Checkpoint, Code, DType, Error, Graph, Result, Tensor};

use crate::cli::device::DeviceArgs;
use crate::cli::seeded::Seeded;
use crate::cli::weights::Snapshot;
use crate::cli::{usage, weights};

/// Name of the input of image networks.
const PIXELS: &str = "pixel_values";

/// Name of the other input of SAM.
const BOXES: &str = "input_boxes";

/// Name of the input of text networks.
const IDS: &str = "input_ids";

/// Height and width of a random input where the network does not fix them.
const USUAL_SIZE: (usize, usize) = (256, 256);

/// Texts of a random input.
const RANDOM_TEXTS: usize = 4;

/// Boxes of a random input.
const RANDOM_BOXES: usize = 4;

/// Most elements of a random input, so that a slip of the finger does not take all memory.
const MOST_PIXELS: usize = 1 << 26;

/// Networks that can run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// `pixel_values` [b, 3, h, w] → `layer1` … `layer4` [b, c, h', w'], those the weights hold
    WideResnet,
    /// `pixel_values` [b, 3, s, s] → `image_embeds` [b, d], projected, not normalised; `patch_tokens` [b, n, width], last block
    ClipImage,
    /// `pixel_values` [b, 3, s, s] → `windows_2`, `windows_3` [b, count, d], WinCLIP's windows of 2×2 and 3×3 patches, not normalised
    ClipWindows,
    /// `input_ids` i64 [b, context] → `text_embeds` [b, d], projected, not normalised
    ClipText,
    /// `pixel_values` [1, 3, s, s], `input_boxes` [1, n, 4] in its pixels → `image_embeddings` [1, c, g, g], `pred_masks`
    /// [1, n, 1, 4g, 4g], logits of mask token 0, `iou_scores` [1, n, 1]
    Sam,
}

impl NetworkName {
    /// Whose weights it runs on.
    fn snapshot(self) -> Snapshot {
        match self {
            NetworkName::WideResnet => Snapshot::WideResnet,
            NetworkName::ClipImage | NetworkName::ClipWindows | NetworkName::ClipText => Snapshot::Clip,
            NetworkName::Sam => Snapshot::Sam,
        }
    }
}

/// A network on its weights and a device.
#[derive(Args, Debug)]
pub struct NetworkArgs {
    /// The network
    #[arg(value_enum)]
    pub network: NetworkName,

    /// A safetensors file, a snapshot, a folder of snapshots, or `embedded`; without it $ZSAS_WEIGHTS, then the embedded ones
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,

    /// Where it runs.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// An input from a file, or a random one.
#[derive(Args, Debug)]
pub struct InputArgs {
    /// Named arrays to run it on (safetensors); without it seeded random numbers
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "size"])]
    inputs: Option<PathBuf>,

    /// Seed of the random input
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Height and width of the random input; by default those the network was made for, else 256x256
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    size: Option<(usize, usize)>,
}

fn parse_size(text: &str) -> std::result::Result<(usize, usize), String> {
    let size: Option<(usize, usize)> = text
        .split_once(['x', '×'])
        .and_then(|(height, width)| Some((height.parse().ok()?, width.parse().ok()?)));
    match size {
        Some((height, width)) if height > 0 && width > 0 && height.saturating_mul(width) <= MOST_PIXELS => Ok((height, width)),
        Some(_) => Err(format!("each side is at least 1, and there are at most {MOST_PIXELS} pixels")),
        None => Err("expected height and width, as in `256x320`".to_owned()),
    }
}

/// Opens a file of named arrays that must hold one of this name.
fn open_arrays(file: &Path, name: &str) -> Result<Checkpoint> {
    if !file.exists() {
        return Err(Error::new(Code::NotFound, format!("no input arrays at `{}`", file.display())));
    }
    let checkpoint = Checkpoint::open(file)?;
    if !checkpoint.contains(name) {
        let names: Vec<&str> = checkpoint.names().take(5).collect();
        return Err(usage(format!("`{}` holds no `{name}` but `{}`", file.display(), names.join("`, `"))));
    }
    Ok(checkpoint)
}

/// Reads `pixel_values` `[b, 3, h, w]`.
fn read_pixels(file: &Path) -> Result<Array> {
    let checkpoint = open_arrays(file, PIXELS)?;
    let wrong = |shape: String| usage(format!("`{PIXELS}` in `{}` is {shape}, it must be [batch, 3, height, width]", file.display()));
    let Some(shape) = checkpoint.shape(PIXELS) else { return Err(wrong("of too many axes".to_owned())) };
    match *shape.sizes() {
        [batch, 3, height, width] if batch * height * width > 0 => checkpoint.root().weight(PIXELS, shape)?.to_array(),
        _ => Err(wrong(shape.to_string())),
    }
}

/// Reads `input_boxes` `[1, n, 4]` as `[n, 4]`.
fn read_boxes(file: &Path) -> Result<Array> {
    let checkpoint = open_arrays(file, BOXES)?;
    match checkpoint.shape(BOXES).map(|shape| (shape, shape.sizes().to_vec())) {
        Some((shape, sizes)) if sizes.len() == 3 && sizes[0] == 1 && sizes[1] > 0 && sizes[2] == 4 => {
            Ok(checkpoint.root().weight(BOXES, shape)?.to_array()?.reshape([sizes[1], 4]))
        }
        _ => Err(usage(format!("`{BOXES}` in `{}` must be [1, boxes, 4]", file.display()))),
    }
}

/// Reads `input_ids` `[b, t]`: the ids of each text up to its end.
fn read_ids(file: &Path) -> Result<Vec<Vec<u32>>> {
    let checkpoint = open_arrays(file, IDS)?;
    let wrong = |what: &str| usage(format!("`{IDS}` in `{}` {what}, it must be [batch, tokens] of i64", file.display()));
    let shape = checkpoint.shape(IDS).filter(|shape| shape.rank() == 2 && !shape.is_empty());
    let shape = shape.ok_or_else(|| wrong("is empty or of another rank"))?;
    let ids = checkpoint.integers(IDS).ok_or_else(|| wrong("holds no whole numbers"))?;
    let ids: Option<Vec<u32>> = ids.into_iter().map(|id| u32::try_from(id).ok()).collect();
    Ok(ids
        .ok_or_else(|| wrong("holds an id that no vocabulary has"))?
        .chunks(shape.cols())
        .map(until_end)
        .collect())
}

/// A network ready to be recorded.
pub struct Network {
    model: Model,
    precision: zsas::Precision,
}

enum Model {
    WideResNet(WideResNet),
    ClipImage(Clip),
    ClipWindows(Clip),
    ClipText(Clip),
    Sam(Box<Sam>),
}

/// What a network is run on.
pub struct Feed {
    arrays: Vec<Array>,
    /// Tokens of each text.
    lengths: Vec<usize>,
}

impl Feed {
    /// The inputs of the recording.
    pub fn arrays(&self) -> Vec<&Array> {
        self.arrays.iter().collect()
    }

    /// The same photo with boxes on it.
    fn with_boxes(mut self, sam: &Sam, boxes: &Array) -> Result<Feed> {
        self.arrays.push(sam.embed_boxes(boxes)?);
        Ok(self)
    }
}

impl NetworkArgs {
    /// Loads the weights.
    pub fn load(&self) -> Result<Network> {
        let chosen = weights::choose(self.network.snapshot(), self.weights.as_deref())?;
        let checkpoint = &chosen.checkpoint;
        let clip = || Clip::load(checkpoint);
        let model = match self.network {
            NetworkName::WideResnet => Model::WideResNet(WideResNet::load(&checkpoint.root())?),
            NetworkName::ClipImage => Model::ClipImage(clip()?),
            NetworkName::ClipWindows => Model::ClipWindows(clip()?),
            NetworkName::ClipText => Model::ClipText(clip()?),
            NetworkName::Sam => Model::Sam(Box::new(Sam::load(checkpoint)?)),
        };
        checkpoint.finish();
        if let Model::WideResNet(network) = &model
            && network.depth() == 0
        {
            return Err(Error::new(Code::WeightsMismatch, format!("`{}` holds a stem but no layer", checkpoint.name())));
        }
        Ok(Network { model, precision: self.device.precision.precision() })
    }
}

impl Network {
    /// The input the user named, or a random one.
    pub fn feed(&self, args: &InputArgs) -> Result<Feed> {
        if let Some(file) = &args.inputs {
            return self.read(file);
        }
        let mut seeded = Seeded::new(args.seed);
        match &self.model {
            Model::ClipText(_) if args.size.is_some() => Err(usage("`--size` is for photos; this network takes no photos")),
            Model::ClipText(clip) => {
                let mut below = |count: usize| (seeded.uniform() * count as f64) as usize;
                let (vocabulary, context) = (clip.text.vocabulary(), clip.text.context());
                let text = |below: &mut dyn FnMut(usize) -> usize| (0..1 + below(context)).map(|_| below(vocabulary) as u32).collect();
                self.feed_texts(clip, &(0..RANDOM_TEXTS).map(|_| text(&mut below)).collect::<Vec<Vec<u32>>>())
            }
            model => {
                let (height, width) = args.size.or(self.fixed_size()).unwrap_or(USUAL_SIZE);
                let feed = self.feed_pixels(Array::new([1, 3, height, width], seeded.numbers(3 * height * width)))?;
                let Model::Sam(sam) = model else { return Ok(feed) };
                let corners = (0..4 * RANDOM_BOXES).map(|_| (seeded.uniform() * height as f64) as f32);
                feed.with_boxes(sam, &Array::new([RANDOM_BOXES, 4], corners.collect()))
            }
        }
    }

    /// The input in a file of named arrays.
    pub fn read(&self, file: &Path) -> Result<Feed> {
        match &self.model {
            Model::ClipText(clip) => self.feed_texts(clip, &read_ids(file)?),
            Model::Sam(sam) => self.feed_pixels(read_pixels(file)?)?.with_boxes(sam, &read_boxes(file)?),
            _ => self.feed_pixels(read_pixels(file)?),
        }
    }

    /// Height and width of the photos it sees, where it does not take any.
    fn fixed_size(&self) -> Option<(usize, usize)> {
        match &self.model {
            Model::WideResNet(_) => None,
            Model::ClipImage(clip) | Model::ClipWindows(clip) | Model::ClipText(clip) => {
                Some((clip.image.image_size(), clip.image.image_size()))
            }
            Model::Sam(sam) => Some((sam.image_encoder.image_size(), sam.image_encoder.image_size())),
        }
    }

    fn feed_pixels(&self, array: Array) -> Result<Feed> {
        let [batch, _, height, width] = array.shape().axes();
        match self.fixed_size() {
            Some(size) if size != (height, width) => {
                Err(usage(format!("`{PIXELS}` is {height}×{width}, these weights are for {}×{}", size.0, size.1)))
            }
            _ if batch > 1 && matches!(self.model, Model::Sam(_)) => Err(usage(format!("`{PIXELS}` holds {batch} photos, SAM takes one"))),
            _ => Ok(Feed { arrays: vec![array], lengths: Vec::new() }),
        }
    }

    fn feed_texts(&self, clip: &Clip, texts: &[Vec<u32>]) -> Result<Feed> {
        Ok(Feed { arrays: vec![clip.text.embed_tokens(texts)?], lengths: texts.iter().map(Vec::len).collect() })
    }

    /// An empty recording in the precision asked for.
    pub fn graph(&self) -> Graph {
        Graph::new(self.precision)
    }

    /// Records the network on an input like `feed`; outputs as PyTorch lays them out, with their names.
    pub fn record<'g>(&self, graph: &'g Graph, feed: &Feed) -> Vec<(String, Tensor<'g>)> {
        let pixels = || graph.input(PIXELS, feed.arrays[0].shape());
        let named = |name: &str, tensor: Tensor<'g>| (name.to_owned(), tensor.cast(DType::F32));
        match &self.model {
            Model::WideResNet(network) => (1..)
                .zip(network.forward(pixels()))
                .map(|(at, layer)| (format!("layer{at}"), layer.cast(DType::F32).channels_first()))
                .collect(),
            Model::ClipImage(clip) => {
                let embedded = clip.image.forward(pixels());
                vec![named("image_embeds", embedded.images), named("patch_tokens", embedded.patches)]
            }
            Model::ClipWindows(clip) => {
                let batch = feed.arrays[0].shape().sizes()[0];
                let lists = SIDES.map(|side| windows(clip.image.grid(), side));
                let (_, embedded) = clip.image.forward_windows(pixels(), &lists);
                let by_photo = |tensor: Tensor<'g>| tensor.reshape([batch, tensor.shape().rows() / batch, tensor.shape().cols()]);
                SIDES
                    .iter()
                    .zip(embedded)
                    .map(|(side, tensor)| named(&format!("windows_{side}"), by_photo(tensor)))
                    .collect()
            }
            Model::ClipText(clip) => vec![named("text_embeds", clip.text.forward(graph, &feed.lengths))],
            Model::Sam(sam) => {
                let embedding = sam.image_encoder.forward(pixels());
                let masks = sam.decode(embedding, graph.input(BOXES, feed.arrays[1].shape()));
                let [boxes, height, width] = masks.logits.shape().axes();
                vec![
                    named("image_embeddings", embedding.channels_first()),
                    named("pred_masks", masks.logits.reshape([1, boxes, 1, height, width])),
                    named("iou_scores", masks.iou_scores.reshape([1, boxes, 1])),
                ]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_positive_numbers() {
        assert_eq!(parse_size("256x320"), Ok((256, 320)));
        for wrong in ["", "256", "0x3", "ax3", "-1x3", "99999999x99999999", "18446744073709551616x1"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
