//! Every ledger that occurs in a small world, and what becomes of each when it is told something.
//!
//! Millions of worlds share some thousands of ledgers. So a world holds the numbers of its ledgers; what the real [`Ledger`] and [`step`]
//! make of them is worked out once, where it first occurs, and kept. Two ledgers are one where they behave the same from now on.
//!
//! What is told of one EVSE changes nothing of what is known of another. So each EVSE has a ledger of its own, of the whole site but told
//! nothing of the others; where commands are decided on and judged, these are joined to one.

use super::super::build::*;
use super::case::{Case, EVSES, Level, tick};
use crate::domain::event::Event;
use crate::domain::ids::{EvseId, SessionId};
use crate::domain::limits::Capacity;
use crate::domain::profile::{Answer, ProfileCommand, Revision};
use crate::domain::session::MeterSample;
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::rollout::invariants::{self, Breach};
use crate::rollout::{Ledger, Room, step};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

/// A command that was sent in some world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent(u32);

/// A ledger of some world, told of one EVSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kept(u32);

/// What a ledger may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// The time.
    Time,
    Issued(Sent),
    Answered {
        sent: Sent,
        accepted: bool,
    },
    Active {
        evse: usize,
        revision: Option<Revision>,
    },
    /// Deciamperes; `None` is a counter of energy alone.
    Metered {
        evse: usize,
        drawn: Option<i64>,
    },
    SessionEnded {
        evse: usize,
    },
    SessionStarted {
        evse: usize,
    },
    Hello,
    /// The store is lost with all that it held.
    Lost,
    /// It is made again from its own history.
    MadeAgain,
}

/// The car that stands at an EVSE first, and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Car {
    First,
    Next,
}

/// What each EVSE is wished, if anything, and which car is known to be there.
pub type Wishes = [Option<(Level, Car)>; EVSES];

/// The ledger of each EVSE.
pub type Both = [Kept; EVSES];

pub struct Ledgers {
    pub case: Case,
    pub site: Site,
    pub available: Vec<Timeline<Capacity>>,
    evses: [EvseId; EVSES],
    sessions: [[SessionId; 2]; EVSES],
    kept: RwLock<Numbered<u64, Ledger>>,
    sent: RwLock<Numbered<ProfileCommand, ProfileCommand>>,
    told: RwLock<HashMap<(Kept, i64, Told), Option<Kept>>>,
    decided: RwLock<HashMap<(Both, i64, Wishes), Decided>>,
    lax: RwLock<HashMap<(Kept, i64, Kept), bool>>,
}

/// What the real roll-out sends, or how it would break its promise.
pub type Decided = Result<Arc<[Sent]>, Breach>;

/// Values by number, each once.
struct Numbered<K, V> {
    numbers: HashMap<K, u32>,
    values: Vec<Arc<V>>,
}

impl<K: Hash + Eq, V> Numbered<K, V> {
    fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            values: Vec::new(),
        }
    }

    fn number(&mut self, key: K, value: V) -> u32 {
        *self.numbers.entry(key).or_insert_with(|| {
            self.values.push(Arc::new(value));
            u32::try_from(self.values.len() - 1).expect("memory ends long before")
        })
    }
}

impl Ledgers {
    pub fn new(case: Case) -> Self {
        let site = case.site();
        Self {
            available: case.available(&site),
            evses: [0, 1].map(evse_id),
            sessions: [0, 1].map(|evse| [session_id(evse), session_id(EVSES + evse)]),
            kept: RwLock::new(Numbered::new()),
            sent: RwLock::new(Numbered::new()),
            told: RwLock::default(),
            decided: RwLock::default(),
            lax: RwLock::default(),
            site,
            case,
        }
    }

    /// Of a site at which nothing was ever sent, and whose cars and gateway are known.
    pub fn first(&self) -> Kept {
        let mut ledger = Ledger::new(&self.site);
        self.follow_rule(&mut ledger);
        ledger.tell(&self.hello(), tick(0));
        for evse in 0..EVSES {
            ledger.session_started(&self.evses[evse], self.session(evse, Car::First), tick(0));
        }
        self.keep(ledger, 0)
    }

    /// How many ledgers occurred so far.
    pub fn count(&self) -> usize {
        self.kept.read().unwrap().values.len()
    }

    pub fn get(&self, kept: Kept) -> Arc<Ledger> {
        self.kept.read().unwrap().values[kept.0 as usize].clone()
    }

    pub fn command(&self, sent: Sent) -> Arc<ProfileCommand> {
        self.sent.read().unwrap().values[sent.0 as usize].clone()
    }

    pub fn session(&self, evse: usize, car: Car) -> &SessionId {
        &self.sessions[evse][car as usize]
    }

    pub fn evse(&self, evse: usize) -> &EvseId {
        &self.evses[evse]
    }

    fn keep(&self, ledger: Ledger, now: i64) -> Kept {
        let digest = ledger.digest(tick(now));
        Kept(self.kept.write().unwrap().number(digest, ledger))
    }

