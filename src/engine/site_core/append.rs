//! What is to be written, and what may be said once it is.
//!
//! Decides, by its types, the order of things: an answer or a command can be made only as part of an [`Intake`], leaves that only as
//! [`Said`], and becomes that only when the outcome of the append is known. What waits cannot be read by anyone.

use super::super::ports::{Batch, Durability, OutgoingCommand, StoreError};
use super::super::view::{PlanView, RolloutView, SiteView};
use super::super::{MeterReceipt, Refusal};
use super::Effect;
use crate::domain::event::{Receipt, Recorded};
use crate::domain::session::Session;
use std::sync::Arc;

/// Who asked: the place of the question in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller(pub usize);

/// What a caller is told.
#[derive(Debug)]
pub(crate) enum Reply {
    Receipt(Result<Receipt, Refusal>),
    Meter(Result<MeterReceipt, Refusal>),
    View(Result<Arc<SiteView>, Refusal>),
    Rollout(Result<Arc<RolloutView>, Refusal>),
}

impl Reply {
    /// The same reply, had the store refused what it says.
    fn unwritten(&self, why: &str) -> Self {
        let refusal = Refusal::Unavailable(why.to_owned());
        match self {
            Self::Receipt(_) => Self::Receipt(Err(refusal)),
            Self::Meter(_) => Self::Meter(Err(refusal)),
            Self::View(_) => Self::View(Err(refusal)),
            Self::Rollout(_) => Self::Rollout(Err(refusal)),
        }
    }
}

/// Something that may leave: whatever it depends on is in the journal, as sure as it has to be.
#[derive(Debug)]
pub(crate) struct Said<T>(T);

impl<T> Said<T> {
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// What the site does after an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// Nothing until something happens.
    #[default]
    Rest,
    /// Whatever is due now.
    React,
}

/// Collects entries and what depends on them.
#[derive(Debug, Default)]
pub(super) struct Intake {
    entries: Vec<Recorded>,
    ended: Vec<Session>,
    synced: bool,
    unsaid: Unsaid,
}

/// What waits for the outcome of an append.
#[derive(Debug, Default)]
pub(crate) struct Unsaid {
    answers: Vec<(Caller, Reply)>,
    commands: Vec<OutgoingCommand>,
    plan: Option<Arc<PlanView>>,
    afterwards: Afterwards,
}

/// To be appended, next of all and as a whole; then what is unsaid goes back to the site with the outcome.
#[derive(Debug)]
pub(crate) struct Append {
    pub batch: Batch,
    pub unsaid: Unsaid,
}

/// What a round of intake leads to.
pub(super) enum Round {
    Append(Append),
    /// Nothing was recorded, so nothing has to wait.
    Said(Vec<Effect>),
}

impl Intake {
    /// An entry, and the session that it ends.
    pub fn record(&mut self, entry: Recorded, ended: Option<Session>, durability: Durability) {
        self.synced |= durability == Durability::Synced;
        self.ended.extend(ended);
        self.entries.push(entry);
    }

    /// Commands, with the entry that says that they were issued.
    pub fn issue(&mut self, entry: Recorded, commands: impl IntoIterator<Item = OutgoingCommand>) {
        self.record(entry, None, Durability::Synced);
        self.unsaid.commands.extend(commands);
    }

    /// The entry of a plan, and the plan as it is shown.
    pub fn make_plan(&mut self, entry: Recorded, view: PlanView) {
        self.record(entry, None, Durability::Synced);
        self.unsaid.plan = Some(Arc::new(view));
    }

    pub fn answer(&mut self, caller: Caller, reply: Reply) {
        self.unsaid.answers.push((caller, reply));
    }

    pub fn close(mut self, afterwards: Afterwards) -> Round {
        if self.entries.is_empty() {
            return Round::Said(self.unsaid.said());
        }
        self.unsaid.afterwards = afterwards;
        Round::Append(Append {
            batch: Batch {
                entries: self.entries,
                ended_sessions: self.ended,
                durability: if self.synced {
                    Durability::Synced
                } else {
                    Durability::Buffered
                },
            },
            unsaid: self.unsaid,
        })
    }
}

impl Unsaid {
    /// What may be said now that the outcome of the append is known, and what the site does then.
    pub(super) fn after(
        self,
        outcome: Result<(), StoreError>,
    ) -> Result<(Vec<Effect>, Afterwards), (Vec<Effect>, StoreError)> {
        match outcome {
            Ok(()) => {
                let afterwards = self.afterwards;
                Ok((self.said(), afterwards))
            }
            Err(error) => {
                let why = error.to_string();
                let refused = self.answers.iter().map(|(caller, reply)| {
                    let refusal = reply.unwritten(&why);
                    Effect::Answer(*caller, Said(refusal))
                });
                Err((refused.collect(), error))
            }
        }
    }

    fn said(self) -> Vec<Effect> {
        let answers = self
            .answers
            .into_iter()
            .map(|(caller, reply)| Effect::Answer(caller, Said(reply)));
        let commands = self
            .commands
            .into_iter()
            .map(|command| Effect::Send(Box::new(Said(command))));
        let plan = self.plan.into_iter().map(|plan| Effect::ShowPlan(Some(plan)));
        answers.chain(commands).chain(plan).collect()
    }
}
