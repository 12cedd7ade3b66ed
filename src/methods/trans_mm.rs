//! Trans-MM: relevance of patches to a text from attention and its gradient (Chefer, Gur, Wolf, ICCV 2021), on the last block.
//!
//! With the attention a of the last block's heads, and S = 100·cosine of the image with the anomalous text t, the relevance of patch j is
//!
//! ```text
//! R[j] = mean over heads h of max(0, a_h[j] · ∂S/∂a_h[j])
//! ```
//!
//! where a_h is the class token's row. S depends on no other row, so the gradient is derived by hand. Below, the left column is the forward
//! pass of that row from top to bottom, and the right column the gradient of each step from bottom to top; g_x stands for ∂S/∂x, ⊙
//! multiplies element by element.
//!
//! ```text
//! a_h = softmax(k_h · q_h / √d)               ∂S/∂a_h[j] = ⟨(g_o)_h, v_h[j]⟩
//! o_h = Σ_j a_h[j] · v_h[j]                   g_o = W_out · g_y
//! y = x + o · W_out + b_out                   g_y = g_z + ln_2′(W_fc · (act′(m) ⊙ (W_proj · g_z)))
//! m = ln_2(y) · W_fc + b_fc
//! z = y + act(m) · W_proj + b_proj            g_z = ln_post′(P · g_e)
//! e = ln_post(z) · P                          g_e = 100 / |e| · (t − ⟨ê, t⟩ ê),  ê = e / |e|
//! S = 100 · ⟨ê, t⟩
//! ```
//!
//! The device computes the class token x before the last block, and the block's queries q, keys k and values v; the rest is one row and is
//! computed here in f64.
//!
//! As in the authors' notebook for CLIP, earlier blocks are left out. The notebook also stretches each image's relevance to 0…1; that is
//! left out here, since it would give every image the same maximum.

use crate::error::Result;
use crate::image::Rgb;
use crate::kernels::Activation;
use crate::methods::image_program::{ImageProgram, before_last_block, last_block};
use crate::methods::prompts::PromptEnsemble;
use crate::methods::text_prototypes::LEARNT_TEMPERATURE;
use crate::methods::{Clock, Finding, LEAST_NORM, Method, MethodInfo, MethodInputs, Reading, Scale, ScoreOf, noise};
use crate::models::clip::{self, Block, Clip};
use crate::nn::{LayerNorm, Linear};
use crate::run::Device;
use crate::tensor::{Array, Precision};

/// The entry of the table of methods.
pub(super) static INFO: MethodInfo = MethodInfo {
    name: "trans-mm",
    about: "Baseline: attention of the last block times its gradient (Chefer et al. 2021)",
    networks: &[&clip::NETWORK],
    inputs: MethodInputs::TEXT,
    readings: &[Reading::Released],
    localizes: true,
    score: ScoreOf::MapMaximum,
    suits_f16: false,
    build: |context| {
        let clip = context.clip()?;
        let prototypes = context.prototypes(&clip, &PromptEnsemble::winclip(&context.recipe.class, Reading::Paper))?;
        Ok(Box::new(TransMm::new(context.device, &clip, &prototypes, context.recipe.precision)?))
    },
};

/// Trans-MM on one network and device.
pub struct TransMm {
    program: ImageProgram,
    row: ClassRow,
    scale: Scale,
}

impl TransMm {
    /// Prepares the method. `prototypes` `[2, embed]` are those of the normal and the anomalous state, rows of unit length; only the latter
    /// counts. One image of noise is scored, for the scale.
    ///
    /// Errors: a tower without blocks, weights that are not finite, or a device that cannot hold them.
    pub fn new(device: &Device, clip: &Clip, prototypes: &Array, precision: Precision) -> Result<TransMm> {
        let block = last_block(clip)?;
        let program = ImageProgram::new(device, clip, 1, precision, |pixels| {
            let tokens = before_last_block(clip, pixels); // [1 + n, width]
            let qkv = block.attn.in_proj.forward(block.ln_1.forward(tokens)); // [1 + n, 3·width]
            vec![tokens.gather(&[0]), qkv]
        })?;
        let row = ClassRow::read(clip, block, prototypes)?;
        let mut method = TransMm { program, row, scale: Scale { range: [0.0, 1.0], level: None } };
        let of_noise = method.score(&noise(clip.image.image_size()))?.score;
        method.scale.range[1] = two_digits(2.0 * of_noise);
        Ok(method)
    }
}

