//! Random numbers that are the same on every machine and in every release: whole numbers and the exact
//! operations of IEEE 754, no `ln` or `exp`, whose last digit differs between systems.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014). The `rand`
/// crate keeps the right to change what its generators give; output for a seed must not change here.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator of its own for the numbered thing of a seed.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        Self::new(scramble(seed ^ scramble(number.wrapping_add(GOLDEN))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        scramble(self.state)
    }

    /// A number from 0 up to, without, `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// A number of a range, both ends in it.
    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in so many of a thousand cases.
    pub(crate) fn per_mille(&mut self, share: u32) -> bool {
        self.below(1_000) < share
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u32) as usize]
    }

    /// The place of a list of weights that was hit, by its weight.
    pub(crate) fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let total: u32 = weights.clone().sum();
        let mut hit = self.below(total.max(1));
        for (place, weight) in weights.enumerate() {
            if hit < weight {
                return place;
            }
            hit -= weight;
        }
        0
    }

    /// A number around `median` with a long tail above: half of them within a factor of 2 to the power of
    /// 0.67 `spread`. Close to a log-normal distribution.
    pub(crate) fn skewed(&mut self, median: u32, spread: f64) -> u32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        // Four uniform numbers have a variance of a third: the root of three makes it one.
        let normal = (sum as f64 / 65_536.0 - 2.0) * 1.732_050_807_568_877_2;
        let exponent = normal * spread;
        let whole = exponent.floor();
        let power = if whole < 0.0 {
            1.0 / f64::from(1_u32 << (-whole) as u32)
        } else {
            f64::from(1_u32 << whole as u32)
        };
        (f64::from(median) * power * (1.0 + exponent - whole)) as u32
    }
}

/// A permutation of the 64-bit numbers in which every bit of the input moves half of the output.
pub(crate) fn scramble(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_algorithm() {
        // The first three of seed 1234567, as Java's SplittableRandom gives them.
        let mut random = Random::new(1_234_567);
        let found = [random.next(), random.next(), random.next()];
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn ranges_are_kept_and_filled() {
        let mut random = Random::new(1);
        let mut seen = [false; 4];
        for _ in 0..1_000 {
            seen[random.between(3, 6) as usize - 3] = true;
        }
        assert_eq!(seen, [true; 4]);
        assert_eq!(random.below(1), 0);
        assert_eq!(random.weighted([0, 5, 0].into_iter()), 1);
    }

    #[test]
    fn skewed_numbers_have_their_median_and_a_tail() {
        let mut random = Random::new(7);
        let mut numbers: Vec<u32> = (0..10_001).map(|_| random.skewed(1_000, 1.0)).collect();
        numbers.sort_unstable();
        assert!((950..1_050).contains(&numbers[5_000]), "{}", numbers[5_000]);
        assert!(numbers[9_900] > 4_000, "{}", numbers[9_900]);
    }
}
