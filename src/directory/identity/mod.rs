//! Names to accounts, and back.
//!
//! A name is a username, a user key, an e-mail address, or the id of an account that is known or that Cloud confirms.
//! It means exactly one account, or there is a reason why it means none; never a guess. Who says so is a chain of
//! sources: the map, a file of the operator's; what was learned before; what Cloud can be asked. Those that cost no
//! call are all compared; those that do are asked in the order of the chain, about names that nobody knows yet. Two
//! that disagree are asked again, and a name that stays between them is ambiguous.
//!
//! `map`, with what it is built of, and `current` are the operator's file; `claims` is what was learned, and what
//! follows from it; `live` asks Cloud, and `batch` puts the questions together; `resolve` is the way in, `names` the way
//! back.

mod batch;
mod claims;
mod current;
mod live;
mod map;
mod names;
mod resolve;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use moka::future::Cache;

pub use claims::Claim;
pub use current::Current;
pub use live::Drivers;
pub use map::{Column, Entry, Faults, Map, Meaning, Unlinked};
pub use names::{Asking, Row, Shown, Wish};
pub use resolve::Resolution;

use crate::cloud::{BULK, Confluence, Error, Operation, Patience, Profile};
use crate::metrics::Metrics;
use crate::model::{AccountId, Context, NameKey, Source, Standing};
use crate::settings::{self, Link, ScimMatch, Settings};
use crate::store::Store;
use claims::{Ages, Heard, now};
use live::{Live, is_address};

/// A claim that was heard again so soon is not written again.
const HEARD_LATELY_MS: i64 = 86_400_000;

/// Calls that confirm one caller's ids before it is another's turn.
const CALLS_A_TURN: usize = 8;

/// What is known of an account besides the map.
#[derive(Clone, Debug)]
enum Known {
    /// Cloud showed it, on a members' page or when asked.
    Account(Arc<Profile>),
    /// Cloud was asked, and knows no such account.
    Nobody,
}

struct Lives {
    positive: Duration,
    negative: Duration,
}

impl moka::Expiry<AccountId, Known> for Lives {
    fn expire_after_create(&self, _: &AccountId, known: &Known, _: Instant) -> Option<Duration> {
        Some(match known {
            // Whoever is switched off may be switched on again.
            Known::Account(profile) if profile.standing == Standing::Deactivated => self.negative,
            Known::Account(_) => self.positive,
            Known::Nobody => self.negative,
        })
    }

    fn expire_after_update(
        &self,
        id: &AccountId,
        known: &Known,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(id, known, now)
    }
}

/// What was asked in order to show somebody is not asked again so soon, whatever came of it.
fn asked_lately<K>(capacity: u64) -> moka::sync::Cache<K, ()>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
{
    let hour = Duration::from_secs(3600);
    moka::sync::Cache::builder()
        .max_capacity(capacity)
        .time_to_live(hour)
        .build()
}

/// The chain of sources, as one credential may see them.
#[derive(Debug)]
pub struct Identity {
    map: Arc<Current>,
    /// The map whose unknown names are remembered.
    seen_map: std::sync::atomic::AtomicU64,
    chain: Vec<Link>,
    known: Cache<AccountId, Known>,
    heard: Arc<Heard>,
    live: Live,
    ages: Ages,
    /// People whose address was asked for to show them.
    introduced: moka::sync::Cache<AccountId, ()>,
    /// Old names that were asked about to show them.
    refreshed: moka::sync::Cache<NameKey, ()>,
    /// The letters' case counts in some names at the identity provider.
    spelling_counts: bool,
    /// One confirmation at a time: whoever waits finds the answers there instead of asking again.
    confirming: tokio::sync::Mutex<()>,
    metrics: Metrics,
}

/// What the facade knows beyond its callers' own view: its drivers, and what it learned before.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// The sources that have a credential.
    pub drivers: Drivers,
    /// What outlives a restart.
    pub store: Option<Store>,
}

