//! Every path of the API that there is, on one screen.
use http::Method;
use percent_encoding::percent_decode_str;

/// What a request asks for, by the name that the counts and the limits use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Operation {
    ListGroups,
    FindGroup,
    GetGroup,
    ListMembers,
    CreateGroup,
    DeleteGroup,
    AddMember,
    RemoveMember,
    GetUser,
    UsersBulk,
    MemberOf,
    CurrentUser,
    TenantInfo,
    /// No such path, or not with this method.
    Other,
}

impl Operation {
    pub(super) const ALL: [Self; 14] = [
        Self::ListGroups,
        Self::FindGroup,
        Self::GetGroup,
        Self::ListMembers,
        Self::CreateGroup,
        Self::DeleteGroup,
        Self::AddMember,
        Self::RemoveMember,
        Self::GetUser,
        Self::UsersBulk,
        Self::MemberOf,
        Self::CurrentUser,
        Self::TenantInfo,
        Self::Other,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ListGroups => "list_groups",
            Self::FindGroup => "find_group",
            Self::GetGroup => "get_group",
            Self::ListMembers => "list_members",
            Self::CreateGroup => "create_group",
            Self::DeleteGroup => "delete_group",
            Self::AddMember => "add_member",
            Self::RemoveMember => "remove_member",
            Self::GetUser => "get_user",
            Self::UsersBulk => "users_bulk",
            Self::MemberOf => "member_of",
            Self::CurrentUser => "current_user",
            Self::TenantInfo => "tenant_info",
            Self::Other => "other",
        }
    }

    pub(super) fn is_write(self) -> bool {
        matches!(
            self,
            Self::CreateGroup | Self::DeleteGroup | Self::AddMember | Self::RemoveMember
        )
    }
}

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    To(Operation),
    /// To a group's members; the group's id stands in the path.
    Members(String),
    WrongMethod,
    Nowhere,
}

impl Route {
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::To(operation) => *operation,
            Self::Members(_) => Operation::ListMembers,
            Self::WrongMethod | Self::Nowhere => Operation::Other,
        }
    }
}

/// A path of the gateway, `/ex/confluence/{cloudId}/…`, split into the cloud id and the path that the site would have.
pub(super) fn gateway(path: &str) -> Option<(&str, &str)> {
    let (cloud_id, rest) = path.strip_prefix("/ex/confluence/")?.split_once('/')?;
    Some((cloud_id, path.get(path.len() - rest.len() - 1..)?))
}

/// Finds the route of a path of the site.
pub(super) fn find(method: &Method, path: &str) -> Route {
    use Operation::*;
    let known: &[(Method, Operation)] = match path {
        "/wiki/rest/api/group" => &[(Method::GET, ListGroups), (Method::POST, CreateGroup)],
        "/wiki/rest/api/group/picker" => &[(Method::GET, FindGroup)],
        "/wiki/rest/api/group/by-id" => &[(Method::GET, GetGroup), (Method::DELETE, DeleteGroup)],
        "/wiki/rest/api/group/userByGroupId" => &[(Method::POST, AddMember), (Method::DELETE, RemoveMember)],
        "/wiki/rest/api/user" => &[(Method::GET, GetUser)],
        "/wiki/rest/api/user/bulk" => &[(Method::GET, UsersBulk)],
        "/wiki/rest/api/user/memberof" => &[(Method::GET, MemberOf)],
        "/wiki/rest/api/user/current" => &[(Method::GET, CurrentUser)],
        "/_edge/tenant_info" => &[(Method::GET, TenantInfo)],
        _ => {
            let id = path
                .strip_prefix("/wiki/rest/api/group/")
                .and_then(|rest| rest.strip_suffix("/membersByGroupId"));
            return match id.filter(|id| !id.is_empty() && !id.contains('/')) {
                Some(id) if method == Method::GET => {
                    Route::Members(percent_decode_str(id).decode_utf8_lossy().into_owned())
                }
                Some(_) => Route::WrongMethod,
                None => Route::Nowhere,
            };
        }
    };
    known
        .iter()
        .find(|(allowed, _)| allowed == method)
        .map_or(Route::WrongMethod, |(_, operation)| Route::To(*operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_id_is_taken_from_the_path_and_decoded() {
        let find = |path| find(&Method::GET, path);
        let members = find("/wiki/rest/api/group/a%20b%2Fc/membersByGroupId");
        assert_eq!(members, Route::Members("a b/c".to_owned()));
        assert_eq!(find("/wiki/rest/api/group//membersByGroupId"), Route::Nowhere);
        assert_eq!(find("/wiki/rest/api/group/a/b/membersByGroupId"), Route::Nowhere);
        assert_eq!(find("/wiki/rest/api/group/"), Route::Nowhere);
    }

    #[test]
    fn a_gateway_path_is_split_after_the_cloud_id() {
        assert_eq!(gateway("/ex/confluence/abc/wiki/rest"), Some(("abc", "/wiki/rest")));
        assert_eq!(gateway("/ex/confluence/abc"), None);
        assert_eq!(gateway("/wiki/rest/api/group"), None);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        assert_eq!(names.len(), Operation::ALL.len());
    }
}
