//! One operation, from its plan to its end.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::desk::{Ticket, Touched};
use super::{Conduct, Order, What, books::Open};
use crate::audit::Record;
use crate::cloud::{Group, Operation, Progress};
use crate::directory::apply::Run;
use crate::directory::changes::{MemberClaims, MembersPlan};
use crate::directory::claims;
use crate::directory::groups::Purpose;
use crate::directory::ledger::Word;
use crate::directory::plan::{self, Forecast, Item};
use crate::directory::{Change, Directory, Error};
use crate::metrics::Reason;
use crate::model::report::{self, Cost, State};
use crate::model::{
    AccountId, Context, Fate, GroupId, GroupName, NameKey, OperationId, Outcome, Report, Rights, Skip, Verdict,
};
use crate::settings::seconds;

/// One call that is being carried out.
pub struct Job<'a> {
    pub order: &'a Order,
    pub ticket: &'a Arc<Ticket>,
    pub context: &'a Context,
    pub books: &'a Open,
    /// The operation that this one takes back.
    pub undo_of: Option<&'a OperationId>,
}

impl Directory {
    /// Carries a call out, or tells what would become of it.
    pub(super) async fn carry(
        &self,
        order: &Order,
        group: Option<Group>,
        ticket: &Arc<Ticket>,
        context: &Context,
    ) -> Result<Outcome, Error> {
        let books = self.process.books.get()?;
        books.check().await?;
        let job = Job {
            order,
            ticket,
            context,
            books,
            undo_of: None,
        };
        let outcome = match (&order.what, group) {
            (What::Members(change, name), Some(group)) => self.change_members(&job, *change, name, group).await,
            (What::Members(_, name), None) => Err(Error::NoSuchGroup(name.clone())),
            (What::CreateGroups, _) => self.create_groups(&job).await,
            (What::DeleteGroups, _) => self.delete_groups(&job).await,
        };
        if let (Err(Error::TooManyRemovals { group, .. }), Conduct::Real) = (&outcome, order.conduct) {
            let why = "too_many_removals";
            books
                .audit()
                .refused(context, order.what.kind(), group.as_str(), why)
                .await;
        }
        outcome
    }

    /// Puts accounts into a group, or takes them out.
    async fn change_members(
        &self,
        job: &Job<'_>,
        change: Change,
        name: &GroupName,
        group: Group,
    ) -> Result<Outcome, Error> {
        let mut found = Some(group);
        // The id we remember may be gone: the group was deleted, or made anew under its name. Look again, once.
        for _ in 0..2 {
            let group = match found.take() {
                Some(group) => group,
                None => self.group(name, Purpose::Write, job.context).await?,
            };
            let plan = self.plan_members(change, group, job.order.names.clone(), job.order.conduct, job.context);
            if let Some(plan) = self.unless_stopped(plan).await?
                && let Some(outcome) = self.carry_members(job, change, plan).await?
            {
                return Ok(outcome);
            }
            self.groups.forget(name).await;
        }
        Err(Error::NoSuchGroup(name.clone()))
    }

    /// Changes the members as planned, or tells what would become of them. `None`: the group was gone before anything was
    /// changed.
    pub(super) async fn carry_members(
        &self,
        job: &Job<'_>,
        change: Change,
        plan: MembersPlan,
    ) -> Result<Option<Outcome>, Error> {
        // Claimed in the order of the journal: who comes later in the one does so in the other, also for the next process.
        let group = match job.order.conduct {
            Conduct::Real => Some(plan.group.id.clone()),
            Conduct::Dry => None,
        };
        let mut beginning = self.process.beginnings.claim(group);
        claims::turns(&mut beginning).await;
        let mut claims = match job.order.conduct {
            Conduct::Real => plan.claim(&self.process.members),
            Conduct::Dry => plan.items.iter().map(|_| None).collect(),
        };
        let mut verdicts = plan.foresee(change, &self.process.ledger, &mut claims);
        // Before it is on record: a name without a verdict there was not so, which is what a later process goes by.
        let settled = self.settle_doubts(change, &plan, &mut claims, &mut verdicts, job.context);
        self.unless_stopped(settled).await?;
        let names = plan.items.iter().zip(&verdicts).map(|(item, verdict)| report::Name {
            name: item.name.clone(),
            account: item.step.as_ref().ok().cloned(),
            group: None,
            verdict: match job.order.conduct {
                Conduct::Real => *verdict,
                Conduct::Dry => Some(verdict.unwrap_or(Verdict::DONE)),
            },
        });
        let touched = [Touched::Group(plan.group.id.clone())];
        let accounts: Vec<AccountId> = plan.items.iter().filter_map(|item| item.step.clone().ok()).collect();
        let reads = match job.order.conduct {
            // Made by now.
            Conduct::Real => Vec::new(),
            Conduct::Dry => self.members.would_read(&plan.group.id, &accounts, change).await,
        };
        let what = match change {
            Change::Add => Operation::AddMember,
            Change::Remove => Operation::RemoveMember,
        };
        let forecast = self.forecast(&reads, what, &verdicts);
        let begun = self.begin(job, Some(&plan.group), touched, forecast, names.collect());
        let id = begun.await?;
        drop(beginning);
        if job.order.conduct == Conduct::Dry {
            return self.foretold(job, &plan.items, &verdicts).map(Some);
        }
        let progress = self.progress();
        let run = Run::new(self, job.context, job.books, &id, &progress);
        let records = run
            .members(change, &plan.group, &plan.items, &plan.membership, claims)
            .await;
        if let Some(records) = records {
            return self.conclude(job, &run, &records).await.map(Some);
        }
        let gone = State::Interrupted("the group was deleted before anything was changed".to_owned());
        job.books.finish(&id, gone, cost(job.context)).await;
        Ok(None)
    }

