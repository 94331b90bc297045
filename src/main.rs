//! The command line.
use std::process::ExitCode;

use clap::Parser;
use extender_facade::cli;

#[derive(Parser)]
#[command(version, about)]
enum Command {
    Simulate(cli::simulate::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Simulate(args) => cli::simulate::run(args).await,
    }
}
