//! DOMAIN: groups and members in our own words: six operations, and what makes them true and cheap.
//!
//! Reads: a list is complete or it is an error. Changes: plan (any failure here fails the call, and nothing has
//! changed), then apply (what befalls a name is told by name). A change runs on a task of its own, which a caller who
//! hangs up does not cut short and which a shutdown waits for.
//!
//! `identity` turns names into accounts and back; `groups` and `members` read; `ledger` keeps our own recent changes;
//! `claims` keeps operations out of each other's way; `plan` and `apply` change. It must never know a status code, a
//! legacy message or a field name.

mod apply;
mod changes;
mod claims;
mod error;
mod groups;
pub mod identity;
mod ledger;
mod members;
mod plan;
mod process;
mod walk;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub use error::Error;
pub use plan::Change;
pub use process::Process;

use crate::cloud::{self, Client, Confluence, Credential, Group, Owner, Patience};
use crate::model::{AccountId, Context, Detail, GroupName, Member, NameKey, RequestId};
use crate::settings::NameKind;
use error::stopping;
use groups::{Found, Groups, Purpose};
use identity::Identity;
use ledger::View;
use members::{Members, overlaid};

/// Groups and members as one credential sees them, with caches of its own.
#[derive(Debug)]
pub struct Directory {
    process: Arc<Process>,
    cloud: Confluence,
    view: View,
    identity: Identity,
    groups: Groups,
    members: Members,
}

/// Directories for callers who bring their own credential.
#[derive(Clone, Debug)]
pub struct Visitors {
    client: Arc<Client>,
    process: Arc<Process>,
}

impl Visitors {
    /// Callers see Cloud through `client`.
    #[must_use]
    pub fn new(client: Arc<Client>, process: Arc<Process>) -> Self {
        Self { client, process }
    }

    /// Groups and members as this credential may see them.
    #[must_use]
    pub fn directory(&self, email: &str, token: &str) -> Directory {
        let credential = Credential::basic(email, token, Owner::Caller);
        Directory::new(
            Arc::clone(&self.process),
            Confluence::new(Arc::clone(&self.client), credential),
        )
    }
}

impl Directory {
    /// A directory with empty caches.
    #[must_use]
    pub fn new(process: Arc<Process>, cloud: Confluence) -> Self {
        let settings = Arc::clone(&process.settings);
        let metrics = &process.metrics;
        Self {
            view: process.next_view.fetch_add(1, Ordering::Relaxed),
            identity: Identity::new(Arc::clone(&process.map), &settings.cache, metrics.clone()),
            groups: Groups::new(&settings.cache, settings.extender.show_teams, metrics.clone()),
            members: Members::new(&settings.cache, metrics.clone()),
            cloud,
            process,
        }
    }

    /// Asks Cloud whether it accepts the credential: one call.
    ///
    /// # Errors
    /// It refuses, or cannot be asked.
    pub async fn knock(&self, request: &RequestId, until: Instant) -> Result<(), Error> {
        self.cloud.current_user(request, Patience::Until(until)).await?;
        Ok(())
    }

    /// The names of all groups, sorted by name ignoring case.
    ///
    /// # Errors
    /// Cloud refuses or cannot be asked.
    pub async fn list_groups(&self, context: &Context) -> Result<Vec<GroupName>, Error> {
        let groups = self
            .groups
            .list(&self.cloud, &self.process.ledger, self.view, context)
            .await?;
        let mut names: Vec<(NameKey, GroupName)> =
            groups.into_iter().map(|group| (group.name.key(), group.name)).collect();
        names.sort();
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }

    /// The members of a group, sorted by shown name in lower case, then by account.
    ///
    /// # Errors
    /// No such group, an ambiguous name, or Cloud refuses or cannot be asked.
    pub async fn list_members(
        &self,
        name: &GroupName,
        detail: Detail,
        context: &Context,
    ) -> Result<Arc<Vec<Member>>, Error> {
        let ledger = &self.process.ledger;
        let mut purpose = Purpose::Read;
        let (group, roster) = loop {
            let group = self.group(name, purpose, context).await?;
            match self
                .members
                .roster(&group.id, &self.cloud, ledger, self.view, context)
                .await?
            {
                Some(roster) => break (group, roster),
                // The id we remember is gone: the group was deleted, or made anew under its name. Look again, once.
                None if purpose == Purpose::Read => {
                    self.groups.forget(name).await;
                    purpose = Purpose::Write;
                }
                None => return Err(Error::NoSuchGroup(name.clone())),
            }
        };
        let overlay = ledger.overlay(&group.id, roster.read, self.view);
        let wants_profiles = detail != Detail::Names;
        if let Some(members) = roster.shown(overlay.version, wants_profiles) {
            return Ok(members);
        }
        let (rows, added) = overlaid(&roster, &overlay.changes);
        self.identity.learn(&rows).await;
        let more = if wants_profiles && !added.is_empty() {
            self.identity.profiles(&added, &self.cloud, context).await?
        } else {
            std::collections::HashMap::new()
        };
        let mut members: Vec<(NameKey, AccountId, Member)> = rows
            .iter()
            .map(|row| (&row.account, Some(row)))
            .chain(added.iter().map(|account| (account, more.get(account))))
            .map(|(account, profile)| {
                let member = self.show(account, profile.map(AsRef::as_ref));
                (NameKey::of(&member.name), account.clone(), member)
            })
            .collect();
        members.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        let members = Arc::new(members.into_iter().map(|(_, _, member)| member).collect());
        roster.keep_shown(overlay.version, wants_profiles || added.is_empty(), &members);
        Ok(members)
    }

    /// An account as the legacy side knows it: Cloud's words first, then the map's.
    fn show(&self, account: &AccountId, profile: Option<&cloud::Profile>) -> Member {
        let extender = &self.process.settings.extender;
        let map = self.identity.map();
        let entry = map.by_account(account.as_str());
        let filled = |text: &Arc<str>| (!text.is_empty()).then(|| Arc::clone(text));
        let order: &[NameKind] = &extender.name_order;
        let map_email = entry
            .and_then(identity::Entry::email)
            .filter(|_| extender.show_map_email)
            .map(Arc::from);
        Member {
            name: map
                .shown_name(account, order, extender.show_map_email)
                .unwrap_or_else(|| account.as_str())
                .into(),
            full_name: profile
                .and_then(|profile| filled(&profile.display_name))
                .or_else(|| entry.and_then(identity::Entry::full_name).map(Arc::from))
                .unwrap_or_default(),
            key: entry
                .and_then(identity::Entry::key)
                .unwrap_or_else(|| account.as_str())
                .into(),
            email: profile
                .and_then(|profile| filled(&profile.email))
                .or(map_email)
                .unwrap_or_default(),
            created: entry.and_then(identity::Entry::created),
            updated: entry.and_then(identity::Entry::updated),
        }
    }

    async fn group(&self, name: &GroupName, purpose: Purpose, context: &Context) -> Result<Group, Error> {
        match self
            .groups
            .find(name, purpose, &self.cloud, &self.process.ledger, self.view, context)
            .await?
        {
            Found::One(group) => Ok(group),
            Found::Ambiguous(spellings) => Err(Error::AmbiguousGroup {
                name: name.clone(),
                spellings,
            }),
            Found::Nothing => Err(Error::NoSuchGroup(name.clone())),
        }
    }
}
