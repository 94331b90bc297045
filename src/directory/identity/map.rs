//! The identity map: names to accounts and back. Immutable once built, so that readers never wait for anything, and a
//! look-up allocates nothing.
//!
//! # What a name means
//! Rows of one account are joined; its standing is that of its most alive row (active, deactivated, tombstoned, app). A
//! name stands for what all rows that claim it, in whichever of the four columns, agree upon:
//!
//! * one account: that account, with the standing of the most alive of its rows that claim this name. So a username of
//!   a tombstone that was merged into a living account is tombstoned, and the account is not.
//! * rows without an account but with one and the same e-mail address: that address, unless all are marked.
//! * rows with neither yield to any of these.
//! * anything else is ambiguous.

use std::fmt;
use std::path::Path;

use super::build::build;
use super::file::{self, Faults};
use super::index::{Ids, Kind, Names};
use super::rows::Bits;
use super::rows::{Field, NONE, Row, Rows};
use crate::model::{AccountId, NameKey, Standing};
use crate::settings::{NameKind, PrimaryRule};

/// Names to accounts, and accounts to names.
#[derive(Default)]
pub struct Map {
    pub(super) rows: Rows,
    pub(super) accounts: Vec<Account>,
    pub(super) ids: Ids,
    pub(super) names: Names,
    /// Who claims the ambiguous names: the place of the name's text, row and column, sorted.
    pub(super) claims: Vec<(u32, u32, Field)>,
}

/// What is worth finding once about an account; all else stands in its rows.
#[derive(Clone, Copy)]
pub(super) struct Account {
    /// The first row that has its id.
    pub(super) own: u32,
    /// The first row that belongs to it.
    pub(super) first: u32,
    /// The row of the username to show.
    pub(super) primary: u32,
    /// The row of the e-mail address to show.
    pub(super) email: u32,
    pub(super) standing: Standing,
    pub(super) merged: bool,
}

/// What a name means by the map alone.
#[derive(Clone, Copy, Debug)]
pub enum Meaning<'a> {
    /// This account and no other, with the standing that goes with this name.
    One(Entry<'a>),
    /// Several accounts, or columns that disagree.
    Ambiguous,
    /// No account is known here: go on with this e-mail address.
    Email(&'a str),
    /// No account, and marked as somebody who left before the migration.
    Tombstoned,
    /// No account, and marked as switched off.
    Deactivated,
    /// No account, and marked as a program's.
    App,
    /// The map knows the name, and nothing else.
    NoAccount,
}

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
    /// What the row says of the standing.
    pub standing: Standing,
}

impl Map {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// All faults at once.
    pub fn read(path: &Path, primary: PrimaryRule) -> Result<Self, Faults> {
        Ok(build(file::read(path)?, primary))
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse(bytes: &[u8], primary: PrimaryRule) -> Result<Self, Faults> {
        Ok(build(file::parse(bytes, bytes.len())?, primary))
    }

    /// How many accounts the map holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.rows.len()
    }

    /// Whether the map has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.rows.is_empty()
    }

    /// How many names stand for several accounts.
    #[must_use]
    pub fn ambiguous(&self) -> usize {
        self.claims.chunk_by(|one, other| one.0 == other.0).count()
    }

    /// What a username, user key or e-mail address means.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Meaning<'_>> {
        let (lead, _) = self.names.find(&self.rows.texts, name)?;
        Some(match (lead.kind, lead.standing) {
            (Kind::Account | Kind::AccountsEmail, standing) => Meaning::One(Entry {
                standing: Some(standing),
                ..self.entry(lead.target)?
            }),
            (Kind::Ambiguous, _) => Meaning::Ambiguous,
            (_, Standing::Tombstoned) => Meaning::Tombstoned,
            (_, Standing::Deactivated) => Meaning::Deactivated,
            (_, Standing::App) => Meaning::App,
            (Kind::Email, Standing::Active) => {
                Meaning::Email(self.rows.text(self.rows.get(lead.target)?, Field::Email)?)
            }
            (Kind::Nothing, Standing::Active) => Meaning::NoAccount,
        })
    }

    /// What the map says of an account.
    #[must_use]
    pub fn by_account(&self, id: &str) -> Option<Entry<'_>> {
        self.entry(self.ids.find(&self.rows.texts, id)?)
    }

    fn entry(&self, number: u32) -> Option<Entry<'_>> {
        Some(Entry {
            map: self,
            account: self.accounts.get(number as usize)?,
            standing: None,
        })
    }

    /// The name an account is shown under: the first kind in `order` whose name leads back to this account. None if the
    /// order does not end with the account's id, which always does.
    #[must_use]
    pub fn shown_name<'a>(&'a self, id: &'a AccountId, order: &[NameKind], with_email: bool) -> Option<&'a str> {
        let entry = self.by_account(id.as_str());
        order.iter().find_map(|kind| match kind {
            NameKind::Username => entry?.shown_username(),
            NameKind::Email => entry.filter(|_| with_email)?.shown_email(),
            NameKind::AccountId => Some(id.as_str()),
        })
    }

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

    /// The accounts, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.accounts.iter().map(|account| Entry {
            map: self,
            account,
            standing: None,
        })
    }

    /// Every distinct name, as it is spelt in its first row (rows with an account id come before the others).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let rows = self.rows.rows.iter();
        rows.flat_map(|row| Field::NAMES.map(|field| (row, field)))
            .filter(|(row, field)| row.bits.has(Bits::first(*field)))
            .filter_map(|(row, field)| self.rows.text(row, field))
    }

    /// The rows that lead to no account.
    pub fn unlinked(&self) -> impl Iterator<Item = Unlinked<'_>> {
        let rows = self.rows.rows.iter();
        rows.filter(|row| row.entry == NONE).map(|row| Unlinked {
            line: row.line,
            username: self.rows.text(row, Field::Username),
            key: self.rows.text(row, Field::Key),
            email: self.rows.text(row, Field::Email),
            standing: row.bits.standing(),
        })
    }
}

