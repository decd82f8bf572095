//! One step of the roll-out: from what is wanted to what is sent now.
//!
//! Decides which commands go out and with what content: the plan cut to the lease, clipped to what surely fits beside everything
//! that others may be following, and a tail. What lowers goes first and always; what raises goes in the order of the targets, each
//! seeing those before it. Pure: asks no clock, remembers nothing, and checks its own output before it lets it go.

use super::entry::Entry;
use super::headroom::{Asking, Clip, Headroom, clipped};
use super::ledger::{Ledger, Link};
use super::may_follow::{MayFollow, WrongRule};
use super::{Decision, Room, TailWish, Target, Wish, invariants};
use crate::domain::conversion::{Conversion, Load, Rate};
use crate::domain::ids::{ConnectorId, EvseId};
use crate::domain::plan::Note;
use crate::domain::profile::{Cause, ChargingProfile, Instruction, ProfileCommand};
use crate::domain::site::{Connector, RateChoice};
use crate::domain::timeline::Timeline;
use crate::units::{Instant, Seconds};
use std::collections::BTreeSet;

/// A command without an answer is sent again after this long, then after twice as long, and so on.
const RETRY_AFTER: Seconds = Seconds::from_secs(30);
/// A refused command is made anew no sooner than this, then twice as long, and so on.
const ANEW_AFTER_REFUSAL: Seconds = Seconds::from_secs(15);
/// Neither wait grows beyond this.
const LONGEST_WAIT: Seconds = Seconds::from_mins(4);
/// Transmissions of one revision. After that the renewal is the next attempt.
const MAX_ATTEMPTS: u32 = 8;
/// Lease ends are rounded down to this share of the lease, so that the sums over a site have few steps.
const LEASE_GRAINS: i64 = 30;

/// What to send now. See the [module](super).
pub fn step(ledger: &Ledger, room: &Room<'_>, now: Instant, targets: &[Target]) -> Decision {
    assert_eq!(
        ledger.parents().len(),
        room.site.places().len(),
        "the ledger knows the site as it is"
    );
    assert_eq!(
        room.available.len(),
        room.site.places().len(),
        "every place has its room"
    );
    let mut step = Step {
        ledger,
        room,
        now,
        headroom: Headroom::new(ledger.sums(), room.available, now),
        lowering: Vec::new(),
        raising: Vec::new(),
        urgent: BTreeSet::new(),
        notes: Vec::new(),
        wake_at: ledger.next_expiry(now).unwrap_or(Instant::FAR_FUTURE),
    };
    if ledger.link() != Link::Down {
        let mut seen = vec![false; ledger.records().len()];
        for target in targets {
            let index = ledger.index_of(&target.evse);
            if index.is_none_or(|index| !std::mem::replace(&mut seen[index], true)) {
                step.serve(target, index.map(|index| &ledger.records()[index]));
            }
        }
    }
    step.finish()
}

struct Step<'a> {
    ledger: &'a Ledger,
    room: &'a Room<'a>,
    now: Instant,
    headroom: Headroom<'a>,
    lowering: Vec<ProfileCommand>,
    raising: Vec<ProfileCommand>,
    urgent: BTreeSet<EvseId>,
    notes: Vec<Note>,
    wake_at: Instant,
}

/// A target with what is known of its EVSE.
struct Case<'a> {
    target: &'a Target,
    record: &'a MayFollow,
    connector: &'a Connector,
    choice: RateChoice,
    /// The newest revision sent for this session and not refused.
    current: Option<&'a Entry>,
}

impl<'a> Case<'a> {
    /// The profile in force, unless the station has said that it has none, or both that it follows it and that it does not.
    fn profile(&self, now: Instant, lease: Seconds) -> Option<&'a ChargingProfile> {
        let current = self.current?;
        let sent_at = current
            .last_transmission()
            .map_or(Instant::FAR_PAST, |sent| sent.command.sent_at);
        let lost = (self.record.lost_profile.is_some() || current.is_contradicted()) && sent_at + RETRY_AFTER <= now;
        match &current.command.instruction {
            Instruction::Set(profile) if !lost && self.still_takes(&current.command.connector, profile, now, lease) => {
                Some(profile)
            }
            _ => None,
        }
    }

    fn conversion(&self) -> Conversion {
        let car_phases = self.record.car_phases(&self.target.session);
        self.connector.conversion().for_car(car_phases)
    }

    /// Whether `profile` might be sent as it is: the site may have changed since it was.
    fn still_takes(&self, connector: &ConnectorId, profile: &ChargingProfile, now: Instant, lease: Seconds) -> bool {
        *connector == self.connector.id
            && profile.unit == self.connector.unit()
            && profile.lease_end() <= now + lease
            && profile.limits().points().len() <= most_periods(self)
            && profile
                .limits()
                .points()
                .iter()
                .all(|(_, rate)| self.choice.allows(*rate))
    }
}

