//! DOMAIN: groups and members in our own words: six operations, and what makes them true and cheap.
//!
//! Reads: a list is complete or it is an error. Changes: plan (any failure here fails the call, and nothing has
//! changed), then apply (what befalls a name is told by name). A change is an operation (`operations`), which a caller who
//! hangs up does not cut short, which a shutdown waits for, and which outlives its process.
//!
//! `identity` turns names into accounts and back; `groups`, `members` and `org` read; `ledger` keeps our own recent changes;
//! `claims` keeps operations out of each other's way; `guard` says what must not be changed by mistake; `changes` and
//! `plan` decide, `apply` changes; `access` tells what a group gives. It must never know a status code, a legacy message or a field name.

mod access;
mod apply;
mod changes;
mod claims;
mod error;
mod groups;
mod guard;
pub mod identity;
mod ledger;
mod members;
mod operations;
mod org;
mod plan;
mod process;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub use error::Error;
pub use operations::undo;
pub use operations::{Answer, Books, Conduct, Delivery, Order, Pending, Watch, What};
pub use plan::Change;
pub use process::Process;

use crate::cloud::{Client, Confluence, Credential, Group, Owner, Patience, Profile};
use crate::model::{AccountId, Context, Detail, GroupName, Member, NameKey, RequestId};
use access::Accesses;
use error::stopping;
use groups::{Found, Groups, Purpose};
use identity::{Identity, Map, Own, Resolution, Row, Shown, Wish};
use ledger::View;
use members::{Depth, Members, Roster, overlaid};

/// Groups and members as one credential sees them, with caches of its own.
#[derive(Debug)]
pub struct Directory {
    process: Arc<Process>,
    cloud: Confluence,
    view: View,
    identity: Identity,
    groups: Groups,
    members: Members,
    accesses: Accesses,
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
        let cloud = Confluence::new(Arc::clone(&self.client), credential);
        // What the facade's own keys show, and what was learned with them, is not theirs to see.
        Directory::new(Arc::clone(&self.process), cloud, Own::default())
    }
}

