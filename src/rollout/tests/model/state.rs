//! A small site as it truly is, all that can happen there next, and what must never be.
//!
//! Whatever can happen may happen, in any order; only time passes in ticks. A message under way may arrive at any later moment or
//! never: that is loss, lateness and reordering at once, and also a command that was recorded before a crash and never sent.

use super::case::{Case, EVSES, HIGH, Level, Meter, Mishap, tick};
use super::ledgers::{Both, Car, Ledgers, Sent, Told, Wishes};
use crate::domain::conversion::{Load, Rate};
use crate::domain::profile::{Instruction, ProfileCommand, Revision};
use crate::domain::site::Connector;
use crate::domain::timeline::Timeline;
use crate::rollout::invariants;
use crate::units::Instant;
use stateright::{Model, Property};
use std::sync::Arc;

/// What is under way, either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    Command(Sent),
    Answer { sent: Sent, accepted: bool },
    Active { evse: usize, revision: Option<Revision> },
}

/// The truth about one EVSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Station {
    car: Car,
    /// Which car the service believes to be there.
    known: Option<Car>,
    follows: Option<Sent>,
    /// Where the gateway fences: the highest revision applied.
    fence: Revision,
    /// Where cars are slow: the most that was allowed since the last tick.
    lingering: Rate,
    /// Revisions sent to it.
    sent: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// In ticks.
    now: i64,
    ledger: Both,
    /// What a ledger is that is told all that was recorded, and nothing else.
    recorded: Both,
    stations: [Station; EVSES],
    /// Sorted, so that it does not matter what was sent first.
    under_way: Vec<Message>,
    mishaps: u8,
    /// A promise that the service broke on its way here.
    breach: Option<Breach>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Breach {
    /// INV-1 by the ledger's own count.
    RaisedTooFar,
    /// What was made again after a crash left less free than what was before.
    Laxer,
}

/// What a station makes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    Takes,
    /// It takes it, and a copy of it is still to come.
    TakesOneOfTwo,
    Refuses,
    /// It says that it follows it and does not.
    Ignores,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    TimePasses,
    RollsOut([Option<Level>; EVSES]),
    Reaches {
        sent: Sent,
        reaction: Reaction,
    },
    /// To the service. `again`: a copy of it is still to come.
    Comes {
        message: Message,
        again: bool,
    },
    IsMetered {
        evse: usize,
        takes_all: bool,
    },
    IsSwapped {
        evse: usize,
    },
    /// The service hears that the first car has left, and then that the next one has come.
    IsTold {
        evse: usize,
    },
    Restarts {
        evse: usize,
        says_so: bool,
    },
    /// The service, from what it had recorded: all of it, or a journal cut at this moment.
    Crashes {
        journal_is_cut: bool,
    },
    StoreIsLost,
}

pub struct SmallSite {
    pub ledgers: Ledgers,
}

impl SmallSite {
    pub fn new(case: Case) -> Self {
        Self {
            ledgers: Ledgers::new(case),
        }
    }

    fn case(&self) -> &Case {
        &self.ledgers.case
    }

    fn connector(&self, evse: usize) -> &Connector {
        let (_, evse) = self.ledgers.site.evses().nth(evse).unwrap();
        &evse.connectors[0]
    }

    fn number(&self, command: &ProfileCommand) -> usize {
        (0..EVSES)
            .find(|evse| *self.ledgers.evse(*evse) == command.evse)
            .unwrap()
    }

    /// An action as a line of a counterexample.
    pub fn words(&self, action: &Action) -> String {
        let of = |sent: &Sent| {
            let command = self.ledgers.command(*sent);
            let Instruction::Set(profile) = &command.instruction else {
                return "clear".to_owned();
            };
            let points = profile.limits().points().iter();
            let rates = points.map(|(from, rate)| format!("{} dA from {}", rate.value(), (*from - tick(0)).secs()));
            format!(
                "{} {} revision {} attempt {} ({})",
                command.evse,
                command.session,
                command.revision.number(),
                command.attempt,
                rates.collect::<Vec<_>>().join(", ")
            )
        };
        match action {
            Action::Reaches { sent, reaction } => format!("{} reaches its station: {reaction:?}", of(sent)),
            Action::Comes {
                message: Message::Answer { sent, accepted },
                again,
            } => {
                format!("answer to {}: accepted {accepted}, again {again}", of(sent))
            }
            action => format!("{action:?}"),
        }
    }

