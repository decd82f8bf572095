//! What counts against what: the one table by which a rate at an EVSE becomes amperes per phase and watts at a node.
//!
//! Used by planner, verify and roll-out alike, so that none of them can be laxer than the others. Every load rounds up.
//!
//! | drawn as | against a phase's amperes | against total watts |
//! |---|---|---|
//! | A per phase, star | the rate on every wired phase | rate × wired phases × nominal volt × 1.10 |
//! | A per phase, rotation unknown | the rate on all three phases | the same, for the phases the connector has |
//! | A, line-to-line | the rate in the pair's delta current | rate × nominal volt × 1.10 |
//! | W (DC) | power ÷ efficiency ÷ (0.90 × nominal volt) ÷ 3 on every phase | power ÷ efficiency |
//!
//! A station's standby draw comes on top. Nominal volt is line-to-neutral for star and DC stations, line-to-line for delta.
//! Currents of star loads add up. Delta currents add as phasors: with `x` and `y` the currents of the two pairs that meet in a
//! line, the line carries √(x² + xy + y²), which grows with each of them, so the worst case is every car at its ceiling.
//! Unity power factor is assumed, which IEC 61851 chargers keep above about 0.98 at full current. Star and delta currents in one
//! line are added as magnitudes, which is never too little.

use crate::units::{DeciAmps, Volts, Watts};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// Mains may run this much above nominal: amperes count for more watts.
const OVERVOLTAGE_PERCENT: i64 = 110;
/// Mains may run this much below nominal: watts count for more amperes.
const UNDERVOLTAGE_PERCENT: i64 = 90;

/// A conductor of the three-phase supply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    L1,
    L2,
    L3,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::L1, Self::L2, Self::L3];

    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Two conductors between which a line-to-line load lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhasePair {
    L1L2,
    L2L3,
    L3L1,
}

impl PhasePair {
    pub const ALL: [Self; 3] = [Self::L1L2, Self::L2L3, Self::L3L1];

    pub const fn index(self) -> usize {
        self as usize
    }

    /// The two pairs that meet in `phase`.
    pub const fn meeting_in(phase: Phase) -> [Self; 2] {
        match phase {
            Phase::L1 => [Self::L1L2, Self::L3L1],
            Phase::L2 => [Self::L1L2, Self::L2L3],
            Phase::L3 => [Self::L2L3, Self::L3L1],
        }
    }
}

/// The unit in which an EVSE is told its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateUnit {
    /// AC: tenths of an ampere on each phase that the car uses.
    DeciAmpere,
    /// DC: watts delivered to the car.
    Watt,
}

impl fmt::Display for RateUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeciAmpere => "dA",
            Self::Watt => "W",
        })
    }
}

/// How fast an EVSE may charge, in the unit of its connector: tenths of an ampere per phase (AC) or watts (DC).
///
/// A ceiling, not a setpoint. Two rates are comparable only at the same connector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(i64);

impl Rate {
    pub const ZERO: Self = Self(0);

    /// `value` in the connector's own unit.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The value in the connector's own unit.
    pub const fn value(self) -> i64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a connector is wired to the supply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// AC between phases and neutral; in the order of the car's L1, L2, L3, which is the rotation. One to three, none twice.
    Star(Vec<Phase>),
    /// AC between phases and neutral, on this many phases (1 to 3), nobody knows which.
    StarUnknown { phases: u8 },
    /// AC between two phases, as in North America.
    Delta(PhasePair),
    /// DC: the station draws balanced from all three phases. `efficiency_percent` and `standby` are the station's.
    Dc { efficiency_percent: u8, standby: Watts },
}

/// `numerator / denominator` units of load for one unit of rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerRate {
    numerator: i64,
    denominator: i64,
}

impl PerRate {
    pub const NONE: Self = Self {
        numerator: 0,
        denominator: 1,
    };
    pub const ONE: Self = Self {
        numerator: 1,
        denominator: 1,
    };

    const fn new(numerator: i64, denominator: i64) -> Self {
        Self { numerator, denominator }
    }

    /// The load of `rate`, rounded up.
    pub fn load(self, rate: Rate) -> i64 {
        // Most have no fraction, and divisions are slow.
        if self.denominator == 1 {
            return rate.value() * self.numerator;
        }
        (rate.value() * self.numerator + self.denominator - 1).div_euclid(self.denominator)
    }

    /// The greatest rate whose load, before rounding, is at most `load`; `None` where no rate loads anything.
    pub fn rate_within(self, load: i64) -> Option<Rate> {
        let rate = i128::from(load) * i128::from(self.denominator);
        (self.numerator > 0).then(|| Rate(saturated(rate.div_euclid(i128::from(self.numerator)))))
    }

    /// `rates` units of rate for so many seconds, or any other multiple, as an amount of load times that; rounded down.
    pub fn amount_of(self, rates: i128) -> i128 {
        (rates * i128::from(self.numerator)).div_euclid(i128::from(self.denominator))
    }

