//! `check`: settings, identity map, accounts, and what Cloud says to each credential; one line each, nothing changed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::start_log;
use crate::cloud::{Confluence, Error, Patience};
use crate::directory::identity::Drivers;
use crate::metrics::Metrics;
use crate::model::{AccountId, GroupId, GroupName, RequestId};
use crate::server;
use crate::settings::{Faults, Mode, Settings};

/// Check settings, identity map, and what Cloud says to the credential
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long Cloud is waited for, in seconds
    #[arg(long, value_name = "S", default_value_t = 20)]
    patience: u64,
}

/// Lines so far, and whether any of them was a finding.
#[derive(Default)]
struct Report {
    findings: usize,
}

impl Report {
    fn good(&self, what: &str, text: impl std::fmt::Display) {
        println!("ok    {what:<12} {text}");
    }

    fn bad(&mut self, what: &str, text: impl std::fmt::Display) {
        self.findings += 1;
        println!("FAIL  {what:<12} {text}");
    }

    fn faults(&mut self, what: &str, faults: &Faults) {
        for fault in &faults.0 {
            self.bad(what, fault);
        }
    }
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
    let mut report = Report::default();
    match settings.validate() {
        Ok(()) => report.good(
            "settings",
            format_args!("mode {:?}, {}", settings.inbound.mode, settings.cloud.base_url),
        ),
        Err(faults) => report.faults("settings", &faults),
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
            report.bad(
                "map",
                "identity.map_file is not set: no username means anything, only confirmed account ids do",
            );
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
        report.good("files", format_args!("warning: {sentence}"));
    }
    check_files(&settings, &mut report)?;
    match server::cloud(&settings, &Metrics::new()) {
        // Its fault is one of the settings, told above.
        Err(_) if settings.cloud.site().is_err() => {}
        Ok((client, credential)) => {
            let patience = Duration::from_secs(args.patience);
            let cloud = Confluence::new(Arc::clone(&client), credential);
            ask_cloud(&cloud, &settings, patience, &mut report).await;
            match server::drivers(&settings, &Metrics::new()) {
                Ok(drivers) => ask_sources(&drivers, &settings, patience, &mut report).await,
                Err(faults) => report.faults("sources", &faults),
            }
        }
        Err(faults) => report.faults("cloud", &faults),
    }
    Ok(if report.findings == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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

async fn ask_cloud(cloud: &Confluence, settings: &Settings, patience: Duration, report: &mut Report) {
    let request = RequestId::random();
    let until = || Patience::Until(Instant::now() + patience);
    match cloud.tenant(&request, until()).await {
        Ok(id) => report.good("reach", format_args!("the site answers, cloudId {id}")),
        Err(error) => return report.bad("reach", error),
    }
    if settings.inbound.mode == Mode::Passthrough {
        return report.good("credential", "none is configured: callers bring their own");
    }
    match cloud.current_user(&request, until()).await {
        Ok(user) => report.good(
            "credential",
            format_args!("{} ({})", settings.cloud.email, user.account),
        ),
        Err(error) => return report.bad("credential", error),
    }
    match cloud.list_groups(0, &request, until()).await {
        Err(error) => report.bad("read groups", error),
        Ok(page) => {
            report.good("read groups", format_args!("{} on the first page", page.groups.len()));
            if let Some(group) = page.groups.first() {
                match cloud.members(&group.id, 0, &request, until()).await {
                    Ok(_) => report.good("read members", format_args!("of {}", group.name)),
                    Err(error) => report.bad("read members", error),
                }
            }
        }
    }
    // Taking nobody out of no group changes nothing, and only a site administrator is told so.
    let (group, nobody) = (
        GroupId::new("00000000-0000-0000-0000-000000000000"),
        AccountId::new("000000000000000000000000"),
    );
    match cloud.remove_member(&group, &nobody, &request, until()).await {
        Ok(_) | Err(Error::Rejected { .. }) => report.good("write", "changes are allowed (asked without making one)"),
        Err(error) => report.bad("write", error),
    }
}

/// Asks each source of identity that has a credential one question.
async fn ask_sources(drivers: &Drivers, settings: &Settings, patience: Duration, report: &mut Report) {
    let request = RequestId::random();
    let until = || Patience::Until(Instant::now() + patience);
    let has_any = drivers.admin.is_some() || drivers.scim.is_some() || drivers.jira.is_some();
    if has_any && settings.inbound.mode == Mode::Passthrough {
        return report.bad(
            "sources",
            "callers who bring their own credential see nothing through the facade's keys: leave them out",
        );
    }
    if let Some(admin) = &drivers.admin {
        let owner = [settings.cloud.email.to_lowercase()];
        match admin.with_emails(&owner, &request, until()).await {
            Ok(users) => report.good("admin", format_args!("finds people ({} with cloud.email)", users.len())),
            Err(error) => report.bad("admin", error),
        }
        match admin
            .groups_named(&[GroupName::new("confluence-users")], &request, until())
            .await
        {
            Ok(_) => report.good("admin", "finds groups"),
            Err(error) => report.bad("admin", error),
        }
    }
    if let Some(scim) = &drivers.scim {
        match scim.page(0, &request, until()).await {
            Ok(page) => report.good("scim", format_args!("{} people in the directory", page.total)),
            Err(error) => report.bad("scim", error),
        }
    }
    if let Some((jira, own)) = &drivers.jira {
        match jira.find(own, &request, until()).await {
            Ok(users) if users.is_empty() => report.bad(
                "jira",
                format_args!(
                    "{own} does not even find its own account: it needs Jira on this site and the global permission \"Browse \
                     users and groups\""
                ),
            ),
            Ok(_) => report.good("jira", "finds people"),
            Err(error) => report.bad("jira", error),
        }
    }
}
