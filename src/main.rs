//! The program: does what the command line says, and answers with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    laddplan::cli::main()
}
