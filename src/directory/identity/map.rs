//! The identity map as an index: immutable once built, so that readers never wait for anything.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{AccountId, NameKey};
use crate::settings::NameKind;

/// One line of the map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The username on Data Center.
    pub username: Option<Arc<str>>,
    /// The user key on Data Center.
    pub key: Option<Arc<str>>,
    /// The e-mail address.
    pub email: Option<Arc<str>>,
    /// The account in Cloud; without it the row's names lead nowhere yet.
    pub account: Option<AccountId>,
    /// The full name.
    pub full_name: Option<Arc<str>>,
    /// When the user was created, in epoch milliseconds.
    pub created: Option<i64>,
    /// When the user was last changed, in epoch milliseconds.
    pub updated: Option<i64>,
}

/// An account with all that the map says of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The account.
    pub account: AccountId,
    /// Its usernames in the order of the file; the first is the primary one.
    pub usernames: Vec<Arc<str>>,
    /// The first row's user key.
    pub key: Option<Arc<str>>,
    /// The first e-mail address given.
    pub email: Option<Arc<str>>,
    /// The first full name given.
    pub full_name: Option<Arc<str>>,
    /// The first creation date given.
    pub created: Option<i64>,
    /// The first date of change given.
    pub updated: Option<i64>,
}

/// What a name means by the map alone.
#[derive(Clone, Copy, Debug)]
pub enum Meaning<'a> {
    /// This account and no other.
    One(&'a Entry),
    /// Several accounts.
    Ambiguous,
    /// The map knows the name, but not its account.
    NoAccount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Entry(u32),
    Ambiguous,
    NoAccount,
}

/// Names to accounts, and accounts to names.
#[derive(Debug, Default)]
pub struct Map {
    entries: Vec<Entry>,
    names: HashMap<NameKey, Slot>,
    ids: HashMap<AccountId, u32>,
}

impl Map {
    /// Builds the index. Rows of one account are joined; a name that rows of several accounts claim, in whichever
    /// column, is ambiguous.
    #[must_use]
    pub fn new(rows: Vec<Row>) -> Self {
        let mut map = Self::default();
        map.names.reserve(rows.len() * 3);
        for row in rows {
            let names = [&row.username, &row.key, &row.email];
            let keys: Vec<NameKey> = names.into_iter().flatten().map(|name| NameKey::of(name)).collect();
            let slot = match &row.account {
                Some(account) => Slot::Entry(map.entry_of(account.clone(), row)),
                None => Slot::NoAccount,
            };
            for key in keys {
                map.names
                    .entry(key)
                    .and_modify(|before| {
                        *before = match (*before, slot) {
                            (same, other) if same == other => same,
                            (Slot::NoAccount, other) | (other, Slot::NoAccount) => other,
                            _ => Slot::Ambiguous,
                        }
                    })
                    .or_insert(slot);
            }
        }
        map
    }

    fn entry_of(&mut self, account: AccountId, row: Row) -> u32 {
        if let Some(index) = self.ids.get(&account).copied() {
            if let Some(entry) = self.entries.get_mut(index as usize) {
                entry.join(row);
            }
            return index;
        }
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.ids.insert(account.clone(), index);
        self.entries.push(Entry {
            account,
            usernames: row.username.into_iter().collect(),
            key: row.key,
            email: row.email,
            full_name: row.full_name,
            created: row.created,
            updated: row.updated,
        });
        index
    }

    /// How many accounts the map holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the map holds no account.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many names stand for several accounts.
    #[must_use]
    pub fn ambiguous(&self) -> usize {
        self.names.values().filter(|slot| **slot == Slot::Ambiguous).count()
    }

