//! GroundingDINO at a tiny size against transformers (`tools/golden_dino.py`), on both executors, and `detect` on such weights.

mod common;

use std::path::Path;

use common::binary::{Place, records};
use common::dino::{SNAPSHOT, snapshot_of_all_words};
use common::golden_file;
use serde_json::Value;
use zsas::inspect::{BoxFinder, BoxOptions, DeviceRequest, Job, JobObserver, JobOptions};
use zsas::methods::Grounder;
use zsas::models::GroundingDino;
use zsas::models::grounding_dino::{self, Semantics};
use zsas::models::store;
use zsas::results::COCO;
use zsas::run::diff;
use zsas::text::{Caption, SubSentences};
use zsas::{Array, Checkpoint, DType, Device, DeviceOptions, Graph, Precision, Program, Tensor};

/// Outputs, and how far transformers in f32 is from itself in f64, relative L2 (`tools/golden_dino.py` prints it). A second program that rounds
/// as much elsewhere is √2 times as far from the first; twice is allowed.
const ROUNDING: [(&str, f64); 10] = [
    ("last_hidden_state", 2.1e-7),
    ("stage2", 2.7e-7),
    ("stage3", 3.9e-7),
    ("stage4", 4.1e-7),
    ("encoder_vision", 5.6e-7),
    ("encoder_text", 3.0e-7),
    ("decoder_1", 3.5e-7),
    ("decoder_2", 3.3e-7),
    ("logits", 3.6e-7),
    ("pred_boxes", 9.6e-8),
];

/// A case of the golden: `a` has three phrases, `b` the same image and one phrase, `c` an image whose sides are no whole patches,
/// `d` a wide one with queries at its border.
struct Case {
    pixels: Array,
    sentences: SubSentences,
    rows: Array,
}

fn truth(name: &str) -> Array {
    common::golden_array("grounding_dino/stages.safetensors", name)
}

fn case(letter: &str) -> Case {
    let golden = golden_file("grounding_dino/stages.safetensors");
    let whole = |name: &str| golden.integers(&format!("{letter}.{name}")).unwrap();
    let pixels = if letter == "b" { "a" } else { letter };
    let ids: Vec<u32> = whole("input_ids").unwrap().into_iter().map(|id| id as u32).collect();
    let rows = whole("query_rows").unwrap_or_default().into_iter().map(|row| row as f32).collect::<Vec<f32>>();
    Case {
        pixels: truth(&format!("{pixels}.pixel_values")),
        sentences: SubSentences::of(&ids),
        rows: Array::new([1, rows.len()], rows),
    }
}

fn network(folder: impl AsRef<Path>) -> GroundingDino {
    let checkpoint = Checkpoint::open(folder).unwrap_or_else(|error| panic!("{error:?}\nregenerate with: python tools/golden_dino.py"));
    let network = GroundingDino::load(&checkpoint).unwrap();
    assert_eq!(checkpoint.finish(), Vec::<String>::new(), "every tensor is read");
    network
}

/// Runs the network on an image and captions, in one batch; `rows` are its queries where given.
fn run(
    device: &Device,
    precision: Precision,
    pixels: &Array,
    captions: &[SubSentences],
    rows: Option<&Array>,
    semantics: Semantics,
) -> Vec<Array> {
    with_program(precision, pixels, captions, rows, semantics, |graph, outputs, inputs| {
        Program::compile(device, graph, outputs).unwrap().run(inputs).unwrap()
    })
}

