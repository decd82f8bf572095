//! Sets of slots, one for each node or session: a bit for each slot, so that a search moves over 64 slots at once.

/// As many sets as there are rows.
#[derive(Clone, Debug)]
pub(super) struct SlotSets {
    words: usize,
    bits: Vec<u64>,
}

impl SlotSets {
    /// Empty sets.
    pub(super) fn new(rows: usize, words: usize) -> Self {
        Self {
            words,
            bits: vec![0; rows * words],
        }
    }

    pub(super) fn clear(&mut self) {
        self.bits.fill(0);
    }

    #[inline]
    pub(super) fn row(&self, row: usize) -> &[u64] {
        &self.bits[row * self.words..][..self.words]
    }

    #[inline]
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [u64] {
        &mut self.bits[row * self.words..][..self.words]
    }

    #[inline]
    pub(super) fn has(&self, row: usize, slot: usize) -> bool {
        self.bits[row * self.words + slot / 64] >> (slot % 64) & 1 == 1
    }

    #[inline]
    pub(super) fn set(&mut self, row: usize, slot: usize, member: bool) {
        let word = &mut self.bits[row * self.words + slot / 64];
        *word = *word & !(1 << (slot % 64)) | u64::from(member) << (slot % 64);
    }
}

/// The slots of a set, in order.
#[inline]
pub(super) fn slots_of(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(index, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (bit < 64).then_some(index * 64 + bit)
        })
    })
}

/// Whether two sets have a slot in common.
#[inline]
pub(super) fn meet(a: &[u64], b: &[u64]) -> bool {
    a.iter().zip(b).any(|(a, b)| a & b != 0)
}
