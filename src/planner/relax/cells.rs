//! Cells and limits as columns and rows of a linear program.
//!
//! Decides which limits a program needs: one that can never bind, or that says what another one says, is left out. Columns are
//! kilowatts taken by a car in a slot; rows are limits, scaled.

use super::super::draft::Draft;
use super::super::problem::Problem;
use super::lp::{Column, Program, Relation, Row};
use super::{Settled, is_searched};
use crate::domain::conversion::{Conversion, Load, PerRate, Phase, PhasePair};
use crate::domain::limits::Capacity;
use crate::domain::snapshot::SnapshotSession;
use crate::units::Watts;
use std::collections::BTreeMap;

/// Watt-seconds in a kilowatt-hour.
pub(super) const KWH: f64 = 3_600_000.0;

/// √3 − 1, rounded up: x + this × y ≤ L and this × x + y ≤ L lie inside √(x² + xy + y²) ≤ L, and touch it at x = 0, y = 0 and x = y.
const CHORD: f64 = 0.732_050_81;

/// The same for the difference of two lines, √(4x² + y² + z² + 2xy + 2xz − yz) ≤ L at its worst: factors of x, y and z. The currents lie
/// in a sector of 120°, which four chords cover with corners every 30°, one of them on the axis where x is alone. Between corners
/// they cut off 3.4 % at most; on a day of 52 cars at Caltech it was 0.1 to 0.4 % of the energy. What would count for less than
/// nothing, because it cancels, counts for nothing.
const DIFFERENCE_CHORDS: [[f64; 3]; 4] = [
    [2.0, CHORD, 1.0 - CHORD],
    [2.0, 1.0 - CHORD, CHORD],
    [2.0 * CHORD, 1.0, 0.0],
    [2.0 * CHORD, 0.0, 1.0],
];

/// One session in one slot.
pub(super) struct Cell {
    pub(super) session: usize,
    pub(super) slot: usize,
    pub(super) hours: f64,
    /// Power up to the EVSE's default, which loads nothing that is not counted already.
    free: Option<usize>,
    /// Power above it.
    loading: Option<usize>,
}

impl Cell {
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> {
        [self.free, self.loading].into_iter().flatten()
    }
}

pub(super) struct Cells<'p> {
    problem: &'p Problem<'p>,
    pub(super) settled: Settled<'p>,
    pub(super) list: Vec<Cell>,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// By session: its cells, as a range of `list`. `None` where there is nothing to search for: it cannot be given power, it may not
    /// be interrupted and keeps what the greedy plan gives it, or it only gets what others leave.
    of_session: Vec<Option<std::ops::Range<usize>>>,
    /// Whether every feasible plan is feasible here. Not so with line-to-line cars, whose limits are cut short by chords.
    pub(super) exact: bool,
}

impl<'p> Cells<'p> {
    pub(super) fn new(problem: &'p Problem<'p>, greedy: &'p Draft<'p>) -> Self {
        let mut cells = Self {
            problem,
            settled: Settled::new(problem, greedy),
            list: Vec::new(),
            columns: Vec::new(),
            rows: Vec::new(),
            of_session: Vec::with_capacity(problem.session_count()),
            exact: true,
        };
        for session in 0..problem.session_count() {
            let range = cells.add_cells(session);
            cells.of_session.push(range);
        }
        cells.add_limits();
        cells
    }

    pub(super) fn is_searched(&self, session: usize) -> bool {
        self.of_session[session].is_some()
    }

    fn add_cells(&mut self, index: usize) -> Option<std::ops::Range<usize>> {
        let session = self.problem.session(index);
        let kilowatts = kilowatts_per_rate(session);
        let greatest = session.choice.floor(session.choice.maximum);
        if !is_searched(self.problem, index) {
            return None;
        }
        let first = self.list.len();
        let problem = self.problem;
        for slot in problem.live_slots(index) {
            let free = greatest.min(session.default).value();
            let mut part = |rates: i64| (rates > 0).then(|| self.add_column(rates as f64 * kilowatts));
            let cell = Cell {
                session: index,
                slot,
                hours: problem.seconds(slot).secs() as f64 / 3600.0,
                free: part(free),
                loading: part(greatest.value() - free),
            };
            self.list.push(cell);
        }
        (first < self.list.len()).then_some(first..self.list.len())
    }

