//! The tiny GroundingDINO of `tools/golden_dino.py`.

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
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    std::fs::copy(format!("{SNAPSHOT}/config.json"), folder.path().join("config.json")).unwrap();
    folder
}
