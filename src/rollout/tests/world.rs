//! A small site with stations, gateways, a network and an operator, all of them faulty, in one-second ticks.
//!
//! Stations do what charging stations do: follow the last profile that they took for the running session, in some worlds for any
//! session, by a clock that is wrong, with a car that is slow; fall back to their default when it ends, when they restart, when there is
//! none. The network loses, delays, reorders. A transmission reaches a station at most once unless the gateway fences; answers may come any number of times.

use super::build::*;
use crate::domain::conversion::{Load, Phase, PhasePair, Rate, Wiring};
use crate::domain::event::Event;
use crate::domain::ids::{NodeId, SessionId};
use crate::domain::limits::{Capacity, FixedLimits, NodeLimit};
use crate::domain::profile::*;
use crate::domain::site::{Connector, Node, Site};
use crate::domain::timeline::Timeline;
use crate::rollout::invariants;
use crate::rollout::may_follow::WrongRule;
use crate::rollout::{Decision, Ledger, Room, TailWish, Target, Wish, step};
use crate::units::{DeciAmps, Instant, Seconds, WattSeconds, Watts};

/// Xorshift: the same seed makes the same world on any machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..4 {
            dice.next();
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// From `least` to `most`, both included.
    pub fn roll(&mut self, least: i64, most: i64) -> i64 {
        least + (self.next() % (most - least + 1) as u64) as i64
    }

    pub fn happens(&mut self, permille: i64) -> bool {
        self.roll(0, 999) < permille
    }
}

/// How often each thing went wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub lost: u64,
    pub late: u64,
    pub doubled: u64,
    pub refused: u64,
    pub restarts: u64,
    pub crashes: u64,
    pub amnesias: u64,
    pub cuts: u64,
    pub swaps: u64,
    pub breaks: u64,
    pub handbacks: u64,
    /// Profiles for a car that has left, taken for the next one.
    pub mistaken: u64,
    /// Accepted without effect.
    pub ignored: u64,
}

impl Faults {
    pub fn named(&self) -> [(&'static str, u64); 13] {
        [
            ("lost", self.lost),
            ("late", self.late),
            ("doubled", self.doubled),
            ("refused", self.refused),
            ("restarts", self.restarts),
            ("crashes", self.crashes),
            ("amnesias", self.amnesias),
            ("cuts", self.cuts),
            ("swaps", self.swaps),
            ("breaks", self.breaks),
            ("handbacks", self.handbacks),
            ("mistaken", self.mistaken),
            ("ignored", self.ignored),
        ]
    }

    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.late += other.late;
        self.doubled += other.doubled;
        self.refused += other.refused;
        self.restarts += other.restarts;
        self.crashes += other.crashes;
        self.amnesias += other.amnesias;
        self.cuts += other.cuts;
        self.swaps += other.swaps;
        self.breaks += other.breaks;
        self.handbacks += other.handbacks;
        self.mistaken += other.mistaken;
        self.ignored += other.ignored;
    }
}

/// How likely each thing is to go wrong, per message or per second, in thousandths.
#[derive(Clone, Copy, Default)]
struct Odds {
    loss: i64,
    lateness: i64,
    doubling: i64,
    refusal: i64,
    restart: i64,
    crash: i64,
    amnesia: i64,
    cut: i64,
    swap: i64,
    link_break: i64,
    handback: i64,
    /// Another appetite of a car.
    appetite: i64,
    /// An acceptance without effect, at a station with a meter. Where cars take less than they may, no meter shows it.
    ignoring: i64,
}

/// The truth about one EVSE.
struct Station {
    /// How far its clock is ahead, in seconds.
    clock: i64,
    /// How long its car goes on at the old rate.
    lag: i64,
    running: SessionId,
    follows: Option<(Revision, Instruction)>,
    /// For gateways that fence: the highest revision applied.
    fence: Revision,
    /// On how many phases its car charges, and whether anyone says so.
    car: (u8, bool),
    /// Its car takes no more than this, for now.
    appetite: Rate,
    /// Its meter counts energy and nothing else.
    counts_energy_only: bool,
    /// What it allowed in each of the last seconds to a car of so many phases, newest last.
    recent: Vec<(Rate, u8)>,
}

impl Station {
    fn said_phases(&self) -> Option<u8> {
        let (phases, said) = self.car;
        said.then_some(phases)
    }
}

