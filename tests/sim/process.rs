//! The service as a process: the real core, on the world's disk and clock, that dies and is started again.
//!
//! Decides when it dies, what of an append is on the disk then, and how long a search takes. Watches that nothing is said or sent
//! before its record is synced.

use super::dice::Dice;
use super::disk::Disk;
use super::faults::Kind;
use super::world::World;
use super::yard::site_key;
use crate::domain::event::Event;
use crate::domain::plan::Budget;
use crate::domain::profile::{Instruction, Revision};
use crate::engine::Settings;
use crate::engine::ports::{Batch, StoreError};
use crate::engine::recover;
use crate::engine::site_core::{
    Append, Ask, Caller, Effect, Input, Question, Reply, SearchEnd, SearchJob, SiteCore, Then,
};
use crate::engine::state::SiteState;
use crate::planner;
use crate::units::{Instant, Seconds};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Longest that a search may take.
const WATCHDOG_SECS: i64 = 8;
/// A process that died is started again within so many seconds.
const LONGEST_DOWNTIME: i64 = 40;
/// A core that goes on for longer than this over one input goes on for ever.
const MOST_STEPS: usize = 50;

/// Longest entry of a diary.
const MOST_CHARS: usize = 300;

/// Who waits for the answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Gateway,
    /// The service's own edge, about a stream that began or ended.
    Link,
    /// A station's word that it follows a revision.
    Station(usize, Revision),
    /// The back end's call of that number.
    Backend(u64),
}

struct Search {
    ends_at: Instant,
    end: fn(&SearchJob) -> SearchEnd,
    job: SearchJob,
}

pub struct Process {
    dice: Dice,
    core: Option<SiteCore>,
    starts_at: Instant,
    search: Option<Search>,
    /// How far our own clock is ahead, in seconds.
    clock: i64,
    most_clock: i64,
    settings: Settings,
}

impl Process {
    pub fn new(seed: u64, most_clock: i64) -> Self {
        let mut dice = Dice::new(seed, 3);
        let iterations = if dice.happens(30) { 20 } else { 0 };
        Self {
            dice,
            core: None,
            starts_at: Instant::FAR_PAST,
            search: None,
            clock: 0,
            most_clock,
            settings: Settings {
                budget: Budget { iterations },
                watchdog: Duration::from_secs(WATCHDOG_SECS as u64),
                cut_watchdog: Duration::from_secs(2),
                solver_threads: 1,
            },
        }
    }

    pub fn is_up(&self) -> bool {
        self.core.is_some()
    }

    pub fn state(&self) -> Option<&SiteState> {
        self.core.as_ref().map(SiteCore::state)
    }

    pub fn step_clock(&mut self) {
        self.clock = self.dice.roll(-self.most_clock, self.most_clock);
    }

    pub fn right_clock(&mut self) {
        self.clock = 0;
    }

    fn clock(&self, now: Instant) -> Instant {
        now + Seconds::from_secs(self.clock)
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.core
            .as_ref()
            .is_some_and(|core| core.next_wake() <= self.clock(now))
    }
}

/// A future of the store in memory is ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing in memory has to be waited for"),
    }
}

fn recovered(disk: &Disk) -> SiteState {
    ready(recover::load(disk, &site_key())).expect("what survived can be read")
}

impl World {
    /// Accidents of the process, and its next start.
    pub(super) fn process_lives(&mut self) {
        if self.faults.strikes(Kind::Crash, &mut self.process.dice) && self.process.is_up() {
            self.crash();
        }
        if self.faults.strikes(Kind::Amnesia, &mut self.process.dice) {
            self.tell(|| "the store is lost".to_owned());
            self.disk = Disk::default();
            self.crash();
            self.all_is_forgotten();
        }
        if !self.process.is_up() && self.process.starts_at <= self.now {
            if self.faults.strikes(Kind::DamagedSnapshot, &mut self.process.dice) {
                self.disk.damage_snapshot(&mut self.process.dice);
            }
            let state = recovered(&self.disk);
            let mut core = SiteCore::new(state, self.process.settings);
            core.break_rule(self.recipe.rule);
            self.process.core = Some(core);
            self.tell(|| "the process starts".to_owned());
            self.give(Input::Started, Vec::new());
        }
    }

