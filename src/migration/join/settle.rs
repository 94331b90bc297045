//! Users who were found become rows of the map; what a person should know of them is told.

use std::collections::BTreeMap;

use super::resolve::Resolved;
use super::{Findings, domain, is_address, names};
use crate::migration::map_file::Identity;
use crate::migration::report::{Cell, Kind};
use crate::migration::sources::{Inputs, Place, SiteStatus, Trouble};
use crate::model::{AccountId, NameKey, Standing};

/// Whom a user means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target<'a> {
    /// This account.
    Account(&'a AccountId),
    /// Whoever has this address when Cloud is asked.
    Address(NameKey),
    /// Nobody.
    Nobody,
}

/// The rows of the map, in their order: by username, the usernames of one account together, the shown one first.
pub fn settle(found: Vec<Resolved<'_>>, inputs: &Inputs, findings: &mut Findings<'_>) -> Vec<Identity> {
    let found = names::without_shared_keys(found, findings);
    names::across_columns(&found, findings);
    for user in &found {
        tell(user, findings);
    }
    let mut groups: BTreeMap<Target<'_>, Vec<usize>> = BTreeMap::new();
    for (at, user) in found.iter().enumerate() {
        match user.target() {
            Target::Nobody => {}
            target => groups.entry(target).or_default().push(at),
        }
    }
    // Who stands under whose name, and whether they are shown.
    let mut order: Vec<(usize, bool)> = (0..found.len()).map(|at| (at, false)).collect();
    let mut merged: Vec<(usize, Vec<usize>)> = Vec::new();
    for group in groups.into_values().filter(|group| group.len() > 1) {
        let Some(shown) = group
            .iter()
            .copied()
            .min_by_key(|at| found.get(*at).map(|user| rank(user, *at)))
        else {
            continue;
        };
        for at in &group {
            if let Some(place) = order.get_mut(*at) {
                *place = (shown, *at == shown);
            }
        }
        merged.push((shown, group));
    }
    // `found` is in the order of usernames, so its numbers order the rows.
    merged.sort_unstable();
    for (shown, group) in merged {
        tell_merged(&found, shown, &group, findings);
    }
    let mut rows: Vec<(usize, bool, usize)> = order
        .into_iter()
        .enumerate()
        .map(|(at, (under, shown))| (under, !shown, at))
        .collect();
    rows.sort_unstable();
    rows.into_iter()
        .filter_map(|(_, hidden, at)| Some(identity(found.get(at)?, !hidden, inputs)))
        .collect()
}

/// The lowest is the username that is shown for a merged account: who is still there before who left, whose own
/// address it was before the others, and then the order of names.
fn rank(user: &Resolved<'_>, at: usize) -> (bool, bool, usize) {
    let own = match (user.row.old_email.as_deref(), user.email) {
        (Some(old), Some(email)) => NameKey::of(old) == NameKey::of(email),
        _ => false,
    };
    (user.row.tombstone, !own || user.row.trouble == Trouble::Shared, at)
}

fn identity(user: &Resolved<'_>, primary: bool, inputs: &Inputs) -> Identity {
    let directory = user.directory;
    let mut places = vec![user.row.at];
    places.extend(user.account.map(|account| account.at));
    // The directory is named where the row has something from it.
    if directory.is_some_and(|entry| user.by_directory || entry.created.is_some() || entry.updated.is_some()) {
        places.extend(directory.map(|entry| entry.at));
    }
    let source = |at: &Place| {
        let file = inputs.files.get(at.file).map_or("", |file| file.short.as_str());
        format!("{file}:line {}", at.line)
    };
    Identity {
        username: user.row.username.clone(),
        key: user.row.key.clone().or_else(|| directory?.key.clone()),
        email: user.email.map(str::to_owned),
        old_email: user.row.old_email.clone(),
        account: user.account.map(|account| account.account.clone()),
        full_name: user
            .account
            .and_then(|account| account.full_name.clone())
            .or_else(|| directory?.full_name.clone()),
        standing: standing(user),
        primary,
        created: directory
            .and_then(|entry| entry.created)
            .or_else(|| user.account?.created),
        updated: directory.and_then(|entry| entry.updated),
        source: places.iter().map(source).collect::<Vec<_>>().join(" + "),
    }
}

