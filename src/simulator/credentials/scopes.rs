//! Which scopes an operation needs: the classic one, or a whole set of granular ones.
//!
//! As the official documents state it; a contract test holds the table to them. What they do not state is marked. A
//! credential that names no scopes (a classic token, most keys of an organisation) is not asked for any.
use serde_json::{Value, json};

use super::super::routes::{self, Operation};

/// Sets of scopes, of which one must be there as a whole.
type AnyOf = &'static [&'static [&'static str]];

const READ_GROUPS: AnyOf = &[&["read:confluence-groups"], &["read:group:confluence"]];
const WRITE_GROUPS: AnyOf = &[&["write:confluence-groups"], &["write:group:confluence"]];
const READ_USER: AnyOf = &[&["read:confluence-user"], &["read:content-details:confluence"]];
const JIRA_USER: AnyOf = &[
    &["read:jira-user"],
    &[
        "read:application-role:jira",
        "read:avatar:jira",
        "read:group:jira",
        "read:user:jira",
    ],
];
const WRITE_ORG_GROUPS: AnyOf = &[&["write:groups:admin"], &["write:group:admin"]];

/// Nothing: whoever is let in may do it.
pub(super) fn needed(operation: Operation) -> AnyOf {
    match operation {
        Operation::ListGroups | Operation::FindGroup | Operation::GetGroup => READ_GROUPS,
        Operation::ListMembers => &[
            &["read:confluence-groups"],
            &["read:group:confluence", "read:user:confluence"],
        ],
        Operation::CreateGroup => &[
            &["write:confluence-groups"],
            &["read:group:confluence", "write:group:confluence"],
        ],
        Operation::DeleteGroup | Operation::AddMember | Operation::RemoveMember => WRITE_GROUPS,
        Operation::GetUser | Operation::UsersBulk | Operation::CurrentUser => READ_USER,
        Operation::MemberOf => &[
            &["read:confluence-user"],
            &["read:group:confluence", "read:user:confluence"],
        ],
        Operation::UsersBulkV2 => &[&["read:user:confluence"]],
        Operation::JiraFindUser => &[
            &["read:jira-user"],
            &[
                "read:application-role:jira",
                "read:avatar:jira",
                "read:group:jira",
                "read:user.property:jira",
                "read:user:jira",
            ],
        ],
        Operation::JiraListUsers | Operation::JiraUsersBulk | Operation::JiraMyself => JIRA_USER,
        Operation::JiraGroupMembers => &[
            &["manage:jira-configuration"],
            &["read:avatar:jira", "read:group:jira", "read:user:jira"],
        ],
        // Assumed: as one organisation is.
        Operation::AdminOrgs | Operation::AdminOrg => &[&["read:orgs:admin"]],
        Operation::AdminDirectories => &[&["read:directories:admin"]],
        // Assumed: as the older list of the same rows.
        Operation::AdminSearchUsers | Operation::AdminGetUser => &[&["read:directories:admin"]],
        // Assumed, as above.
        Operation::AdminSearchGroups | Operation::AdminGroupRoles => &[&["read:groups:admin"]],
        // Assumed: by the name of what reads them, or by that of the document's own list of scopes.
        Operation::AdminCreateGroup
        | Operation::AdminDeleteGroup
        | Operation::AdminAddMember
        | Operation::AdminRemoveMember => WRITE_ORG_GROUPS,
        Operation::ScimUsers
        | Operation::TenantInfo
        | Operation::Authorize
        | Operation::OauthToken
        | Operation::AccessibleResources
        | Operation::Other => &[],
    }
}

/// Whether somebody who has these scopes may do it.
pub(super) fn suffice(operation: Operation, has: impl Fn(&str) -> bool) -> bool {
    let sets = needed(operation);
    sets.is_empty() || sets.iter().any(|set| set.iter().all(|scope| has(scope)))
}

/// The whole table, for `GET /_sim/scopes`.
pub(super) fn shown() -> Value {
    let rows = Operation::ALL.iter().filter_map(|operation| {
        let (method, path) = routes::written(*operation)?;
        let any_of = needed(*operation);
        let row = json!({"operation": operation.name(), "method": method, "path": path, "any_of": any_of});
        (!any_of.is_empty()).then_some(row)
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(operation: Operation, scopes: &[&str]) -> bool {
        suffice(operation, |scope| scopes.contains(&scope))
    }

    #[test]
    fn one_set_must_be_there_as_a_whole() {
        assert!(may(Operation::ListMembers, &["read:confluence-groups"]));
        assert!(may(
            Operation::ListMembers,
            &["read:user:confluence", "read:group:confluence", "x"]
        ));
        for too_few in [
            &[][..],
            &["read:group:confluence"],
            &["read:user:confluence", "write:confluence-groups"],
            &[
                "read:confluence-group",
                "READ:CONFLUENCE-GROUPS",
                "read:confluence-groups ",
            ],
        ] {
            assert!(!may(Operation::ListMembers, too_few), "{too_few:?}");
        }
    }

    #[test]
    fn what_needs_none_is_open_to_whoever_has_none() {
        assert!(may(Operation::TenantInfo, &[]));
        assert!(may(Operation::ScimUsers, &[]));
    }
}
