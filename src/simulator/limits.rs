//! One token bucket for each operation: full at the start, refilled without steps.
use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::faults::Rate;
use super::routes::Operation;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The buckets of all operations.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<HashMap<Operation, Bucket>>);

impl Limits {
    /// Takes a token, or tells how long it is until there is one.
    pub(super) fn take(&self, operation: Operation, rate: Rate, now: Instant) -> Result<(), Duration> {
        let burst = f64::from(rate.burst);
        let mut buckets = self.0.lock();
        let bucket = buckets.entry(operation).or_insert(Bucket {
            tokens: burst,
            filled: now,
        });
        let passed = now.duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * rate.per_second).min(burst);
        bucket.filled = bucket.filled.max(now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / rate.per_second))
    }

    /// Fills every bucket, as a new rate demands.
    pub(super) fn fill(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_and_never_more() {
        let limits = Limits::default();
        let rate = Rate {
            per_second: 10.0,
            burst: 3,
        };
        let start = Instant::now();
        let take = |ms: u64| limits.take(Operation::ListGroups, rate, start + Duration::from_millis(ms));
        assert!((0..3).all(|_| take(0).is_ok()));
        let wait = take(0).unwrap_err();
        assert!(
            wait > Duration::from_millis(99) && wait < Duration::from_millis(101),
            "{wait:?}"
        );
        assert!(take(101).is_ok());
        assert!(take(101).is_err());
        assert!((0..3).all(|_| take(60_000).is_ok()));
        assert!(take(60_000).is_err());
        assert!(limits.take(Operation::FindGroup, rate, start).is_ok());
    }
}
