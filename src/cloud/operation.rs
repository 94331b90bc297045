//! The requests we make of Cloud: where they go, their names in log and metrics, and the right each one needs.

/// A kind of request to Cloud. Cloud limits each kind on its own, so each has a gate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `GET group`
    ListGroups,
    /// `GET group/picker`
    FindGroups,
    /// `GET group/by-id`
    GetGroup,
    /// `GET group/{id}/membersByGroupId`
    ListMembers,
    /// `POST group`
    CreateGroup,
    /// `DELETE group/by-id`
    DeleteGroup,
    /// `POST group/userByGroupId`
    AddMember,
    /// `DELETE group/userByGroupId`
    RemoveMember,
    /// `GET user/bulk`
    ReadUsers,
    /// `GET user/memberof`
    MemberOf,
    /// `GET user/current`
    CurrentUser,
    /// `GET _edge/tenant_info`
    TenantInfo,
    /// Admin API: `POST users/search`
    AdminUsers,
    /// Admin API: `POST groups/search`
    AdminGroups,
    /// Admin API: `GET groups/{id}/role-assignments`
    AdminRoles,
    /// SCIM: `GET Users`
    ScimUsers,
    /// Jira: `GET user/search`
    JiraUsers,
    /// The authorisation server: `POST oauth/token`
    Token,
    /// The gateway: `GET oauth/token/accessible-resources`
    Resources,
}

/// Which of Cloud's services a request goes to: each has a credential and a pace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Confluence at the site.
    Confluence,
    /// The organisation's Admin API.
    Admin,
    /// The API of the directory that an identity provider fills.
    Scim,
    /// Jira at the site.
    Jira,
    /// Who makes tokens of OAuth.
    Login,
}

impl Service {
    /// What messages call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Confluence => "Confluence Cloud",
            Self::Admin => "the organisation's Admin API",
            Self::Scim => "the SCIM API",
            Self::Jira => "Jira",
            Self::Login => "Atlassian's authorisation server",
        }
    }

    /// The setting that says where it is.
    pub(super) fn address(self) -> &'static str {
        match self {
            Self::Confluence | Self::Jira => "cloud.base_url",
            Self::Admin => "cloud.admin.base_url",
            Self::Scim => "cloud.scim.base_url",
            Self::Login => "cloud.login_url",
        }
    }
}

impl Operation {
    /// Every kind.
    pub const ALL: [Self; 19] = [
        Self::ListGroups,
        Self::FindGroups,
        Self::GetGroup,
        Self::ListMembers,
        Self::CreateGroup,
        Self::DeleteGroup,
        Self::AddMember,
        Self::RemoveMember,
        Self::ReadUsers,
        Self::MemberOf,
        Self::CurrentUser,
        Self::TenantInfo,
        Self::AdminUsers,
        Self::AdminGroups,
        Self::AdminRoles,
        Self::ScimUsers,
        Self::JiraUsers,
        Self::Token,
        Self::Resources,
    ];
    /// How many kinds there are.
    pub(super) const COUNT: usize = Self::ALL.len();

    /// The operation's name in log and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ListGroups => "list_groups",
            Self::FindGroups => "find_group",
            Self::GetGroup => "get_group",
            Self::ListMembers => "list_members",
            Self::CreateGroup => "create_group",
            Self::DeleteGroup => "delete_group",
            Self::AddMember => "add_member",
            Self::RemoveMember => "remove_member",
            Self::ReadUsers => "users_bulk",
            Self::MemberOf => "member_of",
            Self::CurrentUser => "current_user",
            Self::TenantInfo => "tenant_info",
            Self::AdminUsers => "admin_search_users",
            Self::AdminGroups => "admin_search_groups",
            Self::AdminRoles => "admin_group_roles",
            Self::ScimUsers => "scim_users",
            Self::JiraUsers => "jira_find_user",
            Self::Token => "oauth_token",
            Self::Resources => "accessible_resources",
        }
    }

    /// Where the request goes.
    #[must_use]
    pub fn service(self) -> Service {
        match self {
            Self::AdminUsers | Self::AdminGroups | Self::AdminRoles => Service::Admin,
            Self::ScimUsers => Service::Scim,
            Self::JiraUsers => Service::Jira,
            Self::Token | Self::Resources => Service::Login,
            _ => Service::Confluence,
        }
    }

    /// Whether the request changes something, so that an unanswered try may have taken effect.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Self::CreateGroup | Self::DeleteGroup | Self::AddMember | Self::RemoveMember
        )
    }

    /// Whether it asks for something that is there at every site, so that "not there" is said of the site.
    #[must_use]
    pub fn is_everywhere(self) -> bool {
        matches!(
            self,
            Self::ListGroups
                | Self::FindGroups
                | Self::CurrentUser
                | Self::ReadUsers
                | Self::JiraUsers
                | Self::AdminUsers
                | Self::AdminGroups
                | Self::ScimUsers
        )
    }

    /// Whether a try whose effect is unknown may simply be sent again.
    #[must_use]
    pub fn is_safe_to_repeat(self) -> bool {
        !matches!(self, Self::CreateGroup)
    }

    /// The OAuth scopes that cover the request; Cloud never says which one is missing.
    #[must_use]
    pub fn scopes(self) -> &'static str {
        match self {
            Self::ListGroups | Self::FindGroups | Self::GetGroup => "read:confluence-groups (or read:group:confluence)",
            Self::ListMembers => "read:confluence-groups (or read:group:confluence with read:user:confluence)",
            Self::MemberOf => "read:confluence-user (or read:user:confluence with read:group:confluence)",
            Self::ReadUsers | Self::CurrentUser => "read:confluence-user (or read:content-details:confluence)",
            Self::CreateGroup | Self::DeleteGroup | Self::AddMember | Self::RemoveMember => {
                "write:confluence-groups (or write:group:confluence)"
            }
            Self::TenantInfo | Self::Token | Self::Resources => "none",
            Self::AdminUsers => "read:users:admin",
            Self::AdminGroups | Self::AdminRoles => "read:groups:admin",
            Self::ScimUsers => "none",
            Self::JiraUsers => "read:jira-user",
        }
    }
}