    fn add_column(&mut self, most: f64) -> usize {
        self.columns.push(Column {
            least: 0.0,
            most,
            cost: 0.0,
        });
        self.columns.len() - 1
    }

    fn cells_of(&self, session: usize) -> &[Cell] {
        self.of_session[session].clone().map_or(&[], |range| &self.list[range])
    }

    /// Hours of each column of `session`: its energy in kWh.
    pub(super) fn energy_terms(&self, session: usize) -> Vec<(usize, f64)> {
        self.cells_of(session)
            .iter()
            .flat_map(|cell| cell.columns().map(|column| (column, cell.hours)))
            .collect()
    }

    fn add_limits(&mut self) {
        let problem = self.problem;
        let slots = problem.slots;
        // By watched node and slot: the columns that load it, and what it carries when they are all zero.
        let mut members: Vec<Vec<(usize, usize)>> = vec![Vec::new(); problem.watched_count() * slots];
        let mut carried = vec![Carried::default(); problem.watched_count() * slots];
        for cell in &self.list {
            for watched in problem.path(cell.session) {
                members[watched * slots + cell.slot].extend(cell.loading.map(|column| (column, cell.session)));
            }
        }
        for index in 0..problem.session_count() {
            let session = problem.session(index);
            let idle = Carried::when_idle(session);
            for slot in 0..slots {
                let load = if self.is_searched(index) {
                    idle
                } else {
                    Carried::from(session.load(self.settled.greedy.rate(index, slot)))
                };
                problem
                    .path(index)
                    .iter()
                    .for_each(|watched| carried[watched * slots + slot].add(&load));
            }
        }
        for slot in 0..slots {
            let mut rows = SlotRows::default();
            for watched in 0..problem.watched_count() {
                let at = watched * slots + slot;
                if !members[at].is_empty() {
                    self.exact &=
                        !self.limits_of(problem.capacity(watched, slot), &members[at], &carried[at], &mut rows);
                }
            }
            rows.pour_into(&mut self.columns, &mut self.rows);
        }
    }

