//! The back end of the CPO: says what is there and what is wanted, until it is told that this is recorded.
//!
//! Decides the workload: cars that come and go, drivers who change their minds, limits that come and go, a site that is described
//! anew. A call that is not answered is made again, under the same id, and must lead to the same receipt.

use super::dice::Dice;
use super::faults::Kind;
use super::process::Asker;
use super::truth::Bound;
use super::world::World;
use super::yard;
use crate::domain::conversion::Rate;
use crate::domain::event::{Event, Receipt, RequestStamp};
use crate::domain::ids::{GridLimitId, RequestId, SessionId};
use crate::domain::limits::{GridLimit, LimitSource, LimitWindow, NodeLimit};
use crate::domain::session::{Car, Override, SessionSpec, Stated, Tier};
use crate::domain::timeline::Timeline;
use crate::engine::Refusal;
use crate::engine::site_core::Question;
use crate::units::{DeciAmps, Instant, Seconds, WattSeconds, Watts};

/// Calls about the site wait for each other, as do those about one EVSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Site,
    Evse(usize),
}

struct Call {
    number: u64,
    lane: Lane,
    due: Instant,
    event: Event,
    /// What the site may draw once it is known.
    limits: Option<Vec<Timeline<Bound>>>,
    /// It was made, and may be known.
    made: bool,
    /// Whether the answer is being waited for.
    waiting: bool,
    /// What was answered, but did not arrive.
    lost_answer: Option<Receipt>,
}

pub struct Backend {
    dice: Dice,
    calls: Vec<Call>,
    made: u64,
    sessions: usize,
    /// What was last said of the session at each EVSE.
    said: Vec<Option<SessionSpec>>,
    overridden: Vec<bool>,
    stopped: bool,
}

impl Backend {
    pub fn new(seed: u64, evses: usize) -> Self {
        Self {
            dice: Dice::new(seed, 4),
            calls: Vec::new(),
            made: 0,
            sessions: 0,
            said: vec![None; evses],
            overridden: vec![false; evses],
            stopped: false,
        }
    }

    pub fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }
}

impl World {
    fn call(&mut self, lane: Lane, event: Event, limits: Option<Vec<Timeline<Bound>>>) {
        let backend = &mut self.backend;
        backend.made += 1;
        let delay = if self.faults.strikes(Kind::LateNews, &mut backend.dice) {
            backend.dice.roll(2, 40)
        } else {
            0
        };
        backend.calls.push(Call {
            number: backend.made,
            lane,
            due: self.now + Seconds::from_secs(delay),
            event,
            limits,
            made: false,
            waiting: false,
            lost_answer: None,
        });
    }

    // What is said.

    pub(super) fn describe_site(&mut self) {
        let event = Event::SitePut(Box::new(self.limits.spec.clone()));
        let limits = self.limits.bounds();
        self.call(Lane::Site, event, Some(limits));
    }

    pub(super) fn describe_with_other_limits(&mut self) {
        yard::limit_nodes(&mut self.limits.spec, &mut self.backend.dice);
        self.describe_site();
    }

    pub(super) fn change_gateway(&mut self) {
        self.limits.spec.gateway = Some(self.network.add_gateway());
        self.describe_site();
    }

    /// A limit on a node is set, set anew or removed.
    pub(super) fn change_limit(&mut self) {
        let dice = &mut self.backend.dice;
        let id = GridLimitId::parse(&format!("cut-{}", dice.roll(0, 2))).unwrap();
        if self.limits.cuts.contains_key(&id) && dice.happens(500) {
            self.limits.cuts.remove(&id);
            let limits = self.limits.bounds();
            return self.call(Lane::Site, Event::GridLimitRemoved(id), Some(limits));
        }
        let node = &self.limits.spec.nodes[dice.roll(0, 1) as usize];
        let built = node.limit.line.map_or(1_000, DeciAmps::deciamps);
        let ahead = if dice.happens(600) { 0 } else { dice.roll(1, 120) };
        let from = self.now + Seconds::from_secs(ahead);
        let until = dice
            .happens(500)
            .then(|| self.now + Seconds::from_secs(dice.roll(121, 300)));
        let limit = GridLimit {
            id: id.clone(),
            node: node.id.clone(),
            source: LimitSource::Dso,
            limit: NodeLimit {
                line: Some(DeciAmps::from_deciamps(dice.roll(0, built))),
                total: dice.happens(300).then(|| Watts::from_watts(dice.roll(0, built * 69))),
            },
            when: LimitWindow::Once { from, until },
        };
        self.limits.cuts.insert(id, limit.clone());
        let limits = self.limits.bounds();
        self.call(Lane::Site, Event::GridLimitSet(limit), Some(limits));
    }

