//! Users, groups and pages as the Admin API's document has them.
use std::borrow::Cow;

use serde::Serialize;

use super::super::data::GroupInfo;
use super::super::profile::Profile;
use super::super::users::{Status, User};

/// Cursors, not addresses.
#[derive(Debug, Serialize)]
pub(super) struct Links {
    #[serde(rename = "self")]
    pub(super) this: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    pub(super) links: Links,
}

#[derive(Debug, Serialize)]
struct Address {
    #[serde(rename = "self")]
    this: String,
}

#[derive(Debug, Serialize)]
struct Related {
    links: RelatedAddress,
}

#[derive(Debug, Serialize)]
struct RelatedAddress {
    related: String,
}

#[derive(Debug, Serialize)]
struct Named {
    name: &'static str,
}

#[derive(Debug, Serialize)]
struct Relationships {
    domains: Related,
    users: Related,
}

/// The organisation.
#[derive(Debug, Serialize)]
pub(super) struct OrgRow<'a> {
    id: &'a str,
    r#type: &'static str,
    attributes: Named,
    relationships: Relationships,
    links: Address,
}

impl<'a> OrgRow<'a> {
    pub(super) fn new(id: &'a str, origin: &str) -> Self {
        let this = format!("{origin}/admin/v1/orgs/{id}");
        let related = |what: &str| Related {
            links: RelatedAddress {
                related: format!("{this}/{what}"),
            },
        };
        Self {
            id,
            r#type: "orgs",
            attributes: Named { name: "Example" },
            relationships: Relationships {
                domains: related("domains"),
                users: related("users"),
            },
            links: Address { this },
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryRow<'a> {
    directory_id: &'a str,
    name: &'static str,
}

/// The page of the one directory.
#[derive(Debug, Serialize)]
pub(super) struct DirectoryPage<'a> {
    data: [DirectoryRow<'a>; 1],
    links: Links,
}

impl<'a> DirectoryPage<'a> {
    pub(super) fn new(directory_id: &'a str) -> Self {
        Self {
            data: [DirectoryRow {
                directory_id,
                name: "Example directory",
            }],
            links: Links {
                this: "0".to_owned(),
                prev: None,
                next: None,
            },
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct UserCounts {
    pub(super) resources: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct UserGroup {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    pub(super) description: Option<Box<str>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProductAccess<'a> {
    pub(super) id: String,
    pub(super) key: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_active_timestamp: Option<Cow<'a, str>>,
}

/// A user. What is not expanded, or not known, is not there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserRow<'a> {
    account_id: &'a str,
    account_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<&'a str>,
    email_verified: bool,
    name: &'a str,
    nickname: &'a str,
    status: &'static str,
    account_status: &'static str,
    membership_status: &'static str,
    claim_status: &'static str,
    management_source: &'static str,
    mfa_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    department: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    organization: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_to_org: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) counts: Option<UserCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) groups: Option<Vec<UserGroup>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) platform_roles: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) product_access: Option<Vec<ProductAccess<'a>>>,
}

/// `status`, `accountStatus` and `membershipStatus`: the first is made of the others, as the document says. It does not say what
/// becomes of a closed account; the simulator lets it be one that is to be deleted and belongs nowhere.
pub(super) fn statuses(status: Status) -> (&'static str, &'static str, &'static str) {
    match status {
        Status::Active => ("active", "active", "active"),
        Status::Suspended => ("suspended", "active", "suspended"),
        Status::Inactive => ("deactivated", "inactive", "active"),
        Status::Closed => ("for_deletion", "closed", "no_membership"),
    }
}

impl<'a> UserRow<'a> {
    pub(super) fn new(user: &'a User, shown: Status, profile: Profile<'a>) -> Self {
        let (status, account_status, membership_status) = statuses(shown);
        Self {
            account_id: &user.account_id,
            account_type: "atlassian",
            email: Some(user.email.as_ref()).filter(|email| !email.is_empty()),
            email_verified: true,
            name: &user.display_name,
            nickname: &user.display_name,
            status,
            account_status,
            membership_status,
            claim_status: "managed",
            management_source: if user.provisioned().is_some() {
                "synced"
            } else {
                "invited"
            },
            mfa_enabled: false,
            job_title: profile.job_title,
            department: profile.department,
            location: profile.location,
            organization: "Example",
            added_to_org: profile.added_to_org,
            counts: None,
            groups: None,
            platform_roles: None,
            product_access: None,
        }
    }
}

#[derive(Debug, Serialize)]
struct ManagementAccess {
    readable: bool,
    modifiable: bool,
    deletable: bool,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct GroupCounts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) users: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<usize>,
}

/// A group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupRow<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    directory_id: &'a str,
    external_synced: bool,
    managed_by: &'static str,
    management_access: ManagementAccess,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) counts: Option<GroupCounts>,
}

impl<'a> GroupRow<'a> {
    pub(super) fn new(group: &'a GroupInfo, external: bool, directory_id: &'a str) -> Self {
        let managed_by = match group.managed_by(external) {
            "EXTERNAL" => "external",
            "TEAM_MEMBERS" => "team-members",
            "OPEN" => "open",
            _ => "admins",
        };
        let ours = managed_by != "external";
        Self {
            id: &group.id,
            name: &group.name,
            description: group.description.as_deref(),
            directory_id,
            external_synced: !ours,
            managed_by,
            management_access: ManagementAccess {
                readable: true,
                modifiable: ours,
                deletable: ours && !group.is_default(),
            },
            counts: None,
        }
    }
}

/// A group's roles on one resource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleRow {
    resource_id: String,
    resource_owner: &'static str,
    roles: &'static [&'static str],
    default_role: Option<&'static str>,
}

impl RoleRow {
    pub(super) fn new(owner: &'static str, site: &str, roles: &'static [&'static str]) -> Self {
        Self {
            resource_id: format!("ari:cloud:{owner}::site/{site}"),
            resource_owner: owner,
            roles,
            default_role: None,
        }
    }
}
