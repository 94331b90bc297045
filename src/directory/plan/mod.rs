//! What a bulk call is going to do, decided before anything is changed. Pure: no clock, no network.
//!
//! Here: names to items. `reads` chooses what is read to tell done from skipped; `forecast` is the plan as a value.

pub mod forecast;
pub mod reads;

use std::collections::HashSet;

pub use forecast::Forecast;

use super::groups::Found;
use crate::cloud::Group;
use crate::model::{AccountId, GroupName, NameKey, OperationKind, Skip};

/// Which way memberships are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Put into the group.
    Add,
    /// Take out of it.
    Remove,
}

/// One name of the call and what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<T> {
    /// As the caller spelt it.
    pub name: String,
    /// What it means, or why nothing will be done.
    pub step: Result<T, Skip>,
}

impl Change {
    /// Why nothing is to be done about an account that is, or is not, in the group.
    pub fn needless(self, present: bool) -> Option<Skip> {
        match (self, present) {
            (Self::Add, true) => Some(Skip::AlreadyMember),
            (Self::Remove, false) => Some(Skip::NotMember),
            _ => None,
        }
    }

    /// Whether the account is in the group once the change is made.
    pub fn leaves_present(self) -> bool {
        self == Self::Add
    }

    /// The operation that does it to the members of a group.
    pub fn kind(self) -> OperationKind {
        match self {
            Self::Add => OperationKind::AddMembers,
            Self::Remove => OperationKind::RemoveMembers,
        }
    }
}

/// Every name, blank ones and repetitions set apart; the first of the same name or the same account stands for all.
pub fn members(
    names: Vec<String>,
    meanings: Vec<Result<AccountId, Skip>>,
    is_protected_merge: impl Fn(&AccountId) -> bool,
) -> Vec<Item<AccountId>> {
    let (mut keys, mut accounts) = (HashSet::new(), HashSet::new());
    names
        .into_iter()
        .zip(meanings)
        .map(|(name, meaning)| {
            let repeated = !keys.insert(NameKey::of(&name));
            let step = match meaning {
                Err(Skip::Blank) => Err(Skip::Blank),
                _ if repeated => Err(Skip::Duplicate),
                Ok(account) if !accounts.insert(account.clone()) => Err(Skip::Duplicate),
                Ok(account) if is_protected_merge(&account) => Err(Skip::MergedAccount),
                meaning => meaning,
            };
            Item { name, step }
        })
        .collect()
}

/// Every name of groups to make. The step holds the name as a group's name.
pub fn new_groups(names: Vec<String>, found: Vec<Found>) -> Vec<Item<GroupName>> {
    let mut keys = HashSet::new();
    let steps = names.into_iter().zip(found).map(|(name, found)| {
        let step = if name.trim().is_empty() {
            Err(Skip::Blank)
        } else if !keys.insert(NameKey::of(&name)) {
            Err(Skip::Duplicate)
        } else if !GroupName::new(&name).is_possible() {
            // Nobody could reach the group afterwards.
            Err(Skip::Refused)
        } else if found == Found::Nothing {
            Ok(GroupName::new(&name))
        } else {
            Err(Skip::AlreadyExists)
        };
        Item { name, step }
    });
    steps.collect()
}

/// Every name of groups to delete. Two spellings may be two groups, so it is the group that counts as a repetition.
pub fn old_groups(names: Vec<String>, found: Vec<Found>) -> Vec<Item<Group>> {
    let (mut ids, mut nothing) = (HashSet::new(), HashSet::new());
    let steps = names.into_iter().zip(found).map(|(name, found)| {
        let step = match found {
            _ if name.trim().is_empty() => Err(Skip::Blank),
            Found::One(group) if !ids.insert(group.id.clone()) => Err(Skip::Duplicate),
            Found::One(group) if group.externally_managed => Err(Skip::ExternallyManaged),
            Found::One(group) => Ok(group),
            _ if !nothing.insert(NameKey::of(&name)) => Err(Skip::Duplicate),
            Found::Ambiguous(_) => Err(Skip::Ambiguous),
            Found::Nothing => Err(Skip::NoSuchGroup),
        };
        Item { name, step }
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupId;

    fn account(text: &str) -> Result<AccountId, Skip> {
        Ok(AccountId::new(text))
    }

    fn reasons<T>(items: &[Item<T>]) -> Vec<Option<Skip>> {
        items.iter().map(|item| item.step.as_ref().err().copied()).collect()
    }

    #[test]
    fn the_first_of_one_name_or_one_account_stands_for_all() {
        let names = ["jdoe", "JDOE", "alias", " ", "ghost", "Ghost", "", "merged"];
        let meanings = vec![
            account("a"),
            account("a"),
            account("a"),
            Err(Skip::Blank),
            Err(Skip::Unknown),
            Err(Skip::Unknown),
            Err(Skip::Blank),
            account("m"),
        ];
        let items = members(names.map(str::to_owned).to_vec(), meanings, |id| id.as_str() == "m");
        assert_eq!(
            reasons(&items),
            [
                None,
                Some(Skip::Duplicate),
                Some(Skip::Duplicate),
                Some(Skip::Blank),
                Some(Skip::Unknown),
                Some(Skip::Duplicate),
                Some(Skip::Blank),
                Some(Skip::MergedAccount),
            ]
        );
    }

    #[test]
    fn two_groups_that_differ_in_case_are_two_groups_to_delete_and_one_name_to_make() {
        let group = |name: &str| Group {
            id: GroupId::new(name),
            name: GroupName::new(name),
            externally_managed: name == "ext",
            team: false,
        };
        let names = || ["A", "a", "A", "ext", "no", "NO"].map(str::to_owned).to_vec();
        let found = vec![
            Found::One(group("A")),
            Found::One(group("a")),
            Found::One(group("A")),
            Found::One(group("ext")),
            Found::Nothing,
            Found::Nothing,
        ];
        let expected = [
            None,
            None,
            Some(Skip::Duplicate),
            Some(Skip::ExternallyManaged),
            Some(Skip::NoSuchGroup),
            Some(Skip::Duplicate),
        ];
        assert_eq!(reasons(&old_groups(names(), found)), expected);
        let made = new_groups(names(), vec![Found::Nothing; 6]);
        let duplicate = Some(Skip::Duplicate);
        assert_eq!(reasons(&made), [None, duplicate, duplicate, None, None, duplicate]);
    }
}
