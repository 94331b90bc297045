//! The one place that decides when a request leaves: as fast as Cloud allows, and not faster.
//!
//! `lane` learns the pace of each kind of request; `queue` says whose turn it is; `budget` what may be spent on trying
//! again, and of the hourly quota; `breaker` stops asking a Cloud that only fails; `told` reads what headers say. All of
//! these are pure. Here: the lock around them, and those who wait.

mod breaker;
mod budget;
mod lane;
mod queue;
mod told;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::breaker::{Breaker, Pass};
use self::budget::{Quota, Retries};
use self::lane::{Bounds, Lane, Opens, Slip};
use self::queue::{Class, Place, Queue};
use self::told::{Limit, Told};
use super::operation::Operation;
use super::patience::Patience;
use crate::metrics::{self, Metrics};
use crate::model::{Flow, Wait};

/// While as many as may are under way and somebody waits, it is looked this often whether some of them are lost.
const LOOK: Duration = Duration::from_millis(250);

/// What settings say about the pace.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests under way at once.
    pub max_in_flight: usize,
    /// Requests that wait.
    pub max_waiting: usize,
    /// Requests of one kind a second, at most.
    pub most: Option<f64>,
    /// The same before anything is learned.
    pub start: Option<f64>,
    /// Points of the hourly quota; 0: not counted.
    pub points: u64,
    /// The share of them that is kept for reads.
    pub reserve_percent: u64,
    /// No answer comes later than this.
    pub try_timeout: Duration,
}

/// The waits between tries.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// The longest wait after the first failure; each one doubles it.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
    /// A `Retry-After` above this is not believed.
    pub believed: Duration,
}

/// Why a request does not leave.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// When it may be worth asking again.
    pub retry_after: Duration,
    /// The reason, as part of a sentence.
    pub why: &'static str,
}

const TOO_LONG: &str = "no time was left to ask";
const PAUSED: &str = "it wants a pause that is longer than there is time";
const FULL: &str = "too many requests wait already";
const SPENT: &str = "the quota of this hour is used up";
const OUTAGE: &str = "it does not answer";

/// Decides when requests leave; clones are the same one.
#[derive(Clone, Debug)]
pub struct Governor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    limits: Limits,
    waits: Waits,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    queue: Queue<oneshot::Sender<Turn>>,
    under_way: usize,
    breaker: Breaker,
    retries: Retries,
    quota: Quota,
    /// When it is looked next who may go.
    timer: Option<Instant>,
    /// An undocumented reason was logged.
    has_told: bool,
}

type Turn = Result<Slip, Refusal>;

/// The right to have one request under way; to be told how it ended. One that is dropped untold was broken off.
#[must_use]
#[derive(Debug)]
pub struct Permit {
    governor: Governor,
    operation: Operation,
    flow: Flow,
    slip: Slip,
}

/// Somebody who waits for their turn; dropped, they give it back.
struct Waiting<'g> {
    governor: &'g Governor,
    operation: Operation,
    flow: &'g Flow,
    place: Place,
    turn: oneshot::Receiver<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let inner = &*self.governor.0;
        let mut state = inner.state.lock();
        if state.queue.leave(self.operation, self.place).is_none()
            && let Ok(Ok(slip)) = self.turn.try_recv()
        {
            state.give_back(self.operation, self.flow, slip);
            self.governor.dispatch(&mut state);
        }
        inner.note(&state, self.operation);
    }
}

