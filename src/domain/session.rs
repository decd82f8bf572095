//! A charging session: one car at one EVSE, what it needs, what it got, and what an operator decided about it.
//!
//! Decides which sessions are valid and how ordinary life is read: a departure that has passed is unknown again, a need that is
//! met asks only for what is spare. Personal data never enters: a driver is a random reference and what is known of his token.

use super::bounds::*;
use super::conversion::{Rate, RateUnit};
use super::driver::Driver;
use super::ids::{ConnectorId, EvseId, GroupId, SessionId};
use super::rejection::{Faults, Rejection};
use super::site::{Connector, Site};
use crate::units::{DeciAmps, Instant, Seconds, WattSeconds, Watts};

/// Between two readings that carry only power, that power is believed for at most this long.
const LONGEST_METER_GAP: Seconds = Seconds::from_hours(1);
/// What a car that does not charge may still draw, to keep its charger awake.
const IDLE_POWER: Watts = Watts::from_watts(100);
const IDLE_CURRENT: DeciAmps = DeciAmps::from_deciamps(5);
/// A car that has been idle for this long has stopped. Cars pause for a minute or two when a ceiling changes.
const STOPPED_AFTER: Seconds = Seconds::from_mins(10);

/// A fact that the caller may know, guess or not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stated<T> {
    Given(T),
    Estimated(T),
    #[default]
    Unknown,
}

impl<T: Copy> Stated<T> {
    pub fn value(self) -> Option<T> {
        match self {
            Self::Given(value) | Self::Estimated(value) => Some(value),
            Self::Unknown => None,
        }
    }
}

/// Order of service: the lowest number first. Callers use 1 to 9; boosted sessions come before, spare capacity after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tier(u8);

impl Tier {
    pub const BOOST: Self = Self(0);
    pub const NORMAL: Self = Self(5);
    /// For cars whose need is met and that still draw.
    pub const SPARE: Self = Self(10);

    /// A tier that a caller may give: 1 (first) to 9 (last).
    pub fn from_caller(number: i64) -> Result<Self, Rejection> {
        let mut faults = Faults::default();
        let number = faults.within("tier", "", number, 1..=9);
        faults.finish(Self(number.unwrap_or_default() as u8))
    }

    /// The number as recorded: 0 to 10.
    pub fn from_number(number: u8) -> Option<Self> {
        (number <= Self::SPARE.0).then_some(Self(number))
    }

    pub const fn number(self) -> u8 {
        self.0
    }
}

/// What is known of the car.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Car {
    /// How many phases it charges on, 1 to 3.
    pub phases: Option<u8>,
    /// The most it takes, in the connector's unit.
    pub maximum: Option<Rate>,
    /// The least it takes above zero, in the connector's unit.
    pub minimum: Option<Rate>,
    /// The unit in which the caller gave the rates. `None`: the connector's, whatever that is.
    pub unit: Option<RateUnit>,
}

/// What an operator decided about a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Override {
    /// The planner decides.
    #[default]
    None,
    /// Before everyone else, as fast as can be.
    Boost,
    /// Nothing, until resumed.
    Pause,
    /// The station decides; its maximum is reserved.
    HandBack,
}

/// How OCPI names the session: the key is all four, compared without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcpiSession {
    /// The connection over which the session is known; ids are scoped by it.
    pub peer: String,
    pub country_code: String,
    pub party_id: String,
    pub session_id: String,
}

/// A session as the caller describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSpec {
    pub id: SessionId,
    pub evse: EvseId,
    /// May be left out where the EVSE has one connector.
    pub connector: Option<ConnectorId>,
    pub arrival: Instant,
    pub departure: Stated<Instant>,
    /// Energy wanted in all, counted from the arrival.
    pub need: Stated<WattSeconds>,
    /// Energy that is promised, before all else.
    pub guaranteed: WattSeconds,
    /// Whether charging may pause once it has begun.
    pub interruptible: bool,
    pub tier: Tier,
    pub group: Option<GroupId>,
    pub driver: Option<Driver>,
    pub car: Car,
    pub ocpi: Option<OcpiSession>,
}

/// What a meter said about one EVSE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterSample {
    pub evse: EvseId,
    pub at: Instant,
    /// Energy of the session so far, where the meter knows it.
    pub session_energy: Option<WattSeconds>,
    pub power: Option<Watts>,
    /// In L1, L2, L3 as the car sees them.
    pub currents: Option<[DeciAmps; 3]>,
}

impl MeterSample {
    /// Whether nothing worth the name is drawn; `None` where the meter says neither power nor currents.
    pub fn is_idle(&self) -> Option<bool> {
        let by_power = self.power.map(|power| power <= IDLE_POWER);
        let by_current = || {
            let currents = self.currents.as_ref()?;
            Some(currents.iter().all(|current| *current <= IDLE_CURRENT))
        };
        by_power.or_else(by_current)
    }
}

/// When and why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub at: Instant,
    pub reason: String,
}

