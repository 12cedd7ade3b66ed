//! float_bits: tests for NaN and orders f32 by their bits, because compilers may assume that comparisons never meet a NaN.

const SIGN_BIT: u32 = 0x80000000u;
const INFINITY_BITS: u32 = 0x7f800000u;

/// The bits without the sign: above `INFINITY_BITS` for NaN, and the larger the further from zero.
fn magnitude_bits(x: f32) -> u32 {
    return bitcast<u32>(x) & ~SIGN_BIT;
}

fn is_nan(x: f32) -> bool {
    return magnitude_bits(x) > INFINITY_BITS;
}

/// A number that orders as x does: x < y where key(x) < key(y). The two zeros get neighbouring keys.
fn key_of(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return select(bits | SIGN_BIT, ~bits, bits >= SIGN_BIT);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & ~SIGN_BIT, key >= SIGN_BIT));
}