impl Governor {
    /// One that has learned nothing yet.
    #[must_use]
    pub fn new(limits: Limits, waits: Waits, metrics: Metrics) -> Self {
        let now = Instant::now();
        let bounds = Bounds {
            width: limits.max_in_flight,
            most: limits.most,
            start: limits.start,
        };
        let into_hour = jiff::Timestamp::now().as_second().rem_euclid(3600);
        let left = Duration::from_secs(3600 - into_hour.unsigned_abs());
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                lanes: Operation::ALL.iter().map(|_| Lane::new(bounds, now)).collect(),
                queue: Queue::new(limits.max_waiting),
                under_way: 0,
                breaker: Breaker::new(limits.try_timeout, now),
                retries: Retries::new(now),
                quota: Quota::new(limits.points, limits.reserve_percent, now, left),
                timer: None,
                has_told: false,
            }),
            limits,
            waits,
            metrics,
        }))
    }

    /// Waits for the turn of a request of this kind. Returns for how long that was, and why, as well.
    pub async fn enter(
        &self,
        operation: Operation,
        flow: &Flow,
        patience: &Patience<'_>,
    ) -> (Result<Permit, Refusal>, Option<(Wait, Duration)>) {
        let from = Instant::now();
        let waiting = {
            let mut state = self.0.state.lock();
            let why = state.waits_for(operation, &self.0.limits, from);
            if why.is_none() && state.queue.len() == 0 && !state.queue.is_at_cap(flow) {
                let slip = state.take(operation, from);
                state.queue.pass(flow);
                self.0.note(&state, operation);
                return (Ok(self.permit(operation, flow, slip)), None);
            }
            if let Err(refusal) = state.refuse(operation, patience.left(), from) {
                return (Err(refusal), None);
            }
            let (turn, waits) = oneshot::channel();
            let place = state.queue.push(operation, flow, patience.deadline(), turn);
            let waiting = Waiting {
                governor: self,
                operation,
                flow,
                place,
                turn: waits,
            };
            self.dispatch(&mut state);
            self.0.note(&state, operation);
            drop(state);
            (waiting, why.unwrap_or(Wait::Turn))
        };
        let (mut waiting, why) = waiting;
        let turn = patience.wait_for_turn(&mut waiting.turn).await;
        let waited = from.elapsed();
        let class = metrics::Class {
            class: Class::of(operation).label(),
        };
        self.0
            .metrics
            .cloud_wait_seconds
            .get_or_create(&class)
            .observe(waited.as_secs_f64());
        let entered = match turn {
            Ok(Ok(Ok(slip))) => Ok(self.permit(operation, flow, slip)),
            Ok(Ok(Err(refusal))) => Err(refusal),
            // The other end is never dropped without a word while somebody waits; were it, nobody would come any more.
            Ok(Err(_dropped)) => Err(self.too_long(operation)),
            Err(_exhausted) => Err(self.too_long(operation)),
        };
        (entered, Some((why, waited)))
    }

    fn permit(&self, operation: Operation, flow: &Flow, slip: Slip) -> Permit {
        Permit {
            governor: self.clone(),
            operation,
            flow: flow.clone(),
            slip,
        }
    }

    fn too_long(&self, operation: Operation) -> Refusal {
        Refusal {
            retry_after: self.shut_for(operation).unwrap_or(Duration::from_secs(5)),
            why: TOO_LONG,
        }
    }

    /// For how long no request of this kind may leave.
    #[must_use]
    pub fn shut_for(&self, operation: Operation) -> Option<Duration> {
        let now = Instant::now();
        let (until, _) = self.0.state.lock().not_before(operation, now)?;
        Some(until.saturating_duration_since(now))
    }

    /// Whether the first of many requests of this kind would leave within `time`.
    ///
    /// # Errors
    /// It would not.
    pub fn would_begin(&self, operation: Operation, time: Duration) -> Result<(), Refusal> {
        self.0.state.lock().refuse(operation, Some(time), Instant::now())
    }

    /// Requests a second of this kind, where a limit was learned or set.
    #[must_use]
    pub fn per_second(&self, operation: Operation) -> Option<f64> {
        let state = self.0.state.lock();
        let lane = state.lanes.get(operation as usize)?;
        lane.per_second().or(lane.rate())
    }

    /// How many requests wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.state.lock().queue.len()
    }

    /// Leave to try again what failed.
    ///
    /// # Errors
    /// How long it is until there is leave.
    pub fn try_again(&self) -> Result<(), Duration> {
        self.0.state.lock().retries.take(Instant::now())
    }

    /// The wait before the next try after `tries` failed ones: full jitter, growing.
    #[must_use]
    pub fn backoff(&self, tries: u32) -> Duration {
        let waits = &self.0.waits;
        let most = waits
            .base
            .saturating_mul(1_u32 << tries.saturating_sub(1).min(16))
            .min(waits.cap);
        // Never quite zero: an immediate retry is what caused many a 429.
        most.mul_f64(fastrand::f64()).max(waits.base / 10)
    }

    /// Gives turns to those who wait, as far as anything may leave.
    fn dispatch(&self, state: &mut State) {
        let now = Instant::now();
        let limits = &self.0.limits;
        loop {
            let State {
                lanes,
                queue,
                under_way,
                breaker,
                quota,
                ..
            } = &mut *state;
            let next =
                queue.next(|operation| may_go(operation, lanes, *under_way, breaker, quota, limits, now).is_none());
            let Some((operation, flow, turn)) = next else { break };
            let slip = state.take(operation, now);
            if let Err(Ok(slip)) = turn.send(Ok(slip)) {
                state.give_back(operation, &flow, slip);
            }
        }
        if state.queue.len() > 0 {
            self.set_timer(state, now);
        }
    }

    /// Sees to it that it is looked again when the next request may leave.
    fn set_timer(&self, state: &mut State, now: Instant) {
        let wanted: Vec<Operation> = state.queue.wanted().collect();
        let mut next = None;
        for operation in wanted {
            let State {
                lanes,
                under_way,
                breaker,
                quota,
                ..
            } = &mut *state;
            let at = match may_go(operation, lanes, *under_way, breaker, quota, &self.0.limits, now) {
                Some((_, Some(at))) => at,
                Some((_, None)) => now + LOOK,
                None => continue,
            };
            next = Some(next.map_or(at, |next: Instant| next.min(at)));
        }
        let Some(next) = next.filter(|next| state.timer.is_none_or(|timer| *next < timer)) else {
            return;
        };
        state.timer = Some(next);
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(look_at(inner, next));
    }
}

