//! Sites where all cars load the supply alike: their best plan is a flow, and exact.
//!
//! Decides whether a site is one of these, and in which units its flow is counted. Cars are alike where the same rate means the same load
//! and the same energy: all single-phase on one line, all three-phase, all DC. Single-phase cars on different lines are alike too
//! as long as only the grid connection has a limit in total watts, and no transformer's primary binds: then each line has a tree of its
//! own. Limits are rounded so that every plan that keeps them is a flow here: bounds hold for the plan that comes of it.

mod forest;
mod units;

use super::super::draft::Draft;
use super::super::problem::Problem;
use super::{Relaxed, Settled, is_searched};
use crate::domain::conversion::Rate;
use crate::domain::plan::{Note, Outcome};
use crate::domain::site::Fairness;
use crate::solver::flow::peak::{PeakBudget, PeakCharge};
use crate::solver::flow::ranks::{Claim, Division, Shares};
use crate::solver::flow::{Flow, Network, Session, Task};
use forest::{Forest, lanes, most_rate};
use units::{Units, lengths};

/// The bound on money is proven to within so many millionths.
const GAP_MILLIONTHS: u32 = 10;

/// A site as a flow.
pub(super) struct Site<'p> {
    problem: &'p Problem<'p>,
    settled: Settled<'p>,
    units: Units,
    network: Network,
    /// By node of the network, then slot.
    capacities: Vec<i32>,
    /// The sessions of the network, as indices of the problem.
    searched: Vec<usize>,
}

impl<'p> Site<'p> {
    /// `None` where the cars are not alike, or there are none.
    pub(super) fn new(problem: &'p Problem<'p>, greedy: &'p Draft<'p>) -> Option<Self> {
        let searched: Vec<usize> = (0..problem.session_count())
            .filter(|session| is_searched(problem, *session))
            .collect();
        let first = problem.session(*searched.first()?);
        let are_alike = searched.iter().all(|session| {
            let session = problem.session(*session);
            session.default == Rate::ZERO && session.power == first.power
        });
        let lanes = lanes(problem, &searched).filter(|_| are_alike)?;
        let most: i64 = searched.iter().map(|session| most_rate(problem, *session)).sum();
        let settled = Settled::new(problem, greedy);
        let units = Units::steps(&settled, &searched)
            .filter(|units| units.power_of_rates(most) <= i64::from(i32::MAX))
            .unwrap_or_else(|| Units::finest(problem, most, first.power));
        let forest = Forest::new(&settled, &searched, &lanes, units)?;
        let lengths: Vec<i32> = (0..problem.slots)
            .map(|slot| lengths(problem.seconds(slot).secs(), units.seconds) as i32)
            .collect();
        let sessions = (searched.iter())
            .map(|index| {
                let session = problem.session(*index);
                Session {
                    node: forest.node_of(problem, *index, &lanes),
                    first_slot: session.first_slot,
                    end_slot: session.end_slot,
                    most: units.power_of_rates(most_rate(problem, *index)) as i32,
                }
            })
            .collect();
        let capacities = forest.capacities(&lengths);
        Some(Self {
            problem,
            settled,
            units,
            network: Network::new(lengths, forest.parents, sessions),
            capacities,
            searched,
        })
    }

