//! The same day under simpler rules, to compare with: everyone at full power, and equal shares of what is left.
//!
//! Decides what those rules do. They know at once and without a message what the cars do and what the limit is, which flatters
//! them; equal share keeps the same reserve and counts amperes by the same table as laddplan, so that the two differ only in how
//! they share.

use super::day::{Day, Source};
use super::tally::Figures;
use super::yard::Yard;
use crate::domain::bounds::MAX_POWER_WATTS;
use crate::domain::conversion::{Load, Rate};
use crate::domain::limits::Capacity;
use crate::domain::site::{Connector, Place, RateChoice};
use crate::units::{DeciAmps, Instant, Seconds, Watts};

/// Nobody holds anyone back, whatever the limits are.
pub fn full_power(day: &Day) -> Figures {
    let full: Vec<DeciAmps> = day.evses.iter().map(|evse| evse.wires.maximum).collect();
    play(day, |_, _| full.clone())
}

/// What a grid connection may carry where nobody says: this much of what the cars would draw if nobody held them back. It binds
/// for hours, and leaves room for most of the energy.
const USUAL_LIMIT_PERCENT: i64 = 60;

/// The usual limit for a day, in whole kilowatts.
pub fn usual_limit(source: &Source) -> anyhow::Result<Watts> {
    let unlimited = Source {
        grid_limit: Watts::from_watts(MAX_POWER_WATTS),
        ..source.clone()
    };
    let highest = full_power(&Day::read(&unlimited)?).highest();
    let kilowatts = (highest.watts() * USUAL_LIMIT_PERCENT / 100_000).max(1);
    Ok(Watts::from_watts(kilowatts * 1000))
}

/// At every point of the supply everyone who still charges gets the same; where that is less than a car can use, those who came
/// first go first.
pub fn equal_share(day: &Day) -> Figures {
    let mut known: Option<(Watts, Vec<usize>)> = None;
    let mut pilots = Vec::new();
    play(day, |yard, limit| {
        let mut charging: Vec<usize> = yard.charging().collect();
        charging.sort_unstable();
        let now = Some((limit, charging));
        if now != known {
            known = now;
            if let Some((limit, charging)) = &known {
                pilots = share(day, *limit, charging);
            }
        }
        pilots.clone()
    })
}

/// Plays the day; `rule` says what each EVSE offers, given the yard and the limit of the grid connection.
fn play(day: &Day, mut rule: impl FnMut(&Yard, Watts) -> Vec<DeciAmps>) -> Figures {
    let mut yard = Yard::new(day);
    let mut limit = day.grid_limit;
    let mut at = day.start;
    while at < day.end {
        let before = limit;
        for (index, session) in day.sessions.iter().enumerate() {
            if session.departure == at {
                yard.unplug(index);
            }
            if session.arrival == at {
                yard.plug_in(index);
            }
        }
        limit = limit_at(day, at);
        if limit != before {
            yard.set_grid_limit(at, limit);
        }
        let pilots = rule(&yard, limit);
        yard.second(at, |evse| pilots[evse]);
        at = at + Seconds::from_secs(1);
    }
    yard.finish()
}

fn limit_at(day: &Day, at: Instant) -> Watts {
    if (day.cut.from..day.cut.until).contains(&at) {
        day.cut.limit
    } else {
        day.grid_limit
    }
}

/// Pilots by EVSE. `charging` are sessions by arrival.
fn share(day: &Day, limit: Watts, charging: &[usize]) -> Vec<DeciAmps> {
    let capacities = capacities(day, limit);
    let mut served = charging.to_vec();
    loop {
        let rates: Vec<Rate> = served
            .iter()
            .map(|session| share_of(day, &capacities, &served, *session))
            .collect();
        // The last to come among those whose share is too small to charge with has to wait.
        let Some(last) = rates.iter().rposition(|rate| rate.is_zero()) else {
            let mut pilots = vec![DeciAmps::ZERO; day.evses.len()];
            for (session, rate) in served.iter().zip(rates) {
                pilots[day.sessions[*session].evse] = DeciAmps::from_deciamps(rate.value());
            }
            return pilots;
        };
        served.remove(last);
    }
}

/// What every place of the site may carry: its limit, less the reserve at the grid connection.
fn capacities(day: &Day, limit: Watts) -> Vec<Capacity> {
    let mut capacities: Vec<Capacity> = day.site.places().iter().map(Place::capacity).collect();
    let reserve = limit.watts() * i64::from(day.site.spec().reserve_permille) / 1000;
    capacities[0].total = Some(limit - Watts::from_watts(reserve));
    capacities
}

