//! What the supply of the site sees, second by second, and what the day costs.
//!
//! Decides how a day is judged: every limited point of the supply is held against its limit in every second, with what really
//! flows there. Judges what cars draw, not what they were told, so it owes nothing to the planner, `verify` or the roll-out.

use super::car::Draw;
use super::day::{Day, Wires};
use crate::domain::conversion::{Load, Wiring};
use crate::domain::limits::Capacity;
use crate::units::{Instant, Seconds, WattSeconds, Watts};

/// A power charge is on the highest mean over this.
const QUARTER: Seconds = Seconds::from_mins(15);
/// Plots show means over this.
pub const BIN: Seconds = Seconds::from_mins(5);

/// A time during which one limit held at the grid connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitPeriod {
    pub from: Instant,
    pub limit: Watts,
    /// After a cut that nobody announced: how long until everything was within its limit for the first time.
    pub seconds_to_comply: i64,
    /// Seconds after that in which anything was above its limit.
    pub seconds_above: i64,
    /// The highest load at the grid connection after that, and when.
    pub highest: Watts,
    pub highest_at: Instant,
}

/// What one way of charging came to.
#[derive(Clone, Debug)]
pub struct Figures {
    /// By session, in the day's order.
    pub delivered: Vec<WattSeconds>,
    pub energy_cost_micros: i64,
    /// The highest mean over a quarter-hour.
    pub peak: Watts,
    pub demand_cost_micros: i64,
    /// In order of time; the first begins with the day.
    pub periods: Vec<LimitPeriod>,
    /// For each bin of the day and each EVSE, what it took.
    pub bins: Vec<Vec<WattSeconds>>,
}

impl Figures {
    pub fn energy(&self) -> WattSeconds {
        self.delivered.iter().copied().sum()
    }

    pub fn bill_micros(&self) -> i64 {
        self.energy_cost_micros + self.demand_cost_micros
    }

    /// The highest load at the grid connection, but for what it took to comply with a cut.
    pub fn highest(&self) -> Watts {
        self.periods
            .iter()
            .map(|period| period.highest)
            .max()
            .unwrap_or_default()
    }

    pub fn seconds_to_comply(&self) -> i64 {
        self.periods.iter().map(|period| period.seconds_to_comply).sum()
    }

    pub fn seconds_above(&self) -> i64 {
        self.periods.iter().map(|period| period.seconds_above).sum()
    }

    /// Mean power of all EVSEs in each bin.
    pub fn load(&self) -> Vec<Watts> {
        let mean = |bin: &Vec<WattSeconds>| {
            let energy: WattSeconds = bin.iter().copied().sum();
            Watts::from_watts(energy.watt_seconds() / BIN.secs())
        };
        self.bins.iter().map(mean).collect()
    }
}

/// Adds up a day while it passes.
#[derive(Clone, Debug)]
pub struct Tally<'day> {
    day: &'day Day,
    /// Places of the site that have a limit; the grid connection first.
    limited: Vec<Capacity>,
    /// For each EVSE the limited places above it, as indices into `limited`.
    above: Vec<Vec<usize>>,
    /// True from a cut until everything was within its limit once.
    complying: bool,
    periods: Vec<LimitPeriod>,
    bins: Vec<Vec<WattSeconds>>,
    quarters: Vec<WattSeconds>,
    /// Micros per kWh times watt-seconds.
    cost: i128,
}

impl<'day> Tally<'day> {
    pub fn new(day: &'day Day) -> Self {
        let places = day.site.places();
        let is_limited = |place: usize| places[place].capacity() != Capacity::UNLIMITED;
        let limited: Vec<usize> = (0..places.len()).filter(|place| is_limited(*place)).collect();
        let above_of = |place: usize| {
            day.site
                .path_to_root(place)
                .filter_map(|place| limited.iter().position(|candidate| *candidate == place))
                .collect()
        };
        let length = (day.end - day.start).secs();
        let count_of = |step: Seconds| usize::try_from(length / step.secs()).expect("a day has a length");
        Self {
            day,
            above: day.evses.iter().map(|evse| above_of(evse.place)).collect(),
            limited: limited.iter().map(|place| places[*place].capacity()).collect(),
            complying: false,
            periods: vec![period(day.start, day.grid_limit)],
            bins: vec![vec![WattSeconds::ZERO; day.evses.len()]; count_of(BIN)],
            quarters: vec![WattSeconds::ZERO; count_of(QUARTER)],
            cost: 0,
        }
    }

    /// From `at` on the grid connection may carry `limit`.
    pub fn set_grid_limit(&mut self, at: Instant, limit: Watts) {
        self.complying = limit < self.last_period().limit;
        self.limited[0].total = Some(limit);
        self.periods.push(period(at, limit));
    }

    /// Adds the second that begins at `at`: what each EVSE drew in it.
    pub fn second(&mut self, at: Instant, draws: &[Draw]) {
        let mut loads = vec![Load::ZERO; self.limited.len()];
        let mut total = Watts::ZERO;
        let bin = self.index(at, BIN);
        for (evse, draw) in draws.iter().enumerate().filter(|(_, draw)| **draw != Draw::default()) {
            let load = flows(&self.day.evses[evse].wires, draw);
            for place in &self.above[evse] {
                loads[*place] += load;
            }
            total += draw.power;
            self.bins[bin][evse] += draw.power.over(Seconds::from_secs(1));
        }
        let energy = total.over(Seconds::from_secs(1));
        let quarter = self.index(at, QUARTER);
        self.quarters[quarter] += energy;
        let price = self.day.prices.at(at).micros_per_kwh();
        self.cost += i128::from(price) * i128::from(energy.watt_seconds());
        // On a transformer's primary this counts what could flow if a car stopped, which may be more than flows.
        let within = self.limited.iter().zip(&loads).all(|(limit, load)| limit.fits(load));
        self.judge(at, total, within);
    }

