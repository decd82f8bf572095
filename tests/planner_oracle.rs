//! The relaxation against optima that another solver proved, on the instances of `data/bench`.
//!
//! Every session can be served in them, so the optimum of "cost plus 10 per unserved kWh" is the least cost of serving all.

mod support {
    pub mod instances;
    pub mod snapshot_form;
}

use laddplan::domain::plan::{Budget, Outcome};
use laddplan::domain::snapshot::Snapshot;
use laddplan::units::WattSeconds;
use laddplan::{planner, verify};
use support::instances::generator::{self, Schema, Shape, Supply};
use support::instances::{Instance, reader};
use support::snapshot_form::{Detail, snapshot};

const ENOUGH: Budget = Budget { iterations: 1_000 };
const PENALTY_PER_KWH: f64 = 10.0;

fn instance(name: &str) -> Instance {
    reader::read(&format!("{}/tests/data/bench/{name}.json", env!("CARGO_MANIFEST_DIR")))
}

fn needed(snapshot: &Snapshot) -> WattSeconds {
    snapshot.sessions.iter().filter_map(|session| session.need).sum()
}

fn kwh(energy: WattSeconds) -> f64 {
    energy.watt_seconds() as f64 / 3.6e6
}

#[track_caller]
fn assert_optimum(name: &str, with_demand_charge: bool, optimum: f64) {
    let snapshot = snapshot(&instance(name), Detail::Continuous, with_demand_charge);
    let plan = planner::plan(&snapshot, ENOUGH);
    assert_eq!(plan.stats.outcome, Outcome::Optimal);

    let cost = plan.stats.relaxed_cost.expect("a cost").micros() as f64 / 1e6;
    let delivered = plan.stats.relaxed_delivered.expect("a bound on energy");
    let objective = cost + PENALTY_PER_KWH * kwh(needed(&snapshot) - delivered);
    assert!((objective / optimum - 1.0).abs() < 1e-4, "{objective} is not {optimum}");

    // In whole watts, without a minimum, the plan itself reaches the optimum.
    assert_eq!(verify::check(&snapshot, &plan), []);
    let cost = (plan.stats.energy_cost + plan.stats.demand_cost).micros() as f64 / 1e6;
    let reached = cost + PENALTY_PER_KWH * kwh(plan.stats.unserved);
    assert!(
        (reached / optimum - 1.0).abs() < 1e-3,
        "{reached} is not near {optimum}"
    );
}

#[test]
fn twenty_cars_cost_what_was_proven() {
    assert_optimum("ev_20x96", false, 46.01357);
    assert_optimum("ev_20x96", true, 66.65022);
}

#[test]
fn a_hundred_cars_cost_what_was_proven() {
    assert_optimum("ev_100x96", false, 155.00816);
    assert_optimum("ev_100x96", true, 239.95765);
}

fn mixed_day(sessions: usize, supply: Supply, seed: u64, demand_charge: bool) -> Snapshot {
    let shape = Shape {
        schema: Schema::Phases,
        sessions,
        slots: 96,
        supply,
        seed,
    };
    snapshot(&generator::generate(&shape), Detail::Steps, demand_charge)
}

/// Small sites have few cars to share what is left on a line, so that steps and minima cost most there.
#[test]
fn minimum_currents_of_mixed_phases_leave_little_unserved_where_energy_is_scarce() {
    let mut lost = 0.0;
    for seed in [1, 3, 7] {
        let snapshot = mixed_day(60, Supply::Scarce, seed, false);
        let plan = planner::plan(&snapshot, ENOUGH);
        assert_eq!(verify::check(&snapshot, &plan), []);
        let wanted = kwh(needed(&snapshot));
        let most = kwh(plan.stats.relaxed_delivered.expect("a bound on energy"));
        lost += (kwh(plan.stats.unserved) - (wanted - most)) / wanted / 3.0;
    }
    assert!(lost < 0.004, "{lost} of all energy");
}

#[test]
fn a_power_charge_where_energy_is_scarce_is_searched_to_its_end() {
    let snapshot = mixed_day(500, Supply::Scarce, 1, true);
    let plan = planner::plan(&snapshot, ENOUGH);
    assert_eq!(verify::check(&snapshot, &plan), []);
    assert_eq!(plan.stats.outcome, Outcome::Optimal, "after {}", plan.stats.iterations);
}

#[test]
fn steps_and_minimum_currents_cost_little() {
    for name in ["ev_20x96", "ev_100x96"] {
        for with_demand_charge in [false, true] {
            let snapshot = snapshot(&instance(name), Detail::Steps, with_demand_charge);
            let plan = planner::plan(&snapshot, ENOUGH);
            assert_eq!(verify::check(&snapshot, &plan), []);
            assert_eq!(plan.stats.unserved, WattSeconds::ZERO);
            let cost = (plan.stats.energy_cost + plan.stats.demand_cost).micros() as f64;
            let relaxed = plan.stats.relaxed_cost.expect("a cost").micros() as f64;
            assert!(cost < relaxed * 1.004, "{name}: {cost} against {relaxed}");
        }
    }
}

#[test]
fn no_plan_for_mixed_phases_beats_what_is_proven() {
    for seed in 0..6 {
        let instance = generator::generate(&Shape {
            schema: Schema::Phases,
            sessions: 200,
            slots: 96,
            supply: [Supply::Normal, Supply::Tight, Supply::Scarce][seed as usize % 3],
            seed,
        });
        let snapshot = snapshot(&instance, Detail::Continuous, false);
        let plan = planner::plan(&snapshot, ENOUGH);
        assert_eq!(verify::check(&snapshot, &plan), []);
        let delivered = needed(&snapshot) - plan.stats.unserved;
        let most = plan.stats.relaxed_delivered.expect("a bound on energy");
        assert!(
            !plan.stats.proven || delivered <= most,
            "{}: {delivered:?} is more than {most:?}",
            instance.name
        );
    }
}
