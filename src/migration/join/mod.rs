//! The join: users of Data Center to accounts of the site. It never guesses: what two rows say differently is told and
//! left out, because a wrong account is given somebody else's rights, and a missing one only costs a question.
//!
//! In order: rows of one username are compared (`names`), each user is looked up by address (`resolve`) among the
//! site's accounts (`site`), user keys are compared, and what is left becomes rows of the map (`settle`).

mod names;
mod resolve;
mod settle;
mod site;

use std::collections::BTreeMap;

use super::map_file::Identity;
use super::report::{Cell, Count, Kind, Section, Source, Tone};
use super::sources::{Inputs, Place};
use crate::model::{NameKey, Standing};

/// What the join made of its inputs.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The rows of the map, in their order.
    pub identities: Vec<Identity>,
    /// What was found.
    pub sections: Vec<Section>,
    /// The figures.
    pub summary: Vec<Count>,
}

/// Joins what was read.
#[must_use]
pub fn join(inputs: &Inputs) -> Joined {
    let mut findings = Findings::new(inputs);
    for row in &inputs.unreadable {
        findings.add(
            Kind::Invalid,
            vec![
                row.name.as_str().into(),
                row.fault.as_str().into(),
                findings.place(row.at).into(),
            ],
        );
    }
    let site = site::Site::new(inputs, &mut findings);
    let users = names::distinct(inputs, &mut findings);
    let read = users.kept.len() + users.left_out;
    let mut resolver = resolve::Resolver::new(inputs, &site, &users.kept);
    let found: Vec<resolve::Resolved<'_>> = users
        .kept
        .into_iter()
        .filter_map(|(name, user)| resolver.user(name, user, &mut findings))
        .collect();
    resolver.ambiguous(&mut findings);
    let settled = settle::settle(found, inputs, &mut findings);

    let identities = settled;
    let count = |wanted: fn(&Identity) -> bool| identities.iter().filter(|identity| wanted(identity)).count();
    let switched_off = |identity: &Identity| identity.standing != Standing::Active;
    let quiet = count(switched_off);
    let resolved = count(|identity| identity.standing == Standing::Active && identity.account.is_some());
    let open = identities.len() - quiet - resolved;
    let mut accounts: Vec<_> = identities
        .iter()
        .filter_map(|identity| identity.account.as_ref())
        .collect();
    accounts.sort_unstable();
    accounts.dedup();
    let summary = vec![
        Count::part("resolved", "users with an account", resolved, Tone::Good),
        Count::part(
            "switched_off",
            "former users, switched off or programs",
            quiet,
            Tone::Quiet,
        ),
        Count::part("without_account", "in the map without an account", open, Tone::Open),
        Count::part("left_out", "left out of the map", read - identities.len(), Tone::Bad),
        Count::new("users", "users of Data Center", read),
        Count::new("identities", "rows in the map", identities.len()),
        Count::new("accounts", "accounts they mean", accounts.len()),
        Count::new("site_accounts", "accounts in the site's export", site.len()),
    ];
    Joined {
        identities,
        sections: findings.sections.into_values().collect(),
        summary,
    }
}

/// The files as the report tells them.
#[must_use]
pub fn sources(inputs: &Inputs) -> Vec<Source> {
    inputs
        .files
        .iter()
        .map(|file| {
            let mut notes = vec![format!("columns: {}", file.headings.join(", "))];
            notes.extend(file.notes.iter().cloned());
            Source {
                role: file.short.clone(),
                name: file.name.clone(),
                format: file.format.clone(),
                rows: file.rows,
                notes,
            }
        })
        .collect()
}

/// Sections as they grow.
struct Findings<'a> {
    inputs: &'a Inputs,
    sections: BTreeMap<Kind, Section>,
}

impl<'a> Findings<'a> {
    fn new(inputs: &'a Inputs) -> Self {
        Self {
            inputs,
            sections: BTreeMap::new(),
        }
    }

    fn add(&mut self, kind: Kind, row: Vec<Cell>) {
        let section = self
            .sections
            .entry(kind)
            .or_insert_with(|| Section::new(kind, columns(kind)));
        debug_assert_eq!(section.columns.len(), row.len(), "{kind:?}");
        section.rows.push(row);
    }

    /// A place as people read it: `users.csv:12`.
    fn place(&self, at: Place) -> String {
        let name = self.inputs.files.get(at.file).map_or("", |file| file.name.as_str());
        format!("{name}:{}", at.line)
    }

    fn places(&self, places: impl IntoIterator<Item = Place>) -> Cell {
        Cell::List(places.into_iter().map(|at| self.place(at)).collect())
    }
}

/// The columns of the sections that a join makes.
fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Merged => &["usernames", "full_name", "email", "account_id", "where"],
        Kind::Ambiguous => &["name", "accounts", "usernames", "where"],
        Kind::Conflicts | Kind::Collisions => &["names", "detail", "where"],
        Kind::Duplicates => &["name", "where"],
        Kind::OtherAddress => &["username", "expected", "found_by", "full_name", "account_id", "where"],
        Kind::MissingInCloud => &["username", "email", "where"],
        Kind::SharedAddress => &["username", "old_email", "email", "where"],
        Kind::Tombstoned => &["username", "email", "account_id", "where"],
        Kind::Deactivated | Kind::Suspended | Kind::NotAPerson => {
            &["username", "full_name", "status", "account_id", "where"]
        }
        Kind::ChangedDomain => &["username", "old_email", "email", "where"],
        Kind::DifferentCase => &["username", "spellings", "where"],
        // Invalid; the other kinds are made elsewhere.
        _ => &["name", "detail", "where"],
    }
}

/// Whether `text` is shaped like an address in Cloud: one `@`, a domain with a dot, nothing blank. The Migration
/// Assistant calls all else invalid.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    !local.is_empty()
        && text.len() <= 254
        && domain.contains('.')
        && !domain.contains('@')
        && domain.split('.').all(|label| !label.is_empty())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn domain(address: &str) -> Option<NameKey> {
    address.rsplit_once('@').map(|(_, domain)| NameKey::of(domain))
}
