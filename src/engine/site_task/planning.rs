//! How a site comes to its plan: the facts of now, a search beside the intake, and what is done with what it finds.
//!
//! Decides which plan is in force: the search's if it passes the check, else the greedy one, else the one before. A search that takes
//! too long is no reason to wait: the greedy plan stands in meanwhile.

use super::super::assemble::{self, Candidate, Facts};
use super::super::on_a_solver;
use super::super::ports::StoreError;
use super::super::stopwatch::timed;
use super::super::view::PlanView;
use super::{Intake, SiteTask};
use crate::domain::event::Event;
use crate::domain::ids::EvseId;
use crate::domain::plan::{NumberedPlan, Plan, Provenance};
use crate::domain::session::Session;
use crate::domain::snapshot::Snapshot;
use crate::rollout::Trust;
use crate::units::Instant;
use crate::{planner, verify};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A search under way.
pub(super) struct Search {
    result: JoinHandle<(Plan, u64)>,
    snapshot: Arc<Snapshot>,
    /// The plan that stands in if the watchdog barks; taken then.
    greedy: Option<Plan>,
    watchdog: tokio::time::Instant,
    journal_sequence: u64,
}

pub(super) enum SearchEnd {
    Found(Plan, u64),
    /// The search takes too long: the greedy plan stands in meanwhile.
    WatchdogBarked,
    /// The search itself broke.
    Broken(String),
}

/// Waits for the search, if there is one, or for its watchdog.
pub(super) async fn search_end(search: &mut Option<Search>) -> SearchEnd {
    let Some(search) = search else {
        return std::future::pending().await;
    };
    tokio::select! {
        // A search that is done is never thrown away.
        biased;
        found = &mut search.result => match found {
            Ok((plan, solve_micros)) => SearchEnd::Found(plan, solve_micros),
            Err(error) => SearchEnd::Broken(error.to_string()),
        },
        () = tokio::time::sleep_until(search.watchdog) => SearchEnd::WatchdogBarked,
    }
}

impl SiteTask {
    #[expect(
        clippy::disallowed_methods,
        reason = "the watchdog looks at real time; that it barked is journalled"
    )]
    pub(super) fn begin_search(&mut self, now: Instant) {
        self.plan_due = None;
        self.last_planned = now;
        let Some(snapshot) = self.snapshot(now) else { return };
        let snapshot = Arc::new(snapshot);
        let greedy = planner::greedy(&snapshot);
        let settings = self.world.settings;
        let solvers = Arc::clone(&self.world.solvers);
        let given = Arc::clone(&snapshot);
        let result = tokio::spawn(async move {
            let search = on_a_solver(solvers, move || timed(|| planner::plan(&given, settings.budget)));
            search.await.expect("the search does not panic")
        });
        // After a cut someone must shed, and soon: then the greedy plan is not kept waiting long.
        let hurry = !self.patient && self.exceeds_room(now);
        let patience = if hurry {
            settings.cut_watchdog
        } else {
            settings.watchdog
        };
        self.search = Some(Search {
            result,
            snapshot,
            greedy: Some(greedy),
            watchdog: tokio::time::Instant::now() + patience,
            journal_sequence: self.state.sequence(),
        });
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
        let planned =
            |session: &&Session| self.state.is_planned(session) && ledger.trust(&session.spec.evse) != Trust::Disobeys;
        let sessions: Vec<Candidate<'_>> = self
            .state
            .sessions()
            .filter(planned)
            .map(|session| Candidate {
                session,
                delivered: self.state.delivered(session),
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

    pub(super) async fn search_ended(&mut self, end: SearchEnd) -> Result<(), StoreError> {
        let Some(mut search) = self.search.take() else {
            return Ok(());
        };
        match end {
            SearchEnd::Found(plan, solve_micros) => {
                self.patient = false;
                let greedy = search.greedy.take();
                self.adopt(&search, plan, greedy, solve_micros, false).await
            }
            SearchEnd::WatchdogBarked => {
                tracing::warn!(site = %self.state.key(), "the search takes too long; the greedy plan stands in");
                // Bounded by its budget, the search runs out by itself; what it finds is for facts that are old by then. After a
                // hurried one another follows, with patience.
                search.result.abort();
                self.patient = !self.patient;
                self.plan_due = self.patient.then_some(Instant::FAR_PAST);
                let greedy = search.greedy.take().expect("the watchdog barks once");
                self.adopt(&search, greedy, None, 0, true).await
            }
            SearchEnd::Broken(why) => {
                tracing::error!(site = %self.state.key(), why, "the search broke; the greedy plan stands in");
                let greedy = search.greedy.take().expect("the search ends once");
                self.adopt(&search, greedy, None, 0, true).await
            }
        }
    }

    /// Makes a plan the plan in force, if it passes the check, and sends what the roll-out allows of it.
    async fn adopt(
        &mut self,
        search: &Search,
        plan: Plan,
        greedy: Option<Plan>,
        solve_micros: u64,
        watchdog_fallback: bool,
    ) -> Result<(), StoreError> {
        let at = self.now();
        self.state.let_time_pass(at);
        let Some(lease) = self.state.site().map(|site| site.spec().lease) else {
            return Ok(());
        };
        let Some(plan) = self.first_that_verifies(&search.snapshot, [Some(plan), greedy]) else {
            // The plan in force stands, clipped by the roll-out to what there is room for.
            return self.react().await;
        };
        let parent = self.state.plan().map(|before| before.provenance.number);
        let provenance = Provenance {
            number: parent.unwrap_or(0) + 1,
            parent,
            journal_sequence: search.journal_sequence,
            made_at: search.snapshot.now(),
            budget: self.world.settings.budget,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            watchdog_fallback,
        };
        let view = PlanView::new(
            &plan,
            &search.snapshot,
            lease,
            Some(provenance.clone()),
            solve_micros,
            true,
        );
        let mut intake = Intake {
            synced: true,
            ..Intake::default()
        };
        let made = Event::PlanMade(Box::new(NumberedPlan {
            provenance,
            plan,
            solve_micros,
        }));
        self.record(made, None, at, &mut intake);
        let commands = self.roll_out(at, &mut intake);
        self.append_and_send(intake, commands).await?;
        self.plans.send_replace(Some(Arc::new(view)));
        self.react().await
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
