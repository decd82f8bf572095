//! `laddplan demo`: a real workplace day, through the service as it is.

use super::failure::Failure;
use super::{input, output};
use crate::config::{Log, LogFormat};
use crate::simulate::baseline::usual_limit;
use crate::simulate::day::{Day, Source, SupplySource, Unmapped};
use crate::simulate::demo::{self, Options};
use crate::telemetry;
use crate::units::{Volts, Watts};
use anyhow::Context;
use chrono::NaiveDate;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for the store of the demo; made anew.
    #[arg(long, value_name = "FOLDER", default_value = "laddplan-demo/data")]
    data: PathBuf,
    /// Folder for the report.
    #[arg(long, value_name = "FOLDER", default_value = "laddplan-demo")]
    out: PathBuf,
    /// Of the network's delays; another seed is another day on the wire.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Play a day of these sessions instead of the one carried with the program: CSV with the columns session_id, evse_id, arrival,
    /// departure, energy_kwh, and if known requested_kwh, requested_departure, max_power_kw. Times in UTC.
    #[arg(long, value_name = "FILE", requires = "date")]
    sessions: Option<PathBuf>,
    /// The local day on which the cars arrive.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "sessions")]
    date: Option<NaiveDate>,
    /// How the site is built, as JSON. Without it: one limit above all EVSEs.
    #[arg(long, value_name = "FILE", requires = "sessions", requires = "site")]
    network: Option<PathBuf>,
    /// Which site of the network file.
    #[arg(long, value_name = "NAME", requires = "network")]
    site: Option<String>,
    /// What the grid connection may carry. Without it: six tenths of what the cars would draw if nobody held them back.
    #[arg(long, value_name = "KILOWATT", requires = "sessions", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    capacity_kw: Option<u32>,
    /// Of a site without a network.
    #[arg(long, value_name = "NAME", default_value = "UTC", conflicts_with = "network")]
    time_zone: String,
    /// Between phase and neutral, at a site without a network.
    #[arg(long, default_value_t = 208, conflicts_with = "network", value_parser = clap::value_parser!(u16).range(100..=1000))]
    volts: u16,
    /// On which every EVSE charges, at a site without a network.
    #[arg(long, default_value_t = 1, conflicts_with = "network", value_parser = clap::value_parser!(u8).range(1..=3))]
    phases: u8,
}

pub fn run(args: DemoArgs) -> Result<(), Failure> {
    telemetry::start(&Log {
        filter: "warn".to_owned(),
        format: LogFormat::Text,
    })?;
    let day = day(&args)?;
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    let outcome = runtime.block_on(demo::run(Options {
        day,
        data: args.data,
        out: args.out,
        seed: args.seed,
    }))?;
    output::say(&format!(
        "{}\n\nReport:  {}\nFigures: {}\nJournal: {}",
        outcome.report.table(),
        outcome.written.html.display(),
        outcome.written.json.display(),
        outcome.store.display()
    ))
}

fn day(args: &DemoArgs) -> Result<Day, Failure> {
    let Some((sessions, date)) = args.sessions.as_ref().zip(args.date) else {
        return Ok(Day::carried()?);
    };
    let supply = match args.network.as_ref().zip(args.site.clone()) {
        Some((network, site)) => SupplySource::Network {
            json: input::text(network)?,
            site,
        },
        None => SupplySource::Unmapped(Unmapped {
            time_zone: args.time_zone.clone(),
            volt: Volts::from_volts(args.volts.into()),
            phases: args.phases,
        }),
    };
    let mut source = Source {
        sessions: input::text(sessions)?,
        date,
        supply,
        grid_limit: Watts::from_watts(i64::from(args.capacity_kw.unwrap_or_default()) * 1000),
    };
    let bad = |error: anyhow::Error| Failure::BadInput(format!("{error:#}"));
    if args.capacity_kw.is_none() {
        source.grid_limit = usual_limit(&source).map_err(bad)?;
    }
    Day::read(&source).map_err(bad)
}
