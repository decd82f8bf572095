//! The roll-out of a site at one moment, place by place and EVSE by EVSE.
//!
//! Decides nothing: the sums and the reasons are those of the roll-out's ledger.

pub use super::super::overload::NodeMeterStatus;
use super::super::state::SiteState;
use crate::domain::commissioning::EvseCheck;
use crate::domain::conversion::Load;
use crate::domain::ids::{EvseId, NodeId, SessionId};
use crate::domain::limits::Capacity;
pub use crate::rollout::{AttemptAnswer, AttemptStatus, EvseStatus, Hold, Reason, RevisionStatus, Trust};
use crate::units::{Instant, Watts};
use std::collections::BTreeMap;

/// What may be followed at a site, and what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutView {
    pub at: Instant,
    pub gateway_connected: bool,
    /// The grid connection first.
    pub places: Vec<PlaceStatus>,
    /// By id.
    pub evses: Vec<EvseStatus>,
    /// Where there is one.
    pub sessions: BTreeMap<EvseId, SessionId>,
    /// The last of each EVSE that was ever checked.
    pub checks: BTreeMap<EvseId, EvseCheck>,
}

/// One place of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceStatus {
    pub id: NodeId,
    pub parent: Option<NodeId>,
    /// Limit less base load less reserve.
    pub available: Capacity,
    /// The most that may be drawn by what EVSEs may be following.
    pub worst: Load,
    /// `available` less `worst`, now.
    pub headroom: Capacity,
    /// The least that it is within one lease from now.
    pub least_headroom: Capacity,
    /// What its meter shows; `None` where nothing came from one.
    pub meter: Option<NodeMeterStatus>,
}

impl RolloutView {
    /// `None` while the site is not described. The state is that of `now`.
    pub(crate) fn new(state: &SiteState, now: Instant) -> Option<Self> {
        let (site, ledger) = state.site().zip(state.ledger())?;
        let lease_end = now + site.spec().lease;
        let available = state.available(now);
        let places = site.places().iter().zip(&available).zip(ledger.worst_cases(now));
        let places = places.map(|((place, available), worst)| {
            let left = available.zip(&worst, |available, worst| available.less(worst));
            PlaceStatus {
                id: place.id.clone(),
                parent: place.parent.map(|parent| site.places()[parent].id.clone()),
                available: *available.at(now),
                worst: *worst.at(now),
                headroom: *left.at(now),
                least_headroom: (left.during(now, lease_end))
                    .fold(Capacity::UNLIMITED, |least, left| least.tighter(left)),
                meter: state.overloads.status(site, &place.id, now),
            }
        });
        let mut evses: Vec<EvseStatus> = ledger.statuses(now).collect();
        evses.sort_by(|a, b| a.evse.cmp(&b.evse));
        Some(Self {
            at: now,
            gateway_connected: ledger.is_linked(),
            places: places.collect(),
            evses,
            checks: state.evse_checks.clone(),
            sessions: (state.sessions())
                .map(|session| (session.spec.evse.clone(), session.spec.id.clone()))
                .collect(),
        })
    }

    /// Power that is reserved and that no latest profile allows.
    pub fn unused(&self) -> Watts {
        self.evses.iter().map(EvseStatus::unused).sum()
    }
}
