//! Makes the snapshot that a plan is made from: which sessions may charge when, and what is available to them.
//!
//! Decides how the unknowns of ordinary life become numbers: a departure nobody knows, a need nobody stated. Pure.

use crate::domain::bounds::MAX_SLOTS;
use crate::domain::conversion::{Conversion, Load, Rate};
use crate::domain::limits::Capacity;
use crate::domain::plan::LEAST_HORIZON;
use crate::domain::session::{Session, Tier};
use crate::domain::site::{Connector, Evse, RateChoice, Site, Steps};
use crate::domain::snapshot::{DemandCharge, SlotGrid, Snapshot, SnapshotNode, SnapshotSession};
use crate::domain::timeline::Timeline;
use crate::units::{Instant, MicrosPerKwh, Seconds, WattSeconds, Watts};

/// A car whose departure nobody knows is planned to be done in the time it needs at its fastest, times this many percent.
const HASTE_PERCENT: i64 = 125;

/// What a snapshot is made from.
pub struct Facts<'a> {
    pub site: &'a Site,
    pub now: Instant,
    /// One per place.
    pub available: &'a [Timeline<Capacity>],
    pub prices: Option<&'a Timeline<MicrosPerKwh>>,
    pub base_load: Option<&'a Timeline<Watts>>,
    pub solar: Option<&'a Timeline<Watts>>,
    pub peak_so_far: Watts,
    /// Sessions the planner decides about, each with what it may have got beyond its meter and the rate it is allowed now.
    pub sessions: Vec<Candidate<'a>>,
    /// What each EVSE without such a session may draw, with its place.
    pub held: Vec<(usize, Timeline<Load>)>,
    /// `None`: to the last departure.
    pub slot_count: Option<usize>,
}

/// A session the planner decides about.
pub struct Candidate<'a> {
    pub session: &'a Session,
    pub delivered: WattSeconds,
    /// What it may have at most, of what nobody else wants, where its driver is not admitted.
    pub at_most: Option<Rate>,
    pub current: Rate,
    /// Its rates in the plan in force.
    pub planned: Option<Timeline<Rate>>,
}

/// The facts as planner and verify see them.
pub fn snapshot(facts: &Facts<'_>) -> Snapshot {
    let wishes: Vec<Wish<'_>> = facts
        .sessions
        .iter()
        .filter_map(|candidate| Wish::new(facts, candidate))
        .collect();
    let grid = slot_grid(facts, &wishes);
    Snapshot {
        grid,
        nodes: nodes(facts, &wishes, &grid),
        sessions: wishes.iter().map(|wish| wish.in_slots(&grid)).collect(),
        prices: sample(facts.prices, &grid).collect(),
        demand_charge: facts
            .site
            .spec()
            .demand_charge_micros_per_kw
            .map(|micros_per_kw| DemandCharge {
                micros_per_kw,
                peak_so_far: facts.peak_so_far,
                expected_base: sample(facts.base_load, &grid)
                    .zip(sample(facts.solar, &grid))
                    .map(|(base, solar): (Watts, Watts)| base - solar)
                    .collect(),
            }),
        fairness: facts.site.spec().fairness,
    }
}

fn sample<T: Clone + PartialEq + Default>(timeline: Option<&Timeline<T>>, grid: &SlotGrid) -> impl Iterator<Item = T> {
    let grid = *grid;
    (0..grid.count()).map(move |slot| {
        timeline
            .map(|timeline| timeline.at(grid.begin(slot)).clone())
            .unwrap_or_default()
    })
}

fn slot_grid(facts: &Facts<'_>, wishes: &[Wish<'_>]) -> SlotGrid {
    let length = facts.site.spec().slot;
    let last_end = wishes
        .iter()
        .map(|wish| wish.end)
        .max()
        .unwrap_or(facts.now)
        .max(facts.now + LEAST_HORIZON);
    let whole_slots = (last_end - facts.now.floor_to(length)).secs().div_euclid(length.secs());
    let count = facts
        .slot_count
        .unwrap_or(whole_slots.max(1) as usize)
        .clamp(1, MAX_SLOTS);
    SlotGrid::new(facts.now, length, count)
}

