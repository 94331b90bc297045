//! Jira's users and groups, version 3, as far as they tell who is who.
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::Shared;
use super::answers::Answer;
use super::faults::Faults;
use super::reads::caller;
use super::request::Request;
use super::users::{Status, User, Users};

/// A search goes no further than this, whatever page is asked for.
const FURTHEST: usize = 1_000;
/// The most rows of a page: of everybody, of a group, of users by their ids.
const LARGEST_LIST: u32 = 1_000;
const LARGEST_GROUP: u32 = 50;
const LARGEST_BULK: u32 = 200;
/// How many people more the fault `jira_garbage` adds, and how much of the query they share.
const FOREIGN: usize = 5;
const SHARED_LETTERS: usize = 3;

/// An error in the shape of this API.
pub(super) fn error(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({"errorMessages": [text], "errors": {}}))
}

#[derive(Debug, Serialize)]
struct Avatars {
    #[serde(rename = "16x16")]
    smallest: String,
    #[serde(rename = "24x24")]
    small: String,
    #[serde(rename = "32x32")]
    large: String,
    #[serde(rename = "48x48")]
    largest: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UserRow<'a> {
    #[serde(rename = "self")]
    this: String,
    account_id: &'a str,
    account_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_address: Option<&'a str>,
    avatar_urls: Avatars,
    display_name: &'a str,
    active: bool,
    time_zone: &'static str,
}

impl<'a> UserRow<'a> {
    /// `hidden` is what stands for an address that the profile hides.
    fn new(user: &'a User, faults: &Faults, request: &Request, hidden: Option<&'static str>) -> Self {
        let origin = request.origin();
        let id: String = url::form_urlencoded::byte_serialize(user.account_id.as_bytes()).collect();
        let avatar = |size: u32| format!("{origin}/avatar/{id}/{size}");
        Self {
            this: format!("{origin}/rest/api/3/user?accountId={id}"),
            account_id: &user.account_id,
            account_type: user.account_type.name(),
            email_address: if user.hides_email(faults) {
                hidden
            } else {
                Some(user.email.as_ref()).filter(|email| !email.is_empty())
            },
            avatar_urls: Avatars {
                smallest: avatar(16),
                small: avatar(24),
                large: avatar(32),
                largest: avatar(48),
            },
            display_name: &user.display_name,
            active: user.status(faults) == Status::Active,
            time_zone: "Europe/Warsaw",
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(rename = "self")]
    this: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page: Option<String>,
    max_results: u32,
    start_at: u32,
    total: usize,
    is_last: bool,
    values: Vec<UserRow<'a>>,
}

/// Where a page starts and how many rows it has: as many as are asked for, or as it may have.
fn paging(request: &Request, usual: u32, most: u32) -> Result<(u32, u32), Answer> {
    let number = |name, default| request.number(name, default).map_err(|wrong| error(400, &wrong));
    Ok((number("startAt", 0)?, number("maxResults", usual)?.min(most)))
}

fn page<'a>(
    faults: &Faults,
    request: &Request,
    users: &'a Users,
    all: &[u32],
    (start_at, max_results): (u32, u32),
) -> Answer {
    let rows = all.iter().skip(start_at as usize).take(max_results as usize);
    let values: Vec<UserRow<'a>> = rows
        .filter_map(|number| users.get(*number))
        .map(|user| UserRow::new(user, faults, request, None))
        .collect();
    let end = u64::from(start_at) + u64::from(max_results);
    let is_last = end >= all.len() as u64;
    let link = |start: u64| {
        let paging = [("startAt", start), ("maxResults", u64::from(max_results))];
        format!("{}{}", request.origin(), request.link(&request.path, paging))
    };
    let page = Page {
        this: link(u64::from(start_at)),
        // A page of nothing leads nowhere: its next would be itself.
        next_page: (!is_last && max_results > 0).then(|| link(end)),
        max_results,
        start_at,
        total: all.len(),
        is_last,
        values,
    };
    Answer::json(200, &page)
}

