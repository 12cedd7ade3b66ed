//! reduce: combines one value of each lane of a workgroup, and returns the result to every lane.
//!
//! 16 lanes gather the values of all, then every lane gathers those 16: two barriers and a fixed order, so results repeat bit by bit.
//! A second call needs no barrier before it: its own first one keeps its writes to `gathered` behind the last reads of this call.
//! All lanes must call. WORKGROUP is a multiple of 16.
//! set: WORKGROUP

const GATHERERS: u32 = 16u;

var<workgroup> of_lanes: array<f32, WORKGROUP>;
var<workgroup> gathered: array<f32, GATHERERS>;

fn workgroup_sum(lane: u32, value: f32) -> f32 {
    of_lanes[lane] = value;
    workgroupBarrier();
    if lane < GATHERERS {
        var sum = value;
        for (var other = lane + GATHERERS; other < WORKGROUP; other += GATHERERS) {
            sum += of_lanes[other];
        }
        gathered[lane] = sum;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var at = 0u; at < GATHERERS; at++) {
        total += gathered[at];
    }
    return total;
}

/// Whether a NaN is kept depends on the adapter.
fn workgroup_max(lane: u32, value: f32) -> f32 {
    of_lanes[lane] = value;
    workgroupBarrier();
    if lane < GATHERERS {
        var largest = value;
        for (var other = lane + GATHERERS; other < WORKGROUP; other += GATHERERS) {
            largest = max(largest, of_lanes[other]);
        }
        gathered[lane] = largest;
    }
    workgroupBarrier();
    var largest = gathered[0];
    for (var at = 1u; at < GATHERERS; at++) {
        largest = max(largest, gathered[at]);
    }
    return largest;
}
