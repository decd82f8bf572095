//! The solver's search for mixed phases against linear programs, against all plans there are, and against itself.
//!
//! Every plan is judged by `support/checker.rs`, from the instance and the plan alone. What must hold always: the bound is below the
//! program's optimum, and the optimum below the plan.

mod support {
    pub mod checker;
    pub mod flow_form;
    pub mod instances;
    pub mod oracle;
    pub mod phases_form;
}

use laddplan::solver::flow::Flow;
use laddplan::solver::phases::{self, Budget, Outcome, WarmStart};
use support::checker::{self, Worth};
use support::flow_form::FlowForm;
use support::instances::generator::{self, Schema, Shape, Supply};
use support::instances::random::Random;
use support::instances::wild::{self, Size};
use support::instances::{Amounts, Instance, Limit, Node, Unit, reader};
use support::oracle::{self, Extras};
use support::phases_form::PhasesForm;

const USUAL: Budget = Budget {
    iterations: 3_000,
    gap_millionths: 1_000,
};
const BRIEF: Budget = Budget {
    iterations: 60,
    gap_millionths: 0,
};
const SUPPLIES: [Supply; 3] = [Supply::Normal, Supply::Tight, Supply::Scarce];
/// What linear programs are right to.
const ORACLE: f64 = 1e-7;

struct Solved {
    amounts: Amounts,
    worth: Worth,
    money: f64,
    bound: f64,
    unserved_bound: f64,
    outcome: Outcome,
}

impl Solved {
    fn gap(&self) -> f64 {
        (self.money - self.bound) / self.money.abs().max(f64::MIN_POSITIVE)
    }
}

/// A plan that keeps every limit, costs what is said, and has the gap that is claimed.
fn solve(instance: &Instance, demand_charge: bool, budget: Budget, warm: Option<&WarmStart>) -> Solved {
    let form = PhasesForm::new(instance, demand_charge);
    let outcome = phases::solve(&form.problem, warm, budget);
    let amounts = form.amounts(&outcome.plan);
    let worth = checker::check(instance, &amounts).unwrap_or_else(|fault| panic!("{}: {fault}", instance.name));
    let money = match demand_charge {
        true => worth.money_with_demand_charge(),
        false => worth.money(),
    };
    assert_near(form.money(outcome.value.total()), money, 1e-9);
    let solved = Solved {
        amounts,
        worth,
        money,
        bound: form.money(outcome.bound),
        unserved_bound: form.money(outcome.unserved_bound),
        outcome,
    };
    assert!(
        solved.outcome.bound <= solved.outcome.value.total(),
        "{}",
        instance.name
    );
    assert_near(solved.outcome.gap(), solved.gap(), 1e-9);
    solved
}

#[track_caller]
fn assert_near(found: f64, expected: f64, relative: f64) {
    assert!(
        (found - expected).abs() <= relative * expected.abs().max(1.0),
        "{found} is not {expected}"
    );
}

/// The bound is not above the optimum, and the plan not below it.
#[track_caller]
fn assert_encloses(solved: &Solved, optimum: f64, name: &str) {
    let off = ORACLE * optimum.abs().max(0.1);
    assert!(
        solved.bound <= optimum + off,
        "{name}: the bound {} is above {optimum}",
        solved.bound
    );
    assert!(
        solved.money >= optimum - off,
        "{name}: the plan costs {}, less than {optimum}",
        solved.money
    );
}

fn extras(demand_charge: bool) -> Extras {
    Extras {
        demand_charge,
        minimum: false,
    }
}

fn carried(name: &str) -> Instance {
    reader::read(&format!("{}/tests/data/bench/{name}.json", env!("CARGO_MANIFEST_DIR")))
}

fn day(sessions: usize, slots: usize, seed: u64) -> Instance {
    generator::generate(&Shape {
        schema: Schema::Phases,
        sessions,
        slots,
        supply: SUPPLIES[seed as usize % 3],
        seed,
    })
}

const WILD: Size = Size {
    sessions: 14,
    slots: 12,
    nodes: 6,
    most: 32_000,
};
const AMPERES: Unit = Unit::MilliampPerPhase { volts: 230 };

