//! Taking an operation back: what it changed itself is changed the other way, by operations of their own that stand in
//! journal and audit like every other, and go on after a restart like every other.
//!
//! `plan` says what would be done and what is left as it is, and asks Cloud only; here it is carried out, if it is still
//! what the operator was shown. What a caller may do is not asked again: the operator's listener let them in. But no
//! right goes with it: a protected group is changed in the name of an account that may, and not by an undo.

mod plan;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::carry::Job;
use super::desk::{Call, Digest, Ticket};
use super::{Conduct, Order, What};
use crate::cloud::Group;
use crate::directory::plan::Item;
use crate::directory::{Change, Directory, Error, claims, stopping};
use crate::model::{
    AccountId, Caller, Context, GroupId, GroupName, NameKey, OperationId, OperationKind, RequestId, Skip, Verdict,
};
use crate::settings::seconds;

/// Who takes operations back.
#[must_use]
pub fn operator() -> Caller {
    Caller::named("operator")
}

/// What would take an operation back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// The operation.
    pub of: OperationId,
    /// What it did.
    pub kind: OperationKind,
    /// The group whose members it changed, where it was one.
    pub group: Option<GroupName>,
    /// What is going to be done, one operation each, in this order.
    pub steps: Vec<Step>,
    /// What it changed, or may have, and stays as it is.
    pub left: Vec<Left>,
}

/// One operation of an undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Accounts are put into a group, or taken out.
    Members(Change, Group, Vec<(String, AccountId)>),
    /// Groups are deleted that nobody is in.
    Delete(Vec<Group>),
    /// Groups are made.
    Create(Vec<GroupName>),
    /// Accounts are put into a group that an earlier step makes.
    Refill(GroupName, Vec<(String, AccountId)>),
}

/// Something that stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The name as the operation's caller spelt it; of a deleted group's member, the name that is shown.
    pub name: String,
    /// The account, where it is about one.
    pub account: Option<AccountId>,
    /// Why.
    pub why: Why,
}

/// Why something stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A later operation changed it, may have, or is about to.
    ChangedLater,
    /// It was taken back before.
    Undone,
    /// Whether the operation changed it nobody knows.
    InDoubt,
    /// The group is not there any more.
    GroupGone,
    /// The group has another name by now.
    Renamed,
    /// Somebody is in the group.
    HasMembers,
    /// The journal does not tell which group was made.
    UnknownGroup,
    /// The journal does not tell who was in the group.
    Unrecorded,
    /// A reason that any bulk call may have.
    Skipped(Skip),
}

/// What became of an undo.
#[derive(Clone, Debug)]
pub struct Undone {
    /// As it was planned.
    pub undo: Undo,
    /// The operations that were begun, in order: their reports tell name by name.
    pub operations: Vec<OperationId>,
    /// Why the rest was not begun, or not ended. Asking for the undo again goes on with it.
    pub failure: Option<Error>,
}

/// Why an operation is not taken back; nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// It is not on record.
    #[error("no operation of this id is on record")]
    Unknown,
    /// It changed nothing on purpose.
    #[error("it was a dry run, which changed nothing")]
    DryRun,
    /// It has not ended.
    #[error("it has not ended yet")]
    Running,
    /// It was made with rights that nobody has here.
    #[error("its caller brought a credential of their own, which is not kept: only they can take it back")]
    Visitors,
    /// It was about another site.
    #[error("it changed another site, {0}")]
    AnotherSite(String),
    /// It changed nothing.
    #[error("it changed nothing")]
    Nothing,
    /// It was taken back before.
    #[error("it was taken back already, by operation {0}")]
    Already(OperationId),
    /// Somebody takes it back right now.
    #[error("it is being taken back right now")]
    Underway,
    /// What would be done is not what was shown.
    #[error("the plan is another by now than the one that was shown")]
    Changed(Box<Undo>),
    /// Cloud or the journal cannot be asked, or a limit forbids it.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Something was changed, and the rest was not.
fn failed(cause: &str) -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(5),
        cause: cause.to_owned(),
    }
}

impl Undo {
    /// What tells this plan from every other, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        // Every field of every part stands in it, and texts in quotation marks.
        let digest = Sha256::digest(format!("{self:?}"));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What must be known before it is done.
    #[must_use]
    pub fn note(&self) -> Option<&'static str> {
        let makes_groups = self.steps.iter().any(|step| matches!(step, Step::Create(_)));
        makes_groups.then_some(
            "the groups are made anew: they get new ids, and permissions and settings of the old ones are lost",
        )
    }
}