impl Identity {
    /// A chain over `map`, with nothing heard yet but what `own` remembers.
    #[must_use]
    pub fn new(map: Arc<Current>, own: Own, settings: &Settings, metrics: Metrics) -> Self {
        let cache = &settings.cache;
        let lives = Lives {
            positive: settings::seconds(cache.accounts_ttl_s),
            negative: settings::seconds(cache.negative_ttl_s),
        };
        let known = Cache::builder()
            .max_capacity(cache.max_accounts)
            .expire_after(lives)
            .support_invalidation_closures()
            .build();
        let chain = settings.identity.sources.clone();
        let heard = Arc::new(Heard::new(
            own.store,
            cache.max_accounts,
            settings::seconds(cache.negative_ttl_s),
        ));
        let millis = |seconds: u64| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        Self {
            live: Live::new(&own.drivers, &heard, settings, &metrics),
            seen_map: map.generation().into(),
            map,
            known,
            heard,
            ages: Ages {
                known: millis(settings.identity.learned_max_age_days.saturating_mul(86_400)),
                switched_off: millis(cache.negative_ttl_s),
            },
            introduced: asked_lately(cache.max_accounts),
            refreshed: asked_lately(cache.max_accounts),
            spelling_counts: settings.cloud.scim.match_by.contains(&ScimMatch::ExternalId),
            confirming: tokio::sync::Mutex::new(()),
            chain,
            metrics,
        }
    }

    /// The identity map in use.
    #[must_use]
    pub fn map(&self) -> Arc<Map> {
        self.map.now()
    }

    /// What is known of names has changed if this has: the identity map, or what was learned.
    #[must_use]
    pub fn generation(&self) -> (u64, u64) {
        (self.map.generation(), self.heard.news())
    }

    /// The people for whose address a row of the map may wait: Confluence hides it, and nobody has told it. Those who
    /// were introduced lately do not count.
    ///
    /// # Errors
    /// What was learned cannot be read.
    pub async fn strangers(&self, profiles: &[Arc<Profile>]) -> Result<Vec<AccountId>, super::Error> {
        let map = self.map.now();
        if !map.has_aliases() || !self.chain.contains(&Link::Map) {
            return Ok(Vec::new());
        }
        let is_candidate = |profile: &&Arc<Profile>| {
            profile.email.is_empty()
                && profile.standing != Standing::App
                && map.by_account(profile.account.as_str()).is_none()
                && !self.introduced.contains_key(&profile.account)
        };
        let candidates: Vec<AccountId> = profiles
            .iter()
            .filter(is_candidate)
            .map(|profile| profile.account.clone())
            .collect();
        let known = self.heard.names_of(&candidates).await.map_err(names::unreadable)?;
        let strangers = candidates.into_iter().zip(known).filter(|(_, known)| known.is_empty());
        Ok(strangers.map(|(account, _)| account).collect())
    }

    /// Whatever the organisation knows of these people has been learned.
    pub fn introduced(&self, people: Vec<AccountId>) {
        for account in people {
            self.introduced.insert(account, ());
        }
    }

    /// Remembers accounts that Cloud showed, and the addresses that it showed with them.
    ///
    /// # Errors
    /// What was learned before cannot be read.
    pub async fn learn(&self, profiles: &[Arc<Profile>]) -> Result<(), super::Error> {
        let mut addresses = Vec::new();
        for profile in profiles {
            let known = Known::Account(Arc::clone(profile));
            // The organisation shows addresses that the profile may hide; Confluence could never confirm those.
            let source = if profile.brief.is_some() {
                Source::Admin
            } else {
                Source::Members
            };
            if self.listens_to(source) && is_address(&profile.email) {
                addresses.push((NameKey::of(&profile.email), profile, source));
            }
            self.known.insert(profile.account.clone(), known).await;
        }
        let keys: Vec<NameKey> = addresses.iter().map(|(key, _, _)| key.clone()).collect();
        let heard = self.heard.get(&keys).await.map_err(names::unreadable)?;
        let now = now();
        let mut new = Vec::new();
        for ((key, profile, source), claims) in addresses.into_iter().zip(heard) {
            let claim = Claim::new(profile.account.clone(), source, profile.standing);
            let is_old_news = |other: &Claim| {
                (other.source, &other.account, other.standing) == (source, &claim.account, claim.standing)
                    && now.saturating_sub(other.learned_at) < HEARD_LATELY_MS.min(self.ages.known / 2)
                    && self.ages.believes(other, now)
            };
            if !claims.iter().any(is_old_news) {
                new.push((key, claim));
            }
        }
        self.heard.add(new);
        Ok(())
    }

