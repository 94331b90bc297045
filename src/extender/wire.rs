//! The legacy API's own words: its field names and messages stand here and nowhere else.

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};

use super::dates::{Pattern, Zone, date_string};
use crate::model::{Detail, GroupName, Member, Outcome, Page};

/// The words of one of the four changing calls.
#[derive(Debug)]
pub struct Words {
    /// The list in the request.
    pub asked: &'static str,
    done: &'static str,
    skipped: &'static str,
    all: &'static str,
    some: &'static str,
}

/// addUsers. Public scripts compare the messages letter by letter.
pub const ADD_USERS: Words = Words {
    asked: "users",
    done: "usersAdded",
    skipped: "usersSkipped",
    all: "all users added to group",
    some: "users added to group, but some users skipped",
};

/// removeUsers.
pub const REMOVE_USERS: Words = Words {
    asked: "users",
    done: "usersRemoved",
    skipped: "usersSkipped",
    all: "all users removed from group",
    some: "users removed from group, but some users skipped",
};

/// addGroups.
pub const ADD_GROUPS: Words = Words {
    asked: "groups",
    done: "groupsAdded",
    skipped: "groupsSkipped",
    all: "all groups added",
    some: "groups added, some groups skipped",
};

/// removeGroups.
pub const REMOVE_GROUPS: Words = Words {
    asked: "groups",
    done: "groupsRemoved",
    skipped: "groupsSkipped",
    all: "all groups removed",
    some: "groups removed, some groups skipped",
};

/// The answer to a changing call.
#[must_use]
pub fn outcome(words: &Words, outcome: &Outcome) -> Vec<u8> {
    let skipped: Vec<&str> = outcome.skipped().map(|(name, _)| name).collect();
    let message = if skipped.is_empty() { words.all } else { words.some };
    let done: Vec<&str> = outcome.done().collect();
    // The names of the two lists differ by call, so no struct can have them as fields.
    let mut body = Vec::with_capacity(64 + outcome.names.len() * 16);
    body.push(b'{');
    for (key, names) in [(words.done, &done), (words.skipped, &skipped)] {
        json(&mut body, key);
        body.push(b':');
        json(&mut body, names);
        body.push(b',');
    }
    body.extend_from_slice(b"\"message\":");
    json(&mut body, message);
    body.extend_from_slice(b",\"status\":\"success\"}");
    body
}

/// The answer to getGroups.
#[must_use]
pub fn groups(all: &[GroupName], page: Page) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        total: usize,
        max_results: usize,
        start_at: usize,
        groups: Vec<&'a str>,
        message: &'static str,
        status: &'static str,
    }
    let mut body = Vec::new();
    json(
        &mut body,
        &Answer {
            total: all.len(),
            max_results: page.max_results,
            start_at: page.start_at,
            groups: page.of(all).iter().map(GroupName::as_str).collect(),
            message: "",
            status: "success",
        },
    );
    body
}

/// How dates are written in an answer.
#[derive(Clone, Copy)]
pub struct Dates<'a> {
    /// The caller's pattern.
    pub pattern: &'a Pattern,
    /// The zone of the setting.
    pub zone: &'a Zone,
}

/// The answer to getUsers.
#[must_use]
pub fn members(all: &[Member], page: Page, detail: Detail, dates: Dates<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        total: usize,
        max_results: usize,
        start_at: usize,
        users: Users<'a>,
        status: &'static str,
    }
    let members = page.of(all);
    let mut body = Vec::with_capacity(128 + members.len() * if detail == Detail::Extended { 640 } else { 128 });
    json(
        &mut body,
        &Answer {
            total: all.len(),
            max_results: page.max_results,
            start_at: page.start_at,
            users: Users { members, detail, dates },
            status: "success",
        },
    );
    body
}

struct Users<'a> {
    members: &'a [Member],
    detail: Detail,
    dates: Dates<'a>,
}

impl Serialize for Users<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.members.len()))?;
        for member in self.members {
            match self.detail {
                Detail::Names => list.serialize_element(&Name { name: &member.name })?,
                Detail::Basic => list.serialize_element(&Basic {
                    name: &member.name,
                    full_name: &member.full_name,
                    key: &member.key,
                    email: &member.email,
                })?,
                Detail::Extended => list.serialize_element(&Extended::of(member, self.dates))?,
            }
        }
        list.end()
    }
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Basic<'a> {
    name: &'a str,
    full_name: &'a str,
    key: &'a str,
    email: &'a str,
}

/// The 15 fields in the order of a recorded answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extended<'a> {
    business: [Business<'a>; 1],
    last_failed_login_date: Option<i64>,
    last_successful_login_date: Option<i64>,
    full_name: &'a str,
    personal: [Personal; 1],
    updated_date: Option<i64>,
    last_failed_login_date_string: Option<String>,
    created_date: Option<i64>,
    created_date_string: Option<String>,
    has_access_to_use_confluence: bool,
    name: &'a str,
    last_successful_login_date_string: Option<String>,
    key: &'a str,
    email: &'a str,
    updated_date_string: Option<String>,
}

#[derive(Serialize)]
struct Business<'a> {
    location: &'a str,
    position: &'a str,
    department: &'a str,
}

#[derive(Default, Serialize)]
struct Personal {
    website: &'static str,
    im: &'static str,
    phone: &'static str,
}

impl<'a> Extended<'a> {
    fn of(member: &'a Member, dates: Dates<'_>) -> Self {
        let text = |date: Option<i64>| date.map(|date| date_string(dates.pattern, date, dates.zone));
        Self {
            business: [Business {
                location: &member.location,
                position: &member.position,
                department: &member.department,
            }],
            last_failed_login_date: None,
            // Quirk: the last activity in Confluence, which is as near to a login as Cloud tells
            // (docs/compatibility.md, "Members").
            last_successful_login_date: member.last_login,
            full_name: &member.full_name,
            personal: [Personal::default()],
            updated_date: member.updated,
            last_failed_login_date_string: None,
            created_date: member.created,
            created_date_string: text(member.created),
            // Quirk: true where nobody knows (docs/compatibility.md, "Members"): a public synchronisation script drops
            // everybody for whom this is false.
            has_access_to_use_confluence: member.has_access,
            name: &member.name,
            last_successful_login_date_string: text(member.last_login),
            key: &member.key,
            email: &member.email,
            updated_date_string: text(member.updated),
        }
    }
}

/// The body of every error: exactly these two keys.
#[must_use]
pub fn error(message: &str, status: u16) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        message: &'a str,
        #[serde(rename = "status-code")]
        status_code: u16,
    }
    let mut body = Vec::new();
    json(
        &mut body,
        &Answer {
            message,
            status_code: status,
        },
    );
    body
}

fn json(body: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(body, value).expect("texts, numbers and lists of them always become JSON");
}
