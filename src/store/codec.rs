//! Records: how a message lies in a key-value store.
//!
//! Decides the envelope: version, length and checksum, then the protobuf bytes, cut into chunks. The checksum covers the key as
//! well, so a record that turns up under another key is damage too. Whatever is read, nothing here panics.
//!
//! ```text
//! byte 0       version of the envelope
//! bytes 1..5   length of the message, big-endian
//! bytes 5..9   CRC-32 over key, version, length and message, big-endian
//! bytes 9..    message
//! ```

use prost::Message;

/// The envelope written; also the newest that can be read.
pub const RECORD_VERSION: u8 = 1;
pub const HEADER_BYTES: usize = 9;
/// sled moves a page above about 128 KiB into a file of its own, which nobody syncs. A page holds at most 21 chunks with their
/// keys of at most 200 bytes, so pages stay well below that.
pub const CHUNK_BYTES: usize = 4096;
/// Far above the largest site or plan.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// The record of `message` under `key`, or the size that is too much.
pub fn encode(key: &[u8], message: &impl Message) -> Result<Vec<u8>, String> {
    let length = message.encoded_len();
    if length > MAX_MESSAGE_BYTES {
        return Err(format!(
            "a record of {length} bytes; at most {MAX_MESSAGE_BYTES} are kept"
        ));
    }
    let mut record = Vec::with_capacity(HEADER_BYTES + length);
    record.push(RECORD_VERSION);
    record.extend(u32::try_from(length).expect("bounded above").to_be_bytes());
    record.extend([0; 4]);
    message.encode_raw(&mut record);
    let checksum = checksum(key, &record[..5], &record[HEADER_BYTES..]);
    record[5..HEADER_BYTES].copy_from_slice(&checksum.to_be_bytes());
    Ok(record)
}

/// The message in `record`, or what is wrong with it.
pub fn decode<M: Message + Default>(key: &[u8], record: &[u8]) -> Result<M, String> {
    check(key, record)?;
    M::decode(&record[HEADER_BYTES..]).map_err(|error| error.to_string())
}

/// Whether `record` is as it was written.
pub fn check(key: &[u8], record: &[u8]) -> Result<(), String> {
    let length = record_length(record)?;
    if record.len() != length {
        return Err(format!("it has {} bytes of {length}", record.len()));
    }
    let found = u32::from_be_bytes([record[5], record[6], record[7], record[8]]);
    let expected = checksum(key, &record[..5], &record[HEADER_BYTES..]);
    if found != expected {
        return Err(format!("its checksum is {found:08x} and should be {expected:08x}"));
    }
    Ok(())
}

/// How long the whole record is, by its header.
pub fn record_length(record: &[u8]) -> Result<usize, String> {
    let [version, l1, l2, l3, l4, _, _, _, _, ..] = *record else {
        return Err(format!("it has {} bytes, fewer than a header", record.len()));
    };
    if version == 0 || version > RECORD_VERSION {
        return Err(format!(
            "it has version {version}; this program reads 1 to {RECORD_VERSION}, so it is damaged or from a newer program"
        ));
    }
    let length = u32::from_be_bytes([l1, l2, l3, l4]) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(format!(
            "it claims {length} bytes; at most {MAX_MESSAGE_BYTES} are kept"
        ));
    }
    Ok(HEADER_BYTES + length)
}

fn checksum(key: &[u8], head: &[u8], message: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(head);
    hasher.update(message);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::journal_proto::{SessionEnded, SiteStopped};

    const KEY: &[u8] = b"key";

    fn message() -> SessionEnded {
        SessionEnded {
            session_id: "session-1".to_owned(),
            at_unix_seconds: -5,
            reason: "left".to_owned(),
        }
    }

    fn record() -> Vec<u8> {
        encode(KEY, &message()).unwrap()
    }

    #[test]
    fn a_record_gives_its_message_back() {
        assert_eq!(decode::<SessionEnded>(KEY, &record()).unwrap(), message());
        let empty = encode(KEY, &SiteStopped::default()).unwrap();
        assert_eq!(decode::<SiteStopped>(KEY, &empty).unwrap(), SiteStopped::default());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..record().len() * 8 {
            let mut damaged = record();
            damaged[bit / 8] ^= 1 << (bit % 8);
            decode::<SessionEnded>(KEY, &damaged).expect_err("a flipped bit");
        }
    }

    #[test]
    fn every_missing_end_and_every_addition_is_noticed() {
        for length in 0..record().len() {
            decode::<SessionEnded>(KEY, &record()[..length]).expect_err("a cut record");
        }
        decode::<SessionEnded>(KEY, &[record(), vec![0]].concat()).expect_err("a longer record");
    }

    #[test]
    fn a_record_under_another_key_is_noticed() {
        let error = decode::<SessionEnded>(b"kez", &record()).unwrap_err();
        assert!(error.contains("checksum"), "{error}");
    }

    #[test]
    fn a_newer_version_is_told_as_such() {
        let mut newer = record();
        newer[0] = RECORD_VERSION + 1;
        let error = decode::<SessionEnded>(KEY, &newer).unwrap_err();
        assert!(error.contains("newer program"), "{error}");
    }

    #[test]
    fn a_length_beyond_the_limit_allocates_nothing() {
        let mut huge = record();
        huge[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(record_length(&huge).unwrap_err().contains("claims"));
    }
}
