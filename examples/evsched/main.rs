//! Solves one file of the schema "evsched-1" or "evsched-3p-1" and prints a line of JSON.
//!
//! `cargo run --release --example evsched -- FILE.json [--demand-charge] [--solution OUT.json]`
//!
//! The line holds `name`, `objective`, `lower_bound` (no plan costs less), `gap` (their relative distance), `build_micros` (from the parsed
//! file to the solver's integers), `solve_micros` (from there to the plan and its bound) and `peak_rss_kib` (of the process, null
//! where the system does not tell). OUT is what the schema's `check.py` reads. Minimum powers and currents are ignored: this is
//! the linear program of the schemas. Bad input ends with exit code 64 and the name of the field.

#[path = "../../tests/support/flow_form.rs"]
mod flow_form;
#[path = "../../tests/support/instances/mod.rs"]
mod instances;
#[path = "../../tests/support/phases_form.rs"]
mod phases_form;
mod solve;
#[path = "../../tests/support/stopwatch.rs"]
mod stopwatch;

use instances::reader::{self, File};
use instances::writer;
use serde::Serialize;
use solve::Solved;
use std::process::ExitCode;

const USAGE: &str = "evsched FILE.json [--demand-charge] [--solution OUT.json]";
const BAD_INPUT: u8 = 64;

/// What is printed, in this order.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    objective: f64,
    lower_bound: f64,
    gap: f64,
    build_micros: u64,
    solve_micros: u64,
    peak_rss_kib: Option<u64>,
}

struct Arguments {
    file: String,
    demand_charge: bool,
    solution: Option<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn run() -> Result<String, String> {
    let arguments = arguments(std::env::args().skip(1))?;
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| format!("{}: {error}", arguments.file))?;
    let file = File::parse(&text).map_err(|fault| format!("{}: {fault}", arguments.file))?;
    drop(text);
    let (read, read_micros) = solve::timed(|| reader::convert(&file));
    let read = read.map_err(|fault| format!("{}: {fault}", arguments.file))?;
    drop(file);
    if read.rounded > 0 {
        eprintln!(
            "{}: {} numbers are finer than 1 W, 1 mA or these times a slot, and were rounded down",
            arguments.file, read.rounded
        );
    }
    let solved = solve::solve(&read.instance, arguments.demand_charge)?;
    if let Some(out) = &arguments.solution {
        let solution = writer::solution(&solved.instance, &solved.amounts);
        std::fs::write(out, solution.to_string()).map_err(|error| format!("{out}: {error}"))?;
    }
    Ok(line(&solved, read_micros))
}

fn line(solved: &Solved, read_micros: u64) -> String {
    let distance = (solved.objective - solved.lower_bound).max(0.0);
    let line = Line {
        name: &solved.instance.name,
        objective: solved.objective,
        lower_bound: solved.lower_bound,
        gap: distance / solved.objective.abs().max(f64::MIN_POSITIVE),
        build_micros: read_micros + solved.build_micros,
        solve_micros: solved.solve_micros,
        peak_rss_kib: solved.peak_rss_kib,
    };
    serde_json::to_string(&line).expect("numbers and a name can be written")
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut file = None;
    let mut demand_charge = false;
    let mut solution = None;
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--demand-charge" => demand_charge = true,
            "--solution" => solution = Some(given.next().ok_or("--solution: no file is named")?),
            other if other.starts_with('-') => return Err(format!("{other}: no such option; usage: {USAGE}")),
            _ if file.is_some() => return Err(format!("{argument}: one file at a time; usage: {USAGE}")),
            _ => file = Some(argument),
        }
    }
    Ok(Arguments {
        file: file.ok_or(format!("usage: {USAGE}"))?,
        demand_charge,
        solution,
    })
}
