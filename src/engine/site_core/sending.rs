//! From the plan in force to commands on their way: what each EVSE should be told, and what the roll-out allows of it now.
//!
//! Decides who is asked for first. Whatever is to be sent is recorded first, and leaves only once that record is synced.

use super::super::ports::OutgoingCommand;
use super::SiteCore;
use super::append::Intake;
use crate::domain::commissioning::Told;
use crate::domain::conversion::Rate;
use crate::domain::event::Event;
use crate::domain::session::{Override, Session};
use crate::domain::site::Mode;
use crate::domain::timeline::Timeline;
use crate::rollout::{self, Decision, Room, TailWish, Target, Wish};
use crate::units::{Instant, WattSeconds};

impl SiteCore {
    /// Records what has to be sent now; it is sent once that is synced.
    pub(super) fn roll_out(&mut self, now: Instant, intake: &mut Intake) {
        self.roll_out_at = Instant::FAR_FUTURE;
        if self.mode() != Mode::Control || self.state.not_controlled_because(now).is_some() {
            return;
        }
        let Some((site, ledger)) = self.state.site().zip(self.state.ledger()) else {
            return;
        };
        let available = self.state.available(now);
        let room = Room {
            site,
            available: &available,
        };
        let targets = self.targets(now);
        let decision = rollout::step(ledger, &room, now, &targets);
        for note in &decision.notes {
            tracing::debug!(site = %self.state.key(), ?note, "withheld");
        }
        self.roll_out_at = decision.wake_at;
        if !decision.commands.is_empty() {
            let outgoing = self.outgoing(&decision);
            let (entry, _) = self.apply(Event::CommandsIssued(decision.commands), None, now);
            intake.issue(entry, outgoing);
        }
    }

    /// What each EVSE with a session should be told.
    fn targets(&self, now: Instant) -> Vec<Target> {
        let Some(site) = self.state.site() else {
            return Vec::new();
        };
        let plan = self.state.plan();
        let mut targets = Vec::new();
        for session in self.state.sessions() {
            if !site.evse(&session.spec.evse).is_some_and(|evse| evse.controllable) {
                continue;
            }
            let schedule = plan.and_then(|numbered| numbered.plan.rates_of(&session.spec.id));
            let lease_end = now + site.spec().lease;
            let is_admitted = self.state.is_admitted_until(session, now, lease_end);
            let may_stop = session.spec.interruptible && !self.is_promised(session);
            let tail = if may_stop || !is_admitted {
                TailWish::Zero
            } else {
                TailWish::Minimum
            };
            let by_plan = match (session.overridden, self.state.is_planned(session, now), schedule) {
                (Override::HandBack, _, _) => Some(Wish::HandBack),
                (_, false, _) => Some(Wish::Follow {
                    rates: Timeline::constant(Rate::ZERO),
                    tail: TailWish::Zero,
                }),
                (_, true, Some(rates)) => Some(Wish::Follow {
                    rates: self.state.within_admission(session, &rates, now),
                    tail,
                }),
                // Arrived after the plan was made: at its default until the next one.
                (_, true, None) => None,
            };
            // Only what the planner decides about is ever checked, so never against an operator.
            let by_check = self.state.told_by_check(session, now).map(wish_of_check);
            let Some(wish) = by_check.or(by_plan) else { continue };
            let tier = self.state.serving_tier(session, now);
            let target = Target {
                evse: session.spec.evse.clone(),
                session: session.spec.id.clone(),
                connector: session.connector.clone(),
                wish,
            };
            let is_promised = is_admitted && session.spec.guaranteed > WattSeconds::ZERO;
            targets.push((!is_promised, tier, target));
        }
        // The first gets room first: what was promised, then tier by tier.
        targets.sort_by_key(|(unpromised, tier, _)| (*unpromised, *tier));
        targets.into_iter().map(|(_, _, target)| target).collect()
    }

    fn is_promised(&self, session: &Session) -> bool {
        session.spec.guaranteed > self.state.delivered(session)
    }

    /// The commands with what a gateway needs to apply them.
    fn outgoing(&self, decision: &Decision) -> Vec<OutgoingCommand> {
        let site = self.state.site();
        let Some((site, gateway)) = site.and_then(|site| Some((site, site.spec().gateway.clone()?))) else {
            return Vec::new();
        };
        let outgoing = decision.commands.iter().map(|command| OutgoingCommand {
            key: self.state.key().clone(),
            gateway: gateway.clone(),
            command: command.clone(),
            ocpi: self
                .state
                .sessions
                .get(&command.session)
                .and_then(|session| session.spec.ocpi.clone()),
            minimum: site
                .evse(&command.evse)
                .and_then(|evse| evse.connector(&command.connector))
                .map_or(Rate::ZERO, |connector| connector.minimum),
            lowers: decision.urgent.contains(&command.evse),
        });
        outgoing.collect()
    }
}

fn wish_of_check(told: Told) -> Wish {
    match told {
        Told::Rates(rates) => Wish::Follow {
            rates,
            tail: TailWish::Zero,
        },
        Told::Nothing => Wish::HandBack,
    }
}
