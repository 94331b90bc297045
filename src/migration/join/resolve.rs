//! One user: by which address they are found, and what speaks against it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::settle::Target;
use super::site::{Hit, Site};
use super::{Findings, is_address};
use crate::migration::report::{Cell, Kind};
use crate::migration::sources::{DirectoryUser, Inputs, MigrationUser, SiteUser, Trouble};
use crate::model::NameKey;

/// A user who goes into the map.
pub struct Resolved<'a> {
    /// The username as it is compared.
    pub name: NameKey,
    /// The row it comes from.
    pub row: &'a MigrationUser,
    /// The account, if Cloud has one.
    pub account: Option<&'a SiteUser>,
    /// The address that stands for the user: the account's own, or the best that is known.
    pub email: Option<&'a str>,
    /// The address by which the account was found.
    pub found_by: Option<&'a str>,
    /// What the directory says of the user.
    pub directory: Option<&'a DirectoryUser>,
    /// Whether the directory's address found the account.
    pub by_directory: bool,
}

impl<'a> Resolved<'a> {
    /// Whom the user means.
    pub fn target(&self) -> Target<'a> {
        match (self.account, self.email) {
            (Some(account), _) => Target::Account(&account.account),
            (None, Some(email)) => Target::Address(NameKey::of(email)),
            (None, None) => Target::Nobody,
        }
    }

    /// The account as a report tells it.
    pub fn described(&self) -> String {
        match self.account {
            Some(account) => account.account.to_string(),
            None => format!("none yet ({})", self.email.unwrap_or("no address")),
        }
    }
}

pub struct Resolver<'a, 's> {
    site: &'s Site<'a>,
    /// The directories' rows of each username that the migration has.
    directory: HashMap<NameKey, Vec<&'a DirectoryUser>>,
    /// Who was looked for by an address that several accounts have.
    asked: BTreeMap<NameKey, Vec<&'a MigrationUser>>,
}

