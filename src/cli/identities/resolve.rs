//! `identities resolve`: what names become, through which source, and at what cost.

use std::io::{self, BufRead as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::asking::{AT_ONCE, Asking};
use super::files;
use crate::directory::identity::{Map, Resolution};
use crate::model::Skip;
use crate::server::Inspector;
use crate::settings::Settings;

/// Tell what names become, and who says so
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names as scripts hold them; `-` reads them from standard input, one a line
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Print JSON, one object a name and one for the cost
    #[arg(long)]
    json: bool,
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// 0: every name is one account; 1: some are not.
///
/// # Errors
/// Faults of the settings, or a source that could not be asked about a name.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(args.config.as_deref(), "", None)?;
    crate::cli::start_log(&settings.log)?;
    let names = names(&args.names)?;
    let inspector = Inspector::new(settings)?;
    tell_apart(&inspector);
    let told = tell(&names, args.json, &inspector).await;
    let kept = inspector.finish().await.context("what was learned is lost");
    let (failed, unresolved) = told?;
    kept?;
    anyhow::ensure!(
        failed == 0,
        "nothing can be said of {failed} names, because a source could not be asked"
    );
    Ok(if unresolved == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says that what is learned is not kept, where it is not.
pub fn tell_apart(inspector: &Inspector) {
    if let Some(why) = inspector.apart() {
        eprintln!("what was learned before is not used, and what is learned now is not kept: {why}");
    }
}

/// Prints what the names mean, part after part: how many could not be told, and how many are not one account.
async fn tell(names: &[String], as_objects: bool, inspector: &Inspector) -> anyhow::Result<(usize, usize)> {
    let map = inspector.map();
    let (mut failed, mut unresolved) = (0, 0);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(40);
    let mut asking = Asking::new(inspector);
    for part in names.chunks(AT_ONCE) {
        let mut text = String::new();
        for (name, resolution) in part.iter().zip(asking.explain(part).await?) {
            failed += usize::from(resolution.failed.is_some());
            unresolved += usize::from(resolution.meaning.is_err());
            if as_objects {
                text.push_str(&format!("{}\n", as_json(name, &resolution, &map)));
            } else {
                text.push_str(&format!(
                    "{:<width$}  {}\n",
                    printable(name),
                    told(name, &resolution, &map)
                ));
            }
        }
        files::print(&mut io::stdout(), &text)?;
    }
    let cost = inspector.cost();
    let text = if as_objects {
        let calls: serde_json::Map<String, Value> = cost
            .iter()
            .map(|(operation, calls)| ((*operation).to_owned(), json!(calls)))
            .collect();
        format!("{}\n", json!({ "calls": calls }))
    } else {
        format!("\n{}\n", told_cost(&cost))
    };
    files::print(&mut io::stdout(), &text)?;
    Ok((failed, unresolved))
}

fn names(given: &[String]) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for name in given {
        if name == "-" {
            for line in io::stdin().lock().lines() {
                let line = line.context("standard input")?;
                if !line.trim().is_empty() {
                    names.push(line.trim().to_owned());
                }
            }
        } else {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// The cost in one line.
pub fn told_cost(cost: &[(&str, u64)]) -> String {
    if cost.is_empty() {
        return "no request to Cloud".to_owned();
    }
    let parts: Vec<String> = cost
        .iter()
        .map(|(operation, calls)| format!("{operation} {calls}"))
        .collect();
    format!("requests to Cloud: {}", parts.join(", "))
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Whom a name could mean: the accounts and who names them, and the rows of the map that name no account.
pub fn candidates(name: &str, resolution: &Resolution, map: &Map) -> Vec<String> {
    let claims = resolution.claims.iter();
    let mut all: Vec<String> = claims
        .map(|claim| format!("{} ({})", claim.account, claim.source.as_str()))
        .collect();
    if resolution.meaning == Err(Skip::Ambiguous) {
        let rows = map.candidates(name).into_iter().filter(|row| row.account.is_none());
        all.extend(rows.map(|row| format!("{} (map, line {})", row.email.unwrap_or("nobody"), row.line)));
    }
    all.dedup();
    all
}

fn told(name: &str, resolution: &Resolution, map: &Map) -> String {
    let sources = |wanted: Option<&str>| {
        let mut all: Vec<&str> = resolution
            .claims
            .iter()
            .filter(|claim| wanted.is_none_or(|wanted| claim.account.as_str() == wanted))
            .map(|claim| claim.source.as_str())
            .collect();
        all.dedup();
        all.join(", ")
    };
    match (&resolution.failed, &resolution.meaning) {
        (Some(error), _) => format!("cannot be told: {error}"),
        (None, Ok((account, standing))) => {
            let through = sources(Some(account.as_str()));
            match standing.objection() {
                None => format!("{account}  ({through})"),
                Some(objection) => format!("{account}  ({through}; not added: {})", objection.as_str()),
            }
        }
        (None, Err(Skip::Ambiguous)) => {
            format!("ambiguous: {}", candidates(name, resolution, map).join(", "))
        }
        (None, Err(reason)) => reason.as_str().to_owned(),
    }
}

fn as_json(name: &str, resolution: &Resolution, map: &Map) -> Value {
    let claims: Vec<Value> = resolution
        .claims
        .iter()
        .map(|claim| {
            let learned_at = jiff::Timestamp::from_millisecond(claim.learned_at).ok();
            json!({
                "account_id": claim.account.as_str(),
                "source": claim.source.as_str(),
                "standing": claim.standing.as_str(),
                "said_at": learned_at.map(|at| at.to_string()),
            })
        })
        .collect();
    let (account, standing, reason) = match &resolution.meaning {
        Ok((account, standing)) => (Some(account.as_str()), Some(standing.as_str()), None),
        Err(reason) => (None, None, Some(reason.as_str())),
    };
    match &resolution.failed {
        Some(error) => json!({ "name": name, "failed": error.to_string() }),
        None => json!({
            "name": name,
            "account_id": account,
            "standing": standing,
            "reason": reason,
            "claims": claims,
            "candidates": if resolution.meaning.is_err() { candidates(name, resolution, map) } else { Vec::new() },
        }),
    }
}