enum Message {
    Command(ProfileCommand),
    Answer {
        evse: usize,
        revision: Revision,
        attempt: Attempt,
        answer: Answer,
    },
    SessionEnded {
        evse: usize,
        session: SessionId,
    },
    SessionStarted {
        evse: usize,
        session: SessionId,
    },
}

/// A limit in each of the three lines, in total, of what may flow in a line alone and of two lines against each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bound {
    line: [i64; 3],
    total: i64,
    unbalance: [i64; 3],
    difference: [i64; 3],
}

impl Bound {
    fn of_load(load: &Load) -> Self {
        Self {
            line: load.line_currents().map(DeciAmps::deciamps),
            total: load.total.watts(),
            unbalance: load.uneven.map(DeciAmps::deciamps),
            difference: load.line_differences().map(DeciAmps::deciamps),
        }
    }

    fn of_capacity(capacity: &Capacity) -> Self {
        Self {
            line: capacity.line.map(|line| line.map_or(i64::MAX, DeciAmps::deciamps)),
            total: capacity.total.map_or(i64::MAX, Watts::watts),
            unbalance: (capacity.unbalance).map_or([i64::MAX; 3], |limits| limits.map(DeciAmps::deciamps)),
            difference: (capacity.difference).map_or([i64::MAX; 3], |limits| limits.map(DeciAmps::deciamps)),
        }
    }

    fn join(self, other: Self, choose: fn(i64, i64) -> i64) -> Self {
        let each = |one: [i64; 3], other: [i64; 3]| [0, 1, 2].map(|index| choose(one[index], other[index]));
        Self {
            line: each(self.line, other.line),
            total: choose(self.total, other.total),
            unbalance: each(self.unbalance, other.unbalance),
            difference: each(self.difference, other.difference),
        }
    }
}

pub struct World {
    pub site: Site,
    pub ledger: Ledger,
    pub faults: Faults,
    /// First time that more was drawn than could be excused.
    pub overload: Option<String>,
    pub sent: [u64; 3],
    pub energy: i64,
    dice: Dice,
    odds: Odds,
    pub now: i64,
    stations: Vec<Station>,
    /// What the service believes to be running.
    known: Vec<Option<SessionId>>,
    network: Vec<(i64, Message)>,
    told: Vec<Told>,
    wrong: Option<WrongRule>,
    fences: bool,
    /// Stations follow what was meant for a car that has left. Nobody says there what cars are, as the next may be another.
    takes_any_session: bool,
    link_up: bool,
    available: Vec<Timeline<Capacity>>,
    /// What may be drawn at each place: what is available, or what could no longer be taken back when a cut came.
    excused: Vec<Timeline<Bound>>,
    plan: Vec<Wish>,
    tails: bool,
    wake_at: i64,
    sessions: usize,
    slot: i64,
}

/// What the ledger was told, for telling it again after a crash.
#[derive(Clone)]
enum Told {
    Event(Event, Instant),
    SessionStarted(usize, SessionId, Option<u8>, Instant),
    SessionEnded(usize, SessionId, Instant),
}

