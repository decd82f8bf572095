//! Small instances against enumeration of all plans, and what must hold of any solved flow.

use super::peak::{PeakBudget, PeakCharge};
use super::ranks::{Claim, Division};
use super::{Flow, Network, Session, Task};

/// A generator of the linear congruential kind.
struct Seeded(u64);

impl Seeded {
    /// From 0 up to, not including, `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn upto(&mut self, most: usize) -> i64 {
        self.below(most + 1) as i64
    }
}

struct Instance {
    network: Network,
    parents: Vec<Option<usize>>,
    lengths: Vec<i32>,
    sessions: Vec<Session>,
    capacities: Vec<i32>,
    wanted: Vec<i64>,
    prices: Vec<i64>,
}

const PENALTY: i64 = 100;

impl Instance {
    fn random(seed: u64, sessions: usize, slots: usize, most: usize) -> Self {
        let mut random = Seeded(seed);
        let nodes = 1 + random.below(4);
        let parents: Vec<Option<usize>> = (0..nodes).map(|node| (node > 0).then(|| random.below(node))).collect();
        let lengths: Vec<i32> = (0..slots)
            .map(|slot| if slot == 0 { 1 + random.below(2) as i32 } else { 2 })
            .collect();
        let sessions: Vec<Session> = (0..sessions)
            .map(|_| {
                let first_slot = random.below(slots);
                Session {
                    node: random.below(nodes),
                    first_slot,
                    end_slot: first_slot + 1 + random.below(slots - first_slot),
                    most: random.below(most + 1) as i32,
                }
            })
            .collect();
        Self {
            network: Network::new(lengths.clone(), parents.clone(), sessions.clone()),
            capacities: (0..nodes * slots)
                .map(|_| random.below(3 * most + 2) as i32 - 1)
                .collect(),
            wanted: sessions.iter().map(|_| random.upto(2 * most * slots)).collect(),
            prices: (0..slots).map(|_| random.upto(3) - 1).collect(),
            parents,
            lengths,
            sessions,
        }
    }

    fn task(&self) -> Task<'_> {
        Task {
            capacities: &self.capacities,
            wanted: &self.wanted,
            prices: &self.prices,
            penalty: PENALTY,
        }
    }

    fn slots(&self) -> usize {
        self.lengths.len()
    }

    /// Every limit is kept, and what is unserved is what is wanted and not given.
    fn assert_sound(&self, flow: &Flow) {
        let mut loads = vec![0; self.capacities.len()];
        for (index, session) in self.sessions.iter().enumerate() {
            let amounts = flow.amounts(&self.network, index);
            assert_eq!(amounts.len(), session.end_slot - session.first_slot);
            for (amount, slot) in amounts.iter().zip(session.first_slot..) {
                assert!((0..=session.most * self.lengths[slot]).contains(amount));
                let mut place = Some(session.node);
                while let Some(node) = place {
                    loads[node * self.slots() + slot] += amount;
                    place = self.parents[node];
                }
            }
            let served: i64 = amounts.iter().map(|amount| i64::from(*amount)).sum();
            assert_eq!(served + flow.unserved(&self.network, index), self.wanted[index]);
        }
        for (index, (load, capacity)) in loads.iter().zip(&self.capacities).enumerate() {
            assert!(*load <= (*capacity).max(0));
            assert_eq!(
                flow.load(&self.network, index / self.slots(), index % self.slots()),
                *load
            );
        }
    }

    /// Calls `visit` with every plan there is: amounts by session, then slot of its stay.
    fn every_plan(&self, visit: &mut dyn FnMut(&[Vec<i32>])) {
        let mut plan: Vec<Vec<i32>> = self
            .sessions
            .iter()
            .map(|session| vec![0; session.end_slot - session.first_slot])
            .collect();
        let mut left: Vec<i32> = self.capacities.iter().map(|capacity| (*capacity).max(0)).collect();
        let mut wanted = self.wanted.clone();
        self.extend(0, 0, &mut plan, &mut left, &mut wanted, visit);
    }

    fn extend(
        &self,
        index: usize,
        at: usize,
        plan: &mut Vec<Vec<i32>>,
        left: &mut [i32],
        wanted: &mut [i64],
        visit: &mut dyn FnMut(&[Vec<i32>]),
    ) {
        let Some(session) = self.sessions.get(index) else {
            return visit(plan);
        };
        let slot = session.first_slot + at;
        if slot == session.end_slot {
            return self.extend(index + 1, 0, plan, left, wanted, visit);
        }
        let path: Vec<usize> = std::iter::successors(Some(session.node), |node| self.parents[*node])
            .map(|node| node * self.slots() + slot)
            .collect();
        let room = path.iter().map(|at| left[*at]).min().unwrap_or(0);
        let most = room
            .min(session.most * self.lengths[slot])
            .min(i32::try_from(wanted[index]).unwrap());
        for amount in 0..=most {
            path.iter().for_each(|at| left[*at] -= amount);
            wanted[index] -= i64::from(amount);
            plan[index][at] = amount;
            self.extend(index, at + 1, plan, left, wanted, visit);
            path.iter().for_each(|at| left[*at] += amount);
            wanted[index] += i64::from(amount);
        }
        plan[index][at] = 0;
    }

    fn by_slot(&self, plan: &[Vec<i32>]) -> Vec<i64> {
        let mut by_slot = vec![0; self.slots()];
        for (session, amounts) in self.sessions.iter().zip(plan) {
            for (amount, slot) in amounts.iter().zip(session.first_slot..) {
                by_slot[slot] += i64::from(*amount);
            }
        }
        by_slot
    }
}

