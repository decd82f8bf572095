//! What the tests share: small problems of every shape, a check of plans, and the linear program as oracle.

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, constraint, variable};

use super::cone::Cone;
use super::problem::{DemandCharge, KINDS, Limit, Plan, Problem, Session, TOTAL};

/// A reproducible source of numbers (xorshift).
pub(super) struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// From `low` up to, not including, `high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + ((self.0 >> 11) % (high - low) as u64) as i64
    }
}

/// What a random problem may contain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// One- and three-phase cars, per-phase limits, slots of equal length.
    Classical,
    /// Coefficients, penalties and lengths of every kind, limits on total power, base load.
    General,
}

/// A random problem with a few nodes and up to a dozen cars.
pub(super) fn random(seed: u64, shape: Shape, demand_charge: bool) -> Problem {
    let mut numbers = Numbers::new(seed);
    let slots = numbers.between(3, 20) as usize;
    let nodes = numbers.between(1, 6) as usize;
    let general = shape == Shape::General;
    let lengths: Vec<i64> = (0..slots)
        .map(|_| if general { numbers.between(1, 4) } else { 1 })
        .collect();
    let parents: Vec<Option<usize>> = (0..nodes)
        .map(|node| (node > 0).then(|| numbers.between(0, node as i64) as usize))
        .collect();
    let sessions: Vec<Session> = (0..numbers.between(1, 13))
        .map(|_| random_session(&mut numbers, general, nodes, slots))
        .collect();
    let mut limits = Vec::new();
    for node in 0..nodes {
        for kind in 0..if general { KINDS } else { TOTAL } {
            if numbers.between(0, 4) > 0 {
                let unit = if kind == TOTAL { 500 } else { 1 };
                let by_slot = (0..slots).map(|_| numbers.between(0, 80) * unit).collect();
                limits.push(Limit { node, kind, by_slot });
            }
        }
    }
    let demand_charge = demand_charge.then(|| DemandCharge {
        price: numbers.between(0, 100),
        peak_so_far: numbers.between(0, 10_000),
        base_load: (0..slots)
            .map(|_| if general { numbers.between(0, 5_000) } else { 0 })
            .collect(),
    });
    let prices = (0..slots)
        .map(|_| numbers.between(if general { -20 } else { 1 }, 100))
        .collect();
    Problem {
        lengths,
        prices,
        parents,
        limits,
        sessions,
        demand_charge,
        cones: Vec::new(),
    }
}

fn random_session(numbers: &mut Numbers, general: bool, nodes: usize, slots: usize) -> Session {
    let first_slot = numbers.between(0, slots as i64) as usize;
    let end_slot = numbers.between(first_slot as i64 + 1, slots as i64 + 1) as usize;
    let phase = numbers.between(0, 4) as usize;
    let mut line = [1; 3];
    if phase < 3 {
        line = [0; 3];
        line[phase] = 1;
    }
    let mut power: i64 = line.iter().sum::<i64>() * 230;
    let mut total = power;
    let mut penalty = 3000 * power;
    // What all conductors carry alike may be known to.
    let mut uneven = if phase < 3 || numbers.between(0, 2) == 0 {
        line
    } else {
        [0; 3]
    };
    if general {
        if numbers.between(0, 3) == 0 {
            line = [numbers.between(0, 3), numbers.between(0, 3), numbers.between(0, 3)];
            uneven = line.map(|load| load * numbers.between(0, 3));
        }
        if numbers.between(0, 4) == 0 {
            (line, uneven, total, power) = ([0; 3], [0; 3], 500, 480);
        }
        penalty *= numbers.between(1, 3);
    }
    Session {
        node: numbers.between(0, nodes as i64) as usize,
        first_slot,
        end_slot,
        most: numbers.between(1, 33),
        wanted: numbers.between(0, 300),
        line,
        total,
        uneven,
        power,
        penalty,
    }
}