fn wild(unit: Unit, seed: u64) -> Instance {
    let mut instance = wild::generate(unit, WILD, seed);
    // Some begin with the rest of a slot.
    if seed.is_multiple_of(3) {
        instance.lengths.fill(3);
        instance.lengths[0] = 1;
    }
    instance
}

#[test]
fn a_known_optimum_is_enclosed() {
    let instance = carried("p3_50x96");
    for (demand_charge, optimum) in [(false, 96.35557), (true, 140.04284)] {
        let solved = solve(&instance, demand_charge, USUAL, None);
        assert_encloses(&solved, optimum, "p3_50x96");
        assert!(solved.gap() <= 1e-3, "{}", solved.gap());
    }
}

#[test]
fn days_are_enclosed_and_mostly_within_a_thousandth() {
    let mut wide = Vec::new();
    for seed in 0..45 {
        let instance = day(10 + 2 * seed as usize, [24, 96, 48][seed as usize % 3], seed);
        for demand_charge in [false, true] {
            let solved = solve(&instance, demand_charge, USUAL, None);
            let optimum = oracle::least_cost(&instance, extras(demand_charge));
            assert_encloses(&solved, optimum, &instance.name);
            if solved.gap() > 1e-3 {
                wide.push((instance.name.clone(), demand_charge, solved.gap()));
            }
        }
    }
    assert!(wide.len() <= 4, "{wide:?}");
}

#[test]
fn wild_instances_are_enclosed() {
    for seed in 0..300 {
        let unit = [AMPERES, AMPERES, Unit::Watt][seed as usize % 3];
        let instance = wild(unit, seed);
        for demand_charge in [false, true] {
            let solved = solve(&instance, demand_charge, BRIEF, None);
            let optimum = oracle::least_cost(&instance, extras(demand_charge));
            assert_encloses(&solved, optimum, &instance.name);
        }
    }
}

#[test]
fn what_must_stay_unserved_is_enclosed() {
    for seed in 0..60 {
        let instance = match seed % 2 {
            0 => wild(AMPERES, seed),
            _ => day(20, 48, seed),
        };
        let mut free = instance.clone();
        free.prices.fill(0);
        let least = oracle::least_cost(&free, extras(false));
        let solved = solve(&instance, false, USUAL, None);
        let off = ORACLE * least.max(0.1);
        assert!(solved.unserved_bound <= least + off, "{}: {}", instance.name, least);
        let unserved = solved.worth.penalties as f64 / (1e12 * 3_600.0);
        assert!(unserved >= least - off, "{}: {}", instance.name, least);
    }
}

#[test]
fn no_bound_is_above_any_plan() {
    let size = Size {
        sessions: 3,
        slots: 2,
        nodes: 3,
        most: 3,
    };
    for seed in 0..200 {
        let mut instance = wild::generate(AMPERES, size, seed);
        instance.penalty = 1_000_000;
        let demand_charge = seed % 2 == 0;
        let solved = solve(&instance, demand_charge, BRIEF, None);
        let money = |worth: &Worth| match demand_charge {
            true => worth.money_with_demand_charge(),
            false => worth.money(),
        };
        every_plan(&instance, &mut |amounts| {
            let other = money(&checker::check(&instance, amounts).unwrap());
            assert!(solved.bound <= other + 1e-12, "seed {seed}: {amounts:?} costs {other}");
        });
    }
}

/// Calls `visit` with every plan that keeps all limits, amounts session by session.
fn every_plan(instance: &Instance, visit: &mut dyn FnMut(&Amounts)) {
    let mut amounts: Amounts = instance
        .sessions
        .iter()
        .map(|session| vec![0; session.stay().len()])
        .collect();
    let cells: Vec<(usize, usize)> = (amounts.iter().enumerate())
        .flat_map(|(session, amounts)| (0..amounts.len()).map(move |at| (session, at)))
        .collect();
    extend(instance, &cells, &mut amounts, visit);
}

fn extend(instance: &Instance, cells: &[(usize, usize)], amounts: &mut Amounts, visit: &mut dyn FnMut(&Amounts)) {
    let Some((&(session, at), rest)) = cells.split_first() else {
        return visit(amounts);
    };
    for amount in 0..=instance.sessions[session].most {
        amounts[session][at] = amount;
        if checker::check(instance, amounts).is_err() {
            break;
        }
        extend(instance, rest, amounts, visit);
    }
    amounts[session][at] = 0;
}

