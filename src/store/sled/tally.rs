//! What was written, summed up: of each site, and of all sites.
//!
//! Decides how a store knows what it must have. Every change writes, in the same batch as its records, the marks of the sites that it
//! touches and the total over all marks. sled keeps a batch whole or not at all, so whatever a crash leaves, records, marks and total
//! agree. Where they do not, something was damaged: a sum of fingerprints shows what is missing, stale or in another one's place,
//! wherever it lay in the log. What a whole lost end of the log takes along, marks and total too, shows beside it
//! ([`super::high_water`]). Snapshots are left out: a lost one costs time only.
//!
//! Never reads or writes anything itself.

use super::super::codec;
use sha2::{Digest, Sha256};

/// A set of records: how many, and the sum of their fingerprints, so that one joins or leaves without a look at the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub records: u64,
    sum: u64,
}

impl Tally {
    pub fn add(&mut self, fingerprint: u64) {
        self.records = self.records.wrapping_add(1);
        self.sum = self.sum.wrapping_add(fingerprint);
    }

    pub fn remove(&mut self, fingerprint: u64) {
        self.records = self.records.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(fingerprint);
    }

    pub fn replace(&mut self, before: Option<u64>, after: Option<u64>) {
        before.into_iter().for_each(|fingerprint| self.remove(fingerprint));
        after.into_iter().for_each(|fingerprint| self.add(fingerprint));
    }

    pub fn join(&mut self, other: Self) {
        self.records = self.records.wrapping_add(other.records);
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// What one site has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its journal, whose last sequence is their number.
    pub entries: Tally,
    pub ended_sessions: Tally,
}

impl Mark {
    pub fn encode(&self, key: &[u8]) -> Vec<u8> {
        let Self {
            entries,
            ended_sessions: ended,
        } = self;
        seal(key, [entries.records, entries.sum, ended.records, ended.sum])
    }

    pub fn decode(key: &[u8], bytes: &[u8]) -> Option<Self> {
        let [entries, entries_sum, ended, ended_sum] = unseal(key, bytes)?;
        let tally = |records, sum| Tally { records, sum };
        Some(Self {
            entries: tally(entries, entries_sum),
            ended_sessions: tally(ended, ended_sum),
        })
    }
}

/// What all sites have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Drawn when the store was made, so that another one's log is not taken for its own.
    pub store: u64,
    /// Batches written since.
    pub changes: u64,
    pub marks: Tally,
}

impl Total {
    pub fn of_a_new_store() -> Self {
        Self {
            store: uuid::Uuid::new_v4().as_u64_pair().0,
            changes: 0,
            marks: Tally::default(),
        }
    }

    pub fn encode(&self, key: &[u8]) -> Vec<u8> {
        seal(key, [self.store, self.changes, self.marks.records, self.marks.sum])
    }

    pub fn decode(key: &[u8], bytes: &[u8]) -> Option<Self> {
        let [store, changes, records, sum] = unseal(key, bytes)?;
        Some(Self {
            store,
            changes,
            marks: Tally { records, sum },
        })
    }
}

/// Of a record, by its header: the checksum there covers all of it. `None` if it is shorter than a header.
pub fn of_record(key: &[u8], beginning: &[u8]) -> Option<u64> {
    Some(fingerprint(key, beginning.get(..codec::HEADER_BYTES)?))
}

/// Two that are not the same have the same fingerprint once in 2^64, and sums of fingerprints are as unlikely to meet.
pub fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update(key).chain_update(value).finalize();
    let front = digest.first_chunk().expect("a digest has 32 bytes");
    u64::from_be_bytes(*front)
}

/// Numbers, and a CRC-32 over the key and them; all big-endian.
pub fn seal<const N: usize>(key: &[u8], numbers: [u64; N]) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    bytes.extend(checksum(key, &bytes).to_be_bytes());
    bytes
}

pub fn unseal<const N: usize>(key: &[u8], bytes: &[u8]) -> Option<[u64; N]> {
    let (bytes, found) = bytes.split_last_chunk()?;
    let (numbers, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || checksum(key, bytes) != u32::from_be_bytes(*found) {
        return None;
    }
    let numbers: [[u8; 8]; N] = numbers.try_into().ok()?;
    Some(numbers.map(u64::from_be_bytes))
}

fn checksum(key: &[u8], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_unsealed_and_nothing_else() {
        let sealed = seal(b"key", [1, u64::MAX, 3]);
        assert_eq!(unseal(b"key", &sealed), Some([1, u64::MAX, 3]));
        assert_eq!(unseal::<3>(b"kez", &sealed), None);
        assert_eq!(unseal::<2>(b"key", &sealed), None);
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal::<3>(b"key", &damaged), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(unseal::<3>(b"key", &sealed[..length]), None);
        }
    }

    #[test]
    fn the_order_in_which_records_came_does_not_show_and_what_left_leaves_nothing() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|key| fingerprint(key, b"value"));
        let (mut one, mut other) = (Tally::default(), Tally::default());
        [a, b, c].into_iter().for_each(|fingerprint| one.add(fingerprint));
        [c, a].into_iter().for_each(|fingerprint| other.add(fingerprint));
        assert_ne!(one, other);
        one.remove(b);
        assert_eq!(one, other);
        one.replace(Some(a), Some(b));
        assert_ne!(one, other, "as many, but not the same");
    }
}