    fn judge(&mut self, at: Instant, total: Watts, within: bool) {
        self.complying &= !within;
        let complying = self.complying;
        let period = self.last_period();
        if complying {
            period.seconds_to_comply += 1;
            return;
        }
        period.seconds_above += i64::from(!within);
        if total > period.highest {
            period.highest = total;
            period.highest_at = at;
        }
    }

    fn last_period(&mut self) -> &mut LimitPeriod {
        self.periods.last_mut().expect("a day begins with a limit")
    }

    fn index(&self, at: Instant, step: Seconds) -> usize {
        usize::try_from((at - self.day.start).secs() / step.secs()).expect("the day has begun")
    }

    /// The day's figures, with what each session got.
    pub fn finish(self, delivered: Vec<WattSeconds>) -> Figures {
        const WATT_SECONDS_PER_KWH: i128 = 3_600_000;
        let highest = self.quarters.iter().max().copied().unwrap_or_default();
        let peak = Watts::from_watts(highest.watt_seconds() / QUARTER.secs());
        Figures {
            delivered,
            energy_cost_micros: i64::try_from(self.cost / WATT_SECONDS_PER_KWH).unwrap_or(i64::MAX),
            peak,
            demand_cost_micros: self.day.demand_micros_per_kw * peak.watts() / 1000,
            periods: self.periods,
            bins: self.bins,
        }
    }
}

/// Where the current of a car flows.
fn flows(wires: &Wires, draw: &Draw) -> Load {
    let mut load = Load::ZERO;
    load.total = draw.power;
    match &wires.wiring {
        Wiring::Star(phases) => phases.iter().for_each(|phase| load.star[phase.index()] = draw.current),
        Wiring::Delta(pair) => load.delta[pair.index()] = draw.current,
        // No site that is played has these; counted where they weigh most.
        Wiring::StarUnknown { .. } | Wiring::Dc { .. } => load.star = [draw.current; 3],
    }
    load
}

fn period(from: Instant, limit: Watts) -> LimitPeriod {
    LimitPeriod {
        from,
        limit,
        seconds_to_comply: 0,
        seconds_above: 0,
        highest: Watts::ZERO,
        highest_at: from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::DeciAmps;

    /// `count` EVSEs at 32 A, all others at nothing.
    fn drawing(day: &Day, count: usize) -> Vec<Draw> {
        let full = Draw {
            current: DeciAmps::from_deciamps(320),
            power: Watts::from_watts(6_656),
        };
        (0..day.evses.len())
            .map(|evse| if evse < count { full } else { Draw::default() })
            .collect()
    }

    #[test]
    fn a_cut_is_complied_with_once_and_then_counts_as_any_limit() {
        let day = Day::carried().unwrap();
        let mut tally = Tally::new(&day);
        let mut at = day.start;
        let mut run = |tally: &mut Tally, seconds: i64, draws: &[Draw]| {
            for _ in 0..seconds {
                tally.second(at, draws);
                at = at + Seconds::from_secs(1);
            }
            at
        };
        // Two cars on one pair of panel sp1: 64 A and 13.3 kW.
        let cut_at = run(&mut tally, 10, &drawing(&day, 2));
        tally.set_grid_limit(cut_at, Watts::from_watts(10_000));
        run(&mut tally, 3, &drawing(&day, 2));
        run(&mut tally, 5, &drawing(&day, 1));
        run(&mut tally, 2, &drawing(&day, 2));
        let figures = tally.finish(Vec::new());
        assert_eq!(figures.periods[0].seconds_above, 0);
        assert_eq!(figures.periods[0].highest.watts(), 13_312);
        assert_eq!(figures.periods[1].seconds_to_comply, 3);
        assert_eq!(figures.periods[1].seconds_above, 2);
    }

    #[test]
    fn a_panel_above_its_line_limit_counts_though_the_grid_has_room() {
        let day = Day::carried().unwrap();
        let mut tally = Tally::new(&day);
        // Panel sp1: two cars on AB and two on CA meet in line a with √3 × 64 A = 111 A, of 100 A.
        tally.second(day.start, &drawing(&day, 4));
        assert_eq!(tally.finish(Vec::new()).seconds_above(), 1);
    }

    #[test]
    fn the_bill_is_energy_at_its_price_and_the_highest_quarter_hour() {
        let day = Day::carried().unwrap();
        let mut tally = Tally::new(&day);
        for second in 0..1800 {
            // One car, two in the second quarter-hour; at 03:00 a kilowatt-hour costs 6.087 cents.
            let count = if second < 900 { 1 } else { 2 };
            tally.second(day.start + Seconds::from_secs(second), &drawing(&day, count));
        }
        let figures = tally.finish(Vec::new());
        assert_eq!(figures.energy_cost_micros, 303_863); // 4.992 kWh
        assert_eq!(figures.peak.watts(), 13_312);
        assert_eq!(figures.demand_cost_micros, 206_469_120); // × 15.51
        assert_eq!(
            figures.load()[..7].iter().map(|load| load.watts()).collect::<Vec<_>>(),
            [6_656, 6_656, 6_656, 13_312, 13_312, 13_312, 0]
        );
    }
}
