//! The solver's flow against linear programs, against all plans there are, and against itself.
//!
//! Every plan is judged by `support/checker.rs`, from the instance and the plan alone.

mod support {
    pub mod checker;
    pub mod flow_form;
    pub mod instances;
    pub mod oracle;
}

use laddplan::solver::flow::Flow;
use laddplan::solver::flow::peak::PeakBudget;
use support::checker::{self, Worth};
use support::flow_form::{self, FlowForm};
use support::instances::generator::{self, Schema, Shape, Supply};
use support::instances::random::Random;
use support::instances::wild::{self, Size};
use support::instances::{Amounts, Instance, Limit, Node, Unit, reader};
use support::oracle::{self, Extras};

/// A peak that is proven, which no instance here needs many solves for.
const PROVEN: PeakBudget = PeakBudget {
    solves: 60,
    gap_millionths: 0,
};
const CHARGED: Extras = Extras {
    demand_charge: true,
    minimum: false,
};

struct Solved {
    amounts: Amounts,
    worth: Worth,
    /// With the demand charge where that was asked for.
    money: f64,
    bound: f64,
}

/// The flow's plan, which keeps every limit and costs what the flow says.
fn solve(instance: &Instance) -> Solved {
    let form = FlowForm::new(instance).unwrap();
    let (network, task) = (&form.network, form.task());
    let mut flow = Flow::new(network);
    flow.solve(network, &task);
    let amounts = amounts(&form, &flow);
    let worth = check(instance, &amounts);
    let value = flow.value(network, &task);
    assert_near(form.money(value), worth.money(), 1e-12);
    assert_eq!(flow.bound(network, &task), value, "{}", instance.name);
    Solved {
        amounts,
        worth,
        money: worth.money(),
        bound: worth.money(),
    }
}

fn solve_charged(instance: &Instance) -> Solved {
    let form = FlowForm::new(instance).unwrap();
    let (network, task) = (&form.network, form.task());
    let mut flow = Flow::new(network);
    let outcome = flow.solve_with_peak(network, &task, &form.charge(), PROVEN, None);
    let amounts = amounts(&form, &flow);
    let worth = check(instance, &amounts);
    // The flow rounds a peak up to a whole rate where a slot is longer than one.
    let float = 1e-12 * worth.money_with_demand_charge().abs();
    let rounding = form.money(outcome.value) - worth.money_with_demand_charge();
    assert!(
        (-float..=float + form.money(form.between_two_peaks())).contains(&rounding),
        "{}: {rounding}",
        instance.name
    );
    assert!(outcome.bound <= outcome.value, "{}: {outcome:?}", instance.name);
    Solved {
        amounts,
        worth,
        money: worth.money_with_demand_charge(),
        bound: form.money(outcome.bound - form.between_two_peaks()),
    }
}

fn amounts(form: &FlowForm, flow: &Flow) -> Amounts {
    (0..form.network.sessions())
        .map(|session| {
            let amounts = flow.amounts(&form.network, session);
            amounts.iter().map(|amount| i64::from(*amount)).collect()
        })
        .collect()
}

fn check(instance: &Instance, amounts: &Amounts) -> Worth {
    checker::check(instance, amounts).unwrap_or_else(|fault| panic!("{}: {fault}", instance.name))
}

/// What all take together, by slot.
fn totals(instance: &Instance, amounts: &Amounts) -> Vec<i64> {
    let mut totals = vec![0; instance.slots()];
    for (session, amounts) in instance.sessions.iter().zip(amounts) {
        for (amount, slot) in amounts.iter().zip(session.stay()) {
            totals[slot] += amount;
        }
    }
    totals
}

#[track_caller]
fn assert_near(found: f64, expected: f64, relative: f64) {
    assert!(
        (found - expected).abs() <= relative * expected.abs().max(0.1),
        "{found} is not {expected}"
    );
}

fn carried(name: &str) -> Instance {
    let path = format!("{}/tests/data/bench/{name}.json", env!("CARGO_MANIFEST_DIR"));
    finest(&reader::read(&path))
}

/// Without gaps between integers that the seventh digit would show.
fn finest(instance: &Instance) -> Instance {
    instance.finer(flow_form::finest_parts(instance))
}

fn day(sessions: usize, slots: usize, supply: Supply, seed: u64) -> Instance {
    generator::generate(&Shape {
        schema: Schema::Power,
        sessions,
        slots,
        supply,
        seed,
    })
}

fn wild(seed: u64) -> Instance {
    let size = Size {
        sessions: 14,
        slots: 12,
        nodes: 6,
        most: 9_000,
    };
    let mut instance = wild::generate(Unit::Watt, size, seed);
    // Some begin with the rest of a slot.
    if seed.is_multiple_of(3) {
        instance.lengths.fill(3);
        instance.lengths[0] = 1;
    }
    instance
}

