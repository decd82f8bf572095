//! One site as it thinks: what comes in and what is then to be done, without a clock, a disk or a wire.
//!
//! Decides the order of things. Requests that wait together are recorded together, and answered only once that record is synced.
//! A plan is searched beside the intake, never in its way; what the roll-out then wants to send is recorded before it is sent.
//! Whoever has to take less is told in the same step, by the greedy plan; the search for a better one then starts anew.
//! If the store fails, nothing of what it was given is answered or sent, and the state is read again from what is there.
//!
//! Pure: told the same at the same instants it does the same, on any machine. [`super::site_task`] performs what it says.

mod append;
mod planning;
mod sending;

use super::image::SiteImage;
use super::overload::QUANTITIES;
use super::ports::{Durability, OutgoingCommand, StoreError};
use super::state::SiteState;
use super::urgency::{Urgency, urgency};
use super::view::{PlanView, RolloutView, SiteView};
use super::{MeterReceipt, Readings, Refusal, Settings};
use crate::domain::alarm::Alarm;
use crate::domain::conversion::Rate;
use crate::domain::event::{Event, Receipt, Recorded, RequestStamp};
use crate::domain::ids::{GatewayId, SessionId};
use crate::domain::plan::{Budget, Plan};
use crate::domain::rejection::Rejection;
use crate::domain::session::{Override, Session};
use crate::domain::site::Mode;
use crate::domain::snapshot::Snapshot;
use crate::rollout::{Ledger, Trust};
use crate::units::{Instant, Seconds};
use append::{Afterwards, Intake, Round};
pub(crate) use append::{Append, Caller, Reply, Said, Unsaid};
use planning::Search;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A car that has got what it asked for, or a profile that was refused, leads to a new plan no sooner than this after the last one.
const REPLAN_INTERVAL: Seconds = Seconds::from_secs(60);
/// A snapshot of the state is kept after this many entries, so that a start need not read more than these.
const SNAPSHOT_EVERY: u64 = 2_000;
/// After the store failed, nothing is sent for the old plan before this.
const PAUSE_AFTER_FAILURE: Seconds = Seconds::from_secs(1);

/// Everything that can come to a site.
#[derive(Debug)]
pub(crate) enum Input {
    /// The process has begun: first of all, and once.
    Started,
    /// Questions that waited together.
    Asked(Vec<Ask>),
    /// The outcome of the append that the last step asked for; nothing else may come before it.
    Appended(Unsaid, Result<(), StoreError>),
    SearchEnded(SearchEnd),
    /// It is [`SiteCore::next_wake`] or later.
    Woke,
    /// The state as the journal has it, after [`Then::ReadAgain`].
    ReadAgain(Box<SiteState>),
}

/// A question, and who waits for its answer.
#[derive(Debug)]
pub(crate) struct Ask {
    pub caller: Caller,
    pub question: Question,
}

#[derive(Debug)]
pub(crate) enum Question {
    Submit {
        request: Option<RequestStamp>,
        event: Event,
        /// Whether the store lists the session that the event starts among the ended ones. For other events it is not looked at.
        id_was_used: Result<bool, StoreError>,
    },
    Meter(Readings),
    View,
    Rollout,
}

#[derive(Debug)]
pub(crate) enum SearchEnd {
    /// With the microseconds that it took.
    Found(Plan, u64),
    /// The search takes too long: the greedy plan stands in meanwhile.
    WatchdogBarked,
    /// The search itself broke.
    Broken(String),
}

/// What is to be done, in this order: the effects, then what comes next.
#[derive(Debug)]
pub(crate) struct Step {
    pub effects: Vec<Effect>,
    pub then: Then,
}

#[derive(Debug)]
pub(crate) enum Effect {
    Answer(Caller, Said<Reply>),
    Send(Box<Said<OutgoingCommand>>),
    /// There is at most one search at a time.
    Search(SearchJob),
    /// What it would find is of no use any more.
    AbandonSearch,
    /// May fail: the journal has everything.
    KeepSnapshot(Box<SiteImage>),
    ShowSummary(Summary),
    ShowPlan(Option<Arc<PlanView>>),
    /// All that are listed, by number.
    ShowAlarms(Arc<Vec<Alarm>>),
}

#[derive(Debug)]
pub(crate) enum Then {
    /// For any other input.
    Wait,
    Append(Append),
    /// The store failed, and the state may hold what the journal does not.
    ReadAgain,
    /// Another owner has the journal, or it cannot be read: the site does nothing any more.
    Stop(StoreError),
}