    /// What a station lets its car take.
    fn allows(&self, state: &State, evse: usize) -> Rate {
        let connector = self.connector(evse);
        match self.followed(state, evse) {
            None => connector.default_or_maximum(),
            Some((command, clock)) => match &command.instruction {
                Instruction::Set(profile) => *profile.limits().at(clock),
                Instruction::Clear => connector.maximum,
            },
        }
    }

    /// What its car may really be taking.
    fn may_draw(&self, state: &State, evse: usize) -> Load {
        let rate = self.allows(state, evse).max(state.stations[evse].lingering);
        self.connector(evse).conversion().load(rate)
    }

    /// Something of an EVSE is recorded, and the ledger is told so.
    fn tell(&self, state: &mut State, evse: usize, told: Told) {
        for ledger in [&mut state.ledger, &mut state.recorded] {
            let after = self.ledgers.tell(ledger[evse], state.now, told);
            ledger[evse] = after.expect("only a history may not be told");
        }
    }

    /// Time changes what the ledger holds, and is not recorded.
    fn tell_the_time(&self, state: &mut State) {
        state.ledger = state.ledger.map(|kept| {
            let after = self.ledgers.tell(kept, state.now, Told::Time);
            after.expect("only a history may not be told")
        });
    }

    /// Takes away answers that would change nothing, now or later: they were given already, or belong to nothing that is known.
    fn drop_idle_answers(&self, state: &mut State) {
        let (ledger, recorded, now) = (state.ledger, state.recorded, state.now);
        state.under_way.retain(|message| {
            let Message::Answer { sent, accepted } = *message else {
                return true;
            };
            let evse = self.number(&self.ledgers.command(sent));
            let told = Told::Answered { sent, accepted };
            [ledger[evse], recorded[evse]]
                .into_iter()
                .any(|kept| self.ledgers.tell(kept, now, told) != Some(kept))
        });
    }

    fn send(&self, state: &mut State, message: Message) {
        let place = state.under_way.partition_point(|other| *other < message);
        state.under_way.insert(place, message);
    }

    fn take(&self, state: &mut State, message: Message) {
        let place = state.under_way.iter().position(|other| *other == message);
        state.under_way.remove(place.expect("it is under way"));
    }

    fn wishes(&self, state: &State, levels: [Option<Level>; EVSES]) -> Wishes {
        [0, 1].map(|evse| Some((levels[evse]?, state.stations[evse].known?)))
    }

    fn may_send(&self, state: &State, evse: usize) -> bool {
        let may_retry = self.case().mishaps.contains(&Mishap::Retry) && state.mishaps > 0;
        state.stations[evse].sent < self.case().revisions[evse] || may_retry
    }

    fn rolls_out(&self, state: &mut State, levels: [Option<Level>; EVSES]) -> Option<()> {
        let wishes = self.wishes(state, levels);
        let commands = match self.ledgers.decide(state.ledger, state.now, wishes) {
            Ok(commands) => commands,
            Err(_) => {
                state.breach = Some(Breach::RaisedTooFar);
                return Some(());
            }
        };
        if commands.is_empty() {
            return None;
        }
        for sent in commands.iter() {
            let command = self.ledgers.command(*sent);
            let evse = self.number(&command);
            if command.attempt == 1 {
                state.stations[evse].sent += 1;
                (state.stations[evse].sent <= self.case().revisions[evse]).then_some(())?;
            } else {
                self.befalls(state, Mishap::Retry)?;
            }
            self.tell(state, evse, Told::Issued(*sent));
            self.send(state, Message::Command(*sent));
        }
        Some(())
    }

    fn may_befall(&self, mishap: Mishap) -> bool {
        self.case().most_mishaps > 0 && self.case().mishaps.contains(&mishap)
    }

    /// `None` if such a thing does not happen here, or no more.
    fn befalls(&self, state: &mut State, mishap: Mishap) -> Option<()> {
        self.case().mishaps.contains(&mishap).then_some(())?;
        state.mishaps = state.mishaps.checked_sub(1)?;
        Some(())
    }

    /// Whether the station or its gateway refuses it in any case, and whether it just says once more that it is followed.
    fn is_refused(&self, state: &State, command: &ProfileCommand) -> (bool, bool) {
        let evse = self.number(command);
        let station = &state.stations[evse];
        let again = self.case().fences
            && station
                .follows
                .is_some_and(|sent| self.ledgers.command(sent).revision == command.revision);
        let stale = self.case().fences && command.revision <= station.fence;
        let other_car = *self.ledgers.session(evse, station.car) != command.session && !self.case().takes_any_session;
        (!again && (stale || other_car), again)
    }

