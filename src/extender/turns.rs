//! How much one caller may ask: so many requests at once, and so many a second. Callers are known by then, so nobody uses up
//! what is another's.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
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
    under_way: Mutex<HashMap<Arc<str>, usize>>,
    pace: Option<Pace>,
}

struct Pace {
    quota: Quota,
    callers: moka::sync::Cache<Arc<str>, Arc<DefaultDirectRateLimiter>>,
}

/// One request of a caller, until it is dropped.
pub struct Turn {
    turns: Arc<Turns>,
    caller: Arc<str>,
}

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
            under_way: Mutex::default(),
            pace,
        })
    }

    /// One more request of this caller.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn take(self: &Arc<Self>, caller: &Caller) -> Result<Turn, TooMany> {
        if let Some(pace) = &self.pace {
            let limiter = pace
                .callers
                .get_with(Arc::clone(&caller.key), || Arc::new(RateLimiter::direct(pace.quota)));
            limiter.check().map_err(|until| TooMany {
                retry_after: until.wait_time_from(DefaultClock::default().now()),
            })?;
        }
        let mut under_way = self.under_way.lock();
        let own = under_way.entry(Arc::clone(&caller.key)).or_default();
        if self.at_once > 0 && *own >= self.at_once {
            // Nobody can tell when one of them ends.
            return Err(TooMany {
                retry_after: Duration::from_secs(1),
            });
        }
        *own += 1;
        Ok(Turn {
            turns: Arc::clone(self),
            caller: Arc::clone(&caller.key),
        })
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.turns.under_way.lock();
        if let Some(own) = under_way.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                under_way.remove(&self.caller);
            }
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
        let held = [turns.take(&ann).ok().unwrap(), turns.take(&ann).ok().unwrap()];
        assert_eq!(turns.take(&ann).err().unwrap().retry_after, Duration::from_secs(1));
        let other = turns.take(&bob).ok().unwrap();
        drop(held);
        drop(turns.take(&ann).ok().unwrap());
        drop(other);
        assert!(turns.under_way.lock().is_empty());
    }

    #[test]
    fn each_caller_has_so_many_a_second() {
        let turns = turns(0, 3);
        let (ann, bob) = (Caller::named("ann"), Caller::named("bob"));
        let taken = (0..100).filter(|_| turns.take(&ann).is_ok()).count();
        assert!((3..50).contains(&taken), "{taken}");
        assert!(turns.take(&bob).is_ok());
        let wait = turns.take(&ann).err().unwrap().retry_after;
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }
}