    /// Adds the limits of one node in one slot; tells whether line-to-line loads are among them.
    fn limits_of(
        &self,
        capacity: &Capacity,
        members: &[(usize, usize)],
        carried: &Carried,
        rows: &mut SlotRows,
    ) -> bool {
        let terms = |factor: &dyn Fn(&Conversion) -> f64| -> Vec<(usize, f64)> {
            members
                .iter()
                .filter_map(|(column, session)| {
                    let session = self.problem.session(*session);
                    let factor = factor(&session.conversion);
                    (factor > 0.0).then(|| (*column, factor / kilowatts_per_rate(session)))
                })
                .collect()
        };
        if let Some(limit) = capacity.total {
            let left = limit.watts() as f64 - carried.total;
            rows.add(terms(&|conversion| conversion.total.as_f64()), left, &self.columns);
        }
        if let Some(limits) = capacity.unbalance {
            for (index, limit) in limits.into_iter().enumerate() {
                let left = limit.deciamps() as f64 - carried.uneven[index];
                rows.add(
                    terms(&|conversion| conversion.uneven[index].as_f64()),
                    left,
                    &self.columns,
                );
            }
        }
        let mut has_delta = false;
        if let Some(limits) = capacity.difference {
            let is_delta = |session: usize| self.problem.session(session).conversion.has_delta();
            has_delta = members.iter().any(|(_, session)| is_delta(*session));
            for pair in PhasePair::ALL {
                let lines = pair.lines().map(Phase::index);
                for chord in DIFFERENCE_CHORDS {
                    let sum = |star: [f64; 3], delta: [f64; 3]| -> f64 {
                        let along = (0..3).map(|next| chord[next] * delta[(pair.index() + next) % 3]);
                        lines.iter().map(|line| star[*line]).chain(along).sum()
                    };
                    let of = |conversion: &Conversion| {
                        sum(
                            conversion.star.map(PerRate::as_f64),
                            conversion.delta.map(PerRate::as_f64),
                        )
                    };
                    let left = limits[pair.index()].deciamps() as f64 - sum(carried.star, carried.delta);
                    rows.add(terms(&of), left, &self.columns);
                }
            }
        }
        for phase in Phase::ALL {
            let Some(limit) = capacity.line[phase.index()] else {
                continue;
            };
            let pairs = PhasePair::meeting_in(phase).map(PhasePair::index);
            has_delta |= members.iter().any(|(_, session)| {
                let delta = &self.problem.session(*session).conversion.delta;
                pairs.iter().any(|pair| delta[*pair].as_f64() > 0.0)
            });
            for chord in [[1.0, CHORD], [CHORD, 1.0]] {
                let line = |star: f64, delta: [f64; 2]| star + chord[0] * delta[0] + chord[1] * delta[1];
                let line_of = |conversion: &Conversion| {
                    line(
                        conversion.star[phase.index()].as_f64(),
                        pairs.map(|pair| conversion.delta[pair].as_f64()),
                    )
                };
                let carried = line(carried.star[phase.index()], pairs.map(|pair| carried.delta[pair]));
                rows.add(terms(&line_of), limit.deciamps() as f64 - carried, &self.columns);
            }
        }
        has_delta
    }

    /// In each slot the expected draw of the site is at most the column `peak`, where it could be above `unavoidable`.
    pub(super) fn add_peak_rows(&self, program: &mut Program, peak: usize, unavoidable: Watts) {
        let mut by_slot: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.problem.slots];
        for cell in &self.list {
            by_slot[cell.slot].extend(cell.columns().map(|column| (column, 1.0)));
        }
        for (slot, mut terms) in by_slot.into_iter().enumerate() {
            let settled = self.settled.draw(slot).watts() as f64 / 1000.0;
            let most: f64 = terms.iter().map(|(column, _)| self.columns[*column].most).sum();
            if settled + most > unavoidable.watts() as f64 / 1000.0 {
                terms.push((peak, -1.0));
                program.row(terms, Relation::AtMost, -settled);
            }
        }
    }

    /// The rates that the values of the columns stand for, by session, then slot.
    pub(super) fn rates(&self, values: &[f64]) -> Vec<f64> {
        let mut rates = vec![0.0; self.problem.session_count() * self.problem.slots];
        for cell in &self.list {
            let kilowatts: f64 = cell.columns().map(|column| values[column]).sum();
            rates[cell.session * self.problem.slots + cell.slot] =
                kilowatts / kilowatts_per_rate(self.problem.session(cell.session));
        }
        rates
    }
}

/// A load that is searched with: never more than the one that decides, which is rounded up.
#[derive(Clone, Copy, Default)]
struct Carried {
    star: [f64; 3],
    delta: [f64; 3],
    uneven: [f64; 3],
    total: f64,
}

impl Carried {
    /// What `session` loads the supply with when all its columns are zero: its EVSE's default.
    fn when_idle(session: &SnapshotSession) -> Self {
        let default = session.default.value() as f64;
        let mut carried = Self::from(session.conversion.standby);
        carried.add(&Self {
            star: session.conversion.star.map(|per_rate| per_rate.as_f64() * default),
            delta: session.conversion.delta.map(|per_rate| per_rate.as_f64() * default),
            uneven: (session.conversion.uneven_of_any_car()).map(|per_rate| per_rate.as_f64() * default),
            total: session.conversion.total.as_f64() * default,
        });
        carried
    }