/// A plan to be searched beside everything else.
#[derive(Debug)]
pub(crate) struct SearchJob {
    pub snapshot: Arc<Snapshot>,
    pub budget: Budget,
    /// After this, [`SearchEnd::WatchdogBarked`].
    pub patience: Duration,
}

/// What others may know about a site without asking it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Described and not deleted.
    pub exists: bool,
    pub gateway: Option<GatewayId>,
    pub evses: usize,
}

/// The only owner of a site's state, from the first entry of its journal to the last.
pub(crate) struct SiteCore {
    settings: Settings,
    state: SiteState,
    shown: Summary,
    /// The version of the alarms that was shown last.
    shown_alarms: Option<u64>,
    search: Option<Search>,
    /// The greedy plan already stands in: this search may take its time.
    patient: bool,
    /// Somebody has to take less, and sooner than a search would tell.
    must_shed: bool,
    /// How often that was so, since the start.
    sheds: u64,
    /// When a new plan is wanted.
    plan_due: Option<Instant>,
    last_planned: Instant,
    roll_out_at: Instant,
    /// Where charging is lowered because of what meters show, as of when the site last looked at what is due.
    overloaded: Vec<(usize, [bool; QUANTITIES])>,
    /// Sessions whose drivers are not admitted, as of then, with what is left to them.
    turned_away: BTreeMap<SessionId, Rate>,
    reacted_at: Instant,
    snapshot_sequence: u64,
}

impl SiteCore {
    pub fn new(state: SiteState, settings: Settings) -> Self {
        let snapshot_sequence = state.sequence();
        let turned_away = state.turned_away(state.last_at());
        Self {
            settings,
            state,
            shown: Summary::default(),
            shown_alarms: None,
            search: None,
            patient: false,
            must_shed: false,
            sheds: 0,
            // Whatever was planned before a start was planned by another process: plan anew at once.
            plan_due: Some(Instant::FAR_PAST),
            last_planned: Instant::FAR_PAST,
            roll_out_at: Instant::FAR_PAST,
            overloaded: Vec::new(),
            turned_away,
            reacted_at: Instant::FAR_PAST,
            snapshot_sequence,
        }
    }

    /// What the site is, as its tests look at it.
    #[cfg(test)]
    pub fn state(&self) -> &SiteState {
        &self.state
    }

    /// From here on the roll-out follows a rule that is wrong.
    #[cfg(test)]
    pub fn break_rule(&mut self, rule: Option<crate::rollout::WrongRule>) {
        if let Some((described, rule)) = self.state.described.as_mut().zip(rule) {
            described.ledger.follow_wrong_rule(rule);
        }
    }

    /// How often somebody had to take less at once, since the start. For measuring how long that took.
    pub fn sheds(&self) -> u64 {
        self.sheds
    }

    pub fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// When to come back with [`Input::Woke`], if nothing else happens before.
    pub fn next_wake(&self) -> Instant {
        self.acts_at().min(self.state.alarms().wake_at())
    }

    /// When there is something to do at the site, and not only to be judged.
    fn acts_at(&self) -> Instant {
        if self.mode() == Mode::Off {
            return Instant::FAR_FUTURE;
        }
        let cut = self
            .state
            .next_overload(self.reacted_at)
            .min(self.state.next_verdict(self.reacted_at));
        // What else comes up during a search is dealt with when it has ended.
        if self.search.is_some() {
            return cut;
        }
        let due = self.plan_due.unwrap_or(Instant::FAR_FUTURE);
        // A check lasts for minutes, and is looked at each second.
        let check = self
            .state
            .running_check()
            .map(|_| self.reacted_at + Seconds::from_secs(1));
        let check = check.unwrap_or(Instant::FAR_FUTURE);
        due.min(self.next_slot()).min(self.roll_out_at).min(cut).min(check)
    }

    /// Takes in what happened; `clock` is the world's, which may step.
    pub fn step(&mut self, clock: Instant, input: Input) -> Step {
        // No journal runs backwards, whatever the clock says.
        let now = clock.max(self.state.last_at());
        let mut effects = Vec::new();
        let then = match input {
            Input::Started => self.begin(now, &mut effects),
            Input::Asked(asks) => self.take_in(asks, now, &mut effects),
            Input::Appended(unsaid, outcome) => self.appended(unsaid, outcome, now, &mut effects),
            Input::SearchEnded(end) => self.search_ended(end, now, &mut effects),
            Input::Woke => self.wake(now, &mut effects),
            Input::ReadAgain(state) => self.read_again(*state, now, &mut effects),
        };
        self.show_alarms(&mut effects);
        Step { effects, then }
    }

