//! CLIP's towers at tiny sizes against open_clip (`tools/golden_clip.py`), under both namings and on both executors.

mod common;

use common::{golden_array, golden_file};
use zsas::graph::Plan;
use zsas::methods::winclip::windows;
use zsas::models::clip::{Clip, until_end};
use zsas::run::diff;
use zsas::weights::Checkpoint;
use zsas::{Array, Code, DType, Device, Graph, Precision, Program, Tensor};

fn open(name: &str) -> Checkpoint {
    golden_file(&format!("clip/{name}"))
}

/// A tiny snapshot with what open_clip makes of it.
struct Tiny {
    clip: Clip,
    /// File of the truth.
    truth: String,
}

impl Tiny {
    fn load(snapshot: &str, truth: &str) -> Tiny {
        let checkpoint = open(snapshot);
        let clip = Clip::load(&checkpoint).unwrap();
        assert_eq!(checkpoint.finish(), Vec::<String>::new(), "every tensor of {snapshot} is read");
        Tiny { clip, truth: format!("clip/{truth}_forward.safetensors") }
    }

    fn truth(&self, name: &str) -> Array {
        golden_array(&self.truth, name)
    }

    fn image<'g>(&self, graph: &'g Graph) -> Vec<(&'static str, Tensor<'g>)> {
        let image = &self.clip.image;
        let pixels = graph.input("pixel_values", self.truth("pixel_values").shape());
        let (photo, embedded) = image.forward_windows(pixels, &[windows(image.grid(), 2), windows(image.grid(), 3)]);
        let named =
            [("image_embeds", photo.images), ("patch_tokens", photo.patches), ("windows_2", embedded[0]), ("windows_3", embedded[1])];
        named.map(|(name, tensor)| (name, tensor.cast(DType::F32))).to_vec()
    }

    fn texts(&self) -> Vec<Vec<u32>> {
        let ids: Vec<u32> = golden_file(&self.truth)
            .integers("input_ids")
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|id| id as u32)
            .collect();
        ids.chunks(self.clip.text.context()).map(until_end).collect()
    }

    /// Relative distances to open_clip, by output.
    fn distances(&self, device: &Device, precision: Precision) -> Vec<(&'static str, f64)> {
        let graph = Graph::new(precision);
        let (names, outputs): (Vec<_>, Vec<_>) = self.image(&graph).into_iter().unzip();
        let arrays = Program::compile(device, &graph, &outputs).unwrap().run(&[&self.truth("pixel_values")]).unwrap();
        let mut found: Vec<(&str, Array)> = names.into_iter().zip(arrays).collect();

        let texts = self.texts();
        let graph = Graph::new(precision);
        let embeds = self.clip.text.forward(&graph, &texts.iter().map(Vec::len).collect::<Vec<_>>()).cast(DType::F32);
        let tokens = self.clip.text.embed_tokens(&texts).unwrap();
        found.push(("text_embeds", Program::compile(device, &graph, &[embeds]).unwrap().run(&[&tokens]).unwrap().remove(0)));
        let distance = |(name, array): (&'static str, Array)| {
            let truth = self.truth(name);
            (name, array.reshape(truth.shape()).relative_l2(&truth))
        };
        found.into_iter().map(distance).collect()
    }
}

const SNAPSHOTS: [(&str, &str); 3] = [("tiny", "tiny"), ("tiny_odd", "tiny_odd"), ("hf_tiny", "tiny")];

/// Two to three blocks of sums of at most 96 terms in f32, on both sides.
const F32: f64 = 3e-6;

#[test]
fn the_reference_is_what_open_clip_computes() {
    for (snapshot, truth) in SNAPSHOTS {
        let distances = Tiny::load(snapshot, truth).distances(&Device::reference(), Precision::F32);
        assert!(distances.iter().all(|(_, distance)| *distance <= F32), "{snapshot}: {distances:?}");
    }
}

#[test]
fn the_device_is_what_open_clip_computes() {
    let device = common::device();
    for (snapshot, truth) in SNAPSHOTS {
        let distances = Tiny::load(snapshot, truth).distances(device, Precision::F32);
        assert!(distances.iter().all(|(_, distance)| *distance <= F32), "{snapshot}: {distances:?}");
    }
}

#[test]
fn f16_storage_stays_near_and_differs() {
    let Some(device) = common::adapter("f16_storage_stays_near_and_differs") else { return };
    if !common::has_f16("f16_storage_stays_near_and_differs", device) {
        return;
    }
    let distances = Tiny::load("tiny", "tiny").distances(device, Precision::Mixed);
    // Some twenty launches round what they store to 2⁻¹¹.
    assert!(distances.iter().all(|&(_, distance)| distance > F32 && distance < 20.0 * 2f64.powi(-11)), "{distances:?}");
}

#[test]
fn the_activation_is_taken_from_the_configuration() {
    let mut tiny = Tiny::load("tiny", "tiny");
    for block in &mut tiny.clip.image.transformer.resblocks {
        block.mlp.activation = zsas::kernels::Activation::QuickGelu;
    }
    let distances = tiny.distances(&Device::reference(), Precision::F32);
    assert!(distances[0].1 > 1e-3, "the wrong one would be seen: {distances:?}");
}

#[test]
fn diff_finds_nothing_in_a_sound_recording() {
    let device = common::device();
    let tiny = Tiny::load("tiny_odd", "tiny_odd");
    let graph = Graph::new(Precision::F32);
    let (_, outputs): (Vec<_>, Vec<_>) = tiny.image(&graph).into_iter().unzip();
    let found = diff(device, &graph, &outputs, &[&tiny.truth("pixel_values")], |_, _| {}).unwrap();
    assert!(found.is_none(), "{}", found.unwrap());
}

#[test]
fn a_block_takes_seven_launches_and_a_plan_little_more_than_the_live_tensors() {
    let tiny = Tiny::load("tiny", "tiny");
    let graph = Graph::new(Precision::F32);
    let (_, outputs): (Vec<_>, Vec<_>) = tiny.image(&graph).into_iter().unzip();
    let plan = Plan::new(&graph, &outputs);
    let of_block = |number: usize| {
        let weights: Vec<usize> = (0..plan.nodes.len())
            .filter(|&at| plan.nodes[at].weight.as_ref().is_some_and(|name| name.contains(&format!("resblocks.{number}."))))
            .collect();
        weights[0]
    };
    assert_eq!(of_block(1) - of_block(0), 7);
    let ratio = plan.slot_bytes() as f64 / plan.live_bytes() as f64;
    assert!((1.0..=1.3).contains(&ratio), "slots hold {ratio} × the live tensors");
}

#[test]
fn other_weights_and_missing_configurations_are_refused_by_name() {
    let error = Clip::load(&open("clipseg_tiny")).err().expect("refused");
    assert_eq!(error.code(), Code::WeightsMismatch);
    let folder = tempfile::tempdir().unwrap();
    let weights = format!("{}/tests/golden/clip/tiny/open_clip_model.safetensors", env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(weights, folder.path().join("open_clip_model.safetensors")).unwrap();
    let error = Clip::load(&Checkpoint::open(folder.path()).unwrap()).err().expect("refused");
    assert_eq!(error.code(), Code::WeightsMissing);
    assert!(error.message().contains("`open_clip_config.json`"), "{error:?}");
    std::fs::write(folder.path().join("open_clip_config.json"), "{\"model_cfg\": 7}").unwrap();
    let error = Clip::load(&Checkpoint::open(folder.path()).unwrap()).err().expect("refused");
    assert_eq!(error.code(), Code::WeightsFormat);
}