#[test]
fn where_phases_do_not_mix_the_flow_is_enclosed() {
    for seed in 0..60 {
        let instance = match seed % 2 {
            0 => wild(Unit::Watt, seed),
            _ => generator::generate(&Shape {
                schema: Schema::Power,
                sessions: 60,
                slots: 96,
                supply: SUPPLIES[seed as usize % 3],
                seed,
            }),
        };
        let form = FlowForm::new(&instance).unwrap();
        let mut flow = Flow::new(&form.network);
        flow.solve(&form.network, &form.task());
        let optimum = form.money(flow.value(&form.network, &form.task()));
        assert_encloses(&solve(&instance, false, USUAL, None), optimum, &instance.name);
    }
}

#[test]
fn the_same_problem_gives_the_same_outcome() {
    for seed in 0..20 {
        for instance in [day(30, 96, seed), wild(AMPERES, seed)] {
            let (one, other) = (solve(&instance, true, BRIEF, None), solve(&instance, true, BRIEF, None));
            assert_eq!(one.amounts, other.amounts, "{}", instance.name);
            assert_eq!(one.outcome.bound, other.outcome.bound);
            assert_eq!(one.outcome.warm_start, other.outcome.warm_start);
        }
    }
}

#[test]
fn any_budget_gives_a_plan_and_more_a_bound_that_is_no_weaker() {
    for seed in 0..12 {
        let instance = match seed % 2 {
            0 => wild(AMPERES, seed),
            _ => day(30, 96, seed),
        };
        let by_budget: Vec<Solved> = [0, 1, 32, 100, 300]
            .map(|iterations| Budget {
                iterations,
                gap_millionths: 0,
            })
            .into_iter()
            .map(|budget| solve(&instance, seed % 3 == 0, budget, None))
            .collect();
        for (less, more) in by_budget[2..].iter().zip(&by_budget[3..]) {
            // A search is looked at when its budget ends, where a longer one may not be: that much may be missed.
            assert!(more.bound >= less.bound - 1e-3 * less.money.abs(), "{}", instance.name);
            assert!(less.bound <= more.money + 1e-9, "{}", instance.name);
        }
    }
}

#[test]
fn a_warm_start_is_only_a_proposal() {
    let other = solve(&day(40, 96, 5), true, BRIEF, None).outcome.warm_start;
    for seed in 0..12 {
        let instance = match seed % 2 {
            0 => wild(AMPERES, seed),
            _ => day(30, 96, seed),
        };
        let cold = solve(&instance, true, BRIEF, None);
        let optimum = oracle::least_cost(&instance, extras(true));
        for warm in [&cold.outcome.warm_start, &other, &WarmStart::default()] {
            assert_encloses(&solve(&instance, true, BRIEF, Some(warm)), optimum, &instance.name);
        }
    }
}

#[test]
fn a_plan_that_is_good_enough_is_found_again_at_once() {
    for seed in 0..6 {
        let instance = day(60, 96, seed);
        let cold = solve(&instance, false, USUAL, None);
        if cold.gap() > 1e-3 {
            continue;
        }
        let again = solve(&instance, false, USUAL, Some(&cold.outcome.warm_start));
        assert!(
            again.outcome.iterations <= cold.outcome.iterations,
            "{}: {} after {}",
            instance.name,
            again.outcome.iterations,
            cold.outcome.iterations
        );
    }
}

/// Instances for what must hold of pairs: both ordinary and strange.
fn some() -> impl Iterator<Item = Instance> {
    (0..9)
        .map(|seed| day(40, 96, seed))
        .chain((0..80).map(|seed| wild(AMPERES, seed)))
}

/// Nothing that is proven of one contradicts the other, which costs `times` as much.
#[track_caller]
fn assert_agree(one: &Instance, other: &Instance, times: f64) {
    for demand_charge in [false, true] {
        let (a, b) = (
            solve(one, demand_charge, BRIEF, None),
            solve(other, demand_charge, BRIEF, None),
        );
        let off = 1e-9 * b.money.abs().max(1.0);
        assert!(times * a.bound <= b.money + off, "{}", one.name);
        assert!(b.bound <= times * a.money + off, "{}", one.name);
    }
}