fn standing(user: &Resolved<'_>) -> Standing {
    let status = user.account.map(|account| account.status).unwrap_or_default();
    if user.row.tombstone {
        Standing::Tombstoned
    } else if user.row.app || user.account.is_some_and(|account| account.app) {
        Standing::App
    } else if status == SiteStatus::Deactivated {
        Standing::Deactivated
    } else {
        Standing::Active
    }
}

/// Tells what is to be known of one user.
fn tell(user: &Resolved<'_>, findings: &mut Findings<'_>) {
    let username = || Cell::from(user.row.username.as_str());
    let id = || Cell::from(user.account.map(|account| account.account.as_str()));
    let places = findings.places([user.row.at].into_iter().chain(user.account.map(|account| account.at)));
    let standing = standing(user);
    let status = user.account.map(|account| account.status).unwrap_or_default();
    let kind = match (standing, status) {
        (Standing::Tombstoned, _) => {
            let row = vec![username(), user.email.into(), id(), places.clone()];
            findings.add(Kind::Tombstoned, row);
            None
        }
        (Standing::App, _) => Some(Kind::NotAPerson),
        (Standing::Deactivated, _) => Some(Kind::Deactivated),
        (Standing::Active, SiteStatus::Suspended) => Some(Kind::Suspended),
        (Standing::Active, _) => None,
    };
    if let Some(kind) = kind {
        let account = user.account;
        let full_name = account.and_then(|account| account.full_name.as_deref());
        let word = account.map(|account| account.status_word.as_str());
        findings.add(
            kind,
            vec![username(), full_name.into(), word.into(), id(), places.clone()],
        );
    }
    if user.account.is_none() && user.email.is_some() && standing == Standing::Active {
        findings.add(
            Kind::MissingInCloud,
            vec![username(), user.email.into(), places.clone()],
        );
    }
    let old = user.row.old_email.as_deref();
    if user.row.trouble == Trouble::Shared {
        findings.add(
            Kind::SharedAddress,
            vec![username(), old.into(), user.email.into(), places.clone()],
        );
    }
    if let (Some(old), Some(email)) = (old.filter(|old| is_address(old)), user.email)
        && domain(old) != domain(email)
    {
        findings.add(
            Kind::ChangedDomain,
            vec![username(), old.into(), email.into(), places.clone()],
        );
    }
    let mut spellings: Vec<String> = [old, user.found_by, user.email]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect();
    spellings.sort_unstable();
    spellings.dedup();
    let same = |spelling: &String| {
        user.email
            .is_some_and(|email| NameKey::of(email) == NameKey::of(spelling))
    };
    spellings.retain(same);
    if spellings.len() > 1 {
        findings.add(Kind::DifferentCase, vec![username(), spellings.into(), places]);
    }
}

fn tell_merged(found: &[Resolved<'_>], shown: usize, group: &[usize], findings: &mut Findings<'_>) {
    let users: Vec<&Resolved<'_>> = group.iter().filter_map(|at| found.get(*at)).collect();
    let Some(first) = found.get(shown) else { return };
    let mut users = users;
    // The one that is shown stands first; the others keep their order.
    users.sort_by_key(|user| user.name != first.name || user.row.at != first.row.at);
    let names: Vec<String> = users.iter().map(|user| user.row.username.clone()).collect();
    let mut places: Vec<Place> = users.iter().map(|user| user.row.at).collect();
    places.extend(first.account.map(|account| account.at));
    findings.add(
        Kind::Merged,
        vec![
            names.into(),
            first.account.and_then(|account| account.full_name.as_deref()).into(),
            first.email.into(),
            first.account.map(|account| account.account.as_str()).into(),
            findings.places(places),
        ],
    );
}
