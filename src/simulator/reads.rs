//! The calls that change nothing.
use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::Shared;
use super::answers::Answer;
use super::data::GroupInfo;
use super::faults::{Bulk, Faults, Suspended};
use super::request::{Credential, Paging, Request};
use super::state::Slice;
use super::users::{Status, User, Users};
use super::wire::{GroupBody, PageBody, PageLinks, UserBody};

/// The most rows that a page has.
const LARGEST_PAGE: u32 = 200;
/// The most users that one call looks up; the rest is dropped without a word.
const LARGEST_BULK: usize = 100;

/// `GET /group`, by name, ignoring case. `accessType` is not looked at.
pub(super) fn list_groups(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let asked = request.paging()?;
    let served = capped(asked);
    let slice = {
        let mut store = shared.store.lock();
        let sorted = store.seen(Instant::now(), faults.lag).sorted();
        Slice::of(sorted.iter().map(Arc::clone), served.start, served.limit)
    };
    Ok(groups_page(faults, request, slice, asked, None))
}

/// `GET /group/picker`: the names that contain the query, ignoring case; an empty query is in every name.
pub(super) fn find_group(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let asked = request.paging()?;
    let served = capped(asked);
    let query = request
        .first("query")
        .ok_or_else(|| Answer::error(400, "query is required"))?
        .to_lowercase();
    let slice = {
        let mut store = shared.store.lock();
        let sorted = store.seen(Instant::now(), faults.lag).sorted();
        let matching: Vec<_> = sorted.iter().filter(|info| info.lower.contains(&query)).collect();
        Slice::of(matching.into_iter().map(Arc::clone), served.start, served.limit)
    };
    let total = wanted_total(faults, request, slice.total);
    Ok(groups_page(faults, request, slice, asked, total))
}

/// `GET /group/by-id`.
pub(super) fn get_group(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let id = request.required("id")?;
    let found = shared.store.lock().seen(Instant::now(), faults.lag).group(id);
    let group = found.ok_or_else(|| no_group(id))?;
    Ok(Answer::json(200, &GroupBody::new(&group, faults, &request.base())))
}

/// `GET /group/{id}/membersByGroupId`.
pub(super) fn list_members(shared: &Shared, faults: &Faults, request: &Request, id: &str) -> Result<Answer, Answer> {
    let asked = request.paging()?;
    if asked.limit > LARGEST_PAGE && !faults.cap_limit {
        return Err(Answer::error(400, "the limit is greater than 200"));
    }
    let served = capped(asked);
    let users = shared.users.read();
    let some_absent = users.some_inactive || (users.some_tenth && faults.suspended != Suspended::Nobody);
    let is_there = |number: &u32| users.get(*number).is_some_and(|user| !is_absent(user, faults));
    // A broken server: whatever page is asked for, the first comes.
    let start = if faults.repeat_page { 0 } else { served.start };
    let slice = {
        let mut store = shared.store.lock();
        let members = store
            .seen(Instant::now(), faults.lag)
            .members(id)
            .ok_or_else(|| no_group(id))?;
        if !some_absent {
            Slice::of(members.iter().copied(), start, served.limit)
        } else if faults.suspended == Suspended::Counted {
            let mut slice = Slice::of(members.iter().copied(), start, served.limit);
            slice.rows.retain(is_there);
            slice
        } else {
            let there: Vec<u32> = members.iter().copied().filter(is_there).collect();
            Slice::of(there.into_iter(), start, served.limit)
        }
    };
    let total = wanted_total(faults, request, slice.total);
    let base = request.base();
    let results: Vec<_> = slice
        .rows
        .iter()
        .filter_map(|number| users.get(*number))
        .map(|user| UserBody::new(user, faults, &base))
        .collect();
    let more = u64::from(served.start) + u64::from(served.limit) < slice.total as u64;
    Ok(page(faults, request, results, more, asked, total))
}

/// `GET /user`.
pub(super) fn get_user(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let users = shared.users.read();
    let user = known_user(&users, request.required("accountId")?)?;
    let user = users.get(user).ok_or_else(|| Answer::empty(404))?;
    Ok(Answer::json(200, &UserBody::new(user, faults, &request.base())))
}

