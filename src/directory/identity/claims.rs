//! What sources say of names, and what follows from it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::model::{AccountId, NameKey, Source, Standing};
use crate::store::{self, Learned, Store};

/// One source says that a name means this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The account.
    pub account: AccountId,
    /// Who says so.
    pub source: Source,
    /// Whether there is still somebody behind it.
    pub standing: Standing,
    /// When it was said, in epoch milliseconds.
    pub learned_at: i64,
}

/// All that is claimed of one name.
pub type Claims = Arc<[Claim]>;

/// How far apart two readings of a clock that is being set may be.
const CLOCK_MS: i64 = 60_000;

/// How long claims are believed.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    /// In milliseconds.
    pub known: i64,
    /// The same for an account that is switched off: it may have been switched on again.
    pub switched_off: i64,
}

impl Ages {
    /// Whether a claim still counts. One of a time that has not come was made while the clock was wrong: how old it is,
    /// nobody knows.
    pub fn believes(&self, claim: &Claim, now: i64) -> bool {
        let most = match claim.standing {
            Standing::Deactivated => self.switched_off,
            _ => self.known,
        };
        (-CLOCK_MS..=most).contains(&now.saturating_sub(claim.learned_at))
    }
}

/// What follows from all that is claimed of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exactly one account.
    One(AccountId, Standing),
    /// Several accounts: refused, whoever names them.
    Ambiguous,
    /// Nobody claims the name.
    Open,
}

/// Compares all that is claimed of a name: one account, or none that could be told.
pub fn judge<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> Verdict {
    let mut found: Option<(&AccountId, Standing)> = None;
    for claim in claims {
        found = match found {
            None => Some((&claim.account, claim.standing)),
            // Whoever knows that nobody is behind the account knows more than the others.
            Some((account, standing)) if *account == claim.account => Some((account, standing.max(claim.standing))),
            Some(_) => return Verdict::Ambiguous,
        };
    }
    found.map_or(Verdict::Open, |(account, standing)| {
        Verdict::One(account.clone(), standing)
    })
}

/// What was learned of names: in memory while it is used, and in the store, where there is one, for good.
#[derive(Debug)]
pub struct Heard {
    cache: moka::sync::Cache<NameKey, Claims>,
    store: Option<Store>,
    /// Held while a name's claims are changed, never while waiting.
    writing: Mutex<()>,
    /// Counts changes: what was read from the store before one is not kept after it.
    changes: AtomicU64,
}

impl Heard {
    pub fn new(store: Option<Store>, capacity: u64) -> Self {
        Self {
            cache: moka::sync::Cache::new(capacity),
            store,
            writing: Mutex::new(()),
            changes: AtomicU64::new(0),
        }
    }

