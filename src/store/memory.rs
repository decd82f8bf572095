//! A store in memory: for tests, and for a service that need not remember.
//!
//! Decides nothing of its own: the same rules as a store on disk, with nothing to sync. Everything is gone with the process.

use super::{KEPT_SNAPSHOTS, check_continues, sequences};
use crate::domain::event::Recorded;
use crate::domain::ids::{SessionId, SiteKey};
use crate::domain::session::Session;
use crate::engine::ports::{Batch, SiteImage, Store, StoreError};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::ops::Bound;
use tokio::sync::RwLock;

#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: RwLock<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    sites: BTreeMap<SiteKey, SiteContents>,
}

#[derive(Debug, Default)]
struct SiteContents {
    journal: Vec<Recorded>,
    snapshots: BTreeMap<u64, SiteImage>,
    ended_sessions: BTreeMap<SessionId, Session>,
}

#[async_trait]
impl Store for MemoryStore {
    async fn append(&self, key: &SiteKey, batch: Batch) -> Result<(), StoreError> {
        let sequences = sequences(&batch)?;
        let mut contents = self.contents.write().await;
        if let Some((first, _)) = sequences {
            let journal = contents.sites.get(key).map_or(&[][..], |site| &site.journal);
            check_continues(key, journal.len() as u64, first)?;
        }
        let site = contents.sites.entry(key.clone()).or_default();
        site.journal.extend(batch.entries);
        for session in batch.ended_sessions {
            site.ended_sessions.insert(session.spec.id.clone(), session);
        }
        Ok(())
    }

    async fn read(&self, key: &SiteKey, after: u64, most: usize) -> Result<Vec<Recorded>, StoreError> {
        let contents = self.contents.read().await;
        let journal = contents.sites.get(key).map_or(&[][..], |site| &site.journal);
        let start = usize::try_from(after).unwrap_or(usize::MAX).min(journal.len());
        Ok(journal[start..].iter().take(most).cloned().collect())
    }

    async fn sites(&self) -> Result<Vec<SiteKey>, StoreError> {
        let contents = self.contents.read().await;
        let with_journal = contents.sites.iter().filter(|(_, site)| !site.journal.is_empty());
        Ok(with_journal.map(|(key, _)| key.clone()).collect())
    }

    async fn save_snapshot(&self, key: &SiteKey, image: SiteImage) -> Result<(), StoreError> {
        let mut contents = self.contents.write().await;
        let snapshots = &mut contents.sites.entry(key.clone()).or_default().snapshots;
        snapshots.insert(image.sequence, image);
        while snapshots.len() > KEPT_SNAPSHOTS {
            snapshots.pop_first();
        }
        Ok(())
    }

    async fn load_snapshot(&self, key: &SiteKey) -> Result<Option<SiteImage>, StoreError> {
        let contents = self.contents.read().await;
        let newest = contents.sites.get(key).and_then(|site| site.snapshots.last_key_value());
        Ok(newest.map(|(_, snapshot)| snapshot.clone()))
    }

    async fn ended_session(&self, key: &SiteKey, session: &SessionId) -> Result<Option<Session>, StoreError> {
        let contents = self.contents.read().await;
        let site = contents.sites.get(key);
        Ok(site.and_then(|site| site.ended_sessions.get(session)).cloned())
    }

    async fn ended_sessions(
        &self,
        key: &SiteKey,
        after: Option<&SessionId>,
        most: usize,
    ) -> Result<Vec<Session>, StoreError> {
        let contents = self.contents.read().await;
        let Some(site) = contents.sites.get(key) else {
            return Ok(Vec::new());
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = site.ended_sessions.range::<SessionId, _>((from, Bound::Unbounded));
        Ok(listed.take(most).map(|(_, session)| session.clone()).collect())
    }
}
