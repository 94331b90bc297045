//! What sources say of names, and what follows from it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    /// Whether it says so of this account for certain. What does not is a candidate: reason enough not to call the name
    /// unknown, and never enough to take the account for the one that is meant.
    pub is_proven: bool,
}

impl Claim {
    /// A proven claim of this moment.
    pub fn new(account: AccountId, source: Source, standing: Standing) -> Self {
        Self {
            account,
            source,
            standing,
            learned_at: now(),
            is_proven: true,
        }
    }
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
    /// Several accounts, or only candidates: refused, whoever names them.
    Ambiguous,
    /// Nobody claims the name.
    Open,
}

/// Compares all that is claimed of a name: one account, or none that could be told.
pub fn judge<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> Verdict {
    let mut found: Option<(&AccountId, Standing)> = None;
    let mut candidates = false;
    for claim in claims {
        if !claim.is_proven {
            candidates = true;
            continue;
        }
        found = match found {
            None => Some((&claim.account, claim.standing)),
            // Whoever knows that nobody is behind the account knows more than the others.
            Some((account, standing)) if *account == claim.account => Some((account, standing.max(claim.standing))),
            Some(_) => return Verdict::Ambiguous,
        };
    }
    match found {
        Some((account, standing)) => Verdict::One(account.clone(), standing),
        None if candidates => Verdict::Ambiguous,
        None => Verdict::Open,
    }
}

/// Data Center's own limit: longer names mean nobody, and are neither asked for nor remembered.
pub fn is_too_long(name: &NameKey) -> bool {
    const LONGEST: usize = 255;
    name.as_str().len() > LONGEST && name.as_str().chars().count() > LONGEST
}

/// What a name with a few claims takes, in bytes: caches that are to hold so many names may weigh so much a name.
const USUAL_WEIGHT: u64 = 384;

/// A cache of what is claimed of names, as large as `names` of the usual size; that nothing is claimed for certain is
/// kept for `nothing`, all else for `anything`.
pub fn cache(names: u64, nothing: Duration, anything: Option<Duration>) -> moka::sync::Cache<NameKey, Claims> {
    moka::sync::Cache::builder()
        .max_capacity(names.saturating_mul(USUAL_WEIGHT))
        .weigher(|name: &NameKey, claims: &Claims| {
            let accounts: usize = claims.iter().map(|claim| claim.account.as_str().len()).sum();
            // What the cache itself takes for an entry is more than the key.
            let bytes = 160 + name.as_str().len() + std::mem::size_of_val(&**claims) + accounts;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        })
        .expire_after(Lives { nothing, anything })
        .build()
}

struct Lives {
    nothing: Duration,
    anything: Option<Duration>,
}

impl moka::Expiry<NameKey, Claims> for Lives {
    fn expire_after_create(&self, _: &NameKey, claims: &Claims, _: Instant) -> Option<Duration> {
        if claims.iter().any(|claim| claim.is_proven) {
            self.anything
        } else {
            Some(self.nothing)
        }
    }

    fn expire_after_update(
        &self,
        name: &NameKey,
        claims: &Claims,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(name, claims, now)
    }
}

/// What was learned of names: in memory while it is used, and in the store, where there is one, for good.
#[derive(Debug)]
pub struct Heard {
    cache: moka::sync::Cache<NameKey, Claims>,
    store: Option<Store>,
    /// Held while claims are changed and while their change is told to the store, never while waiting.
    writing: Mutex<u64>,
    /// Grows whenever somebody may be shown under another name than before.
    news: AtomicU64,
}

impl Heard {
    /// At most so many names of the usual size in memory, and of those that mean nothing, each for `nothing` only.
    pub fn new(store: Option<Store>, names: u64, nothing: Duration) -> Self {
        Self {
            cache: cache(names, nothing, None),
            store,
            writing: Mutex::new(0),
            news: AtomicU64::new(0),
        }
    }