async fn look_at(inner: Weak<Inner>, at: Instant) {
    tokio::time::sleep_until(at.into()).await;
    let Some(inner) = inner.upgrade() else { return };
    let governor = Governor(inner);
    let mut state = governor.0.state.lock();
    if state.timer == Some(at) {
        state.timer = None;
    }
    governor.dispatch(&mut state);
    for operation in Operation::ALL {
        governor.0.note(&state, operation);
    }
}

/// Whether a request of this kind may leave; else why not, and when it is worth looking again if nothing happens before.
fn may_go(
    operation: Operation,
    lanes: &mut [Lane],
    under_way: usize,
    breaker: &Breaker,
    quota: &mut Quota,
    limits: &Limits,
    now: Instant,
) -> Option<(Wait, Option<Instant>)> {
    match breaker.pass(now) {
        Pass::NotBefore(until) => return Some((Wait::Outage, Some(until))),
        Pass::Yes | Pass::Probe => {}
    }
    let closed = match Class::of(operation) {
        Class::Read => quota.closed_for_reads(now),
        Class::Change => quota.closed_for_changes(now),
    };
    if let Some(until) = closed {
        return Some((Wait::Quota, Some(until)));
    }
    let lane = lanes.get_mut(operation as usize)?;
    let is_shut = lane.shut_for(now).is_some();
    match lane.opens(now) {
        Opens::At(at) if is_shut => return Some((Wait::Pause, Some(at))),
        Opens::At(at) => return Some((Wait::Pace, Some(at))),
        Opens::WithAnEnd => return Some((Wait::Turn, None)),
        Opens::Now => {}
    }
    if under_way < limits.max_in_flight {
        return None;
    }
    // Requests of another kind that hang must not hold up this one: some of them are given up for lost.
    let others = lanes
        .iter()
        .enumerate()
        .filter(|(place, _)| *place != operation as usize);
    let lost: usize = others.map(|(_, lane)| lane.overdue(now)).sum();
    let most = limits.max_in_flight + lost.min(limits.max_in_flight.div_ceil(4));
    (under_way >= most).then_some((Wait::Turn, None))
}

impl State {
    fn take(&mut self, operation: Operation, now: Instant) -> Slip {
        self.under_way += 1;
        self.breaker.left(now);
        self.quota.spend(1, now);
        match self.lanes.get_mut(operation as usize) {
            Some(lane) => lane.take(now),
            None => Slip::none(now),
        }
    }

    /// A turn that nobody used.
    fn give_back(&mut self, operation: Operation, flow: &Flow, slip: Slip) {
        self.under_way = self.under_way.saturating_sub(1);
        self.breaker.forget_probe(Instant::now());
        self.queue.ended(flow);
        if let Some(lane) = self.lanes.get_mut(operation as usize) {
            lane.give_back(slip);
        }
    }

    fn waits_for(&mut self, operation: Operation, limits: &Limits, now: Instant) -> Option<Wait> {
        let Self {
            lanes,
            under_way,
            breaker,
            quota,
            ..
        } = self;
        may_go(operation, lanes, *under_way, breaker, quota, limits, now).map(|(why, _)| why)
    }

