//! Seeded random numbers for self-tests, benches and sample inputs: the same on every machine.

/// A random number generator (SplitMix64, Steele et al. 2014).
pub struct Seeded(u64);

impl Seeded {
    /// The generator with a seed.
    pub fn new(seed: u64) -> Seeded {
        Seeded(seed)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box & Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = ((-2.0 * (1.0 - self.uniform()).ln()).sqrt(), std::f64::consts::TAU * self.uniform());
        radius * angle.cos()
    }

    /// `len` numbers of either sign around 0.25, most within ±2: sums of three uniform numbers.
    pub fn numbers(&mut self, len: usize) -> Vec<f32> {
        let mut number = || (2.0 * (self.uniform() + self.uniform() + self.uniform()) - 2.75) as f32;
        (0..len).map(|_| number()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_of_either_sign() {
        let numbers = Seeded::new(7).numbers(1000);
        assert_eq!(numbers, Seeded::new(7).numbers(1000));
        assert!(numbers.iter().any(|&x| x < -1.0) && numbers.iter().any(|&x| x > 1.0));
    }
}