/// `GET /user/bulk`: unknown ids are simply not in the answer.
pub(super) fn users_bulk(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let first = request.required("accountId")?;
    let ids: Vec<&str> = match faults.bulk {
        Bulk::Comma => first.split(',').collect(),
        Bulk::Repeated => request.all("accountId").collect(),
        Bulk::Both => request.all("accountId").flat_map(|value| value.split(',')).collect(),
    };
    let base = request.base();
    let users = shared.users.read();
    let results: Vec<_> = ids
        .into_iter()
        .take(LARGEST_BULK)
        .filter_map(|id| users.number(id).and_then(|number| users.get(number)))
        .map(|user| UserBody::new(user, faults, &base))
        .collect();
    let paging = Paging {
        start: 0,
        limit: LARGEST_BULK as u32,
    };
    Ok(page(faults, request, results, false, paging, None))
}

/// `GET /user/memberof`. Suspended users keep their groups.
pub(super) fn member_of(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let asked = request.paging()?;
    let user = known_user(&shared.users.read(), request.required("accountId")?)?;
    let groups = shared.store.lock().seen(Instant::now(), faults.lag).groups_of(user);
    let served = capped(asked);
    let slice = Slice::of(groups.into_iter(), served.start, served.limit);
    Ok(groups_page(faults, request, slice, asked, None))
}

/// `GET /user/current`: the user whose e-mail the credential has, else the first.
pub(super) fn current_user(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let users = shared.users.read();
    let user = caller(&users, request);
    let user = user.ok_or_else(|| Answer::error(403, "there is no user whom the credential could belong to"))?;
    Ok(Answer::json(200, &UserBody::new(user, faults, &request.base())))
}

/// The user whose credential it is as the registry has it, or whose e-mail it has; else the first.
pub(super) fn caller<'a>(users: &'a Users, request: &Request) -> Option<&'a User> {
    let owner = match (&request.account, request.credential()) {
        (Some(account), _) => users.number(account),
        (None, Credential::Basic { user, .. }) => users.with_email(&user).first().copied(),
        (None, Credential::Bearer { .. } | Credential::Missing) => None,
    };
    users.get(owner.unwrap_or(0))
}

/// The answer to an id that no group has.
pub(super) fn no_group(id: &str) -> Answer {
    Answer::error(404, &format!("No group found with id: {id}"))
}

/// The number of the user with this account id.
fn known_user(users: &Users, account_id: &str) -> Result<u32, Answer> {
    let unknown = || Answer::error(404, &format!("No user found with account id: {account_id}"));
    users.number(account_id).ok_or_else(unknown)
}

fn is_absent(user: &User, faults: &Faults) -> bool {
    user.status(faults) != Status::Active
}

fn capped(asked: Paging) -> Paging {
    Paging {
        limit: asked.limit.min(LARGEST_PAGE),
        ..asked
    }
}

fn wanted_total(faults: &Faults, request: &Request, total: usize) -> Option<usize> {
    (request.flag("shouldReturnTotalSize") && !faults.no_total).then_some(total)
}

fn groups_page(
    faults: &Faults,
    request: &Request,
    slice: Slice<Arc<GroupInfo>>,
    asked: Paging,
    total: Option<usize>,
) -> Answer {
    let base = request.base();
    let results: Vec<_> = slice
        .rows
        .iter()
        .map(|group| GroupBody::new(group, faults, &base))
        .collect();
    page(faults, request, results, slice.more, asked, total)
}

/// Puts rows into a page. The limit that it states is the served one; `next` leads on from there, unless a fault says otherwise.
fn page<T: Serialize>(
    faults: &Faults,
    request: &Request,
    results: Vec<T>,
    more: bool,
    asked: Paging,
    total_size: Option<usize>,
) -> Answer {
    let served = capped(asked);
    let size = results.len();
    let path = request.path.strip_prefix("/wiki").unwrap_or(&request.path);
    let step = if faults.wrong_next { asked.limit } else { served.limit };
    let promised = more || (faults.wrong_next && size == served.limit as usize);
    // A page of nothing leads nowhere: its next would be itself.
    let next =
        (promised && served.limit > 0).then(|| request.link_to(path, u64::from(asked.start) + u64::from(step), step));
    let base = request.base();
    let this = format!("{base}{}", request.link_to(path, u64::from(asked.start), served.limit));
    let links = PageLinks {
        base,
        context: "/wiki",
        this,
        next,
    };
    Answer::json(
        200,
        &PageBody {
            results,
            start: served.start,
            limit: served.limit,
            size,
            total_size,
            links,
        },
    )
}
