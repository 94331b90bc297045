//! `lab`: how fast the facade is before limits that nobody told it, beside simpler clients and beside what is possible.
//!
//! Everything is measured over loopback, against simulated Clouds in this process, one run after the other. It must never be
//! pointed at a true tenant: whoever wants to know a limit by trying takes it from the people who work there.

mod cloud;
mod direct;
mod facade;
mod run;
mod scenario;
mod table;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use scenario::{Client, Size};

/// Measure the pace before a simulated Cloud's limits, beside that of simpler clients
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Name the scenarios and run none
    #[arg(long)]
    list: bool,
    /// Only this scenario, or those below this name (repeatable)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only this client: facade, naive, fixed or serial (repeatable)
    #[arg(long, value_name = "NAME", value_parser = ["facade", "naive", "fixed", "serial"])]
    client: Vec<String>,
    /// Fewer names, shorter times
    #[arg(long)]
    quick: bool,
    /// How long the outage lasts; the facade's timeouts are scaled to it [default: 30, or 3 with --quick]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    outage_s: Option<u64>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Settings of the facade that is measured, instead of the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the scenarios and prints what came of them. A finding is a name that the facade lost.
///
/// # Errors
/// A name that no scenario has, settings that cannot be used, a machine without free ports.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let outage = args.outage_s.unwrap_or(if args.quick { 3 } else { 30 });
    let all = scenario::all(Size {
        is_quick: args.quick,
        outage: Duration::from_secs(outage),
    });
    for only in &args.only {
        anyhow::ensure!(
            all.iter().any(|scenario| scenario.is_meant_by(only)),
            "--only {only}: no scenario has this name; --list tells those that there are"
        );
    }
    let meant = |name: &scenario::Scenario| args.only.is_empty() || args.only.iter().any(|only| name.is_meant_by(only));
    let chosen: Vec<_> = all.into_iter().filter(meant).collect();
    if args.list {
        let names: String = chosen.iter().map(|scenario| format!("{}\n", scenario.name)).collect();
        print(&names)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for scenario in &chosen {
        let wanted = |client: &&Client| args.client.is_empty() || args.client.iter().any(|name| name == client.name());
        for client in scenario.clients.iter().filter(wanted) {
            let row = run::run(scenario, *client, args.config.as_deref())
                .await
                .with_context(|| format!("{} {}", scenario.name, client.name()))?;
            // The table comes at the end; until then this is the sign of life.
            eprintln!("{} {}: {:.1} s", row.scenario, client.name(), row.wall);
            rows.push(row);
        }
    }
    anyhow::ensure!(
        !rows.is_empty(),
        "--client: no such client has a part in these scenarios"
    );
    if args.json {
        print(&format!("{}\n", table::json(&rows)))?;
    } else {
        print(&table::text(&rows))?;
    }
    let has_lost = rows.iter().any(|row| row.client == Client::Facade && row.lost > 0);
    Ok(if has_lost { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("standard output is closed")
}
