//! The four operations that change something: planned, then applied, on a task of their own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::apply::{Run, claim_steps};
use super::claims::Claim;
use super::groups::{Found, Purpose};
use super::members::Membership;
use super::plan::{self, Change, Item};
use super::{Directory, Error, stopping};
use crate::audit::Record;
use crate::cloud::{Group, Progress};
use crate::metrics::Reason;
use crate::model::{AccountId, Context, Fate, GroupId, GroupName, NameKey, OperationId, Outcome, Skip};
use crate::settings::{MergedRemoval, seconds};

/// Bulk operations at once; each holds its names in memory, and most wait for Cloud.
const MOST_OPERATIONS: usize = 256;

/// What is going to be done about the members of a group.
struct MembersPlan {
    group: Group,
    items: Vec<Item<AccountId>>,
    claims: Vec<Option<Claim<(GroupId, AccountId)>>>,
    membership: Membership,
}

impl Directory {
    /// Puts accounts into a group, or takes them out.
    ///
    /// Calls when cold: one to find the group, the reads that tell who is in it (see `members::Members::membership`), one a
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
                let (id, progress) = (OperationId::random(), self.progress());
                let run = Run::new(self, context, &id, &progress);
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
        // One map for the whole plan, whatever takes its place meanwhile.
        let map = self.identity.map();
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
            self.identity
                .resolve(&names, change, &map, &self.cloud, context)
                .await?
        };
        let refuse_merged =
            change == Change::Remove && process.settings.identity.merged_removal == MergedRemoval::Refuse;
        let merged = if refuse_merged {
            let meant: Vec<AccountId> = meanings.iter().filter_map(|meaning| meaning.clone().ok()).collect();
            let usernames = self.identity.usernames(&meant, &map).await?;
            let several = meant
                .into_iter()
                .zip(usernames)
                .filter(|(_, usernames)| usernames.len() > 1);
            several.map(|(account, _)| account).collect()
        } else {
            HashSet::new()
        };
        let items = plan::members(names, meanings, |account| merged.contains(account));
        for item in items.iter().filter(|item| item.step == Err(Skip::MergedAccount)) {
            tracing::warn!(request = %context.request, group = %name, name = %item.name, "not removed: several usernames were merged into this account (identity.merged_removal)");
        }
        // Claimed before it is read who is a member: whatever changes that later is ours, and in the ledger.
        let claims = claim_steps(&process.members, &items, |account| (group.id.clone(), account.clone()));
        let accounts: Vec<AccountId> = items.iter().filter_map(|item| item.step.clone().ok()).collect();
        let membership = self.members.membership(&group.id, &accounts, change, context).await?;
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
            let (id, progress) = (OperationId::random(), directory.progress());
            let run = Run::new(&directory, &context, &id, &progress);
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
            let (id, progress) = (OperationId::random(), directory.progress());
            let run = Run::new(&directory, &context, &id, &progress);
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
        let keys: HashSet<NameKey> = names.iter().map(|name| NameKey::of(name)).collect();
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
        let mut seen = HashSet::new();
        let distinct: Vec<GroupName> = all
            .iter()
            .filter(|name| name.is_possible() && seen.insert((*name).clone()))
            .cloned()
            .collect();
        let found = self
            .groups
            .find_all(&distinct, &self.cloud, &self.process.ledger, self.view, context)
            .await?;
        let found: HashMap<GroupName, Found> = distinct.into_iter().zip(found).collect();
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
            let fate = record.verdict.fate();
            if let Fate::Skipped(reason) = fate {
                process
                    .metrics
                    .skipped
                    .get_or_create(&Reason {
                        reason: reason.as_str(),
                    })
                    .inc();
                tracing::info!(request = %context.request, operation = record.kind.as_str(), group = record.group, name = record.name, reason = reason.as_str(), "skipped");
            }
            outcome.names.push((record.name.to_owned(), fate));
        }
        let interruption = run.interruption(records);
        tracing::info!(
            request = %context.request,
            caller = %context.caller.name,
            operation = records.first().map_or("none", |record| record.kind.as_str()),
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
