//! One world: a site, its stations, a gateway, a back end and the service, in ticks of a second, from one seed.
//!
//! Decides what happens in a second and in which order. Everything that chance decides comes from dice of the seed; there is no
//! thread and no clock but the world's.

use super::backend::Backend;
use super::dice::Dice;
use super::disk::Disk;
use super::faults::{Faults, Kind, Kinds};
use super::network::Network;
use super::process::Process;
use super::station::Station;
use super::truth::{Bound, Limits, Truth};
use super::yard;
use crate::domain::conversion::{Load, Rate};
use crate::domain::ids::SessionId;
use crate::domain::profile::Instruction;
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::rollout::WrongRule;
use crate::units::{Instant, Seconds};
use std::collections::BTreeMap;

/// 2026-03-02T08:00:00Z, a Monday.
const MORNING: Instant = Instant::from_unix_secs(1_772_438_400);
/// A meter is read this often.
const READING_INTERVAL: i64 = 4;
/// After faults stop, the plan must be followed within so many leases.
const LEASES_TO_CONVERGE: i64 = 3;

/// The end of a diary that is shown.
const MOST_TOLD: usize = 400;

/// What a world is made from.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    pub seed: u64,
    pub without: Kinds,
    /// At most so many EVSEs.
    pub evses: usize,
    /// How long faults happen.
    pub seconds: i64,
    pub rule: Option<WrongRule>,
    /// Whether a diary is kept.
    pub told: bool,
}

impl Recipe {
    pub const EVSES: usize = 4;
    pub const SECONDS: i64 = 600;

    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            without: Kinds::NONE,
            evses: Self::EVSES,
            seconds: Self::SECONDS,
            rule: None,
            told: false,
        }
    }
}

/// What became of a world.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Simulated.
    pub seconds: i64,
    /// Watt-seconds that stations allowed while faults happened, and that the plan in force wanted, of planned sessions.
    pub allowed: i64,
    pub wanted: i64,
    pub commands: u64,
    pub plans: u64,
    /// From the end of faults until every station followed the plan.
    pub converged_after: Option<i64>,
}

pub struct World {
    pub recipe: Recipe,
    pub faults: Faults,
    pub score: Score,
    /// What happened, in order.
    pub diary: Vec<String>,
    /// The first promise that was broken.
    pub broken: Option<String>,
    pub(super) now: Instant,
    pub(super) end_of_faults: bool,
    pub(super) site: Site,
    pub(super) stations: Vec<Station>,
    pub(super) truth: Truth,
    pub(super) limits: Limits,
    pub(super) network: Network,
    pub(super) backend: Backend,
    pub(super) process: Process,
    pub(super) disk: Disk,
    /// Of what happens by itself.
    pub(super) chance: Dice,
    /// What each session gets by the plan that is shown.
    pub(super) shown: BTreeMap<SessionId, Timeline<Rate>>,
    only_energy: Vec<bool>,
    disobeys_until: Vec<Instant>,
}

impl World {
    pub fn new(recipe: Recipe) -> Self {
        let mut making = Dice::new(recipe.seed, 0);
        let faults = Faults::new(&mut making, recipe.without);
        let spec = yard::random_spec(&mut making, recipe.evses);
        let site = Site::new(spec.clone()).expect("a random site is valid");
        let now = MORNING + Seconds::from_secs(making.roll(0, 3_599));
        // What our own clock may be wrong by is taken off what stations' clocks may be.
        let skew = spec.clock_skew.secs();
        let step = if faults.may(Kind::ClockStep) {
            (skew / 3).min(2)
        } else {
            0
        };
        let stations: Vec<Station> = site
            .evses()
            .map(|(place, evse)| Station::new(evse.clone(), place, spec.clock_skew, skew - step, &mut making))
            .collect();
        let limits = Limits {
            spec,
            cuts: BTreeMap::new(),
        };
        let floor = floor(&site);
        let count = stations.len();
        let mut world = Self {
            truth: Truth::new(limits.bounds(), floor),
            network: Network::new(recipe.seed, &mut making),
            backend: Backend::new(recipe.seed, count),
            process: Process::new(recipe.seed, step),
            disk: Disk::default(),
            chance: Dice::new(recipe.seed, 1),
            only_energy: (0..count).map(|_| making.happens(150)).collect(),
            disobeys_until: vec![Instant::FAR_PAST; count],
            recipe,
            faults,
            score: Score::default(),
            diary: Vec::new(),
            broken: None,
            now,
            end_of_faults: false,
            site,
            stations,
            limits,
            shown: BTreeMap::new(),
        };
        world.describe_site();
        for number in 0..count {
            world.arrive(number);
        }
        world
    }