    /// A new map knows names that nobody knew: what was asked in vain may be asked again.
    fn heed_map(&self) {
        let generation = self.map.generation();
        if self.seen_map.swap(generation, std::sync::atomic::Ordering::AcqRel) != generation {
            self.live.forget();
            // Never fails where the cache was told to support it.
            let _ = self
                .known
                .invalidate_entries_if(|_, known| matches!(known, Known::Nobody));
        }
    }

    /// Whether the organisation showed lately that the account has access to Confluence: it is switched on, and it was
    /// active there. Costs no call; of whom nothing is known, nothing is said.
    pub async fn has_access(&self, account: &AccountId) -> bool {
        match self.known.get(account).await {
            Some(Known::Account(profile)) => profile
                .brief
                .as_ref()
                .is_some_and(|brief| brief.has_access && brief.last_active.is_some()),
            _ => false,
        }
    }

    /// What Cloud shows of these accounts; those it was not asked about yet are asked for, 100 a call.
    ///
    /// # Errors
    /// Cloud could not be asked.
    pub async fn profiles(
        &self,
        ids: &[AccountId],
        cloud: &Confluence,
        context: &Context,
    ) -> Result<HashMap<AccountId, Arc<Profile>>, Error> {
        let mut found = HashMap::new();
        // In turns, so that one caller's many ids do not keep all others waiting.
        for ids in ids.chunks(BULK * CALLS_A_TURN) {
            let deadline = context.read_deadline.into();
            let Ok(_turn) = tokio::time::timeout_at(deadline, self.confirming.lock()).await else {
                return Err(Error::Unavailable {
                    operation: Operation::ReadUsers,
                    retry_after: Duration::from_secs(5),
                    cause: "others are waiting for it, too".to_owned(),
                    doubtful: false,
                });
            };
            let mut open = Vec::new();
            for id in ids {
                let known = self.known.get(id).await;
                self.metrics
                    .looked_up("accounts", if known.is_some() { "hit" } else { "miss" });
                match known {
                    Some(Known::Account(profile)) => {
                        found.insert(id.clone(), profile);
                    }
                    Some(Known::Nobody) => {}
                    None => open.push(id.clone()),
                }
            }
            found.extend(self.profiles_now(&open, cloud, context).await?);
        }
        Ok(found)
    }

    /// What Cloud showed of these accounts, as far as that is remembered; nobody is asked.
    pub async fn remembered(&self, ids: &[AccountId]) -> HashMap<AccountId, Arc<Profile>> {
        let mut found = HashMap::new();
        for id in ids {
            if let Some(profile) = self.profile(id).await {
                found.insert(id.clone(), profile);
            }
        }
        found
    }

    /// What Cloud shows of them now, past the cache.
    async fn profiles_now(
        &self,
        ids: &[AccountId],
        cloud: &Confluence,
        context: &Context,
    ) -> Result<HashMap<AccountId, Arc<Profile>>, Error> {
        let patience = Patience::Until(context.read_deadline);
        let chunks = ids
            .chunks(BULK)
            .map(|chunk| cloud.users(chunk, &context.request, patience));
        let asked = try_join_all(chunks).await?.into_iter().flatten();
        let found: HashMap<AccountId, Arc<Profile>> = asked
            .map(|profile| (profile.account.clone(), Arc::new(profile)))
            .collect();
        // The cache only saves the next question: it may be too small to keep every answer.
        for id in ids {
            let known = found
                .get(id)
                .map_or(Known::Nobody, |profile| Known::Account(Arc::clone(profile)));
            self.known.insert(id.clone(), known).await;
        }
        Ok(found)
    }
}
