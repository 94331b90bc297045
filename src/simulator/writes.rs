//! The calls that change something. Each looks at the state as it truly is, whatever reads may see.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::time::Instant;

use super::Shared;
use super::answers::Answer;
use super::chance::{Kind, Sequence};
use super::data::GroupInfo;
use super::faults::Faults;
use super::reads::no_group;
use super::request::Request;
use super::state::{Circumstances, Unchanged};
use super::wire::GroupBody;

/// The longest name of a group.
const LONGEST_NAME: usize = 255;

/// What every write must have before anything else is looked at (cloud.md section 1).
pub(super) fn admit(faults: &Faults, request: &Request) -> Result<(), Answer> {
    if !request.header("x-atlassian-token").eq_ignore_ascii_case("no-check") {
        return Err(Answer::xsrf());
    }
    let has_body = request.method == http::Method::POST;
    if has_body && !is_json(request) {
        return Err(Answer::error(415, "Unsupported Media Type"));
    }
    if faults.forbid_writes {
        return Err(Answer::error(403, "User is not a site admin"));
    }
    Ok(())
}

/// The body is announced as JSON.
pub(super) fn is_json(request: &Request) -> bool {
    let media_type = request.header("content-type").split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// `POST /group`.
pub(super) fn create_group(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let name = text_of(request, "name")?;
    if !is_name(&name) {
        return Err(Answer::error(400, "the name is missing or invalid"));
    }
    let group = Arc::new(new_group(shared, name));
    let created = shared.store.lock().create(circumstances(faults), Arc::clone(&group));
    created.map_err(|why| refusal(faults, why, &group.name))?;
    Ok(Answer::json(201, &GroupBody::new(&group, faults, &request.base())))
}

/// Could a group be named so?
pub(super) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= LONGEST_NAME
}

/// A group with an id of its own.
pub(super) fn new_group(shared: &Shared, name: String) -> GroupInfo {
    let number = shared.created.fetch_add(1, Ordering::Relaxed);
    let id = Sequence::new(shared.seed, Kind::CreatedGroup, number).uuid();
    GroupInfo::new(id, name)
}

/// `DELETE /group/by-id`.
pub(super) fn delete_group(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let id = request.required("id")?;
    let deleted = shared.store.lock().delete(circumstances(faults), id);
    deleted
        .map(|()| Answer::empty(204))
        .map_err(|why| refusal(faults, why, id))
}

/// `POST /group/userByGroupId`.
pub(super) fn add_member(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let id = request.required("groupId")?;
    let account_id = text_of(request, "accountId")?;
    known_group(shared, id)?;
    let unknown = || Answer::error(400, &format!("No user found with account id: {account_id}"));
    let user = shared.users.read().number(&account_id).ok_or_else(unknown)?;
    let added = shared.store.lock().add(circumstances(faults), id, user);
    added
        .map(|()| Answer::empty(201))
        .map_err(|why| refusal(faults, why, id))
}

/// `DELETE /group/userByGroupId`.
pub(super) fn remove_member(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let id = request.required("groupId")?;
    let account_id = request.required("accountId")?;
    known_group(shared, id)?;
    let unknown = || Answer::error(404, &format!("No user found with account id: {account_id}"));
    let user = shared.users.read().number(account_id).ok_or_else(unknown)?;
    let removed = shared.store.lock().remove(circumstances(faults), id, user);
    removed
        .map(|()| Answer::empty(204))
        .map_err(|why| refusal(faults, why, id))
}

/// When a write comes and under which faults.
pub(super) fn circumstances(faults: &Faults) -> Circumstances {
    Circumstances {
        now: Instant::now(),
        lag: faults.lag,
        external: faults.external,
    }
}

/// An unknown group is told before an unknown user.
fn known_group(shared: &Shared, id: &str) -> Result<(), Answer> {
    shared
        .store
        .lock()
        .present()
        .group(id)
        .map(|_| ())
        .ok_or_else(|| no_group(id))
}

/// A text field of the JSON body.
fn text_of(request: &Request, field: &str) -> Result<String, Answer> {
    let body = request.body.as_deref().unwrap_or_default();
    let body: Value =
        serde_json::from_slice(body).map_err(|wrong| Answer::error(400, &format!("unreadable body: {wrong}")))?;
    let text = body.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| Answer::error(400, &format!("{field} is missing or invalid")))
}

/// Why nothing changed, in Cloud's words. Two of the answers say that nothing had to.
fn refusal(faults: &Faults, why: Unchanged, subject: &str) -> Answer {
    let error = |status, text: &str| Answer::error(status, &format!("{text}: {subject}"));
    match why {
        Unchanged::NoGroup => no_group(subject),
        Unchanged::ReadOnly => error(400, "The group is managed externally and cannot be changed"),
        Unchanged::DefaultGroup => error(400, "A default group cannot be deleted"),
        Unchanged::NameTaken => error(400, "A group with this name exists already"),
        Unchanged::AlreadyMember => match faults.already_member() {
            201 => Answer::empty(201),
            status => error(status, "The user is already a member of the group"),
        },
        Unchanged::NotMember => match faults.not_member() {
            204 => Answer::empty(204),
            status => error(status, "The user is not a member of the group"),
        },
        Unchanged::NoSeat => Answer::no_seat(),
    }
}