/// Rounds to two significant digits, so that adapters that differ in the last bits choose the same colour range.
fn two_digits(x: f32) -> f32 {
    format!("{x:.1e}").parse().unwrap_or(x)
}

impl Method for TransMm {
    /// From 0 to twice the largest relevance in an image of noise, since relevance has no unit and varies with weights and text.
    fn scale(&self) -> Scale {
        self.scale
    }

    fn inspect(&self, image: &Rgb, clock: &mut Clock) -> Result<Finding> {
        self.program.score_patches(image, clock, |outputs| self.row.relevance(&outputs[0], &outputs[1]))
    }
}

/// The layers from the last block's attention to the text embedding `t`, applied to the class token's row.
struct ClassRow {
    heads: usize,
    out_proj: Affine,
    ln_2: Norm,
    c_fc: Affine,
    c_proj: Affine,
    activation: Activation,
    ln_post: Norm,
    proj: Affine,
    text: Vec<f64>,
}

/// Intermediate values of the forward pass, named as in the formulas above.
struct Passed {
    y: Vec<f64>,
    m: Vec<f64>,
    z: Vec<f64>,
    e: Vec<f64>,
}

impl ClassRow {
    fn read(clip: &Clip, block: &Block, prototypes: &Array) -> Result<ClassRow> {
        let embed = prototypes.shape().cols();
        Ok(ClassRow {
            heads: block.attn.heads,
            out_proj: Affine::read(&block.attn.out_proj)?,
            ln_2: Norm::read(&block.ln_2)?,
            c_fc: Affine::read(&block.mlp.layers()[0])?,
            c_proj: Affine::read(&block.mlp.layers()[1])?,
            activation: block.mlp.activation,
            ln_post: Norm::read(&clip.image.ln_post)?,
            proj: Affine::read(&Linear::new(clip.image.proj.clone(), None))?,
            text: wide(&prototypes.data()[embed..]),
        })
    }

    /// R, the relevance of each patch, from the class token `[1, width]` before the block and `qkv` `[1 + n, 3·width]`.
    fn relevance(&self, class: &Array, qkv: &Array) -> Vec<f32> {
        let tokens = Tokens { qkv, heads: self.heads };
        let attention = tokens.attention();
        let passed = self.forward(&wide(class.data()), &tokens.attended(&attention));
        let gradient = tokens.attention_gradient(&self.backward(&passed));
        relevance(&attention, &gradient)
    }

    /// From o, the attended values of all heads, to the embedding e.
    fn forward(&self, x: &[f64], o: &[f64]) -> Passed {
        let y = sum(x, &self.out_proj.apply(o));
        let m = self.c_fc.apply(&self.ln_2.apply(&y));
        let activated: Vec<f64> = m.iter().map(|&m| self.activation.apply(m, 0.0).0).collect();
        let z = sum(&y, &self.c_proj.apply(&activated));
        let e = self.proj.apply(&self.ln_post.apply(&z));
        Passed { y, m, z, e }
    }

    /// g_o: the backward pass, from the last formula to the first.
    fn backward(&self, Passed { y, m, z, e }: &Passed) -> Vec<f64> {
        let g_e = similarity_gradient(e, &self.text);
        let g_z = self.ln_post.pull_back(z, &self.proj.pull_back(&g_e));
        let of_activated = self.c_proj.pull_back(&g_z);
        let g_m: Vec<f64> = m.iter().zip(of_activated).map(|(&m, g)| self.activation.derivative(m) * g).collect();
        let g_y = sum(&g_z, &self.ln_2.pull_back(y, &self.c_fc.pull_back(&g_m)));
        self.out_proj.pull_back(&g_y)
    }
}

