//! The one call of Confluence's version 2: users by their ids, with the status that version 1 does not tell.
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Shared;
use super::answers::Answer;
use super::faults::Faults;
use super::request::Request;
use super::users::{Status, User};
use super::writes::is_json;

const LARGEST_BULK: usize = 250;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    account_ids: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Picture {
    path: &'static str,
    is_default: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UserBody<'a> {
    account_id: &'a str,
    account_type: &'static str,
    account_status: &'static str,
    /// Empty if the profile hides it.
    email: &'a str,
    display_name: &'a str,
    public_name: &'a str,
    time_zone: &'static str,
    is_external_collaborator: bool,
    profile_picture: Picture,
}

impl<'a> UserBody<'a> {
    fn new(user: &'a User, faults: &Faults) -> Self {
        Self {
            account_id: &user.account_id,
            account_type: user.account_type.name(),
            // The account of somebody who is suspended from the organisation is active all the same.
            account_status: match user.status(faults) {
                Status::Active | Status::Suspended => "active",
                Status::Inactive => "inactive",
                Status::Closed => "closed",
            },
            email: if user.hides_email(faults) { "" } else { &user.email },
            display_name: &user.display_name,
            public_name: &user.display_name,
            time_zone: "Europe/Warsaw",
            is_external_collaborator: false,
            profile_picture: Picture {
                path: "/wiki/images/icons/profilepics/default.svg",
                is_default: true,
            },
        }
    }
}

/// `POST /wiki/api/v2/users-bulk`: unknown ids are simply not in the answer.
pub(super) fn users_bulk(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    if !is_json(request) {
        return Err(error(415, "UNSUPPORTED_MEDIA_TYPE", "Unsupported Media Type"));
    }
    let body = request.body.as_deref().unwrap_or_default();
    let wanted: Wanted =
        serde_json::from_slice(body).map_err(|wrong| error(400, "INVALID_REQUEST_BODY", &wrong.to_string()))?;
    if !(1..=LARGEST_BULK).contains(&wanted.account_ids.len()) {
        return Err(error(
            400,
            "INVALID_REQUEST_BODY",
            "accountIds: expected 1 to 250 values",
        ));
    }
    let users = shared.users.read();
    let found = wanted.account_ids.iter().filter_map(|id| users.get(users.number(id)?));
    let results: Vec<_> = found.map(|user| UserBody::new(user, faults)).collect();
    Ok(Answer::json(
        200,
        &json!({"results": results, "_links": {"base": request.base()}}),
    ))
}

/// An error in the shape of version 2.
fn error(status: u16, code: &str, title: &str) -> Answer {
    let one = json!({"status": status, "code": code, "title": title, "detail": null});
    Answer::json(status, &json!({ "errors": [one] }))
}
