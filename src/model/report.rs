//! One bulk operation as the journal keeps it and a report shows it.

use std::ops::AddAssign;

use super::{AccountId, Fate, GroupId, GroupName, OperationId, OperationKind, Verdict, Waits};

/// One bulk operation, from its beginning on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// Who asked for it, by name.
    pub caller: String,
    /// What tells that caller from every other ([`super::Caller::key`]).
    pub caller_key: String,
    /// The caller brought a credential of their own, which is not kept.
    pub visitor: bool,
    /// The inbound request's id.
    pub request: String,
    /// The site it changes, as an address or a cloudId.
    pub site: String,
    /// The group whose members are changed, where it is one.
    pub group: Option<(GroupId, GroupName)>,
    /// Nothing is changed: the verdicts are what would become of the names.
    pub dry_run: bool,
    /// The operation whose reverse this is.
    pub undo_of: Option<OperationId>,
    /// What tells this call from every other: its caller, kind, group, names in order, and whether it is a dry run.
    pub digest: Vec<u8>,
    /// The caller's own key for the call, with the digest of what it stands for.
    pub idempotency: Option<(String, Vec<u8>)>,
    /// When it began, in epoch milliseconds.
    pub started_at: i64,
    /// When it ended, in epoch milliseconds.
    pub finished_at: Option<i64>,
    /// How it stands.
    pub state: State,
    /// The plan, as a JSON object.
    pub plan: String,
    /// The group gives nobody access to Confluence, where that is known; found out when a report is read, and not kept.
    pub no_access_granted: bool,
    /// Its answer was written whole to its caller: nobody is to be given it again.
    pub delivered: bool,
    /// What it cost.
    pub cost: Cost,
    /// Every name asked for, in order.
    pub names: Vec<Name>,
}

/// How an operation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs, or its process was ended before it was.
    Running,
    /// Every name has its fate.
    Finished,
    /// It ended before every name had its fate; why.
    Interrupted(String),
}

impl State {
    /// The state's name in journal and reports; the reason of an interruption stands beside it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Interrupted(_) => "interrupted",
        }
    }
}

/// What an operation cost in calls to Cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests sent.
    pub calls: u64,
    /// Requests that repeated another.
    pub retries: u64,
    /// Time that requests waited for leave to go out, in milliseconds, added up.
    pub waited_ms: u64,
    /// What they waited for. Less than the sum where nobody kept the reasons: in journals of format 1.
    pub waits: Waits,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        let Self {
            calls,
            retries,
            waited_ms,
            waits,
        } = other;
        self.calls += calls;
        self.retries += retries;
        self.waited_ms += waited_ms;
        self.waits += waits;
    }
}

/// One name of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As the caller spelt it.
    pub name: String,
    /// The account it means, where it means one.
    pub account: Option<AccountId>,
    /// The group it means, of operations on groups.
    pub group: Option<GroupId>,
    /// What became of it; nothing yet while the operation runs.
    pub verdict: Option<Verdict>,
}

/// How many names ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cloud was changed as asked.
    pub done: u64,
    /// Nothing was changed.
    pub skipped: u64,
    /// The change may have happened.
    pub in_doubt: u64,
    /// Nothing yet.
    pub left: u64,
}

impl Tally {
    /// Counts one name.
    pub fn count(&mut self, verdict: Option<Verdict>) {
        let of = match verdict {
            None => &mut self.left,
            Some(Verdict::InDoubt) => &mut self.in_doubt,
            Some(Verdict::Told(Fate::Done)) => &mut self.done,
            Some(Verdict::Told(Fate::Skipped(_))) => &mut self.skipped,
        };
        *of += 1;
    }
}

/// One line of a list of operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// Who asked for it, by name.
    pub caller: String,
    /// The group whose members are changed, where it is one.
    pub group: Option<GroupName>,
    /// Nothing is changed.
    pub dry_run: bool,
    /// When it began, in epoch milliseconds.
    pub started_at: i64,
    /// When it ended, in epoch milliseconds.
    pub finished_at: Option<i64>,
    /// How it stands.
    pub state: State,
    /// What became of its names.
    pub tally: Tally,
}

/// A group as it was directly before it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotGroup {
    /// Its id, which no other group will have.
    pub id: GroupId,
    /// Its name.
    pub name: GroupName,
    /// It was synchronised from an identity provider.
    pub externally_managed: bool,
    /// Whatever else was known of it, as a JSON object.
    pub settings: String,
}

impl Report {
    /// What became of its names so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.names.iter().for_each(|name| tally.count(name.verdict));
        tally
    }

    /// Names with a fate.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.names.iter().filter(|name| name.verdict.is_some()).count()
    }
}