impl Directory {
    /// A directory with empty caches, through `cloud` and what else is its `own`.
    #[must_use]
    pub fn new(process: Arc<Process>, cloud: Confluence, own: Own) -> Self {
        let settings = Arc::clone(&process.settings);
        let metrics = &process.metrics;
        let admin = own.drivers.admin.clone();
        let view = process.next_view.fetch_add(1, Ordering::Relaxed);
        Self {
            view,
            accesses: Accesses::new(&settings.cache, admin.clone()),
            groups: Groups::new(
                &settings.cache,
                settings.extender.show_teams,
                admin.clone(),
                metrics.clone(),
            ),
            members: Members::new(
                &settings.cache,
                cloud.clone(),
                admin,
                Arc::clone(&process.ledger),
                view,
                settings.cloud.pays,
                metrics.clone(),
            ),
            identity: Identity::new(Arc::clone(&process.map), own, &settings, metrics.clone()),
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

    /// Whether callers brought the credential.
    fn is_visitors(&self) -> bool {
        self.cloud.owner() == Owner::Caller
    }

    /// What each name means, in order, and who says so.
    ///
    /// # Errors
    /// What was learned cannot be read. A source that cannot be asked is told name by name.
    pub async fn explain(&self, names: &[String], context: &Context) -> Result<Vec<Resolution>, Error> {
        self.identity
            .look_up(names, &self.identity.map(), &self.cloud, context)
            .await
    }

    /// What Cloud shows of these accounts; of those it does not know, nothing. Calls: ⌈accounts ÷ 100⌉.
    ///
    /// # Errors
    /// Cloud refuses or cannot be asked.
    pub async fn accounts(
        &self,
        accounts: &[AccountId],
        context: &Context,
    ) -> Result<HashMap<AccountId, Arc<Profile>>, Error> {
        Ok(self.identity.profiles(accounts, &self.cloud, context).await?)
    }

    /// The usernames under which scripts may know each account, in order; the one that is shown first.
    ///
    /// # Errors
    /// What was learned cannot be read.
    pub async fn usernames(&self, accounts: &[AccountId]) -> Result<Vec<Vec<String>>, Error> {
        self.identity.usernames(accounts, &self.identity.map()).await
    }

    /// All groups with what is known of them, teams among them.
    ///
    /// # Errors
    /// Cloud refuses or cannot be asked.
    pub async fn survey_groups(&self, context: &Context) -> Result<Vec<Group>, Error> {
        let patience = Patience::Until(context.read_deadline);
        let page = |start| self.cloud.list_groups(start, &context.request, patience);
        let (groups, _) = walk::groups(crate::cloud::Operation::ListGroups, page, |_, _| false).await?;
        Ok(groups)
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
        let mut names: Vec<(NameKey, GroupName)> = groups
            .into_iter()
            .map(|group| {
                let key = group.name.key();
                self.process.guard.notice(&group.id, &key);
                (key, group.name)
            })
            .collect();
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
        let depth = match detail {
            Detail::Names | Detail::Basic => Depth::Whole,
            Detail::Extended => Depth::Briefed,
        };
        let (group, roster) = loop {
            let group = self.group(name, purpose, context).await?;
            match self.members.roster(&group.id, depth, context).await? {
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
        roster.learned(|| self.meet(&group, &roster, context)).await?;
        let version = (overlay.version, self.identity.generation());
        if let Some(members) = roster.shown(version, wants_profiles) {
            return Ok(members);
        }
        let (mut rows, added) = overlaid(&roster, &overlay.changes);
        let mut nameless = Vec::new();
        if wants_profiles && !added.is_empty() {
            let profiles = self.identity.profiles(&added, &self.cloud, context).await?;
            for account in &added {
                match profiles.get(account) {
                    Some(profile) => rows.push(Arc::clone(profile)),
                    None => nameless.push(account.clone()),
                }
            }
        } else {
            nameless.clone_from(&added);
        }
        let mut members = self.show(&rows, nameless, context).await?;
        members.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        let members = Arc::new(members.into_iter().map(|(_, _, member)| member).collect());
        roster.keep_shown(version, wants_profiles || added.is_empty(), &members);
        Ok(members)
    }

    /// Learns who the members are. Where the map knows people by their addresses alone, and Confluence hides these, the
    /// organisation is asked, once: they would be shown by their ids, and a script would throw them out.
    async fn meet(&self, group: &Group, roster: &Roster, context: &Context) -> Result<(), Error> {
        self.identity.learn(&roster.rows).await?;
        if !self.members.can_introduce() {
            return Ok(());
        }
        let strangers = self.identity.strangers(&roster.rows).await?;
        if !strangers.is_empty() {
            let people = self.members.introduce(&group.id, context).await?;
            self.identity.learn(&people).await?;
            self.identity.introduced(strangers);
        }
        Ok(())
    }

    /// The accounts as the legacy side knows them, with what they are sorted by: Cloud's words first, then the map's.
    async fn show(
        &self,
        rows: &[Arc<Profile>],
        nameless: Vec<AccountId>,
        context: &Context,
    ) -> Result<Vec<(NameKey, AccountId, Member)>, Error> {
        let extender = &self.process.settings.extender;
        let map = self.identity.map();
        let profiles = rows.iter().map(Some).chain(std::iter::repeat(None));
        let accounts = rows.iter().map(|row| row.account.clone()).chain(nameless);
        let rows: Vec<(Row, Option<&Arc<Profile>>)> = accounts
            .zip(profiles)
            .map(|(account, profile)| {
                let email = profile.map(|profile| Arc::clone(&profile.email)).unwrap_or_default();
                (Row { account, email }, profile)
            })
            .collect();
        let (names, profiles): (Vec<Row>, Vec<_>) = rows.into_iter().unzip();
        let wish = Wish {
            order: &extender.name_order,
            map_email: extender.show_map_email,
        };
        let shown = self.identity.names(&names, &map, wish, &self.cloud, context).await?;
        let members = names.into_iter().zip(profiles).zip(shown);
        Ok(members
            .map(|((row, profile), shown)| {
                let member = member(&shown, &row, profile.map(AsRef::as_ref), &map, extender.show_map_email);
                (NameKey::of(&member.name), row.account, member)
            })
            .collect())
    }

    async fn group(&self, name: &GroupName, purpose: Purpose, context: &Context) -> Result<Group, Error> {
        match self
            .groups
            .find(name, purpose, &self.cloud, &self.process.ledger, self.view, context)
            .await?
        {
            Found::One(group) => {
                self.process.guard.notice(&group.id, &group.name.key());
                Ok(group)
            }
            Found::Ambiguous(spellings) => Err(Error::AmbiguousGroup {
                name: name.clone(),
                spellings,
            }),
            Found::Nothing => Err(Error::NoSuchGroup(name.clone())),
        }
    }
}

fn member(shown: &Shown<'_>, row: &Row, profile: Option<&Profile>, map: &Map, show_map_email: bool) -> Member {
    let entry = map.by_account(row.account.as_str());
    let through = shown.through.as_ref();
    let filled = |text: &Arc<str>| (!text.is_empty()).then(|| Arc::clone(text));
    let brief = profile.and_then(|profile| profile.brief.clone()).unwrap_or_default();
    // True where nothing is known: a public script drops people for whom it is false.
    let has_access = profile
        .and_then(|profile| profile.brief.as_ref())
        .is_none_or(|brief| brief.has_access);
    let full_name = || {
        let of_entry = entry.and_then(|entry| entry.full_name());
        of_entry.or(through.and_then(|row| row.full_name))
    };
    let key = entry.and_then(|entry| entry.key()).or(through.and_then(|row| row.key));
    let map_email = || {
        let of_entry = entry.and_then(|entry| entry.email());
        let email = of_entry.or(through.and_then(|row| row.email));
        email.filter(|_| show_map_email)
    };
    Member {
        name: Arc::clone(&shown.name),
        full_name: profile
            .and_then(|profile| filled(&profile.display_name))
            .or_else(|| full_name().map(Arc::from))
            .unwrap_or_default(),
        key: key.map_or_else(|| Arc::from(row.account.as_str()), Arc::from),
        email: filled(&row.email)
            .or_else(|| map_email().map(Arc::from))
            .unwrap_or_default(),
        position: brief.position,
        department: brief.department,
        location: brief.location,
        created: entry
            .and_then(|entry| entry.created())
            .or(through.and_then(|row| row.created))
            .or(brief.added),
        updated: entry
            .and_then(|entry| entry.updated())
            .or(through.and_then(|row| row.updated)),
        last_login: brief.last_active,
        has_access,
    }
}