    /// The ledger once it was told so. `None` if it cannot be made again from its history yet.
    pub fn tell(&self, kept: Kept, now: i64, told: Told) -> Option<Kept> {
        let key = (kept, now, told);
        if let Some(known) = self.told.read().unwrap().get(&key) {
            return *known;
        }
        let found = self.work_out(kept, now, told);
        self.told.write().unwrap().insert(key, found);
        found
    }

    fn work_out(&self, kept: Kept, now: i64, told: Told) -> Option<Kept> {
        let before = self.get(kept);
        let mut ledger = match told {
            Told::Lost => Ledger::unknown(&self.site, tick(now)),
            Told::MadeAgain => Ledger::new(&self.site),
            _ => (*before).clone(),
        };
        match told {
            Told::Time => ledger.forget_expired(tick(now)),
            Told::SessionEnded { evse } => {
                ledger.session_ended(&self.evses[evse], self.session(evse, Car::First), tick(now));
            }
            Told::SessionStarted { evse } => {
                ledger.session_started(&self.evses[evse], self.session(evse, Car::Next), tick(now));
            }
            Told::Lost => self.follow_rule(&mut ledger),
            Told::MadeAgain => {
                let history = before.history()?;
                self.follow_rule(&mut ledger);
                for (at, event) in history {
                    ledger.tell(&event, at);
                }
            }
            _ => ledger.tell(&self.event(now, told), tick(now)),
        }
        Some(self.keep(ledger, now))
    }

    fn event(&self, now: i64, told: Told) -> Event {
        match told {
            Told::Issued(sent) => Event::CommandsIssued(vec![(*self.command(sent)).clone()]),
            Told::Answered { sent, accepted } => {
                let command = self.command(sent);
                Event::CommandAnswered {
                    evse: command.evse.clone(),
                    revision: command.revision,
                    attempt: command.attempt,
                    answer: if accepted { Answer::Accepted } else { rejected() },
                }
            }
            Told::Active { evse, revision } => Event::ActiveProfileReported {
                evse: self.evses[evse].clone(),
                revision,
            },
            Told::Metered { evse, drawn } => {
                let sample = drawing(evse, 0, drawn.unwrap_or_default());
                Event::Metered(vec![MeterSample {
                    at: tick(now),
                    currents: sample.currents.filter(|_| drawn.is_some()),
                    ..sample
                }])
            }
            Told::Hello => self.hello(),
            _ => unreachable!("is no event of the journal"),
        }
    }

    fn hello(&self) -> Event {
        Event::GatewayConnected {
            gateway: self.site.spec().gateway.clone().unwrap(),
            fences: self.case.fences,
        }
    }

    fn follow_rule(&self, ledger: &mut Ledger) {
        if let Some(wrong) = self.case.wrong {
            ledger.follow_wrong_rule(wrong);
        }
    }

    /// What would be sent now.
    pub fn decide(&self, both: Both, now: i64, wishes: Wishes) -> Decided {
        let key = (both, now, wishes);
        if let Some(known) = self.decided.read().unwrap().get(&key) {
            return known.clone();
        }
        let found = self.decide_anew(both, now, wishes);
        self.decided.write().unwrap().insert(key, found.clone());
        found
    }

    fn decide_anew(&self, both: Both, now: i64, wishes: Wishes) -> Decided {
        let targets: Vec<_> = (0..EVSES)
            .filter_map(|evse| {
                let (level, car) = wishes[evse]?;
                Some(level.target(&self.evses[evse], self.session(evse, car), self.case.tails))
            })
            .collect();
        let room = Room {
            site: &self.site,
            available: &self.available,
        };
        let [first, second] = both.map(|kept| self.get(kept));
        let mut ledger = first.with_record_of(&self.evses[1], &second, tick(now));
        let commands = step(&ledger, &room, tick(now), &targets).commands;
        if commands.is_empty() {
            return Ok(Arc::default());
        }
        if self.case.wrong.is_none() {
            let before = ledger.worst_cases(tick(now));
            commands.iter().for_each(|command| ledger.issued(command));
            let after = ledger.worst_cases(tick(now));
            invariants::inv_1_nothing_is_raised_too_far(&before, &after, &self.available, tick(now))?;
        }
        let mut known = self.sent.write().unwrap();
        let numbers = commands
            .into_iter()
            .map(|command| Sent(known.number(command.clone(), command)));
        Ok(numbers.collect())
    }

    /// Whether `again`, which was made again from what was recorded of `before`, leaves less free anywhere than that did.
    pub fn is_laxer(&self, again: Kept, before: Kept, now: i64) -> bool {
        let key = (again, now, before);
        if let Some(known) = self.lax.read().unwrap().get(&key) {
            return *known;
        }
        let nothing = vec![Timeline::constant(amperes(0)); self.available.len()];
        let lax = invariants::inv_1_nothing_is_raised_too_far(
            &self.get(again).worst_cases(tick(now)),
            &self.get(before).worst_cases(tick(now)),
            &nothing,
            tick(now),
        );
        self.lax.write().unwrap().insert(key, lax.is_err());
        lax.is_err()
    }
}
