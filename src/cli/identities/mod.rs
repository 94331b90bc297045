//! `identities`: the identity map and what scripts will meet, one file a sub-command.

mod asking;
mod build;
mod check;
mod export;
mod files;
mod resolve;

use std::process::ExitCode;

/// Make the identity map, and find out what scripts will meet
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Join the exports of a migration into an identity map; asks nobody, changes nothing
    Build(build::Args),
    /// Tell what scripts will meet: every name of the map, or those that scripts hold, through every source
    Check(check::Args),
    /// Tell what names become, through which source, and at what cost
    Resolve(resolve::Args),
    /// Write what was learned as an identity map
    Export(export::Args),
}

/// 0: clean; 1: findings.
///
/// # Errors
/// Why it could not run.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Build(args) => build::run(&args),
        Command::Check(args) => check::run(args).await,
        Command::Resolve(args) => resolve::run(args).await,
        Command::Export(args) => export::run(&args),
    }
}
