//! Rows without an account, by their e-mail address: once Cloud has told whose the address is, their usernames lead to
//! that account, and it is shown under them.

use super::report::Unlinked;
use super::rows::{Bits, Field, NONE, Row, Rows};
use super::{Map, fold};
use crate::model::{NameKey, Standing};
use crate::settings::PrimaryRule;

/// The rows, sorted by a hash of their address.
#[derive(Default)]
pub(super) struct Aliases(Vec<(u64, u32)>);

fn hash(address: &str) -> u64 {
    fold::hash(&foldhash::fast::FixedState::default(), &fold::folded(address))
}

impl Aliases {
    pub(super) fn of(rows: &Rows) -> Self {
        let is_alias = |row: &Row| row.entry == NONE && row.bits.standing() == Standing::Active;
        let numbered = (0_u32..).zip(&rows.rows).filter(|(_, row)| is_alias(row));
        let mut all: Vec<(u64, u32)> = numbered
            .filter_map(|(number, row)| Some((hash(rows.text(row, Field::Email)?), number)))
            .collect();
        all.sort_unstable();
        all.shrink_to_fit();
        Self(all)
    }
}

impl Map {
    /// The rows without an account that have this e-mail address; the one whose username is to be shown first.
    #[must_use]
    pub fn unlinked_under(&self, address: &str) -> Vec<Unlinked<'_>> {
        let wanted = hash(address);
        let from = self.aliases.0.partition_point(|(hash, _)| *hash < wanted);
        let alike = self.aliases.0.get(from..).unwrap_or_default().iter();
        let rows = alike
            .take_while(|(hash, _)| *hash == wanted)
            .filter_map(|(_, number)| Some((*number, self.rows.get(*number)?)));
        let mut rows: Vec<(u32, &Row)> = rows
            .filter(|(_, row)| {
                self.rows
                    .text(row, Field::Email)
                    .is_some_and(|email| NameKey::same(email, address))
            })
            .collect();
        let local = address.split_once('@').map_or(address, |(local, _)| local);
        rows.sort_by_key(|(_, row)| {
            let username = self.rows.text(row, Field::Username);
            let rank = match (self.rule, username) {
                (_, None) => usize::MAX,
                (PrimaryRule::First, _) => 0,
                (PrimaryRule::Shortest, Some(username)) => username.chars().count(),
                (PrimaryRule::MatchesEmail, Some(username)) => {
                    usize::from(!NameKey::same(username, address) && !NameKey::same(username, local))
                }
            };
            (!row.bits.has(Bits::PRIMARY), rank, row.line)
        });
        rows.into_iter()
            .map(|(number, row)| self.unlinked_row(number, row))
            .collect()
    }

    /// Whether there are rows that [`Self::unlinked_under`] could find.
    #[must_use]
    pub fn has_aliases(&self) -> bool {
        !self.aliases.0.is_empty()
    }
}
