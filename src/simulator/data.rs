//! Who and what there is at the start: generated, or read from a file.
use std::collections::HashSet;
use std::sync::Arc;

use super::chance::{Kind, Sequence};
use super::data_file;
use super::options::{Error, Options};
use super::users::{AccountType, Status, User, Users};

/// Every generated group of `--groups` has this many members.
const GENERATED_SIZE: u32 = 20;

/// What a group is, without its members. Never changed: Cloud could rename a group, the simulator does not.
#[derive(Debug)]
pub(super) struct GroupInfo {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    /// The name as it is sorted and searched.
    pub(super) lower: Box<str>,
    pub(super) managed_by: &'static str,
    pub(super) usage_type: &'static str,
    /// Only the Admin API has one.
    pub(super) description: Option<Box<str>>,
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
            description: None,
            tenth: false,
        }
    }

    /// A group that cannot be deleted.
    pub(super) fn is_default(&self) -> bool {
        ["confluence-users", "site-admins"].contains(&self.name.as_ref())
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

/// The start of everything: users, and groups with the numbers of their members in order.
#[derive(Debug)]
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
            data_file::parse(&text, options.seed).map_err(|message| Error::Data {
                path: path.clone(),
                message,
            })
        }
    }
}

fn generate(options: &Options) -> Result<Start, Error> {
    let mut start = Start {
        users: Users::new(options.seed),
        groups: Vec::new(),
    };
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
                account_type: AccountType::Atlassian,
                email_hidden: false,
                status: Status::Active,
                tenth: number.is_multiple_of(10),
                told: None,
            };
            if start.users.push(user) {
                break;
            }
        }
    }
    start.users.settle();
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

#[cfg(test)]
mod tests {
    use super::*;

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