    /// Asks Cloud about memberships that a change of ours left in doubt, but for those that another operation holds.
    async fn settle_doubts(
        &self,
        change: Change,
        plan: &MembersPlan,
        claims: &mut MemberClaims,
        verdicts: &mut [Option<Verdict>],
        context: &Context,
    ) -> Result<(), Error> {
        let (group, read) = (&plan.group.id, plan.membership.read);
        for ((item, claim), verdict) in plan.items.iter().zip(claims).zip(verdicts) {
            let Ok(account) = &item.step else { continue };
            if claim.as_mut().is_some_and(|claim| !claim.is_mine()) {
                continue;
            }
            if let Word::Doubtful(until) = self.process.ledger.word(group, account, read) {
                let patience = seconds(self.process.settings.extender.read_deadline_s);
                let present = self.settle_doubt(group, account, until, patience, context).await?;
                *verdict = change.needless(present).map(Verdict::skipped);
            }
        }
        Ok(())
    }

    /// Makes groups.
    async fn create_groups(&self, job: &Job<'_>) -> Result<Outcome, Error> {
        let names = &job.order.names;
        let (_claims, found) = self.claim_groups(names, job.order.conduct, job.context).await?;
        let mut items = plan::new_groups(names.clone(), found);
        self.process.guard.screen_new(&mut items, job.context.caller.rights);
        self.carry_new_groups(job, &items).await
    }

    /// Makes groups as planned, under claims that the caller holds.
    pub(super) async fn carry_new_groups(&self, job: &Job<'_>, items: &[Item<GroupName>]) -> Result<Outcome, Error> {
        let id = self
            .begin_groups(job, items, &[], Operation::CreateGroup, |_| None)
            .await?;
        if job.order.conduct == Conduct::Dry {
            return self.foretold(job, items, &foreseen(items));
        }
        let progress = self.progress();
        let run = Run::new(self, job.context, job.books, &id, &progress);
        let records = run.new_groups(items).await;
        self.conclude(job, &run, &records).await
    }

    /// Deletes groups. Calls: the look-ups, then the reading of its members, a last check of its id, and the deletion.
    async fn delete_groups(&self, job: &Job<'_>) -> Result<Outcome, Error> {
        let names = &job.order.names;
        let (_claims, found) = self.claim_groups(names, job.order.conduct, job.context).await?;
        let mut items = plan::old_groups(names.clone(), found);
        self.process.guard.screen_old(&mut items, job.context.caller.rights);
        let members = self.unless_stopped(self.members_of(&mut items, job.context)).await?;
        let members = self.guard_deletion(&mut items, members, job.context.caller.rights)?;
        self.carry_old_groups(job, &items, &members).await
    }

    /// Deletes groups as planned, under claims that the caller holds. What takes something back deletes empty ones only.
    pub(super) async fn carry_old_groups(
        &self,
        job: &Job<'_>,
        items: &[Item<Group>],
        members: &[(usize, Group, Vec<AccountId>)],
    ) -> Result<Outcome, Error> {
        let reads = [(Operation::GetGroup, members.len() as u64)];
        let id = self
            .begin_groups(job, items, &reads, Operation::DeleteGroup, |group| {
                Some(group.id.clone())
            })
            .await?;
        if job.order.conduct == Conduct::Dry {
            return self.foretold(job, items, &foreseen(items));
        }
        for (place, group, members) in members {
            if let Err(error) = job.books.keep(&id, *place, group, members).await {
                let why = State::Interrupted(error.to_string());
                job.books.finish(&id, why, cost(job.context)).await;
                return Err(error);
            }
        }
        let progress = self.progress();
        let mut run = Run::new(self, job.context, job.books, &id, &progress);
        if job.undo_of.is_some() {
            run = run.sparing_members();
        }
        let records = run.old_groups(items).await;
        self.conclude(job, &run, &records).await
    }