/// Queries, keys and values of the class token and the patches side by side `[1 + n, 3·width]`, by head.
struct Tokens<'a> {
    qkv: &'a Array,
    heads: usize,
}

/// Third of a row of [`Tokens`] that holds the queries.
const QUERY: usize = 0;

/// Third that holds the keys.
const KEY: usize = 1;

/// Third that holds the values.
const VALUE: usize = 2;

impl Tokens<'_> {
    /// Elements of a head.
    fn dim(&self) -> usize {
        self.qkv.shape().cols() / (3 * self.heads)
    }

    /// The queries, keys or values of one head, token by token.
    fn part(&self, part: usize, head: usize) -> impl Iterator<Item = &[f32]> {
        let from = (part * self.heads + head) * self.dim();
        self.qkv
            .data()
            .chunks_exact(self.qkv.shape().cols())
            .map(move |token| &token[from..from + self.dim()])
    }

    /// a: how much the class token attends to each token, by head.
    fn attention(&self) -> Vec<Vec<f64>> {
        let scale = 1.0 / (self.dim() as f64).sqrt();
        let of_head = |head| {
            let query: Vec<f64> = self.part(QUERY, head).next().map(wide).unwrap_or_default();
            softmax(self.part(KEY, head).map(|key| scale * dot(&query, key)).collect())
        };
        (0..self.heads).map(of_head).collect()
    }

    /// o: the sum of values weighted by the class token's attention, all heads side by side.
    fn attended(&self, attention: &[Vec<f64>]) -> Vec<f64> {
        let of_head = |(head, attention): (usize, &Vec<f64>)| {
            let mut mixed = vec![0.0; self.dim()];
            attention
                .iter()
                .zip(self.part(VALUE, head))
                .for_each(|(&a, value)| add_scaled(&mut mixed, a, value));
            mixed
        };
        attention.iter().enumerate().flat_map(of_head).collect()
    }

    /// ∂S/∂a from g_o.
    fn attention_gradient(&self, g_o: &[f64]) -> Vec<Vec<f64>> {
        let heads = g_o.chunks_exact(self.dim()).enumerate();
        heads.map(|(head, g)| self.part(VALUE, head).map(|value| dot(g, value)).collect()).collect()
    }
}

/// The mean over heads of the positive part of attention times gradient, for each token but the class token.
fn relevance(attention: &[Vec<f64>], gradient: &[Vec<f64>]) -> Vec<f32> {
    let tokens = attention[0].len();
    let of_token = |token: usize| {
        let of_heads = attention.iter().zip(gradient).map(|(a, g)| (a[token] * g[token]).max(0.0));
        (of_heads.sum::<f64>() / attention.len() as f64) as f32
    };
    (1..tokens).map(of_token).collect()
}

/// g_e: the gradient of 100·cosine with a text of unit length. It is orthogonal to e, since the cosine does not depend on the length of e.
fn similarity_gradient(e: &[f64], text: &[f64]) -> Vec<f64> {
    let length = e.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::from(LEAST_NORM));
    let cosine = e.iter().zip(text).map(|(e, t)| e * t).sum::<f64>() / length;
    let scale = 1.0 / (f64::from(LEARNT_TEMPERATURE) * length);
    e.iter().zip(text).map(|(e, t)| scale * (t - cosine * e / length)).collect()
}

/// `x · W + b` for one row.
struct Affine {
    /// `[in, out]`.
    weight: Array,
    bias: Vec<f64>,
}

