//! The whole solver on hundreds of small problems, against the linear program and a checker of its own.

use super::testing::{Shape, conic_optimum, keeps_all_limits, linear_optimum, random, random_between_lines};
use super::{Budget, Outcome, Problem, solve};

const THOROUGH: Budget = Budget {
    iterations: 3_000,
    gap_millionths: 100,
};

/// Whole units cost something: up to one unit of amount in each cell, at its penalty.
fn rounding(problem: &Problem) -> f64 {
    let worth = problem
        .sessions
        .iter()
        .map(|session| session.penalty * session.stay().len() as i64)
        .sum::<i64>() as f64;
    let charge = problem
        .demand_charge
        .as_ref()
        .map_or(0.0, |charge| charge.price as f64 * 4_000.0);
    worth + charge
}

fn check(seed: u64, shape: Shape, demand_charge: bool) -> (Problem, Outcome) {
    let problem = random(seed, shape, demand_charge);
    let outcome = solve(&problem, None, THOROUGH);
    let name = format!("seed {seed}, {shape:?}, demand charge {demand_charge}");
    assert!(keeps_all_limits(&problem, &outcome.plan), "{name}");
    assert_eq!(problem.assess(&outcome.plan), Ok(outcome.value), "{name}");
    let optimum = linear_optimum(&problem);
    // The oracle is a floating-point solver.
    let tolerance = 1e-6 * optimum.abs() + 10.0;
    let (bound, value) = (outcome.bound as f64, outcome.value.total() as f64);
    assert!(
        bound <= optimum + tolerance,
        "{name}: bound {bound} above the optimum {optimum}"
    );
    assert!(
        value >= optimum - tolerance,
        "{name}: value {value} below the optimum {optimum}"
    );
    assert!(
        value <= optimum + 0.002 * optimum.abs() + rounding(&problem),
        "{name}: value {value}, optimum {optimum}"
    );
    assert!(
        bound >= optimum - 0.002 * optimum.abs() - 10.0,
        "{name}: bound {bound}, optimum {optimum}"
    );
    (problem, outcome)
}

#[test]
fn one_and_three_phase_cars_agree_with_the_linear_program() {
    for seed in 0..150 {
        check(seed, Shape::Classical, false);
        check(seed, Shape::Classical, true);
    }
}

#[test]
fn coefficients_of_every_kind_agree_with_the_linear_program() {
    for seed in 0..150 {
        check(seed, Shape::General, false);
        check(seed, Shape::General, true);
    }
}

#[test]
fn the_same_problem_gives_the_same_outcome() {
    let problem = random(7, Shape::General, true);
    let (first, second) = (solve(&problem, None, THOROUGH), solve(&problem, None, THOROUGH));
    assert_eq!(first.plan, second.plan);
    assert_eq!(
        (first.value, first.bound, first.iterations),
        (second.value, second.bound, second.iterations)
    );
}

#[test]
fn without_a_budget_there_is_a_plan_and_a_bound_all_the_same() {
    for seed in 0..50 {
        let problem = random(seed, Shape::General, true);
        let outcome = solve(
            &problem,
            None,
            Budget {
                iterations: 0,
                gap_millionths: 0,
            },
        );
        assert!(keeps_all_limits(&problem, &outcome.plan));
        assert!(outcome.bound <= outcome.value.total());
        assert!(outcome.unserved_bound <= outcome.value.unserved);
        assert_eq!(outcome.iterations, 0);
    }
}

#[test]
fn from_its_own_outcome_nothing_is_left_to_do() {
    let budget = Budget {
        iterations: 3_000,
        gap_millionths: 1_000,
    };
    let mut at_once = 0;
    for seed in 0..40 {
        let problem = random(seed, Shape::Classical, false);
        let outcome = solve(&problem, None, THOROUGH);
        let again = solve(&problem, Some(&outcome.warm_start), budget);
        assert!(keeps_all_limits(&problem, &again.plan));
        at_once += usize::from(again.iterations == 0);
    }
    assert!(at_once >= 36, "only {at_once} of 40 were certified at once");
}