    fn wake(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Then {
        self.state.let_time_pass(now);
        if now < self.acts_at() {
            return Then::Wait;
        }
        self.react(now, effects)
    }

    fn mode(&self) -> Mode {
        self.state.site().map_or(Mode::Off, |site| site.spec().mode)
    }

    /// The first slot boundary after the last plan.
    fn next_slot(&self) -> Instant {
        match self.state.site() {
            Some(site) if self.last_planned > Instant::FAR_PAST => {
                self.last_planned.floor_to(site.spec().slot) + site.spec().slot
            }
            _ => Instant::FAR_FUTURE,
        }
    }

    /// No stream outlives its process: a gateway that was there when the journal ended is gone until it says hello again.
    fn begin(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Then {
        self.state.doubt_what_was_restored(now);
        self.show_summary(effects);
        let gateway = self.state.site().and_then(|site| site.spec().gateway.clone());
        let is_linked = self.state.ledger().is_some_and(Ledger::is_linked);
        let Some(gateway) = gateway.filter(|_| is_linked) else {
            return self.react(now, effects);
        };
        let mut intake = Intake::default();
        self.record(Event::GatewayDisconnected { gateway }, None, now, &mut intake);
        self.close(intake, Afterwards::React, now, effects)
    }

    // --- Intake -------------------------------------------------------------------------------------------------------------

    /// Records what the questions lead to, answers them, and goes on from there.
    fn take_in(&mut self, asks: Vec<Ask>, now: Instant, effects: &mut Vec<Effect>) -> Then {
        let mut intake = Intake::default();
        let mut views = Vec::new();
        for Ask { caller, question } in asks {
            match question {
                Question::Submit {
                    request,
                    event,
                    id_was_used,
                } => {
                    let answer = self.submit(request, event, id_was_used, now, &mut intake);
                    intake.answer(caller, Reply::Receipt(answer));
                }
                Question::Meter(readings) => {
                    let answer = self.meter(readings, now, &mut intake);
                    intake.answer(caller, Reply::Meter(answer));
                }
                Question::View => views.push((caller, false)),
                Question::Rollout => views.push((caller, true)),
            }
        }
        if !views.is_empty() {
            // All of them see the state as it is after everything that came with them.
            self.state.let_time_pass(now);
            for (caller, is_rollout) in views {
                let reply = if is_rollout {
                    let view = RolloutView::new(&self.state, now).map(Arc::new);
                    Reply::Rollout(view.ok_or_else(|| self.state.no_such_site()))
                } else {
                    Reply::View(self.view(now).ok_or_else(|| self.state.no_such_site()))
                };
                intake.answer(caller, reply);
            }
        }
        self.close(intake, Afterwards::React, now, effects)
    }

    fn submit(
        &mut self,
        request: Option<RequestStamp>,
        event: Event,
        id_was_used: Result<bool, StoreError>,
        at: Instant,
        intake: &mut Intake,
    ) -> Result<Receipt, Refusal> {
        if let Some(answer) = request.as_ref().and_then(|stamp| self.state.remembered(stamp)) {
            return answer;
        }
        if let Event::SessionStarted(spec) = &event
            && id_was_used?
        {
            return Err(id_has_ended(&spec.id).into());
        }
        let admitted = self.state.admit(event, at)?;
        let last = admitted.events.len() - 1;
        let may_cut = admitted.events.iter().any(may_cut);
        let room_before = may_cut.then(|| self.room(at));
        for (index, event) in admitted.events.into_iter().enumerate() {
            let stamp = request
                .clone()
                .filter(|_| index == last)
                .map(|stamp| (stamp, admitted.warnings.clone()));
            self.must_shed |= stops_charging(&event);
            self.record(event, stamp, at, intake);
        }
        self.must_shed |= room_before.is_some_and(|before| self.is_cut(&before, at));
        Ok(Receipt {
            sequence: self.state.sequence(),
            recorded_at: at,
            warnings: admitted.warnings,
        })
    }

    fn meter(&mut self, readings: Readings, at: Instant, intake: &mut Intake) -> Result<MeterReceipt, Refusal> {
        let all = readings.len();
        // Judged whole, so that a fault is told by its place in what was sent.
        self.state.admit(readings.clone().into_event(), at)?;
        let news = self.state.only_news(readings, at);
        let recorded = news.len();
        if recorded > 0 {
            self.record(news.into_event(), None, at, intake);
        }
        Ok(MeterReceipt {
            recorded,
            dropped: all - recorded,
        })
    }

    /// Takes an event into the state and into the batch that is about to be appended.
    fn record(&mut self, event: Event, request: Option<(RequestStamp, Vec<String>)>, at: Instant, intake: &mut Intake) {
        let durability = match &event {
            Event::Metered(_) | Event::NodesMetered(_) => Durability::Buffered,
            _ => Durability::Synced,
        };
        let (entry, ended) = self.apply(event, request, at);
        intake.record(entry, ended, durability);
    }

    /// Takes an event into the state. The entry is in the journal only once it is appended.
    fn apply(
        &mut self,
        event: Event,
        request: Option<(RequestStamp, Vec<String>)>,
        at: Instant,
    ) -> (Recorded, Option<Session>) {
        let soon = at.max(self.last_planned + REPLAN_INTERVAL);
        match urgency(&event) {
            Urgency::Now => self.want_plan_by(at),
            Urgency::Soon if self.state.misses_out(&event) => self.want_plan_by(soon),
            Urgency::Soon | Urgency::Never => {}
        }
        let before = (self.state.cars_done(), self.distrusted());
        let entry = Recorded {
            sequence: self.state.sequence() + 1,
            at,
            event,
            request,
        };
        let ended = self.state.apply(&entry);
        if (self.state.cars_done(), self.distrusted()) != before {
            self.want_plan_by(soon);
        }
        (entry, ended)
    }

    /// How many sessions get no plan because their EVSE disobeys: its maximum is taken from others, and given back once it obeys.
    fn distrusted(&self) -> usize {
        let Some(ledger) = self.state.ledger() else { return 0 };
        let disobeys = |session: &&Session| ledger.trust(&session.spec.evse) == Trust::Disobeys;
        self.state.sessions().filter(disobeys).count()
    }

    fn want_plan_by(&mut self, due: Instant) {
        self.plan_due = Some(self.plan_due.map_or(due, |before| before.min(due)));
    }

    // --- Recording ----------------------------------------------------------------------------------------------------------

    /// What was collected goes to the journal; where there is nothing to record, it goes on at once.
    fn close(&mut self, intake: Intake, afterwards: Afterwards, now: Instant, effects: &mut Vec<Effect>) -> Then {
        match intake.close(afterwards) {
            Round::Append(append) => Then::Append(append),
            Round::Said(said) => {
                effects.extend(said);
                self.go_on(afterwards, now, effects)
            }
        }
    }

    fn appended(
        &mut self,
        unsaid: Unsaid,
        outcome: Result<(), StoreError>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) -> Then {
        match unsaid.after(outcome) {
            Ok((said, afterwards)) => {
                self.show_summary(effects);
                effects.extend(said);
                self.keep_snapshot(effects);
                self.go_on(afterwards, now, effects)
            }
            Err((refused, error)) => {
                effects.extend(refused);
                tracing::error!(site = %self.state.key(), %error, "the store failed; the state is read again");
                match error {
                    StoreError::Conflict { .. } => Then::Stop(error),
                    _ => Then::ReadAgain,
                }
            }
        }
    }

    fn go_on(&mut self, afterwards: Afterwards, now: Instant, effects: &mut Vec<Effect>) -> Then {
        match afterwards {
            Afterwards::React => self.react(now, effects),
            Afterwards::Rest => Then::Wait,
        }
    }

    fn keep_snapshot(&mut self, effects: &mut Vec<Effect>) {
        if self.state.sequence() < self.snapshot_sequence + SNAPSHOT_EVERY {
            return;
        }
        self.snapshot_sequence = self.state.sequence();
        // None while something is held for an EVSE that is gone: then the journal alone will do.
        let image = self.state.image();
        effects.extend(image.map(|image| Effect::KeepSnapshot(Box::new(image))));
    }

    fn read_again(&mut self, state: SiteState, now: Instant, effects: &mut Vec<Effect>) -> Then {
        self.abandon_search(effects);
        self.state = state;
        self.state.doubt_what_was_restored(now);
        self.shown_alarms = None;
        self.plan_due = Some(Instant::FAR_PAST);
        self.roll_out_at = now + PAUSE_AFTER_FAILURE;
        self.show_summary(effects);
        Then::Wait
    }

    // --- Reaction -----------------------------------------------------------------------------------------------------------

    /// Does what is due: a new plan, or what the roll-out has to send for the plan in force.
    fn react(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Then {
        self.heed_overloads(now);
        self.heed_verdicts(now);
        let must_shed = std::mem::take(&mut self.must_shed);
        if self.mode() == Mode::Off {
            return Then::Wait;
        }
        if must_shed {
            return self.shed(now, effects);
        }
        if self.search.is_some() {
            return Then::Wait;
        }
        self.state.let_time_pass(now);
        let due = self.plan_due.is_some_and(|due| due <= now) || self.next_slot() <= now;
        if due {
            self.begin_search(now, effects);
            return Then::Wait;
        }
        let mut intake = Intake::default();
        if let Some(check) = self.state.look_at_check(now) {
            self.record(Event::EvseCheckWentOn(Box::new(check)), None, now, &mut intake);
        }
        self.roll_out(now, &mut intake);
        self.close(intake, Afterwards::Rest, now, effects)
    }

    /// Meters show more at a node than it bears, or no longer: somebody is lowered at once, or may be raised again by a plan.
    fn heed_overloads(&mut self, now: Instant) {
        let overloaded = self.state.overloaded(now);
        self.reacted_at = now;
        if overloaded == self.overloaded {
            return;
        }
        let before = std::mem::replace(&mut self.overloaded, overloaded);
        let is_new = |(place, sheds): &(usize, [bool; QUANTITIES])| {
            let known = before.iter().find(|(known, _)| known == place).map(|(_, sheds)| *sheds);
            known.is_none_or(|known| known.iter().zip(sheds).any(|(known, sheds)| *sheds && !known))
        };
        self.must_shed |= self.overloaded.iter().any(is_new);
        self.want_plan_by(now);
    }

    /// Somebody is not admitted any more, and stops or is lowered at once; or he is now, and may be raised by a plan.
    fn heed_verdicts(&mut self, now: Instant) {
        let turned_away = self.state.turned_away(now);
        if turned_away == self.turned_away {
            return;
        }
        // One that has only come gets nothing yet, and waits for a plan.
        self.must_shed |= turned_away
            .iter()
            .any(|(session, left)| self.state.is_planned_above(session, *left));
        self.turned_away = turned_away;
        self.want_plan_by(now);
    }

    // --- What others see ----------------------------------------------------------------------------------------------------

    fn show_summary(&mut self, effects: &mut Vec<Effect>) {
        let site = self.state.site();
        let summary = Summary {
            exists: site.is_some(),
            gateway: site.and_then(|site| site.spec().gateway.clone()),
            evses: site.map_or(0, |site| site.evses().count()),
        };
        if self.shown == summary {
            return;
        }
        if !summary.exists {
            // Whoever watches the plans learns here that there will be no more.
            effects.push(Effect::ShowPlan(None));
        }
        self.shown = summary.clone();
        effects.push(Effect::ShowSummary(summary));
    }

    /// Only seconds that are over are judged, so what led to an alarm is in the journal before anyone sees it.
    fn show_alarms(&mut self, effects: &mut Vec<Effect>) {
        let alarms = self.state.alarms();
        if self.shown_alarms.replace(alarms.version()) != Some(alarms.version()) {
            effects.push(Effect::ShowAlarms(Arc::new(alarms.list())));
        }
    }

    fn view(&self, now: Instant) -> Option<Arc<SiteView>> {
        let site = self.state.site()?.clone();
        Some(Arc::new(SiteView {
            site,
            stopped: self.state.stopped,
            sequence: self.state.sequence(),
            not_controlled_because: self.state.not_controlled_because(now),
            grid_limits: self.state.grid_limits.values().cloned().collect(),
            evse_checks: self.state.evse_checks.values().cloned().collect(),
            sessions: self
                .state
                .sessions()
                .map(|session| Session {
                    delivered: self.state.delivered(session),
                    ..session.clone()
                })
                .collect(),
        }))
    }
}

/// Whether it may leave the site less to charge with.
fn may_cut(event: &Event) -> bool {
    matches!(event, Event::GridLimitSet(_) | Event::SitePut(_))
}

/// Whether somebody wants charging to stop, whatever is planned.
fn stops_charging(event: &Event) -> bool {
    matches!(
        event,
        Event::SiteStopped { stopped: true }
            | Event::SessionOverridden {
                overridden: Override::Pause,
                ..
            }
    )
}

fn id_has_ended(id: &SessionId) -> Rejection {
    Rejection::one(
        "session.id",
        "is the id of a session that has ended",
        id,
        "an id that was never used at this site",
    )
}

#[cfg(test)]
mod tests;
