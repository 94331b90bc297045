//! One credential after the other: what it is, whose, what it may do, what it lacks, when it ends. Changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::report::Report;
use crate::cloud::{
    Admin, Ahead, Client, Confluence, Credential, Error, Jira, Operation, Patience, Reply, Scim, Symptom,
};
use crate::metrics::Metrics;
use crate::model::{AccountId, GroupId, GroupName, RequestId};
use crate::server;
use crate::settings::{self, CredentialKind, Mode, Pays, Settings};

/// A clock may be so many seconds off: nothing rests on less.
const CLOCK: i64 = 60;

/// Looks at the credentials of some settings.
pub struct Doctor<'a> {
    settings: &'a Settings,
    patience: Duration,
    consents: PathBuf,
}

impl<'a> Doctor<'a> {
    /// Cloud is waited for so long, for each question.
    pub fn new(settings: &'a Settings, patience: Duration) -> Self {
        Self {
            settings,
            patience,
            consents: server::consents(settings),
        }
    }

    fn until(&self) -> Patience<'static> {
        Patience::Until(Instant::now() + self.patience)
    }

    fn client(&self, address: Option<&str>) -> Result<Arc<Client>, String> {
        let cloud = &self.settings.cloud;
        let client = match address {
            Some(address) => Client::towards(address, cloud, Metrics::new()),
            None => Client::new(cloud, Metrics::new()),
        };
        client.map(Arc::new)
    }

    /// Everything there is.
    ///
    /// # Errors
    /// No client can be made.
    pub async fn examine(&self, report: &mut Report) -> Result<(), String> {
        let client = self.client(None)?;
        if !self.reach(&client, report).await {
            return Ok(());
        }
        let is_open = self.settings.inbound.mode == Mode::Passthrough;
        let keys = self.settings.cloud.keys();
        if is_open {
            report.good("credential", "none is needed: callers bring their own");
        } else {
            report.begin_ring(keys.len());
            for key in keys {
                self.site(key, report).await?;
            }
            report.end_ring();
        }
        let cloud = &self.settings.cloud;
        let others = [cloud.admin.keys(), cloud.scim.keys(), cloud.jira.keys()];
        if is_open && others.iter().any(|keys| !keys.is_empty()) {
            report.bad(
                "sources",
                "callers who bring their own credential see nothing through the facade's keys: leave them out",
            );
            return Ok(());
        }
        report.begin_ring(cloud.admin.keys().len());
        for key in cloud.admin.keys() {
            self.admin(key, report).await?;
        }
        report.end_ring();
        report.begin_ring(cloud.scim.keys().len());
        for key in cloud.scim.keys() {
            self.scim(key, report).await?;
        }
        report.end_ring();
        report.begin_ring(cloud.jira.keys().len());
        for key in cloud.jira.keys() {
            self.jira(key, report).await?;
        }
        report.end_ring();
        Ok(())
    }

    /// Whether there is a site at all, and whether its clock is ours.
    async fn reach(&self, client: &Arc<Client>, report: &mut Report) -> bool {
        let nobody = Credential::of(Vec::new(), &self.consents);
        let cloud = Confluence::new(Arc::clone(client), nobody);
        match cloud.tenant(&RequestId::random(), self.until()).await {
            Ok(id) => {
                report.good("reach", format_args!("the site answers, cloudId {id}"));
                let set = &self.settings.cloud.cloud_id;
                if !set.is_empty() && *set != id {
                    report.mend(
                        "reach",
                        format_args!("cloud.cloud_id is {set}, and the site's is {id}"),
                        Symptom::WrongAddress.as_str(),
                        "remove cloud.cloud_id, or set cloud.base_url to the site that it is of",
                    );
                }
            }
            Err(error) => {
                let (text, mend) = no_site(&error, &self.settings.cloud.base_url);
                report.mend("reach", text, Symptom::WrongAddress.as_str(), &mend);
                return false;
            }
        }
        let skew = client.clock_skew_s();
        if skew.abs() > CLOCK {
            let word = if skew > 0 { "behind" } else { "ahead of" };
            report.warning(
                "clock",
                format_args!("this machine's clock is {} seconds {word} Cloud's", skew.abs()),
                "set the clock (NTP): expiries and certificates are judged by it",
            );
        }
        true
    }

    /// What is said of every credential before it is used.
    fn introduce(&self, key: &settings::Credential, report: &mut Report) {
        let standing = Credential::of(vec![key.clone()], &self.consents).standing();
        let ends = standing.first().and_then(|standing| standing.ends);
        report.about(json!({
            "name": key.name(),
            "setting": key.origin.setting,
            "kind": key.kind.as_str(),
            "ends": ends.map(|ends| ends.to_string()),
        }));
        let name = key.name();
        let ahead = standing
            .first()
            .map_or(Ahead::Unknown, |standing| standing.ahead(Timestamp::now()));
        let at = ends.map(|ends| ends.to_string()).unwrap_or_default();
        match ahead {
            // Its own answer says why.
            Ahead::Over if ends == Some(Timestamp::UNIX_EPOCH) => {}
            Ahead::Over => report.mend(
                "expiry",
                format_args!("{name} ended at {at}"),
                "expired",
                renewal(key.kind),
            ),
            Ahead::Days(days) => report.warning(
                "expiry",
                format_args!("{name} ends at {at}, in {days} days"),
                renewal(key.kind),
            ),
            Ahead::Long => report.good("expiry", format_args!("{name} ends at {at}")),
            // A client makes tokens of its own; a consent that is not there has no end.
            Ahead::Unknown if key.kind.is_client() => {}
            Ahead::Unknown => report.warning(
                "expiry",
                format_args!("nobody knows when {name} ends; API tokens and keys live a year at most"),
                "set expires beside it, and be warned 30 days before",
            ),
        }
    }

    async fn site(&self, key: settings::Credential, report: &mut Report) -> Result<(), String> {
        self.introduce(&key, report);
        let client = self.client(None)?;
        let credential = Credential::of(vec![key.clone()], &self.consents);
        let cloud = Confluence::new(Arc::clone(&client), credential);
        let request = RequestId::random();
        let who = cloud.current_user(&request, self.until()).await;
        let place = match key.kind {
            CredentialKind::ApiToken => self.settings.cloud.base_url.clone(),
            _ => format!("{} under the site's cloudId", self.settings.cloud.gateway_url),
        };
        report.know("address", place.as_str().into());
        match &who {
            Ok(user) => {
                report.know(
                    "account",
                    json!({ "id": user.account.as_str(), "name": &*user.display_name }),
                );
                report.good(
                    "credential",
                    format_args!("{} ({}, {}) at {place}", key.name(), key.kind.as_str(), user.account),
                );
                report.may(Operation::CurrentUser.name(), "yes");
            }
            Err(Error::Refused { diagnosis, .. })
                if is_whole(diagnosis.symptom)
                    && !(key.kind == CredentialKind::ServiceAccount && diagnosis.symptom == Symptom::NoAccess) =>
            {
                report.refused("credential", diagnosis);
                if matches!(diagnosis.symptom, Symptom::Unknown | Symptom::NoAccess) {
                    self.other_ways(&key, report).await?;
                }
                return Ok(());
            }
            // Said to be refused to service accounts whatever they may do; what counts follows.
            Err(Error::Refused { diagnosis, .. }) => report.warning("credential", &diagnosis.finding, &diagnosis.mend),
            Err(error) => {
                report.failed("credential", error);
                return Ok(());
            }
        }
        self.rights(&cloud, who.ok().map(|user| user.account), report).await;
        if key.kind == CredentialKind::Oauth && self.settings.cloud.pays == Pays::Requests {
            report.warning(
                "pays",
                "an app of OAuth has a quota of points, and cloud.pays says \"requests\"",
                "set cloud.pays = \"points\": changes are planned with the reads that cost least of it",
            );
        }
        Ok(())
    }

    /// Asks for each thing that the six calls need.
    async fn rights(&self, cloud: &Confluence, own: Option<AccountId>, report: &mut Report) {
        let request = RequestId::random();
        let listed = cloud.list_groups(0, &request, self.until()).await;
        let group = listed.as_ref().ok().and_then(|page| page.groups.first().cloned());
        tell(report, "read groups", Operation::ListGroups, listed, |page| {
            format!("{} on the first page", page.groups.len())
        });
        let name = group
            .as_ref()
            .map_or_else(|| GroupName::new("site-admins"), |group| group.name.clone());
        let found = cloud.find_groups(&name, 0, &request, self.until()).await;
        tell(report, "find groups", Operation::FindGroups, found, |_| {
            format!("by name, {name}")
        });
        if let Some(group) = &group {
            let members = cloud.members(&group.id, 0, &request, self.until()).await;
            tell(report, "read members", Operation::ListMembers, members, |_| {
                format!("of {}", group.name)
            });
        }
        let account = own.unwrap_or_else(|| AccountId::new("000000000000000000000000"));
        let users = cloud
            .users(std::slice::from_ref(&account), &request, self.until())
            .await;
        tell(report, "read users", Operation::ReadUsers, users, |_| {
            "by account id".to_owned()
        });
        let groups = cloud.member_of(&account, 0, &request, self.until()).await;
        tell(
            report,
            "memberships",
            Operation::MemberOf,
            absent_is_good(groups),
            |_| "of one account".to_owned(),
        );
        // Taking nobody out of no group changes nothing, and only a site administrator is told so.
        let (group, nobody) = (
            GroupId::new("00000000-0000-0000-0000-000000000000"),
            AccountId::new("000000000000000000000000"),
        );
        let removed = cloud.remove_member(&group, &nobody, &request, self.until()).await;
        let removed = removed.and_then(|settled| match settled.reply {
            Reply::Declined(said) => Err(Error::Rejected {
                operation: Operation::RemoveMember,
                status: 400,
                message: said,
            }),
            _ => Ok(()),
        });
        tell(report, "write", Operation::RemoveMember, removed, |()| {
            "changes are allowed (asked without making one)".to_owned()
        });
    }

    /// A pair that is refused may be good in another way.
    async fn other_ways(&self, key: &settings::Credential, report: &mut Report) -> Result<(), String> {
        let other = match key.kind {
            CredentialKind::ApiToken => CredentialKind::ScopedToken,
            CredentialKind::ScopedToken => CredentialKind::ApiToken,
            _ => return Ok(()),
        };
        let tried = settings::Credential {
            kind: other,
            ..key.clone()
        };
        let credential = Credential::of(vec![tried], &self.consents);
        let cloud = Confluence::new(self.client(None)?, credential);
        let found = cloud.list_groups(0, &RequestId::random(), self.until()).await;
        let works = match &found {
            Ok(_) => true,
            // It is known there: only a scope is missing.
            Err(Error::Refused { diagnosis, .. }) => diagnosis.symptom == Symptom::Scope,
            Err(_) => false,
        };
        if works {
            let (word, mend) = match other {
                CredentialKind::ScopedToken => (
                    "the token was made with scopes: it works at the gateway, and not at the site",
                    "set kind = \"scoped_token\"",
                ),
                _ => (
                    "the token has no scopes: it works at the site, and not at the gateway",
                    "set kind = \"api_token\"",
                ),
            };
            report.mend("kind", format_args!("{}: {word}", key.name()), "wrong_kind", mend);
        }
        Ok(())
    }

    async fn admin(&self, key: settings::Credential, report: &mut Report) -> Result<(), String> {
        self.introduce(&key, report);
        let api = &self.settings.cloud.admin;
        report.know("address", api.base_url.as_str().into());
        let client = self.client(Some(&api.base_url))?;
        let admin = Admin::new(client, Credential::of(vec![key], &self.consents), &api.org_id);
        let owner = match self.settings.cloud.email.to_lowercase() {
            none if none.is_empty() => "nobody@example.com".to_owned(),
            owner => owner,
        };
        let request = RequestId::random();
        let found = admin.with_emails(&[owner], &request, self.until()).await;
        tell(report, "admin", Operation::AdminUsers, found, |users| {
            format!("finds people ({} with cloud.email)", users.len())
        });
        let found = admin
            .groups_named(&[GroupName::new("confluence-users")], &request, self.until())
            .await;
        tell(report, "admin", Operation::AdminGroups, found, |_| {
            "finds groups".to_owned()
        });
        Ok(())
    }

    async fn scim(&self, key: settings::Credential, report: &mut Report) -> Result<(), String> {
        self.introduce(&key, report);
        let api = &self.settings.cloud.scim;
        report.know("address", api.base_url.as_str().into());
        let client = self.client(Some(&api.base_url))?;
        let scim = Scim::new(client, Credential::of(vec![key], &self.consents), &api.directory_id);
        let found = scim.page(0, &RequestId::random(), self.until()).await;
        tell(report, "scim", Operation::ScimUsers, found, |page| {
            format!("{} people in the directory", page.total)
        });
        Ok(())
    }

    async fn jira(&self, key: settings::Credential, report: &mut Report) -> Result<(), String> {
        self.introduce(&key, report);
        let own = key.email.clone();
        let jira = Jira::new(self.client(None)?, Credential::of(vec![key], &self.consents));
        let found = jira.find(&own, &RequestId::random(), self.until()).await;
        let found = match found {
            Ok(users) if users.is_empty() => Err(jira.is_blind(&own)),
            found => found,
        };
        tell(report, "jira", Operation::JiraUsers, found, |_| {
            "finds people".to_owned()
        });
        Ok(())
    }
}