    /// What is claimed of each name, in order.
    pub async fn get(&self, keys: &[NameKey]) -> Result<Vec<Claims>, store::Error> {
        let mut claims: Vec<Option<Claims>> = keys.iter().map(|key| self.cache.get(key)).collect();
        if let Some(store) = &self.store {
            let misses = || keys.iter().zip(&claims).filter(|(_, claims)| claims.is_none());
            let mut seen = HashSet::new();
            let missing: Vec<NameKey> = misses()
                .map(|(key, _)| key)
                .filter(|key| seen.insert(*key))
                .cloned()
                .collect();
            if !missing.is_empty() {
                let before = self.changes.load(Ordering::Acquire);
                let rows = store.look_up(&missing).await?;
                let read: HashMap<NameKey, Claims> = missing
                    .into_iter()
                    .zip(rows.into_iter().map(|rows| rows.into_iter().map(Claim::from).collect()))
                    .collect();
                {
                    let _writing = self.writing.lock();
                    if self.changes.load(Ordering::Acquire) == before {
                        for (key, claims) in &read {
                            self.cache.insert(key.clone(), Arc::clone(claims));
                        }
                    }
                }
                for (key, slot) in keys.iter().zip(&mut claims) {
                    if slot.is_none() {
                        *slot = read.get(key).cloned();
                    }
                }
            }
        }
        Ok(claims.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Which names are known to mean these accounts, in order; the latest first.
    pub async fn names_of(&self, accounts: &[AccountId]) -> Result<Vec<Vec<Learned>>, store::Error> {
        match &self.store {
            Some(store) if !accounts.is_empty() => store.by_accounts(accounts).await,
            _ => Ok(accounts.iter().map(|_| Vec::new()).collect()),
        }
    }

    /// What `source` claims of a name is now exactly this.
    pub fn replace(&self, key: &NameKey, source: Source, claims: &[Claim]) {
        let _writing = self.writing.lock();
        self.changes.fetch_add(1, Ordering::AcqRel);
        match self.cache.get(key) {
            Some(known) => {
                let others = known.iter().filter(|claim| claim.source != source);
                self.cache.insert(key.clone(), others.chain(claims).cloned().collect());
            }
            None if self.store.is_none() => self.cache.insert(key.clone(), claims.into()),
            // The store knows what the others claim.
            None => {}
        }
        if let Some(store) = &self.store {
            let learned = claims.iter().map(|claim| learned(key, claim)).collect();
            store.replace(key.clone(), source, learned);
        }
    }

    /// One more claim each, beside what the same source claimed before.
    pub fn add(&self, new: Vec<(NameKey, Claim)>) {
        if new.is_empty() {
            return;
        }
        let _writing = self.writing.lock();
        self.changes.fetch_add(1, Ordering::AcqRel);
        for (key, claim) in &new {
            let known = self.cache.get(key);
            if known.is_none() && self.store.is_some() {
                continue;
            }
            let same = |other: &&Claim| other.source == claim.source && other.account == claim.account;
            let known = known.unwrap_or_default();
            let others = known.iter().filter(|other| !same(other));
            self.cache.insert(key.clone(), others.chain([claim]).cloned().collect());
        }
        if let Some(store) = &self.store {
            store.learn(new.iter().map(|(key, claim)| learned(key, claim)).collect());
        }
    }
}

fn learned(key: &NameKey, claim: &Claim) -> Learned {
    Learned {
        name: key.clone(),
        account: claim.account.clone(),
        source: claim.source,
        standing: claim.standing,
        learned_at: claim.learned_at,
    }
}

impl From<Learned> for Claim {
    fn from(learned: Learned) -> Self {
        Self {
            account: learned.account,
            source: learned.source,
            standing: learned.standing,
            learned_at: learned.learned_at,
        }
    }
}

/// The present, in epoch milliseconds.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(account: &str, source: Source, standing: Standing) -> Claim {
        Claim {
            account: AccountId::new(account),
            source,
            standing,
            learned_at: 0,
        }
    }

    #[test]
    fn two_sources_that_disagree_are_never_decided_between() {
        let map = claim("a", Source::Map, Standing::Active);
        let same = claim("a", Source::Admin, Standing::Deactivated);
        let other = claim("b", Source::Jira, Standing::Active);
        assert_eq!(judge([]), Verdict::Open);
        assert_eq!(
            judge([&map, &same]),
            Verdict::One(AccountId::new("a"), Standing::Deactivated)
        );
        assert_eq!(judge([&map, &same, &other]), Verdict::Ambiguous);
    }

    #[test]
    fn a_switched_off_account_is_believed_for_a_shorter_time() {
        let ages = Ages {
            known: 1000,
            switched_off: 10,
        };
        assert!(ages.believes(&claim("a", Source::Admin, Standing::Active), 1000));
        assert!(!ages.believes(&claim("a", Source::Admin, Standing::Active), 1001));
        assert!(!ages.believes(&claim("a", Source::Admin, Standing::Deactivated), 11));
        assert!(ages.believes(&claim("a", Source::Admin, Standing::Tombstoned), 11));
        assert!(ages.believes(&claim("a", Source::Admin, Standing::Active), -CLOCK_MS));
        assert!(!ages.believes(&claim("a", Source::Admin, Standing::Active), -CLOCK_MS - 1));
    }

    #[tokio::test]
    async fn what_one_source_says_anew_leaves_the_others_alone() {
        let heard = Heard::new(None, 100);
        let key = NameKey::of("a@example.com");
        heard.add(vec![(key.clone(), claim("a", Source::Members, Standing::Active))]);
        heard.add(vec![(key.clone(), claim("b", Source::Members, Standing::Active))]);
        heard.replace(&key, Source::Admin, &[claim("b", Source::Admin, Standing::Active)]);
        assert_eq!(heard.get(std::slice::from_ref(&key)).await.unwrap()[0].len(), 3);
        heard.replace(&key, Source::Members, &[claim("b", Source::Members, Standing::Active)]);
        let claims = heard.get(&[key]).await.unwrap().remove(0);
        assert_eq!(judge(&*claims), Verdict::One(AccountId::new("b"), Standing::Active));
    }
}
