//! One account of the map.

use std::fmt;

use super::rows::{Bits, Field, Row};
use super::{Account, Map};
use crate::model::{AccountId, Standing};

/// An account with all that the map says of it.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub(super) map: &'a Map,
    pub(super) account: &'a Account,
    /// The standing of the name by which it was found.
    pub(super) standing: Option<Standing>,
}

impl<'a> Entry<'a> {
    fn text(self, row: u32, field: Field) -> Option<&'a str> {
        let rows = &self.map.rows;
        rows.text(rows.get(row)?, field)
    }

    fn chain(self) -> impl Iterator<Item = (u32, &'a Row)> {
        self.map.rows.chain(self.account.first)
    }

    /// The account's id.
    #[must_use]
    pub fn account(self) -> &'a str {
        self.text(self.account.own, Field::Account).unwrap_or_default()
    }

    /// The account's id.
    #[must_use]
    pub fn account_id(self) -> AccountId {
        AccountId::new(self.account())
    }

    fn username_rows(self) -> impl Iterator<Item = (&'a Row, &'a str)> {
        let rows = &self.map.rows;
        let primary = self.account.primary;
        let others = self
            .chain()
            .filter(move |(number, row)| *number != primary && !row.bits.has(Bits::REPEATS))
            .map(|(_, row)| row);
        rows.get(primary)
            .into_iter()
            .chain(others)
            .filter_map(|row| Some((row, rows.text(row, Field::Username)?)))
    }

    /// Its usernames: the primary one, then the others in the order of the file.
    pub fn usernames(self) -> impl Iterator<Item = &'a str> {
        self.username_rows().map(|(_, username)| username)
    }

    pub(super) fn shown_username(self) -> Option<&'a str> {
        self.username_rows()
            .find(|(row, _)| !row.bits.has(Bits::ambiguous(Field::Username)))
            .map(|(_, username)| username)
    }

    pub(super) fn shown_email(self) -> Option<&'a str> {
        let row = self.map.rows.get(self.account.email)?;
        (!row.bits.has(Bits::ambiguous(Field::Email))).then(|| self.map.rows.text(row, Field::Email))?
    }

    fn first<T>(self, of: impl Fn(u32, &'a Row) -> Option<T>) -> Option<T> {
        self.chain().find_map(|(number, row)| of(number, row))
    }

    /// The first user key given.
    #[must_use]
    pub fn key(self) -> Option<&'a str> {
        self.first(|_, row| self.map.rows.text(row, Field::Key))
    }

    /// The first e-mail address given that is not an old one.
    #[must_use]
    pub fn email(self) -> Option<&'a str> {
        self.text(self.account.email, Field::Email)
    }

    /// Its addresses before a change of domain, as often as they are given.
    pub fn old_emails(self) -> impl Iterator<Item = &'a str> {
        self.chain()
            .filter_map(move |(_, row)| self.map.rows.text(row, Field::OldEmail))
    }

    /// The first full name given.
    #[must_use]
    pub fn full_name(self) -> Option<&'a str> {
        self.first(|_, row| self.map.rows.text(row, Field::FullName))
    }

    /// The first creation date given, in epoch milliseconds.
    #[must_use]
    pub fn created(self) -> Option<i64> {
        self.first(|number, _| self.map.rows.date(number, 0))
    }

    /// The first date of change given, in epoch milliseconds.
    #[must_use]
    pub fn updated(self) -> Option<i64> {
        self.first(|number, _| self.map.rows.date(number, 1))
    }

    /// The standing of the name by which the account was found; of the account itself if it was found by its id.
    #[must_use]
    pub fn standing(self) -> Standing {
        self.standing.unwrap_or(self.account.standing)
    }

    /// Whether several people's usernames lead to this account.
    #[must_use]
    pub fn is_merged(self) -> bool {
        self.account.merged
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.account()).finish()
    }
}
