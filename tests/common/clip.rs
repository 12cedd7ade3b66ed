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

/// Writes a snapshot like `tests/golden/clip/tiny` into `folder`, but for the tables of tokens and positions of its texts, which are drawn
/// anew at full height.
pub fn write_snapshot(folder: &Path) {
    write_like("tiny", ["token_embedding.weight", "positional_embedding"], "open_clip_model.safetensors", "open_clip_config.json", folder);
}

/// The same for `tests/golden/clip/clipseg_tiny`.
pub fn write_clipseg_snapshot(folder: &Path) {
    let tables = ["token_embedding", "position_embedding"].map(|table| format!("clip.text_model.embeddings.{table}.weight"));
    write_like("clipseg_tiny", tables.each_ref().map(String::as_str), "model.safetensors", "config.json", folder);
}

fn write_like(golden: &str, [tokens, positions]: [&str; 2], file: &str, config: &str, folder: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/clip").join(golden);
    let checkpoint = Checkpoint::open(&golden).unwrap();
    let mut seeded = Seeded::new(5);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).unwrap();
        let rows = if name == tokens {
            Some(VOCABULARY)
        } else if name == positions {
            Some(CONTEXT)
        } else {
            None
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
    fs::write(folder.join(file), safetensors::serialize(views, None).unwrap()).unwrap();
    fs::copy(golden.join(config), folder.join(config)).unwrap();
}
