//! Chance, from a seed: the same on any machine.
//!
//! Decides nothing but numbers. Every part of a world has dice of its own, so that switching off one fault does not shuffle the rest.

/// Xorshift with a multiplicative finish.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// `part` tells the dice of one world apart.
    pub fn new(seed: u64, part: u64) -> Self {
        let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ part.wrapping_mul(0xD1B5_4A32_D192_ED03);
        let mut dice = Self(mixed | 1);
        for _ in 0..6 {
            dice.next();
        }
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// From `least` to `most`, both included.
    pub fn roll(&mut self, least: i64, most: i64) -> i64 {
        let width = u64::try_from(most - least).expect("least is not above most") + 1;
        least + i64::try_from(self.next() % width).expect("it is below the width")
    }

    pub fn happens(&mut self, permille: i64) -> bool {
        self.roll(0, 999) < permille
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = self.roll(0, from.len() as i64 - 1);
        &from[index as usize]
    }
}