#[test]
fn the_order_of_sessions_does_not_matter() {
    for (seed, instance) in some().enumerate() {
        let mut shuffled = instance.clone();
        Random::new(seed as u64).shuffle(&mut shuffled.sessions);
        assert_agree(&instance, &shuffled, 1.0);
    }
}

#[test]
fn which_conductor_is_the_first_does_not_matter() {
    for instance in some() {
        let mut rotated = instance.clone();
        rotated.nodes.iter_mut().for_each(|node| node.limits.rotate_right(1));
        for session in &mut rotated.sessions {
            session.lines.iter_mut().for_each(|line| *line = (*line + 1) % 3);
        }
        assert_agree(&instance, &rotated, 1.0);
    }
}

#[test]
fn a_limit_that_cannot_bind_does_not_matter() {
    for instance in some() {
        let connected: i64 = instance.sessions.iter().map(|session| session.most).sum();
        let loose = |parent| Node {
            parent,
            limits: vec![Limit::Always(connected + 1); 3],
        };
        let mut limited = instance.clone();
        limited.nodes = vec![loose(None)];
        for node in &instance.nodes {
            let above = node.parent.map_or(0, |parent| 2 + 2 * parent);
            limited.nodes.push(Node {
                parent: Some(above),
                limits: node.limits.clone(),
            });
            limited.nodes.push(loose(Some(limited.nodes.len() - 1)));
        }
        limited
            .sessions
            .iter_mut()
            .for_each(|session| session.node = 2 + 2 * session.node);
        assert_agree(&instance, &limited, 1.0);
    }
}

#[test]
fn a_plan_moves_with_time() {
    for instance in some() {
        let mut later = instance.clone();
        later.lengths.splice(0..0, [1, 1, 1]);
        later.prices.splice(0..0, [-100_000, 0, 100_000]);
        for limit in later.nodes.iter_mut().flat_map(|node| &mut node.limits) {
            if let Limit::BySlot(limits) = limit {
                limits.splice(0..0, [0, 5, 50_000]);
            }
        }
        for session in &mut later.sessions {
            session.arrival += 3;
            session.departure += 3;
        }
        assert_agree(&instance, &later, 1.0);
    }
}

#[test]
fn costs_grow_with_currents_and_with_prices() {
    for instance in some() {
        let mut larger = instance.finer(7);
        larger.parts = instance.parts;
        assert_agree(&instance, &larger, 7.0);
        let mut dearer = instance.clone();
        dearer.prices.iter_mut().for_each(|price| *price *= 11);
        dearer.penalty *= 11;
        dearer.demand_charge *= 11;
        assert_agree(&instance, &dearer, 11.0);
    }
}

#[test]
fn a_three_phase_car_is_three_that_agree() {
    // Three one-phase cars instead of each three-phase one: what is proven impossible for them is so for it.
    for instance in some() {
        let mut split = instance.clone();
        split.sessions = (instance.sessions.iter())
            .flat_map(|session| {
                session.lines.iter().map(|line| {
                    let mut one = session.clone();
                    one.lines = vec![*line];
                    one
                })
            })
            .collect();
        for demand_charge in [false, true] {
            let whole = solve(&instance, demand_charge, BRIEF, None);
            let parts = solve(&split, demand_charge, BRIEF, None);
            let off = 1e-9 * whole.money.abs().max(1.0);
            assert!(parts.bound <= whole.money + off, "{}", instance.name);
        }
    }
}

#[test]
fn what_costs_more_than_not_to_serve_is_not_charged() {
    let mut instance = carried("p3_50x96");
    instance.penalty = 120_000;
    for demand_charge in [false, true] {
        let solved = solve(&instance, demand_charge, USUAL, None);
        let optimum = oracle::least_cost(&instance, extras(demand_charge));
        assert_encloses(&solved, optimum, "p3_50x96");
        assert!(solved.gap() <= 1e-3, "{}", solved.gap());
        assert!(solved.worth.unserved > 0);
    }
}
