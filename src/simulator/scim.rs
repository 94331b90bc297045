//! User provisioning (SCIM), as far as it can be read: the users whom an identity provider made, with its names for them.
use serde::Serialize;
use serde_json::{Value, json};

use super::Shared;
use super::answers::Answer;
use super::chance::{Kind, Sequence};
use super::faults::Faults;
use super::request::{Credential, Request};
use super::state::View;
use super::users::{Provisioned, User, Users};

const LARGEST_PAGE: u32 = 100;
/// How many rows that the filter does not mean stand in an answer with the fault `scim_garbage`.
const FOREIGN: usize = 2;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const ATLASSIAN: &str = "urn:scim:schemas:extension:atlassian-external:1.0";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListBody {
    schemas: [&'static str; 1],
    total_results: usize,
    start_index: u32,
    items_per_page: usize,
    #[serde(rename = "Resources")]
    resources: Vec<Value>,
}

/// Only a Bearer credential is one.
pub(super) fn authorize(faults: &Faults, request: &Request) -> Result<(), Answer> {
    let failure = |status: u16, text: &str| refused(request, status, text);
    match (faults.sources.scim.refused, request.credential()) {
        (Some(403), _) => Err(failure(403, "The key is not one of this directory")),
        (Some(_), _) => Err(failure(401, "The key is not valid")),
        (None, Credential::Bearer { .. }) => Ok(()),
        (None, Credential::Basic { .. } | Credential::Missing) => Err(failure(401, "Missing authorization header")),
    }
}

/// A credential that is refused.
pub(super) fn refused(request: &Request, status: u16, text: &str) -> Answer {
    let failure = json!({"error": text, "traceId": "0000000000000000"});
    typed(request, Answer::json(status, &failure))
}

/// An error in the shape of this API.
pub(super) fn error(request: &Request, status: u16, kind: Option<&str>, detail: &str) -> Answer {
    let schemas = ["urn:ietf:params:scim:api:messages:2.0:Error"];
    let mut body = json!({"schemas": schemas, "status": status.to_string(), "detail": detail});
    if let (Some(kind), Some(fields)) = (kind, body.as_object_mut()) {
        fields.insert("scimType".to_owned(), kind.into());
    }
    typed(request, Answer::json(status, &body))
}

/// SCIM has a media type of its own, which is told to whoever understands it.
fn typed(request: &Request, answer: Answer) -> Answer {
    if request.header("accept").contains("application/scim+json") {
        Answer {
            content_type: Some("application/scim+json;charset=UTF-8"),
            ..answer
        }
    } else {
        answer
    }
}

/// `GET /scim/directory/{directoryId}/Users`.
pub(super) fn users(shared: &Shared, faults: &Faults, request: &Request, directory_id: &str) -> Result<Answer, Answer> {
    if directory_id != shared.directory_id {
        return Err(error(request, 404, None, "There is no such directory"));
    }
    let filter = match request.first("filter") {
        None => None,
        Some(text) => Some(Filter::parse(text).ok_or_else(|| {
            let known = "Only userName eq \"…\" and externalId eq \"…\" are supported";
            error(request, 400, Some("invalidFilter"), known)
        })?),
    };
    // Less than the least is the least (RFC 7644, section 3.4.2.4).
    let number = |name: &str, default: i64| match request.first(name).map(str::parse::<i64>) {
        None => Ok(default),
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => {
            let wrong = format!("{name} is no number");
            Err(error(request, 400, Some("invalidValue"), &wrong))
        }
    };
    let start_index = number("startIndex", 1)?.clamp(1, i64::from(u32::MAX)) as u32;
    let count = number("count", i64::from(LARGEST_PAGE))?.clamp(0, i64::from(LARGEST_PAGE)) as usize;

    let users = shared.users.read();
    let is_ours = |number: &u32| users.get(*number).is_some_and(|user| user.provisioned().is_some());
    let mut found: Vec<u32> = match &filter {
        None => users.numbers().filter(is_ours).collect(),
        Some(Filter::UserName(name)) => users.with_user_name(name),
        Some(Filter::ExternalId(id)) => users.with_external_id(id),
    };
    if faults.sources.scim_garbage && filter.is_some() {
        let others = users
            .numbers()
            .filter(|number| !found.contains(number) && is_ours(number));
        let mut foreign: Vec<u32> = others.take(FOREIGN).collect();
        foreign.append(&mut found);
        found = foreign;
    }
    let store = shared.store.lock();
    let rows = found.iter().skip(start_index as usize - 1).take(count);
    let resources: Vec<Value> = rows
        .filter_map(|number| row(shared, faults, request, &users, store.present(), *number))
        .collect();
    let body = ListBody {
        schemas: ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        total_results: found.len(),
        start_index,
        items_per_page: resources.len(),
        resources,
    };
    Ok(typed(request, Answer::json(200, &body)))
}

fn row(shared: &Shared, faults: &Faults, request: &Request, users: &Users, view: &View, number: u32) -> Option<Value> {
    let user: &User = users.get(number)?;
    let names: Provisioned<'_> = user.provisioned()?;
    let profile = users.profile(number);
    let id = Sequence::new(shared.seed, Kind::Scim, u64::from(number)).uuid();
    let created = profile.added_to_org.as_deref().unwrap_or("2020-01-01T00:00:00.000Z");
    let location = format!("{}/scim/directory/{}/Users/{id}", request.origin(), shared.directory_id);
    let groups: Vec<Value> = view
        .groups_of(number)
        .iter()
        .filter(|info| info.managed_by(faults.external) == "EXTERNAL")
        .map(|info| json!({"type": "Group", "value": info.id, "display": info.name}))
        .collect();
    let emails: Vec<Value> = Some(&user.email)
        .filter(|email| !email.is_empty())
        .map(|email| json!({"value": email, "type": "work", "primary": true}))
        .into_iter()
        .collect();
    let mut row = json!({
        "schemas": [USER, ENTERPRISE, ATLASSIAN],
        "id": id,
        "userName": names.user_name,
        "emails": emails,
        "name": {"formatted": user.display_name},
        "displayName": user.display_name,
        "active": names.active,
        "meta": {"resourceType": "USER", "location": location, "created": created, "lastModified": created},
        "groups": groups,
        ENTERPRISE: {"organization": "Example"},
        ATLASSIAN: {},
    });
    let fields = row.as_object_mut()?;
    if let Some(external_id) = names.external_id {
        fields.insert("externalId".to_owned(), external_id.into());
    }
    if let Some(department) = profile.department {
        fields.insert("department".to_owned(), department.into());
        let extension = fields.get_mut(ENTERPRISE)?.as_object_mut()?;
        extension.insert("department".to_owned(), department.into());
    }
    if !faults.sources.scim_unlinked {
        let extension = fields.get_mut(ATLASSIAN)?.as_object_mut()?;
        extension.insert("atlassianAccountId".to_owned(), user.account_id.as_ref().into());
    }
    Some(row)
}

/// The two filters that there are.
#[derive(Debug, PartialEq, Eq)]
enum Filter {
    UserName(String),
    ExternalId(String),
}

impl Filter {
    /// `attribute eq "value"`, the value written as JSON writes a text; attribute and operator in any case.
    fn parse(text: &str) -> Option<Self> {
        let (attribute, rest) = text.trim().split_once(' ')?;
        let (operator, value) = rest.trim_start().split_once(' ')?;
        if !operator.eq_ignore_ascii_case("eq") {
            return None;
        }
        let value: String = serde_json::from_str(value.trim()).ok()?;
        match attribute.to_ascii_lowercase().as_str() {
            "username" => Some(Self::UserName(value)),
            "externalid" => Some(Self::ExternalId(value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_an_attribute_an_operator_and_a_quoted_value() {
        let name = |text: &str| Some(Filter::UserName(text.to_owned()));
        assert_eq!(Filter::parse(r#"userName eq "a b""#), name("a b"));
        assert_eq!(Filter::parse(r#" USERNAME  EQ  "a" "#), name("a"));
        assert_eq!(Filter::parse(r#"userName eq "a\"b\\c""#), name("a\"b\\c"));
        assert_eq!(
            Filter::parse(r#"externalId eq "X""#),
            Some(Filter::ExternalId("X".to_owned()))
        );
        for wrong in [
            "",
            "userName",
            "userName eq",
            "userName eq a",
            r#"userName eq "a"b""#,
            r#"userName eq "a\""#,
            r#"userName sw "a""#,
            r#"emails eq "a""#,
            r#"userName eq "a" or userName eq "b""#,
        ] {
            assert_eq!(Filter::parse(wrong), None, "{wrong}");
        }
    }
}
