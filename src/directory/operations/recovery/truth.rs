//! What became of the names that an operation had not told of when its process was ended; and the work that is left, where
//! it goes on.
//!
//! A name without a verdict was to be changed: it was not so when the operation began. Found as it was to become, it was
//! changed by us. That does not hold where another operation, begun before, had the same name in hand at that time: then
//! the other's outcome tells how it was ([`Before`]).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::books::{Open, unwritable};
use super::left::Left;
use crate::cloud::{Group, Patience, Progress};
use crate::directory::apply::Run;
use crate::directory::guard::Keep;
use crate::directory::ledger::Word;
use crate::directory::plan::Item;
use crate::directory::{Change, Directory, Error};
use crate::model::{AccountId, Context, Fate, GroupName, NameKey, OperationId, OperationKind, Skip, Verdict};
use crate::settings::seconds;
use crate::store::{Journal, Touched};

/// The pause before Cloud is asked again what became of an operation.
const PAUSE: Duration = Duration::from_secs(5);

const NOT_ATTEMPTED: Verdict = Verdict::skipped(Skip::NotAttempted);

/// How a membership was when it was the operation's turn to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// As the one before left it.
    Known(bool),
    /// Nobody can tell.
    Unknown,
}

impl Directory {
    /// Finds out what became of the names, and does what is left if the operation goes on.
    pub(super) async fn end(&self, left: &mut Left, books: &Open, context: &Context) {
        left.turn().await;
        // Until then Cloud may not show the last of what the earlier process did.
        tokio::time::sleep_until((left.since + self.process.ledger.lag()).into()).await;
        let give_up = tokio::time::Instant::now() + seconds(self.process.settings.extender.bulk_give_up_s);
        loop {
            let now = context.again(seconds(self.process.settings.extender.read_deadline_s));
            let ended = match left.report.kind {
                OperationKind::AddMembers => self.end_members(Change::Add, left, books, &now).await,
                OperationKind::RemoveMembers => self.end_members(Change::Remove, left, books, &now).await,
                OperationKind::CreateGroups => self.end_new_groups(left, books, &now).await,
                OperationKind::DeleteGroups => self.end_old_groups(left, books, &now).await,
            };
            let Err(error) = ended else { return };
            tracing::warn!(operation = %left.report.id, %error, "what became of the operation cannot be found out yet");
            if tokio::time::Instant::now() > give_up {
                return left.settle_rest(books, context, Verdict::InDoubt).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn end_members(&self, change: Change, left: &mut Left, books: &Open, context: &Context) -> Result<(), Error> {
        let Some((id, _)) = left.report.group.clone() else {
            return Ok(());
        };
        let later = later(books.journal(), left).await?.accounts;
        let before = before(books.journal(), left).await?;
        let open = left.open();
        let accounts: Vec<AccountId> = open.iter().filter_map(|(_, name)| name.account.clone()).collect();
        let membership = self.members.membership(&id, &accounts, change, context).await?;
        let Some(membership) = membership else {
            left.settle_rest(books, context, Verdict::skipped(Skip::NoSuchGroup))
                .await;
            return Ok(());
        };
        let mut rest = Vec::new();
        for (place, open) in open {
            let Some(account) = open.account else {
                left.settle(books, context, place, NOT_ATTEMPTED).await;
                continue;
            };
            let untouched = Before::Known(!change.leaves_present());
            let before = before.get(&account).copied().unwrap_or(untouched);
            let present = match self.process.ledger.word(&id, &account, membership.read) {
                Word::Settled(present) => present,
                Word::Nothing => membership.present.contains(&account),
                Word::Doubtful(until) => {
                    let patience = seconds(self.process.settings.extender.read_deadline_s);
                    self.settle_doubt(&id, &account, until, patience, context).await?
                }
            };
            let is_as_asked = present == change.leaves_present();
            let verdict = match before {
                // Whether this was our change or that of an operation after it, nobody can tell any more.
                _ if later.contains(&account) => Some(Verdict::InDoubt),
                Before::Known(present) if change.needless(present).is_some() => {
                    change.needless(present).map(Verdict::skipped)
                }
                Before::Known(_) if is_as_asked => Some(Verdict::DONE),
                Before::Unknown if is_as_asked => Some(Verdict::InDoubt),
                _ if left.course.is_err() => Some(NOT_ATTEMPTED),
                _ => None,
            };
            match verdict {
                Some(verdict) => left.settle(books, context, place, verdict).await,
                None => rest.push((place, open.name, account)),
            }
        }
        let Ok(rights) = left.course.as_ref().map(|caller| caller.rights) else {
            return Ok(());
        };
        if rest.is_empty() {
            return Ok(());
        }
        let patience = Patience::Until(context.read_deadline);
        let Some(group) = self.cloud.group(&id, &context.request, patience).await? else {
            left.settle_rest(books, context, Verdict::skipped(Skip::NoSuchGroup))
                .await;
            return Ok(());
        };
        // What its caller may has been looked up anew, and so has the group.
        if let Some(refusal) = self.process.guard.refusal(&group, rights) {
            left.settle_rest(books, context, Verdict::skipped(refusal)).await;
            return Ok(());
        }
        let (places, mut items): (Vec<usize>, Vec<Item<AccountId>>) = items(rest);
        let guards_its_last = change == Change::Remove && self.process.guard.is_protected(&group);
        let _turn = if guards_its_last {
            self.process.guard.turn(&group.id).await
        } else {
            None
        };
        if guards_its_last {
            let guarded = self.guard_removal(&group, &mut items, &membership, Keep::TheLast, context);
            if is_allowed(guarded.await)?.is_none() {
                left.settle_rest(books, context, NOT_ATTEMPTED).await;
                return Ok(());
            }
        }
        // The claims of the start are for all of them.
        let claims = items.iter().map(|_| None).collect();
        let (operation, progress) = (left.report.id.clone(), self.unhurried());
        let run = self.run(&operation, &progress, places, books, context);
        match run.members(change, &group, &items, &membership, claims).await {
            Some(records) => left.was_told(&records),
            None => {
                left.settle_rest(books, context, Verdict::skipped(Skip::NoSuchGroup))
                    .await;
            }
        }
        Ok(())
    }

    async fn end_new_groups(&self, left: &mut Left, books: &Open, context: &Context) -> Result<(), Error> {
        let later = later(books.journal(), left).await?.names;
        let mut rest = Vec::new();
        for (place, open) in left.open() {
            let name = GroupName::new(&open.name);
            if later.contains(&name.key()) {
                left.settle(books, context, place, Verdict::InDoubt).await;
            } else if let Some(found) = self.group_by_name_now(&name, context).await? {
                // There was none when the operation was planned.
                left.settle(books, context, place, Verdict::DONE).await;
                books.settle_created(&left.report.id, place, found.id);
            } else if left.course.is_ok() {
                rest.push((place, open.name, name));
            } else {
                left.settle(books, context, place, NOT_ATTEMPTED).await;
            }
        }
        let Ok(rights) = left.course.as_ref().map(|caller| caller.rights) else {
            return Ok(());
        };
        if !rest.is_empty() {
            let (places, mut items) = items(rest);
            self.process.guard.screen_new(&mut items, rights);
            let (operation, progress) = (left.report.id.clone(), self.unhurried());
            let run = self.run(&operation, &progress, places, books, context);
            left.was_told(&run.new_groups(&items).await);
        }
        Ok(())
    }

    /// The group of that name; a team is none, as in a plan.
    async fn group_by_name_now(&self, name: &GroupName, context: &Context) -> Result<Option<Group>, Error> {
        let patience = Patience::Settling(context.read_deadline);
        let found = self
            .groups
            .find_now(name, &self.cloud, &context.request, patience)
            .await?;
        Ok(found.filter(|group| !group.team || self.process.settings.extender.show_teams))
    }

    async fn end_old_groups(&self, left: &mut Left, books: &Open, context: &Context) -> Result<(), Error> {
        let later = later(books.journal(), left).await?.groups;
        let mut rest = Vec::new();
        for (place, open) in left.open() {
            let Some(id) = open.group else { continue };
            let patience = Patience::Until(context.read_deadline);
            let verdict = match self.cloud.group(&id, &context.request, patience).await? {
                // Ids are not used again, and it was there when the operation was planned.
                None => Verdict::DONE,
                // It is another one's by now, whoever renamed it.
                Some(group) if group.name.key() != NameKey::of(&open.name) => Verdict::skipped(Skip::NoSuchGroup),
                // Whoever put somebody into it since wants it to stay.
                Some(_) if later.contains(&id) => NOT_ATTEMPTED,
                Some(group) if left.course.is_ok() => {
                    rest.push((place, open.name, group));
                    continue;
                }
                Some(_) => NOT_ATTEMPTED,
            };
            left.settle(books, context, place, verdict).await;
        }
        let Ok(rights) = left.course.as_ref().map(|caller| caller.rights) else {
            return Ok(());
        };
        if rest.is_empty() {
            return Ok(());
        }
        let (places, mut items) = items(rest);
        self.process.guard.screen_old(&mut items, rights);
        let members = self.members_of(&mut items, context).await?;
        let Some(members) = is_allowed(self.guard_deletion(&mut items, members, rights))? else {
            left.settle_rest(books, context, NOT_ATTEMPTED).await;
            return Ok(());
        };
        // The earlier process may have been ended before it had written down who was in them.
        let kept = books.journal().snapshots(&left.report.id).await;
        let kept = kept.map_err(|error| unwritable(&error.to_string()))?;
        let kept: HashSet<usize> = kept.into_iter().map(|(place, _, _)| place).collect();
        for (index, group, members) in &members {
            if let Some(place) = places.get(*index).filter(|place| !kept.contains(place)) {
                books.keep(&left.report.id, *place, group, members).await?;
            }
        }
        let (operation, progress) = (left.report.id.clone(), self.unhurried());
        let mut run = self.run(&operation, &progress, places, books, context);
        if left.report.undo_of.is_some() {
            run = run.sparing_members();
        }
        let told = run.old_groups(&items).await;
        left.was_told(&told);
        Ok(())
    }

    /// A stop of the server drops the run instead, and leaves the rest to the next process.
    fn unhurried(&self) -> Progress {
        let give_up = seconds(self.process.settings.extender.bulk_give_up_s);
        Progress::new(give_up, CancellationToken::new())
    }

    fn run<'a>(
        &'a self,
        operation: &'a OperationId,
        progress: &'a Progress,
        places: Vec<usize>,
        books: &'a Open,
        context: &'a Context,
    ) -> Run<'a> {
        Run::new(self, context, books, operation, progress).at(places).resumed()
    }
}

/// `None`: the guards of this day do not allow what is left.
fn is_allowed<T>(guarded: Result<T, Error>) -> Result<Option<T>, Error> {
    match guarded {
        Ok(guarded) => Ok(Some(guarded)),
        Err(error @ Error::TooManyRemovals { .. }) => {
            tracing::warn!(%error, "the rest of the operation is not attempted");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn items<T>(rest: Vec<(usize, String, T)>) -> (Vec<usize>, Vec<Item<T>>) {
    let items = rest
        .into_iter()
        .map(|(place, name, step)| (place, Item { name, step: Ok(step) }));
    items.unzip()
}

/// What operations after this one changed of the same.
async fn later(journal: &Journal, left: &Left) -> Result<Touched, Error> {
    let later = journal.later_changes(&left.report.id).await;
    Ok(later.map_err(|error| unwritable(&error.to_string()))?.changed)
}

/// How the memberships were when it was the operation's turn, where another one had them in hand when it began.
async fn before(journal: &Journal, left: &Left) -> Result<HashMap<AccountId, Before>, Error> {
    let earlier = journal.earlier_members(&left.report.id).await;
    let mut before = HashMap::new();
    for (kind, account, verdict) in earlier.map_err(|error| unwritable(&error.to_string()))? {
        let leaves = kind == OperationKind::AddMembers;
        let after = match verdict {
            Some(Verdict::Told(Fate::Done | Fate::Skipped(Skip::AlreadyMember | Skip::NotMember))) => {
                Before::Known(leaves)
            }
            // It changed nothing, and would not have begun to if it had been so already.
            Some(Verdict::Told(Fate::Skipped(_))) => before.get(&account).copied().unwrap_or(Before::Known(!leaves)),
            Some(Verdict::InDoubt) | None => Before::Unknown,
        };
        before.insert(account, after);
    }
    Ok(before)
}