#[test]
fn known_optima_are_met() {
    let known = [("ev_20x96", 46.01357, 66.65019), ("ev_100x96", 155.00816, 239.95765)];
    for (name, without, with) in known {
        let instance = carried(name);
        assert_near(solve(&instance).money, without, 1e-7);
        let charged = solve_charged(&instance);
        assert_near(charged.money, with, 1e-7);
        assert_near(charged.bound, with, 1e-7);
    }
}

#[test]
fn days_cost_what_the_linear_program_costs() {
    for seed in 0..60 {
        let supply = [Supply::Normal, Supply::Tight, Supply::Scarce][seed as usize % 3];
        let slots = [24, 96][seed as usize % 2];
        let instance = finest(&day(5 + seed as usize, slots, supply, seed));
        let optimum = oracle::least_cost(&instance, Extras::default());
        assert_near(solve(&instance).money, optimum, 1e-6);
        let charged = solve_charged(&instance);
        let optimum = oracle::least_cost(&instance, CHARGED);
        assert_near(charged.money, optimum, 1e-6);
        assert_near(charged.bound, optimum, 1e-6);
    }
}

#[test]
fn wild_instances_cost_what_the_linear_program_costs() {
    for seed in 0..400 {
        let instance = finest(&wild(seed));
        let optimum = oracle::least_cost(&instance, Extras::default());
        assert_near(solve(&instance).money, optimum, 1e-6);
        let charged = solve_charged(&instance);
        let optimum = oracle::least_cost(&instance, CHARGED);
        assert_near(charged.money, optimum, 1e-6);
        assert_near(charged.bound, optimum, 1e-6);
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
    let slot = instance.sessions[session].arrival + at;
    for amount in 0..=instance.sessions[session].most * instance.lengths[slot] {
        amounts[session][at] = amount;
        if checker::check(instance, amounts).is_err() {
            break;
        }
        extend(instance, rest, amounts, visit);
    }
    amounts[session][at] = 0;
}

#[test]
fn no_plan_is_better_than_the_flow() {
    let size = Size {
        sessions: 4,
        slots: 3,
        nodes: 3,
        most: 3,
    };
    let mut plans = 0;
    for seed in 0..300 {
        let instance = wild::generate(Unit::Watt, size, seed);
        let solved = solve(&instance);
        // The most energy, then the least cost, then slot by slot the most, from the cheapest and earliest on.
        let mut order: Vec<usize> = (0..instance.slots()).collect();
        order.sort_by_key(|slot| (instance.prices[*slot], *slot));
        let worth = |amounts: &Amounts| {
            let worth = checker::check(&instance, amounts).unwrap();
            let totals = totals(&instance, amounts);
            let charged_first: Vec<i64> = order.iter().map(|slot| -totals[*slot]).collect();
            (worth.unserved, worth.energy_cost, charged_first)
        };
        let reached = worth(&solved.amounts);
        every_plan(&instance, &mut |amounts| {
            plans += 1;
            assert!(reached <= worth(amounts), "seed {seed}: {amounts:?} is better");
        });
    }
    assert!(plans > 5_000, "{plans} plans are few");
}

#[test]
fn no_plan_is_better_than_the_flow_with_a_demand_charge() {
    let size = Size {
        sessions: 3,
        slots: 3,
        nodes: 3,
        most: 2,
    };
    for seed in 0..200 {
        let mut instance = wild::generate(Unit::Watt, size, seed);
        // From a peak that does not matter to one that is dearer than not to serve.
        instance.demand_charge = [100_000, 1_000_000, 4_000_000][seed as usize % 3];
        let reached = solve_charged(&instance).worth;
        let cost = |worth: &Worth| worth.energy_cost + worth.penalties + worth.demand_cost;
        every_plan(&instance, &mut |amounts| {
            let other = checker::check(&instance, amounts).unwrap();
            assert!(cost(&reached) <= cost(&other), "seed {seed}: {amounts:?} is better");
        });
    }
}

#[test]
fn the_same_instance_gives_the_same_plan() {
    for instance in some() {
        assert_eq!(solve(&instance).amounts, solve(&instance).amounts);
        assert_eq!(solve_charged(&instance).amounts, solve_charged(&instance).amounts);
    }
}

/// Instances for what must hold of pairs: both ordinary and strange.
fn some() -> impl Iterator<Item = Instance> {
    some_in_whole_units().map(|instance| finest(&instance))
}

fn some_in_whole_units() -> impl Iterator<Item = Instance> {
    let days = (0..6).map(|seed| {
        day(
            40,
            96,
            [Supply::Normal, Supply::Tight, Supply::Scarce][seed as usize % 3],
            seed,
        )
    });
    days.chain((0..100).map(wild))
}

/// Both cost the same, and take the same in all in each slot.
#[track_caller]
fn assert_alike(one: &Instance, other: &Instance) {
    let (a, b) = (solve(one), solve(other));
    assert_eq!(a.worth, b.worth, "{}", one.name);
    assert_eq!(totals(one, &a.amounts), totals(other, &b.amounts), "{}", one.name);
    let (a, b) = (solve_charged(one), solve_charged(other));
    assert_near(a.money, b.money, 1e-9);
}

#[test]
fn the_order_of_sessions_does_not_matter() {
    for (seed, instance) in some().enumerate() {
        let mut shuffled = instance.clone();
        Random::new(seed as u64).shuffle(&mut shuffled.sessions);
        assert_alike(&instance, &shuffled);
    }
}

#[test]
fn the_order_of_nodes_does_not_matter() {
    for (seed, instance) in some().enumerate() {
        // Any order in which parents come first: a random one is drawn until all are placed.
        let mut random = Random::new(seed as u64);
        let mut order: Vec<usize> = vec![0];
        while order.len() < instance.nodes.len() {
            let node = random.below(instance.nodes.len());
            let is_next = !order.contains(&node)
                && instance.nodes[node]
                    .parent
                    .is_some_and(|parent| order.contains(&parent));
            if is_next {
                order.push(node);
            }
        }
        let place = |node: usize| order.iter().position(|other| *other == node).unwrap();
        let mut shuffled = instance.clone();
        shuffled.nodes = (order.iter())
            .map(|node| Node {
                parent: instance.nodes[*node].parent.map(place),
                limits: instance.nodes[*node].limits.clone(),
            })
            .collect();
        shuffled
            .sessions
            .iter_mut()
            .for_each(|session| session.node = place(session.node));
        assert_alike(&instance, &shuffled);
    }
}

#[test]
fn a_limit_that_cannot_bind_does_not_matter() {
    for instance in some() {
        // Above all, and between each node and what hangs on it.
        let connected: i64 = instance.sessions.iter().map(|session| session.most).sum();
        let loose = |parent| Node {
            parent,
            limits: vec![Limit::Always(connected + 1)],
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
        assert_alike(&instance, &limited);
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
        let (now, then) = (solve(&instance), solve(&later));
        assert_eq!(now.amounts, then.amounts, "{}", instance.name);
        assert_near(solve_charged(&instance).money, solve_charged(&later).money, 1e-9);
    }
}

#[test]
fn a_plan_grows_with_its_numbers() {
    for instance in some_in_whole_units() {
        // Numbers seven times as large, of the same unit: everything costs seven times as much.
        let mut larger = instance.finer(7);
        larger.parts = instance.parts;
        let (small, large) = (solve(&instance), solve(&larger));
        assert_near(large.money, 7.0 * small.money, 1e-12);
        assert_eq!(large.worth.unserved, 7 * small.worth.unserved, "{}", instance.name);
        // Between two peaks of whole units there are six more now.
        let (small, large) = (solve_charged(&instance), solve_charged(&larger));
        let possible = 7.0 * small.bound - 1e-9..=7.0 * small.money + 1e-9;
        assert!(possible.contains(&large.money), "{}: {}", instance.name, large.money);
    }
}

#[test]
fn prices_in_another_currency_do_not_matter() {
    for instance in some() {
        let mut dearer = instance.clone();
        dearer.prices.iter_mut().for_each(|price| *price *= 11);
        dearer.penalty *= 11;
        dearer.demand_charge *= 11;
        let (a, b) = (solve(&instance), solve(&dearer));
        assert_eq!(a.amounts, b.amounts, "{}", instance.name);
        let (a, b) = (solve_charged(&instance), solve_charged(&dearer));
        assert_near(11.0 * a.money, b.money, 1e-9);
    }
}

#[test]
fn more_room_never_costs_more() {
    for (seed, instance) in some().enumerate() {
        let mut roomier = instance.clone();
        let node = Random::new(seed as u64).below(instance.nodes.len());
        for limit in &mut roomier.nodes[node].limits {
            match limit {
                Limit::Always(limit) => *limit += *limit / 5 + 100,
                Limit::BySlot(limits) => limits.iter_mut().for_each(|limit| *limit += *limit / 5 + 100),
            }
        }
        let (a, b) = (solve(&instance).worth, solve(&roomier).worth);
        assert!(b.unserved <= a.unserved, "{}", instance.name);
        assert!(
            b.energy_cost + b.penalties <= a.energy_cost + a.penalties,
            "{}",
            instance.name
        );
        let slack = 1e-9 * solve_charged(&instance).money.abs().max(1.0);
        assert!(solve_charged(&roomier).money <= solve_charged(&instance).money + slack);
    }
}

#[test]
fn a_session_in_two_halves_gets_as_much() {
    for instance in some_in_whole_units() {
        let mut halved = instance.finer(2);
        halved.parts = instance.parts;
        let doubled = halved.clone();
        halved.sessions = (instance.sessions.iter())
            .flat_map(|session| [session.clone(), session.clone()])
            .collect();
        assert_eq!(solve(&doubled).worth, solve(&halved).worth, "{}", instance.name);
    }
}

#[test]
fn what_costs_more_than_not_to_serve_is_not_charged() {
    let mut instance = carried("ev_20x96");
    instance.penalty = 120_000;
    let optimum = oracle::least_cost(&instance, Extras::default());
    let solved = solve(&instance);
    assert_near(solved.money, optimum, 1e-6);
    assert!(solved.worth.unserved > 0);
}
