//! The users: who they are, and how they are found by account id, by address and by what an identity provider calls them.
//!
//! 100,000 of them must stay small: what is said of a generated user besides names and ids is drawn from the seed whenever it
//! is asked for, and the indexes hold numbers, not texts.
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::OnceLock;

use serde::Deserialize;

use super::faults::{Faults, Suspended};
use super::profile::{Profile, Provisioning, Told, drawn};

/// What the organisation says of an account.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    #[default]
    Active,
    Suspended,
    /// The account itself is deactivated; `deactivated` is the Admin API's word for it, `inactive` everybody else's.
    #[serde(alias = "deactivated")]
    Inactive,
    Closed,
}

/// What kind of account it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum AccountType {
    #[default]
    Atlassian,
    App,
    Customer,
}

impl AccountType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Atlassian => "atlassian",
            Self::App => "app",
            Self::Customer => "customer",
        }
    }
}

/// A user of this Cloud. None is ever made or removed; a test may change some of it.
#[derive(Debug)]
pub(super) struct User {
    pub(super) account_id: Box<str>,
    pub(super) username: Box<str>,
    pub(super) key: Box<str>,
    pub(super) email: Box<str>,
    pub(super) display_name: Box<str>,
    pub(super) account_type: AccountType,
    pub(super) email_hidden: bool,
    pub(super) status: Status,
    /// Suspended while the fault `suspended` is on.
    pub(super) tenth: bool,
    /// What a data file says besides; none of a generated user.
    pub(super) told: Option<Box<Told>>,
}

/// A user as an identity provider made it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Provisioned<'a> {
    pub(super) user_name: &'a str,
    pub(super) external_id: Option<&'a str>,
    pub(super) active: bool,
}

impl User {
    /// The status under the faults, or without them.
    pub(super) fn status(&self, faults: &Faults) -> Status {
        if self.status == Status::Active && self.tenth && faults.suspended != Suspended::Nobody {
            Status::Suspended
        } else {
            self.status
        }
    }

    /// The profile keeps the address to itself: whoever is not the organisation's administrator does not see it.
    pub(super) fn hides_email(&self, faults: &Faults) -> bool {
        self.email_hidden || faults.hidden_emails
    }

    /// What the identity provider calls the user; none if it is not the provider's, as apps never are.
    pub(super) fn provisioned(&self) -> Option<Provisioned<'_>> {
        if self.account_type != AccountType::Atlassian {
            return None;
        }
        let usual = Provisioned {
            user_name: &self.username,
            external_id: Some(self.key.as_ref()).filter(|key| !key.is_empty()),
            active: self.status == Status::Active,
        };
        let found = match self.told.as_ref().map(|told| &told.scim) {
            None | Some(Provisioning::Usual) => usual,
            Some(Provisioning::Not) => return None,
            Some(Provisioning::Under {
                user_name,
                external_id,
                active,
            }) => Provisioned {
                user_name: user_name.as_deref().unwrap_or(usual.user_name),
                external_id: external_id.as_deref().or(usual.external_id),
                active: active.unwrap_or(usual.active),
            },
        };
        Some(found).filter(|found| !found.user_name.is_empty())
    }
}

/// Finds numbers by the hash of a text. What it finds may be others' too and is to be compared.
#[derive(Debug, Default)]
struct Index(Vec<(u64, u32)>);

pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Index {
    fn find(&self, text: &str) -> impl Iterator<Item = u32> {
        let wanted = hash(text);
        let from = self.0.partition_point(|(known, _)| *known < wanted);
        let rest = self.0.get(from..).unwrap_or_default();
        rest.iter()
            .take_while(move |(known, _)| *known == wanted)
            .map(|(_, number)| *number)
    }

    fn insert(&mut self, text: &str, number: u32) {
        let entry = (hash(text), number);
        if let Err(place) = self.0.binary_search(&entry) {
            self.0.insert(place, entry);
        }
    }

    fn remove(&mut self, text: &str, number: u32) {
        if let Ok(place) = self.0.binary_search(&(hash(text), number)) {
            self.0.remove(place);
        }
    }
}

/// Everybody by the beginnings of the address and of the words of the name, in lower case.
type Beginnings = Vec<(Box<str>, u32)>;

