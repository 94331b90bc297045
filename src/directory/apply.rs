//! Doing what was planned: each change on its own, so many at once, and told truly whatever Cloud's answers look like.

use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;

use super::claims::{Claim, Claims};
use super::ledger::Word;
use super::members::{Members, Membership};
use super::plan::{Change, Item};
use super::{Directory, Error, stopping};
use crate::audit::{Record, Verdict};
use crate::cloud::{self, Group, Patience, Progress, Reply, Settled};
use crate::model::{AccountId, Context, Fate, GroupId, GroupName, NameKey, Skip};

/// How long one read that settles a doubt may take, and how long after a shutdown has stopped the operation.
const SETTLE: Duration = Duration::from_secs(20);
const SETTLE_STOPPED: Duration = Duration::from_secs(3);

/// One running operation.
pub struct Run<'a> {
    directory: &'a Directory,
    context: &'a Context,
    progress: &'a Progress,
    /// Why names were left, the first time it happened.
    cause: Mutex<Option<Error>>,
    changed: AtomicUsize,
    /// The group whose members were to be changed is not there any more.
    gone: AtomicBool,
}

/// What an unanswered try leaves open.
#[derive(Clone, Copy)]
enum Doubt<'a> {
    /// The membership is as the change leaves it.
    Member(Change, &'a Group, &'a AccountId),
    /// The group is not there any more.
    Gone(&'a Group),
}

/// Until when Cloud's reads may lag behind a write of ours, and how long to wait before the next reading.
struct Lag {
    until: Instant,
    pause: Duration,
}