/// Records the network, and hands recording, outputs in the order of [`ROUNDING`], and inputs on.
fn with_program<R>(
    precision: Precision,
    pixels: &Array,
    captions: &[SubSentences],
    rows: Option<&Array>,
    semantics: Semantics,
    act: impl FnOnce(&Graph, &[Tensor<'_>], &[&Array]) -> R,
) -> R {
    let network = network(SNAPSHOT);
    let tokens = captions.iter().map(|caption| caption.ids.len()).max().unwrap();
    let [_, _, height, width] = pixels.shape().axes();
    let levels = network.levels(height, width);
    let queries = network.queries(&levels);
    let pixels = network.pad(pixels);
    let graph = Graph::new(precision);
    let image = network.encode_image(graph.input("pixels", pixels.shape()));
    let embedded = network.embed_text(&graph, captions.len(), tokens);
    let text = network.project_text(embedded);
    let inputs_of_captions = network.captions(&graph, captions.len(), tokens, queries);
    let given = rows.map(|rows| graph.input_whole("rows", rows.shape()));
    let found = network.detect([image.cells, text], &levels, &inputs_of_captions, semantics, given);
    let mut outputs = vec![embedded];
    outputs.extend(image.maps.iter().map(|map| map.cast(DType::F32).channels_first()));
    outputs.extend([found.enhanced.image, found.enhanced.text]);
    outputs.extend(&found.queries);
    outputs.extend([found.logits, found.boxes]);
    let outputs: Vec<Tensor<'_>> = outputs.into_iter().map(|output| output.cast(DType::F32)).collect();
    let mut arrays = vec![pixels];
    arrays.extend(network.embedding_inputs(captions, tokens));
    arrays.extend(network.detection_inputs(captions, tokens, queries));
    arrays.extend(rows.cloned());
    act(&graph, &outputs, &arrays.iter().collect::<Vec<&Array>>())
}

/// Relative distances of the first case to transformers, by output.
fn distances(device: &Device, precision: Precision) -> Vec<(&'static str, f64, f64)> {
    let Case { pixels, sentences, rows } = case("a");
    let found = run(device, precision, &pixels, &[sentences], Some(&rows), Semantics::Original);
    let distance = |((name, rounding), found): (&(&'static str, f64), Array)| {
        let truth = truth(&format!("a.{name}"));
        (*name, found.reshape(truth.shape()).relative_l2(&truth), 2.0 * rounding)
    };
    ROUNDING.iter().zip(found).map(distance).collect()
}

fn is_what_transformers_computes(device: &Device) {
    let distances = distances(device, Precision::F32);
    println!("{distances:?}");
    assert!(distances.iter().all(|(_, found, bound)| found <= bound), "{distances:?}");
    // The whole network, with queries of its own; logits spread by 3, boxes lie in 0…1.
    for letter in ["a", "b", "c"] {
        let Case { pixels, sentences, .. } = case(letter);
        let found = run(device, Precision::F32, &pixels, &[sentences], None, Semantics::Original);
        for (at, name) in [(8, "logits"), (9, "pred_boxes")] {
            let truth = truth(&format!("{letter}.{name}"));
            let distance = found[at].clone().reshape(truth.shape()).relative_l2(&truth);
            assert!(distance <= 2.0 * ROUNDING[at].1, "{letter}.{name}: {distance:e}");
        }
    }
}

#[test]
fn the_reference_is_what_transformers_computes() {
    is_what_transformers_computes(&Device::reference());
}

#[test]
fn the_device_is_what_transformers_computes() {
    let device = common::device();
    is_what_transformers_computes(device);
}

#[test]
fn f16_storage_stays_near_and_differs() {
    let Some(device) = common::adapter("f16_storage_stays_near_and_differs") else { return };
    if !common::has_f16("f16_storage_stays_near_and_differs", device) {
        return;
    }
    let distances = distances(device, Precision::Mixed);
    println!("{distances:?}");
    // f16 rounds 2¹³ times as coarsely as f32.
    assert!(distances.iter().all(|(_, found, bound)| found > bound && *found < 0.5 * bound * 2f64.powi(13)), "{distances:?}");
}

#[test]
fn diff_finds_nothing_in_a_sound_recording() {
    let device = common::device();
    let Case { pixels, sentences, .. } = case("a");
    let found = with_program(Precision::F32, &pixels, &[sentences], None, Semantics::Original, |graph, outputs, inputs| {
        diff(device, graph, outputs, inputs, |_, _| {}).unwrap()
    });
    assert!(found.is_none(), "{}", found.unwrap());
}

/// A shorter caption is padded; neither sees the other.
#[test]
fn captions_of_a_batch_do_not_see_each_other_nor_their_padding() {
    let (long, short) = (case("a"), case("b"));
    let tokens = long.sentences.ids.len();
    let captions = [short.sentences.clone(), long.sentences.clone()];
    let found = run(&Device::reference(), Precision::F32, &long.pixels, &captions, None, Semantics::Original);
    let (logits, boxes) = (&found[8], &found[9]);
    for (at, letter) in ["b", "a"].into_iter().enumerate() {
        let (expected, count) = (truth(&format!("{letter}.logits")), captions[at].ids.len());
        let rows = logits.data().chunks(tokens).skip(20 * at).take(20).flat_map(|row| &row[..count]).copied().collect();
        assert!(Array::new(expected.shape(), rows).relative_l2(&expected) <= 2.0 * ROUNDING[8].1, "{letter}");
        let expected = truth(&format!("{letter}.pred_boxes"));
        let own = boxes.data()[80 * at..80 * (at + 1)].to_vec();
        assert!(Array::new(expected.shape(), own).relative_l2(&expected) <= 2.0 * ROUNDING[9].1, "{letter}");
    }
}

/// Ten cells, so ten queries of twenty that are learnt: captions of a batch then have as many together.
#[test]
fn captions_of_an_image_of_few_cells_get_the_first_queries_each() {
    let pixels = Array::new([1, 3, 8, 12], (0..3 * 8 * 12).map(|at| ((at * 37) % 101) as f32 / 50.0 - 1.0).collect());
    let cells: usize = network(SNAPSHOT).levels(8, 12).iter().map(|level| level.cells()).sum();
    assert_eq!(cells, 10);
    let captions = [case("b").sentences, case("a").sentences];
    let tokens = captions[1].ids.len();
    let device = Device::reference();
    let look = |captions: &[SubSentences]| run(&device, Precision::F32, &pixels, captions, None, Semantics::Original);
    let (together, first, second) = (look(&captions), look(&captions[..1]), look(&captions[1..]));
    let boxes = Array::new([20, 4], [first[9].data(), second[9].data()].concat());
    assert!(together[9].clone().reshape([20, 4]).relative_l2(&boxes) <= 2.0 * ROUNDING[9].1);
    let logits = Array::new([10, tokens], together[8].data()[10 * tokens..].to_vec());
    assert!(logits.relative_l2(&second[8].clone().reshape([10, tokens])) <= 2.0 * ROUNDING[8].1);
}

/// What the bounds must tell apart: each of these is a plausible mistake.
#[test]
fn other_masks_positions_or_semantics_are_far_off() {
    let device = Device::reference();
    let Case { pixels, sentences, rows } = case("a");
    let distance = |name: &str, found: Vec<Array>| {
        let at = ROUNDING.iter().position(|(known, _)| *known == name).unwrap();
        let truth = truth(&format!("a.{name}"));
        found[at].clone().reshape(truth.shape()).relative_l2(&truth)
    };
    let with = |changed: SubSentences| run(&device, Precision::F32, &pixels, &[changed], Some(&rows), Semantics::Original);
    let count = sentences.ids.len() as u32;
    let all = SubSentences { ranges: vec![[0, count]; count as usize], ..sentences.clone() };
    assert!(distance("last_hidden_state", with(all)) > 1e-2);
    let running = SubSentences { positions: (0..count).collect(), ..sentences.clone() };
    assert!(distance("last_hidden_state", with(running.clone())) > 1e-2);
    assert!(distance("encoder_text", with(running)) > 1e-2);
    let mut others = rows.clone();
    others.data_mut().swap(0, 1);
    let swapped = run(&device, Precision::F32, &pixels, std::slice::from_ref(&sentences), Some(&others), Semantics::Original);
    assert!(distance("decoder_2", swapped) > 1e-2);
    // Among the queries of `d` are cells at the border, which are no proposals: there the two bounds of a logit show.
    let Case { pixels, sentences, rows } = case("d");
    let port = run(&device, Precision::F32, &pixels, &[sentences], Some(&rows), Semantics::Transformers);
    let expected = truth("d.transformers_boxes");
    let boxes = port[9].clone().reshape(expected.shape());
    assert!(boxes.relative_l2(&expected) <= 2.0 * ROUNDING[9].1);
    assert!(boxes.relative_l2(&truth("d.pred_boxes")) > 1e-3);
}

fn detect(place: &Place, weights: &Path, arguments: &[&str]) -> common::binary::Run {
    let weights = weights.to_str().unwrap();
    place.run(&[&["detect", "--output", "out", "--weights", weights], arguments].concat())
}

#[test]
fn boxes_are_named_drawn_and_written_for_labelling_tools() {
    let weights = snapshot_of_all_words();
    let place = Place::with_photos(&["a.png", "b.png"]);
    let options = ["a.png", "b.png", "--text", "crack, hole", "--text", "crack", "--box-threshold", "0.5", "--format", "coco", "--report"];
    detect(&place, weights.path(), &options)
        .exits(0)
        .says("phrases given more than once are read once: `crack`");
    let found = records(&place.path("out"));
    assert_eq!(found.len(), 2);
    let [width, height] = [0, 1].map(|axis| found[0]["size"][axis].as_f64().unwrap());
    let boxes = found[0]["boxes"].as_array().unwrap();
    assert!(!boxes.is_empty());
    let scores: Vec<f64> = boxes.iter().map(|found| found["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| *score > 0.5));
    for one in boxes {
        let corner = |at: usize| one["box"][at].as_f64().unwrap();
        assert!(corner(0) >= 0.0 && corner(1) >= 0.0 && corner(2) <= width && corner(3) <= height, "{one}");
        assert!((one["bbox"][2].as_f64().unwrap() - (corner(2) - corner(0))).abs() < 1e-3);
        assert!(["crack", "hole"].contains(&one["phrase"].as_str().unwrap()));
    }
    let coco: Value = serde_json::from_str(&std::fs::read_to_string(place.path("out/coco.json")).unwrap()).unwrap();
    assert_eq!(coco["images"][1]["file_name"], "b.png");
    assert_eq!(coco["categories"][1]["name"], "hole");
    let of_first = coco["annotations"].as_array().unwrap().iter().filter(|one| one["image_id"] == 1);
    assert_eq!(of_first.count(), boxes.len());
    assert!(place.path("out/a.png.overlay.png").exists() && place.path("out/report.html").exists());

    // Another threshold is other results; with the same ones nothing is left to do.
    detect(&place, weights.path(), &["a.png", "b.png", "--text", "crack, hole", "--resume"])
        .exits(2)
        .says("were made with other parameters");
    let again = ["a.png", "b.png", "--text", "crack, hole", "--box-threshold", "0.5", "--format", "coco", "--report", "--resume"];
    detect(&place, weights.path(), &again).exits(0).says("2 done before");
}

#[test]
fn nothing_found_is_a_record_without_boxes() {
    let weights = snapshot_of_all_words();
    let place = Place::with_photos(&["a.png"]);
    detect(&place, weights.path(), &["a.png", "--text", "crack", "--box-threshold", "1"])
        .exits(0)
        .says("nothing found");
    let found = records(&place.path("out"));
    assert_eq!((found[0]["status"].as_str(), found[0]["boxes"].as_array().unwrap().len()), (Some("ok"), 0));
    assert!(found[0]["score"].is_null());
    // It is not looked for again.
    let again = ["a.png", "--text", "crack", "--box-threshold", "1", "--resume"];
    detect(&place, weights.path(), &again).exits(0).says("1 done before").says("nothing found");
}

#[test]
fn of_photos_that_all_failed_nothing_is_said_to_be_found() {
    let weights = snapshot_of_all_words();
    let place = Place::new();
    place.write("a.png", b"no photo");
    let run = detect(&place, weights.path(), &["a.png", "--text", "crack"]).exits(3).says("1 failed");
    assert!(!run.stderr.contains("nothing found"), "{}", run.stderr);
}

#[test]
fn boxes_in_coco_format_stay_ours_through_runs_that_do_not_write_them() {
    let weights = snapshot_of_all_words();
    let place = Place::with_photos(&["a.png"]);
    let run = |more: &[&str]| detect(&place, weights.path(), &[&["a.png", "--text", "crack"], more].concat());
    run(&["--format", "coco"]).exits(0);
    let written = std::fs::read(place.path("out/coco.json")).unwrap();
    run(&["--resume"]).exits(0);
    assert_eq!(std::fs::read(place.path("out/coco.json")).unwrap(), written);
    run(&["--resume", "--format", "coco"]).exits(0);
    run(&["--resume"]).exits(0);
    run(&["--overwrite"]).exits(0);
    assert!(!place.path("out/coco.json").exists());
    // Now it is a file that no run wrote.
    place.write("out/coco.json", b"mine");
    run(&["--resume", "--format", "coco"]).exits(2).says("no earlier run wrote it");
}

#[test]
fn a_folder_in_the_place_of_the_coco_file_is_refused_before_the_first_photo() {
    let weights = snapshot_of_all_words();
    let place = Place::with_photos(&["a.png"]);
    std::fs::create_dir_all(place.path("out/coco.json")).unwrap();
    let options = ["a.png", "--text", "crack", "--format", "coco"];
    detect(&place, weights.path(), &options).exits(2).says("coco.json` is a folder");
    assert!(!place.path("out/results.jsonl").exists());
    detect(&place, weights.path(), &options[..3]).exits(0);
}

/// Puts a folder where the boxes in COCO's format are to be written, once the job has begun.
struct Blocking<'a>(&'a Path);

impl JobObserver for Blocking<'_> {
    fn begun(&self, _count: usize) -> zsas::Result<()> {
        std::fs::create_dir(self.0.join(COCO)).map_err(|error| zsas::Error::io("blocking", &error))
    }
}

#[test]
fn the_report_is_written_even_where_the_coco_file_cannot_be() {
    let weights = snapshot_of_all_words();
    let place = Place::with_photos(&["a.png"]);
    let found = store::find(&grounding_dino::NETWORK, Some(weights.path())).unwrap();
    let options = BoxOptions { coco: true, report: true, ..BoxOptions::default() };
    let caption = Caption::of_phrases(&["crack"]).unwrap();
    let finder = BoxFinder::open(DeviceRequest::default(), found, Precision::F32, caption, options).unwrap();
    let job = Job::new(&[place.path("a.png")], &place.path("out"), JobOptions::default()).unwrap();
    let error = job.run(&finder, &Blocking(&place.path("out"))).err().expect("a folder is in the way");
    assert!(error.message().contains("coco.json` is a folder"), "{error}");
    assert!(place.path("out/report.html").exists());
}

#[test]
fn wrong_wishes_are_refused_before_weights_are_read() {
    let place = Place::with_photos(&["a.png"]);
    let nowhere = Path::new("nowhere");
    let refused = |arguments: &[&str], what: &str| {
        detect(&place, nowhere, arguments).exits(2).says(what);
        assert!(!place.path("out").exists());
    };
    refused(&["a.png", "--text", " . "], "the caption holds nothing to look for");
    refused(&["a.png", "--text", "crack", "--box-threshold", "1.5"], "expected a number from 0 to 1");
    refused(&["a.png", "--text", "crack", "--nms", "2"], "expected a number from 0 to 1");
    refused(&["missing.png", "--text", "crack"], "missing.png");
}

#[test]
fn weights_for_another_vocabulary_are_refused() {
    let place = Place::with_photos(&["a.png"]);
    detect(&place, Path::new(SNAPSHOT), &["a.png", "--text", "crack"]).says("weights for 1100 tokens");
}

/// The thinnest photo has fewer cells than there are queries.
#[test]
fn photos_of_extreme_shapes_are_looked_at() {
    let weights = snapshot_of_all_words();
    let place = Place::new();
    for (name, width, height) in [("thin.png", 3, 700), ("flat.png", 900, 2), ("dot.png", 1, 1)] {
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90]))
            .save(place.path(name))
            .unwrap();
    }
    detect(&place, weights.path(), &["thin.png", "flat.png", "dot.png", "--min-size", "1", "--text", "crack"]).exits(0);
    assert_eq!(records(&place.path("out")).len(), 3);
}