impl<'a> Step<'a> {
    fn serve(&mut self, target: &'a Target, record: Option<&'a MayFollow>) {
        let record = record.filter(|record| record.in_site);
        let connector = record.and_then(|record| record.evse.connector(&target.connector));
        let (Some(record), Some(connector)) = (record, connector) else {
            return self.withhold(target, "the site has no such connector".to_owned());
        };
        if !record.evse.controllable {
            return self.withhold(target, "the EVSE cannot be controlled".to_owned());
        }
        let case = Case {
            target,
            record,
            connector,
            choice: connector.choice(),
            current: record.current(&target.session),
        };
        match &target.wish {
            Wish::HandBack => self.hand_back(&case),
            Wish::Follow { rates, .. } if self.is_quiet(&case, rates) => {}
            Wish::Follow { rates, tail } => self.follow(&case, rates, *tail),
        }
    }

    fn hand_back(&mut self, case: &Case<'_>) {
        if let Some(current) = case
            .current
            .filter(|current| current.command.instruction == Instruction::Clear && !current.is_contradicted())
        {
            return self.retry_if_due(case, current);
        }
        if let Some(until) = self.waits_after_refusal(case) {
            return self.wake(until);
        }
        if let Some(clip) = self.clips_of_clear(case, case.record.is_full()).first() {
            let what = format!(
                "handing back needs its maximum, which does not fit at {} yet",
                self.place_name(clip.place)
            );
            return self.withhold(case.target, what);
        }
        let anything = Timeline::constant(case.record.evse.maximum_load());
        self.issue(case, Cause::Change, Instruction::Clear, anything);
    }

    fn follow(&mut self, case: &Case<'_>, rates: &Timeline<Rate>, tail: TailWish) {
        let rates = rates.since(self.now).map(|rate| case.choice.floor(*rate));
        let shape = self.shape(case, &rates, tail);
        let due = case
            .profile(self.now, self.room.site.spec().lease)
            .map(|profile| (profile, renewal_due(profile)));
        let cause = match due {
            Some((profile, _)) if profile.lease_end() <= self.now => {
                let leased = *profile.limits().at(profile.lease_end() - Seconds::from_secs(1));
                if *shape.rates.at(self.now) == leased {
                    Cause::Renewal
                } else {
                    Cause::Change
                }
            }
            Some((profile, _)) if self.differs(case, profile, &shape.rates) => Cause::Change,
            Some((_, due)) if due <= self.now => Cause::Renewal,
            Some((_, due)) => {
                self.wake(due);
                if let Some(current) = case.current {
                    self.retry_if_due(case, current);
                }
                return self.note_clips(case, &shape);
            }
            None => Cause::Change,
        };
        self.note_clips(case, &shape);
        if let Some(until) = self.waits_after_refusal(case)
            && !lowers_refused(case, &shape.rates, self.now)
        {
            return self.wake(until);
        }
        self.wake(renewal_due(&shape.profile));
        let conversion = case.conversion();
        let load = shape
            .profile
            .limits()
            .widen(self.skew())
            .map(|rate| conversion.load(*rate));
        self.issue(case, cause, Instruction::Set(shape.profile), load);
    }

    /// True if what was sent last is just what is wanted and needs no renewal: nothing to send, and no room to ask for.
    fn is_quiet(&mut self, case: &Case<'_>, rates: &Timeline<Rate>) -> bool {
        let Some(profile) = case.profile(self.now, self.room.site.spec().lease) else {
            return false;
        };
        let due = renewal_due(profile);
        let is_wanted = |sent: &Rate, rate: &Rate| *sent == case.choice.floor(*rate);
        if due <= self.now || !(profile.limits()).agrees(rates, self.now, profile.lease_end(), is_wanted) {
            return false;
        }
        self.wake(due);
        if let Some(current) = case.current {
            self.retry_if_due(case, current);
        }
        true
    }

