//! The way back: the name an account is shown under. It always leads back to that account.
//!
//! A script compares what it wants with what it is shown, and takes out what it does not want. So an account is shown
//! under the name by which it was put in: if a username led to it through an address, the username is shown, however
//! long ago that was learned. What is older than a write would believe is asked again first, and where nobody can be asked
//! it is shown all the same: a name that is refused does less harm than one that was never wanted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesOrdered;

use super::claims::{Claim, Claims, Verdict, judge, now};
use super::live::is_address;
use super::map::Unlinked;
use super::{Identity, Map, Meaning};
use crate::cloud::{Confluence, Profile};
use crate::directory;
use crate::model::{AccountId, Context, NameKey, Source, Standing};
use crate::settings::{Link, NameKind};
use crate::store::{self, Learned};

/// Old names that are asked about for one reading, and for how long it waits for that.
const MOST_OLD: usize = 500;
const PATIENCE: Duration = Duration::from_secs(5);

/// Accounts about which the store is asked at once.
const PART: usize = 1000;

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

/// An account as it is shown.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// The name.
    pub name: Arc<str>,
    /// The row of the map that leads to the account through its address, if the map does not know the account itself.
    pub through: Option<Unlinked<'a>>,
}

/// Who may be asked in order to show somebody.
#[derive(Clone, Copy, Debug)]
pub enum Asking<'a> {
    /// Cloud, and the sources that are asked by calls, on behalf of a request.
    Cloud(&'a Confluence, &'a Context),
    /// Nobody: what is remembered has to do.
    Nobody,
}

/// A name that an account might be shown under.
struct Candidate {
    name: Arc<str>,
    /// The name, and the address with which the map goes on from it.
    keys: Vec<NameKey>,
}

/// What is known of the names of some accounts, in their order.
#[derive(Default)]
struct About<'m> {
    candidates: Vec<Vec<Candidate>>,
    throughs: Vec<Option<Unlinked<'m>>>,
    /// What is claimed of each key of each candidate.
    heard: Vec<Claims>,
}

impl About<'_> {
    /// Of these accounts, and then of those.
    fn and(mut self, mut others: Self) -> Self {
        self.candidates.append(&mut others.candidates);
        self.throughs.append(&mut others.throughs);
        self.heard.append(&mut others.heard);
        self
    }
}

/// Every key of each candidate, in order.
fn keys(candidates: &[Vec<Candidate>]) -> Vec<NameKey> {
    let candidates = candidates.iter().flatten();
    candidates
        .flat_map(|candidate| candidate.keys.iter().cloned())
        .collect()
}