/// `GET /user/search`: active users whose address or name begins like the query. A hidden address is found as a whole only.
pub(super) fn find_user(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let (start_at, max_results) = paging(request, 50, LARGEST_LIST)?;
    let users = shared.users.read();
    if faults.sources.jira_blind {
        return Ok(Answer::json(200, &json!([])));
    }
    let numbers = match (request.first("query"), request.first("accountId")) {
        (Some(_), Some(_)) => return Err(error(400, "query and accountId exclude each other")),
        (Some(query), None) => matching(&users, faults, query),
        (None, Some(id)) => users
            .number(id)
            .into_iter()
            .filter(|number| is_active(&users, faults, *number))
            .collect(),
        (None, None) => return Err(error(400, "query, accountId or property is required")),
    };
    let found = numbers.iter().take(FURTHEST).filter_map(|number| users.get(*number));
    let rows = found.skip(start_at as usize).take(max_results as usize);
    let rows: Vec<_> = rows.map(|user| UserRow::new(user, faults, request, None)).collect();
    Ok(Answer::json(200, &rows))
}

fn is_active(users: &Users, faults: &Faults, number: u32) -> bool {
    users
        .get(number)
        .is_some_and(|user| user.status(faults) == Status::Active)
}

fn matching(users: &Users, faults: &Faults, query: &str) -> Vec<u32> {
    let wanted = query.to_lowercase();
    let fits = |number: u32| {
        users.get(number).is_some_and(|user| {
            if user.status(faults) != Status::Active {
                return false;
            }
            if !user.hides_email(faults) || user.email.to_lowercase() == wanted {
                return true;
            }
            // The address does not count: it must be the name that begins so.
            let name = user.display_name.to_lowercase();
            let mut begins_word = name.char_indices().filter(|(place, _)| {
                let before = name.get(..*place).and_then(|before| before.chars().next_back());
                before.is_none_or(char::is_whitespace)
            });
            begins_word.any(|(place, _)| name.get(place..).is_some_and(|rest| rest.starts_with(&wanted)))
        })
    };
    let mut found = users.beginning_like(query);
    found.retain(|number| fits(*number));
    if !faults.sources.jira_garbage {
        return found;
    }
    let beginning: String = query.chars().take(SHARED_LETTERS).collect();
    let others = users.beginning_like(&beginning).into_iter();
    let mut others: Vec<u32> = others
        .filter(|number| !found.contains(number) && is_active(users, faults, *number))
        .take(FOREIGN)
        .collect();
    let is_hidden = |number: &u32| users.get(*number).is_some_and(|user| user.hides_email(faults));
    // Nobody could tell one stranger whose address is hidden from the right one.
    if found.is_empty() && others.iter().all(is_hidden) && others.len() < 2 {
        others.clear();
    }
    others.append(&mut found);
    others
}

/// `GET /users/search`: everybody there is, whether active or not. A hidden address is blank.
pub(super) fn list_users(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let (start_at, max_results) = paging(request, 50, LARGEST_LIST)?;
    if faults.sources.jira_blind {
        return Ok(Answer::json(200, &json!([])));
    }
    let users = shared.users.read();
    let rows = users.iter().skip(start_at as usize).take(max_results as usize);
    let rows: Vec<_> = rows.map(|user| UserRow::new(user, faults, request, Some(""))).collect();
    Ok(Answer::json(200, &rows))
}

/// `GET /group/member`. It sees the groups as late as Confluence does.
pub(super) fn group_members(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let paging = paging(request, LARGEST_GROUP, LARGEST_GROUP)?;
    let id = request.first("groupId").filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| error(400, "groupId is required: the simulator knows no groupname"))?;
    if faults.sources.jira_blind {
        return Err(error(403, "You are not allowed to browse users and groups"));
    }
    let with_inactive = request.flag("includeInactiveUsers");
    let users = shared.users.read();
    let mut members = {
        let mut store = shared.store.lock();
        let members = store.seen(Instant::now(), faults.lag).members(id);
        members.ok_or_else(|| error(404, "The group does not exist"))?.to_vec()
    };
    members.retain(|number| with_inactive || is_active(&users, faults, *number));
    Ok(page(faults, request, &users, &members, paging))
}

/// `GET /user/bulk`: unknown ids are simply not in the answer.
pub(super) fn users_bulk(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let paging = paging(request, 10, LARGEST_BULK)?;
    if request.first("accountId").is_none() {
        return Err(error(400, "accountId is required"));
    }
    let users = shared.users.read();
    let numbers: Vec<u32> = request.all("accountId").filter_map(|id| users.number(id)).collect();
    Ok(page(faults, request, &users, &numbers, paging))
}

/// `GET /myself`.
pub(super) fn myself(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let users = shared.users.read();
    let user =
        caller(&users, request).ok_or_else(|| error(401, "there is no user whom the credential could belong to"))?;
    Ok(Answer::json(200, &UserRow::new(user, faults, request, None)))
}