    /// The profile that would be sent now.
    fn shape(&mut self, case: &Case<'_>, rates: &Timeline<Rate>, tail: TailWish) -> Shape {
        let lease = self.room.site.spec().lease;
        let grain = Seconds::from_secs((lease.secs() / LEASE_GRAINS).max(1));
        let lease_end = (self.now + lease).floor_to(grain);
        let now = self.now;
        let conversion = case.conversion();
        let cut =
            |rates: &Timeline<Rate>, tail: Rate| ChargingProfile::cut(conversion.unit, rates, now, lease_end, tail);
        let wanted_tail = match tail {
            TailWish::Zero => Rate::ZERO,
            TailWish::Minimum if case.record.may_have_tail(self.ledger.terms()) => {
                case.choice.above(Rate::ZERO).unwrap_or(Rate::ZERO)
            }
            TailWish::Minimum => Rate::ZERO,
        };
        let wanted = cut(rates, wanted_tail);
        let skew = self.skew();
        let frozen = case.record.is_full();
        let clips = self.clips(
            case,
            &wanted.limits().widen(skew),
            &|rate| conversion.load(rate),
            frozen,
        );
        let tail_fits = clips
            .iter()
            .all(|clip| clip.until + skew <= lease_end || clip.rate >= wanted_tail);
        let tail = if tail_fits { wanted_tail } else { Rate::ZERO };
        let rates = clipped(rates, &clips, skew);
        Shape {
            profile: at_most(most_periods(case), &rates, |rates| cut(rates, tail)),
            rates,
            withheld: clips.into_iter().find(|clip| clip.from <= lease_end),
            tail_fits,
        }
    }

    /// Whether the rates that `profile` still has differ from what would be sent now.
    ///
    /// What the profile reaches by itself within the clocks' skew is no difference: there the edge of the room moves with `now`. Nor
    /// is what its last period may have lost where periods were too many: that would come and go as others pass.
    fn differs(&self, case: &Case<'_>, profile: &ChargingProfile, rates: &Timeline<Rate>) -> bool {
        let limits = profile.limits().since(self.now);
        let end = profile.lease_end();
        let lowered = limits.zip(rates, |sent, wanted| wanted < sent);
        if lowered.during(self.now, end).any(|lowered| *lowered) {
            return true;
        }
        let reach = Seconds::from_secs(2 * self.skew().secs());
        let nearby = limits.widen(reach);
        let raised = nearby.zip(rates, |sent, wanted| wanted > sent);
        let raised_before = |until: Instant| self.now < until && raised.during(self.now, until).any(|raised| *raised);
        if profile.limits().points().len() + 1 < most_periods(case) {
            return raised_before(end);
        }
        let begun = profile.limits().points().iter().rev().map(|(start, _)| *start);
        let last = begun.into_iter().find(|start| *start < end).unwrap_or(end);
        let raised_throughout = || rates.during(last, end).min() > nearby.during(last, end).max();
        raised_before(last - reach) || (self.now < last && raised_throughout())
    }

    /// Where to be handed back is more than what fits: by any connector and with any car, since nothing that we know of the session binds
    /// an EVSE then.
    fn clips_of_clear(&mut self, case: &Case<'_>, frozen: bool) -> Vec<Clip> {
        let conversion = case.conversion();
        let (most, whole) = (case.connector.maximum, case.record.evse.maximum_load());
        let load = |rate: Rate| if rate < most { conversion.load(rate) } else { whole };
        self.clips(case, &Timeline::constant(most), &load, frozen)
    }

    /// Where the rates of `wanted`, drawing `load` each, are more than what fits. `frozen`: nothing may be added to what was told.
    fn clips(
        &mut self,
        case: &Case<'_>,
        wanted: &Timeline<Rate>,
        load: &dyn Fn(Rate) -> Load,
        frozen: bool,
    ) -> Vec<Clip> {
        let (ledger, now) = (self.ledger, self.now);
        if ledger.terms().break_rule(WrongRule::SendAll) {
            return Vec::new();
        }
        let path: Vec<usize> = ledger.path_to_root(case.record).collect();
        let asking = Asking {
            path: &path,
            reserved: case.record.worst(),
            told: &case.record.told(&case.target.session, ledger.terms(), now),
            follows: &case.record.follows_at_least(&case.target.session, ledger.terms(), now),
            load,
            choice: &case.choice,
            frozen,
        };
        self.headroom.clips(&asking, wanted)
    }

