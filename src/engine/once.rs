//! One request, one plan: nothing is remembered, nothing is sent.
//!
//! Decides how a whole problem is read: every fault of site, limits and sessions is reported at once. Pure but for the time it says
//! the search took.

use super::assemble::{self, Candidate, Facts};
use super::room;
use super::state::LIMIT_HORIZON;
use super::stopwatch::timed;
use super::view::{OnceRequest, OnceSession, PlanView};
use crate::calendar::Zone;
use crate::domain::bounds::MAX_SLOTS;
use crate::domain::conversion::{Load, Rate};
use crate::domain::ids::EvseId;
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::{Override, Session};
use crate::domain::site::{Site, check_node_limit};
use crate::domain::snapshot::Snapshot;
use crate::domain::timeline::Timeline;
use crate::units::{Instant, Watts};
use crate::{planner, verify};
use std::collections::BTreeMap;

/// The plan for a problem, checked, or everything that is wrong with the problem.
pub fn plan(request: &OnceRequest) -> Result<PlanView, Rejection> {
    let (site, snapshot) = assemble(request)?;
    let (plan, solve_micros) = timed(|| planner::plan(&snapshot, request.budget));
    let verified = verify::check(&snapshot, &plan).is_empty();
    Ok(PlanView::new(
        &plan,
        &snapshot,
        site.spec().lease,
        None,
        solve_micros,
        verified,
    ))
}

/// The problem as the planner sees it.
pub fn assemble(request: &OnceRequest) -> Result<(Site, Snapshot), Rejection> {
    let mut faults = Faults::default();
    let zone = Zone::parse(&request.site.time_zone)
        .map_err(|fault| faults.nest("site", fault))
        .ok();
    let site = Site::new(request.site.clone())
        .map_err(|fault| faults.nest("site", fault))
        .ok();
    if let Some(count) = request.slot_count {
        faults.within("slot_count", "slots", count as i64, 1..=MAX_SLOTS as i64);
    }
    let (Some(zone), Some(site)) = (zone, site) else {
        return Err(faults.into_rejection());
    };
    for (index, limit) in request.grid_limits.iter().enumerate() {
        let field = format!("grid_limits[{index}]");
        faults.part(&field, site.named_node(&limit.node));
        faults.part(&field, check_node_limit(&limit.limit));
    }
    let sessions = read_sessions(request, &site, &mut faults);
    if !faults.is_empty() {
        return Err(faults.into_rejection());
    }
    let snapshot = snapshot(request, &site, &zone, &sessions);
    Ok((site, snapshot))
}

fn read_sessions<'a>(request: &'a OnceRequest, site: &Site, faults: &mut Faults) -> Vec<(Session, &'a OnceSession)> {
    let mut on_evse: BTreeMap<&EvseId, usize> = BTreeMap::new();
    let mut sessions = Vec::new();
    for (index, wish) in request.sessions.iter().enumerate() {
        let field = format!("sessions[{index}]");
        if let Some(other) = on_evse.insert(&wish.spec.evse, index) {
            faults.add(
                format!("{field}.spec.evse_id"),
                "has another session already",
                &wish.spec.evse,
                format_args!("one session per EVSE; sessions[{other}] is on it"),
            );
        }
        let session = Session::expected(wish.spec.clone(), site, request.now);
        if let Some(mut session) = faults.part(&format!("{field}.spec"), session) {
            session.overridden = wish.overridden;
            session.delivered = wish.delivered;
            sessions.push((session, wish));
        }
    }
    sessions
}

fn snapshot(request: &OnceRequest, site: &Site, zone: &Zone, sessions: &[(Session, &OnceSession)]) -> Snapshot {
    let now: Instant = request.now;
    let available = room::available(site, zone, &request.grid_limits, now, now + LIMIT_HORIZON);
    let is_planned = |session: &Session| {
        let controllable = site.evse(&session.spec.evse).is_some_and(|evse| evse.controllable);
        controllable && matches!(session.overridden, Override::None | Override::Boost)
    };
    let planned = sessions
        .iter()
        .map(|(session, _)| session)
        .filter(|session| is_planned(session));
    let held = |evse: &crate::domain::site::Evse| -> Option<Load> {
        let session = sessions
            .iter()
            .map(|(session, _)| session)
            .find(|session| session.spec.evse == evse.id);
        match session {
            Some(session) if is_planned(session) => None,
            Some(session) if session.overridden == Override::HandBack => Some(evse.maximum_load()),
            _ => Some(evse.default_load()),
        }
    };
    assemble::snapshot(&Facts {
        site,
        now,
        available: &available,
        prices: request.prices.as_ref(),
        base_load: request.base_load.as_ref(),
        solar: request.solar.as_ref(),
        peak_so_far: site.spec().peak_so_far.max(Watts::ZERO),
        sessions: planned
            .map(|session| Candidate {
                session,
                delivered: session.delivered,
                at_most: None,
                current: Rate::ZERO,
                planned: None,
            })
            .collect(),
        held: site
            .evses()
            .filter_map(|(place, evse)| held(evse).map(|load| (place, Timeline::constant(load))))
            .collect(),
        slot_count: request.slot_count,
    })
}
