//! Mixed phases (draft).
mod bound;
mod descent;
mod draft;
mod fit;
mod forest;
mod layout;
mod polish;
mod problem;
mod project;
mod reroute;
mod rows;
mod settle;
mod start;

pub use problem::{DemandCharge, Fault, KINDS, Limit, Plan, Problem, Session, TOTAL, Value};

use bound::{Multipliers, Objective};
use descent::Descent;
use layout::Layout;
use polish::Polish;
use start::Start;

pub fn trial_solve(problem: &Problem, cpu: fn() -> f64, unit: f64, goal: f64) -> Plan {
    let t0 = cpu();
    let layout = Layout::new(problem);
    let t1 = cpu();
    let mut polish = Polish::new(&layout);
    let mut descent = Descent::new(&layout);
    let t2 = cpu();
    let start = Start::from_flows(&layout);
    let t3 = cpu();
    let m = Multipliers::from_search(&layout, &start.multipliers);
    let mut lb = m.bound(&layout, Objective::All);
    let t4 = cpu();
    println!(
        "cells {} rows {} groups {} layout {:.2} polish+descent {:.2} start {:.2} bound {:.2} lb {:.5} cut {}",
        layout.cell_count,
        layout.rows.chunks.len(),
        layout.groups.len(),
        (t1 - t0) * 1e3,
        (t2 - t1) * 1e3,
        (t3 - t2) * 1e3,
        (t4 - t3) * 1e3,
        lb as f64 * unit,
        start.cut.bound(&layout, Objective::Unserved) as f64 * unit
    );
    descent.begin(&start.amounts, &start.multipliers, start.peak);
    let mut best: Option<polish::Polished> = None;
    let (mut td, mut tb, mut tp, mut te) = (0.0, 0.0, 0.0, 0.0);
    let mut next = 32;
    let exact = std::env::var("EXACT").is_ok();
    loop {
        let t = cpu();
        descent.advance(next - descent.iterations());
        let t2 = cpu();
        td += t2 - t;
        let b = Multipliers::from_search(&layout, descent.multipliers()).bound(&layout, Objective::All);
        lb = lb.max(b);
        let t3 = cpu();
        tb += t3 - t2;
        let pk = if problem.demand_charge.is_some() { descent.peak() } else { 1 << 40 };
        let p = polish.quick(descent.amounts(), pk);
        let q = p.value;
        let t4 = cpu();
        tp += t4 - t3;
        let p = if exact { polish.exact() } else { p };
        te += cpu() - t4;
        let cur = p.value;
        if best.as_ref().is_none_or(|b| p.value.total() < b.value.total()) {
            best = Some(p);
        }
        let ub = best.as_ref().map(|b| b.value.total()).unwrap_or(0);
        let gap = (ub - lb) as f64 / ub as f64;
        println!(
            "it {} w {:.3} lb {:.5} ({:.5}) ub {:.5} ({:.5}) uns {:.5} pk {} quick {:.5} gap {:.2e} t {:.2} (descent {:.2} bound {:.2} polish {:.2} exact {:.2})",
            descent.iterations(),
            descent.weight(),
            lb as f64 * unit,
            b as f64 * unit,
            ub as f64 * unit,
            cur.total() as f64 * unit,
            cur.unserved as f64 * unit,
            cur.peak,
            q.total() as f64 * unit,
            gap,
            (cpu() - t0) * 1e3,
            td * 1e3,
            tb * 1e3,
            tp * 1e3,
            te * 1e3
        );
        if gap <= goal || descent.iterations() > 3000 {
            break;
        }
        next = next * 11 / 10 + 16;
    }
    let best = best.map(|b| b.plan).unwrap_or_default();
    println!("{:?}", problem.assess(&best));
    best
}