    fn issue(&mut self, case: &Case<'_>, cause: Cause, instruction: Instruction, load: Timeline<Load>) {
        let with = |known: &Timeline<Load>| known.zip(&load, |known, load| known.max(*load));
        let terms = self.ledger.terms();
        let follows = case.record.follows_at_least(&case.target.session, terms, self.now);
        let raises = with(&follows).since(self.now) != follows.since(self.now);
        let reserved = case.record.worst();
        let path = self.ledger.path_to_root(case.record);
        self.headroom.raise(path, reserved, &with(reserved));
        let command = ProfileCommand {
            evse: case.target.evse.clone(),
            session: case.target.session.clone(),
            connector: case.connector.id.clone(),
            revision: case.record.last_revision().next(),
            attempt: 1,
            sent_at: self.now,
            cause,
            instruction,
        };
        self.wake(self.now + RETRY_AFTER);
        self.note_urgency(case, &command, &load);
        if raises { &mut self.raising } else { &mut self.lowering }.push(command);
    }

    /// By what the EVSE may be drawing, not by what it was told last: that may be lost, and what is lowered from it again may not be.
    fn note_urgency(&mut self, case: &Case<'_>, command: &ProfileCommand, load: &Timeline<Load>) {
        let until = match &command.instruction {
            Instruction::Set(profile) => profile.lease_end(),
            Instruction::Clear => Instant::FAR_FUTURE,
        };
        let told = case.record.told(&case.target.session, self.ledger.terms(), self.now);
        let lowered = told.zip(load, |told, load| load.max(*told) != *load);
        if lowered.during(self.now, until).any(|lowered| *lowered) {
            self.urgent.insert(command.evse.clone());
        }
    }

    fn retry_if_due(&mut self, case: &Case<'_>, current: &Entry) {
        let attempts = current.last_attempt();
        let Some(last) = current.last_transmission() else {
            return;
        };
        if !current.is_unanswered() || attempts >= MAX_ATTEMPTS {
            return;
        }
        if current.is_contradicted() {
            // Made anew then: it may be more than what fits by now.
            return self.wake(last.command.sent_at + RETRY_AFTER);
        }
        let gateway_is_new = matches!(self.ledger.link(), Link::Up { since } if since > last.sent);
        let due = if gateway_is_new {
            self.now
        } else {
            last.command.sent_at + wait(RETRY_AFTER, attempts)
        };
        if due > self.now {
            return self.wake(due);
        }
        self.wake(self.now + wait(RETRY_AFTER, attempts + 1));
        if !self.may_be_repeated(case, current) {
            return;
        }
        let retry = ProfileCommand {
            attempt: attempts + 1,
            sent_at: self.now,
            cause: Cause::Retry,
            ..current.command.clone()
        };
        debug_assert_eq!(retry.evse, case.target.evse, "a retry is for the same EVSE");
        self.note_urgency(case, &retry, &current.load);
        self.lowering.push(retry);
    }

    /// It adds nothing to what may be followed, but where too much may be by now, perhaps to what is.
    fn may_be_repeated(&mut self, case: &Case<'_>, current: &Entry) -> bool {
        let clips = match &current.command.instruction {
            Instruction::Clear => self.clips_of_clear(case, false),
            Instruction::Set(profile) => {
                let conversion = case.conversion();
                let limits = profile.limits().widen(self.skew());
                self.clips(case, &limits, &|rate| conversion.load(rate), false)
            }
        };
        clips.is_empty()
    }

    /// Until when nothing new is sent because the last was refused.
    fn waits_after_refusal(&self, case: &Case<'_>) -> Option<Instant> {
        let refused: Vec<&Entry> = case
            .record
            .refused()
            .filter(|entry| entry.command.session == case.target.session)
            .collect();
        let replied_at = refused
            .first()?
            .transmissions
            .iter()
            .map(|sent| sent.replied_at)
            .max()?;
        let until = replied_at + wait(ANEW_AFTER_REFUSAL, refused.len() as u32);
        (until > self.now).then_some(until)
    }

    fn note_clips(&mut self, case: &Case<'_>, shape: &Shape) {
        if let Some(clip) = &shape.withheld {
            let place = self.place_name(clip.place);
            let what = format!(
                "room at {place} is not free yet from {}: {} of its plan fits",
                clip.from, clip.rate
            );
            self.withhold(case.target, what);
        } else if !shape.tail_fits {
            self.withhold(case.target, "its minimum does not fit as the tail".to_owned());
        }
    }

