//! What of the API an entry of the accounts' file is for: which of the six calls, and which groups. An entry that says
//! nothing is for all of it.

use std::collections::BTreeSet;

use super::Role;
use crate::extender::{Call, ROUTES};
use crate::model::{NameKey, OperationKind, Report};

/// What an account or token is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// None: all.
    groups: Option<Vec<Pattern>>,
    /// None: all. By their names in the path.
    operations: Option<BTreeSet<&'static str>>,
}

impl Scope {
    /// A scope of these; `None` each: all.
    pub(super) fn new(groups: Option<Vec<Pattern>>, operations: Option<BTreeSet<&'static str>>) -> Self {
        Self { groups, operations }
    }

    /// The call of this name, as the path and the file have it, if it is one.
    pub(super) fn operation(name: &str) -> Option<&'static str> {
        operations().find(|known| *known == name)
    }

    /// Whether the call of this name changes nothing.
    pub(super) fn is_reading(name: &str) -> bool {
        let mut routes = ROUTES.iter();
        routes.any(|(known, .., role)| *known == name && *role == Role::Reader)
    }

    /// Whether it is for this call.
    pub(in crate::extender) fn holds_call(&self, call: Call) -> bool {
        let Some(operations) = &self.operations else {
            return true;
        };
        let mut routes = ROUTES.iter().filter(|(_, other, ..)| *other == call);
        routes.any(|(name, ..)| operations.contains(name))
    }

    /// Whether it is for the group of this name, ignoring case.
    #[must_use]
    pub fn holds_group(&self, name: &str) -> bool {
        let Some(groups) = &self.groups else { return true };
        let key = NameKey::of(name);
        groups.iter().any(|pattern| pattern.matches(key.as_str()))
    }

    /// Whether it is for all groups.
    #[must_use]
    pub fn holds_all_groups(&self) -> bool {
        self.groups.is_none()
    }

    /// Whether it is for every group that an operation on record is about.
    #[must_use]
    pub fn holds_groups_of(&self, report: &Report) -> bool {
        match &report.group {
            Some((_, group)) => self.holds_group(group.as_str()),
            // A blank name is no group's: it was skipped.
            None => {
                let mut names = report.names.iter().filter(|name| !name.name.trim().is_empty());
                names.all(|name| self.holds_group(&name.name))
            }
        }
    }

    /// Whether such an operation could be asked for.
    #[must_use]
    pub fn holds(&self, report: &Report) -> bool {
        let call = match report.kind {
            OperationKind::AddMembers => Call::AddUsers,
            OperationKind::RemoveMembers => Call::RemoveUsers,
            OperationKind::CreateGroups => Call::AddGroups,
            OperationKind::DeleteGroups => Call::RemoveGroups,
        };
        self.holds_call(call) && self.holds_groups_of(report)
    }
}

/// The names of the six calls.
pub fn operations() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|(name, ..)| *name)
}

/// Names of groups: letters, and `*` for any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What stands between the stars, as names are compared.
    parts: Vec<String>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.trim().is_empty() || text.contains(char::is_control) {
            return Err("names no group");
        }
        if text.starts_with("id:") {
            return Err("is an id: groups are meant by their names here");
        }
        let key = NameKey::of(text);
        Ok(Self {
            parts: key.as_str().split('*').map(str::to_owned).collect(),
        })
    }

    /// Whether the name of this key is one of them.
    fn matches(&self, key: &str) -> bool {
        let Some((first, rest)) = self.parts.split_first() else {
            return false;
        };
        let Some((last, between)) = rest.split_last() else {
            return key == first;
        };
        let Some(mut left) = key
            .strip_prefix(first.as_str())
            .and_then(|key| key.strip_suffix(last.as_str()))
        else {
            return false;
        };
        // What comes first is found first: if any way fits, so does this one.
        for part in between {
            let Some((_, after)) = left.split_once(part.as_str()) else {
                return false;
            };
            left = after;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scope(patterns: &[&str]) -> Scope {
        let patterns = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        Scope::new(Some(patterns), None)
    }

    #[test]
    fn a_star_is_any_letters_and_case_does_not_matter() {
        for (pattern, name, expected) in [
            ("team-*", "team-red", true),
            ("team-*", "TEAM-", true),
            ("Team-*", "tEAM-Blau", true),
            ("team-*", "a team-red", false),
            ("team", "team-red", false),
            ("*-admins", "site-admins", true),
            ("*-admins", "site-admins2", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*bb*b", "abbb", true),
            ("aba*aba", "aba", false),
            ("aba*aba", "ababa", false),
            ("*", "", true),
            ("**", "x", true),
            ("É*", "e\u{301}lan", true),
            ("e*", "\u{e9}lan", false),
            ("straße", "STRASSE", false),
            ("team-*", "team\u{2010}red", false),
            ("[a-z]*", "b", false),
            (".*", "x", false),
        ] {
            assert_eq!(scope(&[pattern]).holds_group(name), expected, "{pattern} {name}");
        }
        assert!(scope(&["a", "b*"]).holds_group("Bee") && !scope(&["a", "b*"]).holds_group("cee"));
        assert!(Scope::default().holds_group("anything"));
        for text in ["", " ", "a\tb", "id:4"] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_entry_is_for_the_calls_it_names() {
        let scope = Scope::new(None, Some(["getUsers", "addUsers"].into()));
        let held: Vec<_> = ROUTES.iter().filter(|(_, call, ..)| scope.holds_call(*call)).collect();
        assert_eq!(
            held.iter().map(|(name, ..)| *name).collect::<Vec<_>>(),
            ["getUsers", "addUsers"]
        );
        assert!(ROUTES.iter().all(|(_, call, ..)| Scope::default().holds_call(*call)));
        assert_eq!(Scope::operation("getusers"), None);
    }

    proptest! {
        #[test]
        fn a_pattern_fits_as_the_same_regular_one(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
            // By dynamic programming over both texts.
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            let mut fits = vec![vec![false; n.len() + 1]; p.len() + 1];
            fits[0][0] = true;
            for i in 1..=p.len() {
                for j in 0..=n.len() {
                    fits[i][j] = if p[i - 1] == '*' {
                        fits[i - 1][j] || (j > 0 && fits[i][j - 1])
                    } else {
                        j > 0 && p[i - 1] == n[j - 1] && fits[i - 1][j - 1]
                    };
                }
            }
            prop_assert_eq!(scope(&[&pattern]).holds_group(&name), fits[p.len()][n.len()]);
        }
    }
}
