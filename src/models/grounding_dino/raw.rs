//! Raw networks of GroundingDINO: its text backbone, the whole network, and the whole network with what its stages compute.

use super::{GroundingDino, Semantics};
use crate::error::Result;
use crate::graph::{Graph, Tensor};
use crate::kernels::Grid;
use crate::models::raw::{NetworkInputs, PIXELS, RawInfo, RawNetwork, input_shape, read_pixels, refused, sample_pixels};
use crate::tensor::{Array, DType, Seeded};
use crate::text::SubSentences;
use crate::weights::Checkpoint;

/// BERT alone.
pub(super) const BERT: RawInfo = RawInfo {
    name: "bert",
    about: "`input_ids` [1, t], with GroundingDINO's masks and positions of phrases → `last_hidden_state` [1, t, width]",
    load: |checkpoint| Ok(Box::new(BertAlone(GroundingDino::load(checkpoint)?))),
};

/// The whole network.
pub(super) const GROUNDING_DINO: RawInfo = RawInfo {
    name: "grounding-dino",
    about: "`pixel_values` [1, 3, h, w] and `input_ids` [1, t] → `logits` [1, q, t], `pred_boxes` [1, q, 4]: column and row of the \
            middle, width and height as shares of the image, and `query_rows` [1, q], the cells that became queries",
    load: |checkpoint| Ok(Box::new(Whole(GroundingDino::load(checkpoint)?))),
};

/// The whole network stage by stage.
pub(super) const GROUNDING_DINO_STAGES: RawInfo = RawInfo {
    name: "grounding-dino-stages",
    about: "`pixel_values` [1, 3, h, w], `input_ids` [1, t] and `query_rows` [1, q], the cells that become queries → `last_hidden_state`, \
            `stage2` …, `encoder_vision`, `encoder_text`, `decoder_1` …, `logits` [1, q, t], `pred_boxes` [1, q, 4]",
    load: |checkpoint| Ok(Box::new(Stages(GroundingDino::load(checkpoint)?))),
};

/// Names of inputs.
const IDS: &str = "input_ids";
const ROWS: &str = "query_rows";

/// Height and width of a random image: those of a square photo.
const SAMPLE_SIZE: (usize, usize) = (800, 800);

/// Tokens of a random caption: `[CLS]`, three phrases of two words and a full stop, `[SEP]`.
const SAMPLE_PHRASES: usize = 3;

struct BertAlone(GroundingDino);
struct Whole(GroundingDino);
struct Stages(GroundingDino);

impl GroundingDino {
    fn read_caption(&self, arrays: &Checkpoint) -> Result<SubSentences> {
        let count = match *input_shape(arrays, IDS)?.sizes() {
            [1, count] if count > 0 && count <= self.max_tokens() => count,
            _ => return Err(refused(format!("`{IDS}` in `{}` must be [1, tokens] of 1 to {} tokens", arrays.name(), self.max_tokens()))),
        };
        Ok(SubSentences::of(&input_whole(arrays, IDS, count, self.vocabulary())?))
    }

    fn sample_caption(&self, random: &mut Seeded) -> SubSentences {
        let vocabulary = self.vocabulary();
        // Ids from 1013 on are words; a tiny vocabulary has few of them.
        let mut word = || (1013 + random.bits() as usize % (vocabulary.max(1015) - 1013)) as u32;
        let mut ids = vec![101];
        (0..SAMPLE_PHRASES).for_each(|_| ids.extend([word(), word(), 1012]));
        ids.push(102);
        SubSentences::of(&ids)
    }

    fn sample_image(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<Array> {
        let (height, width) = size.unwrap_or(SAMPLE_SIZE);
        Ok(self.pad(&sample_pixels(random, (height, width), None)?))
    }

    fn read_image(&self, arrays: &Checkpoint) -> Result<Array> {
        let pixels = read_pixels(arrays, None)?;
        let [images, ..] = pixels.shape().axes::<4>();
        if images > 1 {
            return Err(refused(format!("`{PIXELS}` holds {images} images, GroundingDINO takes one")));
        }
        Ok(self.pad(&pixels))
    }

    /// Levels of the pyramid of pixels `[1, 3, h, w]`.
    fn levels_of(&self, pixels: &Array) -> Vec<Grid> {
        let [_, _, height, width] = pixels.shape().axes();
        self.levels(height, width)
    }

    /// Inputs of the recording for an image and a caption.
    fn inputs_of(&self, pixels: Array, caption: SubSentences, rows: Option<Array>) -> NetworkInputs {
        let tokens = caption.ids.len();
        let (captions, queries) = ([caption], self.queries(&self.levels_of(&pixels)));
        let mut arrays = vec![pixels];
        arrays.extend(self.embedding_inputs(&captions, tokens));
        arrays.extend(self.detection_inputs(&captions, tokens, queries));
        arrays.extend(rows);
        NetworkInputs { arrays, lengths: vec![tokens] }
    }

    /// Records everything; with given rows in its last input if `with_rows`.
    fn record_all<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs, with_rows: bool) -> Everything<'g> {
        let tokens = inputs.lengths[0];
        let pixels = graph.input(PIXELS, inputs.arrays[0].shape());
        let levels = self.levels_of(&inputs.arrays[0]);
        let queries = self.queries(&levels);
        let image = self.encode_image(pixels);
        let embedded = self.embed_text(graph, 1, tokens);
        let captions = self.captions(graph, 1, tokens, queries);
        let rows = with_rows.then(|| graph.input_whole(ROWS, [1, queries]));
        let text = self.project_text(embedded);
        let detections = self.detect([image.cells, text], &levels, &captions, Semantics::Original, rows);
        Everything { maps: image.maps, embedded, detections }
    }
}

