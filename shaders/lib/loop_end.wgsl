//! loop_end: where a loop ends, so that drivers do not compile the number in.
//!
//! lavapipe takes a loop that ends at a number of a uniform for one to be unrolled: it compiles the kernel anew for each dispatch, with the
//! number put in, and keeps all of them. A number that depends on the workgroup it leaves alone.

/// `count`, whatever the number of the workgroup.
fn loop_end(count: u32, number: u32) -> u32 {
    return min(count, count + (number >> 31u));
}