/// A session at a site, with its connector known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub spec: SessionSpec,
    pub connector: ConnectorId,
    pub delivered: WattSeconds,
    pub last_sample: Option<MeterSample>,
    /// Since when the car has taken nothing although it might.
    pub idle_since: Option<Instant>,
    pub overridden: Override,
    pub ended: Option<Ended>,
}

impl Session {
    /// A session that begins at `site`, or everything that is wrong with it. `now` is the site's clock.
    pub fn start(spec: SessionSpec, site: &Site, now: Instant) -> Result<Self, Rejection> {
        let mut faults = Faults::default();
        let connector = find_connector(&spec, site, &mut faults);
        check_times(&spec, now, &mut faults);
        check_energy(&spec, &mut faults);
        if let Some(connector) = connector {
            check_car(&spec.car, connector, &mut faults);
        }
        check_ocpi(spec.ocpi.as_ref(), &mut faults);
        match connector.map(|connector| connector.id.clone()) {
            Some(connector) if faults.is_empty() => Ok(Self {
                spec,
                connector,
                delivered: WattSeconds::ZERO,
                last_sample: None,
                idle_since: None,
                overridden: Override::None,
                ended: None,
            }),
            _ => Err(faults.into_rejection()),
        }
    }

    /// As [`Session::start`], for a session that may be yet to arrive: it is judged as of its arrival.
    pub fn expected(spec: SessionSpec, site: &Site, now: Instant) -> Result<Self, Rejection> {
        let judged_at = spec.arrival.clamp(now, now + MAX_STAY);
        Self::start(spec, site, judged_at)
    }

    /// The same session with what the caller now says; identity, place and arrival stay, and the driver where he says nothing of one.
    pub fn update(&self, spec: SessionSpec, site: &Site, now: Instant) -> Result<Self, Rejection> {
        let mut faults = Faults::default();
        let same = |faults: &mut Faults, field: &str, old: &str, new: &str| {
            faults.require(old == new, field, "cannot change", new, old)
        };
        same(&mut faults, "id", self.spec.id.as_str(), spec.id.as_str());
        same(&mut faults, "evse_id", self.spec.evse.as_str(), spec.evse.as_str());
        faults.require(
            self.spec.arrival == spec.arrival,
            "arrival_time",
            "cannot change",
            spec.arrival,
            self.spec.arrival,
        );
        faults.require(
            self.ended.is_none(),
            "id",
            "has ended",
            &self.spec.id,
            "a session that is still there",
        );
        if !faults.is_empty() {
            return Err(faults.into_rejection());
        }
        let mut checked = Self::start(spec, site, now)?;
        checked.spec.driver = match (checked.spec.driver, &self.spec.driver) {
            // The same one was asked about already.
            (Some(said), Some(before)) if said.person == before.person => Some(Driver {
                answer: said.answer.or(before.answer),
                ..said
            }),
            (None, before) => before.clone(),
            (said, _) => said,
        };
        Ok(Self {
            spec: checked.spec,
            connector: checked.connector,
            ..self.clone()
        })
    }

    pub fn is_active(&self) -> bool {
        self.ended.is_none()
    }

    /// When the car is expected to leave; `None` once that time has passed, or if nobody knows.
    pub fn departure(&self, now: Instant) -> Option<Instant> {
        self.spec.departure.value().filter(|departure| *departure > now)
    }

    /// The tier by which it is served once it has got `delivered`. A car that stopped by itself has what it needs, whatever was said.
    pub fn tier_after(&self, delivered: WattSeconds) -> Tier {
        let met = self.spec.need.value().is_some_and(|need| delivered >= need);
        match self.overridden {
            Override::Boost => Tier::BOOST,
            _ if met || self.has_stopped() => Tier::SPARE,
            _ => self.spec.tier,
        }
    }

    /// Whether the car has taken nothing for so long, though it might, that it wants nothing now.
    pub fn has_stopped(&self) -> bool {
        let last = self.last_sample.as_ref().map(|sample| sample.at);
        last.zip(self.idle_since)
            .is_some_and(|(last, since)| last - since >= STOPPED_AFTER)
    }

    /// Takes in what its meter said. `offered` is what the EVSE let the car take then, if that is known.
    pub fn metered(&mut self, sample: &MeterSample, offered: Option<Rate>, least: Rate) {
        let had_stopped = self.has_stopped();
        let before = self.last_sample.replace(sample.clone());
        self.delivered = match (sample.session_energy, sample.power) {
            (Some(energy), _) => energy.max(self.delivered),
            (None, Some(power)) => {
                let since = before.map_or(self.spec.arrival, |before| before.at);
                let held = (sample.at - since).clamp(Seconds::ZERO, LONGEST_METER_GAP);
                self.delivered + power.or_zero().over(held)
            }
            (None, None) => self.delivered,
        };
        match (sample.is_idle(), offered) {
            (Some(false), _) => self.idle_since = None,
            (Some(true), Some(offered)) if offered >= least => self.idle_since = self.idle_since.or(Some(sample.at)),
            // A car that is offered nothing takes nothing: that says nothing of what it wants, so the count begins anew.
            (Some(true), Some(_)) if !had_stopped => self.idle_since = None,
            _ => {}
        }
    }
}

