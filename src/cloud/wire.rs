//! Cloud's JSON, as far as we read it. What we do not need we do not parse, so that it may change.

use serde::Deserialize;

use crate::model::{AccountId, GroupId, GroupName};

/// A page of groups as Cloud sends it.
#[derive(Debug, Deserialize)]
pub(super) struct GroupPage {
    pub results: Vec<Group>,
    pub limit: Option<u32>,
    #[serde(rename = "_links", default)]
    pub links: Links,
}

/// A page of users as Cloud sends it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserPage {
    pub results: Vec<User>,
    pub limit: Option<u32>,
    pub total_size: Option<u64>,
    #[serde(rename = "_links", default)]
    pub links: Links,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Links {
    // Only whether it is there counts: it was seen computed from the requested limit instead of the served one.
    pub next: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub id: String,
    pub name: String,
    pub managed_by: Option<String>,
    pub usage_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub account_id: Option<String>,
    pub account_type: Option<String>,
    pub display_name: Option<String>,
    pub public_name: Option<String>,
    pub email: Option<String>,
}

impl From<Group> for super::Group {
    fn from(group: Group) -> Self {
        Self {
            id: GroupId::new(&group.id),
            name: GroupName::new(&group.name),
            externally_managed: group.managed_by.as_deref() == Some("EXTERNAL"),
            team: group.usage_type.as_deref() == Some("TEAM_COLLABORATION"),
        }
    }
}

impl User {
    /// The person, if the row stands for an account at all.
    pub fn into_profile(self) -> Option<super::Profile> {
        let account = self.account_id.filter(|id| !id.is_empty())?;
        let shown = self.display_name.filter(|name| !name.is_empty()).or(self.public_name);
        Some(super::Profile {
            account: AccountId::new(&account),
            display_name: shown.unwrap_or_default().into(),
            email: self.email.unwrap_or_default().into(),
            is_app: self.account_type.as_deref() == Some("app"),
            is_known: !matches!(self.kind.as_deref(), Some("unknown" | "anonymous")),
        })
    }
}

/// What an error answer says, whatever it is made of: one of Cloud's JSON shapes, XML, an HTML page, or nothing.
/// At most 300 characters on one line.
pub(super) fn error_message(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(json) => json_message(&json).unwrap_or_else(|| json.to_string()),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            ["message", "title", "h1"]
                .iter()
                .find_map(|tag| between(&text, tag))
                .unwrap_or(&text)
                .to_owned()
        }
    };
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|c| !c.is_control());
    if line.chars().count() > 300 {
        line = line.chars().take(299).chain(['…']).collect();
    }
    line
}

fn json_message(json: &serde_json::Value) -> Option<String> {
    let text = |value: &serde_json::Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(message) = json.get("message").and_then(text) {
        return Some(message);
    }
    let list = json.get("errorMessages").or_else(|| json.get("errors"))?.as_array()?;
    let parts: Vec<String> = list
        .iter()
        .filter_map(|part| {
            text(part).or_else(|| {
                ["detail", "title", "message"]
                    .iter()
                    .find_map(|key| part.get(key).and_then(text))
            })
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The text between `<tag>` and `</tag>`, if there is any.
fn between<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    let (inner, _) = rest.split_once(&format!("</{tag}>"))?;
    Some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_error_shape_yields_its_message() {
        for (body, message) in [
            (r#"{"statusCode":403,"message":"Request rejected"}"#, "Request rejected"),
            (
                r#"{"message":"Client must be authenticated","status-code":401}"#,
                "Client must be authenticated",
            ),
            (
                r#"{"code":401,"message":"Unauthorized; scope does not match"}"#,
                "Unauthorized; scope does not match",
            ),
            (r#"{"errorMessages":["a","b"],"errors":{}}"#, "a; b"),
            (
                r#"{"errors":[{"status":409,"title":"Conflict","detail":"already"}]}"#,
                "already",
            ),
            (
                "<?xml version=\"1.0\"?><status><message>No\n way</message></status>",
                "No way",
            ),
            ("<html><head><title>Log in</title></head></html>", "Log in"),
            ("", ""),
            ("\u{7}bell", "bell"),
        ] {
            assert_eq!(error_message(body.as_bytes()), message, "{body}");
        }
        assert_eq!(error_message("x".repeat(5000).as_bytes()).chars().count(), 300);
        assert_eq!(error_message(&[0xff, 0xfe]), "\u{fffd}\u{fffd}");
    }
}
