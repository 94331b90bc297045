//! Doing what was planned: each change on its own, so many at once, and told truly whatever Cloud's answers look like.
//!
//! `members` and `groups` make one change each; `seats` knows when the licence is full; `doubt` finds out the truth behind an answer that does not tell it.

mod doubt;
mod groups;
mod members;
mod seats;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;

use self::seats::Seats;
use super::claims::{Claim, Claims};
use super::members::Membership;
use super::operations::books::{Open, unwritable};
use super::plan::{Change, Item};
use super::{Directory, Error, stopping};
use crate::audit::{Evidence, Record};
use crate::cloud::{Group, Progress};
use crate::model::{AccountId, Context, GroupId, GroupName, NameKey, OperationId, OperationKind, Skip, Verdict};

/// One running operation.
pub struct Run<'a> {
    directory: &'a Directory,
    context: &'a Context,
    books: &'a Open,
    id: &'a OperationId,
    /// The places of the items in the request, where they are not all of it.
    places: Vec<usize>,
    /// An earlier process may have made each of the changes: what is so already is its doing.
    is_resumed: bool,
    progress: &'a Progress,
    /// Why names were left, the first time it happened.
    cause: Mutex<Option<Error>>,
    changed: AtomicUsize,
    /// The ids of the groups that were made.
    made: Mutex<HashMap<GroupName, GroupId>>,
    deletes: Deletes,
    /// The group whose members were to be changed is not there any more.
    gone: AtomicBool,
    seats: Seats,
}

/// Which groups are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletes {
    All,
    Empty,
}

const DONE: Verdict = Verdict::DONE;
const NOT_ATTEMPTED: Verdict = skip(Skip::NotAttempted);

const fn skip(reason: Skip) -> Verdict {
    Verdict::skipped(reason)
}

impl<'a> Run<'a> {
    pub fn new(
        directory: &'a Directory,
        context: &'a Context,
        books: &'a Open,
        id: &'a OperationId,
        progress: &'a Progress,
    ) -> Self {
        Self {
            directory,
            context,
            books,
            id,
            places: Vec::new(),
            is_resumed: false,
            progress,
            cause: Mutex::new(None),
            changed: AtomicUsize::new(0),
            made: Mutex::default(),
            deletes: Deletes::All,
            gone: AtomicBool::new(false),
            seats: Seats::default(),
        }
    }

    /// The items that are handed over stand at these places of the request.
    pub fn at(mut self, places: Vec<usize>) -> Self {
        self.places = places;
        self
    }

    /// The items are what an earlier process left, and were not so when it planned them.
    pub fn resumed(mut self) -> Self {
        self.is_resumed = true;
        self
    }

    /// Only groups that nobody is in are deleted, and the others told as refused.
    pub fn sparing_members(mut self) -> Self {
        self.deletes = Deletes::Empty;
        self
    }

    fn place(&self, index: usize) -> usize {
        self.places.get(index).copied().unwrap_or(index)
    }