impl World {
    pub fn new(seed: u64, wrong: Option<WrongRule>) -> Self {
        let mut dice = Dice::new(seed);
        let site = random_site(&mut dice);
        let odds = Odds {
            loss: dice.roll(0, 300),
            lateness: dice.roll(0, 220),
            doubling: dice.roll(0, 200),
            refusal: if dice.happens(300) { 300 } else { dice.roll(0, 100) },
            restart: dice.roll(0, 4),
            crash: dice.roll(0, 6),
            amnesia: if dice.happens(300) { 2 } else { 0 },
            cut: dice.roll(0, 10),
            swap: dice.roll(0, 6),
            link_break: if dice.happens(500) { 8 } else { 0 },
            handback: if dice.happens(300) { 100 } else { 0 },
            appetite: if dice.happens(500) { 20 } else { 0 },
            ignoring: if dice.happens(500) { 300 } else { 0 },
        };
        let skew = site.spec().clock_skew.secs();
        let count = site.evses().count();
        let takes_any_session = dice.happens(300);
        let stations = (0..count)
            .map(|number| {
                let clock = dice.roll(-skew, skew);
                Station {
                    clock,
                    lag: dice.roll(0, skew - clock.abs()),
                    running: session_id(number),
                    follows: None,
                    fence: Revision::NONE,
                    car: random_car(&mut dice, takes_any_session),
                    appetite: Rate::new(320),
                    counts_energy_only: dice.happens(200),
                    recent: Vec::new(),
                }
            })
            .collect();
        let mut world = Self {
            ledger: Ledger::new(&site),
            faults: Faults::default(),
            overload: None,
            sent: [0; 3],
            energy: 0,
            odds,
            now: 0,
            stations,
            known: (0..count).map(|number| Some(session_id(number))).collect(),
            network: Vec::new(),
            told: Vec::new(),
            wrong,
            fences: dice.happens(500),
            takes_any_session,
            link_up: true,
            available: Vec::new(),
            excused: Vec::new(),
            plan: Vec::new(),
            // A lost store forgets tails too: after one lease it counts defaults. So worlds that lose it have none.
            tails: odds.amnesia == 0 && dice.happens(800),
            wake_at: 0,
            sessions: count,
            slot: dice.roll(15, 80),
            dice,
            site,
        };
        if odds.amnesia > 0 {
            world.odds.handback = 0;
        }
        if odds.appetite > 0 {
            world.odds.ignoring = 0;
        }
        world.available = world.random_room();
        world.excused = world
            .available
            .iter()
            .map(|room| room.map(Bound::of_capacity))
            .collect();
        world.follow_rule();
        let gateway = world.site.spec().gateway.clone().unwrap();
        world.tell(Told::Event(
            Event::GatewayConnected {
                gateway,
                fences: world.fences,
            },
            at(0),
        ));
        for number in 0..count {
            let phases = world.stations[number].said_phases();
            world.tell(Told::SessionStarted(number, session_id(number), phases, at(0)));
        }
        world
    }

    /// Runs for `seconds`, or until more is drawn than can be excused.
    pub fn run(&mut self, seconds: i64) {
        let end = self.now + seconds;
        while self.now < end && self.overload.is_none() {
            self.tick();
        }
    }

    /// Nothing goes wrong from here on, and what was under way arrives.
    pub fn end_faults(&mut self) {
        self.odds = Odds::default();
    }

    fn tick(&mut self) {
        let mut something = self.deliver();
        something |= self.accidents();
        if self.now % self.slot == 0 {
            self.plan = self.random_plan();
            something = true;
        }
        something |= self.meter();
        if something || self.now >= self.wake_at {
            self.roll_out();
        }
        self.look();
        self.now += 1;
    }

    fn follow_rule(&mut self) {
        if let Some(wrong) = self.wrong {
            self.ledger.follow_wrong_rule(wrong);
        }
    }

    fn tell(&mut self, told: Told) {
        tell(&mut self.ledger, &told);
        self.told.push(told);
    }

    // The service.

    pub fn roll_out(&mut self) {
        self.ledger.forget_expired(at(self.now));
        self.sums_are_right();
        let targets = self.targets();
        let decision = self.decide(&targets);
        for command in decision.commands {
            self.sent[match command.cause {
                Cause::Change => 0,
                Cause::Renewal => 1,
                Cause::Retry => 2,
            }] += 1;
            self.tell(Told::Event(Event::CommandsIssued(vec![command.clone()]), at(self.now)));
            let evse = command.evse.clone();
            let open = self.ledger.record(&evse).unwrap().entries().len();
            invariants::inv_open_entries_are_bounded(open).unwrap();
            if self.link_up {
                self.transmit(command);
            }
        }
        self.wake_at = decision.wake_at.unix_secs() - at(0).unix_secs();
    }

    /// What is kept up change by change is what the records add up to.
    fn sums_are_right(&self) {
        let now = at(self.now);
        for (place, sum) in self.ledger.worst_cases(now).iter().enumerate() {
            let records = self.ledger.records().iter();
            let below = records.filter(|record| self.site.path_to_root(record.place).any(|above| above == place));
            let nothing = Timeline::constant(Load::ZERO);
            let all = below.fold(nothing, |all, record| all.zip(record.worst(), |all, load| *all + *load));
            assert_eq!(*sum, all.since(now), "place {place} at {now}");
        }
    }

    fn decide(&self, targets: &[Target]) -> Decision {
        let room = Room {
            site: &self.site,
            available: &self.available,
        };
        step(&self.ledger, &room, at(self.now), targets)
    }

