//! The way back: the name an account is shown under. It always leads back to that account.

use std::sync::Arc;

use super::claims::{Claim, Claims, Verdict, judge, now};
use super::live::is_address;
use super::{Identity, Map, Meaning};
use crate::model::{AccountId, NameKey, Source, Standing};
use crate::settings::{Link, NameKind};

/// An account to be shown.
#[derive(Clone, Debug)]
pub struct Row {
    /// The account.
    pub account: AccountId,
    /// The e-mail address that Cloud shows, or an empty text.
    pub email: Arc<str>,
}

/// What may be shown.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Which kind of name first.
    pub order: &'a [NameKind],
    /// Whether the map's e-mail address may be shown where Cloud hides its own.
    pub map_email: bool,
}

/// A name that an account might be shown under.
struct Candidate {
    name: Arc<str>,
    key: NameKey,
}

impl Identity {
    /// The name of each account, in order: the first kind that leads back to it, at last its id. No call to Cloud.
    pub async fn names(&self, rows: &[Row], map: &Map, wish: Wish<'_>) -> Vec<Arc<str>> {
        let accounts: Vec<AccountId> = rows.iter().map(|row| row.account.clone()).collect();
        // Without the store an account is shown under its id, which is true, too.
        let learned = self.heard.names_of(&accounts).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what was learned of names cannot be read; some members are shown by their ids");
            Vec::new()
        });
        let candidates: Vec<Vec<Candidate>> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let learned = learned.get(index).map(Vec::as_slice).unwrap_or_default();
                self.candidates(row, learned, map, wish)
            })
            .collect();
        let keys: Vec<NameKey> = candidates
            .iter()
            .flatten()
            .map(|candidate| candidate.key.clone())
            .collect();
        let mut heard = self.heard.get(&keys).await.unwrap_or_default().into_iter();
        let mut names = Vec::with_capacity(rows.len());
        for (row, candidates) in rows.iter().zip(candidates) {
            let mut shown = None;
            for candidate in candidates {
                // Drawn for every candidate, so that the next row finds its own.
                let claims = heard.next().unwrap_or_default();
                if shown.is_none() && self.leads_back(&candidate, &claims, row, map) {
                    shown = Some(candidate.name);
                }
            }
            names.push(shown.unwrap_or_else(|| Arc::from(row.account.as_str())));
        }
        names
    }

    /// The names an account might be shown under, best first, up to its id.
    fn candidates(&self, row: &Row, learned: &[crate::store::Learned], map: &Map, wish: Wish<'_>) -> Vec<Candidate> {
        let entry = map
            .by_account(row.account.as_str())
            .filter(|_| self.chain.contains(&Link::Map));
        let now = now();
        let believed: Vec<&str> = learned
            .iter()
            .filter(|learned| self.ages.believes(&Claim::from((*learned).clone()), now))
            .map(|learned| learned.name.as_str())
            .collect();
        let mut names: Vec<Arc<str>> = Vec::new();
        for kind in wish.order {
            match kind {
                NameKind::Username => {
                    names.extend(entry.iter().flat_map(|entry| entry.usernames()).map(Arc::from));
                    names.extend(
                        believed
                            .iter()
                            .filter(|name| !is_address(name))
                            .map(|name| Arc::from(*name)),
                    );
                }
                NameKind::Email => {
                    let of_map = entry.and_then(|entry| entry.email()).filter(|_| wish.map_email);
                    names.extend(of_map.map(Arc::from));
                    if !row.email.is_empty() {
                        names.push(Arc::clone(&row.email));
                    }
                    names.extend(
                        believed
                            .iter()
                            .filter(|name| is_address(name))
                            .map(|name| Arc::from(*name)),
                    );
                }
                NameKind::AccountId => break,
            }
        }
        names
            .into_iter()
            .map(|name| Candidate {
                key: NameKey::of(&name),
                name,
            })
            .collect()
    }

    /// Whether a script that sends this name back means this account by it.
    fn leads_back(&self, candidate: &Candidate, heard: &Claims, row: &Row, map: &Map) -> bool {
        let now = now();
        let of_map = |account: AccountId, standing| Claim {
            account,
            source: Source::Map,
            standing,
            learned_at: now,
        };
        let mut claims = Vec::new();
        if self.chain.contains(&Link::Map) {
            match map.by_name(&candidate.name) {
                Some(Meaning::Ambiguous) => return false,
                Some(Meaning::One(entry)) => claims.push(of_map(entry.account_id(), entry.standing())),
                // It would go on with an address of which nothing is said here.
                Some(Meaning::Email(address)) if NameKey::of(address) != candidate.key => return false,
                _ => {}
            }
        }
        if AccountId::is_possible(&candidate.name)
            && let Some(entry) = map.by_account(&candidate.name)
        {
            claims.push(of_map(entry.account_id(), Standing::Active));
        }
        claims.extend(heard.iter().filter(|claim| self.ages.believes(claim, now)).cloned());
        matches!(judge(&claims), Verdict::One(account, _) if account == row.account)
    }
}
