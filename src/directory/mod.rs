//! DOMAIN: groups and members in our own words: six operations, and what makes them true and cheap.
//!
//! Reads: a list is complete or it is an error. Changes: plan (any failure here fails the call, and nothing has
//! changed), then apply (what befalls a name is told by name). A change is an operation (`operations`), which a caller who
//! hangs up does not cut short, which a shutdown waits for, and which outlives its process.
//!
//! `identity` turns names into accounts and back; `lists` tells the two lists, and `stale` what is told of them while Cloud
//! cannot be asked; `groups`, `members` and `org` read; `ledger` keeps our own recent changes; `claims` keeps operations
//! out of each other's way; `guard` says what must not be changed by mistake; `changes` and `plan` decide, `apply`
//! changes; `access` tells what a group gives. It must never know a status code, a legacy message or a field name.

mod access;
mod apply;
mod changes;
mod claims;
mod error;
mod groups;
mod guard;
pub mod identity;
mod ledger;
mod lists;
mod members;
mod operations;
mod org;
mod plan;
mod process;
mod stale;
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
pub use stale::Listed;

use crate::cloud::{Client, Confluence, Credential, Group, Owner, Patience, Profile};
use crate::model::{AccountId, Context, GroupName, RequestId};
use crate::settings::CredentialKind;
use access::Accesses;
use error::stopping;
use groups::{Found, Groups, Purpose};
use identity::{Identity, Own, Resolution};
use ledger::View;
use members::Members;

/// Groups and members as one credential sees them, with caches of its own.
#[derive(Debug)]
pub struct Directory {
    process: Arc<Process>,
    cloud: Confluence,
    view: View,
    identity: Arc<Identity>,
    groups: Groups,
    members: Members,
    accesses: Accesses,
}

/// A state of what lists rest on. Of two that are alike nothing has happened between that would have changed one: no change
/// of ours, no other identity map, nothing learned of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment([u64; 3]);

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

    /// Groups and members as this pair may see them, which is shown where Cloud takes tokens of this kind.
    #[must_use]
    pub fn directory(&self, kind: CredentialKind, email: &str, token: &str) -> Directory {
        let credential = Credential::pair(kind, email, token, Owner::Caller);
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
            identity: Arc::new(Identity::new(Arc::clone(&process.map), own, &settings, metrics.clone())),
            cloud,
            process,
        }
    }

    /// What is known by now that bears on lists, apart from their age.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let (map, heard) = self.identity.generation();
        Moment([self.process.ledger.version(), map, heard])
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
