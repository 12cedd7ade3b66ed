//! CLIP's image tower: a vision transformer (Dosovitskiy et al. 2021) with a norm before its blocks, on whole images or on windows.

use crate::error::{Code, Error, Result};
use crate::graph::{Epilogue, KeyRanges, Tensor};
use crate::models::clip::transformer::Transformer;
use crate::models::clip::{ClipConfig, Naming};
use crate::nn::{LayerNorm, PatchEmbed, resize_positions};
use crate::weights::{Scope, Weight};

/// The image tower. Cheap to clone; clones share their weights.
#[derive(Clone)]
pub struct ImageTower {
    conv1: PatchEmbed,
    class_embedding: Weight,
    positional_embedding: Weight,
    ln_pre: LayerNorm,
    /// Transformer blocks.
    pub transformer: Transformer,
    /// Layer norm after the blocks.
    pub ln_post: LayerNorm,
    /// `[width, embed]`.
    pub proj: Weight,
    grid: usize,
}

/// Output of the image tower.
#[derive(Clone, Copy)]
pub struct Embedded<'g> {
    /// Projected class tokens of the images `[b, embed]`.
    pub images: Tensor<'g>,
    /// Patch tokens after the last block, before `ln_post` `[b, n, width]`.
    pub patches: Tensor<'g>,
}

impl ImageTower {
    /// Reads the tower; its sizes are those of the tensors.
    pub fn load(weights: &Scope, config: &ClipConfig) -> Result<ImageTower> {
        let names = match config.naming {
            Naming::OpenClip => Names {
                conv1: "visual.conv1",
                class_embedding: "visual.class_embedding",
                positional_embedding: "visual.positional_embedding",
                ln_pre: "visual.ln_pre",
                blocks: "visual.transformer.resblocks",
                ln_post: "visual.ln_post",
            },
            Naming::Transformers => Names {
                conv1: "vision_model.embeddings.patch_embedding",
                class_embedding: "vision_model.embeddings.class_embedding",
                positional_embedding: "vision_model.embeddings.position_embedding.weight",
                // Spelt so in every published file.
                ln_pre: "vision_model.pre_layrnorm",
                blocks: "vision_model.encoder.layers",
                ln_post: "vision_model.post_layernorm",
            },
        };
        let conv1 = PatchEmbed::load(&weights.at(names.conv1))?;
        let (width, patch) = (conv1.width(), conv1.patch());
        let [positions, _] = weights.sizes(names.positional_embedding)?;
        let grid = (positions - 1).isqrt();
        if patch == 0 || grid == 0 || grid * grid + 1 != positions {
            let message = format!("`{}` has {positions} rows, not one and a square", names.positional_embedding);
            return Err(Error::new(Code::WeightsMismatch, message));
        }
        if let Some(size) = config.image_size.filter(|size| *size != grid * patch) {
            let message = format!("the configuration is for images of {size} pixels, the tensors are for {}", grid * patch);
            return Err(Error::new(Code::WeightsMismatch, message));
        }
        let proj = match config.naming {
            Naming::OpenClip => {
                let [_, embed] = weights.sizes("visual.proj")?;
                weights.weight("visual.proj", [width, embed])?
            }
            Naming::Transformers => {
                let [embed, _] = weights.sizes("visual_projection.weight")?;
                weights.weight("visual_projection.weight", [embed, width])?.transposed()
            }
        };
        let blocks = weights.at(names.blocks);
        Ok(ImageTower {
            conv1,
            class_embedding: weights.weight(names.class_embedding, [width])?,
            positional_embedding: weights.weight(names.positional_embedding, [positions, width])?,
            ln_pre: LayerNorm::load(&weights.at(names.ln_pre), width, config.image.eps)?,
            transformer: Transformer::load(&blocks, config.naming, width, &config.image)?,
            ln_post: LayerNorm::load(&weights.at(names.ln_post), width, config.image.eps)?,
            proj,
            grid,
        })
    }

    /// The tower for images of `grid` patches along each side: its positions are interpolated bicubically, as transformers does.
    pub fn at_grid(&self, grid: usize) -> ImageTower {
        let shape = [1 + grid * grid, self.width()];
        let positional_embedding = self.positional_embedding.map(shape, move |table| Ok(resize_positions(&table, grid)));
        ImageTower { positional_embedding, grid, ..self.clone() }
    }

    /// Pixels along each side of a patch.
    pub fn patch(&self) -> usize {
        self.conv1.patch()
    }

    /// Patches along each side.
    pub fn grid(&self) -> usize {
        self.grid
    }

    /// Pixels along each side.
    pub fn image_size(&self) -> usize {
        self.grid * self.patch()
    }

    /// Elements of a token.
    pub fn width(&self) -> usize {
        self.ln_post.weight().shape().len()
    }

    /// Elements of an embedding.
    pub fn embed(&self) -> usize {
        self.proj.shape().cols()
    }

    /// Tokens of one image: the class token and the patches.
    pub fn tokens_per_image(&self) -> usize {
        self.grid * self.grid + 1
    }