    /// At most `iterations` flows are solved.
    pub(super) fn relax(&self, iterations: u32) -> Relaxed {
        let snapshot = self.problem.snapshot;
        let prices: Vec<i64> = snapshot.prices.iter().map(|price| price.micros_per_kwh()).collect();
        let wanted: Vec<i64> = (self.searched.iter())
            .map(|session| self.units.enough(self.problem.wanted(*session)))
            .collect();
        let dearest = prices.iter().map(|price| price.abs()).max().unwrap_or(0);
        let task = Task {
            capacities: &self.capacities,
            wanted: &wanted,
            prices: &prices,
            penalty: dearest + 1,
        };
        let mut flow = Flow::new(&self.network);
        let shares = self.share(&mut flow, &task, iterations);
        let task = Task {
            wanted: &shares.energy,
            ..task
        };
        let mut solves = shares.rounds + 1;
        let charge = snapshot
            .demand_charge
            .as_ref()
            .filter(|charge| charge.micros_per_kw > 0);
        let (bound, peak) = match charge {
            Some(charge) if solves < iterations => {
                let base: Vec<i64> = (0..self.problem.slots)
                    .map(|slot| self.units.power_below(self.settled.draw(slot)))
                    .collect();
                let charge = PeakCharge {
                    price: charge.micros_per_kw.saturating_mul(3600) / self.units.seconds,
                    so_far: self.units.power_above(charge.peak_so_far),
                    base: &base,
                };
                // No unit of energy is given up for a lower peak.
                let penalty = charge.price.saturating_add(2 * dearest + 1);
                let budget = PeakBudget {
                    solves: iterations - solves,
                    gap_millionths: GAP_MILLIONTHS,
                };
                let outcome = flow.solve_with_peak(&self.network, &Task { penalty, ..task }, &charge, budget, None);
                solves += outcome.solves;
                (outcome.bound, Some(self.units.watts(outcome.allowed)))
            }
            _ => {
                flow.solve(&self.network, &task);
                (flow.bound(&self.network, &task), None)
            }
        };
        let served: i128 = shares.energy.iter().map(|energy| i128::from(*energy)).sum();
        let is_complete = shares.is_fair && (charge.is_none() || peak.is_some());
        Relaxed {
            rates: self.rates(&flow),
            peak,
            delivered: Some(self.units.energy(served) + self.settled.energy()),
            cost: Some(self.units.money(bound) + self.settled.cost()),
            proven: self.settled.is_without_alternative(),
            iterations: solves,
            outcome: if is_complete {
                Outcome::Optimal
            } else {
                Outcome::BudgetSpent
            },
            stopped: (!is_complete).then(|| Note::SearchStopped {
                stage: if shares.is_fair { "money" } else { "fairness" }.to_owned(),
                reason: "the budget of iterations is spent".to_owned(),
            }),
        }
    }

    fn share(&self, flow: &mut Flow, task: &Task, iterations: u32) -> Shares {
        let mut turns = vec![0; self.problem.session_count()];
        let in_turn = self.problem.classes.iter().flat_map(|class| &class.members);
        in_turn.zip(0..).for_each(|(session, turn)| turns[*session] = turn);
        let claims: Vec<Claim> = (self.searched.iter())
            .map(|session| Claim {
                rank: self.problem.class_of(*session).unwrap_or(usize::MAX) as u32,
                order: turns[*session],
                promised: self.units.enough(self.problem.session(*session).guaranteed),
            })
            .collect();
        let division = match self.problem.snapshot.fairness {
            Fairness::MaxMin => Division::EqualShares,
            Fairness::Proportional => Division::EqualEnergy,
            Fairness::FirstCome | Fairness::LeastLaxity => Division::InOrder,
            Fairness::None => Division::Any,
        };
        flow.share(&self.network, task, &claims, division, iterations.saturating_sub(1))
    }