    /// All at once: the process, its stream, and what the machine had not synced.
    pub(super) fn crash(&mut self) {
        let dice = &mut self.process.dice;
        let torn = self.faults.strikes(Kind::TornWrite, dice);
        self.disk.crash(torn, dice);
        let down = Seconds::from_secs(dice.roll(0, LONGEST_DOWNTIME));
        self.tell(|| "the process dies".to_owned());
        self.process.core = None;
        self.process.search = None;
        self.process.starts_at = self.now + down;
        self.network.cut(self.process.starts_at, 20);
        self.calls_are_lost();
    }

    pub(super) fn ask(&mut self, asks: Vec<(Asker, Question)>) {
        if !self.process.is_up() {
            return;
        }
        for (asker, question) in &asks {
            self.tell(|| {
                let text = match question {
                    Question::Submit { event, .. } => format!("{event:?}"),
                    other => format!("{other:?}"),
                };
                format!("{asker:?} says {}", text.chars().take(MOST_CHARS).collect::<String>())
            });
        }
        let askers: Vec<Asker> = asks.iter().map(|(asker, _)| *asker).collect();
        let questions = asks.into_iter().enumerate().map(|(number, (_, question))| Ask {
            caller: Caller(number),
            question,
        });
        self.give(Input::Asked(questions.collect()), askers);
    }

    /// Gives the core an input and performs what that leads to, unless the process dies on the way.
    pub(super) fn give(&mut self, mut input: Input, askers: Vec<Asker>) {
        for _ in 0..MOST_STEPS {
            let now = self.process.clock(self.now);
            let Some(core) = &mut self.process.core else { return };
            let was_described = core.state().site().is_some();
            let step = core.step(now, input);
            if !was_described && self.recipe.rule.is_some() {
                core.break_rule(self.recipe.rule);
            }
            for effect in step.effects {
                self.perform(effect, &askers);
            }
            input = match step.then {
                Then::Wait => return,
                Then::Append(append) => match self.append(append) {
                    Some(outcome) => outcome,
                    None => return,
                },
                Then::ReadAgain => {
                    self.disk.read_back();
                    Input::ReadAgain(Box::new(recovered(&self.disk)))
                }
                Then::Stop(error) => return self.break_promise(format!("the site stopped: {error}")),
            };
            if matches!(input, Input::ReadAgain(_)) {
                self.break_rule_again();
            }
        }
        self.break_promise(format!("the core takes more than {MOST_STEPS} steps over one input"));
    }

    fn break_rule_again(&mut self) {
        if let Some(core) = &mut self.process.core {
            core.break_rule(self.recipe.rule);
        }
    }

    /// `None` if the process died.
    fn append(&mut self, append: Append) -> Option<Input> {
        let dice = &mut self.process.dice;
        let Append { batch, unsaid } = append;
        let dies = self.faults.strikes(Kind::CrashWhileWriting, dice);
        let fails = self.faults.strikes(Kind::FailedAppend, dice);
        if dies || fails {
            self.fear(&batch);
        }
        let dice = &mut self.process.dice;
        if dies {
            match dice.roll(0, 2) {
                0 => {}
                1 => self.disk.write(&batch),
                _ => self.disk.append(&batch),
            }
            self.crash();
            return None;
        }
        if fails {
            if dice.happens(500) {
                self.disk.write(&batch);
            }
            let full = StoreError::Write("no space left on device".to_owned());
            return Some(Input::Appended(unsaid, Err(full)));
        }
        self.disk.append(&batch);
        Some(Input::Appended(unsaid, Ok(())))
    }

    /// Commands that may be found in the journal, and so count as sent, though they never left.
    fn fear(&mut self, batch: &Batch) {
        let events = batch.entries.iter().map(|entry| &entry.event);
        let issued = events.filter_map(|event| match event {
            Event::CommandsIssued(commands) => Some(commands),
            _ => None,
        });
        for command in issued.flatten() {
            let station = self.stations.iter_mut().find(|station| *station.id() == command.evse);
            if let Some(station) = station {
                station.may_follow.push(command.clone());
            }
        }
    }

