//! The requests we make of Cloud: their names in log and metrics, and the right each one needs.

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
}

impl Operation {
    /// How many kinds there are.
    pub(super) const COUNT: usize = Self::TenantInfo as usize + 1;

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
            Self::TenantInfo => "none",
        }
    }
}
