//! What the engine shows to the outside: a site and a plan as they stand at one moment.

mod rollout;

pub use rollout::{
    AttemptAnswer, AttemptStatus, EvseStatus, Hold, NodeMeterStatus, PlaceStatus, Reason, RevisionStatus, RolloutView,
    Trust,
};

use crate::domain::commissioning::EvseCheck;
use crate::domain::conversion::{Rate, RateUnit};
use crate::domain::ids::{EvseId, SessionId};
use crate::domain::limits::GridLimit;
use crate::domain::plan::{Budget, Note, Plan, PlanStats, Provenance, Schedule};
use crate::domain::profile::ChargingProfile;
use crate::domain::session::{Override, Session, SessionSpec};
use crate::domain::site::{Site, SiteSpec};
use crate::domain::snapshot::{Snapshot, SnapshotSession};
use crate::domain::timeline::Timeline;
use crate::units::{Instant, MicrosPerKwh, Seconds, WattSeconds, Watts};

/// A site at one moment.
#[derive(Clone, Debug)]
pub struct SiteView {
    pub site: Site,
    pub stopped: bool,
    /// Last entry of the journal.
    pub sequence: u64,
    /// Why a site in mode control sends nothing.
    pub not_controlled_because: Option<String>,
    /// By id.
    pub grid_limits: Vec<GridLimit>,
    /// The last of each EVSE that was ever checked, by id.
    pub evse_checks: Vec<EvseCheck>,
    /// Those that are there, by id.
    pub sessions: Vec<Session>,
}

/// One session in a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPlan {
    pub session: SessionId,
    pub evse: EvseId,
    pub unit: RateUnit,
    /// The connector's least rate above zero.
    pub minimum: Rate,
    /// From the plan's start; the last value, zero, holds for ever.
    pub rates: Timeline<Rate>,
    /// What would be sent now: the rates cut to the lease, then the tail.
    pub profile: ChargingProfile,
    pub expected: WattSeconds,
    /// Zero where the need is unknown.
    pub missing: WattSeconds,
}

/// A plan, ready to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanView {
    /// Absent for a plan made once and not kept.
    pub provenance: Option<Provenance>,
    pub sessions: Vec<SessionPlan>,
    pub notes: Vec<Note>,
    pub stats: PlanStats,
    pub solve_micros: u64,
    pub verified: bool,
}

/// A whole problem, for [`super::Engine::plan_once`].
#[derive(Clone, Debug)]
pub struct OnceRequest {
    pub site: SiteSpec,
    pub now: Instant,
    /// `None`: until the last departure, and 24 h ahead at least where one is unknown.
    pub slot_count: Option<usize>,
    pub grid_limits: Vec<GridLimit>,
    pub prices: Option<Timeline<MicrosPerKwh>>,
    pub base_load: Option<Timeline<Watts>>,
    pub solar: Option<Timeline<Watts>>,
    pub sessions: Vec<OnceSession>,
    pub budget: Budget,
}

/// A session of a [`OnceRequest`].
#[derive(Clone, Debug)]
pub struct OnceSession {
    pub spec: SessionSpec,
    pub delivered: WattSeconds,
    pub overridden: Override,
}

impl PlanView {
    /// A plan shown with what its sessions need and what would be sent for it at `now`.
    pub fn new(
        plan: &Plan,
        snapshot: &Snapshot,
        lease: Seconds,
        provenance: Option<Provenance>,
        solve_micros: u64,
        verified: bool,
    ) -> Self {
        let sessions = plan
            .schedules
            .iter()
            .zip(&snapshot.sessions)
            .map(|(schedule, session)| SessionPlan::new(plan, schedule, session, lease));
        Self {
            provenance,
            sessions: sessions.collect(),
            notes: plan.notes.clone(),
            stats: plan.stats.clone(),
            solve_micros,
            verified,
        }
    }
}

impl SessionPlan {
    fn new(plan: &Plan, schedule: &Schedule, session: &SnapshotSession, lease: Seconds) -> Self {
        let rates = plan.rates_over_time(schedule);
        let start = plan.grid.start();
        let expected: WattSeconds = schedule
            .rates
            .iter()
            .enumerate()
            .map(|(slot, rate)| session.energy(*rate, plan.grid.seconds(slot)))
            .sum();
        Self {
            session: schedule.session.clone(),
            evse: schedule.evse.clone(),
            unit: session.conversion.unit,
            minimum: session.choice.minimum,
            profile: ChargingProfile::cut(session.conversion.unit, &rates, start, start + lease, Rate::ZERO),
            rates,
            expected,
            missing: session
                .need
                .map_or(WattSeconds::ZERO, |need| (need - expected).or_zero()),
        }
    }
}