fn find_connector<'site>(spec: &SessionSpec, site: &'site Site, faults: &mut Faults) -> Option<&'site Connector> {
    let Some(evse) = site.evse(&spec.evse) else {
        faults.add(
            "evse_id",
            "names no EVSE of the site",
            &spec.evse,
            format_args!("an EVSE of site {}", site.spec().id),
        );
        return None;
    };
    let names = || {
        evse.connectors
            .iter()
            .map(|connector| connector.id.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (&spec.connector, evse.connectors.as_slice()) {
        (None, [only]) => Some(only),
        (None, _) => {
            faults.add(
                "connector_id",
                "is required where the EVSE has several connectors",
                "",
                names(),
            );
            None
        }
        (Some(id), _) => {
            let found = evse.connector(id);
            if found.is_none() {
                faults.add("connector_id", "names no connector of the EVSE", id, names());
            }
            found
        }
    }
}

fn check_times(spec: &SessionSpec, now: Instant, faults: &mut Faults) {
    let oldest = now - MAX_EVENT_AGE;
    // A caller's clock may be a little ahead of ours.
    let newest = now + Seconds::from_mins(5);
    faults.require(
        (oldest..=newest).contains(&spec.arrival),
        "arrival_time",
        "is too far from the site's clock",
        spec.arrival,
        format_args!("{oldest} to {newest}, as unix seconds"),
    );
    if let Some(departure) = spec.departure.value() {
        faults.require(
            departure > spec.arrival,
            "departure_time",
            "is not after the arrival",
            departure,
            format_args!("after {}", spec.arrival),
        );
        let latest = now + MAX_STAY;
        faults.require(
            departure <= latest,
            "departure_time",
            "is too far ahead",
            departure,
            format_args!("at most {latest}"),
        );
    }
}

fn check_energy(spec: &SessionSpec, faults: &mut Faults) {
    let most = WattSeconds::from_watt_hours(MAX_ENERGY_WATT_HOURS);
    let mut within = |field: &str, energy: WattSeconds, least: i64| {
        faults.require(
            energy >= WattSeconds::from_watt_hours(least) && energy <= most,
            field,
            "is out of range",
            format_args!("{} Wh", energy.floor_watt_hours()),
            format_args!("{least} to {MAX_ENERGY_WATT_HOURS} Wh"),
        );
    };
    if let Some(need) = spec.need.value() {
        within("need_watt_hour", need, 0);
        faults.require(
            spec.guaranteed <= need,
            "guaranteed_watt_hour",
            "is more than the need",
            format_args!("{} Wh", spec.guaranteed.floor_watt_hours()),
            format_args!("at most {} Wh", need.floor_watt_hours()),
        );
    } else {
        within("guaranteed_watt_hour", spec.guaranteed, 0);
    }
    faults.require(
        spec.guaranteed >= WattSeconds::ZERO,
        "guaranteed_watt_hour",
        "is negative",
        format_args!("{} Wh", spec.guaranteed.floor_watt_hours()),
        "0 Wh or more",
    );
}

fn check_car(car: &Car, connector: &Connector, faults: &mut Faults) {
    if let Some(phases) = car.phases {
        faults.within("car.phase_count", "phases", i64::from(phases), 1..=3);
    }
    let unit = connector.conversion().unit;
    if let Some(got) = car.unit
        && got != unit
    {
        faults.add(
            "car",
            "has rates in another unit than the connector's",
            format_args!("rates in {got}"),
            format_args!("rates in {unit}"),
        );
        return;
    }
    let (name, most) = match unit {
        RateUnit::DeciAmpere => ("current_deciampere", MAX_CONNECTOR_DECIAMPS),
        RateUnit::Watt => ("power_watt", MAX_CONNECTOR_WATTS),
    };
    let unit = unit.to_string();
    if let Some(maximum) = car.maximum {
        faults.within(format!("car.maximum.{name}"), &unit, maximum.value(), 1..=most);
    }
    if let Some(minimum) = car.minimum {
        let ceiling = car
            .maximum
            .map_or(connector.maximum, |maximum| maximum.min(connector.maximum));
        faults.within(
            format!("car.minimum.{name}"),
            &unit,
            minimum.value(),
            0..=ceiling.value(),
        );
    }
}

fn check_ocpi(ocpi: Option<&OcpiSession>, faults: &mut Faults) {
    let Some(ocpi) = ocpi else { return };
    let mut text = |field: &str, value: &str, most: usize| {
        faults.require(
            !value.is_empty() && value.len() <= most && value.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
            format!("ocpi.{field}"),
            "is not an OCPI CiString of the right length",
            value,
            format_args!("1 to {most} printable ASCII characters"),
        );
    };
    text("peer", &ocpi.peer, 64);
    text("country_code", &ocpi.country_code, 2);
    text("party_id", &ocpi.party_id, 3);
    text("session_id", &ocpi.session_id, 36);
}