/// The people in a map are nobody's business: their number alone is shown.
impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("rows", &self.rows())
            .field("accounts", &self.len())
            .field("ambiguous", &self.ambiguous())
            .finish()
    }
}

/// An account with all that the map says of it.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    map: &'a Map,
    account: &'a Account,
    /// The standing of the name by which it was found.
    standing: Option<Standing>,
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

    fn shown_username(self) -> Option<&'a str> {
        self.username_rows()
            .find(|(row, _)| !row.bits.has(Bits::ambiguous(Field::Username)))
            .map(|(_, username)| username)
    }

    fn shown_email(self) -> Option<&'a str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "username,key,email,old_email,account_id,status,primary\n";
    const ORDER: [NameKind; 3] = [NameKind::Username, NameKind::Email, NameKind::AccountId];

    fn map(rows: &str) -> Map {
        map_by(PrimaryRule::First, rows)
    }

    fn map_by(rule: PrimaryRule, rows: &str) -> Map {
        Map::parse(format!("{HEADER}{rows}").as_bytes(), rule).unwrap()
    }

    fn meaning(map: &Map, name: &str) -> String {
        match map.by_name(name) {
            None => "unknown".to_owned(),
            Some(Meaning::One(entry)) if entry.standing() == Standing::Active => entry.account().to_owned(),
            Some(Meaning::One(entry)) => format!("{} {}", entry.account(), entry.standing().as_str()),
            Some(Meaning::Email(email)) => format!("<{email}>"),
            Some(other) => format!("{other:?}").to_lowercase(),
        }
    }

    fn shown(map: &Map, account: &str, with_email: bool) -> String {
        let id = AccountId::new(account);
        map.shown_name(&id, &ORDER, with_email).unwrap().to_owned()
    }

    #[test]
    fn a_name_that_two_accounts_claim_in_any_column_is_ambiguous() {
        let map = map("jdoe,k1,j@example.com,,a1,,\n\
             j@example.com,k2,x@example.com,,a2,,\n\
             lost,,,,,,\n\
             LOST,,,,a3,,\n\
             nowhere,,,,,,\n\
             moved,,,k1,a4,,\n");
        for (name, expected) in [
            ("JDoe", "a1"),
            ("K1", "ambiguous"),
            ("k2", "a2"),
            ("j@EXAMPLE.com", "ambiguous"),
            ("x@example.com", "a2"),
            ("lost", "a3"),
            ("nowhere", "noaccount"),
            ("nobody", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(meaning(&map, name), expected, "{name}");
        }
        assert_eq!((map.len(), map.rows(), map.ambiguous()), (4, 6, 2));
        let claims: Vec<_> = map
            .candidates("J@example.com")
            .iter()
            .map(|claim| (claim.line, claim.column, claim.account))
            .collect();
        assert_eq!(
            claims,
            [(2, Column::Email, Some("a1")), (3, Column::Username, Some("a2"))]
        );
        assert_eq!(map.candidates("lost").len(), 2);
        assert!(map.candidates("nobody").is_empty());
    }

    #[test]
    fn a_row_without_account_agrees_by_its_address_or_not_at_all() {
        let map = map("jdoe,,new@example.com,,a1,,\n\
             jdoe,,NEW@example.com,,,,\n\
             asmith,,smith@example.com,smith@old.example,a2,,\n\
             asmith,,smith@old.example,,,,\n\
             bob,,bob@example.com,,a3,,\n\
             bob,,robert@example.com,,,,\n\
             eve,,one@example.com,,,,\n\
             eve,,two@example.com,,,,\n\
             dan,,dan@example.com,,,,\n\
             dan,,DAN@example.com,,,,\n\
             alias,,new@example.com,,,,\n");
        for (name, expected) in [
            ("jdoe", "a1"),
            ("asmith", "a2"),
            ("bob", "ambiguous"),
            ("eve", "ambiguous"),
            ("dan", "<dan@example.com>"),
            ("two@example.com", "<two@example.com>"),
            ("alias", "a1"),
        ] {
            assert_eq!(meaning(&map, name), expected, "{name}");
        }
        let entry = map.by_account("a1").unwrap();
        assert_eq!(entry.usernames().collect::<Vec<_>>(), ["jdoe", "alias"]);
        assert!(entry.is_merged());
        assert_eq!(entry.email(), Some("new@example.com"));
        let entry = map.by_account("a2").unwrap();
        assert_eq!(entry.email(), Some("smith@example.com"));
        assert!(!entry.is_merged());
        let lines: Vec<u32> = map.unlinked().map(|row| row.line).collect();
        assert_eq!(lines, [7, 8, 9, 10, 11]);
    }

    #[test]
    fn a_mark_stands_for_its_own_names_alone() {
        let map = map("left,,merged@example.com,,a1,tombstoned,\n\
             here,,merged@example.com,,a1,,\n\
             robot,,,,a2,app,\n\
             gone,,gone@example.com,,,tombstoned,\n\
             off,,,,,deactivated,\n\
             tool,,,,,app,\n");
        for (name, expected) in [
            ("left", "a1 tombstoned"),
            ("here", "a1"),
            ("merged@example.com", "a1"),
            ("robot", "a2 app"),
            ("gone", "tombstoned"),
            ("gone@example.com", "tombstoned"),
            ("off", "deactivated"),
            ("tool", "app"),
        ] {
            assert_eq!(meaning(&map, name), expected, "{name}");
        }
        assert_eq!(map.by_account("a1").unwrap().standing(), Standing::Active);
        assert_eq!(map.by_account("a2").unwrap().standing(), Standing::App);
        // What is shown is a name that is accepted.
        assert_eq!(shown(&map, "a1", true), "here");
    }

    #[test]
    fn the_shown_name_always_leads_back() {
        let map = map("shared,,one@example.com,,a1,,\n\
             shared,,two@example.com,,a2,,\n\
             primary,,,,a3,,\n\
             PRIMARY,,,,a3,,\n\
             alias,,,,a3,,\n\
             ,,new@example.com,old@example.com,a4,,\n\
             ,,old@example.com,,a4,,\n");
        assert_eq!(shown(&map, "a1", true), "one@example.com");
        assert_eq!(shown(&map, "a1", false), "a1");
        assert_eq!(shown(&map, "a3", true), "primary");
        assert_eq!(shown(&map, "a4", true), "new@example.com");
        assert_eq!(shown(&map, "elsewhere", true), "elsewhere");
        let entry = map.by_account("a3").unwrap();
        assert_eq!(entry.usernames().collect::<Vec<_>>(), ["primary", "alias"]);
        assert!(entry.is_merged());
        assert_eq!(map.shown_name(&AccountId::new("a1"), &[NameKind::Username], true), None);
        assert_eq!(map.entries().count(), 4);
        let names: Vec<&str> = map.names().collect();
        assert_eq!(
            names,
            [
                "shared",
                "one@example.com",
                "two@example.com",
                "primary",
                "alias",
                "new@example.com",
                "old@example.com"
            ]
        );
    }

    #[test]
    fn the_primary_username_is_chosen_by_row_then_rule_then_file() {
        let rows = "j.doe.admin,,jdoe@example.com,,a1,,\njdoe,,jdoe@example.com,,a1,,\njd,,jdoe@example.com,,a1,,\n";
        for (rule, expected) in [
            (PrimaryRule::First, "j.doe.admin"),
            (PrimaryRule::Shortest, "jd"),
            (PrimaryRule::MatchesEmail, "jdoe"),
        ] {
            assert_eq!(shown(&map_by(rule, rows), "a1", true), expected);
            let marked = map_by(rule, &format!("{rows}marked,,,,a1,,true\nlater,,,,a1,,true\n"));
            let usernames: Vec<_> = marked.by_account("a1").unwrap().usernames().collect();
            assert_eq!(usernames, ["marked", "j.doe.admin", "jdoe", "jd", "later"]);
        }
    }

    #[test]
    fn names_are_compared_composed_and_in_lower_case_and_never_folded() {
        let map = map(
            "M\u{fc}ller,,,,a1,,\n\u{130}x,,,,a2,,\nstra\u{df}e,,,,a3,,\n\u{212a},,,,a4,,\nMu\u{308}LLER,,,,a1,,\n",
        );
        for (name, expected) in [
            ("mu\u{308}ller", "a1"),
            ("M\u{dc}LLER", "a1"),
            ("i\u{307}x", "a2"),
            ("ix", "unknown"),
            ("strasse", "unknown"),
            ("k", "a4"),
        ] {
            assert_eq!(meaning(&map, name), expected, "{name}");
        }
        assert_eq!(map.names().next(), Some("M\u{fc}ller"));
        assert!(!map.by_account("a1").unwrap().is_merged());
    }
}