impl<'a, 's> Resolver<'a, 's> {
    pub fn new(inputs: &'a Inputs, site: &'s Site<'a>, users: &[(NameKey, &'a MigrationUser)]) -> Self {
        let mut directory: HashMap<NameKey, Vec<&DirectoryUser>> = HashMap::new();
        if !inputs.directory.is_empty() {
            // Directories hold far more than the users of one product.
            let wanted: HashSet<&NameKey> = users.iter().map(|(name, _)| name).collect();
            for user in &inputs.directory {
                let name = NameKey::of(&user.username);
                if wanted.contains(&name) {
                    directory.entry(name).or_default().push(user);
                }
            }
        }
        Self {
            site,
            directory,
            asked: BTreeMap::new(),
        }
    }

    /// Looks the user up; nothing where the sources contradict each other.
    pub fn user(&mut self, name: NameKey, row: &'a MigrationUser, findings: &mut Findings<'_>) -> Option<Resolved<'a>> {
        let directory = self.directory_of(&name, row, findings);
        let new = row.new_email.as_deref().filter(|new| is_address(new));
        // An invalid address that was not replaced is still the invalid one.
        let replaced = |new: &&str| row.old_email.as_deref().map(NameKey::of) != Some(NameKey::of(new));
        let new = new.filter(|new| row.trouble != Trouble::Invalid || replaced(new));
        // An old address that several users had says nothing about any of them.
        let old = row.old_email.as_deref();
        let old = old.filter(|old| row.trouble == Trouble::None && is_address(old));
        let listed = directory
            .and_then(|user| user.email.as_deref())
            .filter(|email| is_address(email));
        let candidates: Vec<&'a str> = [new, old, listed].into_iter().flatten().collect();
        let by_directory = |email: &str| listed == Some(email) && new != Some(email) && old != Some(email);

        let mut found = None;
        for (rank, email) in candidates.iter().enumerate() {
            match self.site.find(&NameKey::of(email)) {
                Hit::Nobody => {}
                Hit::Several => {
                    self.asked.entry(NameKey::of(email)).or_default().push(row);
                    self.tell_invalid(row, new, None, findings);
                    return None;
                }
                Hit::Contradicted(account) => {
                    let detail = format!(
                        "its account {} has rows that contradict each other; left out",
                        account.account
                    );
                    conflict(findings, row, detail, [row.at, account.at]);
                    return None;
                }
                Hit::One(account) => {
                    found = Some((rank, *email, account));
                    break;
                }
            }
        }
        if let (Some((_, _, account)), Some(listed), Some(entry)) = (found, listed, directory) {
            // A directory may lag behind; but an address that is another account's in Cloud is no lag.
            if let Hit::One(other) = self.site.find(&NameKey::of(listed))
                && other.account != account.account
            {
                let detail = format!(
                    "account {} by its address in Cloud, account {} by the directory's; left out",
                    account.account, other.account
                );
                conflict(findings, row, detail, [row.at, account.at, entry.at, other.at]);
                return None;
            }
        }
        self.tell_invalid(
            row,
            new,
            found.map(|(_, email, _)| email).or(candidates.first().copied()),
            findings,
        );
        if let Some((rank, email, account)) = found
            && rank > 0
            && let Some(expected) = candidates.first()
        {
            findings.add(
                Kind::OtherAddress,
                vec![
                    row.username.as_str().into(),
                    (*expected).into(),
                    email.into(),
                    account.full_name.as_deref().into(),
                    account.account.as_str().into(),
                    findings.places([row.at, account.at]),
                ],
            );
        }
        let account = found.map(|(_, _, account)| account);
        Some(Resolved {
            name,
            row,
            account,
            email: account
                .and_then(|account| account.email.as_deref())
                .or(candidates.first().copied()),
            found_by: found.map(|(_, email, _)| email),
            directory,
            by_directory: found.is_some_and(|(_, email, _)| by_directory(email)),
        })
    }

    /// What the directories say of a username, if they agree about its address.
    fn directory_of(
        &self,
        name: &NameKey,
        row: &MigrationUser,
        findings: &mut Findings<'_>,
    ) -> Option<&'a DirectoryUser> {
        let entries = self.directory.get(name)?;
        let with_address: Vec<&&DirectoryUser> = entries.iter().filter(|entry| entry.email.is_some()).collect();
        let mut addresses: Vec<NameKey> = with_address
            .iter()
            .filter_map(|entry| entry.email.as_deref().map(NameKey::of))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.len() > 1 {
            let detail = "the directory has several addresses for the username; none of them is used".to_owned();
            let places: Vec<_> = entries.iter().map(|entry| entry.at).collect();
            conflict(findings, row, detail, places);
            return None;
        }
        with_address.first().map(|entry| **entry).or(entries.first().copied())
    }

    /// Tells what is wrong with a user's addresses, and what they are known by all the same.
    fn tell_invalid(&self, row: &MigrationUser, new: Option<&str>, used: Option<&str>, findings: &mut Findings<'_>) {
        let fault = match (row.new_email.as_deref(), row.old_email.as_deref()) {
            (Some(given), _) if new.is_none() => format!("the new address {given:?} is invalid"),
            (_, Some(old)) if row.trouble == Trouble::Invalid => format!("the old address {old:?} is invalid"),
            (_, None) if row.trouble == Trouble::Invalid => "there was no old address".to_owned(),
            (None, Some(old)) if !is_address(old) => format!("the old address {old:?} is invalid"),
            (None, _) if used.is_none() => "there is no address to find the user by".to_owned(),
            _ => return,
        };
        let detail = match used {
            Some(used) => format!("{fault}; {used} is used"),
            None => format!("{fault}; no account"),
        };
        let row = vec![
            row.username.as_str().into(),
            detail.into(),
            findings.place(row.at).into(),
        ];
        findings.add(Kind::Invalid, row);
    }

    /// Tells the addresses that several accounts have, and whom that concerns.
    pub fn ambiguous(&self, findings: &mut Findings<'_>) {
        for (email, accounts) in self.site.shared() {
            let described = accounts
                .iter()
                .map(|user| {
                    let known = [user.full_name.as_deref(), Some(user.status_word.as_str())];
                    let mut words: Vec<&str> = known.into_iter().flatten().filter(|word| !word.is_empty()).collect();
                    let seen = user.last_seen.as_ref().map(|seen| format!("last seen: {seen}"));
                    words.extend(seen.as_deref());
                    format!("{} ({})", user.account, words.join(", "))
                })
                .collect::<Vec<_>>();
            let asked = self.asked.get(email).map(Vec::as_slice).unwrap_or_default();
            let names = asked.iter().map(|row| row.username.clone()).collect::<Vec<_>>();
            let places = accounts
                .iter()
                .map(|user| user.at)
                .chain(asked.iter().map(|row| row.at));
            let places = findings.places(places);
            findings.add(
                Kind::Ambiguous,
                vec![email.as_str().into(), described.into(), names.into(), places],
            );
        }
    }
}

fn conflict(
    findings: &mut Findings<'_>,
    row: &MigrationUser,
    detail: String,
    places: impl IntoIterator<Item = crate::migration::sources::Place>,
) {
    let places = findings.places(places);
    findings.add(
        Kind::Conflicts,
        vec![Cell::List(vec![row.username.clone()]), detail.into(), places],
    );
}