impl Identity {
    /// Each account as it is shown, in order: under the first kind of name that leads back to it, at last its id. No
    /// call to Cloud but for names that were learned longer ago than a write believes, as in [`Self::look_up`].
    ///
    /// # Errors
    /// What was learned cannot be read: a member under another name than before would be thrown out by some scripts.
    pub async fn names<'m>(
        &self,
        rows: &[Row],
        map: &'m Map,
        wish: Wish<'_>,
        asking: Asking<'_>,
    ) -> Result<Vec<Shown<'m>>, directory::Error> {
        // The store answers for the next ones while these are worked on.
        let parts: FuturesOrdered<_> = rows.chunks(PART).map(|part| self.about(part, map, wish)).collect();
        let all = parts.try_fold(About::default(), async |all, part| Ok(all.and(part)));
        let About {
            candidates,
            throughs,
            mut heard,
        } = all.await.map_err(unreadable)?;
        let mut old = self.old(&candidates, &heard);
        // The others are asked about at the next reading: none is to wait for thousands of questions.
        old.truncate(MOST_OLD);
        if let Asking::Cloud(cloud, context) = asking
            && !old.is_empty()
        {
            for name in &old {
                self.refreshed.insert(NameKey::of(name), ());
            }
            // What cannot be asked now is shown as it was known.
            let briefly = context.again(PATIENCE.min(context.read_deadline.saturating_duration_since(Instant::now())));
            self.look_up(&old, map, cloud, &briefly).await?;
            heard = self.heard.get(&keys(&candidates)).await.map_err(unreadable)?;
        }
        let mut heard = heard.as_slice();
        let mut shown = Vec::with_capacity(rows.len());
        for ((row, candidates), through) in rows.iter().zip(candidates).zip(throughs) {
            let mut name = None;
            for candidate in candidates {
                // Drawn for every candidate, so that the next row finds its own.
                let (claims, others) = heard.split_at_checked(candidate.keys.len()).unwrap_or_default();
                heard = others;
                if name.is_none() && self.leads_back(&candidate, claims, row, map) {
                    name = Some(candidate.name);
                }
            }
            shown.push(Shown {
                name: name.unwrap_or_else(|| Arc::from(row.account.as_str())),
                through,
            });
        }
        Ok(shown)
    }

    /// What is known of these accounts' names.
    async fn about<'m>(&self, rows: &[Row], map: &'m Map, wish: Wish<'_>) -> Result<About<'m>, store::Error> {
        let accounts: Vec<AccountId> = rows.iter().map(|row| row.account.clone()).collect();
        let learned = self.heard.names_of(&accounts).await?;
        let (candidates, throughs): (Vec<_>, Vec<_>) = rows
            .iter()
            .zip(&learned)
            .map(|(row, learned)| {
                let through = self.through(row, learned, map);
                let candidates = self.candidates(row, learned, &through, map, wish);
                (candidates, through.into_iter().next())
            })
            .unzip();
        let heard = self.heard.get(&keys(&candidates)).await?;
        Ok(About {
            candidates,
            throughs,
            heard,
        })
    }

    /// The names of which nothing is known but what a write would not believe any more.
    fn old(&self, candidates: &[Vec<Candidate>], heard: &[Claims]) -> Vec<String> {
        let now = now();
        let mut heard = heard.iter();
        let mut old = Vec::new();
        for candidate in candidates.iter().flatten() {
            let claims: Vec<&Claim> = heard
                .by_ref()
                .take(candidate.keys.len())
                .flat_map(|claims| claims.iter())
                .filter(|claim| self.listens_to(claim.source))
                .collect();
            let is_old = !claims.is_empty() && claims.iter().all(|claim| self.is_old(claim, now));
            let can_ask = || claims.iter().any(|claim| self.can_ask_anew(claim.source));
            let lately = || candidate.keys.iter().any(|key| self.refreshed.contains_key(key));
            if is_old && can_ask() && !lately() {
                old.push(candidate.name.to_string());
            }
        }
        old
    }

    /// Whether a name is asked about in order to show it. The identity provider's own keys are known here in lower case
    /// only, and would not be found so.
    fn can_ask_anew(&self, source: Source) -> bool {
        match source {
            Source::Members => true,
            Source::Scim => self.can_ask(source) && !self.spelling_counts,
            _ => self.can_ask(source),
        }
    }

    fn is_old(&self, claim: &Claim, now: i64) -> bool {
        now.saturating_sub(claim.learned_at) > self.ages.known
    }

    /// The usernames under which scripts may know each account, in order; the one that is shown first. Several are a
    /// merged account.
    ///
    /// # Errors
    /// What was learned cannot be read.
    pub async fn usernames(&self, accounts: &[AccountId], map: &Map) -> Result<Vec<Vec<String>>, directory::Error> {
        let learned = if map.has_aliases() {
            self.heard.names_of(accounts).await.map_err(unreadable)?
        } else {
            accounts.iter().map(|_| Vec::new()).collect()
        };
        let mut all = Vec::with_capacity(accounts.len());
        for (account, learned) in accounts.iter().zip(&learned) {
            let row = Row {
                account: account.clone(),
                email: self.shown_address(account).await,
            };
            let through = self.through(&row, learned, map);
            let entry = map.by_account(account.as_str());
            let usernames = entry.iter().flat_map(|entry| entry.usernames());
            let usernames = usernames.chain(through.iter().filter_map(|row| row.username));
            let mut seen = HashSet::new();
            all.push(
                usernames
                    .filter(|name| seen.insert(NameKey::of(name)))
                    .map(str::to_owned)
                    .collect(),
            );
        }
        Ok(all)
    }

    /// The address that Cloud showed of an account, as far as that is remembered.
    async fn shown_address(&self, account: &AccountId) -> Arc<str> {
        let profile = self.profile(account).await;
        profile.map(|profile| Arc::clone(&profile.email)).unwrap_or_default()
    }

    /// The rows of the map that have an address of this account, and no account themselves.
    fn through<'m>(&self, row: &Row, learned: &[Learned], map: &'m Map) -> Vec<Unlinked<'m>> {
        if !map.has_aliases() || !self.chain.contains(&Link::Map) {
            return Vec::new();
        }
        let learned = self.heeded(row, learned);
        let mut addresses: Vec<&str> = vec![&row.email];
        addresses.extend(learned.into_iter().filter(|name| is_address(name)));
        let mut lines = HashSet::new();
        addresses
            .into_iter()
            .filter(|address| !address.is_empty())
            .flat_map(|address| map.unlinked_under(address))
            .filter(|row| lines.insert(row.line))
            .collect()
    }

    /// The learned names that may be shown, in an order that does not change: the shorter first.
    fn heeded<'a>(&self, row: &Row, learned: &'a [Learned]) -> Vec<&'a str> {
        let is_past = |learned: &Learned| {
            // A profile that shows another address has given this one up.
            learned.source == Source::Members
                && !row.email.is_empty()
                && is_address(learned.name.as_str())
                && NameKey::of(&row.email) != learned.name
        };
        let mut names: Vec<&str> = learned
            .iter()
            .filter(|learned| self.listens_to(learned.source) && !is_past(learned))
            .map(|learned| learned.name.as_str())
            .collect();
        names.sort_by_key(|name| (name.chars().count(), *name));
        names.dedup();
        names
    }

    /// The names an account might be shown under, best first, up to its id.
    fn candidates(
        &self,
        row: &Row,
        learned: &[Learned],
        through: &[Unlinked<'_>],
        map: &Map,
        wish: Wish<'_>,
    ) -> Vec<Candidate> {
        let entry = map
            .by_account(row.account.as_str())
            .filter(|_| self.chain.contains(&Link::Map));
        let learned = self.heeded(row, learned);
        let learned = |address: bool| {
            let names = learned.iter().filter(move |name| is_address(name) == address);
            names.map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>()
        };
        let mut names: Vec<Arc<str>> = Vec::new();
        for kind in wish.order {
            match kind {
                NameKind::Username => {
                    names.extend(entry.iter().flat_map(|entry| entry.usernames()).map(Arc::from));
                    names.extend(through.iter().filter_map(|row| row.username).map(Arc::from));
                    names.extend(learned(false));
                }
                NameKind::Email => {
                    let of_map = entry.and_then(|entry| entry.email()).filter(|_| wish.map_email);
                    names.extend(of_map.map(Arc::from));
                    if !row.email.is_empty() {
                        names.push(Arc::clone(&row.email));
                    }
                    names.extend(learned(true));
                }
                NameKind::AccountId => break,
            }
        }
        let candidate = |name: Arc<str>| {
            let mut keys = vec![NameKey::of(&name)];
            if let Some(Meaning::Email(address)) = map.by_name(&name) {
                keys.push(NameKey::of(address));
            }
            Candidate { name, keys }
        };
        names.into_iter().map(candidate).collect()
    }

    /// Whether a script that sends this name back means this account by it.
    fn leads_back(&self, candidate: &Candidate, heard: &[Claims], row: &Row, map: &Map) -> bool {
        let now = now();
        let of_map = |account: AccountId, standing| Claim::new(account, Source::Map, standing);
        let mut claims = Vec::new();
        if self.chain.contains(&Link::Map) {
            match map.by_name(&candidate.name) {
                Some(Meaning::One(entry)) => claims.push(of_map(entry.account_id(), entry.standing())),
                Some(Meaning::Email(_) | Meaning::NoAccount) | None => {}
                Some(Meaning::Ambiguous | Meaning::Tombstoned | Meaning::Deactivated | Meaning::App) => return false,
            }
            if let Some(entry) = map.by_account(&candidate.name) {
                claims.push(of_map(entry.account_id(), Standing::Active));
            }
        }
        let heard = heard.iter().flat_map(|claims| claims.iter());
        let heard = heard.filter(|claim| self.listens_to(claim.source));
        let (young, old): (Vec<&Claim>, Vec<&Claim>) = heard.partition(|claim| !self.is_old(claim, now));
        // Until somebody has said otherwise it is how the account is known.
        let heard = if young.is_empty() { old } else { young };
        matches!(judge(claims.iter().chain(heard)), Verdict::One(account, _) if account == row.account)
    }

    /// Whether the chain has this source.
    pub(super) fn listens_to(&self, source: Source) -> bool {
        self.chain.contains(&match source {
            Source::Map => Link::Map,
            Source::AccountId => Link::AccountId,
            Source::Members => Link::Members,
            Source::Admin => Link::Admin,
            Source::Scim => Link::Scim,
            Source::Jira => Link::Jira,
        })
    }

    /// What Cloud showed of an account, as far as that is remembered.
    pub(super) async fn profile(&self, account: &AccountId) -> Option<Arc<Profile>> {
        match self.known.get(account).await {
            Some(super::Known::Account(profile)) => Some(profile),
            _ => None,
        }
    }
}

/// What was learned cannot be read: nothing can be said of names.
pub(super) fn unreadable(error: store::Error) -> directory::Error {
    directory::Error::Unavailable {
        retry_after: Duration::from_secs(30),
        cause: format!("what was learned of names cannot be read: {error}"),
    }
}