/// Three captions are looked for together where memory allows it, else one by one; the boxes are the same.
#[test]
fn where_memory_is_short_captions_are_looked_for_fewer_at_a_time() {
    let weights = snapshot_of_all_words();
    // A strip, so that the three share a batch.
    let photo = common::photo("textile").crop(0, 0, 240, 24);
    let captions = ["crack.", "hole. thread.", "broken part."].map(|caption| Caption::verbatim(caption).unwrap());
    let look = |memory: Option<u64>, captions: &[Caption]| {
        let device = Device::open(&DeviceOptions { memory, ..DeviceOptions::default() }).unwrap();
        let network = GroundingDino::load(&Checkpoint::open(weights.path()).unwrap()).unwrap();
        let grounder = Grounder::new(&device, network, Precision::F32, Semantics::Original);
        let encoded = grounder.encode(&grounder.prepare(&photo)).unwrap();
        let found = grounder.find(&encoded, &grounder.embed(captions).unwrap()).unwrap();
        let corners: Vec<[f32; 4]> = found.iter().flatten().map(|candidate| candidate.corners).collect();
        (corners, device.allocated_bytes())
    };
    let (together, needed) = look(None, &captions);
    let (_, of_one) = look(None, &captions[..1]);
    assert!(of_one < needed, "{of_one} bytes for one, {needed} for three");
    let (apart, held) = look(Some((of_one + needed) / 2), &captions);
    assert!(held <= (of_one + needed) / 2);
    assert_eq!(together.len(), apart.len());
    let far = together
        .iter()
        .zip(&apart)
        .map(|(a, b)| (0..4).map(|at| (a[at] - b[at]).abs()).fold(0.0, f32::max))
        .fold(0.0, f32::max);
    assert!(far < 1e-2, "boxes differ by {far} pixels");
}

