//! What would take an operation back: by the journal what it changed and what was changed after it, by Cloud what is so
//! now. Changes nothing.

use std::collections::{HashMap, HashSet};

use futures_util::StreamExt as _;

use super::{Left, Refusal, Step, Undo, Why};
use crate::cloud::{Group, Patience};
use crate::directory::operations::{Conduct, unreadable as unread};
use crate::directory::plan::{self, Item};
use crate::directory::{Change, Directory, Error};
use crate::model::report::{Name, Report, State};
use crate::model::{
    AccountId, Context, Fate, GroupId, GroupName, NameKey, OperationId, OperationKind, SnapshotGroup, Verdict,
};
use crate::store::Touched;

/// What is on record.
struct Past {
    report: Report,
    /// What took it back before.
    undos: Vec<Report>,
    /// What later operations changed.
    later: Touched,
}

impl Past {
    /// The names that the operation changed, with their places; what is in doubt goes to `left`.
    fn changed(&self, left: &mut Vec<Left>) -> Vec<(usize, &Name)> {
        let mut changed = Vec::new();
        for (place, name) in self.report.names.iter().enumerate() {
            match name.verdict {
                Some(Verdict::DONE) => changed.push((place, name)),
                None | Some(Verdict::InDoubt) => left.push(stays(name, Why::InDoubt)),
                Some(Verdict::Told(_)) => {}
            }
        }
        changed
    }

    /// What was changed when the operation was taken back before, of one kind.
    fn undone(&self, kind: OperationKind) -> impl Iterator<Item = (&Report, &Name)> {
        let undos = self.undos.iter().filter(move |undo| undo.kind == kind);
        undos.flat_map(|undo| done(undo).map(move |name| (undo, name)))
    }
}

fn done(report: &Report) -> impl Iterator<Item = &Name> {
    report.names.iter().filter(|name| name.verdict == Some(Verdict::DONE))
}

fn stays(name: &Name, why: Why) -> Left {
    Left {
        name: name.name.clone(),
        account: name.account.clone(),
        why,
    }
}

