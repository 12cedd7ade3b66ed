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

    /// `count` different whole numbers below `below`, every choice and order of them as likely (Fisher & Yates); panics where there are fewer.
    #[track_caller]
    pub fn distinct(&mut self, count: usize, below: usize) -> Vec<usize> {
        assert!(count <= below, "{count} different numbers below {below}");
        let mut numbers: Vec<usize> = (0..below).collect();
        for at in 0..count {
            let other = at + (self.uniform() * (below - at) as f64) as usize;
            numbers.swap(at, other);
        }
        numbers.truncate(count);
        numbers
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

    #[test]
    fn distinct_numbers_are_below_their_bound_and_each_is_as_likely() {
        let mut counts = [0; 5];
        for seed in 0..5000 {
            let numbers = Seeded::new(seed).distinct(2, 5);
            assert!(numbers[0] != numbers[1]);
            numbers.iter().for_each(|&number| counts[number] += 1);
        }
        // 2000 each, standard deviation √(5000 · 0.4 · 0.6) = 35.
        assert!(counts.iter().all(|count| (1860..=2140).contains(count)), "{counts:?}");
        assert_eq!(Seeded::new(1).distinct(3, 3).iter().sum::<usize>(), 3);
    }
}