    fn reactions(&self, state: &State, sent: Sent) -> Vec<Reaction> {
        let command = self.ledgers.command(sent);
        let (refused, again) = self.is_refused(state, &command);
        if refused {
            return vec![Reaction::Refuses];
        }
        if again {
            return vec![Reaction::Takes];
        }
        let mut reactions = vec![Reaction::Takes, Reaction::Refuses];
        if self.case().fences {
            reactions.push(Reaction::TakesOneOfTwo);
        }
        if self.case().ignores && self.case().meters[self.number(&command)] != Meter::None {
            reactions.push(Reaction::Ignores);
        }
        reactions
    }

    fn reaches(&self, state: &mut State, sent: Sent, reaction: Reaction) -> Option<()> {
        let command = self.ledgers.command(sent);
        let station = &mut state.stations[self.number(&command)];
        if reaction != Reaction::Refuses && self.case().fences {
            station.fence = station.fence.max(command.revision);
        }
        match reaction {
            Reaction::Takes => station.follows = Some(sent),
            Reaction::TakesOneOfTwo => {
                station.follows = Some(sent);
                self.befalls(state, Mishap::Copy)?;
            }
            Reaction::Refuses | Reaction::Ignores => {}
        }
        if reaction != Reaction::TakesOneOfTwo {
            self.take(state, Message::Command(sent));
        }
        let accepted = reaction != Reaction::Refuses;
        self.send(state, Message::Answer { sent, accepted });
        Some(())
    }

    fn comes(&self, state: &mut State, message: Message, again: bool) -> Option<()> {
        let (evse, told) = match message {
            Message::Answer { sent, accepted } => {
                let evse = self.number(&self.ledgers.command(sent));
                (evse, Told::Answered { sent, accepted })
            }
            Message::Active { evse, revision } => (evse, Told::Active { evse, revision }),
            Message::Command(_) => unreachable!("is for a station"),
        };
        if again {
            self.befalls(state, Mishap::Copy)?;
        } else {
            self.take(state, message);
        }
        self.tell(state, evse, told);
        self.drop_idle_answers(state);
        // A copy that says nothing new is none.
        (!again || state.under_way.contains(&message)).then_some(())
    }

    fn is_metered(&self, state: &mut State, evse: usize, takes_all: bool) {
        let drawn = self.allows(state, evse).max(state.stations[evse].lingering);
        let drawn = if takes_all { drawn.value() } else { 0 };
        let drawn = (self.case().meters[evse] == Meter::Currents).then_some(drawn);
        self.tell(state, evse, Told::Metered { evse, drawn });
    }

    fn is_told(&self, state: &mut State, evse: usize) {
        let station = &mut state.stations[evse];
        let (known, told) = match station.known {
            Some(_) => (None, Told::SessionEnded { evse }),
            None => (Some(Car::Next), Told::SessionStarted { evse }),
        };
        station.known = known;
        self.tell(state, evse, told);
    }

    fn crashes(&self, state: &mut State, journal_is_cut: bool) -> Option<()> {
        self.befalls(state, Mishap::Crash)?;
        let before = state.ledger;
        if journal_is_cut {
            for (recorded, kept) in state.recorded.iter_mut().zip(before) {
                *recorded = self.ledgers.tell(kept, state.now, Told::MadeAgain)?;
            }
        }
        state.ledger = state.recorded;
        self.tell_the_time(state);
        let lax = |evse: usize| self.ledgers.is_laxer(state.ledger[evse], before[evse], state.now);
        if self.case().wrong.is_none() && (0..EVSES).any(lax) {
            state.breach = Some(Breach::Laxer);
        }
        Some(())
    }

    /// A hello of a gateway that fences tells the highest revision that was applied or is on its way to the station.
    fn store_is_lost(&self, state: &mut State) -> Option<()> {
        self.befalls(state, Mishap::LostStore)?;
        for evse in 0..EVSES {
            let under_way = state.under_way.iter().filter_map(|message| match message {
                Message::Command(sent) => Some(self.ledgers.command(*sent)),
                _ => None,
            });
            let own = under_way.filter(|command| self.number(command) == evse);
            let revisions = own.map(|command| command.revision);
            let highest = revisions.chain([state.stations[evse].fence]).max();
            let revision = highest.filter(|highest| self.case().fences && *highest > Revision::NONE);
            self.tell(state, evse, Told::Lost);
            if revision.is_some() {
                self.tell(state, evse, Told::Active { evse, revision });
            }
            self.tell(state, evse, Told::Hello);
        }
        Some(())
    }