    /// The least number of rates, times seconds or any other multiple, whose amount is at least `amount`; `None` where none is.
    pub fn rates_for(self, amount: i128) -> Option<i128> {
        let rates = amount * i128::from(self.denominator);
        (self.numerator > 0).then(|| -(-rates).div_euclid(i128::from(self.numerator)))
    }

    /// For searching only; what decides is [`Self::load`].
    pub fn as_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

fn saturated(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// One row of the table: what a rate at one connector counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    pub unit: RateUnit,
    /// Deciamperes on L1, L2, L3 (star currents).
    pub star: [PerRate; 3],
    /// Deciamperes in L1-L2, L2-L3, L3-L1 (delta currents).
    pub delta: [PerRate; 3],
    /// Watts in total.
    pub total: PerRate,
    /// Drawn even at rate zero.
    pub standby: Load,
    volt: Volts,
    phases: u8,
}

impl Conversion {
    pub fn new(wiring: &Wiring, volt: Volts) -> Self {
        let volts = volt.volts();
        let watts_of_phases = |phases: usize| PerRate::new(phases as i64 * volts * OVERVOLTAGE_PERCENT, 100 * 10);
        let mut conversion = Self {
            unit: RateUnit::DeciAmpere,
            star: [PerRate::NONE; 3],
            delta: [PerRate::NONE; 3],
            total: PerRate::NONE,
            standby: Load::ZERO,
            volt,
            phases: 1,
        };
        match wiring {
            Wiring::Star(phases) => {
                for phase in phases {
                    conversion.star[phase.index()] = PerRate::ONE;
                }
                conversion.total = watts_of_phases(phases.len());
                conversion.phases = phases.len() as u8;
            }
            Wiring::StarUnknown { phases } => {
                conversion.star = [PerRate::ONE; 3];
                conversion.total = watts_of_phases(usize::from(*phases));
                conversion.phases = *phases;
            }
            Wiring::Delta(pair) => {
                conversion.delta[pair.index()] = PerRate::ONE;
                conversion.total = watts_of_phases(1);
            }
            Wiring::Dc {
                efficiency_percent,
                standby,
            } => {
                let efficiency = i64::from(*efficiency_percent);
                // Watts to deciamperes: ÷ efficiency % ÷ undervoltage % ÷ volts ÷ 3 phases × 10 dA.
                let per_phase = PerRate::new(10 * 100 * 100, 3 * volts * UNDERVOLTAGE_PERCENT * efficiency);
                let standby_per_phase = PerRate::new(10 * 100, 3 * volts * UNDERVOLTAGE_PERCENT);
                conversion.unit = RateUnit::Watt;
                conversion.star = [per_phase; 3];
                conversion.total = PerRate::new(100, efficiency);
                conversion.standby = Load {
                    star: [DeciAmps::from_deciamps(standby_per_phase.load(Rate::new(standby.watts()))); 3],
                    delta: [DeciAmps::ZERO; 3],
                    total: *standby,
                };
                conversion.phases = 3;
            }
        }
        conversion
    }

    /// The worst that a car at `rate` may load the supply with, standby included.
    pub fn load(&self, rate: Rate) -> Load {
        let moving = Load {
            star: self.star.map(|per_rate| DeciAmps::from_deciamps(per_rate.load(rate))),
            delta: self.delta.map(|per_rate| DeciAmps::from_deciamps(per_rate.load(rate))),
            total: Watts::from_watts(self.total.load(rate)),
        };
        moving + self.standby
    }

    /// Watts that a car using `car_phases` phases is expected to take at `rate`, at nominal volt, as a fraction per unit of rate.
    /// For energy forecasts, never for limits.
    pub fn nominal_power(&self, car_phases: Option<u8>) -> PerRate {
        match self.unit {
            RateUnit::Watt => PerRate::ONE,
            RateUnit::DeciAmpere => {
                let phases = car_phases.map_or(self.phases, |phases| phases.min(self.phases));
                PerRate::new(i64::from(phases) * self.volt.volts(), 10)
            }
        }
    }

    /// How many phases the connector has.
    pub const fn phases(&self) -> u8 {
        self.phases
    }
}

impl PerRate {
    /// `amount` rounded down; for forecasts, where a little less than true is the careful side.
    pub fn floor(self, rate: Rate) -> i64 {
        (rate.value() * self.numerator).div_euclid(self.denominator)
    }
}

/// What is drawn at one point of the supply: star and delta currents apart, and total power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Load {
    /// On L1, L2, L3.
    pub star: [DeciAmps; 3],
    /// In L1-L2, L2-L3, L3-L1.
    pub delta: [DeciAmps; 3],
    pub total: Watts,
}

impl Load {
    pub const ZERO: Self = Self {
        star: [DeciAmps::ZERO; 3],
        delta: [DeciAmps::ZERO; 3],
        total: Watts::ZERO,
    };

    /// The current in each line, rounded up: star current plus the magnitude of the two delta currents that meet there.
    pub fn line_currents(&self) -> [DeciAmps; 3] {
        Phase::ALL.map(|phase| {
            let [x, y] = PhasePair::meeting_in(phase).map(|pair| self.delta[pair.index()]);
            self.star[phase.index()] + delta_line_current(x, y)
        })
    }

