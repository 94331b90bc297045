//! `audit`: verify, read and renew the audit; the first two also while a facade writes it.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use crate::audit::{self, Entry, Expected, Head};
use crate::model::NameKey;
use crate::server;
use crate::settings::Settings;
use crate::store::StateLock;

/// Damages that are told one by one; the rest is counted.
const MOST_TOLD: u64 = 100;

/// Verify and read the audit
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Hold every line against the chain; works beside a running facade. Exits 0 (good), 1 (damaged), 2 (could not run)
    Verify(Verify),
    /// Print the lines about somebody or something, oldest first
    Show(Show),
    /// Set a damaged audit aside and begin another behind it, while no facade runs
    Renew(Renew),
}

/// Where the audit is.
#[derive(clap::Args, Debug)]
pub(super) struct Place {
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The state directory [default: as the settings say]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state_dir: Option<PathBuf>,
}

impl Place {
    pub(super) fn dir(&self) -> anyhow::Result<PathBuf> {
        Ok(match &self.state_dir {
            Some(dir) => dir.clone(),
            None => Settings::load(self.config.as_deref(), "", None)?.state_dir,
        })
    }
}

#[derive(clap::Args, Debug)]
struct Verify {
    #[command(flatten)]
    place: Place,
    /// A head that was kept elsewhere: its line must be there, with this mac (12 digits or more) [default: the one that the
    /// journal in the same directory keeps]
    #[arg(long, value_name = "SEQ:MAC")]
    head: Option<Expected>,
    /// Files before this line were taken away on purpose
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
}

#[derive(clap::Args, Debug)]
struct Show {
    #[command(flatten)]
    place: Place,
    /// Only lines about this name (ignoring case) or account id, or of this caller
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only lines about this group (ignoring case), or the group of this id
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only lines since then: 2027-01-31 (UTC), 2027-01-31T12:00:00Z, or a time ago: 30m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Only lines of the operation with this id (`X-Facade-Report`)
    #[arg(long, value_name = "ID")]
    operation: Option<String>,
    /// The lines as they stand in the files
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct Renew {
    #[command(flatten)]
    place: Place,
    /// The head behind which it goes on, as the facade told it [default: the last line that can be read]
    #[arg(long, value_name = "SEQ:MAC")]
    head: Option<Head>,
}

/// Runs the sub-command.
///
/// # Errors
/// Why it could not run.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Verify(args) => verify(&args),
        Command::Show(args) => show(&args),
        Command::Renew(args) => renew(&args),
    }
}

fn verify(args: &Verify) -> anyhow::Result<ExitCode> {
    let dir = args.place.dir()?;
    // Read first: a running facade writes the line before it keeps the head.
    let head = args.head.clone().or_else(|| {
        let kept = server::kept_head(&dir).unwrap_or_else(|why| {
            eprintln!("the head that the journal keeps is not known: {why}");
            None
        });
        kept.map(Expected::from)
    });
    let mut damages = 0_u64;
    let walked = audit::verify(&dir, head.as_ref(), args.from, |damage| {
        damages += 1;
        if damages <= MOST_TOLD {
            say!("DAMAGED  {damage}");
        }
    })?;
    if damages > MOST_TOLD {
        say!("DAMAGED  and {} more", damages - MOST_TOLD);
    }
    say!("{} lines in {} files of {}", walked.lines, walked.files, dir.display());
    if walked.first_seq > 1 {
        let why = if walked.is_renewed {
            "the audit was renewed there"
        } else {
            "older files are gone"
        };
        say!("verified from seq {} on: {why}", walked.first_seq);
    }
    if !walked.tail.torn.is_empty() {
        say!("behind the last line stands the beginning of another: it is being written, or its process was ended");
    }
    match &head {
        Some(head) if !walked.is_compared => say!("the head {head} is older than the oldest line: not compared"),
        Some(_) => {}
        None => say!("no head to compare with (--head, or a journal beside it): a cut end would not show"),
    }
    say!("head {}", walked.head);
    if damages > 0 {
        say!("damaged: {damages}");
        return Ok(ExitCode::FAILURE);
    }
    say!("good");
    Ok(ExitCode::SUCCESS)
}

/// The moment that `text` names, as a date, an instant, or a time ago.
fn since(text: &str) -> Result<Timestamp, String> {
    let fault = || format!("{text:?} is no time: 2027-01-31, 2027-01-31T12:00:00Z, 30m, 2h, 3d");
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && let Ok(day) = date.to_zoned(jiff::tz::TimeZone::UTC)
    {
        return Ok(day.timestamp());
    }
    let seconds = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| {
            text.strip_suffix(unit)?
                .parse::<u32>()
                .ok()
                .map(|n| i64::from(n) * seconds)
        })
        .ok_or_else(fault)?;
    Timestamp::now()
        .checked_sub(jiff::SignedDuration::from_secs(seconds))
        .map_err(|_| fault())
}

