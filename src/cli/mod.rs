//! The command line, one file a sub-command.

/// A line to standard output. Whoever stopped reading is not told any more: that is no fault.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::cli::say(format_args!($($text)*))
    };
}

mod account;
mod audit;
mod check;
mod credential;
mod demo;
mod healthcheck;
mod identities;
mod lab;
mod loadtest;
mod operations;
pub mod process;
mod progress;
mod rehearsal;
mod serve;
mod simulate;

use std::process::ExitCode;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::settings::{self, LogFormat};

/// Answers the REST API Extender group calls of Confluence Data Center on top of Confluence Cloud
#[derive(clap::Parser, Debug)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Serve legacy scripts
    Serve(serve::Args),
    /// Show the main job: a simulated Cloud and a facade before it, with lines to paste
    Demo(demo::Args),
    /// Stand in for Confluence Cloud
    Simulate(simulate::Args),
    /// Measure the pace before a simulated Cloud's limits, beside that of simpler clients
    Lab(lab::Args),
    /// Put a load on a facade, and tell latencies, errors and calls to Cloud
    ///
    /// Without --target it starts a simulated Cloud and a facade of its own on this machine. Requests arrive by a schedule,
    /// whatever became of those before them, and latencies count from the moment a request was meant to arrive. Never test
    /// a facade before a true tenant: what it asks Cloud is taken from the people who work there.
    ///
    /// Exits 0 (all thresholds met), 1 (one was not, or something could not be taken back), 2 (could not run, or the target
    /// is refused).
    Loadtest(Box<loadtest::Args>),
    /// A process of a load test's own world
    #[command(hide = true)]
    LoadtestPart(loadtest::part::Args),
    /// Check settings, identity map, and what Cloud says to the credential
    Check(check::Args),
    /// Consent to an app of OAuth, and see how the credentials for Cloud stand
    Credential(credential::Args),
    /// Make entries for the accounts file
    Account(account::Args),
    /// Verify and read the audit
    Audit(audit::Args),
    /// List bulk operations, show one's report, take one back
    Operations(operations::Args),
    /// Make the identity map, and find out what scripts will meet
    Identities(identities::Args),
    /// Ask a running facade whether it is alive (for containers)
    Healthcheck(healthcheck::Args),
}

impl Cli {
    /// Runs the sub-command.
    ///
    /// # Errors
    /// Why it could not run.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        process::tell_panics();
        for fault in process::seal() {
            eprintln!("warning: {fault}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        runtime.block_on(async {
            match self.command {
                Command::Serve(args) => serve::run(args).await,
                Command::Demo(args) => demo::run(args).await,
                Command::Simulate(args) => simulate::run(args).await,
                Command::Lab(args) => lab::run(args).await,
                Command::Loadtest(args) => loadtest::run(*args).await,
                Command::LoadtestPart(args) => loadtest::part::run(args).await,
                Command::Check(args) => check::run(args).await,
                Command::Credential(args) => credential::run(args).await,
                Command::Account(args) => account::run(args),
                Command::Audit(args) => audit::run(args),
                Command::Operations(args) => operations::run(args).await,
                Command::Identities(args) => identities::run(args).await,
                Command::Healthcheck(args) => Ok(healthcheck::run(&args)),
            }
        })
    }
}

fn say(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Sends log lines to standard error, as the settings say.
fn start_log(log: &settings::Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).with_context(|| format!("log.filter {:?}", log.filter))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("the log cannot be started: {e}"))
}