impl Lag {
    fn new(longest: Duration) -> Self {
        Self {
            until: Instant::now() + longest,
            pause: Duration::from_millis(100),
        }
    }
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
            gone: AtomicBool::new(false),
        }
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
        let record = |item: &'i Item<AccountId>, verdict| Record {
            operation: change.name(),
            group: group.name.as_str(),
            group_id: Some(&group.id),
            name: &item.name,
            account: item.step.as_ref().ok(),
            verdict,
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
        let record = |item: &'i Item<GroupName>, verdict| group_record("create_groups", item, None, verdict);
        let _moving = self.directory.process.ledger.moving_groups();
        let act = |name| self.create_group(name).boxed();
        let verdicts = self.each(items, unclaimed(items), act, record).await;
        self.conclude(items, &verdicts, record).await
    }

    /// Deletes the groups that are planned, under claims that the caller holds.
    pub async fn old_groups<'i>(&'i self, items: &'i [Item<Group>]) -> Vec<Record<'i>> {
        let record = |item: &'i Item<Group>, verdict| {
            let id = item.step.as_ref().ok().map(|group| &group.id);
            group_record("delete_groups", item, id, verdict)
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
        act: impl Fn(&'i T) -> BoxFuture<'i, Verdict>,
        record: impl Fn(&'i Item<T>, Verdict) -> Record<'i>,
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
        let jobs: Vec<BoxFuture<'i, (usize, Verdict)>> = jobs.collect();
        let mut running = futures_util::stream::iter(jobs).buffer_unordered(process.max_in_flight);
        while let Some((index, verdict)) = running.next().await {
            if let (Some(slot), Some(item)) = (verdicts.get_mut(index), items.get(index)) {
                *slot = verdict;
                if is_change(verdict) {
                    process.audit.write(self.context, &[record(item, verdict)]).await;
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
        record: impl Fn(&'i Item<T>, Verdict) -> Record<'i>,
    ) -> Vec<Record<'i>> {
        let records = items.iter().zip(verdicts).map(|(item, verdict)| record(item, *verdict));
        let records: Vec<Record<'i>> = records.collect();
        let rest = records.iter().filter(|record| !is_change(record.verdict)).cloned();
        let audit = &self.directory.process.audit;
        audit.write(self.context, &rest.collect::<Vec<_>>()).await;
        records
    }

    fn is_halted(&self) -> bool {
        self.progress.is_over()
            || self.gone.load(Ordering::Relaxed)
            || matches!(&*self.cause.lock(), Some(Error::Refused { .. }))
    }

    /// What the caller is to be told if some names were left: nothing was changed, or something was.
    pub fn interruption(&self, records: &[Record<'_>]) -> Option<Error> {
        let in_doubt = records.iter().any(|record| record.verdict == Verdict::InDoubt);
        let left = records
            .iter()
            .filter(|record| matches!(record.verdict, NOT_ATTEMPTED | Verdict::InDoubt))
            .count();
        if left == 0 {
            return None;
        }
        let error = self.cause.lock().clone().unwrap_or_else(stopping);
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

    /// One membership: judged by what was read and by what we have done since, then changed if need be.
    async fn member(&self, change: Change, group: &Group, account: &AccountId, membership: &Membership) -> Verdict {
        let ledger = &self.directory.process.ledger;
        let doubt = Doubt::Member(change, group, account);
        let needless = match ledger.word(&group.id, account, membership.read) {
            Word::Settled(present) => change.needless(present),
            Word::Nothing => change.needless(membership.present.contains(account)),
            Word::Doubtful => match self.comes_true(doubt).await {
                Ok(true) => change.needless(change.leaves_present()),
                Ok(false) => None,
                Err(error) => return self.left(error),
            },
        };
        if let Some(reason) = needless {
            return skip(reason);
        }
        let moving = ledger.moving_members(&group.id);
        let verdict = self.change_member(change, group, account).await;
        let present = match verdict {
            DONE => Some(change.leaves_present()),
            Verdict::Told(Fate::Skipped(Skip::AlreadyMember)) => Some(true),
            Verdict::Told(Fate::Skipped(Skip::NotMember)) => Some(false),
            Verdict::InDoubt => None,
            Verdict::Told(_) => return verdict,
        };
        ledger.member_changed(&group.id, account, present, self.directory.view);
        drop(moving);
        verdict
    }

    async fn change_member(&self, change: Change, group: &Group, account: &AccountId) -> Verdict {
        let (cloud, request) = (&self.directory.cloud, &self.context.request);
        let patience = Patience::WhileUnder(self.progress);
        let answer = match change {
            Change::Add => cloud.add_member(&group.id, account, request, patience).await,
            Change::Remove => cloud.remove_member(&group.id, account, request, patience).await,
        };
        match answer {
            Ok(settled) => {
                self.progress.succeeded();
                self.judge_member(change, group, account, settled).await
            }
            // Some try may have taken effect; what the caller reads must be what Cloud holds.
            Err(error) if error.leaves_doubt() => match self.comes_true(Doubt::Member(change, group, account)).await {
                Ok(true) => self.done(),
                Ok(false) => self.left(error),
                Err(_unread) => self.in_doubt(error),
            },
            Err(error) => self.left(error),
        }
    }

    /// Turns an answer into the truth. The status alone does not tell it: "already so" comes as 409, 400 or a success,
    /// "not there" as 404 or a success, and an earlier try of ours may be what made it so.
    async fn judge_member(&self, change: Change, group: &Group, account: &AccountId, settled: Settled) -> Verdict {
        let needless = match change {
            Change::Add => Skip::AlreadyMember,
            Change::Remove => Skip::NotMember,
        };
        let Settled { reply, doubtful } = settled;
        match (reply, doubtful) {
            (Reply::Accepted, _) | (Reply::Already, true) => self.done(),
            (Reply::Already, false) => skip(needless),
            (Reply::NoSeat, false) => skip(Skip::NoSeat),
            (reply, true) => match self.comes_true(Doubt::Member(change, group, account)).await {
                Ok(true) => self.done(),
                Ok(false) if reply == Reply::NoSeat => skip(Skip::NoSeat),
                Ok(false) => skip(Skip::Refused),
                Err(error) => self.in_doubt(error),
            },
            (reply, false) => {
                tracing::info!(request = %self.context.request, group = %group.name, %account, ?reply, "Cloud declines a change");
                match self.is_member_now(group, account).await {
                    Ok(present) if change.needless(present).is_some() => skip(needless),
                    Ok(_) if reply == Reply::NotThere && self.is_true(Doubt::Gone(group)).await.unwrap_or(false) => {
                        self.gone.store(true, Ordering::Relaxed);
                        NOT_ATTEMPTED
                    }
                    // Cloud answered about this very name; whether it was so already is all we do not know.
                    Ok(_) | Err(_) => skip(Skip::Refused),
                }
            }
        }
    }

    /// Asks until the answer is yes, with growing pauses, until Cloud's reads can no longer lag behind our writes.
    ///
    /// # Errors
    /// Cloud cannot be asked.
    async fn comes_true(&self, doubt: Doubt<'_>) -> Result<bool, Error> {
        let mut lag = Lag::new(self.directory.process.ledger.lag());
        loop {
            if self.is_true(doubt).await? {
                return Ok(true);
            }
            if !self.wait_for_reads(&mut lag).await? {
                return Ok(false);
            }
        }
    }

    /// The group of this name once Cloud shows it; `None` if it does not, though reads can no longer lag.
    async fn appears(&self, name: &GroupName) -> Result<Option<Group>, Error> {
        let mut lag = Lag::new(self.directory.process.ledger.lag());
        loop {
            let found = self.find_now(name).await?;
            if found.is_some() || !self.wait_for_reads(&mut lag).await? {
                return Ok(found);
            }
        }
    }

    /// Waits until it is worth reading again; `false`: what was read last is no longer what was before our writes.
    async fn wait_for_reads(&self, lag: &mut Lag) -> Result<bool, Error> {
        let left = lag.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        tokio::select! {
            () = tokio::time::sleep(lag.pause.min(left)) => {}
            // Too early for a no, and no time left to wait for one.
            () = self.progress.stopped() => return Err(stopping()),
        }
        lag.pause *= 2;
        Ok(true)
    }

    async fn is_true(&self, doubt: Doubt<'_>) -> Result<bool, Error> {
        match doubt {
            Doubt::Member(change, group, account) => {
                Ok(self.is_member_now(group, account).await? == change.leaves_present())
            }
            Doubt::Gone(group) => {
                let patience = Patience::Until(Instant::now() + self.settle());
                let (cloud, request) = (&self.directory.cloud, &self.context.request);
                Ok(cloud.group(&group.id, request, patience).await?.is_none())
            }
        }
    }

    fn settle(&self) -> Duration {
        if self.progress.is_stopped() {
            SETTLE_STOPPED
        } else {
            SETTLE
        }
    }

    async fn find_now(&self, name: &GroupName) -> Result<Option<Group>, Error> {
        let context = self.context.again(self.settle());
        self.directory
            .groups
            .find_now(name, &self.directory.cloud, &context)
            .await
    }

    async fn is_member_now(&self, group: &Group, account: &AccountId) -> Result<bool, Error> {
        Members::is_member_now(
            &group.id,
            account,
            &self.directory.cloud,
            &self.context.again(self.settle()),
        )
        .await
    }

    async fn create_group(&self, name: &GroupName) -> Verdict {
        let (cloud, request) = (&self.directory.cloud, &self.context.request);
        let (mut ours, mut tries) = (false, 0);
        loop {
            tries += 1;
            let patience = Patience::WhileUnder(self.progress);
            match cloud.create_group(name, request, patience).await {
                Ok((settled, group)) => {
                    self.progress.succeeded();
                    ours |= settled.doubtful || settled.reply == Reply::Accepted;
                    if group.is_some() {
                        return self.created(name, group);
                    }
                    if ours {
                        // Its id is wanted: with it the group can be shown and filled before Cloud's reads show it.
                        return match self.appears(name).await {
                            Ok(None) if !matches!(settled.reply, Reply::Accepted | Reply::Already) => {
                                skip(Skip::Refused)
                            }
                            Ok(group) => self.created(name, group),
                            Err(_unread) if settled.reply == Reply::Accepted => self.created(name, None),
                            Err(error) => self.group_in_doubt(error),
                        };
                    }
                    return match self.find_now(name).await {
                        Ok(Some(_)) => skip(Skip::AlreadyExists),
                        _ if settled.reply == Reply::Already => skip(Skip::AlreadyExists),
                        _ => skip(Skip::Refused),
                    };
                }
                // Made or not? Only a look-up tells, and only then may it be sent again.
                Err(error) if error.leaves_doubt() => match self.appears(name).await {
                    Ok(Some(group)) => return self.created(name, Some(group)),
                    Ok(None)
                        if self.is_halted()
                            || tries >= self.directory.process.settings.cloud.max_tries
                            || matches!(error, cloud::Error::Refused { .. }) =>
                    {
                        return self.left(error);
                    }
                    Ok(None) => ours = true,
                    Err(_unread) => return self.group_in_doubt(error),
                },
                Err(error) => return self.left(error),
            }
        }
    }

    fn created(&self, name: &GroupName, group: Option<Group>) -> Verdict {
        let (ledger, view) = (&self.directory.process.ledger, self.directory.view);
        if group.is_none() {
            // Without an id it cannot be laid over a list: the list is to be read again once Cloud shows it.
            ledger.group_doubted();
        }
        ledger.group_created(name.clone(), group, view);
        self.done()
    }

    async fn delete_group(&self, group: &Group) -> Verdict {
        let (cloud, request) = (&self.directory.cloud, &self.context.request);
        let ledger = &self.directory.process.ledger;
        let patience = Patience::WhileUnder(self.progress);
        // Groups are renamed and re-created: directly before it is deleted, the id must still bear the name.
        match cloud.group(&group.id, request, patience).await {
            Ok(Some(now)) if now.name.key() == group.name.key() => {}
            Ok(None) if ledger.is_just_created(&group.id) => {}
            Ok(_) => return skip(Skip::NoSuchGroup),
            Err(error) => return self.left(error),
        }
        let answer = cloud.delete_group(&group.id, request, patience).await;
        if answer.is_ok() {
            self.progress.succeeded();
        }
        let (reply, doubtful) = match &answer {
            Ok(settled) => (Some(&settled.reply), settled.doubtful),
            Err(error) => (None, error.leaves_doubt()),
        };
        match (reply, doubtful) {
            (Some(Reply::Accepted), _) | (Some(Reply::NotThere), true) => self.deleted(group),
            (Some(Reply::NotThere), false) => skip(Skip::NoSuchGroup),
            (Some(_), false) => skip(Skip::Refused),
            (_, true) => match (self.comes_true(Doubt::Gone(group)).await, answer) {
                (Ok(true), _) => self.deleted(group),
                (Ok(false), Ok(_)) => skip(Skip::Refused),
                (Ok(false), Err(error)) => self.left(error),
                (Err(_unread), Err(error)) => self.group_in_doubt(error),
                (Err(error), Ok(_)) => self.group_in_doubt(error),
            },
            (None, false) => answer.map_or_else(|error| self.left(error), |_| NOT_ATTEMPTED),
        }
    }

    fn group_in_doubt(&self, error: impl Into<Error>) -> Verdict {
        self.directory.process.ledger.group_doubted();
        self.in_doubt(error)
    }

    fn deleted(&self, group: &Group) -> Verdict {
        self.directory.process.ledger.group_deleted(group);
        self.done()
    }
}

/// Whether Cloud was changed, or may have been.
fn is_change(verdict: Verdict) -> bool {
    matches!(verdict, DONE | Verdict::InDoubt)
}

fn group_record<'a, T>(
    operation: &'static str,
    item: &'a Item<T>,
    group_id: Option<&'a GroupId>,
    verdict: Verdict,
) -> Record<'a> {
    Record {
        operation,
        group: &item.name,
        group_id,
        name: &item.name,
        account: None,
        verdict,
    }
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
