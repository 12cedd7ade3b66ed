//! A tiny CLIP that reads real prompts: the golden one with a vocabulary of CLIP's size.

use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use zsas::Checkpoint;

use super::Seeded;

/// Rows of CLIP's vocabulary.
const VOCABULARY: usize = 49_408;

/// Most tokens of a text.
const CONTEXT: usize = 77;

/// Writes a snapshot like `tests/golden/clip/tiny` into `folder`, but for the tables of tokens and positions, which are drawn anew at full height.
pub fn write_snapshot(folder: &Path) {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/clip/tiny");
    let checkpoint = Checkpoint::open(&tiny).unwrap();
    let mut seeded = Seeded::new(5);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).unwrap();
        let rows = match name {
            "token_embedding.weight" => Some(VOCABULARY),
            "positional_embedding" => Some(CONTEXT),
            _ => None,
        };
        let (sizes, data) = match rows {
            Some(rows) => (vec![rows, shape.cols()], (0..rows * shape.cols()).map(|_| seeded.normal() as f32).collect()),
            None => (shape.sizes().to_vec(), checkpoint.root().weight(name, shape).unwrap().to_array().unwrap().data().to_vec()),
        };
        tensors.push((name.to_owned(), sizes, data.iter().flat_map(|x| x.to_le_bytes()).collect()));
    }
    let views = tensors
        .iter()
        .map(|(name, sizes, bytes)| (name, TensorView::new(safetensors::Dtype::F32, sizes.clone(), bytes).unwrap()));
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("open_clip_model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    fs::copy(tiny.join("open_clip_config.json"), folder.join("open_clip_config.json")).unwrap();
}
