//! From rows to the index, once: which row belongs to which account, what each name leads to, what is shown.
//!
//! A row without an account id belongs to the account one of whose own rows gives its e-mail address, as `email` or
//! `old_email`; so a list of usernames and a list of accounts need nothing in common but addresses.

use std::collections::HashSet;

use super::index::{Ids, Kind, Lead, Names, Said};
use super::rows::{Bits, Field, NONE, Row, Rows};
use super::{Account, Map};
use crate::model::{NameKey, Standing};
use crate::settings::PrimaryRule;

/// Builds the index.
pub(super) fn build(mut rows: Rows, rule: PrimaryRule) -> Map {
    rows.shrink();
    let mut ids = Ids::with_capacity(rows.linked);
    let mut names = Names::new();
    let mut accounts = own_rows(&mut rows, &mut ids, &mut names);
    if rows.linked < rows.rows.len() {
        other_rows(&mut rows, &names);
        claim_all(&mut rows, &mut names, 0, |row| !row.has(Field::Account));
    }
    names.shrink();
    chain(&mut rows, &mut accounts);
    for account in &mut accounts {
        describe(account, &mut rows, rule);
    }
    let claims = mark_ambiguous(&mut rows, &names);
    Map {
        rows,
        accounts,
        ids,
        names,
        claims,
        ..Map::default()
    }
}

/// Numbers the accounts in the order of the file, and enters the names of the rows that have one.
fn own_rows(rows: &mut Rows, ids: &mut Ids, names: &mut Names) -> Vec<Account> {
    let mut accounts = Vec::with_capacity(rows.linked);
    for (number, row) in (0..).zip(rows.rows.iter_mut()) {
        if !row.has(Field::Account) {
            continue;
        }
        let next = u32::try_from(accounts.len()).unwrap_or(NONE);
        row.entry = ids.number(&rows.texts, row.span(Field::Account), next);
        if row.entry == next {
            accounts.push(Account::new(number));
        }
    }
    accounts.shrink_to_fit();
    let expected = rows.names;
    claim_all(rows, names, expected, |row| row.entry != NONE);
    accounts
}

/// Finds out whose the rows without an account id are, by the names of the rows that have one alone: no such row decides
/// about another.
fn other_rows(rows: &mut Rows, names: &Names) {
    let texts = &rows.texts;
    for row in rows.rows.iter_mut().filter(|row| !row.has(Field::Account)) {
        if !row.has(Field::Email) {
            continue;
        }
        match names.find(texts, row.span(Field::Email).of(texts)) {
            Some((lead, _)) if lead.kind == Kind::AccountsEmail => {
                row.entry = lead.target;
                row.bits.set(Bits::LINKED);
            }
            Some((lead, _)) if lead.kind == Kind::Ambiguous => row.bits.set(Bits::CONFLICT),
            _ => {}
        }
    }
}

/// Enters all names, about `expected`, of the rows that `which` picks.
fn claim_all(rows: &mut Rows, names: &mut Names, expected: usize, which: impl Fn(&Row) -> bool) {
    let mut said = Said::with_capacity(expected);
    let Rows { texts, rows, .. } = rows;
    for (number, row) in (0..).zip(rows.iter_mut()).filter(|(_, row)| which(row)) {
        let mut first = 0;
        for field in Field::NAMES.into_iter().filter(|field| row.has(*field)) {
            names.note(
                texts,
                row.span(field),
                lead(row, number, field),
                number,
                field,
                &mut said,
            );
            first |= Bits::first(field);
        }
        row.bits.set(first);
    }
    let same_email = |one: u32, other: u32| {
        let email = |row: u32| {
            rows.get(row as usize)
                .map_or("", |row| row.span(Field::Email).of(texts))
        };
        NameKey::same(email(one), email(other))
    };
    for (row, field) in names.enter(texts, said, same_email) {
        if let Some(row) = rows.get_mut(row as usize) {
            row.bits.clear(Bits::first(field));
        }
    }
}

/// What a row says of its name in `field`.
fn lead(row: &Row, number: u32, field: Field) -> Lead {
    if row.bits.has(Bits::CONFLICT) {
        return Lead::AMBIGUOUS;
    }
    let own = row.has(Field::Account);
    let (kind, target) = match field {
        _ if row.entry == NONE && row.has(Field::Email) => (Kind::Email, number),
        _ if row.entry == NONE => (Kind::Nothing, NONE),
        Field::Email | Field::OldEmail if own => (Kind::AccountsEmail, row.entry),
        _ => (Kind::Account, row.entry),
    };
    Lead {
        kind,
        standing: row.bits.standing(),
        target,
    }
}

