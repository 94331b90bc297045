//! The driver of the organisation's Admin API: finds people by e-mail, 100 a call, whatever their profile hides, shows
//! who is switched off, and knows what people are, and what groups give.

use std::collections::HashSet;
use std::sync::Arc;

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::call::Call;
use super::{Client, Credential, Error, Operation, Patience, wire};
use crate::model::{AccountId, GroupId, GroupName, RequestId, Standing};

/// E-mail addresses one search takes.
pub const EMAILS: usize = 100;
/// Account ids one search takes.
pub const ACCOUNTS: usize = 10;
/// Group names one search takes.
pub const GROUPS: usize = 100;
/// Rows a page. The default is 50, so it is always said.
const PAGE: usize = 100;
/// No search leads on for longer.
const MOST_PAGES: usize = 10_000;

/// The Admin API of one organisation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Arc<Client>,
    credential: Credential,
    org: Arc<str>,
}

/// A person as the organisation knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgUser {
    /// The account.
    pub account: AccountId,
    /// The e-mail address, whatever the profile hides; an empty text where Cloud leaves it out.
    pub email: Arc<str>,
    /// The full name.
    pub name: Arc<str>,
    /// Whether the account is switched on.
    pub standing: Standing,
    /// What only the organisation knows.
    pub brief: Brief,
}

/// What only the organisation knows of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brief {
    /// The job title.
    pub position: Arc<str>,
    /// The department.
    pub department: Arc<str>,
    /// The location.
    pub location: Arc<str>,
    /// When the account came into the organisation, in epoch milliseconds.
    pub added: Option<i64>,
    /// The last activity in Confluence, in epoch milliseconds: activity, not a login.
    pub last_active: Option<i64>,
    /// Whether the account may use what it has access to.
    pub has_access: bool,
}

/// The rows of all pages of a search.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// In the order of the pages; a row that slips from page to page may be there twice.
    pub rows: Vec<T>,
    /// Rows that lie on several pages can be torn apart by changes; those of one page cannot.
    pub on_one_page: bool,
}

/// A group as the organisation knows it.
#[derive(Clone, Debug)]
pub struct OrgGroup {
    /// The group, as Confluence would show it, but that it only may be a team.
    pub group: super::Group,
    /// How many accounts are in it, whoever they are.
    pub users: Option<usize>,
}

/// Which people of a group are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody, with what only the organisation knows.
    Everybody,
    /// Those whom Confluence leaves out of its pages.
    Absent,
}

/// What a group gives its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Access to Confluence, or something that may be that.
    Given,
    /// Certainly no access to Confluence: all that it gives is known.
    NotGiven,
    /// Nobody can tell: not all that it gives is known, or which group it is.
    Unknown,
}

impl From<OrgUser> for super::Profile {
    fn from(user: OrgUser) -> Self {
        Self {
            account: user.account,
            display_name: user.name,
            email: user.email,
            standing: user.standing,
            brief: Some(user.brief),
            is_known: true,
        }
    }
}

impl Admin {
    /// What it is asked with.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The Admin API through `client`, with `credential`.
    #[must_use]
    pub fn new(client: Arc<Client>, credential: Credential, org: &str) -> Self {
        let org = Arc::from(org);
        Self {
            client,
            credential,
            org,
        }
    }

