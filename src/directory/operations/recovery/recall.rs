//! What an earlier process changed moments ago, which Cloud's reads may not show yet: the ledger is told of it anew.

use crate::cloud::Group;
use crate::directory::ledger::{Ledger, View};
use crate::model::report::{Name, Report, State};
use crate::model::{GroupName, OperationKind, Verdict};

/// Tells the ledger what `report` changed, as a change of `view` that is made now.
///
/// Of an operation that was cut short nobody knows how long ago it made a change: who asks within the lag asks Cloud.
pub(super) fn recall(report: &Report, ledger: &Ledger, view: View) {
    for name in &report.names {
        let is_certain = match name.verdict {
            Some(Verdict::DONE) => report.state != State::Running,
            Some(Verdict::InDoubt) => false,
            Some(Verdict::Told(_)) | None => continue,
        };
        match report.kind {
            OperationKind::AddMembers => recall_member(report, name, is_certain.then_some(true), ledger, view),
            OperationKind::RemoveMembers => recall_member(report, name, is_certain.then_some(false), ledger, view),
            OperationKind::CreateGroups | OperationKind::DeleteGroups => {
                recall_group(report.kind, name, is_certain, ledger, view);
            }
        }
    }
}

fn recall_member(report: &Report, name: &Name, present: Option<bool>, ledger: &Ledger, view: View) {
    if let (Some((group, _)), Some(account)) = (&report.group, &name.account) {
        ledger.member_changed(group, account, present, view);
    }
}

fn recall_group(kind: OperationKind, name: &Name, is_certain: bool, ledger: &Ledger, view: View) {
    let called = GroupName::new(&name.name);
    let group = name.group.clone().map(|id| Group::just_made(id, called.clone()));
    match (kind, group) {
        (OperationKind::CreateGroups, group) if is_certain => ledger.group_created(called, group, view),
        (OperationKind::DeleteGroups, Some(group)) if is_certain => ledger.group_deleted(&group),
        _ => ledger.group_doubted(&called),
    }
}