/// Checks a plan against every limit, cell by cell and node by node.
pub(super) fn keeps_all_limits(problem: &Problem, plan: &Plan) -> bool {
    let at_or_below = |mut node: usize, above: usize| loop {
        match problem.parents[node] {
            _ if node == above => return true,
            Some(parent) => node = parent,
            None => return false,
        }
    };
    let cells = problem.sessions.iter().enumerate().all(|(index, session)| {
        let amounts = plan.of(index);
        let within = |(amount, slot): (&i64, usize)| (0..=session.most * problem.lengths[slot]).contains(amount);
        amounts.iter().zip(session.stay()).all(within) && amounts.iter().sum::<i64>() <= session.wanted
    });
    cells
        && problem.limits.iter().all(|limit| {
            (0..problem.slots()).all(|slot| {
                let on_it = |(index, session): (usize, &Session)| {
                    let present = session.stay().contains(&slot) && at_or_below(session.node, limit.node);
                    let amount = || plan.of(index)[slot - session.first_slot];
                    if present {
                        session.coefficient(limit.kind) * amount()
                    } else {
                        0
                    }
                };
                let load: i64 = problem.sessions.iter().enumerate().map(on_it).sum();
                load <= limit.by_slot[slot].max(0) * problem.lengths[slot]
            })
        })
}

/// The least value of any plan that need not be whole, by a general solver.
pub(super) fn linear_optimum(problem: &Problem) -> f64 {
    let mut variables = ProblemVariables::new();
    let mut objective = Expression::default();
    let mut loads = vec![Expression::default(); problem.parents.len() * KINDS * problem.slots()];
    let mut powers = vec![Expression::default(); problem.slots()];
    let mut needs = Vec::new();
    for session in &problem.sessions {
        let mut served = Expression::default();
        for slot in session.stay() {
            let most = (session.most * problem.lengths[slot]) as f64;
            let amount = variables.add(variable().min(0).max(most));
            objective += (problem.prices[slot] * session.power) as f64 * amount;
            objective += -(session.penalty as f64) * amount;
            served += amount;
            powers[slot] += session.power as f64 * amount;
            let mut node = Some(session.node);
            while let Some(at) = node {
                for kind in 0..KINDS {
                    loads[(at * KINDS + kind) * problem.slots() + slot] += session.coefficient(kind) as f64 * amount;
                }
                node = problem.parents[at];
            }
        }
        objective += session.penalty as f64 * session.wanted as f64;
        needs.push((served, session.wanted as f64));
    }
    let peak = problem.demand_charge.as_ref().map(|charge| {
        let peak = variables.add(variable().min(charge.peak_so_far as f64));
        objective += charge.price as f64 * peak;
        peak
    });
    // In a unit in which the solver's tolerances mean what they say.
    let mut model = variables.minimise(1e-6 * objective.clone()).using(good_lp::clarabel);
    for (served, wanted) in needs {
        model.add_constraint(constraint!(served <= wanted));
    }
    for limit in &problem.limits {
        for (slot, most) in limit.by_slot.iter().enumerate() {
            let load = loads[(limit.node * KINDS + limit.kind) * problem.slots() + slot].clone();
            model.add_constraint(constraint!(load <= (most * problem.lengths[slot]) as f64));
        }
    }
    if let (Some(peak), Some(charge)) = (peak, &problem.demand_charge) {
        for (slot, power) in powers.into_iter().enumerate() {
            let length = problem.lengths[slot] as f64;
            model.add_constraint(constraint!(
                power + charge.base_load[slot] as f64 * length <= length * peak
            ));
        }
    }
    model
        .solve()
        .map(|solution| solution.eval(objective))
        .expect("the idle plan is feasible")
}

