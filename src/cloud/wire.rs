//! Cloud's JSON, as far as we read it. What we do not need we do not parse, so that it may change.

use std::collections::HashSet;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::model::{AccountId, GroupId, GroupName, Standing};

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

/// What a site tells of itself to everybody.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tenant {
    pub cloud_id: String,
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
            standing: if self.account_type.as_deref() == Some("app") {
                Standing::App
            } else {
                Standing::Active
            },
            brief: None,
            is_known: !matches!(self.kind.as_deref(), Some("unknown" | "anonymous")),
        })
    }
}

/// A page of the Admin API.
#[derive(Debug, Deserialize)]
pub(super) struct OrgPage<T> {
    pub data: Vec<T>,
    #[serde(default)]
    pub links: Cursors,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Cursors {
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrgUser {
    account_type: Option<String>,
    #[serde(deserialize_with = "filled")]
    account_id: String,
    email: Option<String>,
    name: Option<String>,
    status: Option<String>,
    account_status: Option<String>,
    job_title: Option<String>,
    department: Option<String>,
    location: Option<String>,
    added_to_org: Option<String>,
    product_access: Option<Vec<ProductAccess>>,
}

/// A person of the organisation with their groups.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrgMemberships {
    #[serde(deserialize_with = "filled")]
    account_id: String,
    groups: Option<Vec<OrgMembership>>,
}

#[derive(Debug, Deserialize)]
struct OrgMembership {
    #[serde(deserialize_with = "filled")]
    id: String,
}

impl OrgMemberships {
    /// The account and its groups. Everybody with access is in some group: an empty list is one that was not told.
    pub(super) fn into_groups(self) -> Option<(AccountId, HashSet<GroupId>)> {
        let groups = self.groups.filter(|groups| !groups.is_empty())?;
        // The document's example is `ari:cloud:identity::group/…`; everywhere else an id is what stands after the slash.
        let id = |group: &OrgMembership| GroupId::new(group.id.rsplit('/').next().unwrap_or(&group.id));
        Some((AccountId::new(&self.account_id), groups.iter().map(id).collect()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProductAccess {
    key: Option<String>,
    last_active_timestamp: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrgGroup {
    #[serde(deserialize_with = "filled")]
    id: String,
    #[serde(deserialize_with = "filled")]
    name: String,
    directory_id: Option<String>,
    managed_by: Option<String>,
    external_synced: Option<bool>,
    counts: Option<Counts>,
}

#[derive(Debug, Deserialize)]
struct Counts {
    users: Option<usize>,
}

/// What a group gives of one resource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleAssignment {
    resource_id: Option<String>,
    resource_owner: Option<String>,
    default_role: Option<String>,
    roles: Option<Vec<String>>,
}

/// How many users or groups an answer holds.
pub(super) fn rows(body: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Rows {
        #[serde(default)]
        results: Vec<serde::de::IgnoredAny>,
    }
    let rows = serde_json::from_slice::<Rows>(body).map_or(0, |rows| rows.results.len());
    u64::try_from(rows).unwrap_or(u64::MAX)
}

/// A page of a SCIM directory.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScimPage {
    pub total_results: usize,
    // An empty page may leave it out.
    #[serde(rename = "Resources", default)]
    pub resources: Vec<ScimUser>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScimUser {
    #[serde(deserialize_with = "filled")]
    user_name: String,
    external_id: Option<String>,
    active: Option<bool>,
    #[serde(rename = "urn:scim:schemas:extension:atlassian-external:1.0")]
    atlassian: Option<Linked>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linked {
    atlassian_account_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JiraUser {
    #[serde(deserialize_with = "filled")]
    account_id: String,
    account_type: Option<String>,
    email_address: Option<String>,
    display_name: Option<String>,
    active: Option<bool>,
}

impl Cursors {
    /// Where the next page begins: the document says a cursor, and an address that holds one is as good.
    pub fn cursor(&self) -> Option<String> {
        let next = self.next.as_deref().filter(|next| !next.is_empty())?;
        let in_address = next.split_once("cursor=").and_then(|_| {
            let query = next.split_once('?').map_or(next, |(_, query)| query);
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs
                .find(|(name, _)| name == "cursor")
                .map(|(_, value)| value.into_owned())
        });
        Some(in_address.unwrap_or_else(|| next.to_owned()))
    }
}

impl OrgUser {
    pub fn into_user(self) -> super::OrgUser {
        let is = |field: &Option<String>, word: &str| field.as_deref() == Some(word);
        let off = matches!(self.account_status.as_deref(), Some("inactive" | "closed"))
            || matches!(self.status.as_deref(), Some("deactivated" | "for_deletion"));
        let seen = self.product_access.unwrap_or_default();
        let in_confluence = seen
            .iter()
            .filter(|product| product.key.as_deref().is_some_and(|key| key.starts_with("confluence")));
        super::OrgUser {
            account: AccountId::new(&self.account_id),
            email: self.email.unwrap_or_default().into(),
            name: self.name.unwrap_or_default().into(),
            standing: match (is(&self.account_type, "app"), off) {
                (true, _) => Standing::App,
                (false, true) => Standing::Deactivated,
                (false, false) => Standing::Active,
            },
            brief: super::Brief {
                position: self.job_title.unwrap_or_default().into(),
                department: self.department.unwrap_or_default().into(),
                location: self.location.unwrap_or_default().into(),
                added: self.added_to_org.as_deref().and_then(millis),
                last_active: in_confluence
                    .filter_map(|product| millis(product.last_active_timestamp.as_deref()?))
                    .max(),
                // A status that is not told, or not known, takes nobody's access away.
                has_access: !off && !is(&self.status, "suspended") && !is(&self.status, "not_invited"),
            },
        }
    }
}

impl OrgGroup {
    pub fn into_group(self) -> super::OrgGroup {
        let managed_by = self.managed_by.unwrap_or_default().to_ascii_lowercase();
        super::OrgGroup {
            group: super::Group {
                id: GroupId::new(&self.id),
                name: GroupName::new(&self.name),
                externally_managed: self.external_synced == Some(true) || managed_by == "external",
                team: matches!(managed_by.as_str(), "team-members" | "team_members" | "open"),
            },
            users: self.counts.and_then(|counts| counts.users),
        }
    }
}

impl OrgPage<OrgGroup> {
    /// The directory of this group: none unless the page is the only one and exactly one of its rows is that group's.
    pub fn directory_of(&self, group: &GroupId) -> Option<&str> {
        let mut rows = self.data.iter().filter(|row| row.id == group.as_str());
        let (row, others) = (rows.next()?, rows.next());
        let directory = row.directory_id.as_deref();
        let is_certain = others.is_none() && self.links.cursor().is_none();
        // `-` means all directories.
        directory.filter(|directory| is_certain && !["", "-"].contains(directory))
    }
}

impl OrgPage<RoleAssignment> {
    /// What these roles come to. A page that leads on does not tell them all.
    pub fn access(&self) -> super::Access {
        if !self.data.iter().all(RoleAssignment::gives_no_access) {
            super::Access::Given
        } else if self.links.cursor().is_some() {
            super::Access::Unknown
        } else {
            super::Access::NotGiven
        }
    }
}

impl RoleAssignment {
    /// Whether it certainly gives nobody access to Confluence: it is Jira's, or it is nothing but roles that the document
    /// describes as none of access. Whatever is not told, or not known, may be access.
    fn gives_no_access(&self) -> bool {
        let begins = |field: &Option<String>, with: &str| field.as_deref().is_some_and(|text| text.starts_with(with));
        let is_jiras = begins(&self.resource_owner, "jira") && begins(&self.resource_id, "ari:cloud:jira");
        let mut roles = self.roles.iter().flatten().chain(&self.default_role).peekable();
        let are_told = self.roles.is_some() && roles.peek().is_some();
        is_jiras
            || are_told && roles.all(|role| ["atlassian/user-access-admin", "atlassian/ai-access"].contains(&&**role))
    }
}

impl ScimUser {
    pub fn into_user(self) -> super::ScimUser {
        let account = self.atlassian.and_then(|linked| linked.atlassian_account_id);
        super::ScimUser {
            user_name: self.user_name.into(),
            external_id: self.external_id.unwrap_or_default().into(),
            account: account.filter(|id| !id.is_empty()).map(|id| AccountId::new(&id)),
            standing: if self.active == Some(false) {
                Standing::Deactivated
            } else {
                Standing::Active
            },
        }
    }
}

impl JiraUser {
    pub fn into_user(self) -> super::JiraUser {
        super::JiraUser {
            account: AccountId::new(&self.account_id),
            email: self.email_address.unwrap_or_default().into(),
            name: self.display_name.map(Into::into),
            is_app: self.account_type.as_deref() == Some("app"),
            is_active: self.active != Some(false),
        }
    }
}

/// What a row must have. One without it is somebody of whom nothing can be said, and who is missing from the answer:
/// the whole answer cannot be read then.
fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(D::Error::invalid_length(0, &"a text that is not empty"));
    }
    Ok(text)
}

/// A point in time as Cloud writes it, in epoch milliseconds.
fn millis(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
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

    #[test]
    fn a_group_gives_no_access_only_where_every_role_says_so() {
        use super::super::Access::{Given, NotGiven, Unknown};
        let row = |id: &str, owner: &str, roles: &str| {
            format!(r#"{{"resourceId":"ari:cloud:{id}::site/1","resourceOwner":"{owner}","roles":{roles}}}"#)
        };
        let confluence = |roles: &str| row("confluence", "confluence", roles);
        let powerless = r#"["atlassian/user-access-admin","atlassian/ai-access"]"#;
        for (rows, access) in [
            (String::new(), NotGiven),
            (confluence(powerless), NotGiven),
            (row("jira", "jira-software", r#"["atlassian/user"]"#), NotGiven),
            (row("jira-core", "jira-core", "[]"), NotGiven),
            (confluence(r#"["atlassian/user"]"#), Given),
            (
                confluence(r#"["atlassian/user-access-admin","atlassian/guest"]"#),
                Given,
            ),
            // Who administers the site or the organisation can do what they like.
            (row("platform", "platform", r#"["atlassian/org-admin"]"#), Given),
            (confluence(r#"["atlassian/a-role-of-tomorrow"]"#), Given),
            (confluence(r#"["atlassian/AI-access"]"#), Given),
            (confluence("[]"), Given),
            (confluence("null"), Given),
            (row("confluence", "jira", r#"["atlassian/user"]"#), Given),
            (row("jira", "confluence", r#"["atlassian/user"]"#), Given),
            (r#"{"roles":["atlassian/user"]}"#.to_owned(), Given),
            (
                r#"{"roles":["atlassian/ai-access"],"defaultRole":"atlassian/user"}"#.to_owned(),
                Given,
            ),
            (r#"{"defaultRole":"atlassian/ai-access"}"#.to_owned(), Given),
            ("{}".to_owned(), Given),
            (
                format!("{},{}", confluence(powerless), confluence(r#"["atlassian/admin"]"#)),
                Given,
            ),
        ] {
            let page = |links: &str| {
                let page: OrgPage<RoleAssignment> =
                    serde_json::from_str(&format!(r#"{{"data":[{rows}],"links":{links}}}"#)).unwrap();
                page.access()
            };
            assert_eq!(page(r#"{"self":"0"}"#), access, "{rows}");
            let leads_on = if access == NotGiven { Unknown } else { Given };
            assert_eq!(page(r#"{"next":"more"}"#), leads_on, "{rows}");
        }
        for body in [
            "{}",
            r#"{"data":null}"#,
            r#"{"data":[null]}"#,
            r#"{"data":[{"roles":[null]}]}"#,
        ] {
            assert!(serde_json::from_str::<OrgPage<RoleAssignment>>(body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_groups_directory_is_that_of_the_one_row_with_its_id() {
        let directory = |rows: &str, links: &str| {
            let page = format!(r#"{{"data":[{rows}],"links":{links}}}"#);
            let page: OrgPage<OrgGroup> = serde_json::from_str(&page).unwrap();
            page.directory_of(&GroupId::new("g")).map(str::to_owned)
        };
        let ours = r#"{"id":"g","name":"team","directoryId":"d1"}"#;
        let other = r#"{"id":"G","name":"team","directoryId":"d2"}"#;
        assert_eq!(directory(ours, "{}").as_deref(), Some("d1"));
        assert_eq!(directory(&format!("{other},{ours}"), "{}").as_deref(), Some("d1"));
        for (rows, links) in [
            (String::new(), "{}"),
            (other.to_owned(), "{}"),
            (ours.to_owned(), r#"{"next":"more"}"#),
            (format!("{ours},{}", ours.replace("d1", "d2")), "{}"),
            (ours.replace("d1", ""), "{}"),
            (ours.replace("d1", "-"), "{}"),
            (r#"{"id":"g","name":"team"}"#.to_owned(), "{}"),
        ] {
            assert_eq!(directory(&rows, links), None, "{rows} {links}");
        }
    }

    #[test]
    fn a_row_that_does_not_say_whose_it_is_spoils_its_answer() {
        fn reads<T: serde::de::DeserializeOwned>(rows: &str) -> bool {
            serde_json::from_str::<T>(rows).is_ok()
        }
        assert!(reads::<OrgPage<OrgUser>>(r#"{"data":[{"accountId":"a"}]}"#));
        assert!(reads::<OrgPage<OrgGroup>>(
            r#"{"data":[{"id":"a","name":"b"}],"links":{}}"#
        ));
        assert!(reads::<ScimPage>(
            r#"{"totalResults":1,"Resources":[{"userName":"a"}]}"#
        ));
        assert!(reads::<Vec<JiraUser>>(r#"[{"accountId":"a"}]"#));
        for row in ["{}", r#"{"accountId":null}"#, r#"{"accountId":""}"#] {
            assert!(!reads::<OrgPage<OrgUser>>(&format!(r#"{{"data":[{row}]}}"#)), "{row}");
            assert!(!reads::<Vec<JiraUser>>(&format!("[{row}]")), "{row}");
        }
        for row in ["{}", r#"{"id":"a"}"#, r#"{"id":"","name":"b"}"#] {
            assert!(!reads::<OrgPage<OrgGroup>>(&format!(r#"{{"data":[{row}]}}"#)), "{row}");
        }
        for row in ["{}", r#"{"userName":""}"#] {
            let page = format!(r#"{{"totalResults":1,"Resources":[{row}]}}"#);
            assert!(!reads::<ScimPage>(&page), "{row}");
        }
    }
}