    fn targets(&self) -> Vec<Target> {
        let known = self.known.iter().enumerate();
        known
            .filter_map(|(number, session)| {
                Some(Target {
                    evse: evse_id(number),
                    session: session.clone()?,
                    connector: connector_id(),
                    wish: self.plan.get(number)?.clone(),
                })
            })
            .collect()
    }

    fn random_plan(&mut self) -> Vec<Wish> {
        (0..self.stations.len())
            .map(|_| {
                if self.dice.happens(self.odds.handback) {
                    self.faults.handbacks += 1;
                    return Wish::HandBack;
                }
                let rates = (0..8).map(|index| {
                    let rate = if self.dice.happens(300) {
                        0
                    } else {
                        self.dice.roll(60, 320)
                    };
                    (at(self.now + index * self.slot), Rate::new(rate))
                });
                let rates = Timeline::from_points(rates.collect::<Vec<_>>());
                let tail = if self.tails && self.dice.happens(850) {
                    TailWish::Minimum
                } else {
                    TailWish::Zero
                };
                Wish::Follow { rates, tail }
            })
            .collect()
    }

    /// Everyone gets the same, and it fits; from here on the plan does not change.
    pub fn settle_on_equal_shares(&mut self, rate: i64) {
        let wish = Wish::Follow {
            rates: Timeline::constant(Rate::new(rate)),
            tail: TailWish::Zero,
        };
        self.plan = vec![wish; self.stations.len()];
        self.slot = i64::MAX;
    }

    /// What each controllable station allows now.
    pub fn allowed_rates(&self) -> Vec<Rate> {
        let controllable = self.site.evses().map(|(_, evse)| evse.controllable);
        let rates = (0..self.stations.len()).map(|number| self.allows(number));
        rates
            .zip(controllable)
            .filter_map(|(rate, controllable)| controllable.then_some(rate))
            .collect()
    }

    // The network and the stations.

    fn transmit(&mut self, command: ProfileCommand) {
        let copies = if self.fences && self.dice.happens(self.odds.doubling) {
            2
        } else {
            1
        };
        self.faults.doubled += copies - 1;
        for _ in 0..copies {
            self.send(Message::Command(command.clone()));
        }
    }

    fn send(&mut self, message: Message) {
        if self.dice.happens(self.odds.loss) {
            self.faults.lost += 1;
            return;
        }
        let mut delay = self.dice.roll(0, 3);
        if self.dice.happens(self.odds.lateness) {
            self.faults.late += 1;
            delay += self.dice.roll(10, 150);
        }
        self.network.push((self.now + delay, message));
    }

    fn deliver(&mut self) -> bool {
        let mut arrived = Vec::new();
        let mut index = 0;
        while index < self.network.len() {
            if self.network[index].0 <= self.now {
                arrived.push(self.network.swap_remove(index).1);
            } else {
                index += 1;
            }
        }
        let something = !arrived.is_empty();
        // Gateways answer a repetition as they answered first, so the world does not double what is refused.
        let mut refused: Vec<ProfileCommand> = Vec::new();
        let same = |one: &ProfileCommand, other: &ProfileCommand| {
            one.evse == other.evse && one.revision == other.revision && one.attempt == other.attempt
        };
        for message in arrived {
            match message {
                Message::Command(command) if refused.iter().any(|other| same(other, &command)) => {}
                Message::Command(command) => {
                    if !self.arrive(command.clone()) {
                        let again =
                            |message: &Message| matches!(message, Message::Command(other) if same(other, &command));
                        self.network.retain(|(_, message)| !again(message));
                        refused.push(command);
                    }
                }
                Message::Answer {
                    evse,
                    revision,
                    attempt,
                    answer,
                } => self.tell(Told::Event(
                    Event::CommandAnswered {
                        evse: evse_id(evse),
                        revision,
                        attempt,
                        answer,
                    },
                    at(self.now),
                )),
                Message::SessionEnded { evse, session } => {
                    if self.known[evse].as_ref() == Some(&session) {
                        self.known[evse] = None;
                    }
                    self.tell(Told::SessionEnded(evse, session, at(self.now)));
                }
                // News of a session that has already ended again is too late for anyone to act on.
                Message::SessionStarted { evse, session } if self.stations[evse].running != session => {}
                Message::SessionStarted { evse, session } => {
                    self.known[evse] = Some(session.clone());
                    let phases = self.stations[evse].said_phases();
                    self.tell(Told::SessionStarted(evse, session, phases, at(self.now)));
                }
            }
        }
        something
    }