    fn add(&mut self, other: &Self) {
        for index in 0..3 {
            self.star[index] += other.star[index];
            self.delta[index] += other.delta[index];
            self.uneven[index] += other.uneven[index];
        }
        self.total += other.total;
    }
}

impl From<Load> for Carried {
    fn from(load: Load) -> Self {
        Self {
            star: load.star.map(|current| current.deciamps() as f64),
            delta: load.delta.map(|current| current.deciamps() as f64),
            uneven: load.uneven.map(|current| current.deciamps() as f64),
            total: load.total.watts() as f64,
        }
    }
}

fn kilowatts_per_rate(session: &SnapshotSession) -> f64 {
    session.power.as_f64() / 1000.0
}

/// The limits of one slot, each kind of sum once with the tightest bound. Sums are scaled so that their first factor is one.
#[derive(Default)]
struct SlotRows {
    /// By columns and factors.
    tightest: BTreeMap<Vec<(usize, u32)>, Row>,
}

impl SlotRows {
    fn add(&mut self, mut terms: Vec<(usize, f64)>, left: f64, columns: &[Column]) {
        let most: f64 = terms
            .iter()
            .map(|(column, factor)| columns[*column].most * factor)
            .sum();
        if terms.is_empty() || most <= left {
            return;
        }
        let scale = terms[0].1;
        terms.iter_mut().for_each(|(_, factor)| *factor /= scale);
        let bound = (left / scale).max(0.0);
        // Factors that differ by less than an f32 shows are the same factor, reached by another way.
        let key = terms
            .iter()
            .map(|(column, factor)| (*column, (*factor as f32).to_bits()))
            .collect();
        self.tightest
            .entry(key)
            .and_modify(|row| row.bound = row.bound.min(bound))
            .or_insert(Row {
                terms,
                relation: Relation::AtMost,
                bound,
            });
    }

