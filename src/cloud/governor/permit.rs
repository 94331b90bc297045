//! The right to have one request under way, and what its end teaches.

use std::time::{Duration, Instant};

use http::HeaderMap;

use super::lane::Slip;
use super::state::State;
use super::told::{Limit, Told};
use super::{Governor, Refusal};
use crate::cloud::Operation;
use crate::metrics;
use crate::model::Flow;

/// The right to have one request under way; to be told how it ended. One that is dropped untold was broken off.
#[must_use]
#[derive(Debug)]
pub struct Permit {
    pub(super) governor: Governor,
    pub(super) operation: Operation,
    pub(super) flow: Flow,
    pub(super) slip: Slip,
}

/// How a request ended.
enum End {
    Accepted { told: Told, points: u64 },
    TooFast(Told),
    Failed { gate: Option<Duration> },
    NotSent,
    Unknown,
}

impl Permit {
    /// Cloud answered the question, one way or the other. `points`: what it cost of the quota besides the request's 1.
    pub fn accepted(self, headers: &HeaderMap, points: u64) {
        let told = Told::read(headers, self.governor.0.waits.believed);
        self.end(End::Accepted { told, points });
    }

    /// Cloud said that requests of the kind come too fast. They wait from now on.
    pub fn too_fast(self, headers: &HeaderMap) {
        let told = Told::read(headers, self.governor.0.waits.believed);
        self.end(End::TooFast(told));
    }

    /// Cloud failed, or said that it is not there.
    pub fn failed(self, headers: Option<&HeaderMap>) {
        let believed = self.governor.0.waits.believed;
        let gate = headers.and_then(|headers| Told::read(headers, believed).wait);
        self.end(End::Failed { gate });
    }

    /// No connection: it did not reach Cloud.
    pub fn not_sent(self) {
        self.end(End::NotSent);
    }

    fn end(mut self, end: End) {
        self.settle(end);
        // The drop below finds nothing to do.
        self.slip = Slip::none(self.slip.at);
    }

    fn settle(&self, end: End) {
        let inner = &*self.governor.0;
        let now = Instant::now();
        let mut state = inner.state.lock();
        state.gates.under_way = state.gates.under_way.saturating_sub(1);
        state.queue.ended(&self.flow);
        let (operation, slip) = (self.operation, self.slip);
        match end {
            End::Accepted { told, points } => {
                state.retries.earn();
                self.is_there(&mut state, now);
                self.pay(&mut state, &told, points, now);
                if let Some(lane) = state.gates.lanes.get_mut(operation as usize) {
                    lane.accepted(slip, now, told.near_limit);
                    lane.ended(slip);
                }
            }
            End::TooFast(told) => {
                self.is_there(&mut state, now);
                self.slow_down(&mut state, &told, now);
            }
            End::Failed { gate } => {
                self.is_away(&mut state, now);
                if let Some(lane) = state.gates.lanes.get_mut(operation as usize) {
                    lane.failed(now);
                    if let Some(gate) = gate {
                        lane.shut_until(now + gate);
                    }
                    lane.ended(slip);
                }
                self.tell_the_late(&mut state, operation, now);
            }
            End::NotSent => {
                self.is_away(&mut state, now);
                if let Some(lane) = state.gates.lanes.get_mut(operation as usize) {
                    lane.failed(now);
                    lane.give_back(slip);
                }
            }
            End::Unknown => {
                state.gates.breaker.forget_probe(now);
                if let Some(lane) = state.gates.lanes.get_mut(operation as usize) {
                    lane.ended(slip);
                }
            }
        }
        self.governor.dispatch(&mut state);
        inner.note(&state);
        inner.note_rate(&state, operation);
    }

    /// Cloud answers, be it that requests come too fast.
    fn is_there(&self, state: &mut State, now: Instant) {
        if state.gates.breaker.succeeded() {
            tracing::info!("Cloud answers again");
            self.governor.0.metrics.cloud_outage.set(0);
            state.gates.lanes.iter_mut().for_each(|lane| lane.start_over(now));
        }
    }

    /// Cloud fails, or cannot be reached.
    fn is_away(&self, state: &mut State, now: Instant) {
        if state.gates.breaker.failed(now) {
            tracing::warn!(
                operation = self.operation.name(),
                "Cloud fails all the time: it is asked now and then whether it is back"
            );
            self.governor.0.metrics.cloud_outage.set(1);
        }
    }

    /// Takes what the answer cost off the quota, by Cloud's own account where it gives one.
    fn pay(&self, state: &mut State, told: &Told, points: u64, now: Instant) {
        let quota = &mut state.gates.quota;
        match told.remaining.filter(|_| told.limit == Limit::Quota) {
            Some((left, of)) => quota.told(left, of, now),
            None => quota.spend(points, now),
        }
        if let Some(left) = quota.left() {
            let left = i64::try_from(left).unwrap_or(i64::MAX);
            self.governor.0.metrics.cloud_quota_left.set(left);
        }
    }

    fn slow_down(&self, state: &mut State, told: &Told, now: Instant) {
        let inner = &*self.governor.0;
        let (operation, slip) = (self.operation, self.slip);
        let limited = metrics::Reason {
            reason: told.limit.label(),
        };
        inner.metrics.cloud_limited.get_or_create(&limited).inc();
        if let Limit::Unknown(reason) = &told.limit
            && !std::mem::replace(&mut state.has_told, true)
        {
            tracing::warn!(%reason, operation = operation.name(), "Cloud gives an unknown reason for a 429; it is treated as a burst");
        }
        if told.limit == Limit::Quota {
            let wait = told.reset.or(told.wait);
            let until = state.gates.quota.is_used_up(wait, now);
            tracing::warn!(
                operation = operation.name(),
                wait_s = until.saturating_duration_since(now).as_secs(),
                "the quota is used up: everything waits for its reset"
            );
            if let Some(lane) = state.gates.lanes.get_mut(operation as usize) {
                lane.give_back(slip);
            }
            for other in Operation::ALL {
                self.tell_the_late(state, other, now);
            }
            return;
        }
        // Of a burst only the next seconds are told; a reset further away is another limit's.
        let soon = told
            .reset
            .filter(|reset| !reset.is_zero() && *reset <= Duration::from_secs(5));
        let asked = told.wait.or(soon);
        if let Some(lane) = state.gates.lanes.get_mut(operation as usize) {
            let wait = lane.too_fast(slip, now, asked);
            lane.ended(slip);
            tracing::debug!(
                operation = operation.name(),
                ?wait,
                rate = lane.rate(),
                "Cloud wants a pause"
            );
        }
        self.tell_the_late(state, operation, now);
    }

    /// Those who wait for what is shut now for longer than they have time are told so at once.
    fn tell_the_late(&self, state: &mut State, operation: Operation, now: Instant) {
        let Some((until, why)) = state.gates.not_before(operation, now) else {
            return;
        };
        let retry_after = until.saturating_duration_since(now);
        for turn in state.queue.give_up(operation, until) {
            // One that went away in this moment does not mind.
            let _ = turn.send(Err(Refusal { retry_after, why }));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.slip.is_none() {
            self.settle(End::Unknown);
        }
    }
}
