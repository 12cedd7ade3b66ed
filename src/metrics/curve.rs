//! Curves for drawing: thinned while they are made, so that a curve of any number of points takes the same memory.

/// Points that a drawn curve has at most.
pub(super) const MAX_POINTS: usize = 500;

/// Least distance between points at first, as a share of an axis.
const FINE: f64 = 1e-4;

/// A curve of which points that lie close to their predecessor are left out; the first and the last stay.
pub(super) struct Curve {
    points: Vec<[f64; 2]>,
    last: [f64; 2],
    /// What the coordinates of a point may differ by, together, from the point before it, without being kept.
    step: f64,
}

impl Curve {
    pub fn from(start: [f64; 2]) -> Curve {
        Curve { points: vec![start], last: start, step: FINE }
    }

    pub fn push(&mut self, point: [f64; 2]) {
        self.last = point;
        if distance(self.points[self.points.len() - 1], point) < self.step {
            return;
        }
        self.points.push(point);
        while self.points.len() >= MAX_POINTS {
            self.step *= 2.0;
            let mut kept = self.points[0];
            let mut is_first = true;
            let step = self.step;
            self.points.retain(|&point| {
                let is_kept = is_first || distance(kept, point) >= step;
                if is_kept {
                    (kept, is_first) = (point, false);
                }
                is_kept
            });
        }
    }

    pub fn finish(mut self) -> Vec<[f64; 2]> {
        if self.points[self.points.len() - 1] != self.last {
            self.points.push(self.last);
        }
        self.points
    }
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).abs() + (a[1] - b[1]).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_curve_is_kept_whole_and_a_long_one_keeps_its_ends() {
        let mut curve = Curve::from([0.0, 1.0]);
        curve.push([0.0, 0.5]);
        curve.push([1.0, 0.5]);
        assert_eq!(curve.finish(), [[0.0, 1.0], [0.0, 0.5], [1.0, 0.5]]);

        let mut curve = Curve::from([0.0, 0.0]);
        for at in 1..=1_000_000 {
            let x = f64::from(at) * 1e-6;
            curve.push([x, x.sqrt()]);
        }
        let points = curve.finish();
        assert!((100..=MAX_POINTS).contains(&points.len()), "{}", points.len());
        assert_eq!((points[0], points[points.len() - 1]), ([0.0, 0.0], [1.0, 1.0]));
        assert!(points.windows(2).all(|pair| distance(pair[0], pair[1]) < 0.05));
    }
}