    /// Who is in each group that is to be deleted, with the group's place in the request: what an undo needs, and a guard.
    pub(super) async fn members_of(
        &self,
        items: &mut [Item<Group>],
        context: &Context,
    ) -> Result<Vec<(usize, Group, Vec<AccountId>)>, Error> {
        let steps = items.iter().enumerate();
        let steps: Vec<(usize, Group)> = steps
            .filter_map(|(place, item)| Some((place, item.step.clone().ok()?)))
            .collect();
        let context = &context.again(seconds(self.process.settings.extender.read_deadline_s));
        let readings = steps.into_iter().map(async |(place, group)| {
            let members = self.members.all_now(&group.id, context).await?;
            Ok::<_, Error>((place, group, members))
        });
        let mut readings = futures_util::stream::iter(readings).buffered(self.process.max_in_flight);
        let mut all = Vec::new();
        while let Some((place, group, members)) = readings.try_next().await? {
            match (members, items.get_mut(place)) {
                (Some(members), _) => all.push((place, group, members)),
                // Gone since it was looked up.
                (None, item) => {
                    self.groups.forget(&group.name).await;
                    if let Some(item) = item {
                        item.step = Err(Skip::NoSuchGroup);
                    }
                }
            }
        }
        Ok(all)
    }

    /// What may be deleted, knowing who is in it.
    pub(super) fn guard_deletion(
        &self,
        items: &mut [Item<Group>],
        members: Vec<(usize, Group, Vec<AccountId>)>,
        rights: Rights,
    ) -> Result<Vec<(usize, Group, Vec<AccountId>)>, Error> {
        let guard = &self.process.guard;
        let mut left = Vec::with_capacity(members.len());
        for (place, group, members) in members {
            let refusal = guard.deletion_refusal(&group, members.len(), rights);
            match (refusal, items.get_mut(place)) {
                (Some(reason), Some(item)) => item.step = Err(reason),
                _ => {
                    guard.limits().check(&group.name, members.len(), Some(members.len()))?;
                    left.push((place, group, members));
                }
            }
        }
        Ok(left)
    }

    /// What is still to be called, and what becomes of the names.
    fn forecast(&self, reads: &[(Operation, u64)], change: Operation, verdicts: &[Option<Verdict>]) -> Forecast {
        let verdicts = verdicts.iter().map(|verdict| verdict.unwrap_or(Verdict::DONE));
        Forecast::new(reads, change, verdicts, self.cloud.pace(change))
    }

    async fn begin_groups<T>(
        &self,
        job: &Job<'_>,
        items: &[Item<T>],
        reads: &[(Operation, u64)],
        change: Operation,
        group: impl Fn(&T) -> Option<GroupId>,
    ) -> Result<OperationId, Error> {
        let verdicts = foreseen(items);
        let rows = items.iter().zip(&verdicts).map(|(item, verdict)| report::Name {
            name: item.name.clone(),
            account: None,
            group: item.step.as_ref().ok().and_then(&group),
            // Whatever has to be done is only done when it is.
            verdict: verdict.filter(|_| job.order.conduct == Conduct::Dry || item.step.is_err()),
        });
        let steps = || items.iter().filter_map(|item| Some((item, item.step.as_ref().ok()?)));
        let ids = steps().filter_map(|(_, step)| group(step)).map(Touched::Group);
        let names = steps().map(|(item, _)| Touched::Name(NameKey::of(&item.name)));
        let touched: Vec<Touched> = ids.chain(names).collect();
        let forecast = self.forecast(reads, change, &verdicts);
        self.begin(job, None, touched, forecast, rows.collect()).await
    }