fn nodes(facts: &Facts<'_>, wishes: &[Wish<'_>], grid: &SlotGrid) -> Vec<SnapshotNode> {
    let places = facts.site.places();
    let mut held = vec![vec![Load::ZERO; grid.count()]; places.len()];
    for (place, load) in &facts.held {
        let most_in = |slot: usize| {
            let loads = load.during(grid.begin(slot), grid.end(slot));
            loads.fold(Load::ZERO, |most, next| most.max(*next))
        };
        let by_slot: Vec<Load> = (0..grid.count()).map(most_in).collect();
        for above in facts.site.path_to_root(*place) {
            for (sum, load) in held[above].iter_mut().zip(&by_slot) {
                *sum += *load;
            }
        }
    }
    for wish in wishes.iter().filter(|wish| wish.beside != Load::ZERO) {
        for above in facts.site.path_to_root(wish.place) {
            held[above].iter_mut().for_each(|sum| *sum += wish.beside);
        }
    }
    let available = |place: usize, slot: usize| {
        least_during(&facts.available[place], grid.begin(slot), grid.end(slot)).less(&held[place][slot])
    };
    places
        .iter()
        .enumerate()
        .map(|(index, place)| SnapshotNode {
            id: place.id.clone(),
            parent: place.parent,
            available: (0..grid.count()).map(|slot| available(index, slot)).collect(),
        })
        .collect()
}

fn least_during(capacity: &Timeline<Capacity>, from: Instant, until: Instant) -> Capacity {
    capacity
        .during(from, until)
        .fold(Capacity::UNLIMITED, |least, next| least.tighter(next))
}

/// A session with its unknowns filled in.
struct Wish<'a> {
    candidate: &'a Candidate<'a>,
    conversion: Conversion,
    choice: RateChoice,
    /// What it counts for at least.
    default: Rate,
    /// What its EVSE's other connectors may draw by default that no rate of this one counts for.
    beside: Load,
    place: usize,
    start: Instant,
    end: Instant,
    need: Option<WattSeconds>,
    now: Instant,
    lease: Seconds,
}

impl<'a> Wish<'a> {
    /// `None` where the session's EVSE or connector is gone.
    fn new(facts: &'a Facts<'_>, candidate: &'a Candidate<'_>) -> Option<Self> {
        let session = candidate.session;
        let evse = facts.site.evse(&session.spec.evse)?;
        let connector = evse.connector(&session.connector)?;
        let conversion = connector.conversion().for_car(session.spec.car.phases);
        let mut choice = choice_with_car(connector, session);
        let stopped = session.has_stopped();
        if stopped {
            // Just so much that it can ask again.
            choice.maximum = choice.minimum;
        }
        if let Some(most) = candidate.at_most {
            choice.maximum = choice.maximum.min(most);
        }
        let power = conversion.nominal_power(session.spec.car.phases);
        let fastest = Watts::from_watts(power.floor(choice.maximum));
        let remaining = session
            .spec
            .need
            .value()
            .map(|need| (need - candidate.delivered).or_zero());
        // A need that is met asks for whatever is spare, and so does whoever is not admitted.
        let asks = !stopped && candidate.at_most.is_none();
        let need = remaining.filter(|need| *need > WattSeconds::ZERO && asks);
        let start = session.spec.arrival.max(facts.now);
        let end = session
            .departure(facts.now)
            .unwrap_or_else(|| start + time_in_haste(need, fastest));
        let place = facts.site.place_of_evse(&session.spec.evse)?;
        let (default, beside) = default_of(evse, connector);
        Some(Self {
            candidate,
            conversion,
            choice,
            default,
            beside,
            place,
            start,
            end,
            need,
            now: facts.now,
            lease: facts.site.spec().lease,
        })
    }

    /// What the plan in force gives in the slots that a profile of now would cover.
    fn planned(&self, grid: &SlotGrid) -> Vec<Rate> {
        let Some(planned) = &self.candidate.planned else {
            return Vec::new();
        };
        (0..grid.count())
            .map(|slot| grid.begin(slot))
            .take_while(|begin| *begin < self.now + self.lease)
            .map(|begin| *planned.at(begin))
            .collect()
    }

    fn in_slots(&self, grid: &SlotGrid) -> SnapshotSession {
        let session = self.candidate.session;
        let guaranteed = (session.spec.guaranteed - self.candidate.delivered).or_zero();
        let first_slot = grid.slots_before(self.start).min(grid.count() - 1);
        // A slot is used if the car is there for all of it, and the first one in any case.
        let end_slot = grid.slots_before(self.end).clamp(first_slot + 1, grid.count());
        // A slot before the arrival is not used; a later arrival begins with the next whole slot.
        let late = self.start > grid.begin(first_slot) && self.start > self.now;
        let first_slot = if late {
            (first_slot + 1).min(end_slot)
        } else {
            first_slot
        };
        let tier = match self.candidate.at_most {
            None => session.tier_after(self.candidate.delivered),
            Some(_) => Tier::SPARE,
        };
        let is_promised = !session.has_stopped() && self.candidate.at_most.is_none();
        SnapshotSession {
            id: session.spec.id.clone(),
            evse: session.spec.evse.clone(),
            node: self.place,
            conversion: self.conversion.clone(),
            default: self.default,
            choice: self.choice.clone(),
            arrival: session.spec.arrival,
            first_slot,
            end_slot,
            need: self.need,
            guaranteed: if is_promised {
                self.need.map_or(guaranteed, |need| guaranteed.min(need))
            } else {
                WattSeconds::ZERO
            },
            interruptible: session.spec.interruptible || tier == Tier::SPARE,
            tier,
            power: self.conversion.nominal_power(session.spec.car.phases),
            current: self.candidate.current,
            planned: self.planned(grid),
        }
    }
}

