//! Names to accounts, and back.
//!
//! A name is a username, a user key, an e-mail address, or the id of an account that is known or that Cloud confirms.
//! It means exactly one account, or there is a reason why it means none; never a guess. Further sources join the
//! chain in [`Identity::resolve`].

mod map;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use moka::future::Cache;

pub use map::{Claim, Column, Entry, Faults, Map, Meaning, Unlinked};

use super::plan::Change;
use crate::cloud::{BULK, Confluence, Error, Operation, Patience, Profile};
use crate::metrics::Metrics;
use crate::model::{AccountId, Context, Skip};
use crate::settings;

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

/// The chain of sources, as one credential may see them.
#[derive(Debug)]
pub struct Identity {
    map: Arc<Map>,
    known: Cache<AccountId, Known>,
    /// One confirmation at a time: whoever waits finds the answers there instead of asking again.
    confirming: tokio::sync::Mutex<()>,
    metrics: Metrics,
}

impl Identity {
    /// A chain over `map`, with nothing learned yet.
    #[must_use]
    pub fn new(map: Arc<Map>, settings: &settings::Cache, metrics: Metrics) -> Self {
        let lives = Lives {
            positive: settings::seconds(settings.accounts_ttl_s),
            negative: settings::seconds(settings.negative_ttl_s),
        };
        let known = Cache::builder()
            .max_capacity(settings.max_accounts)
            .expire_after(lives)
            .build();
        Self {
            map,
            known,
            confirming: tokio::sync::Mutex::new(()),
            metrics,
        }
    }

    /// The identity map.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Remembers accounts that Cloud showed.
    pub async fn learn(&self, profiles: &[Arc<Profile>]) {
        for profile in profiles {
            self.known
                .insert(profile.account.clone(), Known::Account(Arc::clone(profile)))
                .await;
        }
    }

    /// What each name means, in order. Asks Cloud only about names that have the shape of an account id and that
    /// nothing else explains: ⌈such names ÷ 100⌉ calls.
    ///
    /// # Errors
    /// Cloud could not be asked: that is not "unknown".
    pub async fn resolve(
        &self,
        names: &[String],
        change: Change,
        cloud: &Confluence,
        context: &Context,
    ) -> Result<Vec<Result<AccountId, Skip>>, Error> {
        let mut answers = Vec::with_capacity(names.len());
        let mut open: HashMap<AccountId, Vec<usize>> = HashMap::new();
        for (index, name) in names.iter().enumerate() {
            let answer = self.without_asking(name).await;
            if answer == Err(Skip::Unknown) && AccountId::has_known_shape(name) {
                open.entry(AccountId::new(name)).or_default().push(index);
            }
            answers.push(answer);
        }
        if !open.is_empty() {
            let ids: Vec<AccountId> = open.keys().cloned().collect();
            let profiles = self.profiles(&ids, cloud, context).await?;
            for (id, indices) in open {
                let answer = profiles
                    .get(&id)
                    .map(|profile| profile.account.clone())
                    .ok_or(Skip::Unknown);
                for index in indices {
                    if let Some(slot) = answers.get_mut(index) {
                        slot.clone_from(&answer);
                    }
                }
            }
        }
        // Programs are not put into groups by name; one that is in a group is shown there, and can be taken out.
        for answer in answers.iter_mut().filter(|_| change == Change::Add) {
            if let Ok(account) = answer
                && let Some(Known::Account(profile)) = self.known.get(account).await
                && profile.is_app
            {
                *answer = Err(Skip::NotAPerson);
            }
        }
        Ok(answers)
    }

    /// What the map and the pages already read make of a name.
    async fn without_asking(&self, name: &str) -> Result<AccountId, Skip> {
        if name.trim().is_empty() {
            return Err(Skip::Blank);
        }
        let by_name = match self.map.by_name(name) {
            Some(Meaning::Ambiguous) => return Err(Skip::Ambiguous),
            Some(Meaning::One(entry)) => Some(entry.account_id()),
            Some(Meaning::Tombstoned) => return Err(Skip::Tombstoned),
            Some(Meaning::Deactivated) => return Err(Skip::Deactivated),
            Some(Meaning::App) => return Err(Skip::NotAPerson),
            Some(Meaning::Email(_) | Meaning::NoAccount) | None => None,
        };
        let by_id = if AccountId::is_possible(name) {
            self.confirmed(&AccountId::new(name)).await
        } else {
            None
        };
        match (by_name, by_id) {
            (Some(one), Some(other)) if one != other => Err(Skip::Ambiguous),
            (Some(account), _) | (None, Some(account)) => Ok(account),
            (None, None) => Err(Skip::Unknown),
        }
    }

    /// The id, if the map holds it or Cloud showed it.
    async fn confirmed(&self, id: &AccountId) -> Option<AccountId> {
        if let Some(entry) = self.map.by_account(id.as_str()) {
            return Some(entry.account_id());
        }
        match self.known.get(id).await {
            Some(Known::Account(profile)) => Some(profile.account.clone()),
            _ => None,
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
        let deadline = context.read_deadline.into();
        let Ok(_turn) = tokio::time::timeout_at(deadline, self.confirming.lock()).await else {
            return Err(Error::Unavailable {
                operation: Operation::ReadUsers,
                retry_after: Duration::from_secs(5),
                cause: "others are waiting for it, too".to_owned(),
                doubtful: false,
            });
        };
        let (mut found, mut open) = (HashMap::new(), Vec::new());
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
        let patience = Patience::Until(context.read_deadline);
        let chunks = open
            .chunks(BULK)
            .map(|chunk| cloud.users(chunk, &context.request, patience));
        let asked = try_join_all(chunks).await?.into_iter().flatten();
        found.extend(asked.map(|profile| (profile.account.clone(), Arc::new(profile))));
        // The cache only saves the next question: it may be too small to keep every answer.
        for id in open {
            let known = found
                .get(&id)
                .map_or(Known::Nobody, |profile| Known::Account(Arc::clone(profile)));
            self.known.insert(id, known).await;
        }
        Ok(found)
    }
}