impl Directory {
    /// What would take an operation back. Calls: of members, one to look at their group and those that a change of theirs
    /// needs; of groups, up to two each.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn plan_undo(&self, id: &OperationId, context: &Context) -> Result<Undo, Refusal> {
        let past = self.past(id).await?;
        let mut undo = Undo {
            of: id.clone(),
            kind: past.report.kind,
            group: past.report.group.as_ref().map(|(_, name)| name.clone()),
            steps: Vec::new(),
            left: Vec::new(),
        };
        let planned = async {
            match past.report.kind {
                OperationKind::AddMembers => self.unmake_members(Change::Remove, &past, &mut undo, context).await,
                OperationKind::RemoveMembers => self.unmake_members(Change::Add, &past, &mut undo, context).await,
                OperationKind::CreateGroups => self.unmake_groups(&past, &mut undo, context).await,
                OperationKind::DeleteGroups => self.restore_groups(&past, &mut undo, context).await,
            }
        };
        self.unless_stopped(planned).await?;
        if undo.steps.is_empty() {
            if let Some(earlier) = past.undos.iter().find(|undo| done(undo).next().is_some()) {
                return Err(Refusal::Already(earlier.id.clone()));
            }
            if undo.left.is_empty() {
                return Err(Refusal::Nothing);
            }
        }
        Ok(undo)
    }

    async fn past(&self, id: &OperationId) -> Result<Past, Refusal> {
        let journal = self.process.books.get()?.up_to_date().await;
        let report = self.report(id).await?.ok_or(Refusal::Unknown)?;
        if report.visitor {
            return Err(Refusal::Visitors);
        }
        if report.dry_run {
            return Err(Refusal::DryRun);
        }
        if report.state == State::Running {
            return Err(Refusal::Running);
        }
        if report.site != self.process.site {
            return Err(Refusal::AnotherSite(report.site));
        }
        let undos = journal.undos_of(id).await.map_err(unread)?;
        if undos.iter().any(|undo| undo.state == State::Running) {
            return Err(Refusal::Underway);
        }
        let later = journal.later_changes(id).await.map_err(unread)?.any();
        Ok(Past { report, undos, later })
    }

    async fn unmake_members(
        &self,
        change: Change,
        past: &Past,
        undo: &mut Undo,
        context: &Context,
    ) -> Result<(), Error> {
        let Some((id, name)) = &past.report.group else {
            return Ok(());
        };
        let undone: HashSet<&AccountId> = past
            .undone(change.kind())
            .filter_map(|(_, name)| name.account.as_ref())
            .collect();
        let mut members = Vec::new();
        for (_, name) in past.changed(&mut undo.left) {
            match &name.account {
                Some(account) if undone.contains(account) => undo.left.push(stays(name, Why::Undone)),
                Some(account) if past.later.accounts.contains(account) => {
                    undo.left.push(stays(name, Why::ChangedLater));
                }
                Some(account) => members.push((name.name.clone(), account.clone())),
                None => {}
            }
        }
        if members.is_empty() {
            return Ok(());
        }
        let group = self.group_now(id, name, context).await?;
        self.plan_members_back(change, group, members, undo, context).await
    }

    /// Plans what still has to be done about these members; the others are left.
    async fn plan_members_back(
        &self,
        change: Change,
        group: Option<Group>,
        members: Vec<(String, AccountId)>,
        undo: &mut Undo,
        context: &Context,
    ) -> Result<(), Error> {
        let left = |(name, account): (String, AccountId), why| Left {
            name,
            account: Some(account),
            why,
        };
        let refusal = match &group {
            None => Some(Why::GroupGone),
            Some(group) => {
                let refusal = self.process.guard.refusal(group, context.caller.rights);
                refusal.map(Why::Skipped)
            }
        };
        let items = members.iter().map(|(name, account)| Item {
            name: name.clone(),
            step: Ok(account.clone()),
        });
        let planned = match (refusal, group) {
            (None, Some(group)) => {
                self.plan_items(change, group, items.collect(), Conduct::Dry, context)
                    .await?
            }
            _ => None,
        };
        let Some(planned) = planned else {
            let why = refusal.unwrap_or(Why::GroupGone);
            undo.left.extend(members.into_iter().map(|member| left(member, why)));
            return Ok(());
        };
        let mut steps = Vec::new();
        let mut unclaimed = planned.items.iter().map(|_| None).collect();
        let foreseen = planned.foresee(change, &self.process.ledger, &mut unclaimed);
        for (member, verdict) in members.into_iter().zip(foreseen) {
            match verdict {
                Some(Verdict::Told(Fate::Skipped(reason))) => undo.left.push(left(member, Why::Skipped(reason))),
                _ => steps.push(member),
            }
        }
        if !steps.is_empty() {
            undo.steps.push(Step::Members(change, planned.group, steps));
        }
        Ok(())
    }

    /// Made groups are deleted, as long as nobody is in them.
    async fn unmake_groups(&self, past: &Past, undo: &mut Undo, context: &Context) -> Result<(), Error> {
        let undone = past.undone(OperationKind::DeleteGroups);
        let undone: HashSet<GroupId> = undone.filter_map(|(_, name)| name.group.clone()).collect();
        let changed = past.changed(&mut undo.left).into_iter();
        let changed: Vec<Name> = changed.map(|(_, name)| name.clone()).collect();
        let judged = changed.into_iter().map(async |name: Name| {
            let judged = match &name.group {
                None => Err(Why::UnknownGroup),
                Some(id) if undone.contains(id) => Err(Why::Undone),
                Some(id) if past.later.groups.contains(id) => Err(Why::ChangedLater),
                Some(id) => self.empty_group(id, &name, context).await?,
            };
            Ok::<_, Error>((name, judged))
        });
        let judged: Vec<Result<_, Error>> = futures_util::stream::iter(judged)
            .buffered(self.process.max_in_flight)
            .collect()
            .await;
        let mut groups = Vec::new();
        for judged in judged {
            match judged? {
                (_, Ok(group)) => groups.push(group),
                (name, Err(why)) => undo.left.push(stays(&name, why)),
            }
        }
        if !groups.is_empty() {
            undo.steps.push(Step::Delete(groups));
        }
        Ok(())
    }

    async fn empty_group(&self, id: &GroupId, name: &Name, context: &Context) -> Result<Result<Group, Why>, Error> {
        let Some(group) = self.group_now(id, &GroupName::new(&name.name), context).await? else {
            return Ok(Err(Why::GroupGone));
        };
        if group.name.key() != NameKey::of(&name.name) {
            return Ok(Err(Why::Renamed));
        }
        if let Some(reason) = self.process.guard.refusal(&group, context.caller.rights) {
            return Ok(Err(Why::Skipped(reason)));
        }
        let empty = self.members.is_empty_now(id, context).await?;
        Ok(if empty { Ok(group) } else { Err(Why::HasMembers) })
    }

    /// Deleted groups are made anew, and whoever was in them is put in. What an earlier undo made is gone on with.
    async fn restore_groups(&self, past: &Past, undo: &mut Undo, context: &Context) -> Result<(), Error> {
        let journal = self.process.books.get()?.journal();
        let snapshots = journal.snapshots(&past.report.id).await.map_err(unread)?;
        let snapshots: HashMap<usize, (SnapshotGroup, Vec<AccountId>)> = snapshots
            .into_iter()
            .map(|(place, group, members)| (place, (group, members)))
            .collect();
        let made: HashMap<NameKey, (&Report, &Name)> = past
            .undone(OperationKind::CreateGroups)
            .map(|(undo, name)| (NameKey::of(&name.name), (undo, name)))
            .collect();
        let (mut new, mut begun) = (Vec::new(), Vec::new());
        for (place, name) in past.changed(&mut undo.left) {
            let Some((group, members)) = snapshots.get(&place) else {
                undo.left.push(stays(name, Why::Unrecorded));
                continue;
            };
            let key = group.name.key();
            match made.get(&key) {
                Some((making, made)) => begun.push((name, *making, *made, members)),
                None if past.later.names.contains(&key) || past.later.groups.contains(&group.id) => {
                    undo.left.push(stays(name, Why::ChangedLater));
                }
                None => new.push((name, &group.name, members)),
            }
        }
        let texts: Vec<String> = new.iter().map(|(_, name, _)| name.as_str().to_owned()).collect();
        if !texts.is_empty() {
            let (_claims, found) = self.claim_groups(&texts, Conduct::Dry, context).await?;
            let mut items = plan::new_groups(texts, found);
            self.process.guard.screen_new(&mut items, context.caller.rights);
            let (mut names, mut refills) = (Vec::new(), Vec::new());
            for ((name, _, members), item) in new.into_iter().zip(items) {
                match item.step {
                    Err(reason) => undo.left.push(stays(name, Why::Skipped(reason))),
                    Ok(group) => {
                        names.push(group.clone());
                        if !members.is_empty() {
                            refills.push(Step::Refill(group, self.named(members).await?));
                        }
                    }
                }
            }
            if !names.is_empty() {
                undo.steps.push(Step::Create(names));
                undo.steps.extend(refills);
            }
        }
        for (name, making, made, members) in begun {
            self.refill_on(name, making, made, members, past, undo, context).await?;
        }
        Ok(())
    }

    /// Goes on with a group that an earlier undo made.
    #[expect(clippy::too_many_arguments, reason = "each is another part of what is on record")]
    async fn refill_on(
        &self,
        name: &Name,
        making: &Report,
        made: &Name,
        members: &[AccountId],
        past: &Past,
        undo: &mut Undo,
        context: &Context,
    ) -> Result<(), Error> {
        let journal = self.process.books.get()?.up_to_date().await;
        let Some(id) = &made.group else {
            undo.left.push(stays(name, Why::UnknownGroup));
            return Ok(());
        };
        let of_it = |undo: &&Report| undo.group.as_ref().is_some_and(|(group, _)| group == id);
        let refills: Vec<&Report> = past.undos.iter().filter(of_it).collect();
        let last = refills.last().copied().unwrap_or(making);
        let later = journal.later_changes(&last.id).await.map_err(unread)?.any();
        if later.groups.contains(id) {
            undo.left.push(stays(name, Why::ChangedLater));
            return Ok(());
        }
        // Whoever was in the group already when they were to be put in is as well off as the others.
        let is_in = |verdict| {
            matches!(verdict, Some(Verdict::DONE))
                || verdict == Some(Verdict::skipped(crate::model::Skip::AlreadyMember))
        };
        let settled: HashSet<&AccountId> = refills
            .iter()
            .flat_map(|undo| undo.names.iter().filter(|name| is_in(name.verdict)))
            .filter_map(|name| name.account.as_ref())
            .collect();
        let open: Vec<AccountId> = members
            .iter()
            .filter(|account| !settled.contains(account))
            .cloned()
            .collect();
        if open.is_empty() {
            undo.left.push(stays(name, Why::Undone));
            return Ok(());
        }
        let (changed, open): (Vec<_>, Vec<_>) = self
            .named(&open)
            .await?
            .into_iter()
            .partition(|(_, account)| later.accounts.contains(account));
        undo.left.extend(changed.into_iter().map(|(name, account)| Left {
            name,
            account: Some(account),
            why: Why::ChangedLater,
        }));
        let group = self.group_now(id, &GroupName::new(&made.name), context).await?;
        self.plan_members_back(Change::Add, group, open, undo, context).await
    }

    /// The accounts with the names under which they are shown.
    async fn named(&self, accounts: &[AccountId]) -> Result<Vec<(String, AccountId)>, Error> {
        let usernames = self.usernames(accounts).await?;
        let named = accounts.iter().zip(usernames).map(|(account, usernames)| {
            let name = usernames.into_iter().next();
            (name.unwrap_or_else(|| account.as_str().to_owned()), account.clone())
        });
        Ok(named.collect())
    }

    /// The group of this id as it is now; one that we made moments ago is there, whatever Cloud shows.
    async fn group_now(&self, id: &GroupId, name: &GroupName, context: &Context) -> Result<Option<Group>, Error> {
        let patience = Patience::Until(context.read_deadline);
        let found = self.cloud.group(id, &context.request, patience).await?;
        let unseen = || Group::just_made(id.clone(), name.clone());
        let group = found.or_else(|| self.process.ledger.is_just_created(id).then(unseen));
        if let Some(group) = &group {
            self.process.guard.notice(&group.id, &group.name.key());
        }
        Ok(group)
    }
}