impl Why {
    /// The reason's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChangedLater => "changed_later",
            Self::Undone => "undone_already",
            Self::InDoubt => "in_doubt",
            Self::GroupGone => "group_gone",
            Self::Renamed => "renamed",
            Self::HasMembers => "has_members",
            Self::UnknownGroup => "unknown_group",
            Self::Unrecorded => "unrecorded",
            Self::Skipped(reason) => reason.as_str(),
        }
    }
}

impl Step {
    /// What it does.
    #[must_use]
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::Members(change, ..) => change.kind(),
            Self::Delete(_) => OperationKind::DeleteGroups,
            Self::Create(_) => OperationKind::CreateGroups,
            Self::Refill(..) => OperationKind::AddMembers,
        }
    }
}

impl Directory {
    /// Takes an operation back, if the plan still has the digest `shown`. Whoever waits for it may hang up: it goes on.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub async fn undo(self: &Arc<Self>, id: &OperationId, shown: &str, context: &Context) -> Result<Undone, Refusal> {
        let books = self.process.books.get()?;
        books.check().await?;
        let mut claims = self.process.undos.claim([id.clone()]);
        if claims.iter_mut().any(|claim| !claim.is_mine()) {
            return Err(Refusal::Underway);
        }
        let planned = self.plan_undo(id, context).await;
        if let Err(Refusal::Failed(Error::TooManyRemovals { group, .. })) = &planned {
            let kind = OperationKind::RemoveMembers;
            let why = "too_many_removals";
            books.audit().refused(context, kind, group.as_str(), why).await;
        }
        let undo = planned?;
        if undo.digest() != shown {
            return Err(Refusal::Changed(Box::new(undo)));
        }
        self.tell_refused(&undo, context).await?;
        self.has_room(context)?;
        tracing::info!(request = %context.request, operation = %id, steps = undo.steps.len(), left = undo.left.len(), "an operation is taken back");
        let (directory, context) = (Arc::clone(self), context.clone());
        let gauge = self.process.metrics.operations.clone();
        let task = self.process.operations.spawn(async move {
            let _claims = claims;
            gauge.inc();
            let carried = std::panic::AssertUnwindSafe(directory.take_back(&undo, &context));
            let ended = futures_util::FutureExt::catch_unwind(carried).await;
            gauge.dec();
            let (operations, failure) = ended.unwrap_or_else(|_panic| {
                tracing::error!(operation = %undo.of, "an undo ended in a panic");
                (Vec::new(), Some(failed("an internal fault ended the undo")))
            });
            Undone {
                undo,
                operations,
                failure,
            }
        });
        // Nobody aborts it, and its panics are caught.
        task.await.map_err(|_| Refusal::Failed(stopping()))
    }

    /// Tells the audit what the guards refuse.
    async fn tell_refused(&self, undo: &Undo, context: &Context) -> Result<(), Error> {
        let refused = undo
            .left
            .iter()
            .filter(|left| left.why == Why::Skipped(Skip::Protected));
        let groups = refused.map(|left| undo.group.clone().unwrap_or_else(|| GroupName::new(&left.name)));
        let groups: BTreeSet<GroupName> = groups.collect();
        let kind = match undo.kind {
            OperationKind::AddMembers => OperationKind::RemoveMembers,
            OperationKind::RemoveMembers => OperationKind::AddMembers,
            OperationKind::CreateGroups => OperationKind::DeleteGroups,
            OperationKind::DeleteGroups => OperationKind::CreateGroups,
        };
        let books = self.process.books.get()?;
        for group in groups {
            let why = Skip::Protected.as_str();
            books.audit().refused(context, kind, group.as_str(), why).await;
        }
        Ok(())
    }

    /// Carries the steps out, up to the first that fails.
    async fn take_back(&self, undo: &Undo, context: &Context) -> (Vec<OperationId>, Option<Error>) {
        let (mut begun, mut made) = (Vec::new(), HashMap::new());
        for step in &undo.steps {
            // Each operation's cost is its own.
            let request = RequestId::new(context.request.as_str());
            let patience = seconds(self.process.settings.extender.read_deadline_s);
            let context = Context::new(request, context.caller.clone(), patience);
            let (id, ended) = self.take_step(&undo.of, step, &mut made, &context).await;
            if let (Some(id), Ok(books)) = (&id, self.process.books.get()) {
                // Nobody is to be given it as an answer.
                books.journal().delivered(id);
            }
            begun.extend(id);
            if let Err(error) = ended {
                return (begun, Some(error));
            }
        }
        (begun, None)
    }

    /// Carries one step out, and tells under which id it is on record; `made` are the groups of earlier steps.
    async fn take_step(
        &self,
        of: &OperationId,
        step: &Step,
        made: &mut HashMap<GroupName, Option<GroupId>>,
        context: &Context,
    ) -> (Option<OperationId>, Result<(), Error>) {
        let books = match self.process.books.get() {
            Ok(books) => books,
            Err(error) => return (None, Err(error)),
        };
        let (what, group, names): (What, Option<Group>, Vec<String>) = match step {
            Step::Members(change, group, members) => (
                What::Members(*change, group.name.clone()),
                Some(group.clone()),
                members.iter().map(|(name, _)| name.clone()).collect(),
            ),
            Step::Refill(name, members) => {
                // Where it was not made, the report of its making says why.
                let Some(id) = made.get(name) else {
                    return (None, Ok(()));
                };
                let Some(id) = id else {
                    let why =
                        format!("group {name:?} was made, but not under which id is known; nobody is put into it");
                    return (None, Err(failed(&why)));
                };
                (
                    What::Members(Change::Add, name.clone()),
                    Some(Group::just_made(id.clone(), name.clone())),
                    members.iter().map(|(name, _)| name.clone()).collect(),
                )
            }
            Step::Delete(groups) => {
                let names = groups.iter().map(|group| group.name.as_str().to_owned());
                (What::DeleteGroups, None, names.collect())
            }
            Step::Create(names) => {
                let names = names.iter().map(|name| name.as_str().to_owned());
                (What::CreateGroups, None, names.collect())
            }
        };
        let order = Order {
            what,
            names,
            conduct: Conduct::Real,
            key: None,
        };
        let site = &self.process.site;
        let ticket = Ticket::new(Call {
            digest: Digest::of(site, &order, &context.caller, group.as_ref().map(|group| &group.id)),
            body: Digest::of(site, &order, &context.caller, None),
            key: None,
            conduct: Conduct::Real,
        });
        let job = Job {
            order: &order,
            ticket: &ticket,
            context,
            books,
            undo_of: Some(of),
        };
        let ended = match (step, group) {
            (Step::Members(change, _, members), Some(group)) => self.move_back(&job, *change, group, members).await,
            (Step::Refill(_, members), Some(group)) => self.move_back(&job, Change::Add, group, members).await,
            (Step::Delete(groups), _) => self.delete_again(&job, groups).await,
            (Step::Create(names), _) => self.make_again(&job, names).await,
            (Step::Members(..) | Step::Refill(..), None) => Ok(()),
        };
        let id = ticket.id();
        if let (Step::Create(_), Some(id)) = (step, &id)
            && let Ok(Some(report)) = self.report(id).await
        {
            let done = report
                .names
                .into_iter()
                .filter(|name| name.verdict == Some(Verdict::DONE));
            made.extend(done.map(|name| (GroupName::new(&name.name), name.group)));
        }
        (id, ended)
    }

    async fn move_back(
        &self,
        job: &Job<'_>,
        change: Change,
        group: Group,
        members: &[(String, AccountId)],
    ) -> Result<(), Error> {
        let gone = Error::NoSuchGroup(group.name.clone());
        let items = members.iter().map(|(name, account)| Item {
            name: name.clone(),
            step: Ok(account.clone()),
        });
        let plan = self.plan_items(change, group, items.collect(), Conduct::Real, job.context);
        match self.unless_stopped(plan).await? {
            Some(plan) => self.carry_members(job, change, plan).await?.map(|_| ()).ok_or(gone),
            None => Err(gone),
        }
    }

    async fn delete_again(&self, job: &Job<'_>, groups: &[Group]) -> Result<(), Error> {
        let keys: HashSet<NameKey> = groups.iter().map(|group| group.name.key()).collect();
        let mut claims = self.process.groups.claim(keys);
        let turns = async {
            claims::turns(&mut claims).await;
            Ok(())
        };
        self.unless_stopped(turns).await?;
        let items = groups.iter().map(|group| Item {
            name: group.name.as_str().to_owned(),
            step: Ok(group.clone()),
        });
        let items: Vec<Item<Group>> = items.collect();
        let members = groups
            .iter()
            .enumerate()
            .map(|(place, group)| (place, group.clone(), Vec::new()));
        self.carry_old_groups(job, &items, &members.collect::<Vec<_>>()).await?;
        Ok(())
    }

    async fn make_again(&self, job: &Job<'_>, names: &[GroupName]) -> Result<(), Error> {
        let texts: Vec<String> = names.iter().map(|name| name.as_str().to_owned()).collect();
        let (_claims, found) = self.claim_groups(&texts, Conduct::Real, job.context).await?;
        let mut items = crate::directory::plan::new_groups(texts, found);
        self.process.guard.screen_new(&mut items, job.context.caller.rights);
        self.carry_new_groups(job, &items).await?;
        Ok(())
    }
}