/// Strings the rows of each account together, in the order of the file.
fn chain(rows: &mut Rows, accounts: &mut [Account]) {
    for (number, row) in rows.rows.iter_mut().enumerate().rev() {
        if let Some(account) = accounts.get_mut(row.entry as usize) {
            row.next = std::mem::replace(&mut account.first, u32::try_from(number).unwrap_or(NONE));
        }
    }
}

/// Decides what an account is shown as. Its standing is that of its most alive row.
fn describe(account: &mut Account, rows: &mut Rows, rule: PrimaryRule) {
    if let Some(row) = rows.get(account.first).filter(|row| row.next == NONE) {
        // As nearly all accounts are: nothing to choose from.
        let number_if = |is: bool| if is { account.first } else { NONE };
        let is_old = row.has(Field::OldEmail)
            && NameKey::same(
                row.span(Field::Email).of(&rows.texts),
                row.span(Field::OldEmail).of(&rows.texts),
            );
        account.primary = number_if(row.has(Field::Username));
        account.email = number_if(row.has(Field::Email) && !is_old);
        account.standing = row.bits.standing();
        return;
    }
    let chain = rows.chain(account.first);
    account.standing = chain.map(|(_, row)| row.bits.standing()).min().unwrap_or_default();
    account.email = current_email(account, rows);
    let email = rows.get(account.email).and_then(|row| rows.text(row, Field::Email));
    // A row that says so first, then whoever is still there, then the rule, then the order of the file.
    account.primary = rows
        .chain(account.first)
        .filter(|(_, row)| row.has(Field::Username))
        .min_by_key(|(_, row)| {
            let marked = row.bits.has(Bits::PRIMARY);
            let rule = if marked { PrimaryRule::First } else { rule };
            (!marked, row.bits.standing(), rank(rule, row, rows, email))
        })
        .map_or(NONE, |(number, _)| number);
    let mut seen = HashSet::new();
    let mut repeats = Vec::new();
    let primary = rows.get(account.primary).map(|row| (account.primary, row));
    for (number, row) in primary.into_iter().chain(rows.chain(account.first)) {
        if let Some(username) = rows.text(row, Field::Username)
            && !seen.insert(NameKey::of(username))
            && number != account.primary
        {
            repeats.push(number);
        }
    }
    account.merged = seen.len() > 1;
    for number in repeats {
        if let Some(row) = rows.rows.get_mut(number as usize) {
            row.bits.set(Bits::REPEATS);
        }
    }
}

/// The first row of the account's own whose address is nowhere called an old one of this account.
fn current_email(account: &Account, rows: &Rows) -> u32 {
    let chain = rows.chain(account.first);
    let old: HashSet<NameKey> = chain
        .filter_map(|(_, row)| rows.text(row, Field::OldEmail))
        .map(NameKey::of)
        .collect();
    let is_old = |email: &str| !old.is_empty() && old.contains(&NameKey::of(email));
    rows.chain(account.first)
        .filter(|(_, row)| !row.bits.has(Bits::LINKED))
        .find(|(_, row)| rows.text(row, Field::Email).is_some_and(|email| !is_old(email)))
        .map_or(NONE, |(number, _)| number)
}

/// The rule's opinion of a row's username: the lowest is shown.
fn rank(rule: PrimaryRule, row: &Row, rows: &Rows, email: Option<&str>) -> usize {
    let username = rows.text(row, Field::Username).unwrap_or_default();
    match rule {
        PrimaryRule::First => 0,
        PrimaryRule::Shortest => username.chars().count(),
        PrimaryRule::MatchesEmail => {
            let own = [Field::Email, Field::OldEmail].map(|field| rows.text(row, field));
            let matches = |address: &str| {
                let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
                NameKey::same(username, address) || NameKey::same(username, local)
            };
            usize::from(!own.into_iter().chain([email]).flatten().any(matches))
        }
    }
}

/// Marks the names that do not lead back, and notes who claims them: the place of the name's text, row and column.
fn mark_ambiguous(rows: &mut Rows, names: &Names) -> Vec<(u32, u32, Field)> {
    let doubts = names.doubts(&rows.texts);
    let mut claims = Vec::new();
    if doubts.is_empty() {
        return claims;
    }
    let texts = &rows.texts;
    for (number, row) in (0..).zip(rows.rows.iter_mut()) {
        for field in Field::NAMES {
            // An empty text is no name, and is not found.
            if let Some(at) = doubts.find(texts, row.span(field).of(texts)) {
                row.bits.set(Bits::ambiguous(field));
                claims.push((at, number, field));
            }
        }
    }
    claims.sort_unstable_by_key(|(at, number, field)| (*at, *number, *field as usize));
    claims.shrink_to_fit();
    claims
}

impl Account {
    fn new(own: u32) -> Self {
        Self {
            own,
            first: NONE,
            primary: NONE,
            email: NONE,
            standing: Standing::Active,
            merged: false,
        }
    }
}
