//! The command line: runs the service, plans a file, judges a profile, and calls a running service.
//!
//! Decides the words of the commands and the exit code: 0 done, 64 what was given is wrong, 70 anything else went wrong. Decides
//! nothing about charging: the clients say what the API says.

mod alarm;
mod check;
mod client;
mod commissioning;
mod demo;
mod driver;
mod failure;
mod input;
mod journal;
mod limit;
mod meter;
mod output;
mod plan;
mod plan_table;
mod prices;
mod rollout;
mod serve;
mod session;
mod site;
mod table;
mod tenant;
mod token;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Plans how much power every connector of a charging site gets, and when.
#[derive(Debug, Parser)]
#[command(name = "laddplan", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve(serve::ServeArgs),
    /// Play one real workplace day through the service and report what came of it.
    Demo(demo::DemoArgs),
    /// Plan one request from a file, without a service.
    Plan(plan::PlanArgs),
    /// Say what is wrong with an OCPI charging profile, or with an answer to one.
    Check(check::CheckArgs),
    /// Sites of a running service.
    #[command(subcommand)]
    Site(site::SiteCommand),
    /// Charging sessions of a running service.
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Drivers: who may draw power at a running service's sites.
    #[command(subcommand)]
    Driver(driver::DriverCommand),
    /// What operators should know of.
    #[command(subcommand)]
    Alarm(alarm::AlarmCommand),
    /// Limits on the nodes of a site.
    #[command(subcommand)]
    Limit(limit::LimitCommand),
    /// Energy prices of a site.
    #[command(subcommand)]
    Prices(prices::PricesCommand),
    /// Tenants of a running service.
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Tokens, by which calls are let in.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// The journals of a data folder, while no service has it open.
    #[command(subcommand)]
    Journal(journal::JournalCommand),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version come this way too, and go to standard output. Where even telling fails, the exit code stands.
            let _ = told.print();
            return if told.use_stderr() {
                failure::BAD_INPUT.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Plan(args) => plan::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Site(command) => site::run(command),
        Command::Session(command) => session::run(command),
        Command::Driver(command) => driver::run(command),
        Command::Alarm(command) => alarm::run(command),
        Command::Limit(command) => limit::run(command),
        Command::Prices(command) => prices::run(command),
        Command::Tenant(command) => tenant::run(command),
        Command::Token(command) => token::run(command),
        Command::Journal(command) => journal::run(command),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        super::Cli::command().debug_assert();
    }
}