    /// True if the station says that it follows.
    fn arrive(&mut self, command: ProfileCommand) -> bool {
        let number = (0..self.stations.len())
            .find(|number| evse_id(*number) == command.evse)
            .unwrap();
        let refuses = self.dice.happens(self.odds.refusal);
        let takes_any_session = self.takes_any_session;
        let ignores = self.site.evse(&command.evse).unwrap().metered && self.dice.happens(self.odds.ignoring);
        let station = &mut self.stations[number];
        self.faults.mistaken += u64::from(takes_any_session && command.session != station.running);
        let again = station
            .follows
            .as_ref()
            .is_some_and(|(revision, _)| *revision == command.revision);
        let stale = self.fences && command.revision <= station.fence;
        let answer = if again && self.fences {
            Answer::Accepted
        } else if refuses || stale || (command.session != station.running && !takes_any_session) {
            self.faults.refused += u64::from(refuses);
            rejected()
        } else {
            station.fence = station.fence.max(command.revision);
            if ignores {
                self.faults.ignored += 1;
            } else {
                station.follows = Some((command.revision, command.instruction.clone()));
            }
            Answer::Accepted
        };
        let reply = |answer| Message::Answer {
            evse: number,
            revision: command.revision,
            attempt: command.attempt,
            answer,
        };
        if self.dice.happens(300) {
            self.send(reply(Answer::Forwarded));
        }
        self.send(reply(answer.clone()));
        if self.dice.happens(self.odds.doubling) {
            self.faults.doubled += 1;
            self.send(reply(answer.clone()));
        }
        answer == Answer::Accepted
    }

    fn accidents(&mut self) -> bool {
        let mut something = false;
        for number in 0..self.stations.len() {
            if self.dice.happens(self.odds.restart) {
                self.faults.restarts += 1;
                self.stations[number].follows = None;
                if self.dice.happens(500) {
                    let report = Event::ActiveProfileReported {
                        evse: evse_id(number),
                        revision: None,
                    };
                    self.tell(Told::Event(report, at(self.now)));
                    something = true;
                }
            }
            if self.dice.happens(self.odds.swap) {
                self.swap_car(number);
            }
            if self.dice.happens(self.odds.appetite) {
                self.stations[number].appetite = Rate::new(self.dice.roll(0, 320));
            }
        }
        if self.dice.happens(self.odds.cut) {
            self.change_room();
            something = true;
        }
        if self.dice.happens(self.odds.link_break) {
            self.link_changes();
            something = true;
        }
        if self.dice.happens(self.odds.crash) {
            self.crash();
        }
        if self.dice.happens(self.odds.amnesia) {
            self.faults.amnesias += 1;
            self.odds.amnesia = 0;
            self.forget_everything();
        }
        something
    }

    fn swap_car(&mut self, number: usize) {
        self.faults.swaps += 1;
        let next = session_id(self.sessions);
        self.sessions += 1;
        let car = random_car(&mut self.dice, self.takes_any_session);
        let station = &mut self.stations[number];
        let ended = std::mem::replace(&mut station.running, next.clone());
        station.follows = None;
        station.car = car;
        let (first, second) = (self.dice.roll(0, 20), self.dice.roll(21, 40));
        self.network.push((
            self.now + first,
            Message::SessionEnded {
                evse: number,
                session: ended,
            },
        ));
        self.network.push((
            self.now + second,
            Message::SessionStarted {
                evse: number,
                session: next,
            },
        ));
    }

    fn link_changes(&mut self) {
        self.faults.breaks += 1;
        self.link_up = !self.link_up;
        let gateway = self.site.spec().gateway.clone().unwrap();
        let event = if self.link_up {
            Event::GatewayConnected {
                gateway,
                fences: self.fences,
            }
        } else {
            Event::GatewayDisconnected { gateway }
        };
        self.tell(Told::Event(event, at(self.now)));
    }

    /// More than everyone together can draw.
    pub fn give_room_for_all(&mut self) {
        let most = Capacity {
            line: [Some(DeciAmps::from_deciamps(10_000)); 3],
            ..Capacity::UNLIMITED
        };
        self.available = vec![Timeline::constant(most); self.available.len()];
        self.excused = self.available.iter().map(|room| room.map(Bound::of_capacity)).collect();
        self.wake_at = self.now;
    }