    fn restarts(&self, state: &mut State, evse: usize, says_so: bool) -> Option<()> {
        self.befalls(state, Mishap::Restart)?;
        state.stations[evse].follows = None;
        if says_so {
            self.send(state, Message::Active { evse, revision: None });
        }
        Some(())
    }

    fn is_swapped(&self, state: &mut State, evse: usize) -> Option<()> {
        self.befalls(state, Mishap::Swap)?;
        state.stations[evse].car = Car::Next;
        state.stations[evse].follows = None;
        Some(())
    }

    fn happens(&self, state: &mut State, action: &Action) -> Option<()> {
        match action {
            Action::TimePasses => {
                self.let_linger(state, true);
                state.now += 1;
                self.tell_the_time(state);
            }
            Action::RollsOut(levels) => self.rolls_out(state, *levels)?,
            Action::Reaches { sent, reaction } => self.reaches(state, *sent, *reaction)?,
            Action::Comes { message, again } => self.comes(state, *message, *again)?,
            Action::IsMetered { evse, takes_all } => self.is_metered(state, *evse, *takes_all),
            Action::IsSwapped { evse } => self.is_swapped(state, *evse)?,
            Action::IsTold { evse } => self.is_told(state, *evse),
            Action::Restarts { evse, says_so } => self.restarts(state, *evse, *says_so)?,
            Action::Crashes { journal_is_cut } => self.crashes(state, *journal_is_cut)?,
            Action::StoreIsLost => self.store_is_lost(state)?,
        }
        self.let_linger(state, false);
        self.drop_idle_answers(state);
        Some(())
    }

    /// Slow cars go on for a tick with the most that they were allowed in the one before.
    fn let_linger(&self, state: &mut State, anew: bool) {
        for evse in (0..EVSES).filter(|evse| self.case().slow_cars[*evse]) {
            let allowed = self.allows(state, evse);
            let lingering = if anew {
                Rate::ZERO
            } else {
                state.stations[evse].lingering
            };
            state.stations[evse].lingering = lingering.max(allowed);
        }
    }

    fn actions_at(&self, state: &State, evse: usize, actions: &mut Vec<Action>) {
        let (case, station) = (self.case(), &state.stations[evse]);
        if case.meters[evse] != Meter::None {
            actions.push(Action::IsMetered { evse, takes_all: true });
            if case.modest_cars {
                actions.push(Action::IsMetered { evse, takes_all: false });
            }
        }
        if station.car == Car::Next && station.known != Some(Car::Next) {
            actions.push(Action::IsTold { evse });
        }
        if evse == 0 && station.car == Car::First {
            actions.push(Action::IsSwapped { evse });
        }
        if station.follows.is_some() {
            actions.push(Action::Restarts { evse, says_so: false });
            actions.push(Action::Restarts { evse, says_so: true });
        }
    }

    fn inv_1_holds(&self, state: &State) -> bool {
        let drawn = (0..EVSES).map(|evse| self.may_draw(state, evse));
        let drawn = Timeline::constant(drawn.fold(Load::ZERO, |sum, load| sum + load));
        let nothing = Timeline::constant(Load::ZERO);
        invariants::inv_1_at(0, &nothing, &drawn, &self.ledgers.available[0], tick(state.now)).is_ok()
    }

    fn is_left_free(&self, state: &State) -> bool {
        (0..EVSES).all(|evse| {
            let ledger = self.ledgers.get(state.ledger[evse]);
            let record = ledger.record(self.ledgers.evse(evse)).expect("it is part of the site");
            let left_free = *record.worst().at(tick(state.now));
            left_free.max(self.may_draw(state, evse)) == left_free
        })
    }

    /// The command that it follows, with its profile and what the station's clock says.
    fn followed(&self, state: &State, evse: usize) -> Option<(Arc<ProfileCommand>, Instant)> {
        let sent = state.stations[evse].follows?;
        Some((self.ledgers.command(sent), tick(state.now + self.case().clocks[evse])))
    }

    fn had_the_high_level(&self, state: &State, evse: usize) -> bool {
        self.followed(state, evse).is_some_and(|(command, clock)| {
            let Instruction::Set(profile) = &command.instruction else {
                return false;
            };
            let mut until_now = profile.limits().during(Instant::FAR_PAST, clock);
            until_now.any(|rate| *rate == HIGH)
        })
    }

