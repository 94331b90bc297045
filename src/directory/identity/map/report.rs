//! What reports ask of the map: who claims a name, which names there are, which rows lead nowhere.

use super::index::Kind;
use super::rows::{Bits, Field, NONE, Row};
use super::{Entry, Map};
use crate::model::{NameKey, Standing};

/// The columns in which an account can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    /// The username on Data Center.
    Username,
    /// The user key on Data Center.
    Key,
    /// The e-mail address.
    Email,
    /// The e-mail address before a change of domain.
    OldEmail,
}

impl Column {
    /// The column's name in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::Key => "key",
            Self::Email => "email",
            Self::OldEmail => "old_email",
        }
    }
}

/// One row's word on a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Where the name stands in the row.
    pub column: Column,
    /// The row's line in the file.
    pub line: u32,
    /// The row's username.
    pub username: Option<&'a str>,
    /// The account it belongs to.
    pub account: Option<&'a str>,
    /// The row's e-mail address.
    pub email: Option<&'a str>,
    /// What the row says of the standing.
    pub standing: Standing,
}

/// A row that leads to no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlinked<'a> {
    /// The row's line in the file.
    pub line: u32,
    /// The username on Data Center.
    pub username: Option<&'a str>,
    /// The user key on Data Center.
    pub key: Option<&'a str>,
    /// The e-mail address.
    pub email: Option<&'a str>,
    /// The full name.
    pub full_name: Option<&'a str>,
    /// When the user was created, in epoch milliseconds.
    pub created: Option<i64>,
    /// When the user was last changed, in epoch milliseconds.
    pub updated: Option<i64>,
    /// What the row says of the standing.
    pub standing: Standing,
}

impl Map {
    /// Every row that claims the name. Walks through the whole map unless the name is ambiguous: for reports.
    #[must_use]
    pub fn candidates(&self, name: &str) -> Vec<Claim<'_>> {
        let Some((lead, at)) = self.names.find(&self.rows.texts, name) else {
            return Vec::new();
        };
        if lead.kind == Kind::Ambiguous {
            let from = self.claims.partition_point(|claim| claim.0 < at);
            let claims = self.claims.get(from..).unwrap_or_default().iter();
            return claims
                .take_while(|claim| claim.0 == at)
                .filter_map(|(_, row, field)| Some(self.claim(self.rows.get(*row)?, *field)))
                .collect();
        }
        let claims = |row: &Row, field: Field| self.rows.text(row, field).is_some_and(|text| NameKey::same(text, name));
        self.rows
            .rows
            .iter()
            .flat_map(|row| Field::NAMES.map(|field| (row, field)))
            .filter(|(row, field)| claims(row, *field))
            .map(|(row, field)| self.claim(row, field))
            .collect()
    }

    fn claim(&self, row: &Row, field: Field) -> Claim<'_> {
        Claim {
            column: match field {
                Field::Key => Column::Key,
                Field::Email => Column::Email,
                Field::OldEmail => Column::OldEmail,
                _ => Column::Username,
            },
            line: row.line,
            username: self.rows.text(row, Field::Username),
            account: self.entry(row.entry).map(Entry::account),
            email: self.rows.text(row, Field::Email),
            standing: row.bits.standing(),
        }
    }

    /// Every distinct name, as it is spelt in its first row (rows with an account id come before the others).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let rows = self.rows.rows.iter();
        rows.flat_map(|row| Field::NAMES.map(|field| (row, field)))
            .filter(|(row, field)| row.bits.has(Bits::first(*field)))
            .filter_map(|(row, field)| self.rows.text(row, field))
    }

    /// Every row's username, with the row's line and account.
    pub fn usernames(&self) -> impl Iterator<Item = (u32, &str, Option<&str>)> {
        self.rows.rows.iter().filter_map(|row| {
            let username = self.rows.text(row, Field::Username)?;
            Some((row.line, username, self.entry(row.entry).map(Entry::account)))
        })
    }

    /// The rows that lead to no account.
    pub fn unlinked(&self) -> impl Iterator<Item = Unlinked<'_>> {
        let rows = (0..).zip(&self.rows.rows).filter(|(_, row)| row.entry == NONE);
        rows.map(|(number, row)| self.unlinked_row(number, row))
    }

    pub(super) fn unlinked_row(&self, number: u32, row: &Row) -> Unlinked<'_> {
        Unlinked {
            line: row.line,
            username: self.rows.text(row, Field::Username),
            key: self.rows.text(row, Field::Key),
            email: self.rows.text(row, Field::Email),
            full_name: self.rows.text(row, Field::FullName),
            created: self.rows.date(number, 0),
            updated: self.rows.date(number, 1),
            standing: row.bits.standing(),
        }
    }
}
