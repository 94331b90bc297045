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

mod aliases;
mod build;
mod entry;
mod file;
mod fold;
mod index;
mod report;
mod rows;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

pub use entry::Entry;
pub use file::Faults;
pub use report::{Column, Unlinked};

use crate::model::{AccountId, Standing};
use crate::settings::{NameKind, PrimaryRule};
use aliases::Aliases;
use build::build;
use index::{Ids, Kind, Names};
use rows::{Field, Rows};

/// Names to accounts, and accounts to names.
#[derive(Default)]
pub struct Map {
    rows: Rows,
    accounts: Vec<Account>,
    ids: Ids,
    names: Names,
    /// Who claims the ambiguous names: the place of the name's text, row and column, sorted.
    claims: Vec<(u32, u32, Field)>,
    aliases: Aliases,
    rule: PrimaryRule,
}

/// What is worth finding once about an account; all else stands in its rows.
#[derive(Clone, Copy)]
struct Account {
    /// The first row that has its id.
    own: u32,
    /// The first row that belongs to it.
    first: u32,
    /// The row of the username to show.
    primary: u32,
    /// The row of the e-mail address to show.
    email: u32,
    standing: Standing,
    merged: bool,
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

impl Map {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// All faults at once.
    pub fn read(path: &Path, primary: PrimaryRule) -> Result<Self, Faults> {
        Ok(Self::of(file::read(path)?, primary))
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse(bytes: &[u8], primary: PrimaryRule) -> Result<Self, Faults> {
        Ok(Self::of(file::parse(bytes, bytes.len())?, primary))
    }

    fn of(rows: Rows, primary: PrimaryRule) -> Self {
        let map = build(rows, primary);
        Self {
            aliases: Aliases::of(&map.rows),
            rule: primary,
            ..map
        }
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

    /// The accounts, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.accounts.iter().map(|account| Entry {
            map: self,
            account,
            standing: None,
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