impl Affine {
    fn read(linear: &Linear) -> Result<Affine> {
        let bias = match linear.bias() {
            Some(bias) => wide(bias.to_array()?.data()),
            None => vec![0.0; linear.weight().shape().cols()],
        };
        Ok(Affine { weight: linear.weight().to_array()?, bias })
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.weight.data().chunks_exact(self.bias.len())
    }

    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let mut y = self.bias.clone();
        x.iter().zip(self.rows()).for_each(|(&x, row)| add_scaled(&mut y, x, row));
        y
    }

    /// W · g.
    fn pull_back(&self, g: &[f64]) -> Vec<f64> {
        self.rows().map(|row| dot(g, row)).collect()
    }
}

/// Layer norm of one row.
struct Norm {
    weight: Vec<f64>,
    bias: Vec<f64>,
    eps: f64,
}

impl Norm {
    fn read(norm: &LayerNorm) -> Result<Norm> {
        let [weight, bias] = [norm.weight().to_array()?, norm.bias().to_array()?].map(|array| wide(array.data()));
        Ok(Norm { weight, bias, eps: f64::from(norm.eps()) })
    }

    /// x̂ = (x − mean) / σ, and σ = √(variance + eps).
    fn standardized(&self, x: &[f64]) -> (Vec<f64>, f64) {
        let centre = mean(x.iter().copied());
        let sigma = (mean(x.iter().map(|x| (x - centre) * (x - centre))) + self.eps).sqrt();
        (x.iter().map(|x| (x - centre) / sigma).collect(), sigma)
    }

    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let (x, _) = self.standardized(x);
        x.iter().zip(&self.weight).zip(&self.bias).map(|((x, weight), bias)| x * weight + bias).collect()
    }

    /// The gradient: with u = weight ⊙ g, (u − mean(u) − x̂ · mean(u ⊙ x̂)) / σ.
    fn pull_back(&self, x: &[f64], g: &[f64]) -> Vec<f64> {
        let (x, sigma) = self.standardized(x);
        let u: Vec<f64> = g.iter().zip(&self.weight).map(|(g, weight)| g * weight).collect();
        let (shift, stretch) = (mean(u.iter().copied()), mean(u.iter().zip(&x).map(|(u, x)| u * x)));
        u.iter().zip(&x).map(|(u, x)| (u - shift - x * stretch) / sigma).collect()
    }
}

fn softmax(mut x: Vec<f64>) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    x.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let total: f64 = x.iter().sum();
    x.into_iter().map(|x| x / total).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn dot(x: &[f64], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, &y)| x * f64::from(y)).sum()
}

fn sum(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

fn add_scaled(y: &mut [f64], factor: f64, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += factor * f64::from(x));
}

