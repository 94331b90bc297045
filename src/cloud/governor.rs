//! The one place that decides when a request leaves: so many at once, and none through a gate that a 429 has shut.
//!
//! The bucket behind a 429 is shared by everything that asks for the same kind of operation, so the gate is shared
//! too: one caller's 429 holds back the others instead of letting each find out for itself.

use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::operation::Operation;
use super::patience::{Exhausted, Patience};
use crate::metrics::Metrics;

/// The waits between tries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub base: Duration,
    pub cap: Duration,
    /// A `Retry-After` above this is not believed.
    pub believed: Duration,
}

#[derive(Debug)]
pub(super) struct Governor {
    permits: Semaphore,
    gates: [Mutex<Option<Instant>>; Operation::COUNT],
    waits: Waits,
    metrics: Metrics,
}

/// The right to have one request under way; dropped when its answer is there.
pub(super) struct Permit<'a> {
    _permit: SemaphorePermit<'a>,
    metrics: &'a Metrics,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.metrics.cloud_in_flight.dec();
    }
}

impl Governor {
    pub fn new(max_in_flight: usize, waits: Waits, metrics: Metrics) -> Self {
        Self {
            permits: Semaphore::new(max_in_flight),
            gates: std::array::from_fn(|_| Mutex::new(None)),
            waits,
            metrics,
        }
    }

    /// Waits until a request of this kind may leave.
    pub async fn enter(&self, operation: Operation, patience: &Patience<'_>) -> Result<Permit<'_>, Exhausted> {
        let from = Instant::now();
        let permit = loop {
            if let Some(shut) = self.shut_for(operation) {
                patience.sleep(shut).await?;
                continue;
            }
            // The semaphore is never closed; were it, nothing could leave any more, which is what this says.
            let permit = patience
                .wait_for(self.permits.acquire())
                .await?
                .map_err(|_closed| Exhausted)?;
            if self.shut_for(operation).is_none() {
                break permit;
            }
        };
        self.metrics.cloud_wait_seconds.inc_by(from.elapsed().as_secs_f64());
        self.metrics.cloud_in_flight.inc();
        Ok(Permit {
            _permit: permit,
            metrics: &self.metrics,
        })
    }

    /// For how long no request of this kind may leave.
    pub fn shut_for(&self, operation: Operation) -> Option<Duration> {
        let until = (*self.gates.get(operation as usize)?.lock())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Cloud said that this kind of request comes too fast: shuts the gate, and tells for how long.
    pub fn too_fast(&self, operation: Operation, headers: &HeaderMap, tries: u32) -> Duration {
        let wait = match self.asked_for(headers) {
            // Jitter so that those who wait do not all come in the same instant.
            Some(asked) => asked + (asked / 10).min(Duration::from_secs(1)).mul_f64(fastrand::f64()),
            None => self.backoff(tries),
        };
        let until = Instant::now() + wait;
        if let Some(gate) = self.gates.get(operation as usize) {
            let mut gate = gate.lock();
            if gate.is_none_or(|before| before < until) {
                *gate = Some(until);
            }
        }
        wait
    }

    /// The wait before the next try after `tries` failed ones: full jitter, growing.
    pub fn backoff(&self, tries: u32) -> Duration {
        let most = self
            .waits
            .base
            .saturating_mul(1_u32 << tries.saturating_sub(1).min(16))
            .min(self.waits.cap);
        // Never quite zero: an immediate retry is what caused many a 429.
        most.mul_f64(fastrand::f64()).max(self.waits.base / 10)
    }

    /// What the answer asks us to wait, where it can be believed: seconds or a date; neither zero nor absurd.
    pub fn asked_for(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
        let asked = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => httpdate::parse_http_date(text)
                .ok()?
                .duration_since(SystemTime::now())
                .ok()?,
        };
        (!asked.is_zero() && asked <= self.waits.believed).then_some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn governor() -> Governor {
        let waits = Waits {
            base: Duration::from_millis(200),
            cap: Duration::from_secs(15),
            believed: Duration::from_secs(3600),
        };
        Governor::new(2, waits, Metrics::new())
    }

    fn asks(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, text.parse().unwrap());
        governor().asked_for(&headers)
    }

    #[test]
    fn a_retry_after_is_believed_only_where_it_makes_sense() {
        assert_eq!(asks("7"), Some(Duration::from_secs(7)));
        for text in [
            "0",
            "31536000",
            "-1",
            "soon",
            "",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "99999999999999999999",
        ] {
            assert_eq!(asks(text), None, "{text}");
        }
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        let wait = asks(&date).unwrap();
        assert!((28..=30).contains(&wait.as_secs()), "{wait:?}");
    }

    #[test]
    fn the_wait_grows_to_the_cap_and_never_overflows() {
        let governor = governor();
        for tries in [1, 2, 8, 17, 1000, u32::MAX] {
            let wait = governor.backoff(tries);
            assert!(
                wait <= Duration::from_secs(15) && wait >= Duration::from_millis(20),
                "{wait:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_shut_gate_holds_back_its_own_kind_alone() {
        let governor = governor();
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, "30".parse().unwrap());
        governor.too_fast(Operation::AddMember, &headers, 1);
        let soon = Patience::Until(Instant::now() + Duration::from_secs(1));
        assert!(governor.enter(Operation::AddMember, &soon).await.is_err());
        assert!(governor.enter(Operation::ListMembers, &soon).await.is_ok());
    }
}