/// The users, found by number (their place) or by account id.
#[derive(Debug, Default)]
pub(super) struct Users {
    seed: u64,
    list: Vec<User>,
    by_account: HashMap<Box<str>, u32>,
    by_email: Index,
    by_user_name: Index,
    by_external_id: Index,
    /// Made when it is first asked for: only Jira's search needs it.
    beginnings: OnceLock<Beginnings>,
    /// Some user is inactive whatever the faults say.
    pub(super) some_inactive: bool,
    /// Some user is suspended once the fault says so.
    pub(super) some_tenth: bool,
}

/// What may be changed of a user while the simulator runs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct UserChange {
    pub(super) account_id: String,
    email: Option<String>,
    email_hidden: Option<bool>,
    status: Option<Status>,
    display_name: Option<String>,
}

impl Users {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Adds a user; false if the account id is taken. Found by account id at once, by all else once it is `settled`.
    pub(super) fn push(&mut self, user: User) -> bool {
        let number = self.list.len() as u32;
        if self.by_account.contains_key(&user.account_id) {
            return false;
        }
        self.by_account.insert(user.account_id.clone(), number);
        self.by_email.0.push((hash(&user.email.to_lowercase()), number));
        if let Some(provisioned) = user.provisioned() {
            let user_name = provisioned.user_name.to_lowercase();
            self.by_user_name.0.push((hash(&user_name), number));
            if let Some(id) = provisioned.external_id {
                self.by_external_id.0.push((hash(id), number));
            }
        }
        self.some_inactive |= user.status != Status::Active;
        self.some_tenth |= user.tenth;
        self.list.push(user);
        true
    }

    /// Everybody was pushed: the indexes can be sorted.
    pub(super) fn settle(&mut self) {
        for index in [&mut self.by_email, &mut self.by_user_name, &mut self.by_external_id] {
            index.0.sort_unstable();
            index.0.shrink_to_fit();
        }
    }

    /// Changes a user; false if nobody has the account id.
    pub(super) fn change(&mut self, change: UserChange) -> bool {
        let Some((number, user)) = self
            .by_account
            .get(change.account_id.as_str())
            .and_then(|number| Some((*number, self.list.get_mut(*number as usize)?)))
        else {
            return false;
        };
        if let Some(email) = change.email {
            self.by_email.remove(&user.email.to_lowercase(), number);
            self.by_email.insert(&email.to_lowercase(), number);
            user.email = email.into();
        }
        user.email_hidden = change.email_hidden.unwrap_or(user.email_hidden);
        user.status = change.status.unwrap_or(user.status);
        if let Some(name) = change.display_name {
            user.display_name = name.into();
        }
        self.some_inactive |= user.status != Status::Active;
        self.beginnings = OnceLock::new();
        true
    }

    pub(super) fn get(&self, number: u32) -> Option<&User> {
        self.list.get(number as usize)
    }

