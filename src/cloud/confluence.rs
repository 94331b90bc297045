//! The driver of Confluence's v1 API: the one everybody has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::call::{Answer, Call, SeatSign, parse};
use super::{Client, Credential, Error, Group, Operation, Owner, Pace, Patience, Profile, wire};
use crate::model::{AccountId, GroupId, GroupName, RequestId};

/// Rows a page: Cloud serves no more, whatever is asked.
pub const PAGE: usize = 200;
/// No group has as many members: a total above this is not believed.
const MOST_MEMBERS: u64 = 2_000_000;
/// Account ids one `user/bulk` takes; it drops the rest without a word.
pub const BULK: usize = 100;

/// Forms of `user/bulk?accountId=`: the document leaves open which one a site understands.
const FORM_COMMA: u8 = 1;
const FORM_REPEATED: u8 = 2;

/// Confluence as one credential sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Confluence {
    client: Arc<Client>,
    credential: Credential,
}

/// A page of groups.
#[derive(Clone, Debug)]
pub struct GroupPage {
    /// Its rows.
    pub groups: Vec<Group>,
    /// The size of pages Cloud served, which may be less than we asked for.
    pub limit: usize,
    /// Cloud names a next page. Only a hint: the address in it was seen to be wrong.
    pub names_next: bool,
}

/// A page of a group's members.
#[derive(Clone, Debug)]
pub struct MemberPage {
    /// Its rows.
    pub members: Vec<Arc<Profile>>,
    /// The size of pages Cloud served.
    pub limit: usize,
    /// Members of the whole group, where Cloud tells.
    pub total: Option<usize>,
    /// Cloud names a next page.
    pub names_next: bool,
}

/// What Cloud said to a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done, or so already: the status does not always tell.
    Accepted,
    /// It says that it was so already.
    Already,
    /// Something the request names is not there; it does not say what.
    NotThere,
    /// No free seat in the licence.
    NoSeat,
    /// No, with its words.
    Declined(String),
}

/// A change that Cloud answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The answer to the last try.
    pub reply: Reply,
    /// An earlier try may have taken effect without an answer.
    pub doubtful: bool,
}

impl Confluence {
    /// Confluence through `client`, with `credential`.
    #[must_use]
    pub fn new(client: Arc<Client>, credential: Credential) -> Self {
        Self { client, credential }
    }

