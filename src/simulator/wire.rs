//! Users, groups and pages as the official document has them. Written down here a second time on purpose: the client has its own.
use serde::Serialize;

use super::data::GroupInfo;
use super::faults::Faults;
use super::users::{AccountType, User};

#[derive(Debug, Serialize)]
pub(super) struct SelfLink {
    #[serde(rename = "self")]
    this: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Icon {
    path: &'static str,
    width: u32,
    height: u32,
    is_default: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Expandable {
    operations: &'static str,
    personal_space: &'static str,
}

/// A user, with what `BulkUserLookup` requires besides what `User` does.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserBody<'a> {
    r#type: &'static str,
    account_id: &'a str,
    account_type: &'a str,
    email: &'a str,
    public_name: &'a str,
    profile_picture: Icon,
    display_name: &'a str,
    is_external_collaborator: bool,
    is_guest: bool,
    #[serde(rename = "_expandable")]
    expandable: Expandable,
    #[serde(rename = "_links")]
    links: SelfLink,
}

impl<'a> UserBody<'a> {
    pub(super) fn new(user: &'a User, faults: &Faults, base: &str) -> Self {
        Self {
            r#type: "known",
            account_id: &user.account_id,
            // The document knows two kinds, and nothing for any other.
            account_type: match user.account_type {
                AccountType::Customer => "",
                known => known.name(),
            },
            email: if user.hides_email(faults) { "" } else { &user.email },
            public_name: &user.display_name,
            profile_picture: Icon {
                path: "/wiki/images/icons/profilepics/default.svg",
                width: 48,
                height: 48,
                is_default: true,
            },
            display_name: &user.display_name,
            is_external_collaborator: false,
            is_guest: false,
            expandable: Expandable {
                operations: "",
                personal_space: "",
            },
            links: SelfLink {
                this: format!("{base}/rest/api/user?accountId={}", user.account_id),
            },
        }
    }
}

/// A group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupBody<'a> {
    r#type: &'static str,
    name: &'a str,
    id: &'a str,
    usage_type: &'a str,
    managed_by: &'a str,
    #[serde(rename = "_links")]
    links: SelfLink,
}

impl<'a> GroupBody<'a> {
    pub(super) fn new(group: &'a GroupInfo, faults: &Faults, base: &str) -> Self {
        Self {
            r#type: "group",
            name: &group.name,
            id: &group.id,
            usage_type: group.usage_type,
            managed_by: group.managed_by(faults.external),
            links: SelfLink {
                this: format!("{base}/rest/api/group/by-id?id={}", group.id),
            },
        }
    }
}

/// The links of a page. `next` is relative to `base`.
#[derive(Debug, Serialize)]
pub(super) struct PageLinks {
    pub(super) base: String,
    pub(super) context: &'static str,
    #[serde(rename = "self")]
    pub(super) this: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// A page of rows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageBody<T> {
    pub(super) results: Vec<T>,
    pub(super) start: u32,
    pub(super) limit: u32,
    pub(super) size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_size: Option<usize>,
    #[serde(rename = "_links")]
    pub(super) links: PageLinks,
}
