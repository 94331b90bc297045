//! How much one caller may ask: so many requests at once, and so many a second. Callers are known by then, so nobody uses up
//! what is another's.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::policy::EvictionPolicy;
use parking_lot::Mutex;

use crate::model::Caller;
use crate::settings::Inbound;

/// Callers whose pace is remembered; a limiter is full again after a second.
const MOST_CALLERS: u64 = 65_536;

/// What callers have under way, and how fast they ask.
pub struct Turns {
    /// 0: no limit.
    at_once: usize,
    /// Callers who are asking, or whose answers are being repeated.
    asking: Mutex<HashMap<Arc<str>, Weak<Tally>>>,
    pace: Option<Pace>,
}

struct Pace {
    quota: Quota,
    callers: moka::sync::Cache<Arc<str>, Arc<DefaultDirectRateLimiter>>,
}

/// One caller's count. Whoever holds it need not look for it again.
pub struct Tally {
    turns: Arc<Turns>,
    caller: Arc<str>,
    under_way: AtomicUsize,
    limiter: Option<Arc<DefaultDirectRateLimiter>>,
}

/// One request of a caller, until it is dropped.
pub struct Turn(Arc<Tally>);

/// The caller asks too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// When it may be worth trying again.
    pub retry_after: Duration,
}

impl Turns {
    /// Nobody has asked yet.
    pub fn new(inbound: &Inbound) -> Arc<Self> {
        let pace = NonZeroU32::new(inbound.max_requests_per_second).map(|most| Pace {
            quota: Quota::per_second(most),
            callers: moka::sync::Cache::builder()
                .max_capacity(MOST_CALLERS)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(Duration::from_secs(2))
                .build(),
        });
        Arc::new(Self {
            at_once: inbound.max_requests_at_once,
            asking: Mutex::default(),
            pace,
        })
    }

    /// The count of this caller.
    pub fn of(self: &Arc<Self>, caller: &Caller) -> Arc<Tally> {
        let mut asking = self.asking.lock();
        if let Some(own) = asking.get(&caller.key).and_then(Weak::upgrade) {
            return own;
        }
        let limiter = self.pace.as_ref().map(|pace| {
            pace.callers
                .get_with(Arc::clone(&caller.key), || Arc::new(RateLimiter::direct(pace.quota)))
        });
        let own = Arc::new(Tally {
            turns: Arc::clone(self),
            caller: Arc::clone(&caller.key),
            under_way: AtomicUsize::new(0),
            limiter,
        });
        asking.insert(Arc::clone(&caller.key), Arc::downgrade(&own));
        own
    }
}

impl Tally {
    /// One more request of this caller.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn take(self: &Arc<Self>) -> Result<Turn, TooMany> {
        if let Some(limiter) = &self.limiter {
            limiter.check().map_err(|until| TooMany {
                retry_after: until.wait_time_from(DefaultClock::default().now()),
            })?;
        }
        let turn = Turn(Arc::clone(self));
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        if self.turns.at_once > 0 && before >= self.turns.at_once {
            // Nobody can tell when one of them ends.
            return Err(TooMany {
                retry_after: Duration::from_secs(1),
            });
        }
        Ok(turn)
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tally")
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let (Some(pace), Some(limiter)) = (&self.turns.pace, self.limiter.take()) {
            // It was not looked up for as long as it was held here.
            pace.callers.insert(Arc::clone(&self.caller), limiter);
        }
        let mut asking = self.turns.asking.lock();
        // Somebody may have come since, and have a count of his own.
        if asking.get(&self.caller).is_some_and(|own| own.strong_count() == 0) {
            asking.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn turns(at_once: usize, a_second: u32) -> Arc<Turns> {
        let mut inbound = Settings::defaults().inbound;
        (inbound.max_requests_at_once, inbound.max_requests_per_second) = (at_once, a_second);
        Turns::new(&inbound)
    }

    #[test]
    fn each_caller_has_so_many_at_once_and_nobody_is_kept_in_mind_afterwards() {
        let turns = turns(2, 0);
        let (ann, bob) = (Caller::named("ann"), Caller::named("bob"));
        let held = [turns.of(&ann).take().ok().unwrap(), turns.of(&ann).take().ok().unwrap()];
        assert_eq!(turns.of(&ann).take().err().unwrap().retry_after, Duration::from_secs(1));
        let other = turns.of(&bob).take().ok().unwrap();
        drop(held);
        drop(turns.of(&ann).take().ok().unwrap());
        drop(other);
        assert!(turns.asking.lock().is_empty());
    }

    #[test]
    fn each_caller_has_so_many_a_second() {
        let turns = turns(0, 3);
        let (ann, bob) = (Caller::named("ann"), Caller::named("bob"));
        let taken = (0..100).filter(|_| turns.of(&ann).take().is_ok()).count();
        assert!((3..50).contains(&taken), "{taken}");
        assert!(turns.of(&bob).take().is_ok());
        let wait = turns.of(&ann).take().err().unwrap().retry_after;
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }
}
