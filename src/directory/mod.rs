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
mod claims;
mod groups;
pub mod identity;
mod ledger;
mod members;
mod plan;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{Audit, Record, Verdict};
use crate::cloud::{self, Client, Confluence, Credential, Group, Owner, Patience, Progress};
use crate::metrics::{Metrics, Reason};
use crate::model::{AccountId, Context, Detail, Fate, GroupId, GroupName, Member, NameKey, Outcome, RequestId, Skip};
use crate::settings::{MergedRemoval, NameKind, Settings, seconds};
use apply::{Run, claim_steps};
use claims::{Claim, Claims};
use groups::{Found, Groups, Purpose};
use identity::{Identity, Map};
use ledger::{Ledger, View};
use members::{Members, Membership, overlaid};
pub use plan::Change;
use plan::Item;

/// Bulk operations at once; each holds its names in memory, and most wait for Cloud.
const MOST_OPERATIONS: usize = 256;

/// Why an operation has no outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No group has the name.
    #[error("group {0:?} does not exist")]
    NoSuchGroup(GroupName),
    /// Several groups have the name, ignoring case, and none has it exactly.
    #[error("group {name:?} is ambiguous: {}", list(spellings))]
    AmbiguousGroup {
        /// As it was asked for.
        name: GroupName,
        /// As the groups are spelt.
        spellings: Vec<GroupName>,
    },
    /// Cloud refuses the credential; nothing has changed.
    #[error("{advice}")]
    Refused {
        /// Cloud refuses what was asked (403), not who asks (401).
        forbidden: bool,
        /// Which credential, and what to mend.
        advice: String,
    },
    /// Cloud, or the audit, is not there; nothing has changed.
    #[error("{cause}")]
    Unavailable {
        /// When it may be worth trying again.
        retry_after: Duration,
        /// What is the matter.
        cause: String,
    },
    /// Changes were made, and not all of them.
    #[error("{done} of {} names are settled, {left} are not: {cause}; sending the same call again is safe and finishes the work", done + left)]
    Interrupted {
        /// Names that are settled.
        done: usize,
        /// Names, settled or not, for which nothing was changed as far as anybody can tell.
        skipped: usize,
        /// Names that are not.
        left: usize,
        /// When it may be worth trying again.
        retry_after: Duration,
        /// What is the matter.
        cause: String,
    },
    /// The operation goes on, but its caller is not to wait any longer.
    #[error("the operation goes on; sending the same call again later is safe")]
    StillRunning,
}

