//! What may be asked: one token bucket for each operation, full at its first request and refilled without steps, and one
//! quota of points for all of them together.
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::limit_faults::{Allowance, LimitFaults, Rate};
use super::routes::Operation;

/// Below this share of what there could be, little is left.
const NEAR: f64 = 0.2;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// What came in and what somebody else took, since the last time.
    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.duration_since(self.filled).as_secs_f64();
        let tokens = self.tokens + passed * (rate.per_second - rate.others);
        self.tokens = tokens.clamp(0.0, f64::from(rate.burst));
        self.filled = self.filled.max(now);
    }
}

/// The points that were spent in a window of time.
#[derive(Debug, Default)]
struct Spent {
    window: u128,
    points: u64,
}

/// The buckets of all operations, and the quota.
#[derive(Debug, Default)]
pub(super) struct Limits {
    buckets: Mutex<HashMap<Operation, Bucket>>,
    spent: Mutex<Spent>,
}

/// A limit as its headers tell of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct State {
    pub(super) kind: Kind,
    pub(super) limit: u64,
    pub(super) left: u64,
    /// Until there is a token again, or until the quota is whole again.
    pub(super) reset: Duration,
    pub(super) is_near: bool,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Burst,
    Quota,
}

impl State {
    /// What the fault `admin_429` tells.
    pub(super) const A_SECOND: Self = Self {
        kind: Kind::Burst,
        limit: 1,
        left: 0,
        reset: Duration::from_secs(1),
        is_near: true,
    };

    fn bucket(bucket: &Bucket, rate: Rate) -> Self {
        let missing = (1.0 - bucket.tokens).max(0.0);
        Self {
            kind: Kind::Burst,
            limit: u64::from(rate.burst),
            left: bucket.tokens as u64,
            // Cloud cannot know what others will take.
            reset: Duration::from_secs_f64(missing / rate.per_second),
            is_near: bucket.tokens < NEAR * f64::from(rate.burst),
        }
    }

    fn quota(spent: &Spent, allowance: Allowance, since_1970: Duration) -> Self {
        let left = allowance.points.saturating_sub(spent.points);
        let end = allowance.window.as_millis() * (spent.window + 1);
        Self {
            kind: Kind::Quota,
            limit: allowance.points,
            left,
            reset: Duration::from_millis(
                end.saturating_sub(since_1970.as_millis())
                    .try_into()
                    .unwrap_or(u64::MAX),
            ),
            is_near: (left as f64) < NEAR * allowance.points as f64,
        }
    }
}

impl Limits {
    /// Takes a token and tells the limit that has least left, if there is any limit; the one that is used up otherwise.
    pub(super) fn admit(
        &self,
        faults: &LimitFaults,
        operation: Operation,
        now: Instant,
    ) -> Result<Option<State>, State> {
        let quota = faults.allowance().map(|allowance| self.quota(allowance));
        if let Some(used_up) = quota.filter(|quota| quota.left == 0) {
            return Err(used_up);
        }
        let bucket = faults.rate().map(|rate| self.take(operation, rate, now)).transpose()?;
        Ok(quota.filter(|quota| quota.is_near).or(bucket).or(quota))
    }

    fn take(&self, operation: Operation, rate: Rate, now: Instant) -> Result<State, State> {
        let mut buckets = self.buckets.lock();
        let bucket = buckets.entry(operation).or_insert(Bucket {
            tokens: f64::from(rate.burst),
            filled: now,
        });
        bucket.fill(rate, now);
        if bucket.tokens < 1.0 {
            return Err(State::bucket(bucket, rate));
        }
        bucket.tokens -= 1.0;
        Ok(State::bucket(bucket, rate))
    }

    /// From now on another rate counts. What is in a bucket stays there; without a rate there are none.
    pub(super) fn change(&self, from: Option<Rate>, to: Option<Rate>, now: Instant) {
        let mut buckets = self.buckets.lock();
        match (from, to) {
            (_, None) => buckets.clear(),
            (Some(from), Some(_)) => buckets.values_mut().for_each(|bucket| bucket.fill(from, now)),
            (None, Some(_)) => {}
        }
    }

    fn quota(&self, allowance: Allowance) -> State {
        let now = since_1970();
        let mut spent = self.spent.lock();
        spent.roll(allowance, now);
        State::quota(&spent, allowance, now)
    }

