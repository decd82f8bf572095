//! What counts against what: the one table by which a rate at an EVSE becomes amperes per phase and watts at a node.
//!
//! Used by planner, verify and roll-out alike, so that none of them can be laxer than the others. Every load rounds up.
//!
//! | drawn as | against a phase's amperes | against unbalance | against total watts |
//! |---|---|---|---|
//! | A per phase, star | the rate on every wired phase | the same | rate × wired phases × nominal volt × 1.10 |
//! | the same, by a car that uses all three phases | the same | nothing | the same |
//! | A per phase, rotation unknown | the rate on all three phases | the same | the same, for the phases the connector has |
//! | A, line-to-line | the rate in the pair's delta current | the rate in both lines | rate × nominal volt × 1.10 |
//! | W (DC) | power ÷ efficiency ÷ (0.90 × nominal volt) ÷ 3 on every phase | nothing | power ÷ efficiency |
//!
//! A station's standby draw comes on top. Nominal volt is line-to-neutral for star and DC stations, line-to-line for delta.
//! Currents of star loads add up. Delta currents add as phasors: with `x` and `y` the currents of the two pairs that meet in a
//! line, the line carries √(x² + xy + y²), which grows with each of them, so the worst case is every car at its ceiling.
//! Unity power factor is assumed, which IEC 61851 chargers keep above about 0.98 at full current. Star and delta currents in one
//! line are added as magnitudes, which is never too little.
//!
//! **Two sums are not monotone**: what a car stops drawing can raise them. So they are taken at the worst that each car may do
//! between nothing and its ceiling; both are convex, so the worst has every car at one of the two.
//!
//! * *Unbalance*, the greatest difference between two line currents. At worst all that need not be balanced runs in one line while
//!   nothing does in another, so what counts is the sum, line by line, of the currents that may flow there alone
//!   ([`Load::uneven`]). What draws the same from all three lines adds to both sides of the difference. That is known of DC
//!   stations, and of a car at a three-phase connector if it was *said* to use three phases: a car of which nothing was said may
//!   use one, as many do, and so may any that comes next to an EVSE that charges without a profile.
//! * *Primary lines of a delta-wye transformer*. Each carries the difference of two secondary lines over the turns ratio; see
//!   [`Load::line_differences`].

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

    /// The two lines between which it lies.
    pub const fn lines(self) -> [Phase; 2] {
        match self {
            Self::L1L2 => [Phase::L1, Phase::L2],
            Self::L2L3 => [Phase::L2, Phase::L3],
            Self::L3L1 => [Phase::L3, Phase::L1],
        }
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

impl Wiring {
    /// What a rate is counted in there.
    pub const fn unit(&self) -> RateUnit {
        match self {
            Self::Star(_) | Self::StarUnknown { .. } | Self::Delta(_) => RateUnit::DeciAmpere,
            Self::Dc { .. } => RateUnit::Watt,
        }
    }
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
    /// Deciamperes on L1, L2, L3 that may flow there alone.
    pub uneven: [PerRate; 3],
    /// Watts in total.
    pub total: PerRate,
    /// Drawn even at rate zero.
    pub standby: Load,
    volt: Volts,
    phases: u8,
}

impl Conversion {
    /// For whatever car may come.
    pub fn new(wiring: &Wiring, volt: Volts) -> Self {
        let volts = volt.volts();
        let watts_of_phases = |phases: usize| PerRate::new(phases as i64 * volts * OVERVOLTAGE_PERCENT, 100 * 10);
        let mut conversion = Self {
            unit: wiring.unit(),
            star: [PerRate::NONE; 3],
            delta: [PerRate::NONE; 3],
            uneven: [PerRate::NONE; 3],
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
                for phase in pair.lines() {
                    conversion.uneven[phase.index()] = PerRate::ONE;
                }
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
                conversion.star = [per_phase; 3];
                conversion.total = PerRate::new(100, efficiency);
                conversion.standby = Load {
                    star: [DeciAmps::from_deciamps(standby_per_phase.load(Rate::new(standby.watts()))); 3],
                    total: *standby,
                    ..Load::ZERO
                };
                conversion.phases = 3;
            }
        }
        if matches!(wiring, Wiring::Star(_) | Wiring::StarUnknown { .. }) {
            conversion.uneven = conversion.star;
        }
        conversion
    }

    /// For a car that uses so many phases; `None` is any number of them.
    pub fn for_car(mut self, phases: Option<u8>) -> Self {
        if self.phases == 3 && phases == Some(3) {
            self.uneven = [PerRate::NONE; 3];
        }
        self
    }

    /// What any car may load the supply with at `rate`, whichever this conversion is for.
    pub fn load_of_any_car(&self, rate: Rate) -> Load {
        Load {
            uneven: (self.uneven_of_any_car()).map(|per_rate| DeciAmps::from_deciamps(per_rate.load(rate))),
            ..self.load(rate)
        }
    }

    /// [`Self::uneven`] for any car.
    pub fn uneven_of_any_car(&self) -> [PerRate; 3] {
        if self.unit == RateUnit::DeciAmpere && self.phases == 3 {
            self.star
        } else {
            self.uneven
        }
    }

    /// Whether it lies between two lines.
    pub fn has_delta(&self) -> bool {
        self.delta.iter().any(|pair| *pair != PerRate::NONE)
    }

    /// Whether a rate loads every line, pair and total just as it does by `other`; what may flow alone is another matter.
    pub fn loads_like(&self, other: &Self) -> bool {
        let uneven = other.uneven;
        Self { uneven, ..self.clone() } == *other
    }

    /// The worst that a car at `rate` may load the supply with, standby included.
    pub fn load(&self, rate: Rate) -> Load {
        let moving = Load {
            star: self.star.map(|per_rate| DeciAmps::from_deciamps(per_rate.load(rate))),
            delta: self.delta.map(|per_rate| DeciAmps::from_deciamps(per_rate.load(rate))),
            uneven: self.uneven.map(|per_rate| DeciAmps::from_deciamps(per_rate.load(rate))),
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
    /// Of all that, on L1, L2, L3: what may flow there while nothing flows in the other lines.
    pub uneven: [DeciAmps; 3],
    pub total: Watts,
}

impl Load {
    pub const ZERO: Self = Self {
        star: [DeciAmps::ZERO; 3],
        delta: [DeciAmps::ZERO; 3],
        uneven: [DeciAmps::ZERO; 3],
        total: Watts::ZERO,
    };

    /// The current in each line, rounded up: star current plus the magnitude of the two delta currents that meet there.
    pub fn line_currents(&self) -> [DeciAmps; 3] {
        Phase::ALL.map(|phase| {
            let [x, y] = PhasePair::meeting_in(phase).map(|pair| self.delta[pair.index()]);
            self.star[phase.index()] + delta_line_current(x, y)
        })
    }

    /// The greatest current, rounded up, that L1 and L2, L2 and L3, L3 and L1 may carry against each other while every car is
    /// anywhere between nothing and its ceiling. Over the turns ratio it is what a line on the delta side of a delta-wye
    /// transformer carries.
    ///
    /// Star currents count with the sum of both lines' magnitudes, which is never too little.
    pub fn line_differences(&self) -> [DeciAmps; 3] {
        PhasePair::ALL.map(|pair| {
            let [first, second] = pair.lines().map(|phase| self.star[phase.index()]);
            let [x, y, z] = [0, 1, 2].map(|next| self.delta[(pair.index() + next) % 3]);
            first + second + delta_line_difference(x, y, z)
        })
    }

    /// Component by component the greater of both: an EVSE that may draw either draws at most this.
    pub fn max(self, other: Self) -> Self {
        self.join(other, DeciAmps::max, Watts::max)
    }

    /// Component by component the lesser of both: what is surely no more than either.
    pub fn min(self, other: Self) -> Self {
        self.join(other, DeciAmps::min, Watts::min)
    }

    fn join(self, other: Self, current: fn(DeciAmps, DeciAmps) -> DeciAmps, power: fn(Watts, Watts) -> Watts) -> Self {
        let each = |a: [DeciAmps; 3], b: [DeciAmps; 3]| [0, 1, 2].map(|index| current(a[index], b[index]));
        Self {
            star: each(self.star, other.star),
            delta: each(self.delta, other.delta),
            uneven: each(self.uneven, other.uneven),
            total: power(self.total, other.total),
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
    root_rounded_up(x * x + x * y + y * y)
}

/// The greatest difference, rounded up, of the currents in the two lines of a pair whose own delta current is `x` at most, and those
/// of the other pairs `y` and `z` at most.
///
/// The difference is √(4x² + y² + z² + 2xy + 2xz − yz). It grows with `x`; `y` and `z` may cancel each other, so the lesser of
/// them counts only where it does not help.
pub fn delta_line_difference(x: DeciAmps, y: DeciAmps, z: DeciAmps) -> DeciAmps {
    let (x, more, less) = (x.deciamps(), y.max(z).deciamps(), y.min(z).deciamps());
    let without = 4 * x * x + more * more + 2 * x * more;
    let with = without + less * less + 2 * x * less - more * less;
    root_rounded_up(without.max(with))
}

/// Squares of currents that are within [`super::bounds`] for every EVSE of the largest site fit: ten times 5 MA squared.
fn root_rounded_up(square: i64) -> DeciAmps {
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
            self.uneven[index] += other.uneven[index];
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
            self.uneven[index] -= other.uneven[index];
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

    #[test]
    fn line_difference_of_delta_loads_agrees_with_phasors() {
        // Unit currents of L1-L2, L2-L3, L3-L1; L1 carries the first less the third, L2 the second less the first.
        let unit = [30.0_f64, -90.0, 150.0].map(|degrees| (degrees.to_radians().cos(), degrees.to_radians().sin()));
        let difference = |[ab, bc, ca]: [i64; 3]| {
            let line = |one: usize, other: usize, of: [i64; 3]| {
                let [(ax, ay), (bx, by)] = [unit[one], unit[other]];
                let (one, other) = (of[one] as f64, of[other] as f64);
                (one * ax - other * bx, one * ay - other * by)
            };
            let ((ax, ay), (bx, by)) = (line(0, 2, [ab, bc, ca]), line(1, 0, [ab, bc, ca]));
            (ax - bx).hypot(ay - by)
        };
        for x in (0..600).step_by(53) {
            for y in (0..600).step_by(47) {
                for z in (0..600).step_by(59) {
                    let corners = (0..8).map(|corner| {
                        let at = |bit: i64, current: i64| if corner & bit == 0 { 0 } else { current };
                        difference([at(1, x), at(2, y), at(4, z)])
                    });
                    let exact = corners.fold(0.0, f64::max);
                    let [x, y, z] = deciamps([x, y, z]);
                    let rounded = delta_line_difference(x, y, z).deciamps() as f64;
                    assert!(
                        rounded >= exact - 1e-6 && rounded < exact + 1.0,
                        "{x}, {y} and {z}: {rounded} against {exact}"
                    );
                }
            }
        }
    }

    #[test]
    fn each_pair_has_its_line_on_the_primary() {
        let load = Load {
            star: deciamps([10, 20, 40]),
            delta: deciamps([300, 0, 0]),
            ..Load::ZERO
        };
        // 30 A from L1 to L2 are 60 A between these lines, and 30 A between either and L3; star currents add up.
        assert_eq!(load.line_differences(), deciamps([630, 360, 350]));
        let worst_without_the_third = Load {
            delta: deciamps([100, 100, 100]),
            ..Load::ZERO
        };
        // All three make 300 dA; a pair that stops does not raise that.
        assert_eq!(worst_without_the_third.line_differences(), deciamps([300; 3]));
        let cancelling = Load {
            delta: deciamps([0, 400, 100]),
            ..Load::ZERO
        };
        // Between L1 and L2: √(400² + 100² − 400 × 100) = 361 dA with both, 400 dA once L3-L1 stops.
        assert_eq!(cancelling.line_differences()[0], DeciAmps::from_deciamps(400));
    }

    #[test]
    fn only_what_surely_draws_from_all_three_lines_is_balanced() {
        let uneven = |wiring: Wiring, car: Option<u8>| {
            let conversion = Conversion::new(&wiring, Volts::from_volts(230)).for_car(car);
            conversion.load(Rate::new(160)).uneven.map(DeciAmps::deciamps)
        };
        let three = || Wiring::Star(vec![Phase::L2, Phase::L3, Phase::L1]);
        assert_eq!(uneven(three(), Some(3)), [0; 3]);
        assert_eq!(uneven(Wiring::StarUnknown { phases: 3 }, Some(3)), [0; 3]);
        for car in [None, Some(1), Some(2)] {
            assert_eq!(uneven(three(), car), [160; 3], "{car:?}");
        }
        assert_eq!(uneven(Wiring::Star(vec![Phase::L3, Phase::L1]), Some(3)), [160, 0, 160]);
        assert_eq!(uneven(Wiring::StarUnknown { phases: 1 }, Some(1)), [160; 3]);
        assert_eq!(uneven(Wiring::Delta(PhasePair::L3L1), None), [160, 0, 160]);
        let dc = Wiring::Dc {
            efficiency_percent: 92,
            standby: Watts::from_watts(150),
        };
        assert_eq!(uneven(dc, None), [0; 3]);
    }

    #[test]
    fn the_next_car_may_use_fewer_phases_than_this_one() {
        let conversion = Conversion::new(&Wiring::Star(Phase::ALL.to_vec()), Volts::from_volts(230)).for_car(Some(3));
        let load = conversion.load_of_any_car(Rate::new(100));
        assert_eq!((load.uneven, load.star), (deciamps([100; 3]), deciamps([100; 3])));
    }
}