fn mean(x: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = x.len();
    x.sum::<f64>() / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `len` pseudo-random numbers in −1…1.
    fn numbers(len: usize, seed: f64) -> Vec<f32> {
        (0..len).map(|at| (12.9898 * (at as f64 + 1.0) + 78.233 * seed).sin() as f32).collect()
    }

    fn affine(inputs: usize, outputs: usize, seed: f64) -> Affine {
        Affine {
            weight: Array::new([inputs, outputs], numbers(inputs * outputs, seed)),
            bias: wide(&numbers(outputs, seed + 0.5)),
        }
    }

    fn norm(dim: usize, seed: f64) -> Norm {
        Norm { weight: wide(&numbers(dim, seed)), bias: wide(&numbers(dim, seed + 0.5)), eps: 1e-5 }
    }

    /// Two heads of width 3, an MLP of width 8, embeddings of width 5.
    fn row(activation: Activation) -> ClassRow {
        let mut text = wide(&numbers(5, 9.0));
        let length = text.iter().map(|x| x * x).sum::<f64>().sqrt();
        text.iter_mut().for_each(|x| *x /= length);
        ClassRow {
            heads: 2,
            out_proj: affine(6, 6, 1.0),
            ln_2: norm(6, 2.0),
            c_fc: affine(6, 8, 3.0),
            c_proj: affine(8, 6, 4.0),
            activation,
            ln_post: norm(6, 5.0),
            proj: affine(6, 5, 6.0),
            text,
        }
    }

    fn weighted(y: &[f64], g: &[f64]) -> f64 {
        y.iter().zip(g).map(|(y, g)| y * g).sum()
    }

    fn similarity(e: &[f64], text: &[f64]) -> f64 {
        100.0 * weighted(e, text) / weighted(e, e).sqrt()
    }

    /// Holds a gradient to the central differences of `f` at `x`: their error is a few 10⁻¹⁰ of its size.
    #[track_caller]
    fn assert_gradient(f: impl Fn(&[f64]) -> f64, x: &[f64], gradient: &[f64]) {
        let step = 1e-5;
        let largest = gradient.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
        assert!(largest > 0.01 && gradient.len() == x.len(), "{gradient:?}");
        for (at, found) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut x = x.to_vec();
                x[at] += by;
                f(&x)
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((found - expected).abs() <= 1e-7 * largest, "{at}: {found}, not {expected}");
        }
    }

    #[test]
    fn the_gradient_of_the_cosine_is_that_of_central_differences() {
        let (e, text) = (wide(&numbers(5, 1.0)), row(Activation::Gelu).text);
        let gradient = similarity_gradient(&e, &text);
        assert_gradient(|e| similarity(e, &text), &e, &gradient);
        assert!(weighted(&gradient, &e).abs() < 1e-12, "the length of e does not count");
    }

    #[test]
    fn the_gradient_of_an_affine_map_is_that_of_central_differences() {
        let (map, x, g) = (affine(4, 3, 1.0), wide(&numbers(4, 2.0)), wide(&numbers(3, 3.0)));
        assert_gradient(|x| weighted(&map.apply(x), &g), &x, &map.pull_back(&g));
    }

    #[test]
    fn the_gradient_of_a_layer_norm_is_that_of_central_differences() {
        let (norm, x, g) = (norm(6, 1.0), wide(&numbers(6, 2.0)), wide(&numbers(6, 3.0)));
        assert_gradient(|x| weighted(&norm.apply(x), &g), &x, &norm.pull_back(&x, &g));
    }

    #[test]
    fn the_gradient_of_the_attended_values_is_that_of_central_differences() {
        let (x, o) = (wide(&numbers(6, 7.0)), wide(&numbers(6, 8.0)));
        let gradient = |row: &ClassRow| row.backward(&row.forward(&x, &o));
        let rows = [Activation::Gelu, Activation::QuickGelu].map(row);
        for row in &rows {
            assert_gradient(|o| similarity(&row.forward(&x, o).e, &row.text), &o, &gradient(row));
        }
        assert_ne!(gradient(&rows[0]), gradient(&rows[1]), "the activation counts");
    }

    #[test]
    fn the_gradient_of_the_attention_is_that_of_central_differences() {
        let (row, qkv, x) = (row(Activation::QuickGelu), Array::new([4, 18], numbers(72, 1.5)), wide(&numbers(6, 7.0)));
        let tokens = Tokens { qkv: &qkv, heads: 2 };
        let attention = tokens.attention();
        assert!(attention.iter().all(|head| (head.iter().sum::<f64>() - 1.0).abs() < 1e-12));
        let gradient = tokens.attention_gradient(&row.backward(&row.forward(&x, &tokens.attended(&attention))));
        let similarity = |flat: &[f64]| {
            let attention: Vec<Vec<f64>> = flat.chunks(4).map(<[f64]>::to_vec).collect();
            similarity(&row.forward(&x, &tokens.attended(&attention)).e, &row.text)
        };
        assert_gradient(similarity, &attention.concat(), &gradient.concat());
    }

    #[test]
    fn relevance_is_the_mean_over_heads_of_what_speaks_for_the_text() {
        // The class token itself is left out; −0.5 · 0.4 of the second head counts as nothing.
        let (attention, gradient) = ([vec![0.5, 0.25, 0.25], vec![0.2, 0.4, 0.4]], [vec![9.0, 2.0, 4.0], vec![9.0, -0.5, 1.0]]);
        assert_eq!(relevance(&attention, &gradient), [0.25, 0.7]);
    }
}
