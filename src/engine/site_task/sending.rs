//! From the plan in force to commands on their way: what each EVSE should be told, and what the roll-out allows of it now.
//!
//! Decides who is asked for first. Whatever is to be sent is recorded first, and leaves only once that record is synced.

use super::super::ports::{Batch, Durability, OutgoingCommand, StoreError};
use super::{Intake, SiteTask};
use crate::domain::conversion::Rate;
use crate::domain::event::Event;
use crate::domain::profile::ProfileCommand;
use crate::domain::session::{Override, Session};
use crate::domain::site::Mode;
use crate::domain::timeline::Timeline;
use crate::rollout::{self, Room, TailWish, Target, Wish};
use crate::units::{Instant, WattSeconds};

impl SiteTask {
    /// Records what has to be sent now and returns it; it is sent once it is synced.
    pub(super) fn roll_out(&mut self, now: Instant, intake: &mut Intake) -> Vec<ProfileCommand> {
        self.roll_out_at = Instant::FAR_FUTURE;
        if self.mode() != Mode::Control || self.state.not_controlled_because(now).is_some() {
            return Vec::new();
        }
        let Some((site, ledger)) = self.state.site().zip(self.state.ledger()) else {
            return Vec::new();
        };
        let available = self.state.available(now);
        let room = Room {
            site,
            available: &available,
        };
        let targets = self.targets();
        let decision = rollout::step(ledger, &room, now, &targets);
        for note in &decision.notes {
            tracing::debug!(site = %self.state.key(), ?note, "withheld");
        }
        self.roll_out_at = decision.wake_at;
        if !decision.commands.is_empty() {
            intake.synced = true;
            self.record(Event::CommandsIssued(decision.commands.clone()), None, now, intake);
        }
        decision.commands
    }

    /// What each EVSE with a session should be told.
    fn targets(&self) -> Vec<Target> {
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
            let tail = if session.spec.interruptible && !self.is_promised(session) {
                TailWish::Zero
            } else {
                TailWish::Minimum
            };
            let wish = match (session.overridden, self.state.is_planned(session), schedule) {
                (Override::HandBack, _, _) => Wish::HandBack,
                (_, false, _) => Wish::Follow {
                    rates: Timeline::constant(Rate::ZERO),
                    tail: TailWish::Zero,
                },
                (_, true, Some(rates)) => Wish::Follow { rates, tail },
                // Arrived after the plan was made: at its default until the next one.
                (_, true, None) => continue,
            };
            let tier = session.tier_after(self.state.delivered(session));
            let target = Target {
                evse: session.spec.evse.clone(),
                session: session.spec.id.clone(),
                connector: session.connector.clone(),
                wish,
            };
            targets.push((session.spec.guaranteed == WattSeconds::ZERO, tier, target));
        }
        // The first gets room first: what was promised, then tier by tier.
        targets.sort_by_key(|(unpromised, tier, _)| (*unpromised, *tier));
        targets.into_iter().map(|(_, _, target)| target).collect()
    }

    fn is_promised(&self, session: &Session) -> bool {
        session.spec.guaranteed > self.state.delivered(session)
    }

    pub(super) async fn append_and_send(
        &mut self,
        intake: Intake,
        commands: Vec<ProfileCommand>,
    ) -> Result<(), StoreError> {
        if intake.entries.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            entries: intake.entries,
            ended_sessions: intake.ended,
            durability: Durability::Synced,
        };
        self.world.store.append(&self.key(), batch).await?;
        self.send(commands);
        self.keep_snapshot().await;
        Ok(())
    }

    fn send(&self, commands: Vec<ProfileCommand>) {
        let Some(site) = self.state.site() else { return };
        let Some(gateway) = site.spec().gateway.clone() else {
            return;
        };
        for command in commands {
            let minimum = site
                .evse(&command.evse)
                .and_then(|evse| evse.connector(&command.connector))
                .map_or(Rate::ZERO, |connector| connector.minimum);
            let ocpi = self
                .state
                .sessions
                .get(&command.session)
                .and_then(|session| session.spec.ocpi.clone());
            let key = self.key();
            self.world.gateway.send(OutgoingCommand {
                key,
                gateway: gateway.clone(),
                command,
                ocpi,
                minimum,
            });
        }
    }
}
