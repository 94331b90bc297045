//! Doing what was planned: each change on its own, so many at once, and told truly whatever Cloud's answers look like.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;

use super::claims::{Claim, Claims};
use super::members::{Members, Membership};
use super::plan::{Change, Item};
use super::{Directory, Error};
use crate::audit::Verdict;
use crate::cloud::{self, Group, Patience, Progress, Reply, Settled};
use crate::model::{AccountId, Context, Fate, GroupName, Skip};

/// How long one read that settles a doubt may take.
const SETTLE: Duration = Duration::from_secs(20);

/// One running operation.
pub struct Run<'a> {
    pub directory: &'a Directory,
    pub context: &'a Context,
    pub progress: &'a Progress,
    /// Why names were left, the first time it happened.
    cause: Mutex<Option<cloud::Error>>,
    changed: AtomicUsize,
}

/// What an unanswered try leaves open.
#[derive(Clone, Copy)]
enum Doubt<'a> {
    /// The membership is as the change leaves it.
    Member(Change, &'a Group, &'a AccountId),
    /// A group of this name is there.
    Appeared(&'a GroupName),
    /// The group is not there any more.
    Gone(&'a Group),
}

const DONE: Verdict = Verdict::Told(Fate::Done);
const NOT_ATTEMPTED: Verdict = skip(Skip::NotAttempted);

const fn skip(reason: Skip) -> Verdict {
    Verdict::Told(Fate::Skipped(reason))
}

impl<'a> Run<'a> {
    pub fn new(directory: &'a Directory, context: &'a Context, progress: &'a Progress) -> Self {
        Self {
            directory,
            context,
            progress,
            cause: Mutex::new(None),
            changed: AtomicUsize::new(0),
        }
    }

    /// Changes the memberships that are planned; every item gets its verdict, in order.
    pub async fn members<'i>(
        &'i self,
        change: Change,
        group: &'i Group,
        items: &'i [Item<AccountId>],
        membership: &'i Membership,
        claims: HashMap<AccountId, Claim<(crate::model::GroupId, AccountId)>>,
    ) -> Vec<Verdict> {
        self.each(items, claims, |account, _waited| {
            let act = async move {
                let ledger = &self.directory.process.ledger;
                let present = ledger
                    .verdict(&group.id, account, membership.read)
                    .unwrap_or_else(|| membership.present.contains(account));
                match change.needless(present) {
                    Some(reason) => skip(reason),
                    None => self.change_member(change, group, account).await,
                }
            };
            act.boxed()
        })
        .await
    }

    /// Makes the groups that are planned.
    pub async fn new_groups<'i>(
        &'i self,
        items: &'i [Item<GroupName>],
        claims: HashMap<GroupName, Claim<crate::model::NameKey>>,
    ) -> Vec<Verdict> {
        self.each(items, claims, |name, waited| {
            let act = async move {
                // Whoever held the name before may have made the group.
                if waited && self.directory.process.ledger.was_just_created(&name.key()) {
                    return skip(Skip::AlreadyExists);
                }
                self.create_group(name).await
            };
            act.boxed()
        })
        .await
    }

    /// Deletes the groups that are planned.
    pub async fn old_groups<'i>(
        &'i self,
        items: &'i [Item<Group>],
        claims: HashMap<Group, Claim<crate::model::NameKey>>,
    ) -> Vec<Verdict> {
        self.each(items, claims, |group, _waited| self.delete_group(group).boxed())
            .await
    }

    /// Runs `act` for every item with a step, in its turn, several at once; whoever waits for another operation comes
    /// last, so that nobody else waits behind it.
    async fn each<'i, T, K>(
        &'i self,
        items: &'i [Item<T>],
        mut claims: HashMap<T, Claim<K>>,
        act: impl Fn(&'i T, bool) -> BoxFuture<'i, Verdict>,
    ) -> Vec<Verdict>
    where
        T: Hash + Eq + Sync,
        K: Hash + Eq + Send + Sync + 'i,
    {
        let mut verdicts: Vec<Verdict> = items
            .iter()
            .map(|item| item.step.as_ref().err().map_or(NOT_ATTEMPTED, |reason| skip(*reason)))
            .collect();
        let mut mine = Vec::new();
        let mut held = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Ok(step) = &item.step else { continue };
            let Some(mut claim) = claims.remove(step) else { continue };
            if claim.is_mine() {
                mine.push((index, step, claim))
            } else {
                held.push((index, step, claim))
            }
        }
        let waited_from = mine.len();
        let mut jobs: Vec<BoxFuture<'i, (usize, Verdict)>> = Vec::with_capacity(mine.len() + held.len());
        for (position, (index, step, mut claim)) in mine.into_iter().chain(held).enumerate() {
            let act = act(step, position >= waited_from);
            let job = async move {
                tokio::select! {
                    () = claim.turn() => {}
                    () = self.progress.stopped() => return (index, NOT_ATTEMPTED),
                }
                if self.is_halted() {
                    return (index, NOT_ATTEMPTED);
                }
                let verdict = act.await;
                // The next in the queue judges by our outcome, which is in the ledger by now.
                drop(claim);
                (index, verdict)
            };
            jobs.push(job.boxed());
        }
        let mut running = futures_util::stream::iter(jobs).buffer_unordered(self.directory.process.max_in_flight);
        while let Some((index, verdict)) = running.next().await {
            if let Some(slot) = verdicts.get_mut(index) {
                *slot = verdict;
            }
        }
        verdicts
    }

    fn is_halted(&self) -> bool {
        self.progress.is_over() || matches!(&*self.cause.lock(), Some(cloud::Error::Refused { .. }))
    }

    /// What the caller is to be told if some names were left: nothing was changed, or something was.
    pub fn interruption(&self, verdicts: &[Verdict]) -> Option<Error> {
        let left = verdicts
            .iter()
            .filter(|verdict| matches!(**verdict, NOT_ATTEMPTED | Verdict::InDoubt))
            .count();
        if left == 0 {
            return None;
        }
        let cause = self.cause.lock().clone();
        let error = cause.map_or_else(
            || Error::Unavailable {
                retry_after: Duration::from_secs(30),
                cause: "the server is stopping".to_owned(),
            },
            Error::from,
        );
        let in_doubt = verdicts.contains(&Verdict::InDoubt);
        if self.changed.load(Ordering::Relaxed) == 0 && !in_doubt {
            return Some(error);
        }
        let retry_after = match &error {
            Error::Unavailable { retry_after, .. } => *retry_after,
            _ => Duration::from_secs(60),
        };
        Some(Error::Interrupted {
            done: verdicts.len() - left,
            left,
            retry_after,
            cause: error.to_string(),
        })
    }

    fn left(&self, error: cloud::Error) -> Verdict {
        let mut cause = self.cause.lock();
        // A refused credential stops everything, so it outranks a passing failure.
        if cause.is_none() || matches!(error, cloud::Error::Refused { .. }) {
            *cause = Some(error);
        }
        NOT_ATTEMPTED
    }

    fn done(&self) -> Verdict {
        self.changed.fetch_add(1, Ordering::Relaxed);
        DONE
    }

    async fn change_member(&self, change: Change, group: &Group, account: &AccountId) -> Verdict {
        let (cloud, request) = (&self.directory.cloud, &self.context.request);
        let patience = Patience::WhileUnder(self.progress);
        let answer = match change {
            Change::Add => cloud.add_member(&group.id, account, request, patience).await,
            Change::Remove => cloud.remove_member(&group.id, account, request, patience).await,
        };
        let verdict = match answer {
            Ok(settled) => {
                self.progress.succeeded();
                self.judge_member(change, group, account, settled).await
            }
            Err(cloud::Error::Unavailable {
                operation,
                retry_after,
                cause,
                doubtful: true,
            }) => {
                // Some try may have taken effect; what the caller reads must be what Cloud holds.
                match self.comes_true(Doubt::Member(change, group, account)).await {
                    Some(true) => self.done(),
                    Some(false) => self.left(cloud::Error::Unavailable {
                        operation,
                        retry_after,
                        cause,
                        doubtful: false,
                    }),
                    None => {
                        self.left(cloud::Error::Unavailable {
                            operation,
                            retry_after,
                            cause,
                            doubtful: true,
                        });
                        Verdict::InDoubt
                    }
                }
            }
            Err(error) => self.left(error),
        };
        let present = match verdict {
            DONE => Some(change.leaves_present()),
            Verdict::Told(Fate::Skipped(Skip::AlreadyMember)) => Some(true),
            Verdict::Told(Fate::Skipped(Skip::NotMember)) => Some(false),
            _ => None,
        };
        if let Some(present) = present {
            self.directory
                .process
                .ledger
                .member_changed(&group.id, account, present, self.directory.view);
        }
        verdict
    }

    /// Turns an answer into the truth. The status alone does not tell it: "already so" comes as 409, 400 or a success,
    /// "not there" as 404 or a success, and an earlier try of ours may be what made it so.
    async fn judge_member(&self, change: Change, group: &Group, account: &AccountId, settled: Settled) -> Verdict {
        let needless = match change {
            Change::Add => Skip::AlreadyMember,
            Change::Remove => Skip::NotMember,
        };
        match settled {
            Settled {
                reply: Reply::Accepted, ..
            } => self.done(),
            Settled {
                reply: Reply::Already,
                doubtful: true,
            } => self.done(),
            Settled {
                reply: Reply::Already,
                doubtful: false,
            } => skip(needless),
            Settled {
                reply: Reply::NoSeat, ..
            } => skip(Skip::NoSeat),
            Settled {
                reply: Reply::NotThere | Reply::Declined(_),
                doubtful: true,
            } => match self.comes_true(Doubt::Member(change, group, account)).await {
                Some(true) => self.done(),
                Some(false) => skip(Skip::Refused),
                None => Verdict::InDoubt,
            },
            Settled { reply, doubtful: false } => {
                tracing::info!(request = %self.context.request, group = %group.name, %account, ?reply, "Cloud declines a change");
                match self.is_member_now(group, account).await {
                    Ok(present) if change.needless(present).is_some() => skip(needless),
                    Ok(_) if reply == Reply::NotThere && self.is_true(Doubt::Gone(group)).await == Some(true) => {
                        skip(Skip::NoSuchGroup)
                    }
                    // Cloud answered about this very name; whether it was so already is all we do not know.
                    Ok(_) | Err(_) => skip(Skip::Refused),
                }
            }
        }
    }

    /// Asks until the answer is yes, with growing pauses, until Cloud's reads can no longer lag behind our writes.
    /// `None`: Cloud cannot be asked.
    async fn comes_true(&self, doubt: Doubt<'_>) -> Option<bool> {
        let until = Instant::now() + self.directory.process.ledger.lag();
        let mut pause = Duration::from_millis(100);
        loop {
            match self.is_true(doubt).await {
                Some(false) if Instant::now() < until => {}
                answer => return answer,
            }
            tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
            pause *= 2;
        }
    }

    async fn is_true(&self, doubt: Doubt<'_>) -> Option<bool> {
        match doubt {
            Doubt::Member(change, group, account) => {
                Some(self.is_member_now(group, account).await.ok()? == change.leaves_present())
            }
            Doubt::Appeared(name) => {
                let context = self.context.again(SETTLE);
                let found = self
                    .directory
                    .groups
                    .find_now(name, &self.directory.cloud, &context)
                    .await;
                Some(found.ok()?.is_some())
            }
            Doubt::Gone(group) => {
                let patience = Patience::Until(Instant::now() + SETTLE);
                let found = self
                    .directory
                    .cloud
                    .group(&group.id, &self.context.request, patience)
                    .await;
                Some(found.ok()?.is_none())
            }
        }
    }

    async fn is_member_now(&self, group: &Group, account: &AccountId) -> Result<bool, Error> {
        Members::is_member_now(&group.id, account, &self.directory.cloud, &self.context.again(SETTLE)).await
    }

    async fn create_group(&self, name: &GroupName) -> Verdict {
        let directory = self.directory;
        let mut doubtful = false;
        loop {
            let patience = Patience::WhileUnder(self.progress);
            match directory
                .cloud
                .create_group(name, &self.context.request, patience)
                .await
            {
                Ok((settled, group)) => {
                    self.progress.succeeded();
                    let ours = doubtful || settled.doubtful;
                    return match settled.reply {
                        Reply::Accepted => self.created(name, group),
                        Reply::Already if ours => self.created(name, None),
                        Reply::Already => skip(Skip::AlreadyExists),
                        _ if ours => match self.comes_true(Doubt::Appeared(name)).await {
                            Some(true) => self.created(name, None),
                            _ => skip(Skip::Refused),
                        },
                        _ => match self.is_true(Doubt::Appeared(name)).await {
                            Some(true) => skip(Skip::AlreadyExists),
                            _ => skip(Skip::Refused),
                        },
                    };
                }
                // Made or not? Only a look-up tells, and only then may it be sent again.
                Err(error @ cloud::Error::Unavailable { doubtful: true, .. }) => {
                    doubtful = true;
                    match self.comes_true(Doubt::Appeared(name)).await {
                        Some(true) => return self.created(name, None),
                        Some(false) if self.progress.is_over() => return self.left(error),
                        Some(false) => {}
                        None => {
                            self.left(error);
                            return Verdict::InDoubt;
                        }
                    }
                }
                Err(error) => return self.left(error),
            }
        }
    }

    fn created(&self, name: &GroupName, group: Option<Group>) -> Verdict {
        self.directory
            .process
            .ledger
            .group_created(name.clone(), group, self.directory.view);
        self.done()
    }

    async fn delete_group(&self, group: &Group) -> Verdict {
        let (cloud, request) = (&self.directory.cloud, &self.context.request);
        let patience = Patience::WhileUnder(self.progress);
        // Groups are renamed and re-created: directly before it is deleted, the id must still bear the name.
        match cloud.group(&group.id, request, patience).await {
            Ok(Some(now)) if now.name.key() == group.name.key() => {}
            Ok(_) => return skip(Skip::NoSuchGroup),
            Err(error) => return self.left(error),
        }
        match cloud.delete_group(&group.id, request, patience).await {
            Ok(settled) => {
                self.progress.succeeded();
                match settled {
                    Settled {
                        reply: Reply::Accepted, ..
                    }
                    | Settled {
                        reply: Reply::NotThere,
                        doubtful: true,
                    } => self.deleted(group),
                    Settled {
                        reply: Reply::NotThere,
                        doubtful: false,
                    } => skip(Skip::NoSuchGroup),
                    Settled { doubtful: true, .. } if self.comes_true(Doubt::Gone(group)).await == Some(true) => {
                        self.deleted(group)
                    }
                    Settled { .. } => skip(Skip::Refused),
                }
            }
            Err(error @ cloud::Error::Unavailable { doubtful: true, .. }) => {
                match self.comes_true(Doubt::Gone(group)).await {
                    Some(true) => self.deleted(group),
                    _ => {
                        self.left(error);
                        Verdict::InDoubt
                    }
                }
            }
            Err(error) => self.left(error),
        }
    }

    fn deleted(&self, group: &Group) -> Verdict {
        self.directory
            .process
            .ledger
            .group_deleted(group.id.clone(), self.directory.view);
        self.done()
    }
}

/// Claims one key for every step of the plan.
pub fn claim_steps<T: Hash + Eq + Clone, K: Hash + Eq + Clone>(
    claims: &Claims<K>,
    items: &[Item<T>],
    key: impl Fn(&T) -> K,
) -> HashMap<T, Claim<K>> {
    let mut seen = std::collections::HashSet::new();
    let steps: Vec<&T> = items
        .iter()
        .filter_map(|item| item.step.as_ref().ok())
        .filter(|step| seen.insert(key(step)))
        .collect();
    let claimed = claims.claim(steps.iter().map(|step| key(step)));
    steps.into_iter().cloned().zip(claimed).collect()
}