    /// A car comes.
    pub(super) fn arrive(&mut self, number: usize) {
        let id = SessionId::parse(&format!("s{}", self.backend.sessions)).unwrap();
        self.backend.sessions += 1;
        self.stations[number].plug(id.clone(), self.now, &mut self.backend.dice);
        let station = &self.stations[number];
        let plugged = station.plugged.as_ref().expect("a car has just come");
        let dice = &mut self.backend.dice;
        // A lost store forgets what a session was promised, with the tails that keep the promise: see the roll-out's own tests.
        let promised = !self.faults.may(Kind::Amnesia) && dice.happens(200);
        let spec = SessionSpec {
            id,
            evse: station.id().clone(),
            connector: Some(station.connector_id().clone()),
            arrival: plugged.arrival,
            departure: Stated::Given(self.now + Seconds::from_mins(dice.roll(90, 180))),
            need: Stated::Given(WattSeconds::from_watt_hours(dice.roll(30_000, 90_000))),
            guaranteed: WattSeconds::from_watt_hours(if promised { dice.roll(1_000, 9_000) } else { 0 }),
            interruptible: self.faults.may(Kind::Amnesia) || !dice.happens(100),
            tier: Tier::from_caller(dice.roll(3, 6)).unwrap(),
            group: None,
            driver: None,
            car: Car {
                phases: plugged.phases_said.then_some(plugged.phases),
                maximum: dice.happens(500).then_some(plugged.takes),
                minimum: None,
                unit: None,
            },
            ocpi: None,
        };
        self.backend.said[number] = Some(spec.clone());
        self.backend.overridden[number] = false;
        self.call(Lane::Evse(number), Event::SessionStarted(Box::new(spec)), None);
    }

    /// The car leaves and another comes, perhaps before anyone says that the first has left.
    pub(super) fn swap(&mut self, number: usize) {
        let Some(left) = self.stations[number].unplug() else {
            return;
        };
        if self.backend.dice.happens(800) {
            let event = Event::SessionEnded {
                session: left.session,
                at: self.now,
                reason: "left".to_owned(),
            };
            self.call(Lane::Evse(number), event, None);
        }
        self.arrive(number);
    }

    /// Someone wants something else than before.
    pub(super) fn change_mind(&mut self) {
        let dice = &mut self.backend.dice;
        let number = dice.roll(0, self.stations.len() as i64 - 1) as usize;
        let Some(mut spec) = self.backend.said[number].clone() else {
            return;
        };
        let no_hand_back = self.faults.may(Kind::Amnesia);
        match dice.roll(0, 9) {
            0 => {
                self.backend.stopped = !self.backend.stopped;
                let stopped = self.backend.stopped;
                self.call(Lane::Site, Event::SiteStopped { stopped }, None);
            }
            1..=3 => {
                let overridden = match dice.roll(0, 3) {
                    0 => Override::Pause,
                    1 => Override::Boost,
                    2 if !no_hand_back => Override::HandBack,
                    _ => Override::None,
                };
                self.override_session(number, overridden);
            }
            _ => {
                spec.tier = Tier::from_caller(dice.roll(1, 9)).unwrap();
                spec.need = Stated::Given(WattSeconds::from_watt_hours(dice.roll(30_000, 90_000)));
                spec.car.maximum = dice.happens(300).then_some(self.rate_of(number));
                self.backend.said[number] = Some(spec.clone());
                self.call(Lane::Evse(number), Event::SessionUpdated(Box::new(spec)), None);
            }
        }
    }

    fn rate_of(&self, number: usize) -> Rate {
        let plugged = self.stations[number].plugged.as_ref();
        plugged.map_or(Rate::ZERO, |plugged| plugged.takes)
    }

    fn override_session(&mut self, number: usize, overridden: Override) {
        let Some(spec) = &self.backend.said[number] else { return };
        let session = spec.id.clone();
        self.backend.overridden[number] = overridden != Override::None;
        self.call(
            Lane::Evse(number),
            Event::SessionOverridden { session, overridden },
            None,
        );
    }

    /// Everyone gets what is planned again.
    pub(super) fn forgive(&mut self) {
        if self.backend.stopped {
            self.backend.stopped = false;
            self.call(Lane::Site, Event::SiteStopped { stopped: false }, None);
        }
        for number in 0..self.stations.len() {
            if self.backend.overridden[number] {
                self.override_session(number, Override::None);
            }
        }
        for call in &mut self.backend.calls {
            call.due = call.due.min(self.now);
        }
    }