    /// Whose credential it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.credential.owner()
    }

    /// How fast requests of this kind are answered at present.
    #[must_use]
    pub fn pace(&self, operation: Operation) -> Pace {
        self.client.pace(operation)
    }

    /// Whether the first of many requests of this kind would leave within `time`, as far as anybody can tell.
    ///
    /// # Errors
    /// It would not; when it may.
    pub fn would_begin(&self, operation: Operation, time: Duration) -> Result<(), Error> {
        self.client.would_begin(operation, time)
    }

    /// One page of all groups, alphabetical, from row `start`.
    ///
    /// # Errors
    /// [`Error`]; so for every method here.
    pub async fn list_groups(
        &self,
        start: usize,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<GroupPage, Error> {
        let query = vec![("start", start.to_string()), ("limit", PAGE.to_string())];
        self.groups(Operation::ListGroups, &["group"], query, request, patience)
            .await
    }

    /// One page of the groups whose name contains `text`, ignoring case.
    pub async fn find_groups(
        &self,
        text: &GroupName,
        start: usize,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<GroupPage, Error> {
        let query = vec![
            ("query", text.as_str().to_owned()),
            ("start", start.to_string()),
            ("limit", PAGE.to_string()),
        ];
        self.groups(Operation::FindGroups, &["group", "picker"], query, request, patience)
            .await
    }

    /// One page of the groups `account` is in.
    pub async fn member_of(
        &self,
        account: &AccountId,
        start: usize,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<GroupPage, Error> {
        let query = vec![
            ("accountId", account.as_str().to_owned()),
            ("start", start.to_string()),
            ("limit", PAGE.to_string()),
        ];
        self.groups(Operation::MemberOf, &["user", "memberof"], query, request, patience)
            .await
    }

    /// The group with this id, if there is one.
    pub async fn group(
        &self,
        id: &GroupId,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Option<Group>, Error> {
        let call = read(
            Operation::GetGroup,
            &["group", "by-id"],
            vec![("id", id.as_str().to_owned())],
        );
        match self.read::<wire::Group>(&call, request, patience).await {
            Ok(group) => Ok(Some(group.into())),
            Err(Error::Rejected { status: 404, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// One page of a group's members, from row `start`. `None`: there is no such group.
    pub async fn members(
        &self,
        id: &GroupId,
        start: usize,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Option<MemberPage>, Error> {
        let query = vec![
            ("start", start.to_string()),
            ("limit", PAGE.to_string()),
            ("shouldReturnTotalSize", "true".to_owned()),
        ];
        let call = read(
            Operation::ListMembers,
            &["group", id.as_str(), "membersByGroupId"],
            query,
        );
        let page = match self.read::<wire::UserPage>(&call, request, patience).await {
            Err(Error::Rejected { status: 404, .. }) => return Ok(None),
            page => page?,
        };
        Ok(Some(MemberPage {
            limit: served(page.limit),
            total: page
                .total_size
                .filter(|total| *total <= MOST_MEMBERS)
                .and_then(|total| usize::try_from(total).ok()),
            names_next: page.links.next.is_some(),
            members: page
                .results
                .into_iter()
                .filter_map(wire::User::into_profile)
                .map(Arc::new)
                .collect(),
        }))
    }

    /// The accounts among `ids` that Cloud knows; at most [`BULK`] ids.
    pub async fn users(
        &self,
        ids: &[AccountId],
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Vec<Profile>, Error> {
        debug_assert!(ids.len() <= BULK);
        let comma = || {
            vec![(
                "accountId",
                ids.iter().map(AccountId::as_str).collect::<Vec<_>>().join(","),
            )]
        };
        let repeated = || ids.iter().map(|id| ("accountId", id.as_str().to_owned())).collect();
        let form = self.client.ids_form.load(Ordering::Relaxed);
        if ids.len() > 1 && form == FORM_REPEATED {
            return self.users_by(repeated(), request, patience).await;
        }
        let found = self.users_by(comma(), request, patience).await?;
        if ids.len() < 2 || form == FORM_COMMA {
            return Ok(found);
        }
        if !found.is_empty() {
            self.client.ids_form.store(FORM_COMMA, Ordering::Relaxed);
            return Ok(found);
        }
        // Nothing found: either nobody is there, or this site took the list for one strange id.
        let found = self.users_by(repeated(), request, patience).await?;
        if !found.is_empty() {
            self.client.ids_form.store(FORM_REPEATED, Ordering::Relaxed);
        }
        Ok(found)
    }

    async fn users_by(
        &self,
        query: Vec<(&'static str, String)>,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Vec<Profile>, Error> {
        let call = read(Operation::ReadUsers, &["user", "bulk"], query);
        let page = self.read::<wire::UserPage>(&call, request, patience).await?;
        Ok(page
            .results
            .into_iter()
            .filter_map(wire::User::into_profile)
            .filter(|user| user.is_known)
            .collect())
    }

    /// Whose credential this is.
    pub async fn current_user(&self, request: &RequestId, patience: Patience<'_>) -> Result<Profile, Error> {
        let call = read(Operation::CurrentUser, &["user", "current"], Vec::new());
        let accept = |body: &[u8]| {
            let user: wire::User = parse(body)?;
            user.into_profile()
                .ok_or_else(|| "the current user has no account id".to_owned())
        };
        let (answer, user) = self
            .client
            .send(&call, Some(&self.credential), request, patience, accept)
            .await?;
        user.ok_or_else(|| answer.rejected(call.operation))
    }

    /// The site's cloudId; needs no credential.
    pub async fn tenant(&self, request: &RequestId, patience: Patience<'_>) -> Result<String, Error> {
        let mut call = read(Operation::TenantInfo, &[], Vec::new());
        call.path = vec!["_edge".to_owned(), "tenant_info".to_owned()];
        let (answer, tenant) = self
            .client
            .send(&call, None, request, patience, parse::<wire::Tenant>)
            .await?;
        Ok(tenant.ok_or_else(|| answer.rejected(call.operation))?.cloud_id)
    }

    /// Makes a group. Its id is in the answer, unless the answer cannot be read: a success all the same.
    pub async fn create_group(
        &self,
        name: &GroupName,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<(Settled, Option<Group>), Error> {
        let body = serde_json::json!({ "name": name.as_str() });
        let call = write(Operation::CreateGroup, Method::POST, &["group"], Vec::new(), Some(body));
        let answer = self.change(&call, request, patience).await?;
        let group = answer
            .status
            .is_success()
            .then(|| parse::<wire::Group>(&answer.body).ok())
            .flatten();
        Ok((settled(&answer), group.map(Group::from)))
    }

    /// Deletes a group.
    pub async fn delete_group(
        &self,
        id: &GroupId,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Settled, Error> {
        let query = vec![("id", id.as_str().to_owned())];
        let call = write(Operation::DeleteGroup, Method::DELETE, &["group", "by-id"], query, None);
        Ok(settled(&self.change(&call, request, patience).await?))
    }

    /// Adds an account to a group. `seat_sign`: how often it is tried if there seems to be no seat.
    pub async fn add_member(
        &self,
        group: &GroupId,
        account: &AccountId,
        seat_sign: SeatSign,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Settled, Error> {
        let query = vec![("groupId", group.as_str().to_owned())];
        let body = serde_json::json!({ "accountId": account.as_str() });
        let mut call = write(
            Operation::AddMember,
            Method::POST,
            &["group", "userByGroupId"],
            query,
            Some(body),
        );
        call.seat_sign = seat_sign;
        Ok(settled(&self.change(&call, request, patience).await?))
    }

    /// Removes an account from a group.
    pub async fn remove_member(
        &self,
        group: &GroupId,
        account: &AccountId,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Settled, Error> {
        let query = vec![
            ("groupId", group.as_str().to_owned()),
            ("accountId", account.as_str().to_owned()),
        ];
        let call = write(
            Operation::RemoveMember,
            Method::DELETE,
            &["group", "userByGroupId"],
            query,
            None,
        );
        Ok(settled(&self.change(&call, request, patience).await?))
    }

    async fn groups(
        &self,
        operation: Operation,
        path: &[&str],
        query: Vec<(&'static str, String)>,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<GroupPage, Error> {
        let page = self
            .read::<wire::GroupPage>(&read(operation, path, query), request, patience)
            .await?;
        Ok(GroupPage {
            limit: served(page.limit),
            names_next: page.links.next.is_some(),
            groups: page.results.into_iter().map(Group::from).collect(),
        })
    }

    async fn read<T: DeserializeOwned>(
        &self,
        call: &Call,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<T, Error> {
        self.client.read(call, &self.credential, request, patience).await
    }

    /// A change's success is told by its status alone: its body may be empty, or anything.
    async fn change(&self, call: &Call, request: &RequestId, patience: Patience<'_>) -> Result<Answer, Error> {
        let (answer, _) = self
            .client
            .send(call, Some(&self.credential), request, patience, |_body| Ok(()))
            .await?;
        Ok(answer)
    }
}

fn read(operation: Operation, path: &[&str], query: Vec<(&'static str, String)>) -> Call {
    write(operation, Method::GET, path, query, None)
}

fn write(
    operation: Operation,
    method: Method,
    path: &[&str],
    query: Vec<(&'static str, String)>,
    body: Option<serde_json::Value>,
) -> Call {
    let path = ["wiki", "rest", "api"]
        .iter()
        .chain(path)
        .map(|segment| (*segment).to_owned())
        .collect();
    Call {
        operation,
        method,
        path,
        query,
        body,
        seat_sign: SeatSign::default(),
    }
}

/// The page size an answer states; one that states none, or none that can be, served what was asked.
fn served(limit: Option<u32>) -> usize {
    limit
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| (1..=PAGE).contains(limit))
        .unwrap_or(PAGE)
}

fn settled(answer: &Answer) -> Settled {
    let reply = match answer.status {
        status if status.is_success() => Reply::Accepted,
        StatusCode::CONFLICT => Reply::Already,
        StatusCode::NOT_FOUND => Reply::NotThere,
        StatusCode::INTERNAL_SERVER_ERROR => Reply::NoSeat,
        status => Reply::Declined(format!("{}: {}", status.as_u16(), wire::error_message(&answer.body))),
    };
    Settled {
        reply,
        doubtful: answer.doubtful,
    }
}