    /// Class and patch tokens with their positions, normalised, ready for the blocks: `pixels` `[b, 3, s, s]` → `[b·(1 + n), width]`.
    pub fn embed_tokens<'g>(&self, pixels: Tensor<'g>) -> Tensor<'g> {
        let graph = pixels.graph();
        let [batch, _, height, width] = pixels.shape().axes();
        assert!([height, width] == [self.image_size(); 2], "the tower takes {0}×{0} pixels, not {height}×{width}", self.image_size());
        let (dim, tokens) = (self.width(), self.tokens_per_image());
        let patches = self.conv1.forward(pixels, None); // [b, g, g, width]
        // Joined in one row, the class token stands before all patches; it is then repeated before those of each image.
        let class = graph.weight(&self.class_embedding).reshape([1, dim]);
        let joined = class
            .concat(patches.reshape([1, batch * (tokens - 1) * dim]))
            .reshape([1 + batch * (tokens - 1), dim]);
        let of_image = |image: usize| std::iter::once(0).chain((0..tokens - 1).map(move |patch| 1 + image * (tokens - 1) + patch));
        let x = if batch == 1 { joined } else { joined.gather(&(0..batch).flat_map(of_image).collect::<Vec<usize>>()) };
        let x = x.reshape([batch, tokens, dim]) + graph.weight(&self.positional_embedding);
        self.ln_pre.forward(x.reshape([batch * tokens, dim]))
    }

    /// Embeddings and patch tokens of whole images: `pixels` `[b, 3, s, s]`.
    pub fn forward<'g>(&self, pixels: Tensor<'g>) -> Embedded<'g> {
        self.forward_windows(pixels, &[]).0
    }

    /// Outputs of all blocks, class tokens included: `pixels` `[b, 3, s, s]` → as many `[b·(1 + n), width]` as there are blocks.
    pub fn block_outputs<'g>(&self, pixels: Tensor<'g>) -> Vec<Tensor<'g>> {
        let batch = pixels.shape().sizes()[0];
        self.transformer
            .outputs(self.embed_tokens(pixels), &KeyRanges::sequences(vec![self.tokens_per_image(); batch]))
    }

    /// As [`ImageTower::forward`], with the embeddings of windows `[b·count, embed]` for each list of them.
    ///
    /// A window is a list of patches; its tokens are those of the image, positions included, and the class token before them. Patches
    /// outside are left out, not masked: all windows and images run as one batch of sequences of different lengths (Jeong et al. 2023,
    /// §4.2; `ln_pre` acts on each token alone, so it may come before the choice).
    pub fn forward_windows<'g>(&self, pixels: Tensor<'g>, windows: &[Vec<Vec<usize>>]) -> (Embedded<'g>, Vec<Tensor<'g>>) {
        let batch = pixels.shape().sizes()[0];
        let tokens = self.tokens_per_image();
        let mut rows: Vec<usize> = (0..batch * tokens).collect();
        let mut lengths = vec![tokens; batch];
        for window in windows
            .iter()
            .flat_map(|list| (0..batch).flat_map(move |image| list.iter().map(move |window| (image, window))))
        {
            let (image, patches) = window;
            rows.push(image * tokens);
            rows.extend(patches.iter().map(|patch| image * tokens + 1 + patch));
            lengths.push(1 + patches.len());
        }
        let x = self.embed_tokens(pixels);
        let x = if windows.is_empty() { x } else { x.gather(&rows) };

        // Wanted rows: every token of an image, patches first, and the class token of each window.
        let is_class = |row: &usize| row.is_multiple_of(tokens);
        let patches = (0..batch * tokens).filter(|row| !is_class(row));
        let classes = (0..batch * tokens).filter(is_class);
        let starts = lengths.iter().scan(0, |start, length| Some(std::mem::replace(start, *start + length)));
        let wanted: Vec<usize> = patches.chain(classes).chain(starts.skip(batch)).collect();
        let x = self.transformer.forward(x, &KeyRanges::sequences(lengths), &wanted);

        let count = |list: &Vec<Vec<usize>>| batch * list.len();
        let split = |from: usize, count: usize| x.gather(&(from..from + count).collect::<Vec<usize>>());
        let mut from = batch * (tokens - 1);
        let patches = split(0, from).reshape([batch, tokens - 1, self.width()]);
        let images = self.project(split(from, batch));
        from += batch;
        let mut embeddings = Vec::new();
        for list in windows {
            embeddings.push(self.project(split(from, count(list))));
            from += count(list);
        }
        (Embedded { images, patches }, embeddings)
    }

    /// Projection of tokens after the last block into the space shared with text: `[rows, width]` → `[rows, embed]`.
    pub fn project<'g>(&self, tokens: Tensor<'g>) -> Tensor<'g> {
        self.ln_post.forward(tokens).matmul(tokens.graph().weight(&self.proj), Epilogue::default())
    }
}

/// Names of the tower's tensors in one naming.
struct Names {
    conv1: &'static str,
    class_embedding: &'static str,
    positional_embedding: &'static str,
    ln_pre: &'static str,
    blocks: &'static str,
    ln_post: &'static str,
}
