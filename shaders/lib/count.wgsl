//! count: adds up the counts that the lanes of a workgroup made at each cut, and returns the sums to every lane.
//!
//! Sixteen lanes gather the counts of all for each vec4 of cuts, then every lane gathers those 16 itself. Two barriers, and none needed
//! between calls, as in `reduce`. All lanes must call. WORKGROUP is a multiple of 16 and at least 16·CUTS.
//! use: select
//! set: WORKGROUP

const COUNTERS: u32 = 16u;

var<workgroup> lane_counts: array<array<vec4<u32>, WORKGROUP>, CUTS>;
var<workgroup> gathered_counts: array<array<vec4<u32>, COUNTERS>, CUTS>;

fn workgroup_counts(lane: u32, counts: array<vec4<u32>, CUTS>) -> array<vec4<u32>, CUTS> {
    var totals = counts;
    for (var i = 0u; i < CUTS; i++) {
        lane_counts[i][lane] = totals[i];
    }
    workgroupBarrier();
    if lane < COUNTERS * CUTS {
        let i = lane / COUNTERS;
        let counter = lane % COUNTERS;
        var sum = vec4(0u);
        for (var other = counter; other < WORKGROUP; other += COUNTERS) {
            sum += lane_counts[i][other];
        }
        gathered_counts[i][counter] = sum;
    }
    workgroupBarrier();
    for (var i = 0u; i < CUTS; i++) {
        var sum = vec4(0u);
        for (var counter = 0u; counter < COUNTERS; counter++) {
            sum += gathered_counts[i][counter];
        }
        totals[i] = sum;
    }
    return totals;
}
