//! Answers that are not worth a second question soon.
//!
//! What does not fit into one request's patience is done by its repetitions, if each finds what those before it were
//! told. So what is asked for again is kept on, as long as that goes on within reason.

use std::time::{Duration, Instant};

use moka::Expiry;

use super::super::claims::{Claim, Claims};
use crate::model::NameKey;

/// Whoever is told to come again comes many times within this.
const SHORTEST: Duration = Duration::from_secs(300);
/// However often it is asked for: by then somebody may have the name. The longest lists are done by then, too.
const LONGEST: Duration = Duration::from_secs(1800);
/// What an entry takes in bytes, besides its name.
const USUAL_WEIGHT: u64 = 200;

/// Names, and what little was said of them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Memory(moka::sync::Cache<NameKey, Claims>);

impl Memory {
    /// Of as many names of the usual size, each for `shortest` at least.
    pub(super) fn new(names: u64, shortest: Duration) -> Self {
        let shortest = shortest.max(SHORTEST);
        let lives = Lives {
            idle: shortest,
            longest: shortest.max(LONGEST),
        };
        let cache = moka::sync::Cache::builder()
            .max_capacity(names.saturating_mul(USUAL_WEIGHT * 2))
            .weigher(|name: &NameKey, claims: &Claims| {
                let accounts: usize = claims.iter().map(|claim| claim.account.as_str().len() + 64).sum();
                let bytes = name.as_str().len() + accounts;
                u32::try_from(bytes).map_or(u32::MAX, |bytes| bytes.saturating_add(USUAL_WEIGHT as u32))
            })
            .expire_after(lives);
        Self(cache.build())
    }

    /// What was said of the name; it is remembered on.
    pub(super) fn get(&self, name: &NameKey) -> Option<Vec<Claim>> {
        self.0.get(name).map(|claims| claims.to_vec())
    }

    pub(super) fn put(&self, name: NameKey, claims: &[Claim]) {
        self.0.insert(name, claims.into());
    }

    pub(super) fn forget(&self) {
        self.0.invalidate_all();
    }
}

struct Lives {
    idle: Duration,
    longest: Duration,
}

impl Expiry<NameKey, Claims> for Lives {
    fn expire_after_create(&self, _: &NameKey, _: &Claims, _: Instant) -> Option<Duration> {
        Some(self.idle)
    }

    fn expire_after_read(
        &self,
        _: &NameKey,
        _: &Claims,
        read: Instant,
        _: Option<Duration>,
        put: Instant,
    ) -> Option<Duration> {
        let left = self.longest.saturating_sub(read.saturating_duration_since(put));
        Some(self.idle.min(left))
    }

    fn expire_after_update(&self, _: &NameKey, _: &Claims, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(self.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_again_is_kept_on_within_reason() {
        let lives = Lives {
            idle: Duration::from_secs(300),
            longest: Duration::from_secs(1800),
        };
        let (name, put) = (NameKey::of("a"), Instant::now());
        let at =
            |seconds| lives.expire_after_read(&name, &Claims::default(), put + Duration::from_secs(seconds), None, put);
        assert_eq!(at(0), Some(Duration::from_secs(300)));
        assert_eq!(at(1400), Some(Duration::from_secs(300)));
        assert_eq!(at(1700), Some(Duration::from_secs(100)));
        assert_eq!(at(1900), Some(Duration::ZERO));
    }

    #[test]
    fn each_reading_renews_it() {
        let lives = Lives {
            idle: Duration::from_millis(300),
            longest: Duration::from_millis(900),
        };
        let memory = Memory(moka::sync::Cache::builder().expire_after(lives).build());
        let name = NameKey::of("a");
        memory.put(name.clone(), &[]);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(180));
            assert!(memory.get(&name).is_some());
        }
        std::thread::sleep(Duration::from_millis(450));
        assert!(memory.get(&name).is_none());
    }
}
