//! What the operator's listener reads and says of operations, beside their reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::directory::undo::{Left, Step, Undo, Undone};
use crate::model::{AccountId, GroupName, OperationId};

/// What is to be done about an undo.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Whether to do it; else it is only shown.
    pub apply: bool,
    /// The digest of the plan that was shown.
    pub plan: Option<String>,
}

/// A plan as it is shown.
#[derive(Debug, Serialize)]
pub struct Plan<'a> {
    undo_of: &'a str,
    operation: &'static str,
    group: Option<&'a str>,
    /// To be sent back with the order to do it.
    plan: String,
    steps: Vec<PlannedStep<'a>>,
    left: Vec<LeftName<'a>>,
    /// Reasons with the number of names.
    left_because: BTreeMap<&'static str, usize>,
    note: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct PlannedStep<'a> {
    operation: &'static str,
    group: Option<&'a str>,
    group_id: Option<&'a str>,
    names: Vec<PlannedName<'a>>,
}

#[derive(Debug, Serialize)]
struct PlannedName<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct LeftName<'a> {
    name: &'a str,
    account: Option<&'a str>,
    reason: &'static str,
}

/// What became of an undo.
#[derive(Debug, Serialize)]
pub struct Result<'a> {
    undo_of: &'a str,
    /// The operations that were begun, each with a report.
    operations: Vec<&'a str>,
    /// Why the rest was not begun, or not ended.
    failure: Option<String>,
    left: Vec<LeftName<'a>>,
    note: Option<&'static str>,
}

/// Why there is nothing else to say.
#[derive(Debug, Serialize)]
pub struct Refused<'a> {
    /// One sentence.
    pub error: &'a str,
    /// The plan as it is now, where it is not the one that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Plan<'a>>,
}

impl<'a> Plan<'a> {
    /// The plan with its digest.
    pub fn of(undo: &'a Undo) -> Self {
        let mut left_because = BTreeMap::new();
        for left in &undo.left {
            *left_because.entry(left.why.as_str()).or_default() += 1;
        }
        Self {
            undo_of: undo.of.as_str(),
            operation: undo.kind.as_str(),
            group: undo.group.as_ref().map(GroupName::as_str),
            plan: undo.digest(),
            steps: undo.steps.iter().map(PlannedStep::of).collect(),
            left: left(&undo.left),
            left_because,
            note: undo.note(),
        }
    }
}

impl<'a> PlannedStep<'a> {
    fn of(step: &'a Step) -> Self {
        let members = |members: &'a [(String, AccountId)]| {
            let name = |(name, account): &'a (String, AccountId)| PlannedName {
                name,
                account: Some(account.as_str()),
                group_id: None,
            };
            members.iter().map(name).collect()
        };
        let (group, group_id, names) = match step {
            Step::Members(_, group, names) => (Some(group.name.as_str()), Some(group.id.as_str()), members(names)),
            Step::Refill(group, names) => (Some(group.as_str()), None, members(names)),
            Step::Delete(groups) => {
                let names = groups.iter().map(|group| PlannedName {
                    name: group.name.as_str(),
                    account: None,
                    group_id: Some(group.id.as_str()),
                });
                (None, None, names.collect())
            }
            Step::Create(names) => {
                let names = names.iter().map(|name| PlannedName {
                    name: name.as_str(),
                    account: None,
                    group_id: None,
                });
                (None, None, names.collect())
            }
        };
        Self {
            operation: step.kind().as_str(),
            group,
            group_id,
            names,
        }
    }
}

impl<'a> Result<'a> {
    /// What became of it.
    pub fn of(undone: &'a Undone) -> Self {
        Self {
            undo_of: undone.undo.of.as_str(),
            operations: undone.operations.iter().map(OperationId::as_str).collect(),
            failure: undone.failure.as_ref().map(ToString::to_string),
            left: left(&undone.undo.left),
            note: undone.undo.note(),
        }
    }
}

fn left(left: &[Left]) -> Vec<LeftName<'_>> {
    let names = left.iter().map(|left| LeftName {
        name: &left.name,
        account: left.account.as_ref().map(AccountId::as_str),
        reason: left.why.as_str(),
    });
    names.collect()
}