    /// Before when nothing of this kind leaves for certain, and why.
    fn not_before(&mut self, operation: Operation, now: Instant) -> Option<(Instant, &'static str)> {
        let gate = self.lanes.get(operation as usize).and_then(|lane| lane.shut_for(now));
        let closed = match Class::of(operation) {
            Class::Read => self.quota.closed_for_reads(now),
            Class::Change => self.quota.closed_for_changes(now),
        };
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

    /// A request that has no more than `left` is told at once if that cannot be enough.
    fn refuse(&mut self, operation: Operation, left: Option<Duration>, now: Instant) -> Result<(), Refusal> {
        let until = self.not_before(operation, now);
        if self.queue.is_full() {
            let retry_after = until.map_or(Duration::from_secs(5), |(until, _)| {
                until.saturating_duration_since(now)
            });
            return Err(Refusal { retry_after, why: FULL });
        }
        let Some(left) = left else { return Ok(()) };
        let shut = until.map_or(Duration::ZERO, |(until, _)| until.saturating_duration_since(now));
        if shut > left {
            let why = until.map_or(PAUSED, |(_, why)| why);
            return Err(Refusal { retry_after: shut, why });
        }
        // Reads go in the order of their turns; a change of a new call comes after one of each call that waits.
        let lane = self.lanes.get(operation as usize);
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

impl Inner {
    /// Shows in the metrics how a lane stands.
    fn note(&self, state: &State, operation: Operation) {
        self.metrics.cloud_in_flight.set(to_i64(state.under_way));
        self.metrics.cloud_waiting.set(to_i64(state.queue.len()));
        let kind = metrics::Kind {
            operation: operation.name(),
        };
        if let Some(lane) = state.lanes.get(operation as usize)
            && let Some(rate) = lane.rate()
        {
            self.metrics.cloud_rate.get_or_create(&kind).set(rate);
        }
    }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How a request ended.
enum End {
    Accepted { near_limit: bool },
    TooFast(Told),
    Failed { gate: Option<Duration> },
    NotSent,
    Unknown,
}

impl Permit {
    /// Cloud answered the question, one way or the other. `points`: what it cost of the quota besides the request's 1.
    pub fn accepted(self, headers: &HeaderMap, points: u64) {
        let told = Told::read(headers, self.governor.0.waits.believed);
        {
            let mut state = self.governor.0.state.lock();
            let now = Instant::now();
            match told.remaining.filter(|_| told.limit == Limit::Quota) {
                Some((left, of)) => state.quota.told(left, of, now),
                None => state.quota.spend(points, now),
            }
            if let Some(left) = state.quota.left() {
                let left = i64::try_from(left).unwrap_or(i64::MAX);
                self.governor.0.metrics.cloud_quota_left.set(left);
            }
        }
        self.end(End::Accepted {
            near_limit: told.near_limit,
        });
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
        state.under_way = state.under_way.saturating_sub(1);
        state.queue.ended(&self.flow);
        let (operation, slip) = (self.operation, self.slip);
        match end {
            End::Accepted { near_limit } => {
                state.retries.earn();
                if state.breaker.succeeded() {
                    tracing::info!("Cloud answers again");
                    inner.metrics.cloud_outage.set(0);
                    state.lanes.iter_mut().for_each(|lane| lane.start_over(now));
                }
                if let Some(lane) = state.lanes.get_mut(operation as usize) {
                    lane.accepted(slip, now, near_limit);
                    lane.ended(slip);
                }
            }
            End::TooFast(told) => {
                // It is there, and answers.
                if state.breaker.succeeded() {
                    inner.metrics.cloud_outage.set(0);
                    state.lanes.iter_mut().for_each(|lane| lane.start_over(now));
                }
                self.slow_down(&mut state, &told, now);
            }
            End::Failed { gate } => {
                if state.breaker.failed(now) {
                    tracing::warn!(
                        operation = operation.name(),
                        "Cloud fails all the time: it is asked now and then whether it is back"
                    );
                    inner.metrics.cloud_outage.set(1);
                }
                if let Some(lane) = state.lanes.get_mut(operation as usize) {
                    lane.failed(now);
                    if let Some(gate) = gate {
                        lane.shut_until(now + gate);
                    }
                    lane.ended(slip);
                }
                self.tell_the_late(&mut state, operation, now);
            }
            End::NotSent => {
                if state.breaker.failed(now) {
                    tracing::warn!(operation = operation.name(), "Cloud cannot be reached");
                    inner.metrics.cloud_outage.set(1);
                }
                if let Some(lane) = state.lanes.get_mut(operation as usize) {
                    lane.failed(now);
                    lane.give_back(slip);
                }
            }
            End::Unknown => {
                state.breaker.forget_probe(now);
                if let Some(lane) = state.lanes.get_mut(operation as usize) {
                    lane.ended(slip);
                }
            }
        }
        self.governor.dispatch(&mut state);
        inner.note(&state, operation);
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
            let until = state.quota.is_used_up(wait, now);
            tracing::warn!(
                operation = operation.name(),
                wait_s = until.saturating_duration_since(now).as_secs(),
                "the quota is used up: everything waits for its reset"
            );
            if let Some(lane) = state.lanes.get_mut(operation as usize) {
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
        if let Some(lane) = state.lanes.get_mut(operation as usize) {
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
        let Some((until, why)) = state.not_before(operation, now) else {
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
