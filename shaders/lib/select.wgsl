//! select: finds the `wanted`-th smallest value of a row without sorting, by narrowing a bracket of float keys.
//!
//! A round cuts the bracket at 4·CUTS places; the kernel counts how many values lie below each; the counts tell between which cuts the next
//! round continues. The bracket of keys shrinks (4·CUTS + 1)-fold each round, so ROUNDS rounds close any bracket.
//! use: float_bits

const CUTS: u32 = 4u;       // vec4 of cuts per round
const ROUNDS: u32 = 8u;     // 17⁸ > 2³²

/// Keys of values. The wanted value lies between them, ends included, and fewer than `wanted` values lie below `low`; or both ends are
/// one key with exactly `wanted` values below it.
struct Bracket { low: u32, high: u32 }

/// The cuts, ascending, from cut number 1 at the first.
fn cut_values(bracket: Bracket) -> array<vec4<f32>, CUTS> {
    var values: array<vec4<f32>, CUTS>;
    for (var i = 0u; i < CUTS; i++) {
        for (var c = 0u; c < 4u; c++) {
            values[i][c] = value_of(cut_key(bracket, 4u * i + c + 1u));
        }
    }
    return values;
}

fn cut_key(bracket: Bracket, number: u32) -> u32 {
    let step = (bracket.high - bracket.low) / (4u * CUTS + 1u) + 1u;
    // The product is bounded first: near the largest keys the sum would wrap.
    return bracket.low + min(number * step, bracket.high - bracket.low);
}

/// The bracket after a round. `below` counts the values below each cut.
fn narrow(bracket: Bracket, below: array<vec4<u32>, CUTS>, wanted: u32) -> Bracket {
    var counts = below;
    var next = bracket;
    var is_exact = false;
    for (var i = 0u; i < CUTS; i++) {
        for (var c = 0u; c < 4u; c++) {
            let key = cut_key(bracket, 4u * i + c + 1u);
            let count = counts[i][c];
            if count == wanted {
                next = Bracket(key, key);
                is_exact = true;
            } else if count < wanted {
                next.low = key;
            } else if !is_exact {
                next.high = min(next.high, key - 1u);
            }
        }
    }
    return next;
}