    pub fn link_is_up(&mut self) {
        if !self.link_up {
            self.link_changes();
        }
    }

    /// The process dies and starts again from what it had recorded, whole or cut short.
    fn crash(&mut self) {
        self.faults.crashes += 1;
        if self.dice.happens(500)
            && let Some(history) = self.ledger.history()
        {
            let told = history.into_iter().map(|(at, event)| Told::Event(event, at)).collect();
            let sessions = self.known.iter().enumerate();
            let started = sessions.filter_map(|(number, session)| {
                let session = session.clone()?;
                let phases = self.ledger.record(&evse_id(number))?.car_phases(&session);
                Some(Told::SessionStarted(number, session, phases, at(self.now)))
            });
            self.told = told;
            self.told.extend(started.collect::<Vec<_>>());
        }
        let start = self
            .told
            .iter()
            .position(|told| matches!(told, Told::Event(Event::SiteDeleted, _)));
        let mut before = std::mem::replace(&mut self.ledger, Ledger::new(&self.site));
        before.forget_expired(at(self.now));
        self.ledger = match start.map(|index| &self.told[index]) {
            Some(Told::Event(_, at)) => Ledger::unknown(&self.site, *at),
            _ => Ledger::new(&self.site),
        };
        self.follow_rule();
        for told in &self.told[start.map_or(0, |index| index + 1)..] {
            tell(&mut self.ledger, told);
        }
        if self.wrong.is_none() {
            let lax = invariants::inv_1_nothing_is_raised_too_far(
                &self.ledger.worst_cases(at(self.now)),
                &before.worst_cases(at(self.now)),
                &vec![Timeline::constant(amperes(0)); self.available.len()],
                at(self.now),
            );
            lax.expect("what is made again is never laxer than it was");
        }
        self.wake_at = self.now;
    }

    /// The store is lost with all it held. Marked in the new journal by an event that this world has no other use for.
    fn forget_everything(&mut self) {
        self.told = vec![Told::Event(Event::SiteDeleted, at(self.now))];
        self.ledger = Ledger::unknown(&self.site, at(self.now));
        self.follow_rule();
        for number in 0..self.stations.len() {
            let evse = evse_id(number);
            let applied = self.stations[number].fence;
            let under_way = self.network.iter().filter_map(|(_, message)| match message {
                Message::Command(command) if command.evse == evse => Some(command.revision),
                _ => None,
            });
            let mut hello: Vec<Event> = under_way
                .map(|revision| Event::CommandOnItsWay {
                    evse: evse.clone(),
                    revision,
                })
                .collect();
            if applied > Revision::NONE {
                let revision = Some(applied);
                hello.push(Event::ActiveProfileReported { evse, revision });
            }
            for event in hello {
                self.tell(Told::Event(event, at(self.now)));
            }
        }
        let gateway = self.site.spec().gateway.clone().unwrap();
        self.link_up = true;
        self.tell(Told::Event(
            Event::GatewayConnected {
                gateway,
                fences: self.fences,
            },
            at(self.now),
        ));
        self.wake_at = self.now;
    }

    /// Every place gets a limit above what the defaults below it take; in some worlds it changes by itself later on.
    fn random_room(&mut self) -> Vec<Timeline<Capacity>> {
        let defaults = Ledger::new(&self.site).worst_cases(at(self.now));
        let mut room = Vec::new();
        for (place, default) in defaults.iter().enumerate() {
            let least = Bound::of_load(default.last());
            let below = self
                .site
                .evses()
                .filter(|(at, _)| self.site.path_to_root(*at).any(|above| above == place))
                .count() as i64;
            let capacity = |dice: &mut Dice| Capacity {
                line: least
                    .line
                    .map(|line| Some(DeciAmps::from_deciamps(line + dice.roll(0, 200 * below)))),
                total: dice
                    .happens(500)
                    .then(|| Watts::from_watts(least.total + dice.roll(0, 6_000 * below))),
                unbalance: dice.happens(400).then(|| {
                    least
                        .unbalance
                        .map(|line| DeciAmps::from_deciamps(line + dice.roll(0, 150 * below)))
                }),
                difference: dice.happens(400).then(|| {
                    least
                        .difference
                        .map(|pair| DeciAmps::from_deciamps(pair + dice.roll(0, 300 * below)))
                }),
            };
            let mut points = vec![(at(self.now), capacity(&mut self.dice))];
            if self.dice.happens(400) {
                points.push((at(self.now + self.dice.roll(20, 200)), capacity(&mut self.dice)));
            }
            room.push(Timeline::from_points(points));
        }
        room
    }

