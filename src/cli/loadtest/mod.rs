//! `loadtest`: what a facade does under a load that does not wait for it, told as latencies, errors and calls to Cloud.
//!
//! Requests arrive by a schedule that is made beforehand, and a latency counts from the moment a request was meant to arrive:
//! a server that stalls is asked on, and what had to wait meanwhile is seen (no coordinated omission). It is for a machine of
//! one's own, and refuses addresses that look like Atlassian's Cloud.

mod address;
mod answer;
mod bed;
mod behind;
mod changes;
mod drive;
mod memory;
mod mix;
mod orders;
pub mod part;
mod record;
mod report;
mod schedule;
mod send;
mod thresholds;
mod world;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use parking_lot::Mutex;

use bed::Bed;
use changes::{Change, Ended, Ledger};
use mix::Mix;
use orders::{Details, Orders, Page};
use report::{Changes, Summary};
use schedule::{Arrivals, Plan};
use send::{Connections, Order, Target};
use thresholds::{Thresholds, percent, positive};

use super::progress;
use crate::server::Stop;

/// Names of one call that takes back.
const NAMES_A_CALL: usize = 100;
/// How often that is tried, and how long apart.
const TRIES: u32 = 5;
const APART: Duration = Duration::from_secs(1);

/// What is tested, how, and what is made of it
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    given: bed::Given,
    #[command(flatten)]
    world: world::Shape,
    #[command(flatten)]
    thresholds: Thresholds,
    #[command(flatten)]
    reports: Reports,
}