    /// What a username, user key or e-mail address means.
    #[must_use]
    pub fn by_name(&self, key: &NameKey) -> Option<Meaning<'_>> {
        Some(match *self.names.get(key)? {
            Slot::Entry(index) => Meaning::One(self.entries.get(index as usize)?),
            Slot::Ambiguous => Meaning::Ambiguous,
            Slot::NoAccount => Meaning::NoAccount,
        })
    }

    /// What the map says of an account.
    #[must_use]
    pub fn by_account(&self, account: &AccountId) -> Option<&Entry> {
        self.entries.get(*self.ids.get(account)? as usize)
    }

    /// The name an account is shown under: the first kind in `order` whose name leads back to this account.
    #[must_use]
    pub fn shown_name(&self, account: &AccountId, order: &[NameKind], with_email: bool) -> Arc<str> {
        let entry = self.by_account(account);
        let leads_back = |name: &&Arc<str>| matches!(self.by_name(&NameKey::of(name)), Some(Meaning::One(found)) if found.account == *account);
        order
            .iter()
            .find_map(|kind| match kind {
                NameKind::Username => entry?.usernames.iter().find(leads_back).cloned(),
                NameKind::Email => entry?.email.as_ref().filter(|_| with_email).filter(leads_back).cloned(),
                NameKind::AccountId => Some(Arc::from(account.as_str())),
            })
            .unwrap_or_else(|| Arc::from(account.as_str()))
    }
}

impl Entry {
    /// Whether several people's usernames lead to this account.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.usernames.len() > 1
    }

    fn join(&mut self, row: Row) {
        if let Some(username) = row.username
            && !self
                .usernames
                .iter()
                .any(|known| NameKey::of(known) == NameKey::of(&username))
        {
            self.usernames.push(username);
        }
        self.key = self.key.take().or(row.key);
        self.email = self.email.take().or(row.email);
        self.full_name = self.full_name.take().or(row.full_name);
        self.created = self.created.or(row.created);
        self.updated = self.updated.or(row.updated);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(username: &str, key: &str, email: &str, account: &str) -> Row {
        let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        Row {
            username: text(username),
            key: text(key),
            email: text(email),
            account: (!account.is_empty()).then(|| AccountId::new(account)),
            ..Row::default()
        }
    }

    fn meaning(map: &Map, name: &str) -> String {
        match map.by_name(&NameKey::of(name)) {
            None => "unknown".to_owned(),
            Some(Meaning::One(entry)) => entry.account.to_string(),
            Some(Meaning::Ambiguous) => "ambiguous".to_owned(),
            Some(Meaning::NoAccount) => "no account".to_owned(),
        }
    }

    #[test]
    fn a_name_that_two_accounts_claim_in_any_column_is_ambiguous() {
        let map = Map::new(vec![
            row("jdoe", "k1", "j@example.com", "a1"),
            row("j@example.com", "k2", "x@example.com", "a2"),
            row("lost", "", "", ""),
            row("LOST", "", "", "a3"),
            row("nowhere", "", "", ""),
        ]);
        for (name, expected) in [
            ("JDoe", "a1"),
            ("K1", "a1"),
            ("j@EXAMPLE.com", "ambiguous"),
            ("x@example.com", "a2"),
            ("lost", "a3"),
            ("nowhere", "no account"),
            ("nobody", "unknown"),
        ] {
            assert_eq!(meaning(&map, name), expected, "{name}");
        }
    }

    #[test]
    fn the_shown_name_always_leads_back() {
        let map = Map::new(vec![
            row("shared", "", "one@example.com", "a1"),
            row("shared", "", "two@example.com", "a2"),
            row("primary", "", "", "a3"),
            row("alias", "", "", "a3"),
        ]);
        let order = [NameKind::Username, NameKind::Email, NameKind::AccountId];
        let shown =
            |account: &str, with_email| map.shown_name(&AccountId::new(account), &order, with_email).to_string();
        assert_eq!(shown("a1", true), "one@example.com");
        assert_eq!(shown("a1", false), "a1");
        assert_eq!(shown("a3", true), "primary");
        assert_eq!(shown("elsewhere", true), "elsewhere");
        assert!(map.by_account(&AccountId::new("a3")).unwrap().is_merged());
    }
}