    pub(super) fn number(&self, account_id: &str) -> Option<u32> {
        self.by_account.get(account_id).copied()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &User> {
        self.list.iter()
    }

    /// Everybody's number.
    pub(super) fn numbers(&self) -> impl ExactSizeIterator<Item = u32> + use<> {
        0..self.list.len() as u32
    }

    /// Everybody who has this address, ignoring case.
    pub(super) fn with_email(&self, email: &str) -> Vec<u32> {
        let wanted = email.to_lowercase();
        let same = |user: &User| !wanted.is_empty() && user.email.to_lowercase() == wanted;
        self.confirmed(self.by_email.find(&wanted), same)
    }

    /// Everybody whom the identity provider calls so, ignoring case.
    pub(super) fn with_user_name(&self, name: &str) -> Vec<u32> {
        let wanted = name.to_lowercase();
        let same = |user: &User| {
            user.provisioned()
                .is_some_and(|found| found.user_name.to_lowercase() == wanted)
        };
        self.confirmed(self.by_user_name.find(&wanted), same)
    }

    /// Everybody whom the identity provider knows under this id, exactly as it is written.
    pub(super) fn with_external_id(&self, id: &str) -> Vec<u32> {
        let same = |user: &User| user.provisioned().is_some_and(|found| found.external_id == Some(id));
        self.confirmed(self.by_external_id.find(id), same)
    }

    fn confirmed(&self, found: impl Iterator<Item = u32>, same: impl Fn(&User) -> bool) -> Vec<u32> {
        found.filter(|number| self.get(*number).is_some_and(&same)).collect()
    }

    /// Everybody whose address, or whose name from one of its words on, begins like this, ignoring case; in order.
    pub(super) fn beginning_like(&self, text: &str) -> Vec<u32> {
        let wanted = text.to_lowercase();
        let beginnings = self.beginnings.get_or_init(|| self.all_beginnings());
        let from = beginnings.partition_point(|(known, _)| known.as_ref() < wanted.as_str());
        let rest = beginnings.get(from..).unwrap_or_default();
        let mut found: Vec<u32> = rest
            .iter()
            .take_while(|(known, _)| known.starts_with(&wanted))
            .map(|(_, number)| *number)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn all_beginnings(&self) -> Beginnings {
        let mut all = Beginnings::new();
        for (number, user) in (0..).zip(&self.list) {
            if !user.email.is_empty() {
                all.push((user.email.to_lowercase().into(), number));
            }
            let name = user.display_name.to_lowercase();
            let mut fresh = true;
            for (place, letter) in name.char_indices() {
                if fresh && !letter.is_whitespace() {
                    all.extend(name.get(place..).map(|rest| (Box::from(rest), number)));
                }
                fresh = letter.is_whitespace();
            }
        }
        all.sort_unstable();
        all
    }

    /// What the organisation knows of a user.
    pub(super) fn profile(&self, number: u32) -> Profile<'_> {
        let Some(user) = self.get(number) else {
            return Profile::default();
        };
        match &user.told {
            Some(told) => told.profile(),
            None => drawn(self.seed, number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u32, email: &str, name: &str) -> User {
        User {
            account_id: format!("account-{number}").into(),
            username: format!("User{number}").into(),
            key: format!("Key{number}").into(),
            email: email.into(),
            display_name: name.into(),
            account_type: AccountType::Atlassian,
            email_hidden: false,
            status: Status::Active,
            tenth: false,
            told: None,
        }
    }

    fn three() -> Users {
        let mut users = Users::new(1);
        assert!(users.push(user(0, "Ann@example.com", "Ann Önder")));
        assert!(users.push(user(1, "ann@EXAMPLE.com", "Bo  von Ann")));
        assert!(users.push(user(2, "cy@example.com", "Cy")));
        users.settle();
        users
    }

    #[test]
    fn an_address_finds_everybody_who_has_it_whatever_its_case() {
        let users = three();
        assert_eq!(users.with_email("ANN@example.com"), [0, 1]);
        assert_eq!(users.with_email("ann@example.co"), [0; 0]);
        assert_eq!(users.with_user_name("USER2"), [2]);
        assert_eq!(users.with_external_id("Key2"), [2]);
        assert_eq!(users.with_external_id("key2"), [0; 0]);
    }

    #[test]
    fn a_beginning_is_one_of_the_address_or_of_a_word_of_the_name() {
        let users = three();
        assert_eq!(users.beginning_like("ann"), [0, 1]);
        assert_eq!(users.beginning_like("ÖN"), [0]);
        assert_eq!(users.beginning_like("von a"), [1]);
        assert_eq!(users.beginning_like("nn"), [0; 0]);
        assert_eq!(users.beginning_like(""), [0, 1, 2]);
    }

    #[test]
    fn what_is_changed_is_found_by_what_it_is_now() {
        let mut users = three();
        let change = |json: &str| serde_json::from_str::<UserChange>(json).unwrap();
        assert_eq!(users.beginning_like("cy"), [2]);
        assert!(users.change(change(
            r#"{"accountId":"account-2","email":"ann@example.com","displayName":"Dee","status":"deactivated"}"#
        )));
        assert_eq!(users.with_email("ann@example.com"), [0, 1, 2]);
        assert_eq!(users.with_email("cy@example.com"), [0; 0]);
        assert_eq!(users.beginning_like("cy"), [0; 0]);
        assert_eq!(users.beginning_like("dee"), [2]);
        assert_eq!(users.get(2).unwrap().status, Status::Inactive);
        assert!(users.some_inactive);
        assert!(!users.change(change(r#"{"accountId":"nobody"}"#)));
    }
}
