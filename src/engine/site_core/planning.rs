//! How a site comes to its plan: the facts of now, a search beside the intake, and what is done with what it finds.
//!
//! Decides which plan is in force: the search's if it passes the check, else the greedy one, else the one before. A search that takes
//! too long is no reason to wait: the greedy plan stands in meanwhile, and at once where somebody has to take less.

use super::super::admission::Admission;
use super::super::assemble::{self, Candidate, Facts};
use super::super::view::PlanView;
use super::append::{Afterwards, Intake};
use super::{Effect, SearchEnd, SearchJob, SiteCore, Then};
use crate::domain::event::Event;
use crate::domain::ids::{EvseId, NodeId};
use crate::domain::limits::Capacity;
use crate::domain::plan::{Budget, NumberedPlan, Plan, Provenance};
use crate::domain::session::Session;
use crate::domain::snapshot::Snapshot;
use crate::domain::timeline::Timeline;
use crate::rollout::Trust;
use crate::units::{Instant, Seconds};
use crate::{planner, verify};
use std::sync::Arc;

/// What is kept of a search while it is under way.
pub(super) struct Search {
    snapshot: Arc<Snapshot>,
    /// The plan that stands in if the search fails.
    greedy: Plan,
    journal_sequence: u64,
}

impl SiteCore {
    pub(super) fn begin_search(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.plan_due = None;
        self.last_planned = now;
        let Some(snapshot) = self.snapshot(now) else { return };
        let snapshot = Arc::new(snapshot);
        // After a cut someone must shed, and soon: then the greedy plan is not kept waiting long.
        let hurry = !self.patient && self.exceeds_room(now);
        let patience = if hurry {
            self.settings.cut_watchdog
        } else {
            self.settings.watchdog
        };
        self.search = Some(Search {
            greedy: planner::greedy(&snapshot),
            snapshot: Arc::clone(&snapshot),
            journal_sequence: self.state.sequence(),
        });
        effects.push(Effect::Search(SearchJob {
            snapshot,
            budget: self.settings.budget,
            patience,
        }));
    }

    pub(super) fn abandon_search(&mut self, effects: &mut Vec<Effect>) {
        if self.search.take().is_some() {
            effects.push(Effect::AbandonSearch);
        }
    }

    /// What is available at each place, by its id.
    pub(super) fn room(&self, now: Instant) -> Vec<(NodeId, Timeline<Capacity>)> {
        let Some(site) = self.state.site() else {
            return Vec::new();
        };
        let ids = site.places().iter().map(|place| place.id.clone());
        ids.zip(self.state.available(now)).collect()
    }

    /// Whether less is available somewhere than `before`, and what EVSEs may be following is more than that, before a search would
    /// be over. A cut that comes later leaves time for a search.
    pub(super) fn is_cut(&self, before: &[(NodeId, Timeline<Capacity>)], now: Instant) -> bool {
        let (Some(site), Some(ledger)) = (self.state.site(), self.state.ledger()) else {
            return false;
        };
        if before.is_empty() {
            // A site that is described first has nobody yet to take less.
            return false;
        }
        let patience = i64::try_from(self.settings.watchdog.as_secs()).unwrap_or(i64::MAX);
        let soon = now + Seconds::from_secs(patience.saturating_add(1));
        let rooms = site.places().iter().zip(self.state.available(now));
        rooms.zip(ledger.worst_cases(now)).any(|((place, room), load)| {
            let had = before.iter().find(|(id, _)| *id == place.id).map(|(_, had)| had);
            let sum = room.zip(&load, |room, load| (*room, *load));
            let starts = sum.points().iter().map(|(start, _)| *start);
            let cut_at = |at: Instant| {
                let (room, load) = sum.at(at);
                !room.fits(load) && had.is_none_or(|had| room.tighter(had.at(at)) != *had.at(at))
            };
            let soon_starts = starts.filter(|start| now < *start && *start < soon);
            [now].into_iter().chain(soon_starts).any(cut_at)
        })
    }