    /// Changes the memberships that are planned; every item gets its record, in order. `None`: the group was gone
    /// before anything was changed.
    pub async fn members<'i>(
        &'i self,
        change: Change,
        group: &'i Group,
        items: &'i [Item<AccountId>],
        membership: &'i Membership,
        claims: Vec<Option<Claim<(GroupId, AccountId)>>>,
    ) -> Option<Vec<Record<'i>>> {
        let record = |index, item: &'i Item<AccountId>, verdict| Record {
            operation: self.id,
            kind: change.kind(),
            index: self.place(index),
            group: group.name.as_str(),
            group_id: Some(&group.id),
            name: &item.name,
            account: item.step.as_ref().ok(),
            verdict,
            evidence: Evidence::Witnessed,
        };
        let act = |account| self.member(change, group, account, membership).boxed();
        let mut verdicts = self.each(items, claims, act, record).await;
        if self.gone.load(Ordering::Relaxed) {
            if self.changed.load(Ordering::Relaxed) == 0 && !verdicts.contains(&Verdict::InDoubt) {
                return None;
            }
            for verdict in verdicts.iter_mut().filter(|verdict| **verdict == NOT_ATTEMPTED) {
                *verdict = skip(Skip::NoSuchGroup);
            }
        }
        Some(self.conclude(items, &verdicts, record).await)
    }

    /// Makes the groups that are planned, under claims that the caller holds.
    pub async fn new_groups<'i>(&'i self, items: &'i [Item<GroupName>]) -> Vec<Record<'i>> {
        let kind = OperationKind::CreateGroups;
        let record = |index, item: &'i Item<GroupName>, verdict| self.group_record(kind, index, item, None, verdict);
        let _moving = self.directory.process.ledger.moving_groups();
        let act = |name| self.create_group(name).boxed();
        let verdicts = self.each(items, unclaimed(items), act, record).await;
        self.conclude(items, &verdicts, record).await
    }

    /// Deletes the groups that are planned, under claims that the caller holds.
    pub async fn old_groups<'i>(&'i self, items: &'i [Item<Group>]) -> Vec<Record<'i>> {
        let kind = OperationKind::DeleteGroups;
        let record = |index, item: &'i Item<Group>, verdict| {
            let id = item.step.as_ref().ok().map(|group| &group.id);
            self.group_record(kind, index, item, id, verdict)
        };
        let _moving = self.directory.process.ledger.moving_groups();
        let act = |group| self.delete_group(group).boxed();
        let verdicts = self.each(items, unclaimed(items), act, record).await;
        self.conclude(items, &verdicts, record).await
    }

    /// Runs `act` for every item with a step, in its turn, several at once; whoever waits for another operation comes
    /// last, so that nobody else waits behind it. What was changed is in the audit at once: a process that is killed
    /// must not take it along.
    async fn each<'i, T, K>(
        &'i self,
        items: &'i [Item<T>],
        claims: Vec<Option<Claim<K>>>,
        act: impl Fn(&'i T) -> BoxFuture<'i, Verdict> + Send + Sync,
        record: impl Fn(usize, &'i Item<T>, Verdict) -> Record<'i>,
    ) -> Vec<Verdict>
    where
        T: Sync,
        K: Hash + Eq + Send + Sync + 'i,
    {
        let process = &self.directory.process;
        let mut verdicts: Vec<Verdict> = items
            .iter()
            .map(|item| item.step.as_ref().err().map_or(NOT_ATTEMPTED, |reason| skip(*reason)))
            .collect();
        let (mut mine, mut held) = (Vec::new(), Vec::new());
        for (index, (item, claim)) in items.iter().zip(claims).enumerate() {
            let Ok(step) = &item.step else { continue };
            let mut claim = claim;
            let is_mine = claim.as_mut().is_none_or(Claim::is_mine);
            if is_mine {
                mine.push((index, step, claim))
            } else {
                held.push((index, step, claim))
            }
        }
        let jobs = mine.into_iter().chain(held).map(|(index, step, mut claim)| {
            let act = act(step);
            let job = async move {
                if let Some(claim) = &mut claim
                    && !claim.is_mine()
                {
                    tokio::select! {
                        () = claim.turn() => {}
                        () = self.progress.stopped() => return (index, NOT_ATTEMPTED),
                    }
                    // Waiting for others is no failure of Cloud's.
                    self.progress.succeeded();
                }
                if self.is_halted() {
                    return (index, NOT_ATTEMPTED);
                }
                let verdict = act.await;
                // The next in the queue judges by our outcome, which is in the ledger by now.
                drop(claim);
                (index, verdict)
            };
            job.boxed()
        });
        // Each is made when its turn comes: as a future a name takes kilobytes.
        let jobs: Box<dyn Iterator<Item = BoxFuture<'i, (usize, Verdict)>> + Send + '_> = Box::new(jobs);
        let mut running = futures_util::stream::iter(jobs).buffer_unordered(process.max_in_flight);
        while let Some((index, verdict)) = running.next().await {
            if let (Some(slot), Some(item)) = (verdicts.get_mut(index), items.get(index)) {
                *slot = verdict;
                // What was not attempted is only said at the end: the process may still be ended, and the next one try it.
                if verdict != NOT_ATTEMPTED {
                    match self.made.lock().remove(&GroupName::new(&item.name)) {
                        Some(group) => self.books.settle_created(self.id, self.place(index), group),
                        None => self.books.settle(self.id, self.place(index), verdict),
                    }
                }
                if is_change(verdict) {
                    self.books.tell(self.context, &[record(index, item, verdict)]).await;
                }
            }
        }
        verdicts
    }

    /// Tells the audit what is not in it yet.
    async fn conclude<'i, T>(
        &self,
        items: &'i [Item<T>],
        verdicts: &[Verdict],
        record: impl Fn(usize, &'i Item<T>, Verdict) -> Record<'i>,
    ) -> Vec<Record<'i>> {
        let records = (0..).zip(items.iter().zip(verdicts));
        let records = records.map(|(index, (item, verdict))| record(index, item, *verdict));
        let records: Vec<Record<'i>> = records.collect();
        let rest = records.iter().filter(|record| !is_change(record.verdict)).cloned();
        self.books.tell(self.context, &rest.collect::<Vec<_>>()).await;
        for record in records.iter().filter(|record| !is_change(record.verdict)) {
            self.books.settle(self.id, record.index, record.verdict);
        }
        records
    }

    fn group_record<'i, T>(
        &'i self,
        kind: OperationKind,
        index: usize,
        item: &'i Item<T>,
        group_id: Option<&'i GroupId>,
        verdict: Verdict,
    ) -> Record<'i> {
        Record {
            operation: self.id,
            kind,
            index: self.place(index),
            group: &item.name,
            group_id,
            name: &item.name,
            account: None,
            verdict,
            evidence: Evidence::Witnessed,
        }
    }

    fn is_halted(&self) -> bool {
        self.progress.is_over()
            || self.cannot_be_written()
            || self.gone.load(Ordering::Relaxed)
            || matches!(&*self.cause.lock(), Some(Error::Refused { .. }))
    }

    /// Why names were left though no call for one of them failed.
    fn given_up(&self) -> Error {
        if self.progress.is_stopped() {
            return stopping();
        }
        Error::Unavailable {
            retry_after: Duration::from_secs(60),
            cause: "nothing succeeded for as long as extender.bulk_give_up_s allows".to_owned(),
        }
    }

    /// A change that cannot be put on record is not made.
    fn cannot_be_written(&self) -> bool {
        let fault = self.books.fault();
        if let Some(fault) = fault {
            self.left(unwritable(fault));
        }
        fault.is_some()
    }

    /// What the caller is to be told if some names were left: nothing was changed, or something was.
    pub fn interruption(&self, records: &[Record<'_>]) -> Option<Error> {
        let in_doubt = records.iter().any(|record| record.verdict == Verdict::InDoubt);
        let left = records
            .iter()
            .filter(|record| matches!(record.verdict, NOT_ATTEMPTED | Verdict::InDoubt))
            .count();
        // Those for whom the licence had no seat are told so; sending the call again would change nothing.
        if left <= self.seats.passed_over() {
            return None;
        }
        let error = self.cause.lock().clone().unwrap_or_else(|| self.given_up());
        if self.changed.load(Ordering::Relaxed) == 0 && !in_doubt {
            return Some(error);
        }
        let retry_after = match &error {
            Error::Unavailable { retry_after, .. } => *retry_after,
            _ => Duration::from_secs(60),
        };
        let skipped = records.iter().filter(|record| record.verdict != DONE).count();
        Some(Error::Interrupted {
            done: records.len() - left,
            skipped,
            left,
            retry_after,
            cause: error.to_string(),
        })
    }

    fn left(&self, error: impl Into<Error>) -> Verdict {
        let error = error.into();
        let mut cause = self.cause.lock();
        // A refused credential stops everything, so it outranks a passing failure.
        if cause.is_none() || matches!(error, Error::Refused { .. }) {
            *cause = Some(error);
        }
        NOT_ATTEMPTED
    }

    fn in_doubt(&self, error: impl Into<Error>) -> Verdict {
        self.left(error);
        Verdict::InDoubt
    }

    fn done(&self) -> Verdict {
        self.changed.fetch_add(1, Ordering::Relaxed);
        DONE
    }
}

/// Whether Cloud was changed, or may have been.
fn is_change(verdict: Verdict) -> bool {
    matches!(verdict, DONE | Verdict::InDoubt)
}

/// For steps whose claims the caller holds.
fn unclaimed<T>(items: &[Item<T>]) -> Vec<Option<Claim<NameKey>>> {
    items.iter().map(|_| None).collect()
}

/// Claims a key for every step of the plan, all at one moment.
pub fn claim_steps<T, K: Hash + Eq + Clone>(
    claims: &Claims<K>,
    items: &[Item<T>],
    key: impl Fn(&T) -> K,
) -> Vec<Option<Claim<K>>> {
    let steps = || items.iter().map(|item| item.step.as_ref().ok());
    let mut claimed = claims.claim(steps().flatten().map(key)).into_iter();
    steps().map(|step| step.and_then(|_| claimed.next())).collect()
}
