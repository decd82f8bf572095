//! The harness itself: readers, generators, checker and linear program, before anything is judged by them.

mod support {
    pub mod checker;
    pub mod instances;
    pub mod oracle;
}

use support::checker;
use support::instances::generator::{self, Schema, Shape, Supply};
use support::instances::wild::{self, Size};
use support::instances::{Amounts, Instance, Unit, reader, writer};
use support::oracle::{self, Backend, Extras, Program};

fn carried(name: &str) -> Instance {
    reader::read(&format!("{}/tests/data/bench/{name}.json", env!("CARGO_MANIFEST_DIR")))
}

fn shape(schema: Schema, sessions: usize, supply: Supply) -> Shape {
    Shape {
        schema,
        sessions,
        slots: 96,
        supply,
        seed: 7,
    }
}

#[track_caller]
fn assert_near(found: f64, expected: f64, relative: f64) {
    assert!(
        (found - expected).abs() <= relative * expected.abs().max(1.0),
        "{found} is not {expected}"
    );
}

/// The program's rates as integers, rounded down and cut to what is asked for.
fn rounded(instance: &Instance, rates: &[Vec<f64>]) -> Amounts {
    (instance.sessions.iter().zip(rates))
        .map(|(session, rates)| {
            let mut left = session.energy;
            let by_slot = session.stay().zip(rates);
            by_slot
                .map(|(slot, rate)| {
                    let amount = (rate * 1e3).max(0.0) as i64 * instance.lengths[slot];
                    let amount = amount.min(session.most * instance.lengths[slot]).min(left);
                    left -= amount;
                    amount
                })
                .collect()
        })
        .collect()
}

#[test]
fn known_optima_are_found() {
    let known = [
        ("ev_20x96", 46.01357, 66.65019),
        ("ev_100x96", 155.00816, 239.95765),
        ("p3_50x96", 96.35557, 140.04284),
    ];
    for (name, without, with) in known {
        let instance = carried(name);
        assert_near(oracle::least_cost(&instance, Extras::default()), without, 1e-7);
        let charged = Extras {
            demand_charge: true,
            ..Extras::default()
        };
        assert_near(oracle::least_cost(&instance, charged), with, 1e-7);
    }
}

#[cfg(feature = "highs")]
#[test]
fn solvers_agree() {
    for seed in 0..30 {
        let days = [Schema::Power, Schema::Phases].map(|schema| {
            generator::generate(&Shape {
                seed,
                ..shape(schema, 5 + seed as usize, Supply::Tight)
            })
        });
        for instance in days {
            for demand_charge in [false, true] {
                let extras = Extras {
                    demand_charge,
                    minimum: false,
                };
                for backend in [Backend::HighsSimplex, Backend::HighsInteriorPoint] {
                    let optimum = Program::new(&instance, extras).load(backend).solve().unwrap();
                    assert_near(optimum.cost, oracle::least_cost(&instance, extras), 1e-7);
                }
            }
        }
    }
}