    /// First faults, then none until the plan is followed everywhere.
    pub fn run(&mut self) {
        let end = self.now + Seconds::from_secs(self.recipe.seconds);
        while self.now < end && self.broken.is_none() {
            self.tick();
        }
        if self.broken.is_some() {
            return;
        }
        self.end_faults();
        let begun = self.now;
        let lease = self.limits.spec.lease.secs();
        let mut last = String::new();
        while self.now < begun + Seconds::from_secs(LEASES_TO_CONVERGE * lease) {
            self.tick();
            if self.broken.is_some() {
                return;
            }
            match self.deviation() {
                None => {
                    self.score.converged_after = Some((self.now - begun).secs());
                    return;
                }
                Some(deviation) => last = deviation,
            }
        }
        self.break_promise(format!(
            "not converged {LEASES_TO_CONVERGE} leases of {lease} s after faults ended: {last}"
        ));
    }

    /// What the service believes, for whoever looks into a world that failed.
    pub fn describe(&self) -> String {
        let mut lines = vec![format!(
            "at {}, lease {}, skew {}",
            self.now, self.limits.spec.lease, self.limits.spec.clock_skew
        )];
        for station in &self.stations {
            lines.push(format!(
                "{} at place {}, plugged {:?}, follows {:?}",
                station.id(),
                station.place,
                station.plugged,
                station.follows
            ));
            lines.push(format!("    {:?}", station.evse));
        }
        if let Some((state, ledger)) = self.process.state().and_then(|state| Some((state, state.ledger()?))) {
            let rooms = state.available(self.now);
            for (place, (room, load)) in rooms.iter().zip(ledger.worst_cases(self.now)).enumerate() {
                lines.push(format!(
                    "place {place}: {:?}\n    of {:?}",
                    load.points(),
                    room.at(self.now)
                ));
            }
            for station in &self.stations {
                let (open, trust) = (ledger.open_attempts(station.id()), ledger.trust(station.id()));
                lines.push(format!(
                    "{}: {open} open, {trust:?}, held {:?}",
                    station.id(),
                    ledger.held(station.id(), self.now)
                ));
            }
        }
        lines.push(format!("shown {:?}", self.shown));
        lines.extend(self.diary.iter().rev().take(MOST_TOLD).rev().cloned());
        lines.join("\n")
    }