    /// Something outside changes what is available, unannounced. What nothing could take back when it came is excused until it runs out.
    fn change_room(&mut self) {
        self.faults.cuts += 1;
        self.available = self.random_room();
        let unavoidable = self.unavoidable();
        for (place, excused) in self.excused.iter_mut().enumerate() {
            let kept = excused.zip(&unavoidable[place], |excused, load| {
                excused.join(Bound::of_load(load), i64::min)
            });
            let kept = kept.since(at(self.now));
            *excused = kept.zip(&self.available[place], |kept, room| {
                kept.join(Bound::of_capacity(room), i64::max)
            });
        }
    }

    fn unavoidable(&self) -> Vec<Timeline<Load>> {
        let mut sums = vec![Timeline::constant(Load::ZERO); self.site.places().len()];
        for (number, (place, _)) in self.site.evses().enumerate() {
            let load = self.unavoidable_at(number);
            for above in self.site.path_to_root(place) {
                sums[above] = sums[above].zip(&load, |sum, load| *sum + *load);
            }
        }
        sums
    }

    /// What it draws by itself, drew just now, follows, what is on its way to it, and what it was told since the newest revision that the
    /// service has heard it took: it may be told as much again.
    fn unavoidable_at(&self, number: usize) -> Timeline<Load> {
        let (_, evse) = self.site.evses().nth(number).unwrap();
        let connector = &evse.connectors[0];
        let skew = self.site.spec().clock_skew;
        let settled = at(self.now) + skew + Seconds::from_secs(1);
        let drawn = self.load_of(number, connector).max(evse.default_load());
        let sum = Timeline::from_points([(Instant::FAR_PAST, drawn), (settled, evse.default_load())]);
        let events = self.told.iter().filter_map(|told| match told {
            Told::Event(event, _) => Some(event),
            _ => None,
        });
        let heard = events.clone().filter_map(|event| match event {
            Event::CommandAnswered {
                evse: of,
                revision,
                answer: Answer::Accepted,
                ..
            } => (*of == evse.id).then_some(*revision),
            Event::ActiveProfileReported { evse: of, revision } if *of == evse.id => *revision,
            _ => None,
        });
        let heard = heard.max().unwrap_or(Revision::NONE);
        let issued = events.filter_map(|event| match event {
            Event::CommandsIssued(commands) => Some(commands.iter()),
            _ => None,
        });
        let told = issued
            .flatten()
            .filter(|command| command.evse == evse.id && command.revision >= heard)
            .map(|command| &command.instruction);
        let on_its_way = self.network.iter().filter_map(|(_, message)| match message {
            Message::Command(command) if command.evse == evse.id => Some(&command.instruction),
            _ => None,
        });
        let follows = self.stations[number].follows.iter().map(|(_, instruction)| instruction);
        told.chain(on_its_way).chain(follows).fold(sum, |sum, instruction| {
            let load = match instruction {
                Instruction::Clear => Timeline::constant(evse.maximum_load()),
                Instruction::Set(profile) => {
                    let rates = profile.limits().widen(skew);
                    rates.map(|rate| connector.conversion().load(*rate))
                }
            };
            sum.zip(&load, |a, b| a.max(*b))
        })
    }

    // What is drawn.

    fn allows(&self, number: usize) -> Rate {
        let (_, evse) = self.site.evses().nth(number).unwrap();
        let connector = &evse.connectors[0];
        let station = &self.stations[number];
        if !evse.controllable {
            return connector.maximum;
        }
        match &station.follows {
            None => connector.default_or_maximum(),
            Some((_, Instruction::Clear)) => connector.maximum,
            Some((_, Instruction::Set(profile))) => *profile.limits().at(at(self.now + station.clock)),
        }
    }

    fn meter(&mut self) -> bool {
        let mut something = false;
        for number in 0..self.stations.len() {
            let allowed = self.allows(number);
            let station = &mut self.stations[number];
            station.recent.push((allowed, station.car.0));
            let keep = station.lag as usize + 1;
            let excess = station.recent.len().saturating_sub(keep);
            station.recent.drain(..excess);
            if self.now % 5 != number as i64 % 5 || !self.site.evse(&evse_id(number)).unwrap().metered {
                continue;
            }
            let drawn = self.drawn(number);
            let mut sample = drawing(number, self.now, drawn.value());
            if self.stations[number].counts_energy_only {
                sample.currents = None;
                sample.session_energy = Some(WattSeconds::from_watt_hours(self.now));
            }
            self.tell(Told::Event(Event::Metered(vec![sample]), at(self.now)));
            something = true;
        }
        something
    }