impl Show {
    fn wants(&self, entry: &Entry) -> bool {
        let names_user = |user: &String| {
            let name = entry
                .name
                .as_deref()
                .is_some_and(|name| NameKey::same(name.trim(), user));
            name || entry.account.as_ref() == Some(user) || NameKey::same(&entry.caller, user)
        };
        let names_group = |group: &String| NameKey::same(&entry.group, group) || entry.group_id.as_ref() == Some(group);
        let is_since = |since: &Timestamp| entry.time.parse::<Timestamp>().is_ok_and(|time| time >= *since);
        // Half a line may be about anybody.
        let is_meant = entry.torn.is_some()
            || (self.user.as_ref().is_none_or(names_user)
                && self.group.as_ref().is_none_or(names_group)
                && (self.operation.is_none() || entry.operation_id == self.operation));
        is_meant && self.since.as_ref().is_none_or(is_since)
    }
}

/// One line for people. Names are the callers': whatever would move a terminal's cursor is escaped.
fn readable(entry: &Entry) -> String {
    let plain = |text: &str| text.replace(|c: char| c.is_control(), "\u{fffd}");
    let mut line = format!("{} ", entry.time);
    // Writing into a String cannot fail.
    let _ = match &entry.torn {
        Some(torn) => write!(line, "#{} half a line was found: {}", entry.seq, plain(torn)),
        None => write!(
            line,
            "#{} {} {} in {:?}: {}{} {}{}{} [operation {}, request {}]",
            entry.seq,
            plain(&entry.caller),
            entry.operation,
            plain(&entry.group),
            entry
                .name
                .as_ref()
                .map_or("(the whole call)".to_owned(), |name| format!("{:?}", plain(name))),
            entry
                .account
                .as_ref()
                .map(|id| format!(" ({})", plain(id)))
                .unwrap_or_default(),
            entry.result,
            entry
                .reason
                .as_ref()
                .map(|reason| format!(" {}", plain(reason)))
                .unwrap_or_default(),
            if entry.recovered {
                ", found out after a restart"
            } else {
                ""
            },
            entry.operation_id.as_deref().unwrap_or("none"),
            entry.request_id,
        ),
    };
    line
}

fn show(args: &Show) -> anyhow::Result<ExitCode> {
    let dir = args.place.dir()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let mut unreadable = 0_u64;
    let in_place = audit::each_line(&dir, |line| {
        let Some(entry) = Entry::parse(line) else {
            unreadable += u64::from(!line.is_empty());
            return ControlFlow::Continue(());
        };
        if !args.wants(&entry) {
            return ControlFlow::Continue(());
        }
        written = if args.json {
            out.write_all(line).and_then(|()| out.write_all(b"\n"))
        } else {
            writeln!(out, "{}", readable(&entry))
        };
        if written.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    match written.and_then(|()| out.flush()) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        other => other.context("standard output")?,
    }
    if unreadable > 0 {
        eprintln!("{unreadable} lines cannot be read");
    }
    if unreadable > 0 || !in_place {
        eprintln!("not everything stands as it was written: `extender-facade audit verify` tells");
    }
    Ok(ExitCode::SUCCESS)
}

fn renew(args: &Renew) -> anyhow::Result<ExitCode> {
    let dir = args.place.dir()?;
    if !dir.is_dir() {
        bail!("{} is not there", dir.display());
    }
    let _lock = StateLock::take(&dir)?;
    let head = match args.head {
        Some(head) => head,
        None => audit::last_readable(&dir)?,
    };
    let aside = audit::renew(&dir, head)?;
    say!("the audit so far is in {}", aside.display());
    say!("the next line is seq {}, behind {head}", head.seq + 1);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_an_instant_or_a_time_ago() {
        assert_eq!(since("2027-01-31").unwrap(), since("2027-01-31T00:00:00Z").unwrap());
        assert_eq!(
            since("2027-01-31T02:00:00+02:00").unwrap(),
            since("2027-01-31").unwrap()
        );
        let ago = |text| {
            let then = since(text).unwrap();
            Timestamp::now().duration_since(then).as_secs()
        };
        for (text, expected) in [
            ("90s", 90),
            ("30m", 1800),
            ("2h", 7200),
            ("3d", 259_200),
            ("1w", 604_800),
        ] {
            assert!((expected..expected + 60).contains(&ago(text)), "{text}");
        }
        for text in [
            "",
            "h",
            "2",
            "-2h",
            "2 h",
            "2y",
            "yesterday",
            "99999999999d",
            "31.01.2027",
        ] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_readable_line_moves_no_cursor() {
        let line = r#"{"time":"t","caller":"\u001b[2Jx","operation":"add_members","group":"a\nb","name":"\u0007","result":"done"}"#;
        let text = readable(&Entry::parse(line.as_bytes()).unwrap());
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
