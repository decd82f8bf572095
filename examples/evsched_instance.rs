//! Writes new instances of the schemas "evsched-1" and "evsched-3p-1", for `evsched` and for other solvers.
//!
//! `cargo run --release --example evsched_instance -- power|phases SESSIONS SLOTS normal|tight|scarce SEED OUT.json`

#[path = "../tests/support/instances/mod.rs"]
mod instances;

use instances::generator::{self, Schema, Shape, Supply};
use std::process::ExitCode;

const USAGE: &str = "evsched_instance power|phases SESSIONS SLOTS normal|tight|scarce SEED OUT.json";
const BAD_INPUT: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let written = shape(&arguments).and_then(|(shape, out)| {
        let file = instances::writer::file(&generator::generate(&shape));
        std::fs::write(out, file.to_string()).map_err(|error| format!("{out}: {error}"))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// What to generate, and where to.
fn shape(arguments: &[String]) -> Result<(Shape, &str), String> {
    let [schema, sessions, slots, supply, seed, out] = arguments else {
        return Err(format!("usage: {USAGE}"));
    };
    let shape = Shape {
        schema: match schema.as_str() {
            "power" => Schema::Power,
            "phases" => Schema::Phases,
            other => return Err(format!("{other} is no schema: {USAGE}")),
        },
        sessions: number("SESSIONS", sessions)? as usize,
        slots: number("SLOTS", slots)? as usize,
        supply: match supply.as_str() {
            "normal" => Supply::Normal,
            "tight" => Supply::Tight,
            "scarce" => Supply::Scarce,
            other => return Err(format!("{other} is no supply: {USAGE}")),
        },
        seed: number("SEED", seed)?,
    };
    if shape.sessions == 0 || ![24, 48, 96, 144, 288].contains(&shape.slots) {
        return Err("SESSIONS is at least 1, SLOTS is 24, 48, 96, 144 or 288".to_owned());
    }
    Ok((shape, out))
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{name}: {text} is not a number"))
}
