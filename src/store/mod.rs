//! Where journals live: in memory for tests and stateless use, in sled for one machine. Beside them the register of tenants, tokens
//! and drivers.
//!
//! Decides how [`crate::engine::ports::Store`] is kept: an append is conditional on the journal's last entry, atomic, and
//! acknowledged only when it is as durable as was asked. Every implementation passes the one conformance suite. Never interprets
//! an event.

mod alarms;
pub mod codec;
pub mod export;
pub mod image;
pub mod keys;
pub mod memory;
mod overloads;
pub mod register;
pub mod sled;

#[cfg(test)]
mod conformance;

use crate::domain::ids::SiteKey;
use crate::engine::ports::{Batch, StoreError};

/// Snapshots kept of a site: the newest, and one before it in case the newest is damaged.
const KEPT_SNAPSHOTS: usize = 2;

/// The first and last sequence number of a batch's entries; `None` if it has none.
fn sequences(batch: &Batch) -> Result<Option<(u64, u64)>, StoreError> {
    let (Some(first), Some(last)) = (batch.entries.first(), batch.entries.last()) else {
        return Ok(None);
    };
    let follows = |pair: &[crate::domain::event::Recorded]| pair[0].sequence.checked_add(1) == Some(pair[1].sequence);
    if first.sequence == 0 || !batch.entries.windows(2).all(follows) {
        return Err(StoreError::Write(
            "the entries of a batch are not numbered from 1 without gaps".to_owned(),
        ));
    }
    Ok(Some((first.sequence, last.sequence)))
}

/// Whether a batch that begins with `first` continues a journal that ends with `found`.
fn check_continues(key: &SiteKey, found: u64, first: u64) -> Result<(), StoreError> {
    if found.checked_add(1) == Some(first) {
        return Ok(());
    }
    Err(StoreError::Conflict {
        key: key.clone(),
        expected: first - 1,
        found,
    })
}
