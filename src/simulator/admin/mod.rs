//! The organisation's Admin API, versions 1 and 2 as one document has them: who and what there is in the one directory.
//!
//! It sees every address, whatever a profile hides, and everybody but apps and customers. `-` for the directory means all of
//! them, in searches only. A cursor is good for the request that it came from and no other.
mod groups;
mod roles;
mod rows;
mod users;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Shared;
use super::answers::Answer;
use super::chance::{Kind, Sequence};
use super::faults::Faults;
use super::request::{Credential, Request};
use super::routes::Operation;
use super::source_faults::Garbage;
use super::users::hash;
use super::writes::is_json;
use rows::{DirectoryPage, Links, OrgRow, Page};

/// The most rows that a page has.
const LARGEST_PAGE: u64 = 100;

/// The codes of errors that the document lists.
mod code {
    pub(super) const CURSOR: &str = "ADMIN-400-1";
    pub(super) const BODY: &str = "ADMIN-400-24";
    pub(super) const GROUP_REFUSED: &str = "ADMIN-403-5";
    pub(super) const DEFAULT_GROUP: &str = "ADMIN-403-6";
    pub(super) const UNKNOWN: &str = "ADMIN-404-1";
    pub(super) const ORG: &str = "ADMIN-404-2";
    pub(super) const USER: &str = "ADMIN-404-8";
    pub(super) const GROUP: &str = "ADMIN-404-10";
    pub(super) const LICENCES: &str = "ADMIN-409-3";
    pub(super) const CONFLICT: &str = "ADMIN-409-28";
}

/// Answers an operation of this API. `values` are what stands in the path.
pub(super) fn answer(
    shared: &Shared,
    faults: &Faults,
    request: &Request,
    operation: Operation,
    values: &[String],
) -> Result<Answer, Answer> {
    let value = |place: usize| values.get(place).map_or("", String::as_str);
    let (org, directory) = (value(0), value(1));
    if operation != Operation::AdminOrgs && org != shared.org_id {
        return Err(error(404, code::ORG, "There is no such organization"));
    }
    // Nowhere but in a search is `-` as good as the directory's own id.
    let all_directories = directory == "-"
        && matches!(
            operation,
            Operation::AdminSearchUsers | Operation::AdminSearchGroups | Operation::AdminGetUser
        );
    let has_directory = !matches!(
        operation,
        Operation::AdminOrgs | Operation::AdminOrg | Operation::AdminDirectories
    );
    if has_directory && !all_directories && directory != shared.directory_id {
        return Err(error(404, code::UNKNOWN, "There is no such directory"));
    }
    match operation {
        Operation::AdminOrgs => {
            let this = format!("{}/admin/v1/orgs", request.origin());
            let org = OrgRow::new(&shared.org_id, &request.origin());
            Ok(Answer::json(200, &json!({"data": [org], "links": {"self": this}})))
        }
        Operation::AdminOrg => {
            let org = OrgRow::new(&shared.org_id, &request.origin());
            Ok(Answer::json(200, &json!({ "data": org })))
        }
        Operation::AdminDirectories => Ok(Answer::json(200, &DirectoryPage::new(&shared.directory_id))),
        Operation::AdminSearchUsers => users::search(shared, faults, request),
        Operation::AdminGetUser => users::get(shared, faults, value(2)),
        Operation::AdminSearchGroups => groups::search(shared, faults, request),
        Operation::AdminCreateGroup => groups::create(shared, faults, request),
        Operation::AdminDeleteGroup => groups::delete(shared, faults, value(2)),
        Operation::AdminAddMember => groups::add(shared, faults, request, value(2)),
        Operation::AdminRemoveMember => groups::remove(shared, faults, value(2), value(3)),
        Operation::AdminGroupRoles => roles::list(shared, faults, request, value(2)),
        _ => Err(error(404, code::UNKNOWN, "There is no such resource")),
    }
}

/// Only a Bearer credential is one.
pub(super) fn authorize(faults: &Faults, request: &Request) -> Result<(), Answer> {
    let refused = |status: u16, text: &str| refused(request, status, text);
    match (faults.sources.admin.refused, request.credential()) {
        (Some(403), _) => Err(refused(403, "The API key may not do this")),
        (Some(_), _) => Err(refused(401, "Unauthorized")),
        (None, Credential::Bearer { .. }) => Ok(()),
        (None, Credential::Basic { .. } | Credential::Missing) => Err(refused(401, "Unauthorized")),
    }
}

/// A credential that is refused.
pub(super) fn refused(request: &Request, status: u16, text: &str) -> Answer {
    // Version 1 is refused by the gateway, in its own words.
    if request.path.starts_with("/admin/v1/") && status == 401 {
        Answer::json(401, &json!({"code": 401, "message": text}))
    } else {
        plain_error(status, text)
    }
}

/// An error in the shape of this API.
fn error(status: u16, code: &str, detail: &str) -> Answer {
    let title = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        _ => "Error",
    };
    // The same for the same mistake: an occurrence of its own would have to be drawn, and so move every later draw.
    let id = Sequence::new(u64::from(status), Kind::Organisation, hash(detail)).uuid();
    let one = json!({"id": id, "status": status.to_string(), "code": code, "title": title, "detail": detail});
    Answer::json(status, &json!({ "errors": [one] }))
}