#[test]
fn a_limit_that_cannot_bind_changes_nothing() {
    for seed in 0..40 {
        let mut problem = random(seed, Shape::Classical, true);
        let before = solve(&problem, None, THOROUGH);
        let by_slot = vec![1 << 40; problem.slots()];
        problem.limits.push(super::Limit {
            node: 0,
            kind: super::TOTAL,
            by_slot,
        });
        let after = solve(&problem, None, THOROUGH);
        assert_eq!((before.value, before.bound), (after.value, after.bound));
    }
}

#[test]
fn a_start_that_does_not_fit_is_only_a_proposal() {
    for seed in 0..40 {
        let other = solve(&random(seed + 1000, Shape::General, true), None, THOROUGH);
        let problem = random(seed, Shape::General, true);
        let outcome = solve(&problem, Some(&other.warm_start), THOROUGH);
        assert!(keeps_all_limits(&problem, &outcome.plan));
        assert!(outcome.bound as f64 <= linear_optimum(&problem) * (1.0 + 1e-6) + 1.0);
    }
}

#[test]
fn an_empty_site_has_an_empty_plan() {
    let problem = Problem {
        lengths: vec![1; 4],
        prices: vec![1; 4],
        parents: vec![None],
        ..Problem::default()
    };
    let outcome = solve(&problem, None, THOROUGH);
    assert_eq!((outcome.value.total(), outcome.bound), (0, 0));
}

/// Two single-phase cars and a three-phase one at a connection of 16 A per phase, one slot of 16 and one of 10. The three-phase car takes
/// three times the energy for each ampere, so it goes first wherever it can; the single-phase ones have the rest of their phases.
#[test]
fn where_phases_mix_most_energy_comes_before_equal_shares() {
    let car = |line: [i64; 3], wanted: i64| super::Session {
        node: 0,
        first_slot: 0,
        end_slot: 2,
        most: 16,
        wanted,
        line,
        total: 0,
        uneven: [0; 3],
        power: line.iter().sum(),
        penalty: 100 * line.iter().sum::<i64>(),
    };
    let by_slot = vec![16, 10];
    let problem = Problem {
        lengths: vec![1, 1],
        prices: vec![1, 1],
        parents: vec![None],
        limits: (0..3)
            .map(|kind| super::Limit {
                node: 0,
                kind,
                by_slot: by_slot.clone(),
            })
            .collect(),
        sessions: vec![car([1, 0, 0], 8), car([0, 1, 0], 20), car([1, 1, 1], 20)],
        demand_charge: None,
        cones: Vec::new(),
    };
    let outcome = solve(&problem, None, THOROUGH);
    // The three-phase car has its 20 of 26 on each phase; 6 are left for each of the others.
    let served: Vec<i64> = (0..3).map(|session| outcome.plan.of(session).iter().sum()).collect();
    assert_eq!(served, [6, 6, 20]);
    assert_eq!(outcome.value.total(), outcome.bound);
}

#[test]
fn sites_between_lines_agree_with_the_conic_program() {
    let (mut close, count) = (0, 100);
    for seed in 0..count {
        let problem = random_between_lines(seed);
        let outcome = solve(&problem, None, THOROUGH);
        assert_eq!(problem.assess(&outcome.plan), Ok(outcome.value), "seed {seed}");
        let optimum = conic_optimum(&problem);
        let tolerance = 1e-6 * optimum.abs() + 1_000.0;
        let (bound, value) = (outcome.bound as f64, outcome.value.total() as f64);
        assert!(
            bound <= optimum + tolerance,
            "seed {seed}: bound {bound} above the optimum {optimum}"
        );
        assert!(
            value >= optimum - tolerance,
            "seed {seed}: value {value} below the optimum {optimum}"
        );
        close += usize::from(outcome.gap() <= 0.01);
    }
    assert!(close >= 90, "only {close} of {count} are within a hundredth");
}
