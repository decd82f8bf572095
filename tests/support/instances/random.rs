//! Random numbers that are the same on every machine.

/// SplitMix64 (Steele, Lea, Flood 2014). Integers only: what the mathematics library of a machine says of a logarithm differs.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let values = u128::try_from(most - least + 1).expect("a range is not empty");
        least + ((u128::from(self.next()) * values) >> 64) as i64
    }

    /// An index below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.between(0, end as i64 - 1) as usize
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of the values, each as often as its weight says.
    pub fn pick<T: Copy>(&mut self, weighted: &[(T, i64)]) -> T {
        let all: i64 = weighted.iter().map(|(_, weight)| weight).sum();
        let mut at = self.between(0, all - 1);
        for (value, weight) in weighted {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        unreachable!("weights add up")
    }

    /// A value of a distribution that is given by its quantiles at equal distances, linear between them.
    pub fn quantile(&mut self, quantiles: &[i64]) -> i64 {
        let part = self.below(quantiles.len() - 1);
        self.between(quantiles[part], quantiles[part + 1])
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (2..=items.len()).rev() {
            items.swap(end - 1, self.below(end));
        }
    }
}