    /// By session of the problem, then slot.
    fn rates(&self, flow: &Flow) -> Vec<f64> {
        let mut rates = vec![0.0; self.problem.session_count() * self.problem.slots];
        for (index, session) in self.searched.iter().enumerate() {
            let first = self.problem.session(*session).first_slot;
            for (amount, slot) in flow.amounts(&self.network, index).iter().zip(first..) {
                let rate = self.units.as_rate(*amount, self.problem.seconds(slot).secs());
                rates[session * self.problem.slots + slot] = rate;
            }
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::greedy;
    use super::super::super::testing::*;
    use super::super::programs;
    use super::*;
    use crate::domain::conversion::Wiring;
    use crate::domain::conversion::{PerRate, Phase, PhasePair};
    use crate::domain::limits::Capacity;
    use crate::domain::session::Tier;
    use crate::domain::snapshot::{DemandCharge, SlotGrid, Snapshot};
    use crate::units::{DeciAmps, Instant, MicrosPerKwh, Seconds, WattSeconds, Watts};

    fn is_flow(snapshot: &Snapshot) -> bool {
        let problem = Problem::new(snapshot);
        let greedy = greedy::fill(&problem);
        Site::new(&problem, &greedy).is_some()
    }

    fn on(line: Phase) -> Wiring {
        Wiring::Star(vec![line])
    }

    /// Cars on L1 and L2 under 20 A, at a panel if there is one.
    fn two_lines(panel: Option<Capacity>) -> Snapshot {
        let mut snapshot = site(vec![amperes(20); 2]);
        for line in [Phase::L1, Phase::L1, Phase::L2, Phase::L2] {
            car(&mut snapshot, on(line), 60);
        }
        if let Some(limit) = panel {
            let panel = add_panel(&mut snapshot, limit);
            snapshot.sessions[0].node = panel;
            snapshot.sessions[2].node = panel;
        }
        snapshot
    }

    fn watts(limit: i64) -> Capacity {
        Capacity {
            total: Some(Watts::from_watts(limit)),
            ..Capacity::UNLIMITED
        }
    }

    #[test]
    fn cars_that_load_alike_are_a_flow_and_others_are_not() {
        assert!(is_flow(&two_lines(None)));
        assert!(is_flow(&two_lines(Some(amperes(10)))));
        // A limit in total watts joins the lines: fine at the grid connection, nowhere else unless it cannot bind.
        assert!(!is_flow(&two_lines(Some(watts(10_000)))));
        assert!(is_flow(&two_lines(Some(watts(64 * 253)))));
        let mut under_watts = two_lines(None);
        under_watts.nodes[0].available.fill(watts(10_000));
        assert!(is_flow(&under_watts));

        let mut mixed = two_lines(None);
        car(&mut mixed, Wiring::Star(Phase::ALL.to_vec()), 10);
        assert!(!is_flow(&mixed));
        let mut with_default = two_lines(None);
        with_default.sessions[1].default = Rate::new(60);
        assert!(!is_flow(&with_default));
        assert!(!is_flow(&site(vec![amperes(20)])), "there is nothing to search for");
    }

    fn between_lines(unbalance: Option<i64>, difference: Option<i64>) -> Capacity {
        let each = |limit: Option<i64>| limit.map(|amperes| [DeciAmps::from_deciamps(amperes * 10); 3]);
        Capacity {
            unbalance: each(unbalance),
            difference: each(difference),
            ..amperes(20)
        }
    }

    /// What the flow serves of two cars under `limit` for an hour, in ampere-hours of one phase; `None` if that is no flow.
    fn served(limit: Capacity, wirings: [Wiring; 2], car_phases: [Option<u8>; 2]) -> Option<i64> {
        let mut snapshot = site(vec![limit]);
        for (wiring, phases) in wirings.into_iter().zip(car_phases) {
            let car = car(&mut snapshot, wiring, 96);
            let session = &mut snapshot.sessions[car];
            session.conversion = session.conversion.clone().for_car(phases);
        }
        let problem = Problem::new(&snapshot);
        let greedy = greedy::fill(&problem);
        let relaxed = Site::new(&problem, &greedy)?.relax(100);
        Some(relaxed.delivered?.floor_watt_hours() / 230)
    }

    #[test]
    fn what_lines_carry_against_each_other_is_one_number_for_cars_of_one_kind_only() {
        let single = [Phase::L1, Phase::L1].map(on);
        assert_eq!(
            served(between_lines(Some(14), None), single.clone(), [None; 2]),
            Some(14)
        );
        assert_eq!(served(between_lines(None, Some(13)), single, [None; 2]), Some(13));
        let two_lines = [Phase::L1, Phase::L2].map(on);
        assert_eq!(
            served(between_lines(Some(14), None), two_lines.clone(), [None; 2]),
            Some(28)
        );
        assert_eq!(
            served(between_lines(None, Some(39)), two_lines.clone(), [None; 2]),
            None
        );
        assert_eq!(served(between_lines(None, Some(64)), two_lines, [None; 2]), Some(40));
        // Between two lines what a pair carries counts twice, between others once.
        let pairs = [PhasePair::L2L3; 2].map(Wiring::Delta);
        assert_eq!(
            served(between_lines(None, Some(30)), pairs.clone(), [None; 2]),
            Some(15)
        );
        assert_eq!(served(between_lines(Some(12), None), pairs, [None; 2]), Some(12));
        let unlike = [PhasePair::L2L3, PhasePair::L1L2].map(Wiring::Delta);
        assert_eq!(served(between_lines(None, Some(30)), unlike, [None; 2]), None);
    }

    #[test]
    fn cars_of_which_less_is_known_are_another_kind_where_unbalance_can_bind() {
        let three_phase = || [Phase::ALL.to_vec(), Phase::ALL.to_vec()].map(Wiring::Star);
        let (binds, cannot) = (between_lines(Some(14), None), between_lines(Some(64), None));
        assert_eq!(served(binds, three_phase(), [Some(3); 2]), Some(60));
        assert_eq!(served(binds, three_phase(), [None; 2]), Some(42));
        assert_eq!(served(binds, three_phase(), [Some(3), None]), None);
        assert_eq!(served(cannot, three_phase(), [Some(3), None]), Some(60));
    }

    #[test]
    fn an_overloaded_line_closes_the_others_too() {
        let mut snapshot = two_lines(None);
        snapshot.nodes[0].available[0].line[Phase::L3.index()] = Some(DeciAmps::from_deciamps(-1));
        let problem = Problem::new(&snapshot);
        let greedy = greedy::fill(&problem);
        let relaxed = Site::new(&problem, &greedy).unwrap().relax(100);
        // 20 A on two lines in the second hour alone.
        assert_eq!(relaxed.delivered, Some(WattSeconds::from_watt_hours(2 * 20 * 230)));
    }

    #[test]
    fn all_lines_share_the_limit_of_the_grid_connection() {
        let mut snapshot = two_lines(None);
        // 30 A at 253 V, of 20 A on each line.
        snapshot.nodes[0]
            .available
            .iter_mut()
            .for_each(|capacity| capacity.total = Some(Watts::from_watts(7_590)));
        let problem = Problem::new(&snapshot);
        let greedy = greedy::fill(&problem);
        let relaxed = Site::new(&problem, &greedy).unwrap().relax(100);
        assert_eq!(relaxed.delivered, Some(WattSeconds::from_watt_hours(2 * 30 * 230)));
        let line = |session: usize| relaxed.rates[session * 2] + relaxed.rates[(session + 1) * 2];
        assert!(line(0) <= 200.0 && line(2) <= 200.0);
    }

    #[test]
    fn units_grow_only_as_far_as_sums_need_it_and_round_outward() {
        let mut snapshot = site(vec![amperes(20); 3]);
        snapshot.grid = SlotGrid::new(Instant::from_unix_secs(437), Seconds::from_mins(15), 3);
        car(&mut snapshot, on_l1(), 10);
        let problem = Problem::new(&snapshot);
        let watt = PerRate::ONE;
        let fine = Units::finest(&problem, 1_000, watt);
        assert_eq!((fine.parts, fine.rate, fine.seconds), (64, 1, 1));
        let coarse = Units::finest(&problem, 2_000_000_000, watt);
        assert!(coarse.parts == 1 && coarse.rate > 1 && coarse.seconds > 1);
        let energy = WattSeconds::from_watt_hours(1_000_001);
        let counted = coarse.energy(i128::from(coarse.enough(energy)));
        assert!(counted >= energy && (counted - energy).watt_seconds() < coarse.rate * coarse.seconds);
        let draw = Watts::from_watts(-1_234_567);
        assert!(coarse.watts(coarse.power_below(draw)) <= draw && draw <= coarse.watts(coarse.power_above(draw)));
    }

    #[test]
    fn needs_are_rounded_up_to_whole_steps_where_every_plan_consists_of_them() {
        let delivered = |snapshot: &Snapshot| {
            let problem = Problem::new(snapshot);
            let greedy = greedy::fill(&problem);
            let site = Site::new(&problem, &greedy).unwrap();
            site.relax(100).delivered.unwrap()
        };
        let mut snapshot = site(vec![amperes(20); 2]);
        car(&mut snapshot, on_l1(), 10);
        // A little more than 10 Ah: no plan in whole amperes gives that and less than 11 Ah.
        let need = WattSeconds::from_watt_hours(10 * 230) + WattSeconds::from_watt_seconds(1);
        snapshot.sessions[0].need = Some(need);
        assert_eq!(delivered(&snapshot), WattSeconds::from_watt_hours(11 * 230));
        // Half an ampere for what is left of an hour may be enough.
        snapshot.grid = SlotGrid::new(Instant::from_unix_secs(1_800), Seconds::from_hours(1), 2);
        assert!(delivered(&snapshot) < need + WattSeconds::from_watt_hours(1));
    }

    /// The same numbers each time, from a generator of the linear congruential kind.
    struct Seeded(u64);

    impl Seeded {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % end
        }
    }

    fn random_site(seed: u64) -> Snapshot {
        let mut random = Seeded(seed);
        let slots = 2 + random.below(6);
        let mut snapshot = site((0..slots).map(|_| amperes(20 + random.below(60) as i64)).collect());
        snapshot.grid = SlotGrid::new(
            Instant::from_unix_secs(random.below(3_600) as i64),
            Seconds::from_hours(1),
            slots,
        );
        let panel = add_panel(&mut snapshot, amperes(10 + random.below(40) as i64));
        let lines = if random.below(2) == 0 { 1 } else { 3 };
        for _ in 0..2 + random.below(8) {
            let need = 5 + random.below([20, 120][seed as usize % 2]) as i64;
            let car = car(&mut snapshot, on(Phase::ALL[random.below(lines)]), need);
            let session = &mut snapshot.sessions[car];
            session.node = [0, panel][random.below(2)];
            session.first_slot = random.below(slots);
            session.end_slot = session.first_slot + 1 + random.below(slots - session.first_slot);
            session.tier = Tier::from_number(4 + random.below(2) as u8).unwrap();
            if random.below(3) == 0 {
                session.guaranteed = WattSeconds::from_watt_hours(230 * random.below(need as usize) as i64);
            }
        }
        for price in &mut snapshot.prices {
            *price = MicrosPerKwh::from_micros_per_kwh(random.below(300_000) as i64 - 20_000);
        }
        snapshot.demand_charge = (random.below(2) == 0).then(|| DemandCharge {
            micros_per_kw: random.below(900_000) as i64,
            peak_so_far: Watts::from_watts(random.below(5_000) as i64),
            expected_base: (0..slots)
                .map(|_| Watts::from_watts(random.below(9_000) as i64 - 2_000))
                .collect(),
        });
        snapshot
    }

    #[test]
    fn the_flow_finds_what_linear_programs_find() {
        let mut compared = [0, 0];
        for seed in 0..150 {
            let snapshot = random_site(seed);
            let problem = Problem::new(&snapshot);
            let greedy = greedy::fill(&problem);
            let Some(site) = Site::new(&problem, &greedy) else {
                continue;
            };
            let (flow, programs) = (site.relax(1_000), programs::relax(&problem, &greedy, 10_000));
            assert_eq!(flow.outcome, Outcome::Optimal);
            let (most, by_programs) = (flow.delivered.unwrap(), programs.delivered.unwrap());
            let apart = (most - by_programs).watt_seconds().abs();
            assert!(
                apart <= 3_600 + most.watt_seconds() / 100_000,
                "seed {seed}: {most}, {by_programs}"
            );
            compared[0] += 1;
            // Where someone lacks energy the programs stop after a few rounds of fairness, and cost depends on who lacks it.
            let wanted: WattSeconds = (0..problem.session_count())
                .map(|session| problem.wanted(session))
                .sum();
            if most >= wanted && programs.outcome == Outcome::Optimal {
                let (cost, by_programs) = (flow.cost.unwrap(), programs.cost.unwrap());
                let apart = (cost - by_programs).micros().abs();
                assert!(
                    apart <= 200 + by_programs.micros().abs() / 10_000,
                    "seed {seed}: {cost}, {by_programs}"
                );
                compared[1] += 1;
            }
        }
        assert!(compared[0] > 100 && compared[1] > 20, "{compared:?}");
    }
}