#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "The load")]
struct LoadArgs {
    /// Requests a second of the steady phase
    #[arg(long, value_name = "R", default_value_t = 100.0, value_parser = rate)]
    rate: f64,
    /// Seconds in which the rate grows from nothing
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    ramp: f64,
    /// Seconds for which the rate is held
    #[arg(long, value_name = "S", default_value_t = 30.0, value_parser = seconds)]
    steady: f64,
    /// How requests follow one another
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    arrivals: Arrivals,
    /// The six calls and their weights, as `getUsers=90,getGroups=5,addUsers=2,removeUsers=2,addGroups=.5,removeGroups=.5`
    /// [default: this, or with --target getUsers=95,getGroups=5]
    #[arg(long, value_name = "CALL=WEIGHT,…")]
    mix: Option<Mix>,
    /// What getUsers asks of each member
    #[arg(long, value_enum, default_value_t = Details::Basic)]
    details: Details,
    /// getUsers with this startAt
    #[arg(long, value_name = "N")]
    start_at: Option<u32>,
    /// getUsers with this maxResults
    #[arg(long, value_name = "N")]
    max_results: Option<u32>,
    /// Groups that are read besides the first [default: none, or with --target all that are named]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=20_000))]
    distinct_groups: Option<u32>,
    /// Which part of the getUsers goes to these, evenly, in percent [default: each group has the same]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    distinct_share: Option<f64>,
    /// Names in each addUsers and removeUsers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    names_per_call: u32,
    /// Whether connections are used again
    #[arg(long, value_enum, default_value_t = Connections::Kept)]
    connections: Connections,
    /// Accept answers in gzip
    #[arg(long)]
    compressed: bool,
    /// Requests under way at the most; what arrives beyond is the error not_begun
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    max_in_flight: usize,
    /// Seconds after which a request is given up
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout_s: u64,
    /// Where every chance comes from: the same seed gives the same load
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Reports")]
struct Reports {
    /// As JSON, into this file, or `-`: to standard output, instead of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// As a page with plots that needs nothing else, into this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// More is beyond any machine, and beyond what a schedule can tell apart.
fn rate(text: &str) -> Result<f64, String> {
    positive(text).and_then(|rate| {
        if rate <= 1_000_000.0 {
            Ok(rate)
        } else {
            Err("a million a second are enough".to_owned())
        }
    })
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=604_800.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds from 0 to a week are expected".to_owned()),
    }
}

/// Runs the test and tells of it.
///
/// # Errors
/// The target is refused or cannot be reached, something that is needed is missing, a report cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let plan = Plan {
        rate: args.load.rate,
        ramp: Duration::from_secs_f64(args.load.ramp),
        steady: Duration::from_secs_f64(args.load.steady),
        arrivals: args.load.arrivals,
    };
    ensure!(
        !plan.whole().is_zero(),
        "--ramp and --steady: the test has no time at all"
    );
    let mut bed = Bed::new(&args).await?;
    // Before the load: after an hour it would be late to find out.
    let json = open(args.reports.json.as_deref().filter(|path| *path != Path::new("-")))?;
    let html = open(args.reports.html.as_deref())?;
    let ran = test(&args, plan, &mut bed).await;
    // Also where the test could not be ended.
    if let Some(world) = bed.world.take() {
        world.stop().await?;
    }
    let summary = ran?;
    let rendered = format!("{:#}\n", report::json::render(&summary));
    for (file, text) in [(json, &rendered), (html, &report::html::render(&summary))] {
        if let Some((path, mut file)) = file {
            file.write_all(text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    let is_json = args.reports.json.as_deref() == Some(Path::new("-"));
    let text = if is_json {
        rendered
    } else {
        report::text::render(&summary)
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("standard output is closed")?;
    Ok(if summary.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn open(path: Option<&Path>) -> anyhow::Result<Option<(PathBuf, File)>> {
    let open = |path: &Path| {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok((path.to_owned(), file))
    };
    path.map(open).transpose()
}

/// The load and what is seen of it; takes back at the end what it changed.
async fn test(args: &Args, plan: Plan, bed: &mut Bed) -> anyhow::Result<Summary> {
    let has_changes = bed.mix.changes_something();
    let ledger = Ledger::new(std::mem::take(&mut bed.grounds), &bed::run_word()?);
    let ledger = Arc::new(Mutex::new(ledger));
    let page = Page {
        details: args.load.details,
        start_at: args.load.start_at,
        max_results: args.load.max_results,
    };
    let orders = Orders::new(&bed.target, args.load.seed, bed.mix.clone(), &bed.groups, page)
        .sharing(args.load.distinct_share.map(|percent| percent / 100.0))
        .changing(&ledger, args.load.names_per_call as usize);
    let before = bed.behind.count().await?;
    let stop = Stop::new();
    stop.at_signals();
    let (began, start) = (Timestamp::now(), Instant::now());
    let samples = memory::Samples::default();
    let watched = bed
        .pid
        .map(|pid| tokio::spawn(memory::watch(pid, start, plan.steady, Arc::clone(&samples))));
    let load = drive::Load {
        plan,
        seed: args.load.seed,
        most: args.load.max_in_flight,
        target: bed.target.clone(),
        orders,
        ledger: Arc::clone(&ledger),
    };
    let driven = drive::run(load, start, &stop).await;
    if let Some(watched) = watched {
        watched.abort();
    }
    let mut warnings = Vec::new();
    let after = match bed.behind.count().await {
        Ok(after) => after,
        Err(fault) => {
            warnings.push(format!("the calls to Cloud are not known: {fault:#}"));
            None
        }
    };
    let changes = if has_changes {
        Some(take_back(&bed.patient, &ledger).await)
    } else {
        None
    };
    let (record, ran) = driven?;
    if ran < plan.whole() {
        warnings.push(format!("stopped by a signal after {:.1} s", ran.as_secs_f64()));
    }
    warnings.extend(thresholds::late(&record.steady));
    if bed.pid.is_some() && samples.lock().is_empty() {
        warnings.push("the memory of the process is not told on this system, or there is no such process".to_owned());
    }
    let ramp = plan.ramp.min(ran);
    let samples = std::mem::take(&mut *samples.lock());
    let memory = report::memory(samples, ramp.as_secs_f64(), ran.as_secs_f64());
    let slope = memory.as_ref().and_then(|memory| memory.slope);
    Ok(Summary {
        target: bed.shown.clone(),
        began,
        asked: asked(args, bed),
        phases: report::phases(&record, ramp, ran.saturating_sub(ramp)),
        step: record.step.as_secs_f64(),
        steps: report::steps(&record),
        ramp: ramp.as_secs_f64(),
        whole: ran.as_secs_f64(),
        memory,
        cloud: before.zip(after).map(|(before, after)| behind::since(&before, &after)),
        changes,
        verdicts: args.thresholds.judge(&record.steady, slope),
        warnings,
    })
}

/// Takes out whatever the test put in; what cannot be taken out is told. A signal leaves the rest: whoever does not want to wait
/// is told what it is.
async fn take_back(target: &Target, ledger: &Mutex<Ledger>) -> Changes {
    let removals = ledger.lock().left(NAMES_A_CALL);
    let names: usize = removals.iter().map(|removal| removal.names.len()).sum();
    let bar = progress::counter(names as u64, "taking back");
    let (mut removed_at_the_end, mut left) = (0, Vec::new());
    // The signal that may have ended the load is none of this one's.
    let stop = Stop::new();
    stop.at_signals();
    for removal in removals {
        let (removed, still_in) = tokio::select! {
            biased;
            () = stop.said() => (0, removal.names.clone()),
            ended = take_out(target, &removal) => ended,
        };
        bar.inc(removal.names.len() as u64);
        removed_at_the_end += removed;
        let group = &removal.group;
        left.extend(still_in.into_iter().map(|name| (group.clone(), name)));
    }
    bar.finish_and_clear();
    let ledger = ledger.lock();
    Changes {
        added: ledger.added,
        removed: ledger.removed,
        removed_at_the_end,
        in_vain: ledger.in_vain,
        left,
    }
}

/// How many it took out, and who is still in: all of them where nobody said anything else, though it was tried again.
async fn take_out(target: &Target, removal: &Change) -> (u64, Vec<String>) {
    let order = Order::Change(removal.clone());
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(APART).await;
        }
        if let (_, Some(Ended::Done(done))) = target.send(&order).await {
            let mut skipped = removal.names.clone();
            skipped.retain(|name| !done.contains(name));
            return (
                done.len() as u64,
                still_in(target, removal.group.as_deref(), skipped).await,
            );
        }
    }
    (0, removal.names.clone())
}

/// A name that was skipped may not have been there: who is, is read.
async fn still_in(target: &Target, group: Option<&str>, mut skipped: Vec<String>) -> Vec<String> {
    if skipped.is_empty() {
        return skipped;
    }
    if let Some(group) = group {
        if let Ok(members) = target.members(group).await {
            skipped.retain(|name| members.contains(&name.to_lowercase()));
        }
        return skipped;
    }
    let mut there = Vec::new();
    for name in skipped {
        // A group that is not there cannot be read.
        if target.members(&name).await.is_ok() {
            there.push(name);
        }
    }
    there
}

/// How the test was asked for, as reports show it.
fn asked(args: &Args, bed: &Bed) -> Vec<(&'static str, String)> {
    let load = &args.load;
    let arrivals = match load.arrivals {
        Arrivals::Poisson => "Poisson",
        Arrivals::Constant => "constant",
    };
    let mut asked = vec![
        (
            "load",
            format!(
                "{} requests a second ({arrivals}), ramp {} s, steady {} s, seed {}",
                load.rate, load.ramp, load.steady, load.seed
            ),
        ),
        ("mix", bed.mix.to_string()),
    ];
    let page = [("startAt", load.start_at), ("maxResults", load.max_results)];
    let page: String = page
        .iter()
        .filter_map(|(name, value)| Some(format!(", {name} {}", (*value)?)))
        .collect();
    asked.push((
        "getUsers",
        format!("{}{page}", load.details.flag().unwrap_or("names alone")),
    ));
    let first = bed.groups.first().map_or("none", String::as_str);
    let others = bed.groups.len().saturating_sub(1);
    let share = load.distinct_share.map_or_else(
        || "each as often".to_owned(),
        |percent| format!("{percent} % of the reads to these"),
    );
    asked.push(match others {
        0 => ("groups", first.to_owned()),
        _ => ("groups", format!("{first} and {others} others, {share}")),
    });
    asked.push((
        "requests",
        format!(
            "at most {} under way, {} s each, {} connections{}",
            load.max_in_flight,
            load.timeout_s,
            match load.connections {
                Connections::Kept => "kept",
                Connections::New => "new",
            },
            if load.compressed { ", gzip" } else { "" }
        ),
    ));
    if bed.world.is_some() {
        asked.push(("simulated Cloud", args.world.to_string()));
    }
    asked
}
