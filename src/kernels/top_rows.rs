//! Numbers of the rows with the highest scores.

use rayon::prelude::*;

use crate::kernels::geometry::ELEMENT_LANES;
use crate::kernels::{Access, Content, Implementation, Io, Kernel, Launch, Operand, ParamBlock, Storage, Work, boxed, params, read_f32};

/// `y[s, k]` = number, counted through all sequences, of the row with the k-th highest score of sequence s; of equal scores the first row
/// comes first, as in a stable sort. A NaN of either sign has its place beyond the infinity of that sign.
///
/// `scores` `[sequences, rows]` in f32, `y` `[sequences, count]` whole numbers; `count` is at most `rows`.
#[derive(Clone, Debug)]
pub struct TopRows {
    /// Number of sequences.
    pub sequences: usize,
    /// Rows of a sequence.
    pub rows: usize,
    /// Rows that are chosen of each.
    pub count: usize,
}

impl TopRows {
    /// Rows per workgroup: each lane counts those that come before its own.
    fn groups_of_a_sequence(&self) -> usize {
        self.rows.div_ceil(ELEMENT_LANES)
    }
}

impl Kernel for TopRows {
    fn name(&self) -> &'static str {
        "top_rows"
    }

    fn operands(&self) -> Vec<Operand> {
        let chosen = Operand {
            name: "y",
            access: Access::Write,
            storage: Storage::U32,
            len: self.sequences * self.count,
            content: Content::Rows(self.sequences * self.rows),
        };
        vec![read_f32("scores", self.sequences * self.rows), chosen]
    }

    fn params(&self) -> ParamBlock {
        params! { sequences: u32 = self.sequences, rows: u32 = self.rows, count: u32 = self.count }
    }

    fn implementations(&self) -> Vec<Implementation> {
        vec![Implementation::plain("top_rows", vec![], Launch::groups(self.sequences * self.groups_of_a_sequence()))]
    }

    fn work(&self) -> Work {
        Work::new(self.sequences * self.rows * self.rows, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        y.par_chunks_mut(self.count).enumerate().for_each(|(sequence, y)| {
            let scores = &inputs[0][sequence * self.rows..][..self.rows];
            y.iter_mut().zip(best_first(scores)).for_each(|(y, row)| *y = (sequence * self.rows + row) as f32);
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        for (sequence, scores) in io.input(0).chunks_exact(self.rows).enumerate() {
            for (rank, row) in best_first(scores).into_iter().take(self.count).enumerate() {
                io.put(sequence * self.count + rank, (sequence * self.rows + row) as f64, 0.0);
            }
        }
    }
}

/// Numbers of rows, the one with the highest score first.
fn best_first(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed([(1, 1, 1), (1, 7, 3), (3, 65, 65), (2, 700, 90), (1, 4097, 900), (1, 70_001, 5)].map(|(sequences, rows, count)| TopRows {
        sequences,
        rows,
        count,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_scores_the_first_row_comes_first() {
        let (mut y, mut bounds) = ([0.0; 4], [0.0; 4]);
        let scores = [1.0, 5.0, 5.0, -2.0, 0.0, -1.0];
        TopRows { sequences: 2, rows: 3, count: 2 }.reference(&mut Io::new(&[&scores], &mut y, &mut bounds));
        assert_eq!(y, [1.0, 2.0, 4.0, 5.0]);
    }
}
