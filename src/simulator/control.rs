//! `/_sim`: how a test looks behind the scenes and turns the switches. Needs no credential, is never counted, delayed or limited.
use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answers::Answer;
use super::faults::Faults;
use super::request::Request;
use super::users::UserChange;
use super::{Shared, credentials};

/// Answers a request under `/_sim/`.
pub(super) fn answer(shared: &Shared, request: &Request) -> Answer {
    if let Some(answer) = credentials::control(shared, request) {
        return answer;
    }
    match (&request.method, request.path.as_str()) {
        (&Method::GET, "/_sim/stats") => Answer::json(200, &shared.stats.shown()),
        (&Method::POST, "/_sim/reset") => {
            shared.stats.zero();
            shared.asked.zero();
            Answer::empty(204)
        }
        (&Method::GET, "/_sim/asked") => Answer::json(200, &shared.asked.shown()),
        (&Method::GET, "/_sim/ids") => Answer::json(
            200,
            &json!({"cloudId": shared.cloud_id, "orgId": shared.org_id, "directoryId": shared.directory_id}),
        ),
        (&Method::POST, "/_sim/users") => change(shared, request),
        (&Method::GET, "/_sim/members") => members(shared, request),
        (&Method::GET, "/_sim/state") => state(shared),
        (&Method::GET, "/_sim/faults") => Answer::json(200, &shared.faults.read().given),
        (&Method::POST, "/_sim/faults") => {
            switch(shared, request).unwrap_or_else(|wrong| Answer::json(400, &json!({ "error": wrong })))
        }
        _ => Answer::json(404, &json!({"error": "no such control"})),
    }
}

/// The account ids of a group's members as they truly are, in order. The name is taken as it is written.
fn members(shared: &Shared, request: &Request) -> Answer {
    let name = request.first("group").unwrap_or_default();
    let users = shared.users.read();
    let store = shared.store.lock();
    let group = store.present().sorted().iter().find(|info| info.name.as_ref() == name);
    let Some(numbers) = group.and_then(|info| store.present().members(&info.id)) else {
        return Answer::json(404, &json!({"error": format!("no group is named {name:?}")}));
    };
    let ids: Vec<&str> = numbers
        .iter()
        .filter_map(|number| users.get(*number))
        .map(|user| user.account_id.as_ref())
        .collect();
    Answer::json(200, &ids)
}

/// Every group as it truly is: its name and the account ids of its members, sorted, by its id.
fn state(shared: &Shared) -> Answer {
    let users = shared.users.read();
    let store = shared.store.lock();
    let groups = store.present().sorted().iter().map(|info| {
        let numbers = store.present().members(&info.id).unwrap_or_default();
        let known = numbers.iter().filter_map(|number| users.get(*number));
        let mut members: Vec<&str> = known.map(|user| user.account_id.as_ref()).collect();
        members.sort_unstable();
        (
            info.id.to_string(),
            json!({"name": info.name.as_ref(), "members": members}),
        )
    });
    Answer::json(200, &groups.collect::<BTreeMap<String, Value>>())
}

/// Changes a user: an address that is given to somebody else, a deactivation.
fn change(shared: &Shared, request: &Request) -> Answer {
    let change: UserChange = match serde_json::from_slice(request.body.as_deref().unwrap_or_default()) {
        Ok(change) => change,
        Err(wrong) => return Answer::json(400, &json!({ "error": wrong.to_string() })),
    };
    if shared.users.write().change(change) {
        Answer::empty(204)
    } else {
        Answer::json(404, &json!({"error": "no user has this account id"}))
    }
}

/// Turns the switches that the body names, all or none of them, and shows what is on then.
fn switch(shared: &Shared, request: &Request) -> Result<Answer, String> {
    let body = request.body.as_deref().ok_or("the body is too large")?;
    let wanted: BTreeMap<String, Value> = serde_json::from_slice(body).map_err(|wrong| wrong.to_string())?;
    let mut current = shared.faults.write();
    let mut given = current.given.clone();
    for (name, value) in &wanted {
        let value = match value {
            Value::Null => {
                // A name that does not exist cannot be switched off either.
                Faults::known(name)?;
                given.remove(name);
                continue;
            }
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(on) => on.to_string(),
            Value::Array(_) | Value::Object(_) => return Err(format!("{name}: expected a text, a number or true")),
        };
        given.insert(name.clone(), value);
    }
    let compiled = Faults::compile(given)?;
    let (before, after) = (current.limits.rate(), compiled.limits.rate());
    if before != after {
        shared.limits.change(before, after, Instant::now());
    }
    if wanted.contains_key("seats") {
        shared.store.lock().set_seats(compiled.seats);
    }
    if wanted.contains_key("admin_429") {
        shared.turns.too_many(compiled.sources.admin_429);
    }
    if wanted.contains_key("token_lost") {
        shared.turns.loses_tokens(compiled.credentials.token_lost);
    }
    if wanted.contains_key("falls_at") {
        shared.turns.falls_at(compiled.falls_at.unwrap_or(0));
    }
    let answer = Answer::json(200, &compiled.given);
    shared.silence.send_replace(compiled.silent);
    *current = Arc::new(compiled);
    Ok(answer)
}
