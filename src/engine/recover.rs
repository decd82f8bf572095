//! Brings a site's state back from what the store has: the newest snapshot, then the journal after it.
//!
//! Decides what happens with an entry that breaks the program: it is left out, with an error in the log, and the rest is read
//! again without it. A damaged or missing snapshot costs time only.

use super::ports::{Store, StoreError};
use super::state::SiteState;
use crate::domain::ids::SiteKey;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Entries read from the store at once.
const PAGE: usize = 1_000;
/// More broken entries than this, and the journal is not trusted at all.
const MAX_QUARANTINED: usize = 16;

/// The state that a site's journal leads to.
pub(crate) async fn load(store: &dyn Store, key: &SiteKey) -> Result<SiteState, StoreError> {
    let mut quarantined = BTreeSet::new();
    loop {
        match replay(store, key, &quarantined).await? {
            Replay::Complete(state) => return Ok(*state),
            Replay::BrokenBy(sequence) => {
                tracing::error!(site = %key, sequence, "an entry of the journal cannot be applied and is left out");
                quarantined.insert(sequence);
                if quarantined.len() > MAX_QUARANTINED {
                    let why = format!(
                        "{} entries cannot be applied, the last is {sequence}",
                        quarantined.len()
                    );
                    return Err(StoreError::Damaged {
                        what: format!("the journal of {key}"),
                        why,
                    });
                }
            }
        }
    }
}

enum Replay {
    Complete(Box<SiteState>),
    BrokenBy(u64),
}

async fn replay(store: &dyn Store, key: &SiteKey, left_out: &BTreeSet<u64>) -> Result<Replay, StoreError> {
    // A snapshot may hold what a broken entry did.
    let snapshot = if left_out.is_empty() {
        store.load_snapshot(key).await?
    } else {
        None
    };
    let mut state = match snapshot {
        Some(image) => SiteState::from_image(key.clone(), image),
        None => SiteState::empty(key.clone()),
    };
    loop {
        let entries = store.read(key, state.sequence(), PAGE).await?;
        if entries.is_empty() {
            return Ok(Replay::Complete(Box::new(state)));
        }
        for entry in &entries {
            if entry.sequence != state.sequence() + 1 {
                let why = format!("entry {} follows entry {}", entry.sequence, state.sequence());
                return Err(StoreError::Damaged {
                    what: format!("the journal of {key}"),
                    why,
                });
            }
            if left_out.contains(&entry.sequence) {
                state.skip(entry);
                continue;
            }
            let applied = catch_unwind(AssertUnwindSafe(|| {
                let _ = state.apply(entry);
            }));
            if applied.is_err() {
                return Ok(Replay::BrokenBy(entry.sequence));
            }
        }
    }
}