struct Everything<'g> {
    maps: Vec<Tensor<'g>>,
    embedded: Tensor<'g>,
    detections: super::Detections<'g>,
}

/// Whole numbers below `below` of an input with `count` of them.
fn input_whole(arrays: &Checkpoint, name: &str, count: usize, below: usize) -> Result<Vec<u32>> {
    let wrong = |what: &str| refused(format!("`{name}` in `{}` {what}; it must hold {count} of 0 to {}", arrays.name(), below - 1));
    input_shape(arrays, name)?;
    let numbers = arrays.integers(name)?.ok_or_else(|| wrong("holds no whole numbers of 64 bits"))?;
    if numbers.len() != count {
        return Err(wrong(&format!("holds {} numbers", numbers.len())));
    }
    if let Some(beyond) = numbers.iter().find(|number| !(0..below as i64).contains(number)) {
        return Err(wrong(&format!("holds {beyond}")));
    }
    Ok(numbers.into_iter().map(|number| number as u32).collect())
}

fn named<'g>(name: impl Into<String>, tensor: Tensor<'g>) -> (String, Tensor<'g>) {
    (name.into(), tensor.cast(DType::F32))
}

impl RawNetwork for BertAlone {
    fn inputs(&self) -> &'static [&'static str] {
        &[IDS]
    }

    fn sample(&self, random: &mut Seeded, _size: Option<(usize, usize)>) -> Result<NetworkInputs> {
        let caption = self.0.sample_caption(random);
        let tokens = caption.ids.len();
        Ok(NetworkInputs { arrays: self.0.embedding_inputs(&[caption], tokens), lengths: vec![tokens] })
    }

    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs> {
        let caption = self.0.read_caption(arrays)?;
        let tokens = caption.ids.len();
        Ok(NetworkInputs { arrays: self.0.embedding_inputs(&[caption], tokens), lengths: vec![tokens] })
    }

    fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)> {
        let states = self.0.embed_text(graph, 1, inputs.lengths[0]);
        let [tokens, width] = states.shape().axes();
        vec![named("last_hidden_state", states.reshape([1, tokens, width]))]
    }
}

impl RawNetwork for Whole {
    fn inputs(&self) -> &'static [&'static str] {
        &[PIXELS, IDS]
    }

    fn sample(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<NetworkInputs> {
        let pixels = self.0.sample_image(random, size)?;
        Ok(self.0.inputs_of(pixels, self.0.sample_caption(random), None))
    }

    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs> {
        Ok(self.0.inputs_of(self.0.read_image(arrays)?, self.0.read_caption(arrays)?, None))
    }

    fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)> {
        let detections = self.0.record_all(graph, inputs, false).detections;
        let rows = (ROWS.to_owned(), detections.rows);
        vec![named("logits", detections.logits), named("pred_boxes", detections.boxes), rows]
    }
}

impl RawNetwork for Stages {
    fn inputs(&self) -> &'static [&'static str] {
        &[PIXELS, IDS, ROWS]
    }

    fn sample(&self, random: &mut Seeded, size: Option<(usize, usize)>) -> Result<NetworkInputs> {
        let pixels = self.0.sample_image(random, size)?;
        let caption = self.0.sample_caption(random);
        let queries = self.0.queries(&self.0.levels_of(&pixels));
        let rows = Array::new([1, queries], (0..queries).map(|row| row as f32).collect());
        Ok(self.0.inputs_of(pixels, caption, Some(rows)))
    }

    fn read(&self, arrays: &Checkpoint) -> Result<NetworkInputs> {
        let pixels = self.0.read_image(arrays)?;
        let levels = self.0.levels_of(&pixels);
        let (queries, cells) = (self.0.queries(&levels), levels.iter().map(|level| level.cells()).sum());
        let rows = input_whole(arrays, ROWS, queries, cells)?;
        let rows = Array::new([1, queries], rows.into_iter().map(|row| row as f32).collect());
        Ok(self.0.inputs_of(pixels, self.0.read_caption(arrays)?, Some(rows)))
    }

    fn record<'g>(&self, graph: &'g Graph, inputs: &NetworkInputs) -> Vec<(String, Tensor<'g>)> {
        let Everything { maps, embedded, detections } = self.0.record_all(graph, inputs, true);
        let one = |tensor: Tensor<'g>| {
            let [rows, cols] = tensor.shape().axes();
            tensor.reshape([1, rows, cols])
        };
        let mut outputs = vec![named("last_hidden_state", one(embedded))];
        let stages = self.0.config.swin.outputs.iter().zip(maps);
        outputs.extend(stages.map(|(stage, map)| named(format!("stage{stage}"), map.cast(DType::F32).channels_first())));
        outputs.push(named("encoder_vision", detections.enhanced.image));
        outputs.push(named("encoder_text", one(detections.enhanced.text)));
        let layers = detections.queries.iter().enumerate();
        outputs.extend(layers.map(|(at, queries)| named(format!("decoder_{}", at + 1), *queries)));
        outputs.push(named("logits", detections.logits));
        outputs.push(named("pred_boxes", detections.boxes));
        outputs
    }
}
