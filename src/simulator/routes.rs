//! Every path that there is, on one screen.
use http::Method;
use percent_encoding::percent_decode_str;

macro_rules! operations {
    ($($(#[$doc:meta])* $operation:ident = $name:literal,)*) => {
        /// What a request asks for, by the name that the counts and the limits use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) enum Operation {
            $($(#[$doc])* $operation,)*
        }

        impl Operation {
            pub(super) const ALL: &[Self] = &[$(Self::$operation,)*];

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$operation => $name,)*
                }
            }
        }
    };
}

operations! {
    ListGroups = "list_groups",
    FindGroup = "find_group",
    GetGroup = "get_group",
    ListMembers = "list_members",
    CreateGroup = "create_group",
    DeleteGroup = "delete_group",
    AddMember = "add_member",
    RemoveMember = "remove_member",
    GetUser = "get_user",
    UsersBulk = "users_bulk",
    MemberOf = "member_of",
    CurrentUser = "current_user",
    TenantInfo = "tenant_info",
    Authorize = "authorize",
    OauthToken = "oauth_token",
    AccessibleResources = "accessible_resources",
    UsersBulkV2 = "users_bulk_v2",
    AdminOrgs = "admin_orgs",
    AdminOrg = "admin_org",
    AdminDirectories = "admin_directories",
    AdminSearchUsers = "admin_search_users",
    AdminGetUser = "admin_get_user",
    AdminSearchGroups = "admin_search_groups",
    AdminCreateGroup = "admin_create_group",
    AdminDeleteGroup = "admin_delete_group",
    AdminAddMember = "admin_add_member",
    AdminRemoveMember = "admin_remove_member",
    AdminGroupRoles = "admin_group_roles",
    ScimUsers = "scim_users",
    JiraFindUser = "jira_find_user",
    JiraListUsers = "jira_list_users",
    JiraGroupMembers = "jira_group_members",
    JiraUsersBulk = "jira_users_bulk",
    JiraMyself = "jira_myself",
    /// No such path, or not with this method.
    Other = "other",
}

impl Operation {
    /// Whether it changes groups or members, in whichever API.
    pub(super) fn is_change(self) -> bool {
        self.is_write()
            || matches!(
                self,
                Self::AdminCreateGroup | Self::AdminDeleteGroup | Self::AdminAddMember | Self::AdminRemoveMember
            )
    }

    /// Whether it is answered beside the site: no limit of the site counts there, and none of the faults that strike by chance.
    pub(super) fn is_beside_site(self) -> bool {
        matches!(
            self,
            Self::TenantInfo | Self::Authorize | Self::OauthToken | Self::AccessibleResources
        )
    }

    /// Whether it changes something in version 1 of Confluence's API.
    pub(super) fn is_write(self) -> bool {
        matches!(
            self,
            Self::CreateGroup | Self::DeleteGroup | Self::AddMember | Self::RemoveMember
        )
    }
}

/// Whose shapes an answer has, and whose credential is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Confluence,
    Jira,
    Admin,
    Scim,
    /// The authorization server.
    Auth,
}

impl Api {
    pub(super) fn of(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("admin") => Self::Admin,
            Some("scim") => Self::Scim,
            Some("rest") => Self::Jira,
            Some("authorize" | "oauth") => Self::Auth,
            _ => Self::Confluence,
        }
    }
}

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To an operation, with what stands in the path for each `{}`.
    To(Operation, Vec<String>),
    WrongMethod,
    Nowhere,
}

impl Route {
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::To(operation, _) => *operation,
            Self::WrongMethod | Self::Nowhere => Operation::Other,
        }
    }
}

#[rustfmt::skip]
const ROUTES: &[(&str, &str, Operation)] = &[
    ("GET", "/wiki/rest/api/group", Operation::ListGroups),
    ("POST", "/wiki/rest/api/group", Operation::CreateGroup),
    ("GET", "/wiki/rest/api/group/picker", Operation::FindGroup),
    ("GET", "/wiki/rest/api/group/by-id", Operation::GetGroup),
    ("DELETE", "/wiki/rest/api/group/by-id", Operation::DeleteGroup),
    ("POST", "/wiki/rest/api/group/userByGroupId", Operation::AddMember),
    ("DELETE", "/wiki/rest/api/group/userByGroupId", Operation::RemoveMember),
    ("GET", "/wiki/rest/api/group/{}/membersByGroupId", Operation::ListMembers),
    ("GET", "/wiki/rest/api/user", Operation::GetUser),
    ("GET", "/wiki/rest/api/user/bulk", Operation::UsersBulk),
    ("GET", "/wiki/rest/api/user/memberof", Operation::MemberOf),
    ("GET", "/wiki/rest/api/user/current", Operation::CurrentUser),
    ("POST", "/wiki/api/v2/users-bulk", Operation::UsersBulkV2),
    ("GET", "/_edge/tenant_info", Operation::TenantInfo),
    ("GET", "/authorize", Operation::Authorize),
    ("POST", "/oauth/token", Operation::OauthToken),
    ("GET", "/oauth/token/accessible-resources", Operation::AccessibleResources),
    ("GET", "/admin/v1/orgs", Operation::AdminOrgs),
    ("GET", "/admin/v1/orgs/{}", Operation::AdminOrg),
    ("GET", "/admin/v2/orgs/{}/directories", Operation::AdminDirectories),
    ("POST", "/admin/v2/orgs/{}/directories/{}/users/search", Operation::AdminSearchUsers),
    ("GET", "/admin/v2/orgs/{}/directories/{}/users/{}", Operation::AdminGetUser),
    ("POST", "/admin/v2/orgs/{}/directories/{}/groups/search", Operation::AdminSearchGroups),
    ("POST", "/admin/v2/orgs/{}/directories/{}/groups", Operation::AdminCreateGroup),
    ("DELETE", "/admin/v2/orgs/{}/directories/{}/groups/{}", Operation::AdminDeleteGroup),
    ("POST", "/admin/v2/orgs/{}/directories/{}/groups/{}/memberships", Operation::AdminAddMember),
    ("DELETE", "/admin/v2/orgs/{}/directories/{}/groups/{}/memberships/{}", Operation::AdminRemoveMember),
    ("GET", "/admin/v2/orgs/{}/directories/{}/groups/{}/role-assignments", Operation::AdminGroupRoles),
    ("GET", "/scim/directory/{}/Users", Operation::ScimUsers),
    ("GET", "/rest/api/3/user/search", Operation::JiraFindUser),
    ("GET", "/rest/api/3/users/search", Operation::JiraListUsers),
    ("GET", "/rest/api/3/group/member", Operation::JiraGroupMembers),
    ("GET", "/rest/api/3/user/bulk", Operation::JiraUsersBulk),
    ("GET", "/rest/api/3/myself", Operation::JiraMyself),
];

