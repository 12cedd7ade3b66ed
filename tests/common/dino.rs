//! The tiny GroundingDINO of `tools/golden_dino.py`, alone and with the other networks of SAA+.

use std::fs;
use std::path::Path;

use zsas::tensor::Seeded;
use zsas::weights::to_safetensors;
use zsas::{Array, Checkpoint};

/// Windows of 3 × 3 on grids of 25 × 37 and coarser, two stages shifted; 20 queries, two layers of everything, 1,100 words.
pub const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/grounding_dino/tiny");

/// The tiny snapshot with an embedding for each word of the vocabulary, drawn with a seed.
pub fn snapshot_of_all_words() -> tempfile::TempDir {
    let checkpoint = Checkpoint::open(SNAPSHOT).unwrap();
    let words = "model.text_backbone.embeddings.word_embeddings.weight";
    let root = checkpoint.root();
    let mut tensors: Vec<(String, Array)> = Vec::new();
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).unwrap();
        tensors.push((name.to_owned(), root.weight(name, shape).unwrap().to_array().unwrap()));
    }
    let width = checkpoint.shape(words).unwrap().cols();
    let table = Array::new([30_522, width], Seeded::new(7).numbers(30_522 * width).into_iter().map(|x| 0.5 * x).collect());
    tensors.retain(|(name, _)| name != words);
    tensors.push((words.to_owned(), table));
    let folder = tempfile::tempdir().unwrap();
    let bytes = to_safetensors(tensors.iter().map(|(name, array)| (name.as_str(), array)), &[]).unwrap();
    fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    fs::copy(format!("{SNAPSHOT}/config.json"), folder.path().join("config.json")).unwrap();
    folder
}

/// Snapshots of the three tiny networks that `tools/golden_saa.py` takes, by the names of their networks.
pub fn snapshots_of_saa() -> tempfile::TempDir {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (detector, root) = (snapshot_of_all_words(), tempfile::tempdir().unwrap());
    let copy = |files: &[std::path::PathBuf], network: &str| {
        let folder = root.path().join(network);
        fs::create_dir(&folder).unwrap();
        for file in files {
            fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
    };
    let files_of = |folder: &Path| fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    copy(&files_of(detector.path()), "grounding-dino");
    copy(&files_of(&golden.join("sam/official")), "sam");
    copy(&[golden.join("wide_resnet/tiny.safetensors")], "wide-resnet");
    root
}