    fn both_had_the_high_level(&self, state: &State) -> bool {
        (0..EVSES).all(|evse| self.had_the_high_level(state, evse))
    }

    fn a_lease_ran_out(&self, state: &State) -> bool {
        (0..EVSES).any(|evse| {
            self.followed(state, evse)
                .is_some_and(|(command, clock)| match &command.instruction {
                    Instruction::Set(profile) => profile.lease_end() <= clock,
                    Instruction::Clear => false,
                })
        })
    }

    fn the_next_car_charges(&self, state: &State) -> bool {
        (0..EVSES).any(|evse| {
            let next = self.ledgers.session(evse, Car::Next);
            let follows_its_own = self
                .followed(state, evse)
                .is_some_and(|(command, _)| command.session == *next);
            follows_its_own && !self.allows(state, evse).is_zero()
        })
    }

    /// Revisions go on from the unix time then.
    fn charges_after_the_loss_of_the_store(&self, state: &State) -> bool {
        (0..EVSES).any(|evse| {
            let most = self.case().revisions[evse].into();
            self.followed(state, evse)
                .is_some_and(|(command, _)| command.revision.number() > most)
        })
    }
}

impl Model for SmallSite {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let ledger = self.ledgers.first();
        let station = Station {
            car: Car::First,
            known: Some(Car::First),
            follows: None,
            fence: Revision::NONE,
            lingering: Rate::ZERO,
            sent: 0,
        };
        let mut state = State {
            now: 0,
            ledger: [ledger; EVSES],
            recorded: [ledger; EVSES],
            stations: [station; EVSES],
            under_way: Vec::new(),
            mishaps: self.case().most_mishaps,
            breach: None,
        };
        self.let_linger(&mut state, true);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What begins later only ends sooner.
        let has_begun =
            state.stations.iter().any(|station| station.sent > 0) || state.mishaps < self.case().most_mishaps;
        if has_begun && state.now < self.case().end {
            actions.push(Action::TimePasses);
        }
        let (low, high) = (Some(Level::Low), Some(Level::High));
        for levels in [[low, None], [high, None], [None, low], [None, high], [high, high]] {
            if (0..EVSES).all(|evse| levels[evse].is_none() || self.may_send(state, evse)) {
                actions.push(Action::RollsOut(levels));
            }
        }
        let mut last = None;
        for message in state.under_way.iter().copied() {
            // Two that are the same do the same.
            if last.replace(message) == Some(message) {
                continue;
            }
            match message {
                Message::Command(sent) => {
                    let reactions = self.reactions(state, sent).into_iter();
                    actions.extend(reactions.map(|reaction| Action::Reaches { sent, reaction }));
                }
                Message::Answer { .. } | Message::Active { .. } => {
                    actions.push(Action::Comes { message, again: false });
                    actions.push(Action::Comes { message, again: true });
                }
            }
        }
        for evse in 0..EVSES {
            self.actions_at(state, evse, actions);
        }
        actions.push(Action::Crashes { journal_is_cut: false });
        actions.push(Action::Crashes { journal_is_cut: true });
        actions.push(Action::StoreIsLost);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.happens(&mut next, &action)?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let drawn = Property::always("INV-1: no more is drawn than is available", Self::inv_1_holds);
        if self.case().wrong.is_some() {
            return vec![drawn];
        }
        let mut properties = vec![
            drawn,
            Property::always(
                "INV-1: no command raises the worst case too far",
                |_: &Self, state: &State| state.breach != Some(Breach::RaisedTooFar),
            ),
            Property::always("what is drawn was left free", Self::is_left_free),
            Property::always("a ledger made again is never laxer", |_: &Self, state: &State| {
                state.breach != Some(Breach::Laxer)
            }),
            Property::sometimes("a lease runs out", Self::a_lease_ran_out),
        ];
        let case = self.case();
        if case.revisions.iter().all(|most| *most > 0) && case.end > case.lease + case.skew {
            let both = Property::sometimes("both cars have had the high level", Self::both_had_the_high_level);
            properties.push(both);
        }
        if self.may_befall(Mishap::Swap) {
            properties.push(Property::sometimes("the next car charges", Self::the_next_car_charges));
        }
        if self.may_befall(Mishap::LostStore) {
            let goes_on = Self::charges_after_the_loss_of_the_store;
            properties.push(Property::sometimes(
                "a car charges after the loss of the store",
                goes_on,
            ));
        }
        properties
    }
}