/// The same under cones, by a general conic solver. Without limits of other kinds and without a demand charge.
pub(super) fn conic_optimum(problem: &Problem) -> f64 {
    use clarabel::algebra::CscMatrix;
    use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, NonnegativeConeT, SecondOrderConeT};
    let scale = problem.sessions.iter().map(|session| session.penalty).fold(1, i64::max) as f64;
    let cells: Vec<(usize, usize)> = (0..problem.sessions.len())
        .flat_map(|session| problem.sessions[session].stay().map(move |slot| (session, slot)))
        .collect();
    let costs: Vec<f64> = cells
        .iter()
        .map(|&(session, slot)| {
            let session = &problem.sessions[session];
            (problem.prices[slot] * session.power - session.penalty) as f64 / scale
        })
        .collect();
    // Rows of `right - left . amounts` in the nonnegative cone, then in second-order cones.
    let (mut rows, mut right): (Vec<Vec<f64>>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut push = |row: Vec<f64>, bound: f64| {
        rows.push(row);
        right.push(bound);
    };
    for (index, &(session, slot)) in cells.iter().enumerate() {
        let unit = |sign: f64| {
            (0..cells.len())
                .map(|cell| if cell == index { sign } else { 0.0 })
                .collect()
        };
        push(
            unit(1.0),
            (problem.sessions[session].most * problem.lengths[slot]) as f64,
        );
        push(unit(-1.0), 0.0);
    }
    for (index, session) in problem.sessions.iter().enumerate() {
        push(
            cells
                .iter()
                .map(|cell| if cell.0 == index { 1.0 } else { 0.0 })
                .collect(),
            session.wanted as f64,
        );
    }
    let mut cones = vec![NonnegativeConeT(2 * cells.len() + problem.sessions.len())];
    for cone in &problem.cones {
        for slot in 0..problem.slots() {
            push(
                vec![0.0; cells.len()],
                (cone.by_slot[slot] * problem.lengths[slot]) as f64,
            );
            for phasor in cone.phasors() {
                let load = |&(session, at): &(usize, usize)| {
                    let line = problem.sessions[session].line;
                    let along: f64 = phasor.iter().zip(line).map(|(entry, load)| entry * load as f64).sum();
                    if at == slot { along } else { 0.0 }
                };
                push(cells.iter().map(load).collect(), 0.0);
            }
            cones.push(SecondOrderConeT(3));
        }
    }
    let settings = DefaultSettings {
        verbose: false,
        ..DefaultSettings::default()
    };
    let none = CscMatrix::zeros((cells.len(), cells.len()));
    let mut solver = DefaultSolver::new(&none, &costs, &CscMatrix::from(&rows), &right, &cones, settings)
        .expect("the problem has a shape");
    solver.solve();
    let lost: i64 = problem
        .sessions
        .iter()
        .map(|session| session.penalty * session.wanted)
        .sum();
    solver.solution.obj_val * scale + lost as f64
}

/// A random site between lines: three line currents at the root, cars on random pairs.
pub(super) fn random_between_lines(seed: u64) -> Problem {
    let mut numbers = Numbers::new(seed);
    let mut problem = random(seed, Shape::Classical, false);
    problem.limits.clear();
    for session in &mut problem.sessions {
        session.line = [0; 3];
        session.line[numbers.between(0, 3) as usize] = 1;
        (session.power, session.penalty) = (208, 208 * 3_000);
        // Fine enough that whole units do not matter.
        (session.most, session.wanted) = (session.most * 100, session.wanted * 100);
    }
    let pairs = [[0, 2, 1], [1, 0, 0], [2, 1, 2]];
    for [first, second, product] in pairs {
        let (mut squares, mut products) = ([0; 3], [0; 3]);
        (squares[first], squares[second], products[product]) = (1, 1, if numbers.between(0, 2) == 0 { 1 } else { -1 });
        let by_slot = (0..problem.slots()).map(|_| numbers.between(0, 8_000)).collect();
        problem.cones.push(Cone {
            node: 0,
            squares,
            products,
            scale: 1,
            by_slot,
        });
    }
    problem
}
