//! `identities export`: what was learned, as an identity map of its own.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::files;
use crate::model::{Source, Standing};
use crate::settings::{Link, Settings};
use crate::store::{Error, Learned, ReadOnly};

/// Write what was learned as an identity map; works beside a running facade
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it is written; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Write JSON, one object a line, with the date of each answer; nothing is left out
    #[arg(long)]
    json: bool,
    /// Leave nothing out: neither what is too old to be believed, nor what sources said that are not asked any more, nor
    /// accounts that were switched off when somebody looked
    #[arg(long)]
    all: bool,
    /// Write over a file that exists already
    #[arg(long)]
    force: bool,
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What was learned is true for a time, and a map until it is changed: what is not believed now does not go into one.
#[derive(Default)]
struct LeftOut {
    old: u64,
    unasked: u64,
    switched_off: u64,
}

/// What goes into a map.
struct Choice {
    /// The moment before which an answer is too old, in epoch milliseconds.
    since: i64,
    sources: Vec<Link>,
}

/// How far apart two readings of a clock that is being set may be.
const CLOCK_MS: i64 = 60_000;

impl Choice {
    fn new(settings: &Settings, now: i64) -> Self {
        let days = i64::try_from(settings.identity.learned_max_age_days).unwrap_or(i64::MAX);
        Self {
            since: now.saturating_sub(days.saturating_mul(86_400_000)),
            sources: settings.identity.sources.clone(),
        }
    }

    /// Whether the answer goes into the map; if not, why it is left out is counted.
    fn takes(&self, learned: &Learned, now: i64, left_out: &mut LeftOut) -> bool {
        let link = match learned.source {
            Source::Map => Link::Map,
            Source::AccountId => Link::AccountId,
            Source::Members => Link::Members,
            Source::Admin => Link::Admin,
            Source::Scim => Link::Scim,
            Source::Jira => Link::Jira,
        };
        // What was said at a time that has not come was said nobody knows when.
        let is_old = !(self.since..=now.saturating_add(CLOCK_MS)).contains(&learned.learned_at);
        let why = if is_old {
            &mut left_out.old
        } else if !self.sources.contains(&link) {
            &mut left_out.unasked
        } else if learned.standing == Standing::Deactivated {
            &mut left_out.switched_off
        } else {
            return true;
        };
        *why += 1;
        false
    }
}

impl LeftOut {
    fn tell(&self) {
        let reasons = [
            (self.old, "older than identity.learned_max_age_days"),
            (self.unasked, "of sources that are not in identity.sources"),
            (
                self.switched_off,
                "switched off when they were looked up, and perhaps not any more",
            ),
        ];
        for (answers, reason) in reasons.iter().filter(|(answers, _)| *answers > 0) {
            eprintln!("{answers} answers were left out: {reason} (--all keeps them)");
        }
    }
}

/// Writes what was learned, in order of name.
///
/// # Errors
/// No store, one that cannot be read, or a file that cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(args.config.as_deref(), "", None)?;
    let store = ReadOnly::open(&settings.state_dir)?;
    let to_stdout = args.out.as_os_str() == "-";
    if !to_stdout {
        files::check_targets(&[&args.out], &[], args.force)?;
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let choice = Choice::new(&settings, now);
    let mut left_out = LeftOut::default();
    let mut write = |to: &mut dyn io::Write| {
        if args.json {
            write_json(&store, to)
        } else {
            write_map(&store, to, |learned| {
                args.all || choice.takes(learned, now, &mut left_out)
            })
        }
    };
    if to_stdout {
        match write(&mut io::stdout().lock()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.context("cannot print")?,
        }
    } else {
        files::write_whole(&args.out, args.force, write)?;
    }
    left_out.tell();
    Ok(ExitCode::SUCCESS)
}

fn write_map(store: &ReadOnly, to: &mut dyn io::Write, mut takes: impl FnMut(&Learned) -> bool) -> io::Result<()> {
    let mut map = csv::Writer::from_writer(to);
    map.write_record(["username", "email", "account_id", "status", "source"])?;
    store.for_each(|learned| {
        if !takes(&learned) {
            return Ok(());
        }
        let name = learned.name.as_str();
        let (username, email) = if name.contains('@') { ("", name) } else { (name, "") };
        let status = match learned.standing {
            Standing::Active => "",
            other => other.as_str(),
        };
        let source = learned.source.as_str();
        let row = [username, email, learned.account.as_str(), status, source];
        map.write_record(row).map_err(Fault::from)
    })?;
    map.flush()
}

fn write_json(store: &ReadOnly, to: &mut dyn io::Write) -> io::Result<()> {
    store.for_each(|learned| {
        let at = jiff::Timestamp::from_millisecond(learned.learned_at).ok();
        let row = json!({
            "name": learned.name.as_str(),
            "account_id": learned.account.as_str(),
            "standing": learned.standing.as_str(),
            "source": learned.source.as_str(),
            "learned_at": at.map(|at| at.to_string()),
        });
        writeln!(to, "{row}").map_err(Fault)
    })?;
    Ok(())
}

/// What stops an export.
struct Fault(io::Error);

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(io::Error::other(error.to_string()))
    }
}

impl From<csv::Error> for Fault {
    fn from(error: csv::Error) -> Self {
        Self(match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, NameKey};

    #[test]
    fn what_is_not_believed_now_is_not_made_into_a_lasting_truth() {
        const DAY: i64 = 86_400_000;
        let now = 100 * DAY;
        let choice = Choice {
            since: now - 30 * DAY,
            sources: vec![Link::Map, Link::Admin],
        };
        let learned = |source, standing, days: i64| Learned {
            name: NameKey::of("a@example.com"),
            account: AccountId::new("a"),
            source,
            standing,
            learned_at: now - days * DAY,
        };
        let mut left_out = LeftOut::default();
        let mut takes = |learned: &Learned| choice.takes(learned, now, &mut left_out);
        assert!(takes(&learned(Source::Admin, Standing::Active, 30)));
        assert!(takes(&learned(Source::Admin, Standing::App, 0)));
        assert!(!takes(&learned(Source::Admin, Standing::Active, 31)));
        assert!(!takes(&learned(Source::Admin, Standing::Active, -1)));
        assert!(!takes(&learned(Source::Jira, Standing::Active, 0)));
        assert!(!takes(&learned(Source::Admin, Standing::Deactivated, 0)));
        assert_eq!((left_out.old, left_out.unasked, left_out.switched_off), (2, 1, 1));
    }
}
