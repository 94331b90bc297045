//! One bulk operation as the journal keeps it and a report shows it.

use super::{AccountId, GroupId, GroupName, OperationId, OperationKind, Verdict};

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
    /// The group gives nobody access to a product, where that is known.
    pub no_access_granted: bool,
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

/// What an operation cost in calls to Cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests sent.
    pub calls: u64,
    /// Requests that repeated another.
    pub retries: u64,
    /// Time that requests waited for leave to go out, in milliseconds, added up.
    pub waited_ms: u64,
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

impl Report {
    /// Names with a fate.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.names.iter().filter(|name| name.verdict.is_some()).count()
    }
}
