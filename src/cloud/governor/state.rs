//! What is decided under the governor's lock: who may leave, and who is told at once that it would take too long.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::breaker::{Breaker, Pass};
use super::budget::{Quota, Retries};
use super::lane::{Bounds, Lane, Opens, Slip};
use super::queue::{Class, Queue};
use super::{Limits, Refusal, Turn};
use crate::cloud::Operation;
use crate::model::{Flow, Wait};

pub(super) const TOO_LONG: &str = "no time was left to ask";
const PAUSED: &str = "it wants a pause that is longer than there is time";
const FULL: &str = "too many requests wait already";
const SPENT: &str = "the quota of this hour is used up";
const OUTAGE: &str = "it does not answer";

#[derive(Debug)]
pub(super) struct State {
    pub gates: Gates,
    pub queue: Queue<oneshot::Sender<Turn>>,
    pub retries: Retries,
    /// When it is looked next who may go.
    pub timer: Option<Instant>,
    /// An undocumented reason was logged.
    pub has_told: bool,
}

/// All that a request has to pass.
#[derive(Debug)]
pub(super) struct Gates {
    pub lanes: Vec<Lane>,
    pub under_way: usize,
    pub breaker: Breaker,
    pub quota: Quota,
    most: usize,
}

impl Gates {
    fn new(limits: &Limits, now: Instant) -> Self {
        let bounds = Bounds {
            width: limits.max_in_flight,
            most: limits.most,
            start: limits.start,
        };
        let into_hour = jiff::Timestamp::now().as_second().rem_euclid(3600);
        let left = Duration::from_secs(3600 - into_hour.unsigned_abs());
        Self {
            lanes: Operation::ALL.iter().map(|_| Lane::new(bounds, now)).collect(),
            under_way: 0,
            breaker: Breaker::new(limits.try_timeout, now),
            quota: Quota::new(limits.points, limits.reserve_percent, now, left),
            most: limits.max_in_flight,
        }
    }

    /// Whether a request of this kind may leave; else why not, and when it is worth looking again if nothing happens before.
    pub fn may_go(&mut self, operation: Operation, now: Instant) -> Option<(Wait, Option<Instant>)> {
        match self.breaker.pass(now) {
            Pass::NotBefore(until) => return Some((Wait::Outage, Some(until))),
            Pass::Yes | Pass::Probe => {}
        }
        if let Some(until) = self.spent_until(operation, now) {
            return Some((Wait::Quota, Some(until)));
        }
        let lane = self.lanes.get_mut(operation as usize)?;
        let is_shut = lane.shut_for(now).is_some();
        match lane.opens(now) {
            Opens::At(at) if is_shut => return Some((Wait::Pause, Some(at))),
            Opens::At(at) => return Some((Wait::Pace, Some(at))),
            Opens::WithAnEnd => return Some((Wait::Turn, None)),
            Opens::Now => {}
        }
        if self.under_way < self.most {
            return None;
        }
        // Requests of another kind that hang must not hold up this one: some of them are given up for lost.
        let others = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != operation as usize);
        let lost: usize = others.map(|(_, lane)| lane.overdue(now)).sum();
        let most = self.most + lost.min(self.most.div_ceil(4));
        (self.under_way >= most).then_some((Wait::Turn, None))
    }

    /// A request leaves.
    pub fn take(&mut self, operation: Operation, now: Instant) -> Slip {
        self.under_way += 1;
        self.breaker.left(now);
        self.quota.spend(1, now);
        match self.lanes.get_mut(operation as usize) {
            Some(lane) => lane.take(now),
            None => Slip::none(now),
        }
    }

    /// Until when the quota lets nothing of this kind through.
    fn spent_until(&mut self, operation: Operation, now: Instant) -> Option<Instant> {
        match Class::of(operation) {
            Class::Read => self.quota.closed_for_reads(now),
            Class::Change => self.quota.closed_for_changes(now),
        }
    }

    /// Before when nothing of this kind leaves for certain, and why.
    pub fn not_before(&mut self, operation: Operation, now: Instant) -> Option<(Instant, &'static str)> {
        let gate = self.lanes.get(operation as usize).and_then(|lane| lane.shut_for(now));
        let closed = self.spent_until(operation, now);
        let outage = match self.breaker.pass(now) {
            Pass::NotBefore(until) => Some((until, OUTAGE)),
            Pass::Yes | Pass::Probe => None,
        };
        let all = [
            gate.map(|gate| (now + gate, PAUSED)),
            closed.map(|at| (at, SPENT)),
            outage,
        ];
        all.into_iter().flatten().max_by_key(|(until, _)| *until)
    }
}

impl State {
    pub fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            gates: Gates::new(limits, now),
            queue: Queue::new(limits.max_waiting),
            retries: Retries::new(now),
            timer: None,
            has_told: false,
        }
    }

    /// A turn that nobody used.
    pub fn give_back(&mut self, operation: Operation, flow: &Flow, slip: Slip) {
        self.gates.under_way = self.gates.under_way.saturating_sub(1);
        self.gates.breaker.forget_probe(Instant::now());
        self.queue.ended(flow);
        if let Some(lane) = self.gates.lanes.get_mut(operation as usize) {
            lane.give_back(slip);
        }
    }

    /// A request that has no more than `left` is told at once if that cannot be enough.
    pub fn refuse(&mut self, operation: Operation, left: Duration, now: Instant) -> Result<(), Refusal> {
        let until = self.gates.not_before(operation, now);
        if self.queue.is_full() {
            let retry_after = until.map_or(Duration::from_secs(5), |(until, _)| {
                until.saturating_duration_since(now)
            });
            return Err(Refusal { retry_after, why: FULL });
        }
        let shut = until.map_or(Duration::ZERO, |(until, _)| until.saturating_duration_since(now));
        if shut > left {
            let why = until.map_or(PAUSED, |(_, why)| why);
            return Err(Refusal { retry_after: shut, why });
        }
        // Reads go in the order of their turns; a change of a new call comes after one of each call that waits.
        let lane = self.gates.lanes.get(operation as usize);
        if let (Some(rate), Class::Read) = (lane.and_then(Lane::per_second), Class::of(operation)) {
            let ahead = u32::try_from(self.queue.waiting(operation)).unwrap_or(u32::MAX);
            let wait = shut.saturating_add(Duration::from_secs_f64((f64::from(ahead) / rate).min(86_400.0)));
            if wait > left {
                return Err(Refusal {
                    retry_after: wait - left,
                    why: TOO_LONG,
                });
            }
        }
        Ok(())
    }
}