/// An error that no code of the document tells more about.
pub(super) fn plain_error(status: u16, detail: &str) -> Answer {
    error(status, &format!("ADMIN-{status}-1"), detail)
}

/// The JSON body. A search without one is a search for everybody.
fn body_of<T: DeserializeOwned>(request: &Request) -> Result<T, Answer> {
    if !is_json(request) {
        return Err(plain_error(415, "The content type is not application/json"));
    }
    let body = match request.body.as_deref().unwrap_or_default() {
        b"" => b"{}",
        body => body,
    };
    serde_json::from_slice(body).map_err(|wrong| error(400, code::BODY, &wrong.to_string()))
}

fn bad(detail: &str) -> Answer {
    error(400, code::BODY, detail)
}

/// A filter has one value at least and so many at most, and none twice.
fn within(name: &str, values: Option<&Vec<String>>, most: usize) -> Result<(), Answer> {
    let Some(values) = values else { return Ok(()) };
    if !(1..=most).contains(&values.len()) {
        return Err(bad(&format!(
            "{name}: expected 1 to {most} values, not {}",
            values.len()
        )));
    }
    let mut sorted: Vec<&String> = values.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(bad(&format!("{name}: a value stands twice")));
    }
    Ok(())
}

/// Which rows of a search are asked for.
struct Wanted {
    /// Of everything but the cursor and the limit: another search's cursor is none of ours.
    fingerprint: u64,
    from: u64,
    limit: u64,
}

impl Wanted {
    fn new(request: &Request, cursor: Option<&str>, limit: Option<i64>, usual: u64) -> Result<Self, Answer> {
        let mut body: Value = serde_json::from_slice(request.body.as_deref().unwrap_or_default()).unwrap_or_default();
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|name, _| name != "cursor" && name != "limit");
        }
        let fingerprint = hash(&format!("{} {body}", request.path));
        let limit = limit.map_or(Some(usual), |limit| u64::try_from(limit).ok());
        let limit = limit.filter(|limit| (1..=LARGEST_PAGE).contains(limit));
        let from = match cursor {
            None => Some(0),
            Some(cursor) => opened(cursor)
                .filter(|(of, _)| *of == fingerprint)
                .map(|(_, from)| from),
        };
        Ok(Self {
            fingerprint,
            from: from.ok_or_else(|| error(400, code::CURSOR, "The cursor is not one of this search"))?,
            limit: limit.ok_or_else(|| bad("limit: expected a number from 1 to 100"))?,
        })
    }

    fn cursor(&self, from: u64) -> String {
        URL_SAFE_NO_PAD.encode(format!("{:016x}:{from}", self.fingerprint))
    }

    /// One page out of all that was found.
    fn page<T>(&self, all: Vec<T>) -> (Vec<T>, Links) {
        let end = self.from.saturating_add(self.limit);
        let links = Links {
            this: self.cursor(self.from),
            prev: (self.from > 0).then(|| self.cursor(self.from.saturating_sub(self.limit))),
            next: (end < all.len() as u64).then(|| self.cursor(end)),
        };
        let rows = all.into_iter().skip(self.from as usize).take(self.limit as usize);
        (rows.collect(), links)
    }
}

fn opened(cursor: &str) -> Option<(u64, u64)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (fingerprint, from) = text.split_once(':')?;
    Some((u64::from_str_radix(fingerprint, 16).ok()?, from.parse().ok()?))
}

/// A page of a search, spoilt as the faults say.
fn page_answer<T: Serialize>(faults: &Faults, data: Vec<T>, links: Links) -> Answer {
    if faults.sources.admin_garbage == Some(Garbage::Empty) {
        return Answer::json(200, &json!({}));
    }
    let mut answer = Answer::json(200, &Page { data, links });
    if faults.sources.admin_garbage == Some(Garbage::Truncated) {
        let half = answer.body.len() / 2;
        answer.body = Bytes::copy_from_slice(answer.body.get(..half).unwrap_or_default());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_opened_as_it_was_made_and_nothing_else_is() {
        let wanted = Wanted {
            fingerprint: 7,
            from: 0,
            limit: 2,
        };
        assert_eq!(opened(&wanted.cursor(50)), Some((7, 50)));
        assert_eq!(opened("50"), None);
        assert_eq!(opened(""), None);
        let (rows, links) = wanted.page(vec![1, 2, 3]);
        assert_eq!(rows, [1, 2]);
        assert_eq!(links.next.as_deref().and_then(opened), Some((7, 2)));
        assert_eq!(links.prev, None);
    }

    #[test]
    fn a_filter_has_some_values_and_none_twice() {
        let values = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert!(within("x", None, 2).is_ok());
        assert!(within("x", Some(&values(&["a", "b"])), 2).is_ok());
        for wrong in [&[][..], &["a", "b", "c"], &["a", "a"]] {
            assert!(within("x", Some(&values(wrong)), 2).is_err(), "{wrong:?}");
        }
    }
}
