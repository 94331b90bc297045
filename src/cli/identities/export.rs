//! `identities export`: what was learned, as an identity map of its own.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::files;
use crate::model::Standing;
use crate::settings::Settings;
use crate::store::{Error, ReadOnly};

/// Write what was learned as an identity map; works beside a running facade
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it is written; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Write JSON, one object a line, with the date of each answer
    #[arg(long)]
    json: bool,
    /// Write over a file that exists already
    #[arg(long)]
    force: bool,
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Writes every learned answer, in order of name.
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
    let write = |to: &mut dyn io::Write| {
        if args.json {
            write_json(&store, to)
        } else {
            write_map(&store, to)
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
    Ok(ExitCode::SUCCESS)
}

fn write_map(store: &ReadOnly, to: &mut dyn io::Write) -> io::Result<()> {
    let mut map = csv::Writer::from_writer(to);
    map.write_record(["username", "email", "account_id", "status", "source"])?;
    store.for_each(|learned| {
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
