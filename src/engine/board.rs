//! What every site shows of its alarms, for those who list and watch them.
//!
//! Decides nothing. A site that has stopped shows what it showed last, and why it stopped.

use crate::domain::alarm::{Alarm, AlarmKind, SiteAlarm, Subject};
use crate::domain::ids::{SiteId, SiteKey, TenantId};
use crate::units::Instant;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use tokio::sync::watch;

pub(super) struct Board {
    sites: RwLock<BTreeMap<SiteKey, Shown>>,
    /// Counts what was put up.
    changes: watch::Sender<u64>,
}

/// What one site shows.
#[derive(Default)]
struct Shown {
    alarms: Arc<Vec<Alarm>>,
    stopped: Option<Alarm>,
}

impl Board {
    pub fn new() -> Self {
        Self {
            sites: RwLock::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// These are all that the site lists, by number.
    pub fn show(&self, key: &SiteKey, alarms: Arc<Vec<Alarm>>) {
        self.write().entry(key.clone()).or_default().alarms = alarms;
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The site has stopped, until the service starts again.
    pub fn stopped(&self, key: &SiteKey, kind: AlarmKind, what: String, now: Instant) {
        let alarm = Alarm {
            number: 0,
            kind,
            subject: Subject::Site,
            since: now,
            gone_since: None,
            cleared_at: None,
            times: 1,
            what,
            evses: Vec::new(),
            until: None,
        };
        self.write().entry(key.clone()).or_default().stopped = Some(alarm);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Of a tenant's sites, or of one of them, by site and number.
    pub fn list(&self, tenant: &TenantId, site: Option<&SiteId>) -> Vec<SiteAlarm> {
        self.list_where(|key| key.tenant == *tenant && site.is_none_or(|site| key.site == *site))
    }

    /// Of every site.
    pub fn list_all(&self) -> Vec<SiteAlarm> {
        self.list_where(|_| true)
    }

    /// Whether anything is shown of a site.
    pub fn has_any(&self, key: &SiteKey) -> bool {
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        sites
            .get(key)
            .is_some_and(|shown| shown.stopped.is_some() || !shown.alarms.is_empty())
    }

    fn list_where(&self, wanted: impl Fn(&SiteKey) -> bool) -> Vec<SiteAlarm> {
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        let alarms = sites.iter().filter(|(key, _)| wanted(key)).flat_map(|(key, shown)| {
            let all = shown.stopped.iter().chain(shown.alarms.iter());
            all.map(|alarm| SiteAlarm {
                key: key.clone(),
                alarm: alarm.clone(),
            })
        });
        alarms.collect()
    }

    /// Changes with every change of what is shown, of whichever site.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<SiteKey, Shown>> {
        // A map is whole after every statement, so a panic elsewhere leaves it good.
        self.sites.write().unwrap_or_else(PoisonError::into_inner)
    }
}