    /// Somebody has to take less: the greedy plan on the facts of now is the plan in force at once, and what it lowers leaves with
    /// it. Whatever is being searched is for facts that are old; another search, which may take its time, follows.
    pub(super) fn shed(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Then {
        self.sheds += 1;
        self.abandon_search(effects);
        self.state.let_time_pass(now);
        self.want_plan_by(now);
        let Some(snapshot) = self.snapshot(now) else {
            return Then::Wait;
        };
        self.patient = true;
        let origin = Origin {
            snapshot: &snapshot,
            journal_sequence: self.state.sequence(),
            budget: Budget { iterations: 0 },
            solve_micros: 0,
            watchdog_fallback: false,
        };
        self.adopt([Some(planner::greedy(&snapshot)), None], &origin, now, effects)
    }

    /// Whether what EVSEs may be following now is more than is available somewhere.
    fn exceeds_room(&self, now: Instant) -> bool {
        let Some(ledger) = self.state.ledger() else {
            return false;
        };
        let available = self.state.available(now);
        let loads = ledger.worst_cases(now);
        available
            .iter()
            .zip(&loads)
            .any(|(available, load)| !available.at(now).fits(load.at(now)))
    }

    /// The facts of now, as planner and verify see them.
    fn snapshot(&self, now: Instant) -> Option<Snapshot> {
        let (site, ledger) = self.state.site().zip(self.state.ledger())?;
        let available = self.state.available(now);
        let planned = |session: &&Session| {
            self.state.is_planned(session, now) && ledger.trust(&session.spec.evse) != Trust::Disobeys
        };
        let sessions: Vec<Candidate<'_>> = self
            .state
            .sessions()
            .filter(planned)
            .map(|session| Candidate {
                session,
                delivered: self.state.delivered(session),
                at_most: match self.state.admission(session, now) {
                    Admission::UpTo(rate) => Some(rate),
                    Admission::Whole | Admission::Nothing => None,
                },
                current: ledger.ceiling_now(&session.spec.evse, now),
                planned: self
                    .state
                    .plan()
                    .and_then(|numbered| numbered.plan.rates_of(&session.spec.id)),
            })
            .collect();
        let is_planned = |evse: &EvseId| sessions.iter().any(|candidate| candidate.session.spec.evse == *evse);
        let held = site
            .evses()
            .filter(|(_, evse)| !is_planned(&evse.id))
            .map(|(place, evse)| (place, ledger.held(&evse.id, now)))
            .collect();
        Some(assemble::snapshot(&Facts {
            site,
            now,
            available: &available,
            prices: self.state.prices.as_ref(),
            base_load: self.state.base_load.as_ref(),
            solar: self.state.solar.as_ref(),
            peak_so_far: site.spec().peak_so_far.max(self.state.peak_seen),
            sessions,
            held,
            slot_count: None,
        }))
    }

    pub(super) fn search_ended(&mut self, end: SearchEnd, now: Instant, effects: &mut Vec<Effect>) -> Then {
        let Some(search) = self.search.take() else {
            return Then::Wait;
        };
        let (plans, solve_micros, watchdog_fallback) = match end {
            SearchEnd::Found(plan, solve_micros) => {
                self.patient = false;
                ([Some(plan), Some(search.greedy)], solve_micros, false)
            }
            SearchEnd::WatchdogBarked => {
                tracing::warn!(site = %self.state.key(), "the search takes too long; the greedy plan stands in");
                // After a hurried search another follows, with patience.
                self.patient = !self.patient;
                if self.patient {
                    self.want_plan_by(Instant::FAR_PAST);
                }
                ([Some(search.greedy), None], 0, true)
            }
            SearchEnd::Broken(why) => {
                tracing::error!(site = %self.state.key(), why, "the search broke; the greedy plan stands in");
                ([Some(search.greedy), None], 0, true)
            }
        };
        let origin = Origin {
            snapshot: &search.snapshot,
            journal_sequence: search.journal_sequence,
            budget: self.settings.budget,
            solve_micros,
            watchdog_fallback,
        };
        self.adopt(plans, &origin, now, effects)
    }

    /// Makes the first plan that passes the check the plan in force, and sends what the roll-out allows of it.
    fn adopt(&mut self, plans: [Option<Plan>; 2], origin: &Origin<'_>, at: Instant, effects: &mut Vec<Effect>) -> Then {
        self.state.let_time_pass(at);
        let Some(lease) = self.state.site().map(|site| site.spec().lease) else {
            return Then::Wait;
        };
        let Some(plan) = self.first_that_verifies(origin.snapshot, plans) else {
            // The plan in force stands, clipped by the roll-out to what there is room for.
            return self.react(at, effects);
        };
        let parent = self.state.plan().map(|before| before.provenance.number);
        let provenance = Provenance {
            number: parent.unwrap_or(0) + 1,
            parent,
            journal_sequence: origin.journal_sequence,
            made_at: origin.snapshot.now(),
            budget: origin.budget,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            watchdog_fallback: origin.watchdog_fallback,
        };
        let view = PlanView::new(
            &plan,
            origin.snapshot,
            lease,
            Some(provenance.clone()),
            origin.solve_micros,
            true,
        );
        let made = Event::PlanMade(Box::new(NumberedPlan {
            provenance,
            plan,
            solve_micros: origin.solve_micros,
        }));
        let mut intake = Intake::default();
        let (entry, _) = self.apply(made, None, at);
        intake.make_plan(entry, view);
        self.roll_out(at, &mut intake);
        self.close(intake, Afterwards::React, at, effects)
    }

    fn first_that_verifies(&self, snapshot: &Snapshot, plans: [Option<Plan>; 2]) -> Option<Plan> {
        plans.into_iter().flatten().find(|plan| {
            let violations = verify::check(snapshot, plan);
            for violation in &violations {
                tracing::error!(site = %self.state.key(), %violation, "a plan was refused by the check");
            }
            violations.is_empty()
        })
    }
}

/// What a plan was made from, and how.
struct Origin<'a> {
    snapshot: &'a Snapshot,
    journal_sequence: u64,
    budget: Budget,
    solve_micros: u64,
    watchdog_fallback: bool,
}
