//! `identities build`: joins the exports of a migration into an identity map, and tells what a person must decide.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::files::{self, Form};
use crate::cli::progress;
use crate::migration::columns::Role;
use crate::migration::harvest::{self, Harvest, What};
use crate::migration::report::{Report, Source};
use crate::migration::sources::Inputs;
use crate::migration::{join, map_file};

/// Join the exports of a migration into an identity map
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The Migration Assistant's user list (UserKey, UserName, ErrorType or Type, OldEmail, NewEmail, Tombstone)
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    migration_users: Vec<PathBuf>,
    /// The administration site's user export (User id, User name, email, User status)
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    site_users: Vec<PathBuf>,
    /// Any CSV with usernames and e-mail addresses, such as an export of LDAP
    #[arg(long, value_name = "FILE", num_args = 1..)]
    directory: Vec<PathBuf>,
    /// Scripts, logs and lists whose users' names are looked up in the map
    #[arg(long, value_name = "FILE", num_args = 1..)]
    names: Vec<PathBuf>,
    /// Where the map is written; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write the report here as well; .html, .json or .txt
    #[arg(long, value_name = "FILE", num_args = 1..)]
    report: Vec<PathBuf>,
    /// Print the report as JSON, with every row
    #[arg(long)]
    json: bool,
    /// Write over files that exist already
    #[arg(long)]
    force: bool,
}

/// 0: clean; 1: findings, and the map is written.
///
/// # Errors
/// A file that cannot be read, understood or written; nothing is written if it is one to read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let given: Vec<(Role, &Path)> = [
        (Role::MigrationUsers, &args.migration_users),
        (Role::SiteUsers, &args.site_users),
        (Role::Directory, &args.directory),
    ]
    .into_iter()
    .flat_map(|(role, paths)| paths.iter().map(move |path| (role, path.as_path())))
    .collect();
    let forms: Vec<(Form, &Path)> = args
        .report
        .iter()
        .map(|path| Ok((Form::of(path)?, path.as_path())))
        .collect::<anyhow::Result<_>>()?;
    let to_stdout = args.out.as_os_str() == "-";
    let exports: Vec<&Path> = given.iter().map(|(_, path)| *path).collect();
    let scripts: Vec<&Path> = args.names.iter().map(PathBuf::as_path).collect();
    let mut targets: Vec<&Path> = forms.iter().map(|(_, path)| *path).collect();
    if !to_stdout {
        targets.push(&args.out);
    }
    files::check_targets(&targets, &[exports.as_slice(), scripts.as_slice()].concat(), args.force)?;

    let inputs = read(&given, &exports)?;
    let harvests = harvests(&scripts)?;
    let mut joined = join::join(&inputs);
    let mut sources = join::sources(&inputs);
    if !harvests.is_empty() {
        joined.sections.push(harvest::unresolved(&harvests, &joined.identities));
        sources.extend(harvests.iter().map(as_source));
    }
    let report = Report::new(
        "Identity map",
        jiff::Timestamp::now(),
        sources,
        joined.summary,
        joined.sections,
    );

    for (form, path) in forms {
        let text = form.render(&report);
        files::write_whole(path, args.force, |to| to.write_all(text.as_bytes()))?;
    }
    let printed = if args.json { Form::Json } else { Form::Text }.render(&report);
    if to_stdout {
        let mut map = Vec::new();
        map_file::write(&joined.identities, &mut map)?;
        io::Write::write_all(&mut io::stdout(), &map).context("cannot print the map")?;
        files::print(&mut io::stderr(), &printed)?;
    } else {
        files::write_whole(&args.out, args.force, |to| map_file::write(&joined.identities, to))?;
        files::print(&mut io::stdout(), &printed)?;
    }
    Ok(if report.findings() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(given: &[(Role, &Path)], paths: &[&Path]) -> anyhow::Result<Inputs> {
    let sizes = paths
        .iter()
        .filter_map(|path| Some(std::fs::metadata(path).ok()?.len()));
    let bar = progress::bytes(sizes.sum());
    let mut inputs = Inputs::default();
    let mut done = 0;
    for ((role, path), name) in given.iter().zip(files::short_names(paths)) {
        bar.set_message(name.clone());
        let bytes = files::read(path)?;
        let size = bytes.len() as u64;
        inputs
            .read(*role, &name, bytes, &mut |at| bar.set_position(done + at))
            .map_err(|fault| anyhow::anyhow!("{} {fault}", path.display()))?;
        done += size;
    }
    bar.finish_and_clear();
    Ok(inputs)
}

fn harvests(paths: &[&Path]) -> anyhow::Result<Vec<(String, Harvest)>> {
    paths
        .iter()
        .zip(files::short_names(paths))
        .map(|(path, name)| {
            let harvest = harvest::harvest(&name, &files::read(path)?);
            Ok((name, harvest))
        })
        .collect()
}

fn as_source((name, harvest): &(String, Harvest)) -> Source {
    let users = harvest.found.iter().filter(|found| found.what == What::User).count();
    let mut notes = vec![format!(
        "{users} names of users, {} of groups",
        harvest.found.len() - users
    )];
    if harvest.truncated {
        notes.push(format!(
            "it holds more than {} names; the others were not looked up",
            harvest::MAX_NAMES
        ));
    }
    Source {
        role: "names".to_owned(),
        name: name.clone(),
        format: "text".to_owned(),
        rows: harvest.found.len() as u64,
        notes,
    }
}