    /// The car takes all that it may and likes, and goes on for a while when it may less.
    fn drawn(&self, number: usize) -> Rate {
        let station = &self.stations[number];
        let most = station.recent.iter().map(|(rate, _)| *rate).max().unwrap();
        most.min(station.appetite)
    }

    /// What its car, or the one before that has not quite stopped, loads the supply with.
    fn load_of(&self, number: usize, connector: &Connector) -> Load {
        let of = |(rate, phases): &(Rate, u8)| connector.conversion().for_car(Some(*phases)).load(*rate);
        self.stations[number].recent.iter().map(of).fold(Load::ZERO, Load::max)
    }

    fn look(&mut self) {
        let mut loads = vec![Load::ZERO; self.site.places().len()];
        for (number, (place, evse)) in self.site.evses().enumerate() {
            let load = self.load_of(number, &evse.connectors[0]);
            self.energy += load.total.watts();
            for above in self.site.path_to_root(place) {
                loads[above] += load;
            }
        }
        for (place, load) in loads.iter().enumerate() {
            let excused = self.excused[place].at(at(self.now));
            let drawn = Bound::of_load(load);
            if drawn.join(*excused, i64::max) != *excused {
                self.overload = Some(format!("second {}, place {place}: {drawn:?} of {excused:?}", self.now));
            }
        }
    }
}

fn tell(ledger: &mut Ledger, told: &Told) {
    match told {
        Told::SessionStarted(number, session, phases, at) => {
            ledger.session_started(&evse_id(*number), session, *at);
            ledger.car_described(&evse_id(*number), session, *phases, *at);
        }
        Told::SessionEnded(number, session, at) => ledger.session_ended(&evse_id(*number), session, *at),
        Told::Event(event, at) => ledger.tell(event, *at),
    }
}

/// Half of them use three phases, and of three in four it is said how many they use.
fn random_car(dice: &mut Dice, takes_any_session: bool) -> (u8, bool) {
    let phases = if dice.happens(500) { 3 } else { dice.roll(1, 2) as u8 };
    (phases, dice.happens(750) && !takes_any_session)
}

fn random_site(dice: &mut Dice) -> Site {
    let wirings = [
        Wiring::Star(vec![Phase::L1]),
        Wiring::Star(vec![Phase::L2, Phase::L3, Phase::L1]),
        Wiring::StarUnknown { phases: 1 },
        Wiring::Delta(PhasePair::L1L2),
        Wiring::Delta(PhasePair::L2L3),
    ];
    let count = dice.roll(2, 5) as usize;
    let delta_too = dice.happens(300);
    let evses = (0..count)
        .map(|number| {
            let mut evse = evse(number);
            let connector = &mut evse.connectors[0];
            connector.wiring = wirings[dice.roll(0, if delta_too { 4 } else { 2 }) as usize].clone();
            connector.default = match dice.roll(0, 9) {
                0 => None,
                1..=3 => Some(Rate::new(60)),
                _ => Some(Rate::ZERO),
            };
            connector.max_profile_periods = dice.roll(3, 12) as u16;
            evse.metered = dice.happens(500);
            evse.controllable = !dice.happens(50);
            evse
        })
        .collect();
    let mut spec = spec(evses);
    spec.lease = Seconds::from_secs(dice.roll(60, 150));
    spec.clock_skew = Seconds::from_secs(dice.roll(0, 6));
    spec.trust_unmetered = dice.happens(800);
    spec.nodes.push(Node {
        id: NodeId::parse("feeder").unwrap(),
        parent: Some(NodeId::parse("grid").unwrap()),
        limit: NodeLimit::default(),
        fixed: FixedLimits::default(),
        base_load_line: DeciAmps::ZERO,
        base_load_total: Watts::ZERO,
        meter: Default::default(),
    });
    for station in &mut spec.stations {
        if dice.happens(600) {
            station.node = NodeId::parse("feeder").unwrap();
        }
    }
    site(spec)
}