/// Less is better: unserved, cost, then lateness.
fn worth(instance: &Instance, by_slot: &[i64]) -> (i64, i64, i64) {
    let served: i64 = by_slot.iter().sum();
    let cost = by_slot
        .iter()
        .zip(&instance.prices)
        .map(|(energy, price)| energy * price)
        .sum();
    let lateness = by_slot.iter().zip(0..).map(|(energy, slot)| energy * slot).sum();
    (instance.wanted.iter().sum::<i64>() - served, cost, lateness)
}

#[test]
fn no_plan_is_better_than_the_flow() {
    for seed in 0..300 {
        let instance = Instance::random(seed, 3, 3, 1);
        let mut flow = Flow::new(&instance.network);
        flow.solve(&instance.network, &instance.task());
        instance.assert_sound(&flow);
        let mut best = (i64::MAX, 0, 0);
        instance.every_plan(&mut |plan| best = best.min(worth(&instance, &instance.by_slot(plan))));
        let loads: Vec<i64> = (0..3)
            .map(|slot| i64::from(flow.load(&instance.network, 0, slot)))
            .collect();
        assert_eq!(worth(&instance, &loads), best, "seed {seed}");
    }
}

#[test]
fn the_bound_is_the_value() {
    for seed in 0..2_000 {
        let instance = Instance::random(seed, 1 + seed as usize % 12, 1 + seed as usize % 70, 9);
        let mut flow = Flow::new(&instance.network);
        flow.solve(&instance.network, &instance.task());
        instance.assert_sound(&flow);
        let (network, task) = (&instance.network, instance.task());
        assert_eq!(flow.bound(network, &task), flow.value(network, &task), "seed {seed}");
    }
}