    /// Writes into the diary, if there is one.
    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.recipe.told {
            let line = format!("{} {}", self.now.unix_secs(), what());
            self.diary.push(line);
        }
    }

    pub(super) fn break_promise(&mut self, what: String) {
        let at = (self.now - MORNING).secs();
        self.broken.get_or_insert_with(|| format!("second {at}: {what}"));
    }

    fn tick(&mut self) {
        self.accidents();
        self.process_lives();
        self.deliver();
        self.work();
        self.physics();
        self.now = self.now + Seconds::from_secs(1);
        self.score.seconds += 1;
    }

    // What happens by itself.

    fn accidents(&mut self) {
        for number in 0..self.stations.len() {
            if self.faults.strikes(Kind::StationRestart, &mut self.chance) {
                self.stations[number].restart();
                self.tell(|| format!("station {number} restarts"));
                if self.chance.happens(500) {
                    self.network_reports_nothing(number);
                }
            }
            if self.faults.strikes(Kind::CarSwap, &mut self.chance) {
                self.swap(number);
            }
            if self.faults.strikes(Kind::Disobedience, &mut self.chance) {
                self.tell(|| format!("station {number} disobeys"));
                self.disobeys_until[number] = self.now + Seconds::from_secs(self.chance.roll(20, 120));
            }
            self.stations[number].disobeys = self.now < self.disobeys_until[number];
        }
        if self.faults.strikes(Kind::ChangedMind, &mut self.chance) {
            self.change_mind();
        }
        if self.faults.strikes(Kind::Cut, &mut self.chance) {
            self.change_limit();
        }
        if self.faults.strikes(Kind::Redescription, &mut self.chance) {
            self.describe_with_other_limits();
        }
        if self.faults.strikes(Kind::GatewayChange, &mut self.chance) {
            self.change_gateway();
        }
        if self.faults.strikes(Kind::LinkBreak, &mut self.chance) {
            self.break_link();
        }
        if self.faults.strikes(Kind::ClockStep, &mut self.chance) {
            self.process.step_clock();
        }
    }

    fn end_faults(&mut self) {
        self.faults.end();
        self.end_of_faults = true;
        self.disobeys_until.fill(Instant::FAR_PAST);
        self.process.right_clock();
        self.forgive();
    }

    // What is really drawn.

    fn physics(&mut self) {
        let mut loads = vec![Load::ZERO; self.site.places().len()];
        for number in 0..self.stations.len() {
            let station = &mut self.stations[number];
            let load = station.tick(self.now);
            for above in self.site.path_to_root(station.place) {
                loads[above] += load;
            }
            if (self.now.unix_secs() + number as i64) % READING_INTERVAL == 0 && station.evse.metered {
                let reading = station.reading(self.now, self.only_energy[number]);
                if let Some(reading) = reading {
                    self.network_reads(reading);
                }
            }
        }
        if let Some(excess) = self.truth.excess(&loads, self.now) {
            self.break_promise(format!("too much is drawn at {excess}"));
        }
        if !self.end_of_faults {
            self.tally();
        }
    }

    fn tally(&mut self) {
        for station in &self.stations {
            let Some(plugged) = &station.plugged else { continue };
            let Some(rates) = self.shown.get(&plugged.session) else {
                continue;
            };
            let connector = &station.evse.connectors[plugged.connector];
            let power = connector.conversion().nominal_power(Some(plugged.phases));
            let wanted = power.floor(*rates.at(self.now));
            self.score.wanted += wanted;
            self.score.allowed += power.floor(station.allows(self.now)).min(wanted);
        }
    }

    /// What nothing can keep from being drawn at each place from now on.
    pub(super) fn unavoidable(&self) -> Vec<Timeline<Bound>> {
        let mut sums = vec![Timeline::constant(Load::ZERO); self.site.places().len()];
        for station in &self.stations {
            let load = station.unavoidable(self.network.on_its_way(station.id()), self.now);
            for above in self.site.path_to_root(station.place) {
                sums[above] = sums[above].zip(&load, |sum, load| *sum + *load);
            }
        }
        sums.iter().map(|sum| sum.map(Bound::of_load)).collect()
    }

    /// Where a station does not follow the plan.
    fn deviation(&self) -> Option<String> {
        if !self.network.is_up() || self.backend.has_calls() {
            return Some("not everything is told yet".to_owned());
        }
        let controllable = self.stations.iter().filter(|station| station.evse.controllable);
        for station in controllable {
            let Some(plugged) = &station.plugged else { continue };
            let Some(rates) = self.shown.get(&plugged.session) else {
                return Some(format!("{} is not planned", plugged.session));
            };
            let choice = station.evse.connectors[plugged.connector].choice();
            let wanted = choice.floor(*rates.at(self.now));
            let allowed = station.allows(self.now);
            if wanted < allowed || (wanted > allowed && self.has_room(station, allowed)) {
                let follows = station.follows.as_ref().map(|(revision, instruction)| {
                    let kind = if *instruction == Instruction::Clear {
                        "clear"
                    } else {
                        "set"
                    };
                    (revision.number(), kind)
                });
                return Some(format!(
                    "{} allows {allowed} and the plan wants {wanted}; it follows {follows:?}",
                    station.id()
                ));
            }
        }
        None
    }
}

impl World {
    /// Whether the ledger leaves the station room for its next step up from `rate`, as far ahead as clocks reach.
    fn has_room(&self, station: &Station, rate: Rate) -> bool {
        let Some((state, ledger)) = self.process.state().and_then(|state| Some((state, state.ledger()?))) else {
            return false;
        };
        let Some(plugged) = &station.plugged else { return false };
        let connector = &station.evse.connectors[plugged.connector];
        let Some(next) = connector.choice().above(rate) else {
            return false;
        };
        let said = plugged.phases_said.then_some(plugged.phases);
        let more = connector.conversion().for_car(said).load(next);
        let held = ledger.held(station.id(), self.now);
        let ahead = self.now + self.limits.spec.clock_skew + self.limits.spec.clock_skew + Seconds::from_secs(1);
        let (rooms, loads) = (state.available(self.now), ledger.worst_cases(self.now));
        self.site.path_to_root(station.place).all(|place| {
            let others = loads[place].zip(&held, |sum, held| (*sum - *held) + held.max(more));
            let fits = rooms[place].zip(&others, |room, load| room.fits(load));
            fits.during(self.now, ahead).all(|fits| *fits)
        })
    }
}

/// What is drawn at each place while nobody is told anything.
fn floor(site: &Site) -> Vec<Bound> {
    let mut loads = vec![Load::ZERO; site.places().len()];
    for (place, evse) in site.evses() {
        for above in site.path_to_root(place) {
            loads[above] += evse.default_load();
        }
    }
    loads.iter().map(Bound::of_load).collect()
}