    /// A limit on a single column becomes its bound, one that leaves nothing closes its columns, any other becomes a row.
    fn pour_into(self, columns: &mut [Column], rows: &mut Vec<Row>) {
        for row in self.tightest.into_values() {
            if row.terms.len() > 1 && row.bound > 0.0 {
                rows.push(row);
                continue;
            }
            for (column, _) in row.terms {
                columns[column].most = columns[column].most.min(row.bound);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::greedy;
    use super::super::super::testing::*;
    use super::*;
    use crate::domain::conversion::{Rate, Wiring, delta_line_current, delta_line_difference};
    use crate::domain::snapshot::Snapshot;
    use crate::units::DeciAmps;

    fn rows_of(snapshot: &Snapshot) -> (usize, Vec<f64>, bool) {
        let problem = Problem::new(snapshot);
        let draft = greedy::fill(&problem);
        let cells = Cells::new(&problem, &draft);
        let bounds = cells.columns.iter().map(|column| column.most).collect();
        (cells.rows.len(), bounds, cells.exact)
    }

    fn three_phase() -> Wiring {
        Wiring::Star(Phase::ALL.to_vec())
    }

    #[test]
    fn limits_that_say_the_same_become_one_row() {
        let mut snapshot = site(vec![amperes(20)]);
        car(&mut snapshot, three_phase(), 50);
        car(&mut snapshot, three_phase(), 50);
        snapshot.nodes[0].available[0].total = Some(Watts::from_watts(14_000));
        assert_eq!(rows_of(&snapshot).0, 1);
    }

    #[test]
    fn a_limit_on_one_car_becomes_its_bound() {
        let mut snapshot = site(vec![amperes(20)]);
        car(&mut snapshot, on_l1(), 50);
        let (rows, bounds, _) = rows_of(&snapshot);
        assert_eq!(rows, 0);
        assert!((bounds[0] - 4.6).abs() < 1e-9, "{bounds:?}");
    }

    #[test]
    fn what_an_evse_draws_on_its_own_is_free_and_counted_once() {
        let mut snapshot = site(vec![amperes(20)]);
        let car = car(&mut snapshot, on_l1(), 50);
        snapshot.sessions[car].default = Rate::new(80);
        let (_, bounds, _) = rows_of(&snapshot);
        // 8 A free, then 12 A up to the fuse.
        assert!(
            (bounds[0] - 1.84).abs() < 1e-9 && (bounds[1] - 2.76).abs() < 1e-9,
            "{bounds:?}"
        );
    }

    #[test]
    fn only_line_to_line_cars_are_cut_short() {
        let mut snapshot = site(vec![amperes(20)]);
        car(&mut snapshot, on_l1(), 50);
        assert!(rows_of(&snapshot).2);
        car(&mut snapshot, line_to_line(), 50);
        assert!(!rows_of(&snapshot).2);
    }

    #[test]
    fn what_may_flow_alone_is_one_row_a_line() {
        let mut snapshot = site(vec![Capacity {
            unbalance: Some([DeciAmps::from_deciamps(200); 3]),
            ..Capacity::UNLIMITED
        }]);
        car(&mut snapshot, three_phase(), 50);
        car(&mut snapshot, on_l1(), 50);
        // The two meet in L1; in L2 and L3 the first may be alone, which is a bound on its column: 20 A of 3 × 230 V.
        let (rows, bounds, exact) = rows_of(&snapshot);
        assert_eq!((rows, exact), (1, true));
        assert!((bounds[0] - 13.8).abs() < 1e-9, "{bounds:?}");
        snapshot.sessions[0].conversion = snapshot.sessions[0].conversion.clone().for_car(Some(3));
        let (rows, bounds, _) = rows_of(&snapshot);
        assert_eq!(rows, 0);
        assert!(
            (bounds[0] - 22.08).abs() < 1e-9 && (bounds[1] - 4.6).abs() < 1e-9,
            "{bounds:?}"
        );
    }

    #[test]
    fn the_chords_of_differences_lie_inside_the_limit_and_touch_it_at_their_corners() {
        let most = |[x, y, z]: [f64; 3]| {
            let sums = DIFFERENCE_CHORDS.map(|chord| chord[0] * x + chord[1] * y + chord[2] * z);
            sums.into_iter().fold(0.0, f64::max)
        };
        let exact = |currents: [i64; 3]| {
            let [x, y, z] = currents.map(DeciAmps::from_deciamps);
            delta_line_difference(x, y, z).deciamps() as f64
        };
        let mut worst: f64 = 1.0;
        for x in (0..3_000_000_i64).step_by(210_000) {
            for y in (0..3_000_000_i64).step_by(170_000) {
                for z in (0..3_000_000_i64).step_by(190_000).filter(|z| x + y + z > 0) {
                    let (sum, exact) = (most([x, y, z].map(|current| current as f64)), exact([x, y, z]));
                    // Both may be off by a rounding.
                    assert!(sum >= exact - 1.0, "{x}, {y}, {z}: {sum} of {exact}");
                    worst = worst.max(sum / exact);
                }
            }
        }
        assert!((1.03..1.0354).contains(&worst), "{worst}");
        for corner in [
            [1_000, 0, 0],
            [0, 1_000, 0],
            [500, 500, 500],
            [500, 1_000, 0],
            [0, 0, 1_000],
        ] {
            assert!(
                (most(corner.map(|current| current as f64)) - exact(corner)).abs() < 1.0,
                "{corner:?}"
            );
        }
    }

    #[test]
    fn the_chords_lie_inside_the_limit() {
        const LIMIT: f64 = 1_000.0;
        for x in 0..=1_000_i64 {
            let by_first = (LIMIT - x as f64) / CHORD;
            let by_second = LIMIT - CHORD * x as f64;
            let y = by_first.min(by_second).floor() as i64;
            let current = delta_line_current(DeciAmps::from_deciamps(x), DeciAmps::from_deciamps(y));
            assert!(current <= DeciAmps::from_deciamps(1_000), "{x} and {y} make {current}");
        }
    }
}
