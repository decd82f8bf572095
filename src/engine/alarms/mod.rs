//! A site's alarms: what held at its places, gateway, EVSEs and meters, from when until when.
//!
//! Decides when a condition becomes an alarm and when that is over. A function of the journal and the time alone: a site is judged as
//! it is at the end of every second in which something was recorded, and whenever time alone changes what holds, so a restart finds
//! the same alarms under the same numbers. Never changes what is planned or sent.

pub(crate) mod conditions;
pub mod meters;

use super::state::SiteState;
use crate::domain::alarm::{Alarm, AlarmKind, Condition, MAX_ACTIVE_ALARMS, MAX_CLEARED_ALARMS, Subject};
use crate::domain::event::Event;
use crate::domain::limits::Capacity;
use crate::domain::timeline::Timeline;
use crate::units::{Instant, Seconds};
use meters::Meters;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// An alarm is over once its condition has been gone for this long; if it comes back before, it is the same alarm.
pub const SETTLING: Seconds = Seconds::from_secs(60);
/// Judgements that are caught up on at once. Beyond, what was between is passed over: a site that was away for weeks is judged now.
const MAX_JUDGEMENTS_AT_ONCE: usize = 10_000;

/// What is kept of a site's alarms.
#[derive(Clone, Debug)]
pub struct Alarms {
    /// When to judge next: after the second in which something was recorded, or when time alone changes something.
    due: Instant,
    next_number: u64,
    /// Conditions that do not hold long enough yet, with their beginning.
    pending: BTreeMap<(AlarmKind, Subject), Instant>,
    /// By kind and subject.
    active: Vec<Alarm>,
    /// Those that are over, oldest first.
    cleared: VecDeque<Alarm>,
    meters: Meters,
    /// Counts what was shown: raised, changed, cleared.
    version: u64,
    available: Option<Available>,
}

/// What is available at each place, as far as limits decide. Made anew when a limit changes, and when half of the time that it looks ahead is over.
#[derive(Clone, Debug)]
struct Available {
    good_until: Instant,
    at: Arc<Vec<Timeline<Capacity>>>,
}

/// The same as plain data, to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmsImage {
    pub due: Instant,
    pub next_number: u64,
    pub pending: Vec<(AlarmKind, Subject, Instant)>,
    pub active: Vec<Alarm>,
    pub cleared: Vec<Alarm>,
    pub meters: Meters,
}

/// Nothing was ever judged.
impl Default for AlarmsImage {
    fn default() -> Self {
        Alarms::default().image()
    }
}

impl Default for Alarms {
    fn default() -> Self {
        Self {
            due: Instant::FAR_FUTURE,
            next_number: 1,
            pending: BTreeMap::new(),
            active: Vec::new(),
            cleared: VecDeque::new(),
            meters: Meters::default(),
            version: 0,
            available: None,
        }
    }
}

impl Alarms {
    /// Those that are over, then those that are not, by number.
    pub fn list(&self) -> Vec<Alarm> {
        let mut all: Vec<Alarm> = self.cleared.iter().chain(&self.active).cloned().collect();
        all.sort_by_key(|alarm| alarm.number);
        all
    }

    /// Changes whenever [`Self::list`] does.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// From when on there is something to judge. A second is judged when it is over.
    pub fn wake_at(&self) -> Instant {
        if self.due == Instant::FAR_FUTURE {
            return Instant::FAR_FUTURE;
        }
        self.due + Seconds::from_secs(1)
    }

    pub fn image(&self) -> AlarmsImage {
        let pending = self.pending.iter();
        AlarmsImage {
            due: self.due,
            next_number: self.next_number,
            pending: pending
                .map(|((kind, subject), since)| (*kind, subject.clone(), *since))
                .collect(),
            active: self.active.clone(),
            cleared: self.cleared.iter().cloned().collect(),
            meters: self.meters.clone(),
        }
    }

    pub fn from_image(image: AlarmsImage) -> Self {
        let pending = image.pending.into_iter();
        Self {
            due: image.due,
            next_number: image.next_number,
            pending: pending.map(|(kind, subject, since)| ((kind, subject), since)).collect(),
            active: image.active,
            cleared: image.cleared.into(),
            meters: image.meters,
            ..Self::default()
        }
    }

    /// These hold at `now`, and no others.
    fn update(&mut self, mut holding: Vec<Condition>, now: Instant) {
        holding.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
        holding.truncate(MAX_ACTIVE_ALARMS);
        let key = |condition: &Condition| (condition.kind, condition.subject.clone());
        let mut changed = false;
        for alarm in &mut self.active {
            let found =
                holding.binary_search_by(|other| (other.kind, &other.subject).cmp(&(alarm.kind, &alarm.subject)));
            changed |= match found {
                Ok(index) => alarm.holds(&holding[index]),
                Err(_) => alarm.is_gone(now),
            };
        }
        let (over, active): (Vec<Alarm>, Vec<Alarm>) = std::mem::take(&mut self.active)
            .into_iter()
            .partition(|alarm| !alarm.is_active());
        self.active = active;
        self.cleared.extend(over);
        let begun = std::mem::take(&mut self.pending);
        for condition in holding {
            let key = key(&condition);
            if self
                .active
                .iter()
                .any(|alarm| alarm.kind == key.0 && alarm.subject == key.1)
            {
                continue;
            }
            let since = begun.get(&key).copied().unwrap_or(now);
            if now - since < condition.kind.patience() {
                self.pending.insert(key, since);
            } else if self.active.len() < MAX_ACTIVE_ALARMS {
                self.active.push(raised(condition, self.next_number, since));
                self.next_number += 1;
                changed = true;
            }
        }
        self.active
            .sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
        while self.cleared.len() > MAX_CLEARED_ALARMS {
            self.cleared.pop_front();
        }
        self.version += u64::from(changed);
    }