/// The least of the equal shares at all places above the session's EVSE.
fn share_of(day: &Day, capacities: &[Capacity], served: &[usize], session: usize) -> Rate {
    let place = day.evses[day.sessions[session].evse].place;
    let shares = day
        .site
        .path_to_root(place)
        .map(|place| share_at(day, capacities[place], served, place));
    shares.min().unwrap_or_default()
}

/// The greatest rate that all of `served` below `place` can have at once.
fn share_at(day: &Day, capacity: Capacity, served: &[usize], place: usize) -> Rate {
    let below: Vec<_> = served
        .iter()
        .map(|session| &day.evses[day.sessions[*session].evse])
        .filter(|evse| day.site.path_to_root(evse.place).any(|above| above == place))
        .filter_map(|evse| day.site.evse(&evse.id)?.connectors.first())
        .collect();
    let Some(largest) = below.iter().max_by_key(|connector| connector.maximum) else {
        return Rate::ZERO;
    };
    let choice = largest.choice();
    let load_of = |connector: &&Connector, rate: Rate| connector.conversion().load(rate.min(connector.maximum));
    let load = |rate: Rate| -> Load { below.iter().map(|connector| load_of(connector, rate)).sum() };
    greatest(&choice, |rate| capacity.fits(&load(rate)))
}

/// The greatest rate of `choice` that `fits`; zero if none does.
fn greatest(choice: &RateChoice, fits: impl Fn(Rate) -> bool) -> Rate {
    let mut rate = choice.maximum;
    while !rate.is_zero() && !fits(rate) {
        rate = choice.floor(Rate::new(rate.value() - 1));
    }
    rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carried_day_has_the_usual_limit() {
        let source = Source::carried();
        assert_eq!(usual_limit(&source).unwrap(), source.grid_limit);
    }

    #[test]
    fn at_full_power_every_car_gets_what_it_took_that_day_and_the_site_is_overloaded() {
        let day = Day::carried().unwrap();
        let figures = full_power(&day);
        for (session, delivered) in day.sessions.iter().zip(&figures.delivered) {
            assert_eq!(session.energy, *delivered, "{}", session.id);
        }
        let in_bins: i64 = figures.bins.iter().flatten().map(|energy| energy.watt_seconds()).sum();
        assert_eq!(in_bins, figures.energy().watt_seconds());
        assert!(figures.periods[0].highest > day.grid_limit);
        assert!(figures.seconds_above() > 3600);
    }

    #[test]
    fn equal_share_keeps_every_limit_from_the_first_second_and_gives_no_car_more_than_it_takes() {
        let day = Day::carried().unwrap();
        let figures = equal_share(&day);
        assert_eq!((figures.seconds_to_comply(), figures.seconds_above()), (0, 0));
        for (session, delivered) in day.sessions.iter().zip(&figures.delivered) {
            assert!(*delivered <= session.energy, "{}", session.id);
        }
        assert!(figures.energy().watt_seconds() * 10 > full_power(&day).energy().watt_seconds() * 8);
    }

    #[test]
    fn cars_below_one_limit_get_the_same_and_the_last_ones_wait_if_it_is_too_little() {
        let day = Day::carried().unwrap();
        let on_panel = |panel: &str| -> Vec<usize> {
            let mut evses_taken = Vec::new();
            (0..day.sessions.len())
                .filter(|session| {
                    let evse = day.sessions[*session].evse;
                    let first = day.evses[evse].panel == panel && !evses_taken.contains(&evse);
                    if first {
                        evses_taken.push(evse);
                    }
                    first
                })
                .collect()
        };
        let cars = on_panel("f3");
        let pilots = |limit: i64| -> Vec<i64> {
            let pilots = share(&day, Watts::from_watts(limit), &cars);
            cars.iter()
                .map(|car| pilots[day.sessions[*car].evse].deciamps())
                .collect()
        };
        assert!(cars.len() > 10);
        let plenty = pilots(150_000);
        assert!(plenty.iter().all(|pilot| *pilot == plenty[0] && *pilot >= 60));
        // 97 % of 10 kW carries seven times 6 A × 228.8 V.
        let scarce = pilots(10_000);
        assert!(scarce[..7].iter().all(|pilot| *pilot == 60), "{scarce:?}");
        assert!(scarce[7..].iter().all(|pilot| *pilot == 0), "{scarce:?}");
    }
}
