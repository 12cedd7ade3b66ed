//! loop_end: the bound of a loop, hidden so that drivers do not compile its value in.
//!
//! lavapipe unrolls a loop whose bound is read from a uniform: it compiles the kernel again for each dispatch, with the value as a
//! constant, and keeps all of them. It does not do so for a bound that depends on the workgroup.

/// `count`, whatever the number of the workgroup.
fn loop_end(count: u32, number: u32) -> u32 {
    return min(count, count + (number >> 31u));
}
