//! Usernames: rows of the same name, whatever its case, are one user, or they are nobody.

use std::collections::HashMap;

use super::Findings;
use super::resolve::Resolved;
use super::settle::Target;
use crate::migration::report::{Cell, Kind};
use crate::migration::sources::{Inputs, MigrationUser};
use crate::model::NameKey;

pub struct Users<'a> {
    /// One row a user, in the order of their names.
    pub kept: Vec<(NameKey, &'a MigrationUser)>,
    /// How many rows were left out.
    pub left_out: usize,
}

/// Compares the rows of each username. Identical rows are one; rows that name different addresses are left out.
pub fn distinct<'a>(inputs: &'a Inputs, findings: &mut Findings<'_>) -> Users<'a> {
    let mut rows: Vec<(NameKey, &MigrationUser)> = inputs
        .migration
        .iter()
        .map(|user| (NameKey::of(&user.username), user))
        .collect();
    rows.sort_by(|(one, first), (other, second)| (one, first.at).cmp(&(other, second.at)));
    let mut kept = Vec::with_capacity(rows.len());
    // A row of the migration that cannot be read is a user who is left out.
    let mut left_out = inputs
        .unreadable
        .iter()
        .filter(|row| {
            inputs
                .files
                .get(row.at.file)
                .is_some_and(|file| file.role == crate::migration::columns::Role::MigrationUsers)
        })
        .count();
    for group in rows.chunk_by(|(one, _), (other, _)| one == other) {
        if let [row] = group {
            kept.push(row.clone());
            continue;
        }
        let users = without_repeats(group, findings);
        let Some((first, rest)) = users.split_first() else {
            continue;
        };
        let one_spelling = rest.iter().all(|(_, user)| user.username == first.1.username);
        let one_person = rest
            .iter()
            .all(|(_, user)| address(user) == address(first.1) && user.tombstone == first.1.tombstone);
        if rest.is_empty() {
            kept.push(first.clone());
            continue;
        }
        let names = Cell::List(users.iter().map(|(_, user)| user.username.clone()).collect());
        let places = findings.places(users.iter().map(|(_, user)| user.at));
        let (kind, detail) = match (one_spelling, one_person) {
            (true, true) => (
                Kind::Conflicts,
                "the same username with different keys or types; left out",
            ),
            (true, false) => (Kind::Conflicts, "the same username with different addresses; left out"),
            (false, true) => (Kind::Collisions, "the same address; all are in the map"),
            (false, false) => (Kind::Collisions, "different addresses; left out"),
        };
        findings.add(kind, vec![names, detail.into(), places]);
        if one_person && !one_spelling {
            kept.extend(users);
        } else {
            left_out += users.len();
        }
    }
    Users { kept, left_out }
}

/// The rows of `group`, each content once.
fn without_repeats<'a>(
    group: &[(NameKey, &'a MigrationUser)],
    findings: &mut Findings<'_>,
) -> Vec<(NameKey, &'a MigrationUser)> {
    let mut distinct: Vec<(NameKey, Vec<&'a MigrationUser>)> = Vec::new();
    for (name, user) in group {
        let same = distinct
            .iter_mut()
            .find(|(_, rows)| rows.first().is_some_and(|first| first.says_the_same(user)));
        match same {
            Some((_, rows)) => rows.push(user),
            None => distinct.push((name.clone(), vec![user])),
        }
    }
    let mut kept = Vec::with_capacity(distinct.len());
    for (name, rows) in distinct {
        if let [first, _, ..] = rows.as_slice() {
            let places = findings.places(rows.iter().map(|user| user.at));
            findings.add(Kind::Duplicates, vec![first.username.as_str().into(), places]);
        }
        kept.extend(rows.first().map(|user| (name, *user)));
    }
    kept
}

/// The address that a row is about.
fn address(user: &MigrationUser) -> Option<NameKey> {
    user.new_email.as_deref().or(user.old_email.as_deref()).map(NameKey::of)
}

/// Leaves out users who share a user key and mean different accounts: one of the rows is old, and nobody knows which.
pub fn without_shared_keys<'a>(found: Vec<Resolved<'a>>, findings: &mut Findings<'_>) -> Vec<Resolved<'a>> {
    let mut by_key: HashMap<&str, Vec<usize>> = HashMap::with_capacity(found.len());
    for (at, user) in found.iter().enumerate() {
        if let Some(key) = user.row.key.as_deref() {
            by_key.entry(key).or_default().push(at);
        }
    }
    let mut groups: Vec<Vec<usize>> = by_key.into_values().filter(|users| users.len() > 1).collect();
    // A map's order is another one each time.
    groups.sort();
    let mut out = vec![false; found.len()];
    for group in groups {
        let users: Vec<&Resolved<'_>> = group.iter().filter_map(|at| found.get(*at)).collect();
        let mut targets: Vec<Target<'_>> = users.iter().map(|user| user.target()).collect();
        targets.dedup();
        if matches!(targets.as_slice(), [Target::Account(_) | Target::Address(_)]) {
            continue;
        }
        for at in &group {
            if let Some(out) = out.get_mut(*at) {
                *out = true;
            }
        }
        let names = Cell::List(users.iter().map(|user| user.row.username.clone()).collect());
        let places = findings.places(users.iter().map(|user| user.row.at));
        let detail = "one user key for users of different accounts; left out";
        findings.add(Kind::Conflicts, vec![names, detail.into(), places]);
    }
    let mut out = out.into_iter();
    found.into_iter().filter(|_| !out.next().unwrap_or_default()).collect()
}

/// Tells usernames that are the key or the address of somebody else: such a name is refused when it is used.
pub fn across_columns(found: &[Resolved<'_>], findings: &mut Findings<'_>) {
    let by_name: HashMap<&str, usize> = found
        .iter()
        .enumerate()
        .map(|(at, user)| (user.name.as_str(), at))
        .collect();
    for user in found {
        let names = [user.row.key.as_deref(), user.email, user.row.old_email.as_deref()];
        for name in names.into_iter().flatten() {
            let name = NameKey::of(name);
            let Some(other) = by_name.get(name.as_str()).and_then(|at| found.get(*at)) else {
                continue;
            };
            if name != user.name && other.target() != user.target() {
                let accounts = [other, user].map(|user| user.described()).to_vec();
                let row = vec![
                    name.as_str().into(),
                    accounts.into(),
                    vec![other.row.username.clone(), user.row.username.clone()].into(),
                    findings.places([other.row.at, user.row.at]),
                ];
                findings.add(Kind::Ambiguous, row);
                break;
            }
        }
    }
}
