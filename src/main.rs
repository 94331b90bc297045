//! Parse, run, exit code: 0 good, 1 findings, 2 could not run.
#![warn(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::ExitCode;

use clap::Parser as _;
use extender_facade::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