/// A path of the gateway, `/ex/{product}/{cloudId}/…`, split into the cloud id and the path that the site would have. A
/// product's prefix leads to that product alone.
pub(super) fn gateway(path: &str) -> Option<(&str, &str)> {
    let (product, rest) = path.strip_prefix("/ex/")?.split_once('/')?;
    let (cloud_id, rest) = rest.split_once('/')?;
    let path = path.get(path.len() - rest.len() - 1..)?;
    let leads_to = match product {
        "confluence" => Api::Confluence,
        "jira" => Api::Jira,
        _ => return None,
    };
    (Api::of(path) == leads_to).then_some((cloud_id, path))
}

/// The method and the path of an operation, as they are written above.
pub(super) fn written(wanted: Operation) -> Option<(&'static str, &'static str)> {
    let mut routes = ROUTES.iter();
    let (method, path, _) = routes.find(|(_, _, operation)| *operation == wanted)?;
    Some((method, path))
}

/// The path of the call that adds a member.
pub(super) fn adding(group_id: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("groupId", group_id)
        .finish();
    format!("{}?{query}", written(Operation::AddMember).map_or("", |(_, path)| path))
}

/// Finds the route of a path of the site.
pub(super) fn find(method: &Method, path: &str) -> Route {
    let mut known = false;
    for (allowed, pattern, operation) in ROUTES {
        let Some(values) = fit(pattern, path) else {
            continue;
        };
        known = true;
        if *allowed == method.as_str() {
            let decoded = |value: &str| percent_decode_str(value).decode_utf8_lossy().into_owned();
            return Route::To(*operation, values.into_iter().map(decoded).collect());
        }
    }
    if known { Route::WrongMethod } else { Route::Nowhere }
}

/// What stands in the path for each `{}` of the pattern, if it is like it.
fn fit<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let (mut given, mut values) = (path.split('/'), Vec::new());
    for known in pattern.split('/') {
        match given.next()? {
            "" if known == "{}" => return None,
            value if known == "{}" => values.push(value),
            same if same == known => {}
            _ => return None,
        }
    }
    given.next().is_none().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_id_is_taken_from_the_path_and_decoded() {
        let find = |path| find(&Method::GET, path);
        let members = find("/wiki/rest/api/group/a%20b%2Fc/membersByGroupId");
        assert_eq!(members, Route::To(Operation::ListMembers, vec!["a b/c".to_owned()]));
        assert_eq!(find("/wiki/rest/api/group//membersByGroupId"), Route::Nowhere);
        assert_eq!(find("/wiki/rest/api/group/a/b/membersByGroupId"), Route::Nowhere);
        assert_eq!(find("/wiki/rest/api/group/"), Route::Nowhere);
        assert_eq!(find("/wiki/rest/api/group/userByGroupId"), Route::WrongMethod);
    }

    #[test]
    fn a_path_that_fits_two_patterns_is_the_one_of_its_method() {
        let search = "/admin/v2/orgs/o/directories/d/groups/search";
        assert_eq!(find(&Method::POST, search).operation(), Operation::AdminSearchGroups);
        assert_eq!(find(&Method::PUT, search), Route::WrongMethod);
    }

    #[test]
    fn a_gateway_path_is_split_after_the_cloud_id_and_leads_to_its_product_alone() {
        assert_eq!(gateway("/ex/confluence/abc/wiki/rest"), Some(("abc", "/wiki/rest")));
        assert_eq!(gateway("/ex/jira/abc/rest/api/3"), Some(("abc", "/rest/api/3")));
        assert_eq!(gateway("/ex/jira/abc/wiki/rest"), None);
        assert_eq!(gateway("/ex/confluence/abc/admin/v1/orgs"), None);
        assert_eq!(gateway("/ex/confluence/abc"), None);
        assert_eq!(gateway("/wiki/rest/api/group"), None);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        assert_eq!(names.len(), Operation::ALL.len());
    }
}