    /// Component by component the greater of both: an EVSE that may draw either draws at most this.
    pub fn max(self, other: Self) -> Self {
        let larger = |a: [DeciAmps; 3], b: [DeciAmps; 3]| [a[0].max(b[0]), a[1].max(b[1]), a[2].max(b[2])];
        Self {
            star: larger(self.star, other.star),
            delta: larger(self.delta, other.delta),
            total: self.total.max(other.total),
        }
    }
}

/// √(x² + xy + y²), rounded up: the current of a line in which two delta currents meet.
pub fn delta_line_current(x: DeciAmps, y: DeciAmps) -> DeciAmps {
    // Most sites have no delta loads, and roots are slow.
    if x == DeciAmps::ZERO || y == DeciAmps::ZERO {
        return x.max(y);
    }
    let (x, y) = (x.deciamps(), y.deciamps());
    let square = x * x + x * y + y * y;
    let root = square.isqrt();
    DeciAmps::from_deciamps(if root * root == square { root } else { root + 1 })
}

impl Add for Load {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        for index in 0..3 {
            self.star[index] += other.star[index];
            self.delta[index] += other.delta[index];
        }
        self.total += other.total;
    }
}

impl Sub for Load {
    type Output = Self;
    fn sub(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

impl SubAssign for Load {
    fn sub_assign(&mut self, other: Self) {
        for index in 0..3 {
            self.star[index] -= other.star[index];
            self.delta[index] -= other.delta[index];
        }
        self.total -= other.total;
    }
}

impl Sum for Load {
    fn sum<I: Iterator<Item = Self>>(loads: I) -> Self {
        loads.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deciamps(values: [i64; 3]) -> [DeciAmps; 3] {
        values.map(DeciAmps::from_deciamps)
    }

    #[test]
    fn a_three_phase_car_counts_on_every_wired_phase_at_overvoltage() {
        let conversion = Conversion::new(
            &Wiring::Star(vec![Phase::L2, Phase::L3, Phase::L1]),
            Volts::from_volts(230),
        );
        let load = conversion.load(Rate::new(160));
        assert_eq!(load.star, deciamps([160, 160, 160]));
        assert_eq!(load.total, Watts::from_watts(12_144)); // 16 A × 3 × 253 V
    }

    #[test]
    fn one_phase_of_unknown_rotation_counts_on_all_three_but_its_watts_once() {
        let conversion = Conversion::new(&Wiring::StarUnknown { phases: 1 }, Volts::from_volts(230));
        let load = conversion.load(Rate::new(100));
        assert_eq!(load.star, deciamps([100, 100, 100]));
        assert_eq!(load.total, Watts::from_watts(2530));
    }

    #[test]
    fn dc_power_counts_with_efficiency_undervoltage_and_standby() {
        let conversion = Conversion::new(
            &Wiring::Dc {
                efficiency_percent: 92,
                standby: Watts::from_watts(150),
            },
            Volts::from_volts(230),
        );
        let load = conversion.load(Rate::new(50_000));
        // 50 kW / 0.92 = 54 348 W; / (3 × 207 V) = 87.52 A, up to 87.6; standby 150 W / 621 V = 0.242 A, up to 0.3.
        assert_eq!(load.star, deciamps([879, 879, 879]));
        assert_eq!(load.total, Watts::from_watts(54_348 + 150));
        assert_eq!(conversion.load(Rate::ZERO).total, Watts::from_watts(150));
    }

    #[test]
    fn balanced_delta_currents_make_root_three_in_each_line() {
        let load = Load {
            delta: deciamps([1000, 1000, 1000]),
            ..Load::ZERO
        };
        assert_eq!(load.line_currents(), deciamps([1733, 1733, 1733]));
        let one_pair = Load {
            delta: deciamps([300, 0, 0]),
            ..Load::ZERO
        };
        assert_eq!(one_pair.line_currents(), deciamps([300, 300, 0]));
    }

    #[test]
    fn line_current_of_delta_loads_agrees_with_phasors() {
        for x in (0..800).step_by(37) {
            for y in (0..800).step_by(41) {
                // L1 carries I(L1-L2) at +30° less I(L3-L1) at +150°.
                let angle = |degrees: f64| (degrees.to_radians().cos(), degrees.to_radians().sin());
                let ((ax, ay), (bx, by)) = (angle(30.0), angle(150.0));
                let (re, im) = (x as f64 * ax - y as f64 * bx, x as f64 * ay - y as f64 * by);
                let exact = re.hypot(im);
                let rounded =
                    delta_line_current(DeciAmps::from_deciamps(x), DeciAmps::from_deciamps(y)).deciamps() as f64;
                assert!(
                    rounded >= exact - 1e-6 && rounded < exact + 1.0,
                    "{x} and {y}: {rounded} against {exact}"
                );
            }
        }
    }
}