    /// Puts the operation on record, and what it is going to change.
    async fn begin(
        &self,
        job: &Job<'_>,
        group: Option<&Group>,
        touched: impl IntoIterator<Item = Touched>,
        forecast: Forecast,
        names: Vec<report::Name>,
    ) -> Result<OperationId, Error> {
        let process = &self.process;
        let (id, caller) = (OperationId::random(), &job.context.caller);
        let dry_run = job.order.conduct == Conduct::Dry;
        if let Some(change) = forecast.change.filter(|_| !dry_run && forecast.changes > 0) {
            // Who could not even begin in time is told so before anything is changed.
            let time = seconds(process.settings.extender.read_deadline_s);
            self.cloud.would_begin(change, time)?;
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let call = job.ticket.call();
        job.books
            .begin(Report {
                id: id.clone(),
                kind: job.order.what.kind(),
                caller: caller.name.to_string(),
                caller_key: caller.key.to_string(),
                visitor: self.is_visitors(),
                request: job.context.request.as_str().to_owned(),
                site: process.site.clone(),
                group: group.map(|group| (group.id.clone(), group.name.clone())),
                dry_run,
                undo_of: job.undo_of.cloned(),
                digest: call.digest.as_bytes().to_vec(),
                idempotency: job.order.key.clone().map(|key| (key, call.body.as_bytes().to_vec())),
                started_at: now,
                finished_at: dry_run.then_some(now),
                state: if dry_run { State::Finished } else { State::Running },
                plan: forecast.to_json(),
                no_access_granted: false,
                delivered: false,
                cost: cost(job.context),
                names,
            })
            .await?;
        let touched: HashSet<Touched> = touched.into_iter().collect();
        if !dry_run {
            for stale in process.desk.touch(job.ticket, &touched) {
                job.books.journal().delivered(&stale);
            }
        }
        job.ticket.begun(id.clone(), touched);
        Ok(id)
    }

    pub(super) fn progress(&self) -> Progress {
        let give_up = seconds(self.process.settings.extender.bulk_give_up_s);
        Progress::new(give_up, self.process.stop.child_token())
    }

    /// What a dry run tells: what would become of every name.
    fn foretold<T>(&self, job: &Job<'_>, items: &[Item<T>], verdicts: &[Option<Verdict>]) -> Result<Outcome, Error> {
        let names = items.iter().zip(verdicts).map(|(item, verdict)| {
            let fate = verdict.unwrap_or(Verdict::DONE).fate();
            (item.name.clone(), fate)
        });
        let outcome = Outcome { names: names.collect() };
        tracing::info!(
            request = %job.context.request,
            caller = %job.context.caller.name,
            operation = job.order.what.kind().as_str(),
            done = outcome.done().count(),
            skipped = outcome.skipped().count(),
            "dry run: nothing was changed"
        );
        Ok(outcome)
    }

    /// Tells log and metrics what became of every name, and the caller what is true, once it is on record.
    async fn conclude(&self, job: &Job<'_>, run: &Run<'_>, records: &[Record<'_>]) -> Result<Outcome, Error> {
        let (process, context) = (&*self.process, job.context);
        let mut outcome = Outcome::default();
        for record in records {
            let fate = record.verdict.fate();
            if let Fate::Skipped(reason) = fate {
                let reason = reason.as_str();
                process.metrics.skipped.get_or_create(&Reason { reason }).inc();
                tracing::info!(request = %context.request, operation = record.kind.as_str(), group = record.group, name = record.name, reason, "skipped");
            }
            outcome.names.push((record.name.to_owned(), fate));
        }
        let interruption = run.interruption(records);
        tracing::info!(
            request = %context.request,
            caller = %context.caller.name,
            operation = job.order.what.kind().as_str(),
            done = outcome.done().count(),
            skipped = outcome.skipped().count(),
            interrupted = interruption.as_ref().map(tracing::field::display),
            "bulk operation ended"
        );
        let state = match &interruption {
            None => State::Finished,
            Some(error) => State::Interrupted(error.to_string()),
        };
        if let Some(id) = job.ticket.id() {
            job.books.finish(&id, state, cost(context)).await;
        }
        interruption.map_or(Ok(outcome), Err)
    }
}

/// What becomes of each name by the plan alone.
fn foreseen<T>(items: &[Item<T>]) -> Vec<Option<Verdict>> {
    let verdict = |item: &Item<T>| {
        Some(
            item.step
                .as_ref()
                .err()
                .map_or(Verdict::DONE, |reason| Verdict::skipped(*reason)),
        )
    };
    items.iter().map(verdict).collect()
}

/// What the call cost so far.
pub(super) fn cost(context: &Context) -> Cost {
    let effort = context.request.effort();
    let waits = effort.waits();
    Cost {
        calls: effort.calls(),
        retries: effort.retries(),
        waited_ms: waits.sum_ms(),
        waits,
    }
}