    /// When time alone next raises or clears one.
    fn next_change(&self) -> Option<Instant> {
        let raised = (self.pending.iter()).map(|((kind, _), since)| *since + kind.patience());
        let cleared = (self.active.iter()).filter_map(|alarm| Some(alarm.gone_since? + SETTLING));
        raised.chain(cleared).min()
    }
}

fn raised(condition: Condition, number: u64, since: Instant) -> Alarm {
    Alarm {
        number,
        kind: condition.kind,
        subject: condition.subject,
        since,
        gone_since: None,
        cleared_at: None,
        times: 1,
        what: condition.what,
        evses: condition.evses,
        until: condition.until,
    }
}

impl Alarm {
    /// True if this says anything new.
    fn holds(&mut self, condition: &Condition) -> bool {
        let came_back = self.gone_since.take().is_some();
        self.times = self.times.saturating_add(u32::from(came_back));
        let is_new = (&self.what, &self.evses, self.until) != (&condition.what, &condition.evses, condition.until);
        if is_new {
            self.what.clone_from(&condition.what);
            self.evses.clone_from(&condition.evses);
            self.until = condition.until;
        }
        came_back || is_new
    }

    /// True if this says anything new.
    fn is_gone(&mut self, now: Instant) -> bool {
        let Some(gone_since) = self.gone_since else {
            self.gone_since = Some(now);
            return true;
        };
        if now - gone_since < SETTLING {
            return false;
        }
        self.cleared_at = Some(now);
        true
    }
}

impl SiteState {
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Judges the site at every second before `now` that is due.
    pub(super) fn judge_until(&mut self, now: Instant) {
        for _ in 0..MAX_JUDGEMENTS_AT_ONCE {
            if self.alarms.due >= now {
                return;
            }
            self.judge(self.alarms.due);
        }
        // The next judgement is of this second.
        self.alarms.due = now;
    }

    fn judge(&mut self, now: Instant) {
        if let Some(described) = &mut self.described {
            described.ledger.forget_expired(now);
        }
        let mut available = self.available_for_alarms(now);
        if let Some(described) = &self.described
            && !self.overloads.sheds(&described.site, now).is_empty()
        {
            let available: &mut Vec<_> = Arc::make_mut(&mut available);
            self.overloads.take_down(&described.site, available, now);
        }
        let judged = conditions::judge(self, &available, now);
        self.alarms.update(judged.holding, now);
        let meters = self.alarms.meters.next_change(now);
        let overloads = self.site().and_then(|site| self.overloads.next_change(site, now));
        let changes = [judged.next_change, self.alarms.next_change(), meters, overloads]
            .into_iter()
            .flatten();
        // An alarm that is due is dealt with above, so what is left lies ahead; a second is judged once.
        let next = changes.filter(|change| *change > now).min();
        self.alarms.due = next.unwrap_or(Instant::FAR_FUTURE);
    }

    fn available_for_alarms(&mut self, now: Instant) -> Arc<Vec<Timeline<Capacity>>> {
        if let Some(known) = self.alarms.available.as_ref().filter(|known| now < known.good_until) {
            return Arc::clone(&known.at);
        }
        let at = Arc::new(self.available_by_limits(now));
        let half = super::state::LIMIT_HORIZON.secs() / 2;
        self.alarms.available = Some(Available {
            good_until: now + Seconds::from_secs(half),
            at: Arc::clone(&at),
        });
        at
    }

    /// Something was recorded: this second is judged once it is over.
    pub(super) fn judge_this_second(&mut self, now: Instant) {
        self.alarms.due = self.alarms.due.min(now);
    }

    /// What an event means to the watch over meters and limits.
    pub(super) fn watch(&mut self, event: &Event, now: Instant) {
        self.judge_this_second(now);
        match event {
            Event::Metered(samples) => {
                for sample in samples {
                    if self.site().is_some_and(|site| site.evse(&sample.evse).is_some()) {
                        let session = self.session_on(&sample.evse).map(|session| session.spec.id.clone());
                        self.alarms.meters.read(sample, session.as_ref());
                    }
                }
            }
            Event::SitePut(_) | Event::SiteDeleted => {
                self.alarms.available = None;
                let described = self.described.as_ref();
                let meters = &mut self.alarms.meters;
                meters.keep(|evse| described.is_some_and(|described| described.site.evse(evse).is_some()));
            }
            Event::GridLimitSet(_) | Event::GridLimitRemoved(_) => self.alarms.available = None,
            _ => {}
        }
    }
}