#[test]
fn the_checker_agrees_with_the_program_on_its_own_plan() {
    for name in ["ev_50x96", "p3_50x96"] {
        let instance = carried(name);
        let charged = Extras {
            demand_charge: true,
            ..Extras::default()
        };
        let optimum = Program::new(&instance, charged)
            .load(Backend::Clarabel)
            .solve()
            .unwrap();
        let worth = checker::check(&instance, &rounded(&instance, &optimum.rates)).unwrap();
        // Rounding leaves up to one rate unserved in each cell.
        assert_near(worth.money_with_demand_charge(), optimum.cost, 1e-2);
        assert!(worth.money_with_demand_charge() > optimum.cost - 1e-6 * optimum.cost);
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let instance = carried("ev_20x96");
    let nothing: Amounts = instance
        .sessions
        .iter()
        .map(|session| vec![0; session.stay().len()])
        .collect();
    let asked: i64 = instance.sessions.iter().map(|session| session.energy).sum();
    let worth = checker::check(&instance, &nothing).unwrap();
    assert_eq!(worth.unserved, i128::from(asked) * 1_000);
    assert_near(worth.money(), asked as f64 / 1e3 / 4.0 * 10.0, 1e-12);

    let wrong = |change: &dyn Fn(&mut Amounts)| {
        let mut amounts = nothing.clone();
        change(&mut amounts);
        checker::check(&instance, &amounts).unwrap_err()
    };
    let most = instance.sessions[0].most;
    assert_eq!(
        wrong(&|amounts| amounts[0][0] = most + 1),
        format!("session 0 takes {} in slot {}", most + 1, instance.sessions[0].arrival)
    );
    assert!(wrong(&|amounts| amounts[0][0] = -1).starts_with("session 0 takes -1"));
    assert!(wrong(&|amounts| amounts[0].fill(most)).starts_with("session 0 gets"));
    assert!(wrong(&|amounts| amounts[3].truncate(1)).starts_with("session 3 has 1 slots"));
    assert!(
        wrong(&|amounts| {
            for (session, amounts) in instance.sessions.iter().zip(amounts) {
                amounts[0] = session.most.min(session.energy);
            }
        })
        .starts_with("node ")
    );
}

#[test]
fn what_is_written_is_read_back_equal() {
    let mut instances: Vec<Instance> = ["ev_20x96", "ev_50x96", "p3_50x96"].map(carried).into();
    for schema in [Schema::Power, Schema::Phases] {
        for (slots, supply) in [(96, Supply::Normal), (288, Supply::Tight), (24, Supply::Scarce)] {
            instances.push(generator::generate(&Shape {
                slots,
                ..shape(schema, 30, supply)
            }));
        }
    }
    for instance in instances {
        let text = writer::file(&instance).to_string();
        let read = reader::convert(&reader::File::parse(&text).unwrap()).unwrap();
        assert_eq!((read.instance, read.rounded), (instance, 0));
    }
}

#[test]
fn nodes_in_any_order_are_read_with_parents_first() {
    let text = r#"{"slots": 1, "slot_hours": 0.25, "price_per_kwh": [0.1], "unserved_penalty_per_kwh": 10,
        "nodes": [{"id": 0, "parent": 2, "limit_kw": 1}, {"id": 1, "parent": 0, "limit_kw": 2}, {"id": 2, "parent": -1, "limit_kw": 3}],
        "sessions": [{"node": 1, "arrival": 0, "departure": 1, "energy_kwh": 0.5, "max_kw": 1.5}]}"#;
    let instance = reader::convert(&reader::File::parse(text).unwrap()).unwrap().instance;
    let parents: Vec<Option<usize>> = instance.nodes.iter().map(|node| node.parent).collect();
    assert_eq!(parents, [None, Some(0), Some(1)]);
    assert_eq!(instance.sessions[0].node, 2);
    let limits: Vec<i64> = instance.nodes.iter().map(|node| node.limits[0].at(0)).collect();
    assert_eq!(limits, [3_000, 1_000, 2_000]);
}

