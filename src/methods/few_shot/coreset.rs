//! Coreset by approximate greedy farthest-point selection (PatchCore, Roth et al. 2022, algorithm 1, as its public code computes it).

use crate::error::Result;
use crate::graph::Graph;
use crate::methods::{finite, nearest::columns_in_parts};
use crate::run::{Device, Program};
use crate::tensor::{Array, Precision, Seeded};

/// Numbers of a projected feature, of which distances between candidates are computed.
pub(super) const PROJECTED: usize = 128;

/// Rows whose mean distance a row begins with; `number_of_starting_points`.
const STARTS: usize = 10;

/// A random projection `[dim, 128]`, distributed as the weights of PyTorch's `nn.Linear(dim, 128, bias=False)`: uniform within ±1/√dim, drawn
/// in the order of that layer's weight `[128, dim]`.
pub(super) fn projection(random: &mut Seeded, dim: usize) -> Array {
    let bound = 1.0 / (dim as f64).sqrt();
    let weight = (0..PROJECTED * dim).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect();
    Array::new([PROJECTED, dim], weight).transposed()
}

/// The rows to start from, ten different ones, or all where there are fewer.
pub(super) fn starts(random: &mut Seeded, rows: usize) -> Vec<usize> {
    random.distinct(STARTS.min(rows), rows)
}

/// Chooses `count` of the rows `[n, d]`: always the one that is farthest from those chosen so far, of equal ones the first. Before the first
/// is chosen, the distance of a row is its mean distance to `starts`.
///
/// `watch` is called before each. Errors: a device fault, or an error of `watch`.
pub(super) fn farthest_rows(
    device: &Device,
    rows: &Array,
    starts: &[usize],
    count: usize,
    mut watch: impl FnMut() -> Result<()>,
) -> Result<Vec<usize>> {
    let distances = Distances::new(device, rows)?;
    let mut sums = vec![0.0_f64; distances.rows.shape()[0]];
    for &start in starts {
        sums.iter_mut().zip(distances.to(start)?).for_each(|(sum, distance)| *sum += f64::from(distance));
    }
    let mut farness: Vec<f32> = sums.iter().map(|sum| (sum / starts.len() as f64) as f32).collect();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count {
        watch()?;
        let farthest = first_largest(&farness);
        chosen.push(farthest);
        farness
            .iter_mut()
            .zip(distances.to(farthest)?)
            .for_each(|(least, distance)| *least = least.min(distance));
    }
    Ok(chosen)
}

/// Number of the first of the largest values.
fn first_largest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, at| if values[at] > values[best] { at } else { best })
}

/// Distances of all rows to one of them, computed on a device.
struct Distances<'a> {
    program: Program,
    rows: &'a Array,
}

impl<'a> Distances<'a> {
    fn new(device: &Device, rows: &'a Array) -> Result<Distances<'a>> {
        let graph = Graph::new(Precision::F32);
        let row = graph.input("row", [1, rows.shape().cols()]);
        let parts: Vec<_> = columns_in_parts(rows).iter().map(|part| row.distances(graph.constant_f32(part))).collect();
        Ok(Distances { program: Program::compile(device, &graph, &parts)?, rows })
    }

    fn to(&self, row: usize) -> Result<Vec<f32>> {
        let dim = self.rows.shape().cols();
        let row = Array::new([1, dim], self.rows.data()[row * dim..][..dim].to_vec());
        let parts = self.program.run(&[&row])?;
        // The last part may repeat its first row.
        let mut all: Vec<f32> = Vec::with_capacity(self.rows.shape()[0]);
        for part in parts {
            all.extend(finite(part, "a distance of references")?.data());
        }
        all.truncate(self.rows.shape()[0]);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Checkpoint;

    #[test]
    fn the_farthest_row_is_chosen_each_time() {
        // On a line: 0, 1, 5, 10. Mean distances to 0 and 1: 0.5, 0.5, 4.5, 9.5, so 10 is first; then 5 with the least of 4.5 and 5.
        let rows = Array::new([4, 1], vec![0.0, 1.0, 5.0, 10.0]);
        let chosen = |count| farthest_rows(&Device::reference(), &rows, &[0, 1], count, || Ok(())).unwrap();
        assert_eq!(chosen(2), [3, 2]);
        assert_eq!(chosen(4), [3, 2, 0, 1]);
    }

    /// Random rows, chosen by PyTorch in f64 (`tools/golden_few_shot.py`).
    #[test]
    fn the_choice_is_that_of_a_plain_program() {
        let golden = Checkpoint::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/methods/few_shot.safetensors")).unwrap();
        let numbers = |name: &str| golden.root().weight(name, golden.shape(name).unwrap()).unwrap().to_array().unwrap();
        let starts: Vec<usize> = (0..STARTS).collect();
        let expected: Vec<usize> = numbers("coreset_rows").data().iter().map(|&row| row as usize).collect();
        let chosen =
            |starts: &[usize]| farthest_rows(&Device::reference(), &numbers("coreset_input"), starts, expected.len(), || Ok(())).unwrap();
        assert_eq!(chosen(&starts), expected);
        assert_ne!(chosen(&starts[..1]), expected, "other starting points choose others");
    }

    #[test]
    fn of_rows_as_far_the_first_is_chosen() {
        let rows = Array::new([3, 1], vec![1.0, -1.0, 0.0]);
        assert_eq!(farthest_rows(&Device::reference(), &rows, &[2], 2, || Ok(())).unwrap(), [0, 1]);
    }

    #[test]
    fn a_projection_keeps_lengths_but_for_its_scale() {
        // The variance of a weight is 1 / (3 · dim), so 128 projections of a unit vector have a squared length around 128 / (3 · 1024).
        let weight = projection(&mut Seeded::new(0), 1024);
        assert_eq!(weight.shape().sizes(), [1024, 128]);
        assert!(weight.data().iter().all(|x| x.abs() <= 1.0 / 32.0));
        let squared: f64 = weight.data().iter().map(|&x| f64::from(x).powi(2)).sum();
        assert!((squared / 1024.0 - 128.0 / 3072.0).abs() < 1e-3, "{squared}");
    }
}
