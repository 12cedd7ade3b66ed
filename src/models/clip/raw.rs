//! Raw networks of CLIP: its towers on named arrays of pixels or token ids.

use super::{Clip, ImageTower, SIDES, TextTower, until_end, windows};
use crate::error::{Context, Result};
use crate::graph::{Graph, Tensor};
use crate::models::raw::{NetworkInputs, PIXELS, RawInfo, RawNetwork, input_shape, read_pixels, refused, sample_pixels};
use crate::tensor::{DType, Seeded};
use crate::weights::Checkpoint;

/// The image tower on whole images.
pub(super) const CLIP_IMAGE: RawInfo = RawInfo {
    name: "clip-image",
    about: "`pixel_values` [b, 3, s, s] → `image_embeds` [b, d], projected, not normalised; `patch_tokens` [b, n, width], last block",
    load: |checkpoint| Ok(Box::new(Images(load(checkpoint)?.image))),
};

/// The image tower on WinCLIP's windows.
pub(super) const CLIP_WINDOWS: RawInfo = RawInfo {
    name: "clip-windows",
    about: "`pixel_values` [b, 3, s, s] → `windows_2`, `windows_3` [b, count, d], WinCLIP's windows of 2×2 and 3×3 patches, not normalised",
    load: |checkpoint| Ok(Box::new(Windows(load(checkpoint)?.image))),
};

/// The text tower.
pub(super) const CLIP_TEXT: RawInfo = RawInfo {
    name: "clip-text",
    about: "`input_ids` i64 [b, context] → `text_embeds` [b, d], projected, not normalised",
    load: |checkpoint| Ok(Box::new(Texts(load(checkpoint)?.text))),
};

/// Name of the input of the text tower.
const IDS: &str = "input_ids";

/// Number of texts in a random input.
const SAMPLE_TEXTS: usize = 4;

struct Images(ImageTower);
struct Windows(ImageTower);
struct Texts(TextTower);

fn load(checkpoint: &Checkpoint) -> Result<Clip> {
    Clip::load(checkpoint)
}

fn named<'g>(name: &str, tensor: Tensor<'g>) -> (String, Tensor<'g>) {
    (name.to_owned(), tensor.cast(DType::F32))
}

impl ImageTower {
    fn frame(&self) -> (usize, usize) {
        (self.image_size(), self.image_size())
    }

    fn sample(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<NetworkInputs> {
        Ok(vec![sample_pixels(random, size.unwrap_or(self.frame()), Some(self.frame()))?].into())
    }

    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs> {
        Ok(vec![read_pixels(arrays, Some(self.frame()))?].into())
    }
}

impl RawNetwork for Images {
    fn inputs(&self) -> &'static [&'static str] {
        &[PIXELS]
    }

    fn sample(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<NetworkInputs> {
        self.0.sample(random, size)
    }

    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs> {
        self.0.read(arrays)
    }

    fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)> {
        let embedded = self.0.forward(graph.input(PIXELS, inputs.arrays[0].shape()));
        vec![named("image_embeds", embedded.images), named("patch_tokens", embedded.patches)]
    }
}

impl RawNetwork for Windows {
    fn inputs(&self) -> &'static [&'static str] {
        &[PIXELS]
    }

    fn sample(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<NetworkInputs> {
        self.0.sample(random, size)
    }

    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs> {
        self.0.read(arrays)
    }

    fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)> {
        let shape = inputs.arrays[0].shape();
        let [batch, ..] = shape.axes::<4>();
        let lists = SIDES.map(|side| windows(self.0.grid(), side));
        let (_, embedded) = self.0.forward_windows(graph.input(PIXELS, shape), &lists);
        let by_image = |tensor: Tensor<'g>| tensor.reshape([batch, tensor.shape().rows() / batch, tensor.shape().cols()]);
        let outputs = SIDES.iter().zip(embedded);
        outputs.map(|(side, tensor)| named(&format!("windows_{side}"), by_image(tensor))).collect()
    }
}

impl Texts {
    /// Inputs of the recording for some texts.
    fn inputs_of(&self, texts: &[Vec<u32>]) -> Result<NetworkInputs> {
        let arrays = vec![self.0.embed_tokens(texts)?];
        Ok(NetworkInputs { arrays, lengths: texts.iter().map(Vec::len).collect() })
    }
}

impl RawNetwork for Texts {
    fn inputs(&self) -> &'static [&'static str] {
        &[IDS]
    }

    fn sample(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<NetworkInputs> {
        if size.is_some() {
            return Err(refused("this network takes no images, so a size has no effect"));
        }
        let mut below = |count: usize| (random.uniform() * count as f64) as usize;
        let mut text = || -> Vec<u32> { (0..1 + below(self.0.context())).map(|_| below(self.0.vocabulary()) as u32).collect() };
        let texts: Vec<Vec<u32>> = (0..SAMPLE_TEXTS).map(|_| text()).collect();
        self.inputs_of(&texts)
    }

    /// The ids of each text up to its end: `input_ids` `[b, t]`, t at most the context.
    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs> {
        let wrong = |what: String| refused(format!("`{IDS}` in `{}` {what}, it must be [batch, tokens] of i64", arrays.name()));
        let shape = input_shape(arrays, IDS)?;
        if shape.rank() != 2 || shape.is_empty() {
            return Err(wrong(format!("is {shape}")));
        }
        if shape.cols() > self.0.context() {
            let message =
                format!("`{IDS}` in `{}` has {} tokens a text, the tower takes {}", arrays.name(), shape.cols(), self.0.context());
            return Err(refused(message).hint("cut the texts so that each ends with its end token"));
        }
        let ids = arrays.integers(IDS)?.ok_or_else(|| wrong("holds no whole numbers".to_owned()))?;
        let vocabulary = 0..self.0.vocabulary() as i64;
        if let Some(unknown) = ids.iter().find(|id| !vocabulary.contains(id)) {
            return Err(refused(format!("`{IDS}` in `{}` holds {unknown}, ids are 0 to {}", arrays.name(), vocabulary.end - 1)));
        }
        let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
        let texts: Vec<Vec<u32>> = ids.chunks(shape.cols()).map(until_end).collect();
        self.inputs_of(&texts).context(|| format!("in `{}`", arrays.name()))
    }

    fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)> {
        vec![named("text_embeds", self.0.forward(graph, &inputs.lengths))]
    }
}