fn list(names: &[GroupName]) -> String {
    names
        .iter()
        .map(|name| format!("{:?}", name.as_str()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn stopping() -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(30),
        cause: "the server is stopping".to_owned(),
    }
}

impl From<cloud::Error> for Error {
    fn from(error: cloud::Error) -> Self {
        let cause = error.to_string();
        match error {
            cloud::Error::Refused { status, advice, .. } => Self::Refused {
                forbidden: status == 403,
                advice,
            },
            cloud::Error::Unavailable { retry_after, .. } => Self::Unavailable { retry_after, cause },
            cloud::Error::Rejected { .. } => Self::Unavailable {
                retry_after: Duration::from_secs(30),
                cause,
            },
        }
    }
}

/// What all directories of one process share.
#[derive(Debug)]
pub struct Process {
    map: Arc<Map>,
    ledger: Arc<Ledger>,
    members: Claims<(GroupId, AccountId)>,
    groups: Claims<NameKey>,
    audit: Audit,
    metrics: Metrics,
    operations: TaskTracker,
    stop: CancellationToken,
    next_view: AtomicU64,
    settings: Arc<Settings>,
    max_in_flight: usize,
}

impl Process {
    /// Nothing read, nothing running.
    #[must_use]
    pub fn new(map: Arc<Map>, audit: Audit, metrics: Metrics, settings: Arc<Settings>) -> Self {
        let cache = &settings.cache;
        let life = seconds(cache.members_ttl_s.max(cache.groups_ttl_s));
        metrics.map_accounts.set(i64::try_from(map.len()).unwrap_or(i64::MAX));
        Self {
            ledger: Arc::new(Ledger::new(seconds(cache.read_lag_s), life.max(members::LONGEST_LIFE))),
            members: Claims::new(),
            groups: Claims::new(),
            operations: TaskTracker::new(),
            stop: CancellationToken::new(),
            next_view: AtomicU64::new(0),
            max_in_flight: settings.cloud.max_in_flight,
            map,
            audit,
            metrics,
            settings,
        }
    }

    /// Waits for the running operations, at most for `patience`; then tells the rest of their names "not attempted".
    /// Returns how many operations it had to cut short.
    pub async fn finish(&self, patience: Duration) -> usize {
        self.operations.close();
        let cut_short = match tokio::time::timeout(patience, self.operations.wait()).await {
            Ok(()) => 0,
            Err(_elapsed) => {
                let running = self.operations.len();
                self.stop.cancel();
                // Requests under way end by their own timeout; nothing new begins.
                self.operations.wait().await;
                running
            }
        };
        self.audit.flush().await;
        cut_short
    }

    /// Accounts in the identity map.
    #[must_use]
    pub fn map_accounts(&self) -> usize {
        self.map.len()
    }

    /// Bulk operations running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.operations.len()
    }
}

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
        let entry = map.by_account(account);
        let filled = |text: &Arc<str>| (!text.is_empty()).then(|| Arc::clone(text));
        let order: &[NameKind] = &extender.name_order;
        let map_email = entry
            .and_then(|entry| entry.email.clone())
            .filter(|_| extender.show_map_email);
        Member {
            name: map.shown_name(account, order, extender.show_map_email),
            full_name: profile
                .and_then(|profile| filled(&profile.display_name))
                .or_else(|| entry.and_then(|entry| entry.full_name.clone()))
                .unwrap_or_default(),
            key: entry
                .and_then(|entry| entry.key.clone())
                .unwrap_or_else(|| Arc::from(account.as_str())),
            email: profile
                .and_then(|profile| filled(&profile.email))
                .or(map_email)
                .unwrap_or_default(),
            created: entry.and_then(|entry| entry.created),
            updated: entry.and_then(|entry| entry.updated),
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

    /// Puts accounts into a group, or takes them out.
    ///
    /// Calls when cold: one to find the group, the reads that tell who is in it (see [`Members::membership`]), one a
    /// change.
    ///
    /// # Errors
    /// As [`Error`] says; what was changed before one stays changed.
    pub async fn change_members(
        self: &Arc<Self>,
        change: Change,
        group: GroupName,
        names: Vec<String>,
        context: &Context,
    ) -> Result<Outcome, Error> {
        self.operate(context, async move |directory, context| {
            directory.change_members_now(change, &group, names, &context).await
        })
        .await
    }

    async fn change_members_now(
        &self,
        change: Change,
        name: &GroupName,
        names: Vec<String>,
        context: &Context,
    ) -> Result<Outcome, Error> {
        // The id we remember may be gone: the group was deleted, or made anew under its name. Look again, once.
        for _ in 0..2 {
            let plan = self.plan_members(change, name, names.clone(), context);
            if let Some(plan) = self.unless_stopped(plan).await? {
                let progress = self.progress();
                let run = Run::new(self, context, &progress);
                let records = run.members(change, &plan.group, &plan.items, &plan.membership, plan.claims);
                if let Some(records) = records.await {
                    return self.conclude(&run, &records, context).await;
                }
            }
            self.groups.forget(name).await;
        }
        Err(Error::NoSuchGroup(name.clone()))
    }

    /// `None`: the group is not there under the id we know.
    async fn plan_members(
        &self,
        change: Change,
        name: &GroupName,
        names: Vec<String>,
        context: &Context,
    ) -> Result<Option<MembersPlan>, Error> {
        let process = &*self.process;
        let group = self.group(name, Purpose::Write, context).await?;
        let meanings = if group.externally_managed {
            let reason = |name: &String| {
                if name.trim().is_empty() {
                    Skip::Blank
                } else {
                    Skip::ExternallyManaged
                }
            };
            names.iter().map(|name| Err(reason(name))).collect()
        } else {
            self.identity.resolve(&names, change, &self.cloud, context).await?
        };
        let refuse_merged =
            change == Change::Remove && process.settings.identity.merged_removal == MergedRemoval::Refuse;
        let map = self.identity.map();
        let items = plan::members(names, meanings, |account| {
            refuse_merged && map.by_account(account).is_some_and(identity::Entry::is_merged)
        });
        for item in items.iter().filter(|item| item.step == Err(Skip::MergedAccount)) {
            tracing::warn!(request = %context.request, group = %name, name = %item.name, "not removed: several usernames were merged into this account (identity.merged_removal)");
        }
        // Claimed before it is read who is a member: whatever changes that later is ours, and in the ledger.
        let claims = claim_steps(&process.members, &items, |account| (group.id.clone(), account.clone()));
        let accounts: Vec<AccountId> = items.iter().filter_map(|item| item.step.clone().ok()).collect();
        let membership = self
            .members
            .membership(&group.id, &accounts, &self.cloud, &process.ledger, self.view, context)
            .await?;
        Ok(membership.map(|membership| MembersPlan {
            group,
            items,
            claims,
            membership,
        }))
    }

    /// Makes groups.
    ///
    /// # Errors
    /// As for [`Directory::change_members`].
    pub async fn create_groups(self: &Arc<Self>, names: Vec<String>, context: &Context) -> Result<Outcome, Error> {
        self.operate(context, async move |directory, context| {
            let (_claims, found) = directory.claim_groups(&names, &context).await?;
            let items = plan::new_groups(names, found);
            let progress = directory.progress();
            let run = Run::new(&directory, &context, &progress);
            let records = run.new_groups(&items).await;
            directory.conclude(&run, &records, &context).await
        })
        .await
    }

    /// Deletes groups. Calls: the look-ups, then two a group: a last check of its id, and the deletion.
    ///
    /// # Errors
    /// As for [`Directory::change_members`].
    pub async fn delete_groups(self: &Arc<Self>, names: Vec<String>, context: &Context) -> Result<Outcome, Error> {
        self.operate(context, async move |directory, context| {
            let (_claims, found) = directory.claim_groups(&names, &context).await?;
            let items = plan::old_groups(names, found);
            let progress = directory.progress();
            let run = Run::new(&directory, &context, &progress);
            let records = run.old_groups(&items).await;
            directory.conclude(&run, &records, &context).await
        })
        .await
    }

    /// Claims the names, waits for the operations that came earlier for one of them, and finds out what each name means
    /// after their outcome.
    async fn claim_groups(
        &self,
        names: &[String],
        context: &Context,
    ) -> Result<(Vec<Claim<NameKey>>, Vec<Found>), Error> {
        let keys: std::collections::HashSet<NameKey> = names.iter().map(|name| NameKey::of(name)).collect();
        let mut claims = self.process.groups.claim(keys);
        let plan = async {
            for claim in &mut claims {
                claim.turn().await;
            }
            self.find_groups(
                names,
                &context.again(seconds(self.process.settings.extender.read_deadline_s)),
            )
            .await
        };
        let found = self.unless_stopped(plan).await?;
        Ok((claims, found))
    }

    /// The planning of an operation, given up when a shutdown will not wait for it: nothing has changed by then.
    async fn unless_stopped<T>(&self, plan: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.process.stop.cancelled() => Err(stopping()),
            planned = plan => planned,
        }
    }

    /// What each name means as a group's; each name is looked up once.
    async fn find_groups(&self, names: &[String], context: &Context) -> Result<Vec<Found>, Error> {
        let all: Vec<GroupName> = names.iter().map(|name| GroupName::new(name)).collect();
        let mut seen = std::collections::HashSet::new();
        let distinct: Vec<GroupName> = all
            .iter()
            .filter(|name| name.is_possible() && seen.insert((*name).clone()))
            .cloned()
            .collect();
        let found = self
            .groups
            .find_all(&distinct, &self.cloud, &self.process.ledger, self.view, context)
            .await?;
        let found: std::collections::HashMap<GroupName, Found> = distinct.into_iter().zip(found).collect();
        Ok(all
            .iter()
            .map(|name| found.get(name).cloned().unwrap_or(Found::Nothing))
            .collect())
    }

    fn progress(&self) -> Progress {
        let give_up = seconds(self.process.settings.extender.bulk_give_up_s);
        Progress::new(give_up, self.process.stop.child_token())
    }

    /// Runs a bulk operation on a task of its own and waits for it, though not longer than the caller is to wait.
    async fn operate<F>(
        self: &Arc<Self>,
        context: &Context,
        operation: impl FnOnce(Arc<Self>, Context) -> F + Send + 'static,
    ) -> Result<Outcome, Error>
    where
        F: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        let process = &self.process;
        if !process.audit.check().await {
            let cause = "the audit cannot be written, so nothing is changed".to_owned();
            return Err(Error::Unavailable {
                retry_after: Duration::from_secs(60),
                cause,
            });
        }
        if process.operations.is_closed() {
            return Err(stopping());
        }
        if process.operations.len() >= MOST_OPERATIONS {
            let cause = format!("{MOST_OPERATIONS} bulk operations are running already");
            return Err(Error::Unavailable {
                retry_after: Duration::from_secs(30),
                cause,
            });
        }
        let running = operation(Arc::clone(self), context.clone());
        let gauge = process.metrics.operations.clone();
        let task = process.operations.spawn(async move {
            gauge.inc();
            let outcome = std::panic::AssertUnwindSafe(running);
            let outcome = futures_util::FutureExt::catch_unwind(outcome).await;
            gauge.dec();
            outcome
        });
        let outcome = match process.settings.extender.bulk_answer_deadline_s {
            0 => task.await,
            limit => tokio::time::timeout(seconds(limit), task)
                .await
                .map_err(|_elapsed| Error::StillRunning)?,
        };
        match outcome {
            Ok(Ok(outcome)) => outcome,
            // What was done by then is in the ledger; the same call again finishes the work.
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable {
                retry_after: Duration::from_secs(5),
                cause: "an internal fault ended the operation; sending the same call again is safe".to_owned(),
            }),
        }
    }

    /// Tells log and metrics what became of every name, and the caller what is true, once the audit is in its file.
    async fn conclude(&self, run: &Run<'_>, records: &[Record<'_>], context: &Context) -> Result<Outcome, Error> {
        let process = &*self.process;
        let mut outcome = Outcome::default();
        for record in records {
            let fate = match record.verdict {
                Verdict::Told(fate) => fate,
                Verdict::InDoubt => Fate::Skipped(Skip::NotAttempted),
            };
            if let Fate::Skipped(reason) = fate {
                process
                    .metrics
                    .skipped
                    .get_or_create(&Reason {
                        reason: reason.as_str(),
                    })
                    .inc();
                tracing::info!(request = %context.request, operation = record.operation, group = record.group, name = record.name, reason = reason.as_str(), "skipped");
            }
            outcome.names.push((record.name.to_owned(), fate));
        }
        let interruption = run.interruption(records);
        tracing::info!(
            request = %context.request,
            caller = %context.caller.name,
            operation = records.first().map_or("none", |record| record.operation),
            done = outcome.done().count(),
            skipped = outcome.skipped().count(),
            interrupted = interruption.as_ref().map(tracing::field::display),
            "bulk operation ended"
        );
        if !process.audit.flush().await {
            tracing::error!(request = %context.request, "the audit of this operation is not on disk yet");
        }
        interruption.map_or(Ok(outcome), Err)
    }
}

/// What is going to be done about the members of a group.
struct MembersPlan {
    group: Group,
    items: Vec<Item<AccountId>>,
    claims: Vec<Option<Claim<(GroupId, AccountId)>>>,
    membership: Membership,
}
