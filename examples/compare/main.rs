//! Measures the solver beside general ones, on the same instances, in the same run, on one core. Prints Markdown tables.
//!
//! `cargo run --release --features compare --example compare -- [--seconds LIMIT] [optimum|peak|replan|minimum]... INSTANCE...`
//!
//! An INSTANCE is a file of the schemas "evsched-1" and "evsched-3p-1", or one to generate: `power:1000x96:tight:7` is a day of a thousand
//! cars in 96 slots with seed 7 (or `phases:...`; `normal`, `tight` or `scarce`). The tables: `optimum` of the linear program, with a
//! charge on the `peak`, `replan` after five cars changed, `minimum` currents by integer programming.
//!
//! Each measurement is a process of its own, one after the other, so that it has its own memory and can be ended after LIMIT (60) seconds.
//! A solver that does not finish is not tried on instances of its table that are as large or larger.

#[path = "../../tests/support/checker.rs"]
mod checker;
#[path = "../../tests/support/flow_form.rs"]
mod flow_form;
mod hot;
#[path = "../../tests/support/instances/mod.rs"]
mod instances;
mod measure;
#[path = "../../tests/support/oracle.rs"]
mod oracle;
#[path = "../../tests/support/phases_form.rs"]
mod phases_form;
#[path = "../../tests/support/snapshot_form.rs"]
mod snapshot_form;
mod source;
#[path = "../../tests/support/stopwatch.rs"]
mod stopwatch;
mod table;

use measure::{Job, Measured, Solver, Table};
use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const BAD_INPUT: u8 = 64;
const USAGE: &str = "compare [--seconds LIMIT] [optimum|peak|replan|minimum]... INSTANCE...";

struct Arguments {
    limit_seconds: u64,
    tables: Vec<Table>,
    instances: Vec<String>,
}

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let result = match given.split_first() {
        Some((first, job)) if first == "--measure" => measure::run(job),
        _ => arguments(&given).and_then(|arguments| compare(&arguments)),
    };
    match result {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn arguments(given: &[String]) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        limit_seconds: 60,
        tables: Vec::new(),
        instances: Vec::new(),
    };
    let mut given = given.iter();
    while let Some(argument) = given.next() {
        if argument == "--seconds" {
            let seconds = given.next().and_then(|seconds| seconds.parse().ok());
            arguments.limit_seconds = seconds.ok_or("--seconds: a whole number is missing")?;
        } else if let Some(table) = Table::parse(argument) {
            arguments.tables.push(table);
        } else {
            arguments.instances.push(argument.clone());
        }
    }
    if arguments.tables.is_empty() {
        arguments.tables = vec![Table::Optimum, Table::Peak, Table::Replan];
    }
    if arguments.instances.is_empty() {
        return Err(format!("usage: {USAGE}"));
    }
    Ok(arguments)
}

fn compare(arguments: &Arguments) -> Result<String, String> {
    let mut text = String::new();
    for table in &arguments.tables {
        let mut rows = Vec::new();
        let mut given_up: BTreeMap<Solver, usize> = BTreeMap::new();
        for source in &arguments.instances {
            let instance = source::read(source)?;
            let mut row = table::Row::new(&instance);
            for solver in table.solvers(instance.unit) {
                if given_up.get(&solver).is_some_and(|cells| *cells <= instance.cells()) {
                    continue;
                }
                let job = Job {
                    table: *table,
                    solver,
                    source: source.clone(),
                    limit_seconds: arguments.limit_seconds,
                };
                let measured = in_a_process(&job);
                if let Err(problem) = &measured {
                    eprintln!("{} {solver:?} {source}: {problem}", table.name());
                    given_up.insert(solver, instance.cells());
                }
                row.cells.insert(solver, measured);
            }
            rows.push(row);
        }
        text.push_str(&table::render(*table, &rows, arguments.limit_seconds));
    }
    Ok(text)
}

/// Measures one job, or ends it where it takes too long.
fn in_a_process(job: &Job) -> Result<Measured, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .arg("--measure")
        .args(job.to_arguments())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (told, tell) = mpsc::channel();
    let pipes = [
        child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    ];
    for mut pipe in pipes.into_iter().flatten() {
        let told = told.clone();
        std::thread::spawn(move || {
            let mut text = String::new();
            let is_text = pipe.read_to_string(&mut text).is_ok();
            if is_text && !text.is_empty() {
                told.send(text).ok();
            }
        });
    }
    drop(told);
    // Building and repetitions come on top of one search.
    let answer = tell.recv_timeout(Duration::from_secs(job.limit_seconds + 30));
    let had_to_end = child.kill().is_ok() && answer.is_err();
    child.wait().map_err(|error| error.to_string())?;
    let text = answer.map_err(|_| match had_to_end {
        true => format!("more than {} s", job.limit_seconds),
        false => "ended without an answer".to_owned(),
    })?;
    serde_json::from_str(&text).map_err(|_| text.lines().last().unwrap_or("no answer").to_owned())
}