    // How it is said.

    pub(super) fn make_calls(&mut self) {
        if !self.process.is_up() {
            return;
        }
        let described = self.is_described();
        let (mut lanes, mut now_made) = (Vec::new(), Vec::new());
        for (index, call) in self.backend.calls.iter().enumerate() {
            let first = !lanes.contains(&call.lane);
            lanes.push(call.lane);
            let makes_sense = described || matches!(call.event, Event::SitePut(_));
            if first && makes_sense && call.due <= self.now && !call.waiting {
                now_made.push(index);
            }
        }
        let mut asks = Vec::new();
        for index in now_made {
            let call = &mut self.backend.calls[index];
            if let Some(limits) = call.limits.as_ref().filter(|_| !call.made) {
                self.truth.loosen(limits);
            }
            call.made = true;
            call.waiting = true;
            let stamp = RequestStamp {
                id: RequestId::parse(&format!("call-{}", call.number)).unwrap(),
                body_hash: [call.number as u8; 32],
                by: None,
            };
            let question = Question::Submit {
                request: Some(stamp),
                event: call.event.clone(),
                id_was_used: Ok(false),
            };
            asks.push((Asker::Backend(call.number), question));
        }
        for (_, question) in &mut asks {
            if let Question::Submit { event, id_was_used, .. } = question {
                *id_was_used = self.id_was_used(event);
            }
        }
        if !asks.is_empty() {
            self.ask(asks);
        }
        // Whoever was not answered asks again.
        for call in self.backend.calls.iter_mut().filter(|call| call.waiting) {
            call.waiting = false;
            call.due = self.now + Seconds::from_secs(2);
        }
    }

    pub(super) fn answered(&mut self, number: u64, answer: Result<Receipt, Refusal>) {
        let Some(index) = self.backend.calls.iter().position(|call| call.number == number) else {
            return;
        };
        let call = &mut self.backend.calls[index];
        call.waiting = false;
        call.due = self.now + Seconds::from_secs(2);
        match answer {
            Err(Refusal::Unavailable(_)) => return,
            Err(Refusal::NotFound { .. }) if !matches!(call.lane, Lane::Site) => {}
            Err(error) => {
                let what = format!("{:?} was refused: {error}", self.backend.calls[index].event);
                return self.break_promise(what);
            }
            Ok(receipt) => {
                if let Some(before) = call.lost_answer.take().filter(|before| *before != receipt) {
                    return self.break_promise(format!("call {number} got {before:?}, and then {receipt:?}"));
                }
                if self.faults.strikes(Kind::UnansweredCall, &mut self.backend.dice) {
                    self.backend.calls[index].lost_answer = Some(receipt);
                    return;
                }
            }
        }
        let call = self.backend.calls.remove(index);
        if let Some(limits) = call.limits {
            let unavoidable = self.unavoidable();
            self.truth.tighten(limits, &unavoidable, self.now);
        }
        if let Event::SitePut(spec) = &call.event
            && self.network.is_not_of(spec.gateway.as_ref())
        {
            self.gateway_changed();
        }
        if self.backend.dice.happens(100) {
            self.keep_snapshot();
        }
    }

    pub(super) fn calls_are_lost(&mut self) {
        for call in &mut self.backend.calls {
            call.waiting = false;
        }
    }

    /// The service has lost everything: it is told again what is there.
    pub(super) fn all_is_forgotten(&mut self) {
        self.backend.calls.clear();
        // It knows the site first, and then one limit more with each call.
        let mut known = self.limits.clone();
        let cuts = std::mem::take(&mut known.cuts);
        self.truth.loosen(&known.bounds());
        let site = Event::SitePut(Box::new(known.spec.clone()));
        self.call(Lane::Site, site, Some(known.bounds()));
        for (id, cut) in cuts {
            known.cuts.insert(id, cut.clone());
            self.call(Lane::Site, Event::GridLimitSet(cut), Some(known.bounds()));
        }
        if self.backend.stopped {
            self.call(Lane::Site, Event::SiteStopped { stopped: true }, None);
        }
        for number in 0..self.stations.len() {
            self.backend.overridden[number] = false;
            if let Some(spec) = self.backend.said[number].clone() {
                self.call(Lane::Evse(number), Event::SessionStarted(Box::new(spec)), None);
            }
        }
    }
}