#[test]
fn a_charge_on_the_peak_is_weighed_against_all_plans() {
    let mut apart = 0;
    for seed in 0..200 {
        let instance = Instance::random(seed, 3, 3, 1);
        let mut random = Seeded(seed + 1_000);
        let base: Vec<i64> = (0..3).map(|_| random.upto(3) - 1).collect();
        let charge = PeakCharge {
            price: random.upto(150),
            so_far: random.upto(2),
            base: &base,
        };
        let exactly = PeakBudget {
            solves: 50,
            gap_millionths: 0,
        };
        let mut flow = Flow::new(&instance.network);
        let outcome = flow.solve_with_peak(&instance.network, &instance.task(), &charge, exactly, None);
        instance.assert_sound(&flow);
        assert_eq!(outcome.value, outcome.bound, "seed {seed}");
        let mut best = i64::MAX;
        instance.every_plan(&mut |plan| {
            let by_slot = instance.by_slot(plan);
            let peak = |(slot, energy): (usize, &i64)| {
                let length = i64::from(instance.lengths[slot]);
                base[slot] + (energy + length - 1) / length
            };
            let peak = by_slot.iter().enumerate().map(peak).max().unwrap().max(charge.so_far);
            let (unserved, cost, _) = worth(&instance, &by_slot);
            best = best.min(unserved * PENALTY + cost + charge.price * (peak - charge.so_far));
        });
        assert_eq!(outcome.value, i128::from(best), "seed {seed}");
        // Wherever the search is stopped, the bound holds.
        let once = PeakBudget { solves: 1, ..exactly };
        let guess = Some(random.upto(9));
        let stopped = flow.solve_with_peak(&instance.network, &instance.task(), &charge, once, guess);
        assert!(
            stopped.bound <= outcome.value && outcome.value <= stopped.value,
            "seed {seed}"
        );
        apart += usize::from(stopped.bound < stopped.value);
    }
    assert!(apart > 20, "value and bound are apart in {apart} instances only");
}

/// What each session gets under every plan there is, once each.
fn every_division(instance: &Instance) -> Vec<Vec<i64>> {
    let mut divisions = std::collections::BTreeSet::new();
    instance.every_plan(&mut |plan| {
        divisions.insert(
            plan.iter()
                .map(|amounts| amounts.iter().map(|amount| i64::from(*amount)).sum())
                .collect(),
        );
    });
    divisions.into_iter().collect()
}

#[test]
fn promises_then_ranks_get_the_most_there_is() {
    for seed in 0..200 {
        let instance = Instance::random(seed, 3, 3, 1);
        let mut random = Seeded(seed + 2_000);
        let claims: Vec<Claim> = (instance.wanted.iter())
            .map(|wanted| Claim {
                rank: random.below(3) as u32,
                order: random.below(3) as u32,
                promised: random.upto(2).min(*wanted),
            })
            .collect();
        // Promises kept, then what each rank gets.
        let worth = |energy: &[i64]| -> Vec<i64> {
            let kept = energy
                .iter()
                .zip(&claims)
                .map(|(energy, claim)| energy.min(&claim.promised))
                .sum();
            let of_rank = |rank| {
                let members = energy.iter().zip(&claims).filter(|(_, claim)| claim.rank == rank);
                members.map(|(energy, _)| energy).sum()
            };
            vec![kept, of_rank(0), of_rank(1), of_rank(2)]
        };
        let best = every_division(&instance)
            .iter()
            .map(|energy| worth(energy))
            .max()
            .unwrap();
        for division in [
            Division::Any,
            Division::EqualShares,
            Division::EqualEnergy,
            Division::InOrder,
        ] {
            let mut flow = Flow::new(&instance.network);
            let shares = flow.share(&instance.network, &instance.task(), &claims, division, 100);
            instance.assert_sound(&flow);
            assert_eq!(worth(&shares.energy), best, "seed {seed}");
        }
    }
}

#[test]
fn shares_are_as_equal_as_any_plan_can_make_them() {
    let mut unequal = 0;
    for seed in 0..200 {
        let mut instance = Instance::random(seed, 3, 3, 1);
        instance.wanted.iter_mut().for_each(|wanted| *wanted += 1);
        let claims = vec![
            Claim {
                rank: 0,
                order: 0,
                promised: 0
            };
            3
        ];
        let mut flow = Flow::new(&instance.network);
        let shares = flow.share(&instance.network, &instance.task(), &claims, Division::EqualShares, 100);
        assert!(shares.is_fair);
        // The same problem in units a thousand times smaller, where a unit more or less does not matter.
        let fine = instance.in_finer_units(1_000);
        let mut fine_flow = Flow::new(&fine.network);
        let fine_shares = fine_flow.share(&fine.network, &fine.task(), &claims, Division::EqualShares, 100);
        let sorted = |energy: &[i64], wanted: &[i64]| {
            let mut shares: Vec<f64> = energy.iter().zip(wanted).map(|(e, w)| *e as f64 / *w as f64).collect();
            shares.sort_by(f64::total_cmp);
            shares
        };
        let got = sorted(&fine_shares.energy, &fine.wanted);
        let divisions = every_division(&instance);
        let most: i64 = divisions.iter().map(|energy| energy.iter().sum()).max().unwrap();
        assert_eq!(fine_shares.energy.iter().sum::<i64>(), most * 1_000);
        for division in divisions.iter().filter(|energy| energy.iter().sum::<i64>() == most) {
            let other = sorted(division, &instance.wanted);
            // The first share that differs is larger here.
            let differs = got
                .iter()
                .zip(&other)
                .find(|(got, other)| (*got - *other).abs() > 0.004);
            assert!(
                differs.is_none_or(|(got, other)| got > other),
                "seed {seed}: {got:?} {other:?}"
            );
        }
        unequal += usize::from(got[0] + 0.01 < got[2]);
    }
    assert!(unequal > 20, "shares differ in {unequal} instances only");
}