/// What came of asking for one thing.
fn tell<T>(
    report: &mut Report,
    what: &str,
    operation: Operation,
    asked: Result<T, Error>,
    good: impl Fn(&T) -> String,
) {
    match asked {
        Ok(answer) => {
            report.may(operation.name(), "yes");
            report.good(what, good(&answer));
        }
        Err(error) => {
            let may = match &error {
                Error::Refused { diagnosis, .. } => diagnosis.symptom.as_str(),
                _ => "unknown",
            };
            report.may(operation.name(), may);
            match &error {
                Error::Refused { diagnosis, .. } if !is_whole(diagnosis.symptom) => {
                    report.lacks(what, operation, diagnosis);
                }
                error => report.failed(what, error),
            }
        }
    }
}

/// That there is no such thing is an answer to who may ask for it.
fn absent_is_good<T>(asked: Result<T, Error>) -> Result<Option<T>, Error> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Rejected { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether it stands in the way of everything.
fn is_whole(symptom: Symptom) -> bool {
    !matches!(symptom, Symptom::Scope | Symptom::NotAdministrator)
}

/// Why a site does not tell its cloudId.
fn no_site(error: &Error, address: &str) -> (String, String) {
    match error {
        Error::Rejected { .. } | Error::Refused { .. } => (
            format!("there is no site at {address}"),
            "check cloud.base_url: https://your-site.atlassian.net".to_owned(),
        ),
        Error::Unavailable { cause, .. } if cause.contains("HTML") || cause.contains("redirects") => (
            format!("{address} is no Confluence Cloud site ({cause})"),
            "check cloud.base_url: the site's own https://your-site.atlassian.net, not a domain that leads to it"
                .to_owned(),
        ),
        other => (
            other.to_string(),
            "check cloud.base_url, name resolution, the proxy, and cloud.ca_file where one inspects traffic".to_owned(),
        ),
    }
}

fn renewal(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::ApiToken | CredentialKind::ScopedToken => {
            "make a new API token at id.atlassian.com and put it in its place; no restart is needed with a file or a command"
        }
        CredentialKind::ServiceAccount => "make a new client at admin.atlassian.com",
        CredentialKind::Oauth => "consent again: run `extender-facade credential login`",
        CredentialKind::Key => "make a new key at admin.atlassian.com",
    }
}
