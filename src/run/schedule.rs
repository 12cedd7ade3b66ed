//! Schedule of launches: cuts long work into dispatches and submissions, for drivers' watchdogs and for reports of progress.

use std::ops::Range;

use crate::kernels::{Launch, MAX_GROUPS};

/// Largest number of dispatches in a submission; each may be timed, and wgpu takes 4,096 timestamps in a set.
const MAX_DISPATCHES: usize = 2048;

/// Limits of a dispatch and of a submission in floating-point operations; a dispatch has at least one workgroup, a submission one dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmitLimits {
    /// Largest estimated cost of a dispatch.
    pub dispatch: u64,
    /// Largest estimated cost of a submission.
    pub submission: u64,
}

impl SubmitLimits {
    /// Limits for a GPU: 0.1 s and 0.5 s at 400 GFLOP/s, which small integrated ones reach. Windows resets a GPU after 2 s.
    pub const GPU: SubmitLimits = SubmitLimits { dispatch: 40_000_000_000, submission: 200_000_000_000 };

    /// Limits for a software adapter: it has no watchdog, so launches are submitted whole. A submission takes about 1 s at 20
    /// GFLOP/s, after which progress is reported.
    pub const SOFTWARE: SubmitLimits = SubmitLimits { dispatch: u64::MAX, submission: 20_000_000_000 };
}

/// A dispatch: some workgroups of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dispatch {
    /// Position of the launch in its plan.
    pub launch: usize,
    /// Number of its first workgroup.
    pub first_group: u32,
    /// How many of them, folded.
    pub groups: Launch,
}

/// All dispatches of a plan in order, grouped into submissions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub dispatches: Vec<Dispatch>,
    pub submissions: Vec<Submission>,
}

/// A submission: dispatches that are sent together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Submission {
    pub dispatches: Range<usize>,
    /// The estimated cost of everything up to its end, in floating-point operations.
    pub done: u64,
}

impl Schedule {
    /// Cuts launches, each with its estimated cost.
    pub fn new(launches: impl IntoIterator<Item = (Launch, u64)>, limits: SubmitLimits) -> Schedule {
        let (mut dispatches, mut submissions) = (Vec::new(), Vec::new());
        let (mut from, mut begun, mut done) = (0, 0, 0);
        for (at, (workgroups, cost)) in launches.into_iter().enumerate() {
            let parts = cut(at, workgroups, cost.div_ceil(limits.dispatch.max(1)));
            let share = cost / parts.len() as u64;
            for dispatch in parts {
                let is_full = done + share - begun > limits.submission || dispatches.len() - from == MAX_DISPATCHES;
                if is_full && dispatches.len() > from {
                    submissions.push(Submission { dispatches: from..dispatches.len(), done });
                    (from, begun) = (dispatches.len(), done);
                }
                dispatches.push(dispatch);
                done += share;
            }
        }
        if dispatches.len() > from {
            submissions.push(Submission { dispatches: from..dispatches.len(), done });
        }
        Schedule { dispatches, submissions }
    }

    /// The estimated cost of everything.
    pub fn cost(&self) -> u64 {
        self.submissions.last().map_or(0, |submission| submission.done)
    }
}

/// Cuts a launch into at least `parts` dispatches of equal size, if it has that many workgroups.
fn cut(launch: usize, workgroups: Launch, parts: u64) -> Vec<Dispatch> {
    let count = u64::from(workgroups.x) * u64::from(workgroups.y);
    if parts <= 1 || count <= 1 {
        return vec![Dispatch { launch, first_group: 0, groups: workgroups }];
    }
    // Unfolded, a part has no spare workgroups, which would do the work of the next.
    let length = (count / parts).clamp(1, MAX_GROUPS as u64);
    let starts = (0..count).step_by(length as usize);
    starts
        .map(|first| Dispatch { launch, first_group: first as u32, groups: Launch { x: length.min(count - first) as u32, y: 1 } })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_launch_goes_out_in_parts_that_cover_each_workgroup_once() {
        // 250 at 100 a dispatch: three workgroups of 25 are the most that fit a third.
        let limits = SubmitLimits { dispatch: 100, submission: 1000 };
        let schedule = Schedule::new([(Launch { x: 5, y: 2 }, 250)], limits);
        let parts: Vec<_> = schedule.dispatches.iter().map(|part| (part.first_group, part.groups.x, part.groups.y)).collect();
        assert_eq!(parts, [(0, 3, 1), (3, 3, 1), (6, 3, 1), (9, 1, 1)]);
        // More parts than workgroups: one each.
        assert_eq!(Schedule::new([(Launch { x: 3, y: 1 }, 10_000)], limits).dispatches.len(), 3);
        // Short enough: folded as it was.
        let short = Schedule::new([(Launch { x: 5, y: 2 }, 100)], limits);
        assert_eq!(short.dispatches, [Dispatch { launch: 0, first_group: 0, groups: Launch { x: 5, y: 2 } }]);
    }

    #[test]
    fn a_submission_is_closed_before_it_grows_too_long() {
        let limits = SubmitLimits { dispatch: u64::MAX, submission: 100 };
        let launches = [60, 40, 20, 500, 20].map(|cost| (Launch { x: 1, y: 1 }, cost));
        let schedule = Schedule::new(launches, limits);
        let cut: Vec<_> = schedule.submissions.iter().map(|one| (one.dispatches.clone(), one.done)).collect();
        assert_eq!(cut, [(0..2, 100), (2..3, 120), (3..4, 620), (4..5, 640)]);
        assert_eq!(schedule.cost(), 640);
    }

    #[test]
    fn a_submission_of_many_cheap_launches_is_closed_too() {
        let schedule = Schedule::new((0..5000).map(|_| (Launch { x: 1, y: 1 }, 0)), SubmitLimits::GPU);
        let lengths: Vec<_> = schedule.submissions.iter().map(|one| one.dispatches.len()).collect();
        assert_eq!(lengths, [2048, 2048, 904]);
    }
}
