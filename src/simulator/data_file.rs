//! What a data file may say, and what it is refused for.
use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::chance::{Kind, Sequence};
use super::data::{GroupInfo, Start};
use super::profile::{Provisioning, Told};
use super::users::{AccountType, Status, User, Users};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileData {
    #[serde(default)]
    users: Vec<FileUser>,
    #[serde(default)]
    groups: Vec<FileGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileUser {
    account_id: String,
    display_name: Option<String>,
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_hidden: bool,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    username: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    account_type: AccountType,
    job_title: Option<Box<str>>,
    department: Option<Box<str>>,
    location: Option<Box<str>>,
    added_to_org: Option<Box<str>>,
    last_active: Option<Box<str>>,
    scim: Option<FileScim>,
}

/// Which identity provider's names a user has: some, or `false` for none.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected false or an object of userName, externalId and active"
)]
enum FileScim {
    Not(bool),
    Under(FileProvisioned),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileProvisioned {
    user_name: Option<Box<str>>,
    external_id: Option<Box<str>>,
    active: Option<bool>,
}

impl From<FileScim> for Provisioning {
    fn from(file: FileScim) -> Self {
        match file {
            FileScim::Not(true) => Self::Usual,
            FileScim::Not(false) => Self::Not,
            FileScim::Under(names) => Self::Under {
                user_name: names.user_name,
                external_id: names.external_id,
                active: names.active,
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileGroup {
    name: String,
    id: Option<String>,
    #[serde(default)]
    managed_by: ManagedBy,
    #[serde(default)]
    usage_type: UsageType,
    #[serde(default)]
    members: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ManagedBy {
    #[default]
    Admins,
    External,
    TeamMembers,
    Open,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum UsageType {
    #[default]
    UserbaseGroup,
    TeamCollaboration,
}

/// Reads a data file. The error says where: a line and column, or the entry.
pub(super) fn parse(text: &[u8], seed: u64) -> Result<Start, String> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let data: FileData = serde_path_to_error::deserialize(&mut json).map_err(|wrong| {
        let path = wrong.path().to_string();
        format!("{path}: {}", wrong.into_inner())
    })?;
    json.end().map_err(|wrong| wrong.to_string())?;
    let mut start = Start {
        users: Users::new(seed),
        groups: Vec::new(),
    };
    for (index, user) in data.users.into_iter().enumerate() {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_|:-".contains(letter);
        if !(1..=128).contains(&user.account_id.len()) || !user.account_id.chars().all(allowed) {
            return Err(format!(
                "users[{index}].accountId: {:?} is not 1 to 128 of letters, digits, _ | : and -",
                user.account_id
            ));
        }
        let display_name = user.display_name.unwrap_or_else(|| {
            if user.username.is_empty() {
                user.account_id.clone()
            } else {
                user.username.clone()
            }
        });
        let taken = format!("users[{index}].accountId: {:?} stands twice", user.account_id);
        let told = Told {
            job_title: user.job_title,
            department: user.department,
            location: user.location,
            added_to_org: user.added_to_org,
            last_active: user.last_active,
            scim: user.scim.map_or(Provisioning::Usual, Provisioning::from),
        };
        let added = start.users.push(User {
            account_id: user.account_id.into(),
            username: user.username.into(),
            key: user.key.into(),
            email: user.email.into(),
            display_name: display_name.into(),
            account_type: user.account_type,
            email_hidden: user.email_hidden,
            status: user.status,
            tenth: false,
            told: Some(Box::new(told)),
        });
        if !added {
            return Err(taken);
        }
    }
    start.users.settle();
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    for (index, group) in data.groups.into_iter().enumerate() {
        if group.name.trim().is_empty() || !names.insert(group.name.clone()) {
            return Err(format!(
                "groups[{index}].name: {:?} is empty or stands twice",
                group.name
            ));
        }
        let id = group
            .id
            .unwrap_or_else(|| Sequence::new(seed, Kind::Group, index as u64).uuid());
        if id.is_empty() || !ids.insert(id.clone()) {
            return Err(format!("groups[{index}].id: {id:?} is empty or stands twice"));
        }
        let mut members = Vec::with_capacity(group.members.len());
        let mut seen = HashSet::new();
        for (place, account_id) in group.members.iter().enumerate() {
            let number = start.users.number(account_id).filter(|number| seen.insert(*number));
            members.push(number.ok_or_else(|| {
                format!("groups[{index}].members[{place}]: {account_id:?} is no user of this file, or stands twice")
            })?);
        }
        let info = GroupInfo {
            managed_by: match group.managed_by {
                ManagedBy::Admins => "ADMINS",
                ManagedBy::External => "EXTERNAL",
                ManagedBy::TeamMembers => "TEAM_MEMBERS",
                ManagedBy::Open => "OPEN",
            },
            usage_type: match group.usage_type {
                UsageType::UserbaseGroup => "USERBASE_GROUP",
                UsageType::TeamCollaboration => "TEAM_COLLABORATION",
            },
            ..GroupInfo::new(id, group.name)
        };
        start.groups.push((Arc::new(info), members));
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_data_file_is_refused_with_the_place() {
        for (text, place) in [
            (r#"{"users":[{"accountId":"a"},{"email":"x"}]}"#, "users[1]"),
            ("{\n\"users\":[{\"accountId\":1}]}", "line 2"),
            (r#"{"users":[{"accountId":"a b"}]}"#, "users[0].accountId"),
            (
                r#"{"users":[{"accountId":"a"},{"accountId":"a"}]}"#,
                "users[1].accountId",
            ),
            (r#"{"groups":[{"name":" "}]}"#, "groups[0].name"),
            (
                r#"{"groups":[{"name":"g","members":["nobody"]}]}"#,
                "groups[0].members[0]",
            ),
            (
                r#"{"groups":[{"name":"g","managedBy":"nobody"}]}"#,
                "groups[0].managedBy",
            ),
            (r#"{"people":[]}"#, "people"),
            ("{} {}", "line 1"),
        ] {
            let refused = parse(text.as_bytes(), 1).unwrap_err();
            assert!(refused.contains(place), "{text}: {refused}");
        }
    }

    #[test]
    fn names_that_differ_in_case_only_may_stand_side_by_side_in_a_file() {
        assert_eq!(
            parse(br#"{"groups":[{"name":"A"},{"name":"a"}]}"#, 1)
                .unwrap()
                .groups
                .len(),
            2
        );
    }
}
