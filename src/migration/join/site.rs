//! The site's accounts by address. An address that two accounts have means neither.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Findings, is_address};
use crate::migration::report::{Cell, Kind};
use crate::migration::sources::{Inputs, Place, SiteUser};
use crate::model::{AccountId, NameKey};

pub struct Site<'a> {
    users: &'a [SiteUser],
    /// How many accounts there are.
    accounts: usize,
    /// An address's accounts, as numbers in `users`, each account once.
    by_email: HashMap<NameKey, Vec<usize>>,
    /// Accounts whose rows contradict each other.
    contradicted: BTreeSet<usize>,
}

/// What an address means.
pub enum Hit<'a> {
    /// Nobody has it.
    Nobody,
    /// One account has it.
    One(&'a SiteUser),
    /// Several have it.
    Several,
    /// One account has it in one row, and not in another.
    Contradicted(&'a SiteUser),
}

impl<'a> Site<'a> {
    pub fn new(inputs: &'a Inputs, findings: &mut Findings<'_>) -> Self {
        let mut site = Self {
            users: &inputs.site,
            accounts: 0,
            by_email: HashMap::with_capacity(inputs.site.len()),
            contradicted: BTreeSet::new(),
        };
        let mut first: HashMap<&AccountId, usize> = HashMap::with_capacity(inputs.site.len());
        let mut again: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
        for (at, user) in inputs.site.iter().enumerate() {
            let number = *first.entry(&user.account).or_insert(at);
            if let Some(before) = inputs.site.get(number).filter(|_| number != at) {
                again.entry(number).or_insert_with(|| vec![before.at]).push(user.at);
                if !says_the_same(before, user) {
                    site.contradicted.insert(number);
                }
            }
            if let Some(email) = &user.email {
                if is_address(email) {
                    let accounts = site.by_email.entry(NameKey::of(email)).or_default();
                    if !accounts.contains(&number) {
                        accounts.push(number);
                    }
                } else {
                    let row = vec![
                        user.full_name.as_deref().into(),
                        format!("{email:?} is no address; account {}", user.account).into(),
                        findings.place(user.at).into(),
                    ];
                    findings.add(Kind::Invalid, row);
                }
            }
        }
        site.accounts = first.len();
        for (number, places) in again {
            let Some(user) = inputs.site.get(number) else { continue };
            let places = findings.places(places);
            if site.contradicted.contains(&number) {
                let name = user.full_name.clone().unwrap_or_default();
                let detail = format!("account {} has rows with different addresses or statuses", user.account);
                findings.add(Kind::Conflicts, vec![Cell::List(vec![name]), detail.into(), places]);
            } else {
                let name = format!("account {}", user.account);
                findings.add(Kind::Duplicates, vec![name.into(), places]);
            }
        }
        site
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.accounts
    }

    pub fn find(&self, email: &NameKey) -> Hit<'a> {
        match self.by_email.get(email).map(Vec::as_slice) {
            Some([number]) => match self.users.get(*number) {
                Some(user) if self.contradicted.contains(number) => Hit::Contradicted(user),
                Some(user) => Hit::One(user),
                None => Hit::Nobody,
            },
            Some([_, ..]) => Hit::Several,
            _ => Hit::Nobody,
        }
    }

    /// The addresses that several accounts have, in order, each with those accounts.
    pub fn shared(&self) -> BTreeMap<&NameKey, Vec<&'a SiteUser>> {
        self.by_email
            .iter()
            .filter(|(_, numbers)| numbers.len() > 1)
            .map(|(email, numbers)| (email, numbers.iter().filter_map(|at| self.users.get(*at)).collect()))
            .collect()
    }
}

fn says_the_same(one: &SiteUser, other: &SiteUser) -> bool {
    let key = |user: &SiteUser| user.email.as_deref().map(NameKey::of);
    key(one) == key(other) && one.status == other.status && one.app == other.app
}