    /// Takes points out of the quota, even more than there are.
    pub(super) fn spend(&self, allowance: Allowance, points: u64) {
        let mut spent = self.spent.lock();
        spent.roll(allowance, since_1970());
        spent.points = spent.points.saturating_add(points);
    }
}

impl Spent {
    fn roll(&mut self, allowance: Allowance, since_1970: Duration) {
        let window = since_1970.as_millis() / allowance.window.as_millis().max(1);
        if window != self.window {
            *self = Self { window, points: 0 };
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10.0,
        burst: 3,
        others: 0.0,
    };

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_and_never_more() {
        let limits = Limits::default();
        let start = Instant::now();
        let take = |ms: u64| limits.take(Operation::ListGroups, RATE, start + Duration::from_millis(ms));
        assert!((0..3).all(|_| take(0).is_ok()));
        let wait = take(0).unwrap_err().reset;
        assert!(
            wait > Duration::from_millis(99) && wait < Duration::from_millis(101),
            "{wait:?}"
        );
        assert!(take(101).is_ok());
        assert!(take(101).is_err());
        assert!((0..3).all(|_| take(60_000).is_ok()));
        assert!(take(60_000).is_err());
        assert!(limits.take(Operation::FindGroup, RATE, start).is_ok());
    }

    #[test]
    fn others_take_their_share_of_a_bucket_and_never_more_than_there_is() {
        let limits = Limits::default();
        let start = Instant::now();
        let take = |others: f64, ms: u64| {
            let rate = Rate { others, ..RATE };
            limits
                .take(Operation::ListGroups, rate, start + Duration::from_millis(ms))
                .is_ok()
        };
        assert!((0..3).all(|_| take(5.0, 0)));
        // Five a second are left: one every 200 ms.
        assert!(!take(5.0, 190));
        assert!(take(5.0, 201));
        assert!(!take(1_000.0, 60_000));
        // They owe nothing when they are gone.
        assert!(take(0.0, 60_101));
        assert!(!take(0.0, 60_101));
    }

    #[test]
    fn a_change_of_the_rate_keeps_what_is_in_the_bucket_up_to_the_new_burst() {
        let limits = Limits::default();
        let start = Instant::now();
        let large = Rate { burst: 100, ..RATE };
        assert_eq!(limits.take(Operation::ListGroups, large, start).unwrap().left, 99);
        limits.change(Some(large), Some(RATE), start);
        assert_eq!(limits.take(Operation::ListGroups, RATE, start).unwrap().left, 2);
        limits.change(Some(RATE), Some(large), start);
        assert_eq!(limits.take(Operation::ListGroups, large, start).unwrap().left, 1);
        // Until the change the old rate counts.
        let later = start + Duration::from_secs(1);
        let slow = Rate {
            per_second: 0.01,
            ..large
        };
        limits.change(Some(large), Some(slow), later);
        assert_eq!(limits.take(Operation::ListGroups, slow, later).unwrap().left, 10);
        limits.change(Some(slow), None, later);
        assert_eq!(limits.take(Operation::ListGroups, large, later).unwrap().left, 99);
    }

    #[test]
    fn little_is_left_below_a_fifth() {
        let limits = Limits::default();
        let rate = Rate { burst: 10, ..RATE };
        let start = Instant::now();
        let near: Vec<bool> = (0..10)
            .map(|_| limits.take(Operation::ListGroups, rate, start).unwrap().is_near)
            .collect();
        let first_near = near.iter().position(|near| *near);
        // Two of ten are a fifth; one is less.
        assert_eq!(first_near, Some(8), "{near:?}");
    }

    #[test]
    fn a_quota_ends_with_its_window() {
        let allowance = Allowance {
            points: 10,
            window: Duration::from_secs(60),
        };
        let mut spent = Spent::default();
        let at = Duration::from_millis;
        spent.roll(allowance, at(119_000));
        spent.points = 25;
        let state = State::quota(&spent, allowance, at(119_000));
        assert_eq!((state.left, state.reset), (0, at(1_000)));
        spent.roll(allowance, at(119_999));
        assert_eq!(spent.points, 25);
        spent.roll(allowance, at(120_000));
        let state = State::quota(&spent, allowance, at(120_000));
        assert_eq!((state.left, state.reset), (10, at(60_000)));
    }
}
