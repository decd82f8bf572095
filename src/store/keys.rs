//! Keys of the embedded store: tenant first, then site, then kind, so that what belongs together lies together and in order.
//!
//! Decides the key of every record. Ids are length-prefixed, so no tenant's or site's keys begin like another's. A key names one
//! chunk of a record: its last four bytes are the chunk's index.
//!
//! ```text
//! 0 "format"                                      which layout this is
//! 0 "total"                                       what all sites have
//! len tenant len site 'J' sequence        chunk   an entry of the journal
//! len tenant len site 'M'                 chunk   what the site has
//! len tenant len site 'S' sequence        chunk   a snapshot
//! len tenant len site 'X' session id, 0   chunk   a session that ended
//! ```

use crate::domain::ids::{SessionId, SiteId, SiteKey, TenantId};

pub const FORMAT: &[u8] = b"\0format";
pub const TOTAL: &[u8] = b"\0total";
/// Below the keys of every site, and above those of none.
pub const FIRST_OF_SITES: &[u8] = &[1];

/// Bytes of a chunk's index.
pub const CHUNK_INDEX_BYTES: usize = 4;

/// Greater than every kind.
const AFTER_KINDS: u8 = 0xff;

/// The kinds of a site's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Journal = b'J',
    Mark = b'M',
    Snapshot = b'S',
    EndedSession = b'X',
}

fn push_id(key: &mut Vec<u8>, id: &str) {
    key.push(u8::try_from(id.len()).expect("an id has at most 64 bytes"));
    key.extend(id.as_bytes());
}

fn site_prefix(site: &SiteKey) -> Vec<u8> {
    let mut key = Vec::new();
    push_id(&mut key, site.tenant.as_str());
    push_id(&mut key, site.site.as_str());
    key
}

/// What every key of this kind at this site begins with.
pub fn kind_prefix(site: &SiteKey, kind: Kind) -> Vec<u8> {
    let mut key = site_prefix(site);
    key.push(kind as u8);
    key
}

/// The record of a journal entry or a snapshot.
pub fn numbered(site: &SiteKey, kind: Kind, sequence: u64) -> Vec<u8> {
    let mut key = kind_prefix(site, kind);
    key.extend(sequence.to_be_bytes());
    key
}

pub fn ended_session(site: &SiteKey, session: &SessionId) -> Vec<u8> {
    let mut key = kind_prefix(site, Kind::EndedSession);
    key.extend(session.as_str().as_bytes());
    // Below every character of an id: shorter ids come first.
    key.push(0);
    key
}

/// The record that says what a site has.
pub fn mark(site: &SiteKey) -> Vec<u8> {
    kind_prefix(site, Kind::Mark)
}

/// The key of one chunk of a record.
pub fn chunk(record: &[u8], index: usize) -> Vec<u8> {
    let index = u32::try_from(index).expect("a record is bounded");
    [record, &index.to_be_bytes()].concat()
}

/// The record that a chunk belongs to, and the chunk's index.
pub fn split_chunk(key: &[u8]) -> Option<(&[u8], usize)> {
    let (record, index) = key.split_last_chunk::<CHUNK_INDEX_BYTES>()?;
    Some((record, u32::from_be_bytes(*index) as usize))
}

/// The sequence in the key of a journal entry or a snapshot.
pub fn sequence(record: &[u8]) -> Option<u64> {
    let (_, sequence) = record.split_last_chunk::<8>()?;
    Some(u64::from_be_bytes(*sequence))
}

/// Just above every key that begins with `prefix`. `None` if there is no such key.
pub fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// Whose key this is, from its front. `None` if it is no key of ours.
pub fn site(key: &[u8]) -> Option<SiteKey> {
    let (tenant, rest) = take_id(key)?;
    let (site, _) = take_id(rest)?;
    Some(SiteKey {
        tenant: TenantId::parse(tenant).ok()?,
        site: SiteId::parse(site).ok()?,
    })
}

/// Above every key of the site, and at or below every other key that is above its keys.
pub fn after_site(site: &SiteKey) -> Vec<u8> {
    let mut key = site_prefix(site);
    key.push(AFTER_KINDS);
    key
}

fn take_id(key: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = key.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(id).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples::{session_id, site_id, tenant};

    fn named(tenant_name: &str, site: &str) -> SiteKey {
        SiteKey {
            tenant: tenant(tenant_name),
            site: site_id(site),
        }
    }

    #[test]
    fn no_prefix_begins_another_ones_keys() {
        let sites = [
            named("a", "b"),
            named("ab", "b"),
            named("a", "bb"),
            named("a", "bJ"),
            named("a", "1"),
        ];
        for one in &sites {
            for other in sites.iter().filter(|other| *other != one) {
                let key = numbered(other, Kind::Journal, 7);
                assert!(!key.starts_with(&kind_prefix(one, Kind::Journal)), "{one} and {other}");
            }
        }
    }

    #[test]
    fn keys_sort_by_sequence_and_by_session() {
        let key = named("a", "b");
        let order = [1, 2, 255, 256, 65_536, u64::MAX].map(|sequence| numbered(&key, Kind::Journal, sequence));
        assert!(order.is_sorted());
        let order = ["A", "AB", "AC", "B", "a"].map(|id| ended_session(&key, &session_id(id)));
        assert!(order.is_sorted());
    }

    #[test]
    fn a_key_says_whose_it_is() {
        let key = named("cpo", "depot");
        assert_eq!(site(&numbered(&key, Kind::Snapshot, 1)), Some(key.clone()));
        assert_eq!(site(&mark(&key)), Some(key.clone()));
        assert!(FORMAT < FIRST_OF_SITES && TOTAL < FIRST_OF_SITES);
        assert!(FIRST_OF_SITES < &*numbered(&named("!", "!"), Kind::Journal, 0));
        assert!(mark(&key) < after_site(&key));
        assert!(after_site(&key) > ended_session(&key, &session_id("~")));
        assert!(after_site(&key) < numbered(&named("cpo", "depou"), Kind::Journal, 0));
        for damaged in [
            &b""[..],
            b"\x05ab",
            b"\x01a",
            b"\x01a\0M",
            b"\x01a\x01",
            b"\x01\xff\x01b",
        ] {
            assert_eq!(site(damaged), None);
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_just_above_it() {
        assert_eq!(after(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!(after(b"\xff"), None);
    }
}