impl Instance {
    fn in_finer_units(&self, factor: i32) -> Self {
        let sessions: Vec<Session> = (self.sessions.iter())
            .map(|session| Session {
                most: session.most * factor,
                ..*session
            })
            .collect();
        Self {
            network: Network::new(self.lengths.clone(), self.parents.clone(), sessions.clone()),
            parents: self.parents.clone(),
            lengths: self.lengths.clone(),
            sessions,
            capacities: self.capacities.iter().map(|capacity| capacity * factor).collect(),
            wanted: self.wanted.iter().map(|wanted| wanted * i64::from(factor)).collect(),
            prices: self.prices.clone(),
        }
    }
}

#[test]
fn in_order_the_first_gets_the_most_he_can_then_the_next() {
    for seed in 0..200 {
        let instance = Instance::random(seed, 3, 3, 1);
        let claims: Vec<Claim> = [2, 0, 1]
            .map(|order| Claim {
                rank: 0,
                order,
                promised: 0,
            })
            .to_vec();
        let mut flow = Flow::new(&instance.network);
        let shares = flow.share(&instance.network, &instance.task(), &claims, Division::InOrder, 100);
        assert!(shares.is_fair);
        let in_turn = |energy: &[i64]| [1, 2, 0].map(|session: usize| energy[session]);
        let best = every_division(&instance)
            .iter()
            .map(|energy| in_turn(energy))
            .max()
            .unwrap();
        assert_eq!(in_turn(&shares.energy), best, "seed {seed}");
    }
}

#[test]
fn equal_energy_has_the_greatest_product() {
    let session = |end_slot| Session {
        node: 0,
        first_slot: 0,
        end_slot,
        most: 1_000_000,
    };
    let network = Network::new(vec![1; 2], vec![None], vec![session(2), session(1), session(2)]);
    let task = Task {
        capacities: &[900_000, 300_000],
        wanted: &[1_000_000, 200_000, 900_000],
        prices: &[0, 0],
        penalty: PENALTY,
    };
    let claims = vec![
        Claim {
            rank: 0,
            order: 0,
            promised: 0
        };
        3
    ];
    let energy = |division| {
        Flow::new(&network)
            .share(&network, &task, &claims, division, 100)
            .energy
    };
    assert_eq!(energy(Division::EqualEnergy), [500_000, 200_000, 500_000]);
    // Four sevenths and a little of each need.
    let shares = energy(Division::EqualShares);
    assert!(
        shares
            .iter()
            .zip([571_428, 114_285, 514_285])
            .all(|(got, share)| (got - share).abs() <= 2),
        "{shares:?}"
    );
}

#[test]
fn a_flow_can_be_solved_again() {
    let (first, second) = (Instance::random(1, 9, 20, 9), Instance::random(1, 9, 20, 9));
    let mut flow = Flow::new(&first.network);
    let tight: Vec<i32> = first.capacities.iter().map(|capacity| capacity / 2).collect();
    flow.solve(
        &first.network,
        &Task {
            capacities: &tight,
            ..first.task()
        },
    );
    flow.solve(&first.network, &first.task());
    let mut fresh = Flow::new(&second.network);
    fresh.solve(&second.network, &second.task());
    for session in 0..9 {
        assert_eq!(
            flow.amounts(&first.network, session),
            fresh.amounts(&second.network, session)
        );
    }
}
