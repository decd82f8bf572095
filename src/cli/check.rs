//! `laddplan check`: what is wrong with an OCPI object.

use super::failure::Failure;
use super::{input, output};
use crate::domain::rejection::{Fault, MAX_FAULTS};
use crate::ocpi;
use crate::ocpi::check::{Expectation, Kind, Report};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;
use std::path::PathBuf;

/// Largest object worth judging, in bytes.
const MAX_OBJECT_BYTES: u64 = 1 << 20;

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The object in JSON; `-` reads standard input.
    file: PathBuf,
    /// What it should be; recognised by its fields if not given.
    #[arg(long, value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::name)))]
    kind: Option<String>,
    /// Most periods that the station takes.
    #[arg(long, value_name = "N")]
    max_periods: Option<usize>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let expectation = Expectation {
        kind: args.kind.as_deref().and_then(Kind::named),
        max_periods: args.max_periods,
    };
    let report = ocpi::check::check(&input::text_up_to(&args.file, MAX_OBJECT_BYTES)?, expectation);
    output::say(&if args.json { as_json(&report) } else { as_text(&report) })?;
    if report.is_valid() {
        Ok(())
    } else {
        Err(Failure::Invalid)
    }
}

fn as_text(report: &Report) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(report.errors.iter().map(|fault| format!("error    {fault}")));
    lines.extend(report.warnings.iter().map(|fault| format!("warning  {fault}")));
    let kind = report.kind.map_or("not recognised", Kind::name);
    lines.push(format!(
        "{kind}: {}, {}",
        counted(report.errors.len(), "error"),
        counted(report.warnings.len(), "warning")
    ));
    lines.join("\n")
}

/// `2 errors`; where the list is full there may be more.
fn counted(count: usize, what: &str) -> String {
    let or_more = if count == MAX_FAULTS { " or more" } else { "" };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count}{or_more} {what}{plural}")
}

fn as_json(report: &Report) -> String {
    let findings = |faults: &[Fault]| -> Vec<serde_json::Value> {
        faults
            .iter()
            .map(|fault| {
                json!({
                    "path": fault.field,
                    "rule": fault.rule,
                    "got": fault.got,
                    "allowed": fault.allowed,
                })
            })
            .collect()
    };
    let report = json!({
        "kind": report.kind.map(Kind::name),
        "valid": report.is_valid(),
        "errors": findings(&report.errors),
        "warnings": findings(&report.warnings),
    });
    format!("{report:#}")
}