    fn perform(&mut self, effect: Effect, askers: &[Asker]) {
        match effect {
            Effect::Answer(Caller(number), reply) => match (askers[number], reply.into_inner()) {
                (Asker::Backend(call), Reply::Receipt(answer)) => {
                    if let Ok(receipt) = &answer
                        && receipt.sequence > self.disk.last_synced()
                    {
                        self.break_promise(format!(
                            "entry {} was acknowledged before it was synced",
                            receipt.sequence
                        ));
                    }
                    self.answered(call, answer);
                }
                (Asker::Station(number, revision), Reply::Receipt(Ok(_))) => self.stations[number].heard(revision),
                // A stream whose hello could not be recorded is closed, and the gateway tries again.
                (Asker::Link, Reply::Receipt(Err(_))) => self.network.cut(self.now, 10),
                (Asker::Gateway | Asker::Link | Asker::Station(..), _) => {}
                (asker, reply) => unreachable!("{asker:?} is told {reply:?}"),
            },
            Effect::Send(outgoing) => {
                let outgoing = outgoing.into_inner();
                let command = &outgoing.command;
                self.score.commands += 1;
                let text = || {
                    let what = match &command.instruction {
                        Instruction::Set(profile) => {
                            let points = profile.limits().points().iter();
                            let points: Vec<_> = points.map(|(at, rate)| (at.unix_secs(), rate.value())).collect();
                            format!("{points:?}")
                        }
                        Instruction::Clear => "clear".to_owned(),
                    };
                    let (revision, attempt) = (command.revision.number(), command.attempt);
                    format!(
                        "sent {} {} {revision}/{attempt} {:?} {what}",
                        command.evse, command.session, command.cause
                    )
                };
                self.tell(text);
                if !self.disk.has_issued(&command.evse, command.revision, command.attempt) {
                    self.break_promise(format!(
                        "{} revision {} was sent before its record was synced",
                        command.evse,
                        command.revision.number()
                    ));
                }
                self.transmit(outgoing);
            }
            Effect::Search(job) => self.begin_search(job),
            Effect::AbandonSearch => self.process.search = None,
            Effect::KeepSnapshot(image) => self.disk.save_snapshot(&image),
            Effect::ShowSummary(_) | Effect::ShowAlarms(_) => {}
            Effect::ShowPlan(plan) => {
                self.score.plans += 1;
                let sessions = plan.iter().flat_map(|plan| &plan.sessions);
                self.shown = sessions
                    .map(|session| (session.session.clone(), session.rates.clone()))
                    .collect();
            }
        }
    }

    fn begin_search(&mut self, job: SearchJob) {
        let dice = &mut self.process.dice;
        let slow = self.faults.strikes(Kind::SlowSearch, dice);
        let endless = self.faults.strikes(Kind::EndlessSearch, dice);
        let broken = self.faults.strikes(Kind::BrokenSearch, dice);
        let patience = i64::try_from(job.patience.as_secs()).expect("patience is short");
        let takes = if slow { dice.roll(1, WATCHDOG_SECS) } else { 0 };
        let (takes, end): (i64, fn(&SearchJob) -> SearchEnd) = if endless || takes > patience {
            (patience, |_| SearchEnd::WatchdogBarked)
        } else if broken {
            (takes, |_| SearchEnd::Broken("it broke".to_owned()))
        } else {
            (takes, |job| {
                SearchEnd::Found(planner::plan(&job.snapshot, job.budget), 0)
            })
        };
        self.process.search = Some(Search {
            ends_at: self.now + Seconds::from_secs(takes),
            end,
            job,
        });
    }

    /// What is found within a second is found within it, and may lead to another search.
    pub(super) fn end_search(&mut self) {
        for _ in 0..MOST_STEPS {
            let Some(search) = self.process.search.take_if(|search| search.ends_at <= self.now) else {
                return;
            };
            let end = (search.end)(&search.job);
            self.give(Input::SearchEnded(end), Vec::new());
        }
        self.break_promise("one search after the other, for ever".to_owned());
    }

    /// Keeps a snapshot now and then, as the core does only after thousands of entries.
    pub(super) fn keep_snapshot(&mut self) {
        let image = self.process.state().and_then(SiteState::image);
        let written_is_synced = self.disk.last_written() == self.disk.last_synced();
        if let Some(image) = image.filter(|_| written_is_synced) {
            self.disk.save_snapshot(&image);
        }
    }

    /// An event of the link, told by the service's own edge.
    pub(super) fn is_described(&self) -> bool {
        self.process.state().is_some_and(|state| state.site().is_some())
    }

    /// Whether the event starts a session whose id the store lists among the ended ones.
    pub(super) fn id_was_used(&self, event: &Event) -> Result<bool, StoreError> {
        let Event::SessionStarted(spec) = event else {
            return Ok(false);
        };
        use crate::engine::ports::Store;
        Ok(ready(self.disk.ended_session(&site_key(), &spec.id))?.is_some())
    }
}