/// A snapshot from which a tensor or a file is missing, or whose configuration is of another network.
#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let refused = |change: &dyn Fn(&Path)| {
        let folder = snapshot_of_all_words();
        change(folder.path());
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        format!("{:#}", GroundingDino::load(&checkpoint).err().expect("it does not fit"))
    };
    let config = |from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(folder.join("config.json"), text.replace(from, to)).unwrap();
        }
    };
    assert!(refused(&|folder| std::fs::remove_file(folder.join("config.json")).unwrap()).contains("there is no `config.json`"));
    assert!(refused(&config("\"num_queries\": 20", "\"num_queries\": 21")).contains("sets `num_queries` to 21, the tensors have 20"));
    assert!(
        refused(&config("\"decoder_layers\": 2", "\"decoder_layers\": 3"))
            .contains("sets `decoder_layers` to 3, the tensors have 2 layers")
    );
    assert!(refused(&config("\"encoder_attention_heads\": 4", "\"encoder_attention_heads\": 16")).contains("multiples of 4"));
    assert!(refused(&config("\"window_size\": 3", "\"window_size\": 4")).contains("relative_position_bias_table` has shape"));
    assert!(refused(&config("\"two_stage\": true", "\"two_stage\": false")).contains("`two_stage`"));
    let without = |missing: &'static str| {
        move |folder: &Path| change_tensors(folder, |tensors| tensors.retain(|(name, _)| !name.starts_with(missing)))
    };
    assert!(refused(&without("bbox_embed")).contains("`bbox_embed.0.layers.0.weight` is missing"));
    assert!(refused(&without("model.text_backbone.encoder.layer.0.output.dense")).contains("is missing"));
    // Heads of layers that do not share one, of which the second is missing.
    let own_heads = config("\"decoder_bbox_embed_share\": true", "\"decoder_bbox_embed_share\": false");
    assert!(refused(&own_heads).contains("`bbox_embed.1.layers.0.weight` is missing"));
    // A copy of a shared head that is none, and one of which a layer is missing.
    let copy = |factor: f32, layers: usize| {
        move |folder: &Path| {
            change_tensors(folder, |tensors| {
                let of_first = tensors
                    .iter()
                    .filter_map(|(name, array)| Some((name.strip_prefix("bbox_embed.0.layers.")?.to_owned(), array.clone())));
                let copies: Vec<(String, Array)> = of_first
                    .filter(|(name, _)| name[..1].parse::<usize>().unwrap() < layers)
                    .map(|(name, array)| {
                        (
                            format!("model.decoder.bbox_embed.1.layers.{name}"),
                            Array::new(array.shape(), array.data().iter().map(|x| factor * x).collect()),
                        )
                    })
                    .collect();
                tensors.retain(|(name, _)| copies.iter().all(|(copy, _)| copy != name));
                tensors.extend(copies);
            });
        }
    };
    assert!(
        refused(&copy(1.5, 3)).contains("the tensors below `model.decoder.bbox_embed.1` are no copies of `bbox_embed.0.layers.0.weight`")
    );
    assert!(refused(&copy(1.0, 2)).contains("`model.decoder.bbox_embed.1"));
    let folder = snapshot_of_all_words();
    copy(1.0, 3)(folder.path());
    network(folder.path());
    // With other numbers it is a head of its own.
    own_heads(folder.path());
    copy(1.5, 3)(folder.path());
    network(folder.path());
}

fn change_tensors(folder: &Path, change: impl FnOnce(&mut Vec<(String, Array)>)) {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let read = |name: &str| checkpoint.root().weight(name, checkpoint.shape(name).unwrap()).unwrap().to_array().unwrap();
    let mut tensors: Vec<(String, Array)> = checkpoint.names().map(|name| (name.to_owned(), read(name))).collect();
    change(&mut tensors);
    let bytes = zsas::weights::to_safetensors(tensors.iter().map(|(name, array)| (name.as_str(), array)), &[]).unwrap();
    std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
}
