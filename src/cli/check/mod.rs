//! `check`: settings, identity map, accounts, and what Cloud says to each credential; one line each, nothing changed.

mod doctor;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;

use self::doctor::Doctor;
use self::report::{Format, Report};
use super::start_log;
use crate::cloud::Ahead;
use crate::server;
use crate::settings::{Mode, Settings};

/// Check settings, identity map, and what Cloud says to the credential
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long Cloud is waited for, in seconds
    #[arg(long, value_name = "S", default_value_t = 20)]
    patience: u64,
    /// One JSON instead of lines
    #[arg(long)]
    json: bool,
}

/// 0: all good; 1: findings.
///
/// # Errors
/// The settings cannot be read at all.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(args.config.as_deref(), "", None)?;
    start_log(&crate::settings::Log {
        filter: "error".to_owned(),
        ..settings.log.clone()
    })?;
    let format = if args.json { Format::Json } else { Format::Text };
    let mut report = Report::new(format);
    let valid = settings.validate();
    let is_valid = valid.is_ok();
    match valid {
        Ok(()) => report.good(
            "settings",
            format_args!("mode {:?}, {}", settings.inbound.mode, settings.cloud.base_url),
        ),
        Err(faults) => report.faults("settings", &faults),
    }
    for told in server::in_the_clear(&settings).into_iter().filter(|_| is_valid) {
        report.warning("settings", told, "use TLS, or a proxy that speaks it");
    }
    match server::load_accounts(&settings) {
        Ok(Some(accounts)) => {
            let (accounts, tokens) = accounts.counts();
            report.good("accounts", format_args!("{accounts} accounts, {tokens} tokens"));
        }
        // Mode `accounts` without a file is a fault of the settings, told above.
        Ok(None) if settings.inbound.mode == Mode::Accounts => {}
        Ok(None) => report.good("accounts", "none needed in this mode"),
        Err(faults) => report.faults("accounts", &faults),
    }
    match server::load_map(&settings) {
        Ok(map) if settings.identity.map_file.is_none() => {
            debug_assert!(map.is_empty());
            let cloud = &settings.cloud;
            let has_others =
                !(cloud.admin.keys().is_empty() && cloud.scim.keys().is_empty() && cloud.jira.keys().is_empty());
            if has_others {
                report.warning(
                    "map",
                    "identity.map_file is not set: only what the other sources know means anything, and no username does",
                    "make one with `extender-facade identities build`, where scripts know people by usernames",
                );
            } else {
                report.bad(
                    "map",
                    "identity.map_file is not set: no username means anything, only confirmed account ids do",
                );
            }
        }
        Ok(map) => {
            report.good(
                "map",
                format_args!("{} accounts, {} ambiguous names (refused)", map.len(), map.ambiguous()),
            );
        }
        Err(faults) => report.faults("map", &faults),
    }
    for sentence in server::exposed_files(&settings, args.config.as_deref()) {
        report.warning(
            "files",
            sentence,
            "leave it to its owner, where it is not a container's own",
        );
    }
    check_files(&settings, &mut report)?;
    check_certificate(&settings, &mut report);
    // No secret goes to an address that is at fault, which is told above.
    if settings.cloud.faults().is_empty() {
        let doctor = Doctor::new(&settings, Duration::from_secs(args.patience));
        if let Err(fault) = doctor.examine(&mut report).await {
            report.bad("cloud", fault);
        }
    }
    Ok(if report.finish() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The end of the server's certificate, where there is one; that it cannot be read is told with the other files.
fn check_certificate(settings: &Settings, report: &mut Report) {
    let Some(ends) = server::certificate_ends(settings) else {
        return;
    };
    let mend = "put a new one in its place; no restart is needed";
    match Ahead::of(Some(ends), Timestamp::now()) {
        Ahead::Over => {
            let text = format_args!("inbound.tls_cert_file ended at {ends}, and clients refuse it");
            report.mend("certificate", text, "expired", mend);
        }
        Ahead::Days(days) => {
            let text = format_args!("inbound.tls_cert_file ends at {ends}, in {days} days");
            report.warning("certificate", text, mend);
        }
        Ahead::Unknown | Ahead::Long => {
            report.good("certificate", format_args!("inbound.tls_cert_file ends at {ends}"));
        }
    }
}

/// Tries the files that the settings name. A state directory of somebody else is left alone: what is made in it to try it
/// could not be opened by its owner.
fn check_files(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let foreign = server::Inspector::foreign(&settings.state_dir);
    let elsewhere = tempfile::tempdir()?;
    let tried = match foreign {
        Some(_) => server::check_files(&Settings {
            state_dir: elsewhere.path().join("state"),
            ..settings.clone()
        }),
        None => server::check_files(settings),
    };
    match (tried, foreign) {
        (Err(faults), _) => report.faults("files", &faults),
        (Ok(_), Some(why)) => report.good("state", format_args!("not tried: {why}")),
        (Ok(notes), None) => notes.iter().for_each(|note| report.good("state", note)),
    }
    Ok(())
}
