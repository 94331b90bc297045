//! `identities`: the identity map and what scripts will meet, one file a sub-command.

mod build;
mod files;

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
}

/// 0: clean; 1: findings.
///
/// # Errors
/// Why it could not run.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Build(args) => build::run(&args),
    }
}