    /// Grows whenever something is learned that may bear on a shown name.
    pub fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// What is claimed of each name, in order.
    pub async fn get(&self, keys: &[NameKey]) -> Result<Vec<Claims>, store::Error> {
        let mut claims: Vec<Option<Claims>> = keys.iter().map(|key| self.cache.get(key)).collect();
        if let Some(store) = &self.store {
            let misses = || keys.iter().zip(&claims).filter(|(_, claims)| claims.is_none());
            let mut seen = HashSet::new();
            let missing: Vec<NameKey> = misses()
                .map(|(key, _)| key)
                .filter(|key| !is_too_long(key) && seen.insert(*key))
                .cloned()
                .collect();
            if !missing.is_empty() {
                // Whoever has counted a change has told it to the store, too, before they let go of the lock; and the
                // store answers in the order in which it is told and asked. So what is read now has all changes up to
                // `before`, and if there is none after it, it may be kept.
                let before = *self.writing.lock();
                let rows = store.look_up(&missing).await?;
                let read: HashMap<NameKey, Claims> = missing
                    .into_iter()
                    .zip(rows.into_iter().map(|rows| rows.into_iter().map(Claim::from).collect()))
                    .collect();
                {
                    let changes = self.writing.lock();
                    if *changes == before {
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

    /// Which names are known to mean these accounts, in order.
    pub async fn names_of(&self, accounts: &[AccountId]) -> Result<Vec<Vec<Learned>>, store::Error> {
        match &self.store {
            Some(store) if !accounts.is_empty() => store.by_accounts(accounts).await,
            _ => Ok(accounts.iter().map(|_| Vec::new()).collect()),
        }
    }

    /// What `source` claims of these names is now exactly this. One message to the store, whatever their number: it
    /// has room for so many only.
    pub fn replace_all(&self, source: Source, names: Vec<(NameKey, Vec<Claim>)>) {
        let mut changed = Vec::new();
        let mut changes = self.writing.lock();
        *changes += 1;
        for (key, claims) in names {
            match self.cache.get(&key) {
                // Nothing was known, and nothing is: most names that are asked for in vain.
                Some(known) if claims.is_empty() && known.iter().all(|claim| claim.source != source) => continue,
                None if claims.is_empty() && self.store.is_none() => continue,
                Some(known) => {
                    let others = known.iter().filter(|claim| claim.source != source);
                    let all = others.chain(&claims).cloned().collect();
                    self.cache.insert(key.clone(), all);
                }
                None if self.store.is_none() => self.cache.insert(key.clone(), claims.as_slice().into()),
                // The store knows what the others claim.
                None => {}
            }
            let learned = claims.iter().map(|claim| learned(&key, claim)).collect();
            changed.push((key, source, learned));
        }
        let is_news = !changed.is_empty();
        if let Some(store) = &self.store {
            store.replace_all(changed);
        }
        if is_news {
            self.tell_news();
        }
    }

    /// One more claim each, beside what the same source claimed before.
    pub fn add(&self, new: Vec<(NameKey, Claim)>) {
        if new.is_empty() {
            return;
        }
        let mut changes = self.writing.lock();
        *changes += 1;
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
        self.tell_news();
    }

    /// To be called once the store was told: who reads before that keeps what it read for old news.
    fn tell_news(&self) {
        self.news.fetch_add(1, Ordering::AcqRel);
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
            is_proven: true,
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
            is_proven: true,
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
        let candidate = Claim {
            is_proven: false,
            ..other
        };
        assert_eq!(judge([&candidate]), Verdict::Ambiguous);
        assert_eq!(
            judge([&candidate, &map]),
            Verdict::One(AccountId::new("a"), Standing::Active)
        );
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
        let heard = Heard::new(None, 100, Duration::from_secs(60));
        let key = NameKey::of("a@example.com");
        heard.add(vec![(key.clone(), claim("a", Source::Members, Standing::Active))]);
        heard.add(vec![(key.clone(), claim("b", Source::Members, Standing::Active))]);
        heard.replace_all(
            Source::Admin,
            vec![(key.clone(), vec![claim("b", Source::Admin, Standing::Active)])],
        );
        assert_eq!(heard.get(std::slice::from_ref(&key)).await.unwrap()[0].len(), 3);
        heard.replace_all(
            Source::Members,
            vec![(key.clone(), vec![claim("b", Source::Members, Standing::Active)])],
        );
        let claims = heard.get(&[key]).await.unwrap().remove(0);
        assert_eq!(judge(&*claims), Verdict::One(AccountId::new("b"), Standing::Active));
    }

    #[tokio::test]
    async fn names_that_mean_nothing_take_little_room_for_a_short_time() {
        let heard = Heard::new(None, 10, Duration::from_millis(200));
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), crate::metrics::Metrics::new()).unwrap();
        let stored = Heard::new(Some(store), 10, Duration::from_millis(200));
        let long: Vec<NameKey> = (0..100)
            .map(|n| NameKey::of(&format!("{n}{}", "x".repeat(300))))
            .collect();
        let short: Vec<NameKey> = (0..100)
            .map(|n| NameKey::of(&format!("{n}{}", "x".repeat(200))))
            .collect();
        for heard in [heard, stored] {
            heard.get(&long).await.unwrap();
            heard.replace_all(
                Source::Jira,
                short.iter().map(|key| (key.clone(), Vec::new())).collect(),
            );
            heard.get(&short).await.unwrap();
            heard.cache.run_pending_tasks();
            assert!(heard.cache.entry_count() < 12 && heard.cache.weighted_size() <= 10 * USUAL_WEIGHT);
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(short.iter().all(|key| !heard.cache.contains_key(key)));
        }
    }

    #[tokio::test]
    async fn ten_thousand_names_that_nobody_has_are_no_work_for_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let metrics = crate::metrics::Metrics::new();
        let store = Store::open(directory.path(), metrics.clone()).unwrap();
        let heard = Heard::new(Some(store.clone()), 200_000, Duration::from_secs(60));
        let names: Vec<NameKey> = (0..30_000).map(|n| NameKey::of(&format!("nobody{n}"))).collect();
        let nothing = |names: &[NameKey]| names.iter().map(|key| (key.clone(), Vec::new())).collect();
        // Not known to be nothing yet: one message all the same.
        heard.replace_all(Source::Scim, nothing(&names));
        heard.get(&names).await.unwrap();
        store.flush().await.unwrap();
        let written = metrics.store_learned.get();
        heard.replace_all(Source::Scim, nothing(&names));
        store.flush().await.unwrap();
        assert_eq!((metrics.store_learned.get(), metrics.store_dropped.get()), (written, 0));
        let known = |key: &NameKey| (key.clone(), vec![claim("a", Source::Scim, Standing::Active)]);
        heard.replace_all(Source::Scim, names.iter().map(known).collect());
        store.flush().await.unwrap();
        assert_eq!(metrics.store_dropped.get(), 0);
        assert_eq!(heard.names_of(&[AccountId::new("a")]).await.unwrap()[0].len(), 30_000);
    }
}