    /// The people who have one of these addresses; at most [`EMAILS`]. Rows come in no order, and a row's own address
    /// alone says whom it answers.
    ///
    /// # Errors
    /// [`Error`]; so for every method here.
    pub async fn with_emails(
        &self,
        emails: &[String],
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Vec<OrgUser>, Error> {
        debug_assert!(emails.len() <= EMAILS);
        let body = json!({ "emails": emails });
        Ok(self.users(body, request, patience).await?.rows)
    }

    /// A group's people. Calls: ⌈people ÷ 100⌉, one after the other, for each page says where the next one begins.
    pub async fn members(
        &self,
        group: &GroupId,
        who: Who,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Found<OrgUser>, Error> {
        let body = match who {
            Who::Everybody => json!({ "groupIds": [group.as_str()], "expand": ["productAccess"] }),
            Who::Absent => {
                json!({ "groupIds": [group.as_str()], "status": ["suspended", "deactivated", "not_invited", "for_deletion"] })
            }
        };
        self.users(body, request, patience).await
    }

    /// The groups each of these accounts is in, suspended ones included; at most [`ACCOUNTS`]. Accounts that the
    /// organisation does not know, or whose groups it does not tell, are left out.
    pub async fn groups_of(
        &self,
        accounts: &[AccountId],
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Vec<(AccountId, HashSet<GroupId>)>, Error> {
        debug_assert!(accounts.len() <= ACCOUNTS);
        let ids: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
        let body = json!({ "accountIds": ids, "expand": ["groups"] });
        let found = self
            .all(Operation::AdminUsers, "users", body, request, patience)
            .await?;
        Ok(found
            .rows
            .into_iter()
            .filter_map(wire::OrgMemberships::into_groups)
            .collect())
    }

    /// The groups with these names, whatever their case; at most [`GROUPS`].
    pub async fn groups_named(
        &self,
        names: &[GroupName],
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Vec<OrgGroup>, Error> {
        debug_assert!(names.len() <= GROUPS);
        let names: Vec<&str> = names.iter().map(GroupName::as_str).collect();
        self.groups(json!({ "groupNames": names }), request, patience).await
    }

    /// The group with this id, and how many are in it.
    pub async fn group(
        &self,
        id: &GroupId,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Option<OrgGroup>, Error> {
        let body = json!({ "groupIds": [id.as_str()], "expand": ["counts.users"] });
        let groups = self.groups(body, request, patience).await?;
        Ok(groups.into_iter().find(|found| found.group.id == *id))
    }

    /// What a group gives its members. Calls: 2 at most, for its roles are asked for in its own directory: whether a
    /// group that is looked for in all of them is found at all, no document says, and nothing would look like no access.
    pub async fn access(&self, group: &GroupId, request: &RequestId, patience: Patience<'_>) -> Result<Access, Error> {
        let body = json!({ "groupIds": [group.as_str()] });
        let call = self.search(Operation::AdminGroups, "groups", body, None);
        let found: wire::OrgPage<wire::OrgGroup> = self.client.read(&call, &self.credential, request, patience).await?;
        let Some(directory) = found.directory_of(group) else {
            return Ok(Access::Unknown);
        };
        let path = [
            "v2",
            "orgs",
            &*self.org,
            "directories",
            directory,
            "groups",
            group.as_str(),
            "role-assignments",
        ];
        // Without a filter: one that Cloud read in another way would leave out what counts.
        let call = Call::get(Operation::AdminRoles, &path, vec![("limit", PAGE.to_string())]);
        let roles: wire::OrgPage<wire::RoleAssignment> =
            self.client.read(&call, &self.credential, request, patience).await?;
        Ok(roles.access())
    }

    async fn groups(&self, body: Value, request: &RequestId, patience: Patience<'_>) -> Result<Vec<OrgGroup>, Error> {
        let found = self.all(Operation::AdminGroups, "groups", body, request, patience);
        let rows = found.await?.rows;
        Ok(rows.into_iter().map(wire::OrgGroup::into_group).collect())
    }

    async fn users(&self, body: Value, request: &RequestId, patience: Patience<'_>) -> Result<Found<OrgUser>, Error> {
        let found = self
            .all(Operation::AdminUsers, "users", body, request, patience)
            .await?;
        Ok(Found {
            rows: found.rows.into_iter().map(wire::OrgUser::into_user).collect(),
            on_one_page: found.on_one_page,
        })
    }

    /// All pages of a search. One that leads back to a page that was read, or on without end, has no answer.
    async fn all<T: DeserializeOwned>(
        &self,
        operation: Operation,
        what: &str,
        body: Value,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Found<T>, Error> {
        let mut cursors: HashSet<String> = HashSet::new();
        let mut rows = Vec::new();
        let mut cursor = None;
        for pages in 0..MOST_PAGES {
            let call = self.search(operation, what, body.clone(), cursor.take());
            let page: wire::OrgPage<T> = self.client.read(&call, &self.credential, request, patience).await?;
            rows.extend(page.data);
            match page.links.cursor() {
                None => {
                    return Ok(Found {
                        rows,
                        on_one_page: pages == 0,
                    });
                }
                Some(next) if !cursors.insert(next.clone()) => break,
                Some(next) => cursor = Some(next),
            }
        }
        Err(Error::Unavailable {
            operation,
            retry_after: std::time::Duration::from_secs(30),
            cause: "it repeats a page: no complete list can be read".to_owned(),
            doubtful: false,
        })
    }

    /// A search in all directories that the key may see.
    fn search(&self, operation: Operation, what: &str, mut body: Value, cursor: Option<String>) -> Call {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("limit".to_owned(), PAGE.into());
            fields.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor.into())));
        }
        let path = ["v2", "orgs", &*self.org, "directories", "-", what, "search"];
        Call {
            method: Method::POST,
            body: Some(body),
            ..Call::get(operation, &path, Vec::new())
        }
    }
}