    fn withhold(&mut self, target: &Target, reason: String) {
        self.notes.push(Note::Withheld {
            session: target.session.clone(),
            reason,
        });
    }

    fn place_name(&self, place: usize) -> &'a str {
        self.room.site.places()[place].id.as_str()
    }

    fn skew(&self) -> Seconds {
        self.ledger.terms().reach()
    }

    fn wake(&mut self, at: Instant) {
        self.wake_at = self.wake_at.min(at);
    }

    fn finish(self) -> Decision {
        let mut commands = self.lowering;
        commands.extend(self.raising);
        if !commands.is_empty() && !self.ledger.terms().breaks_any_rule() {
            self.ledger.assert_allowed(self.room, self.now, &commands);
        }
        Decision {
            commands,
            urgent: self.urgent,
            notes: self.notes,
            wake_at: self.wake_at.max(self.now + Seconds::from_secs(1)),
        }
    }
}

/// What would be sent to one EVSE now.
struct Shape {
    profile: ChargingProfile,
    /// The plan as far as it fits, before its periods are counted.
    rates: Timeline<Rate>,
    withheld: Option<Clip>,
    tail_fits: bool,
}

fn most_periods(case: &Case<'_>) -> usize {
    usize::from(case.connector.max_profile_periods)
}

/// The profile that `cut` makes of `rates`, with at most `most` periods: as many as can be are kept as they are, and the rest of the
/// lease gets the lowest of its rates. The next renewal comes long before most of that rest.
///
/// Either nothing is lost, or the profile has `most` periods, or one less where two of them are equal.
fn at_most(most: usize, rates: &Timeline<Rate>, cut: impl Fn(&Timeline<Rate>) -> ChargingProfile) -> ChargingProfile {
    let whole = cut(rates);
    if whole.limits().points().len() <= most {
        return whole;
    }
    let periods: Vec<(Instant, Rate)> = rates
        .points()
        .iter()
        .copied()
        .filter(|(start, _)| *start < whole.lease_end())
        .collect();
    (0..periods.len().min(most))
        .rev()
        .map(|kept| {
            let lowest = periods[kept..]
                .iter()
                .map(|(_, rate)| *rate)
                .min()
                .unwrap_or(Rate::ZERO);
            let rest = (periods[kept].0, lowest);
            cut(&Timeline::from_points(periods[..kept].iter().copied().chain([rest])))
        })
        .find(|profile| profile.limits().points().len() <= most)
        .expect("one period and a tail are few enough for any station")
}

fn renewal_due(profile: &ChargingProfile) -> Instant {
    let half = (profile.lease_end() - profile.start()).secs() / 2;
    profile.start() + Seconds::from_secs(half)
}

fn wait(first: Seconds, times: u32) -> Seconds {
    let doubled = first.secs() << times.saturating_sub(1).min(8);
    Seconds::from_secs(doubled).min(LONGEST_WAIT)
}

/// True if `rates` are below what was refused last: that is a new wish, and it cannot wait.
fn lowers_refused(case: &Case<'_>, rates: &Timeline<Rate>, now: Instant) -> bool {
    let Some(refused) = case.record.refused().next() else {
        return true;
    };
    let Instruction::Set(profile) = &refused.command.instruction else {
        return true;
    };
    let lower = profile
        .limits()
        .since(now)
        .zip(rates, |refused, wanted| wanted < refused);
    lower.during(now, profile.lease_end()).any(|lower| *lower)
}

impl Ledger {
    /// The promises, checked by their own code on what is about to leave.
    fn assert_allowed(&self, room: &Room<'_>, now: Instant, commands: &[ProfileCommand]) {
        let mut checks = vec![invariants::inv_profile_can_be_followed(room.site, commands)];
        let revisions = commands
            .iter()
            .map(|command| (self.last_revision(&command.evse), command));
        checks.extend(revisions.map(|(last, command)| invariants::inv_revision_counts_up(last, command)));
        let then = self.worst_cases_if(commands, now);
        checks.extend(
            then.iter().map(|(place, before, after)| {
                invariants::inv_1_at(*place, before, after, &room.available[*place], now)
            }),
        );
        for check in checks {
            if let Err(breach) = check {
                panic!("the roll-out would break its promise: {breach}");
            }
        }
    }
}