#[test]
fn a_fault_names_its_field() {
    let file = writer::file(&carried("ev_20x96"));
    let fault_of = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut file = file.clone();
        change(&mut file);
        let parsed = reader::File::parse(&file.to_string());
        match parsed.and_then(|file| reader::convert(&file)) {
            Ok(_) => panic!("no fault is found"),
            Err(fault) => fault.to_string(),
        }
    };
    type Change<'a> = &'a dyn Fn(&mut serde_json::Value);
    let cases: [(Change, &str); 9] = [
        (
            &|file| file["sessions"][3]["departure"] = 97.into(),
            "sessions[3].departure: 97 is after the last of 96",
        ),
        (
            &|file| file["sessions"][3]["arrival"] = (-1).into(),
            "sessions[3].arrival: invalid value",
        ),
        (
            &|file| file["sessions"][2]["energy_kwh"] = (-1).into(),
            "sessions[2].energy_kwh: -1 is negative",
        ),
        (
            &|file| file["sessions"][2]["max_kw"] = serde_json::Value::Null,
            "sessions[2].max_kw: is missing",
        ),
        (
            &|file| file["sessions"][1]["node"] = 99.into(),
            "sessions[1].node: there is no node 99",
        ),
        (
            &|file| file["nodes"][1]["parent"] = 1.into(),
            "nodes: some do not hang on the root",
        ),
        (
            &|file| file["nodes"][1]["parent"] = (-1).into(),
            "nodes: 2 nodes have parent -1",
        ),
        (
            &|file| file["nodes"][1]["limit_kw"] = "much".into(),
            "nodes[1].limit_kw: ",
        ),
        (
            &|file| file["price_per_kwh"] = vec![1.0].into(),
            "price_per_kwh: 1 prices for 96 slots",
        ),
    ];
    for (change, expected) in cases {
        let fault = fault_of(change);
        assert!(fault.starts_with(expected), "{fault}");
    }
}

#[test]
fn supply_is_as_its_name_says() {
    for schema in [Schema::Power, Schema::Phases] {
        let unserved_percent = |supply| {
            let instance = generator::generate(&shape(schema, 100, supply));
            let optimum = Program::new(&instance, Extras::default())
                .load(Backend::Clarabel)
                .solve()
                .unwrap();
            let (mut asked, mut served) = (0.0, 0.0);
            for (session, rates) in instance.sessions.iter().zip(&optimum.rates) {
                let kilowatts = instance.milliwatts(session) as f64 / 1e6;
                asked += session.energy as f64 * kilowatts;
                served += rates.iter().sum::<f64>() * 1e3 * kilowatts;
            }
            100.0 * (asked - served) / asked
        };
        assert!(unserved_percent(Supply::Normal) < 0.5);
        assert!(unserved_percent(Supply::Tight) < 3.0);
        let scarce = unserved_percent(Supply::Scarce);
        assert!((10.0..30.0).contains(&scarce), "{scarce} % are not served");
    }
}

#[test]
fn seeds_give_what_they_gave() {
    let power = generator::generate(&shape(Schema::Power, 20, Supply::Normal));
    let again = generator::generate(&shape(Schema::Power, 20, Supply::Normal));
    assert_eq!(power, again);
    let other = generator::generate(&Shape {
        seed: 8,
        ..shape(Schema::Power, 20, Supply::Normal)
    });
    assert_ne!(power.sessions, other.sessions);
    let energy: i64 = power.sessions.iter().map(|session| session.energy).sum();
    assert_eq!((power.cells(), energy), (501, 1_637_200));
}

#[test]
fn wild_instances_reach_the_corners() {
    let size = Size {
        sessions: 6,
        slots: 5,
        nodes: 4,
        most: 9,
    };
    let instances: Vec<Instance> = (0..300)
        .map(|seed| wild::generate(Unit::MilliampPerPhase { volts: 230 }, size, seed))
        .collect();
    let any = |holds: &dyn Fn(&Instance) -> bool| instances.iter().any(holds);
    assert!(any(&|instance| instance.sessions.is_empty()));
    assert!(any(&|instance| instance.slots() == 1));
    assert!(any(&|instance| instance.prices.iter().any(|price| *price < 0)));
    assert!(any(&|instance| instance
        .sessions
        .iter()
        .any(|session| session.energy == 0)));
    assert!(any(&|instance| instance
        .sessions
        .iter()
        .any(|session| session.most == 0)));
    assert!(any(&|instance| instance
        .sessions
        .iter()
        .any(|session| session.stay().is_empty())));
    let lowest_limit = |instance: &Instance| {
        let limits = instance.nodes.iter().flat_map(|node| &node.limits);
        limits.map(|limit| limit.at(0)).min()
    };
    assert!(any(&|instance| lowest_limit(instance) == Some(0)));
    assert!(any(&|instance| lowest_limit(instance) < Some(0)));
}