/// What a session at `connector` counts for at least, so that its EVSE's default is covered, whichever connector the next car uses:
/// the least rate that counts for as much, or the connector's own default and what is to be left free beside it.
fn default_of(evse: &Evse, connector: &Connector) -> (Rate, Load) {
    let (own, whole) = (connector.default_or_maximum(), evse.default_load());
    let conversion = connector.conversion();
    let counts = |rate: Rate| conversion.load_of_any_car(rate);
    let covers = |rate: Rate| counts(rate).max(whole) == counts(rate);
    if covers(own) {
        return (own, Load::ZERO);
    }
    if !covers(connector.maximum) {
        return (own, counts(own).max(whole) - counts(own));
    }
    let (mut too_little, mut enough) = (own.value(), connector.maximum.value());
    while enough - too_little > 1 {
        let middle = too_little + (enough - too_little) / 2;
        if covers(Rate::new(middle)) {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    (Rate::new(enough), Load::ZERO)
}

fn time_in_haste(need: Option<WattSeconds>, fastest: Watts) -> Seconds {
    let Some(need) = need else { return LEAST_HORIZON };
    let secs = need.watt_seconds() / fastest.watts().max(1) * HASTE_PERCENT / 100;
    Seconds::from_secs(secs).clamp(LEAST_HORIZON, crate::domain::bounds::MAX_STAY)
}

/// The connector's rates, within what the car can take.
pub fn choice_with_car(connector: &Connector, session: &Session) -> RateChoice {
    let choice = connector.choice();
    let car = &session.spec.car;
    let minimum = car
        .minimum
        .map_or(choice.minimum, |minimum| minimum.max(choice.minimum));
    // A ceiling a little above what the car takes costs room and gives nothing; one below the minimum gives nothing at all.
    let wanted = car.maximum.map_or(choice.maximum, |maximum| maximum.max(minimum));
    let maximum = match &choice.steps {
        // The next step up, so that a car of 15.9 A gets all it can take on a connector of whole amperes.
        Steps::Multiple(step) => {
            Rate::new((wanted.value() + step.value() - 1).div_euclid(step.value()) * step.value()).min(choice.maximum)
        }
        Steps::Listed(rates) => rates
            .iter()
            .copied()
            .find(|rate| *rate >= wanted)
            .unwrap_or(choice.maximum)
            .min(choice.maximum),
    };
    RateChoice {
        minimum,
        maximum,
        steps: choice.steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversion::{Phase, Wiring};
    use crate::domain::ids::{ConnectorId, EvseId};
    use crate::units::{DeciAmps, Volts};

    fn evse(connectors: &[(Phase, Option<i64>)]) -> Evse {
        let connector = |number: usize, phase: Phase, default: Option<i64>| Connector {
            id: ConnectorId::parse(&number.to_string()).unwrap(),
            wiring: Wiring::Star(vec![phase]),
            volt: Volts::from_volts(230),
            minimum: Rate::new(60),
            maximum: Rate::new(320),
            default: default.map(Rate::new),
            steps: Steps::Multiple(Rate::new(1)),
            max_profile_periods: 24,
        };
        Evse {
            id: EvseId::parse("evse").unwrap(),
            controllable: true,
            metered: false,
            connectors: connectors
                .iter()
                .enumerate()
                .map(|(number, (phase, default))| connector(number, *phase, *default))
                .collect(),
        }
    }

    fn default(evse: &Evse) -> (i64, [i64; 3]) {
        let (default, beside) = default_of(evse, &evse.connectors[0]);
        (default.value(), beside.star.map(DeciAmps::deciamps))
    }

    #[test]
    fn a_session_counts_for_what_its_evse_does_by_default_at_any_connector() {
        assert_eq!(default(&evse(&[(Phase::L1, Some(60))])), (60, [0; 3]));
        assert_eq!(
            default(&evse(&[(Phase::L1, Some(0)), (Phase::L1, Some(0))])),
            (0, [0; 3])
        );
        assert_eq!(
            default(&evse(&[(Phase::L1, Some(0)), (Phase::L1, Some(80))])),
            (80, [0; 3])
        );
        assert_eq!(
            default(&evse(&[(Phase::L1, Some(0)), (Phase::L1, None)])),
            (320, [0; 3])
        );
        assert_eq!(
            default(&evse(&[(Phase::L1, Some(60)), (Phase::L2, Some(80))])),
            (60, [0, 80, 0])
        );
    }
}
