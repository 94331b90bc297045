//! Who and what there is at the start: generated, or read from a file.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use super::chance::{Kind, Sequence};
use super::options::{Error, Options};

/// Every generated group of `--groups` has this many members.
const GENERATED_SIZE: u32 = 20;

/// A user of this Cloud. None is ever changed, made or removed.
#[derive(Debug)]
pub(super) struct User {
    pub(super) account_id: Box<str>,
    pub(super) username: Box<str>,
    pub(super) key: Box<str>,
    pub(super) email: Box<str>,
    pub(super) display_name: Box<str>,
    pub(super) account_type: &'static str,
    pub(super) email_hidden: bool,
    /// The data file says that this user is not active.
    pub(super) inactive: bool,
    /// Suspended while the fault `suspended` is on.
    pub(super) tenth: bool,
}

/// What a group is, without its members. Never changed: Cloud could rename a group, the simulator does not.
#[derive(Debug)]
pub(super) struct GroupInfo {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    /// The name as it is sorted and searched.
    pub(super) lower: Box<str>,
    pub(super) managed_by: &'static str,
    pub(super) usage_type: &'static str,
    /// `EXTERNAL` while the fault `external` is on.
    pub(super) tenth: bool,
}

impl GroupInfo {
    pub(super) fn new(id: String, name: String) -> Self {
        let lower = name.to_lowercase().into();
        Self {
            id: id.into(),
            name: name.into(),
            lower,
            managed_by: "ADMINS",
            usage_type: "USERBASE_GROUP",
            tenth: false,
        }
    }

    /// Who manages the group, under the fault `external` or without it.
    pub(super) fn managed_by(&self, external: bool) -> &'static str {
        if external && self.tenth {
            "EXTERNAL"
        } else {
            self.managed_by
        }
    }
}

/// The users, found by number (their place) or by account id.
#[derive(Debug, Default)]
pub(super) struct Users {
    list: Vec<User>,
    by_account: HashMap<Box<str>, u32>,
    /// Some user is inactive whatever the faults say.
    pub(super) some_inactive: bool,
    /// Some user is suspended once the fault says so.
    pub(super) some_tenth: bool,
}

impl Users {
    /// Adds a user; false if the account id is taken.
    fn push(&mut self, user: User) -> bool {
        let number = self.list.len() as u32;
        if self.by_account.contains_key(&user.account_id) {
            return false;
        }
        self.by_account.insert(user.account_id.clone(), number);
        self.some_inactive |= user.inactive;
        self.some_tenth |= user.tenth;
        self.list.push(user);
        true
    }

    pub(super) fn get(&self, number: u32) -> Option<&User> {
        self.list.get(number as usize)
    }

    pub(super) fn number(&self, account_id: &str) -> Option<u32> {
        self.by_account.get(account_id).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &User> {
        self.list.iter()
    }
}

/// The start of everything: users, and groups with the numbers of their members in order.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) users: Users,
    pub(super) groups: Vec<(Arc<GroupInfo>, Vec<u32>)>,
}

/// Reads the data file if there is one, and generates otherwise.
pub(super) fn load(options: &Options) -> Result<Start, Error> {
    match &options.data {
        None => generate(options),
        Some(path) => {
            let text = std::fs::read(path).map_err(|source| Error::Read {
                path: path.clone(),
                source,
            })?;
            parse(&text, options.seed).map_err(|message| Error::Data {
                path: path.clone(),
                message,
            })
        }
    }
}

fn generate(options: &Options) -> Result<Start, Error> {
    let mut start = Start::default();
    for number in 1..=options.users {
        let index = u64::from(number);
        let mut ids = Sequence::new(options.seed, Kind::AccountId, index);
        let username = format!("user{number:06}");
        loop {
            let user = User {
                account_id: ids.account_id().into(),
                username: username.as_str().into(),
                key: Sequence::new(options.seed, Kind::UserKey, index).key().into(),
                email: format!("{username}@example.com").into(),
                display_name: format!("User {number:06}").into(),
                account_type: "atlassian",
                email_hidden: false,
                inactive: false,
                tenth: number.is_multiple_of(10),
            };
            if start.users.push(user) {
                break;
            }
        }
    }
    let first = |size: u32| (0..size.min(options.users)).collect::<Vec<_>>();
    let mut names = HashSet::new();
    let mut add = |name: String, tenth: bool, members: Vec<u32>| {
        let id = Sequence::new(options.seed, Kind::Group, start.groups.len() as u64).uuid();
        let info = GroupInfo {
            tenth,
            ..GroupInfo::new(id, name)
        };
        if !names.insert(info.lower.clone()) {
            return Err(Error::Options(format!(
                "group: there is a group {:?} already",
                info.name
            )));
        }
        start.groups.push((Arc::new(info), members));
        Ok(())
    };
    add("confluence-users".to_owned(), false, first(options.users))?;
    add("confluence-administrators".to_owned(), false, first(3))?;
    add("site-admins".to_owned(), false, first(3))?;
    for number in 1..=options.groups {
        let from = u64::from(number - 1) * u64::from(GENERATED_SIZE);
        let members = (0..GENERATED_SIZE.min(options.users))
            .map(|offset| ((from + u64::from(offset)) % u64::from(options.users)) as u32)
            .collect();
        add(format!("group-{number:05}"), number.is_multiple_of(10), members)?;
    }
    for wanted in &options.group {
        if wanted.size > options.users {
            return Err(Error::Options(format!(
                "group: {:?} wants {} members, but there are {} users",
                wanted.name, wanted.size, options.users
            )));
        }
        add(wanted.name.clone(), false, first(wanted.size))?;
    }
    Ok(start)
}

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
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Active,
    Suspended,
    Deactivated,
    Closed,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum AccountType {
    #[default]
    Atlassian,
    App,
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
fn parse(text: &[u8], seed: u64) -> Result<Start, String> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let data: FileData = serde_path_to_error::deserialize(&mut json).map_err(|wrong| {
        let path = wrong.path().to_string();
        format!("{path}: {}", wrong.into_inner())
    })?;
    json.end().map_err(|wrong| wrong.to_string())?;
    let mut start = Start::default();
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
        let added = start.users.push(User {
            account_id: user.account_id.into(),
            username: user.username.into(),
            key: user.key.into(),
            email: user.email.into(),
            display_name: display_name.into(),
            account_type: match user.account_type {
                AccountType::Atlassian => "atlassian",
                AccountType::App => "app",
            },
            email_hidden: user.email_hidden,
            inactive: user.status != Status::Active,
            tenth: false,
        });
        if !added {
            return Err(taken);
        }
    }
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

    #[test]
    fn generated_account_ids_do_not_depend_on_how_many_there_are() {
        let few = generate(&Options {
            users: 5,
            ..Options::default()
        })
        .unwrap();
        let many = generate(&Options {
            users: 50,
            ..Options::default()
        })
        .unwrap();
        let ids = |start: &Start| {
            start
                .users
                .iter()
                .take(5)
                .map(|user| user.account_id.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&few), ids(&many));
        assert!(many.users.iter().any(|user| user.account_id.starts_with("712020:")));
        assert!(many.users.iter().any(|user| user.account_id.len() == 24));
    }

    #[test]
    fn a_group_larger_than_everybody_is_refused() {
        let options = Options {
            users: 5,
            group: vec!["big=6".parse().unwrap()],
            ..Options::default()
        };
        assert!(generate(&options).is_err());
        let options = Options {
            group: vec!["Site-Admins=1".parse().unwrap()],
            ..Options::default()
        };
        assert!(generate(&options).is_err());
    }
}
