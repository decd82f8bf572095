//! How soon an event wants a new plan.
//!
//! Decides by the event alone. Whether somebody really misses out, and how long after the last plan, is the caller's to say.

use crate::domain::event::Event;
use crate::domain::profile::Answer;

/// Whether an event asks for a new plan.
pub fn urgency(event: &Event) -> Urgency {
    match event {
        Event::SitePut(_)
        | Event::SiteStopped { .. }
        | Event::GridLimitSet(_)
        | Event::GridLimitRemoved(_)
        | Event::PricesSet(_)
        | Event::ForecastSet { .. }
        | Event::SessionStarted(_)
        | Event::SessionUpdated(_)
        | Event::SessionOverridden { .. }
        | Event::SessionEnded { .. }
        // What it says may free what was reserved as unknown.
        | Event::GatewayConnected { .. } => Urgency::Now,
        // What a reading changes is seen to with the next slot; a car that is done is seen to by the caller.
        Event::Metered(_) => Urgency::Never,
        // Whether charging has to be lowered for it, or no longer, is seen to by the caller.
        Event::NodesMetered(_) | Event::DriverKnown { .. } => Urgency::Never,
        // Someone may not get what was planned for him; see [`SiteState::misses_out`].
        Event::CommandAnswered {
            answer: Answer::Rejected { .. },
            ..
        } => Urgency::Soon,
        // Other answers free room or hold it: the roll-out sees to that at once, the planner with the next slot.
        Event::SiteDeleted
        | Event::PlanMade(_)
        | Event::EvseCheckAsked { .. }
        | Event::EvseCheckWentOn(_)
        | Event::CommandsIssued(_)
        | Event::CommandAnswered { .. }
        | Event::ActiveProfileReported { .. }
        | Event::CommandOnItsWay { .. }
        | Event::GatewayDisconnected { .. }
        | Event::JournalRestored => Urgency::Never,
    }
}

/// When a new plan is due after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    Now,
    /// Not at once, since many may come: a while after the last plan.
    Soon,
    Never,
}
