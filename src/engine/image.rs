//! A site's state as plain data, to be kept by the store, so that a start need not read the whole journal.
//!
//! Decides nothing. Taking an image and making a state from it gives the same state.

use super::alarms::{Alarms, AlarmsImage};
use super::overload::Overloads;
use super::state::{Described, Remembered, SiteState};
use crate::calendar::Zone;
use crate::domain::commissioning::EvseCheck;
use crate::domain::event::Event;
use crate::domain::event::{Receipt, RequestStamp};
use crate::domain::ids::{SessionId, SiteKey};
use crate::domain::limits::GridLimit;
use crate::domain::plan::NumberedPlan;
use crate::domain::session::Session;
use crate::domain::site::{Site, SiteSpec};
use crate::domain::timeline::Timeline;
use crate::rollout::Ledger;
use crate::units::{Instant, MicrosPerKwh, WattSeconds, Watts};
use std::sync::Arc;

/// Everything that a site's state holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteImage {
    /// The journal entry up to which it holds.
    pub sequence: u64,
    pub last_at: Instant,
    /// Absent where the site was deleted.
    pub site: Option<SiteSpec>,
    /// The shortest list of events that leads to the roll-out's ledger, each with its time.
    pub ledger: Vec<(Instant, Event)>,
    pub stopped: bool,
    pub grid_limits: Vec<GridLimit>,
    pub prices: Option<Timeline<MicrosPerKwh>>,
    pub base_load: Option<Timeline<Watts>>,
    pub solar: Option<Timeline<Watts>>,
    pub sessions: Vec<Session>,
    /// Energy that sessions without a meter are taken to have got.
    pub assumed: Vec<(SessionId, WattSeconds)>,
    pub plan: Option<NumberedPlan>,
    pub peak_seen: Watts,
    /// Oldest first.
    pub requests: Vec<(RequestStamp, Receipt)>,
    pub alarms: AlarmsImage,
    pub overloads: Overloads,
    pub evse_checks: Vec<EvseCheck>,
}

impl SiteState {
    /// `None` while the ledger cannot be told as events; then the whole journal is needed.
    pub fn image(&self) -> Option<SiteImage> {
        let ledger = match &self.described {
            Some(described) => described.ledger.history()?,
            None => Vec::new(),
        };
        let remembered = self.requests_in_order.iter().filter_map(|(_, id)| {
            let known = self.requests.get(id)?;
            Some((
                RequestStamp {
                    id: id.clone(),
                    body_hash: known.body_hash,
                    // Only the journal says who it was.
                    by: None,
                },
                known.receipt.clone(),
            ))
        });
        Some(SiteImage {
            sequence: self.sequence,
            last_at: self.last_at,
            site: self.site().map(|site| site.spec().clone()),
            ledger,
            stopped: self.stopped,
            grid_limits: self.grid_limits.values().cloned().collect(),
            prices: self.prices.clone(),
            base_load: self.base_load.clone(),
            solar: self.solar.clone(),
            sessions: self.sessions.values().cloned().collect(),
            assumed: self.assumed.iter().map(|(id, energy)| (id.clone(), *energy)).collect(),
            plan: self.plan.as_deref().cloned(),
            peak_seen: self.peak_seen,
            requests: remembered.collect(),
            alarms: self.alarms.image(),
            overloads: self.overloads.clone(),
            evse_checks: self.evse_checks.values().cloned().collect(),
        })
    }

    /// The state that an image was taken of. A site that is no longer valid by today's rules is not there.
    pub fn from_image(key: SiteKey, image: SiteImage) -> Self {
        let described = image.site.and_then(|spec| {
            let zone = Zone::parse(&spec.time_zone).ok()?;
            let site = Site::new(spec).ok()?;
            let mut ledger = Ledger::new(&site);
            for (at, event) in &image.ledger {
                ledger.tell(event, *at);
            }
            for session in &image.sessions {
                let spec = &session.spec;
                ledger.session_started(&spec.evse, &spec.id, image.last_at);
                ledger.car_described(&spec.evse, &spec.id, spec.car.phases, image.last_at);
            }
            Some(Described { site, zone, ledger })
        });
        let mut state = Self::empty(key);
        state.sequence = image.sequence;
        state.last_at = image.last_at;
        state.described = described;
        state.stopped = image.stopped;
        state.grid_limits = image
            .grid_limits
            .into_iter()
            .map(|limit| (limit.id.clone(), limit))
            .collect();
        state.prices = image.prices;
        state.base_load = image.base_load;
        state.solar = image.solar;
        state.sessions = image
            .sessions
            .into_iter()
            .map(|session| (session.spec.id.clone(), session))
            .collect();
        state.assumed = image.assumed.into_iter().collect();
        state.plan = image.plan.map(Arc::new);
        state.peak_seen = image.peak_seen;
        state.alarms = Alarms::from_image(image.alarms);
        state.overloads = image.overloads;
        state.evse_checks = (image.evse_checks.into_iter())
            .map(|check| (check.evse.clone(), check))
            .collect();
        for (stamp, receipt) in image.requests {
            state
                .requests_in_order
                .push_back((receipt.recorded_at, stamp.id.clone()));
            state.requests.insert(
                stamp.id,
                Remembered {
                    body_hash: stamp.body_hash,
                    receipt,
                },
            );
        }
        state
    }
}
