//! The one place that decides when a request leaves: as fast as Cloud allows, and not faster.
//!
//! `lane` learns the pace of each kind of request; `queue` says whose turn it is; `budget` what may be spent on trying
//! again, and of the hourly quota; `breaker` stops asking a Cloud that only fails; `told` reads what headers say. All of
//! these are pure. `state` puts them together; `permit` tells them how a request ended. Here: the lock around them, and those
//! who wait.

mod breaker;
mod budget;
mod lane;
mod permit;
mod queue;
mod state;
pub(super) mod told;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::lane::Slip;
pub use self::permit::Permit;
use self::queue::{Class, Place};
use self::state::{State, TOO_LONG};
use super::operation::Operation;
use super::patience::Patience;
use crate::metrics::{self, Metrics};
use crate::model::{Flow, Wait};
use crate::settings::{self, Pays};

/// While as many as may are under way and somebody waits, it is looked this often whether some of them are lost.
const LOOK: Duration = Duration::from_millis(250);

/// What settings say about the pace.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Requests under way at once.
    max_in_flight: usize,
    /// Requests that wait.
    max_waiting: usize,
    /// Requests of one kind a second, at most.
    most: Option<f64>,
    /// The same before anything is learned.
    start: Option<f64>,
    /// Points of the hourly quota; 0: not counted.
    points: u64,
    /// The share of them that is kept for reads.
    reserve_percent: u64,
    /// No answer comes later than this.
    try_timeout: Duration,
}

/// The waits between tries.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// The longest wait after the first failure; each one doubles it.
    base: Duration,
    /// The longest wait of all.
    cap: Duration,
    /// A `Retry-After` above this is not believed.
    believed: Duration,
}

impl Limits {
    fn of(settings: &settings::Cloud) -> Self {
        let rate = |rate: f64| (rate > 0.0).then_some(rate);
        Self {
            max_in_flight: settings.max_in_flight,
            max_waiting: settings.max_waiting,
            most: rate(settings.max_rate),
            start: rate(settings.start_rate),
            points: match settings.pays {
                Pays::Requests => 0,
                Pays::Points => settings.points_per_hour,
            },
            reserve_percent: settings.points_reserved_percent,
            try_timeout: Duration::from_millis(settings.try_timeout_ms),
        }
    }
}

impl Waits {
    fn of(settings: &settings::Cloud) -> Self {
        Self {
            base: Duration::from_millis(settings.backoff_base_ms.max(1)),
            cap: Duration::from_millis(settings.backoff_cap_ms.max(1)),
            believed: Duration::from_secs(settings.retry_after_max_s),
        }
    }
}

/// Why a request does not leave.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// When it may be worth asking again.
    pub retry_after: Duration,
    /// The reason, as part of a sentence.
    pub why: &'static str,
}

/// Decides when requests leave; clones are the same one.
#[derive(Clone, Debug)]
pub struct Governor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    waits: Waits,
    metrics: Metrics,
}

type Turn = Result<Slip, Refusal>;

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
        inner.note(&state);
    }
}

impl Governor {
    /// One that has learned nothing yet.
    #[must_use]
    pub fn new(settings: &settings::Cloud, metrics: Metrics) -> Self {
        let limits = Limits::of(settings);
        Self(Arc::new(Inner {
            state: Mutex::new(State::new(&limits, Instant::now())),
            waits: Waits::of(settings),
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
            let why = state.gates.may_go(operation, from).map(|(why, _)| why);
            if why.is_none() && state.queue.len() == 0 && !state.queue.is_at_cap(flow) {
                let slip = state.gates.take(operation, from);
                state.queue.pass(flow);
                self.0.note(&state);
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
            self.0.note(&state);
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
        let (until, _) = self.0.state.lock().gates.not_before(operation, now)?;
        Some(until.saturating_duration_since(now))
    }

    /// Whether the first of many requests of this kind would leave within `time`.
    ///
    /// # Errors
    /// It would not.
    pub fn would_begin(&self, operation: Operation, time: Duration) -> Result<(), Refusal> {
        self.0.state.lock().refuse(operation, time, Instant::now())
    }

    /// Requests a second of this kind, where a limit was learned or set.
    #[must_use]
    pub fn per_second(&self, operation: Operation) -> Option<f64> {
        let state = self.0.state.lock();
        let lane = state.gates.lanes.get(operation as usize)?;
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
        loop {
            let State { gates, queue, .. } = &mut *state;
            let next = queue.next(|operation| gates.may_go(operation, now).is_none());
            let Some((operation, flow, turn)) = next else { break };
            let slip = state.gates.take(operation, now);
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
            let at = match state.gates.may_go(operation, now) {
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
    governor.0.note(&state);
}

impl Inner {
    /// Shows in the metrics how many requests there are.
    fn note(&self, state: &State) {
        self.metrics.cloud_in_flight.set(to_i64(state.gates.under_way));
        self.metrics.cloud_waiting.set(to_i64(state.queue.len()));
    }

    /// Shows what was learned of this kind; it changes with an end alone.
    fn note_rate(&self, state: &State, operation: Operation) {
        let kind = metrics::Kind {
            operation: operation.name(),
        };
        if let Some(lane) = state.gates.lanes.get(operation as usize)
            && let Some(rate) = lane.rate()
        {
            self.metrics.cloud_rate.get_or_create(&kind).set(rate);
        }
    }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::model::RequestId;

    fn governor(max_in_flight: usize) -> Governor {
        let mut settings = settings::Settings::defaults().cloud;
        (settings.max_in_flight, settings.max_waiting) = (max_in_flight, 3);
        Governor::new(&settings, Metrics::new())
    }

    fn flow() -> Flow {
        RequestId::random().flow()
    }

    fn within(seconds: u64) -> Patience<'static> {
        Patience::Until(Instant::now() + Duration::from_secs(seconds))
    }

    async fn enter(governor: &Governor, operation: Operation, seconds: u64) -> Result<Permit, Refusal> {
        governor.enter(operation, &flow(), &within(seconds)).await.0
    }

    #[test]
    fn the_wait_grows_to_the_cap_and_never_overflows() {
        let governor = governor(2);
        for tries in [1, 2, 8, 17, 1000, u32::MAX] {
            let wait = governor.backoff(tries);
            assert!(
                wait <= Duration::from_secs(15) && wait >= Duration::from_millis(20),
                "{wait:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_shut_gate_holds_back_its_own_kind_alone_and_says_for_how_long() {
        let governor = governor(2);
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, "30".parse().unwrap());
        let permit = enter(&governor, Operation::AddMember, 1).await.unwrap();
        permit.too_fast(&headers);
        let refusal = enter(&governor, Operation::AddMember, 1).await.unwrap_err();
        assert!((29..=30).contains(&refusal.retry_after.as_secs()), "{refusal:?}");
        assert!(
            governor
                .would_begin(Operation::AddMember, Duration::from_secs(1))
                .is_err()
        );
        assert!(
            governor
                .would_begin(Operation::AddMember, Duration::from_secs(40))
                .is_ok()
        );
        assert!(enter(&governor, Operation::ListMembers, 1).await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_is_told_when_the_pause_turns_out_to_be_too_long() {
        let governor = governor(1);
        let first = enter(&governor, Operation::AddMember, 1).await.unwrap();
        let asks = tokio::spawn({
            let governor = governor.clone();
            async move { enter(&governor, Operation::AddMember, 20).await }
        });
        while governor.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, "60".parse().unwrap());
        first.too_fast(&headers);
        let refusal = asks.await.unwrap().unwrap_err();
        assert!((59..=60).contains(&refusal.retry_after.as_secs()), "{refusal:?}");
    }

    #[tokio::test]
    async fn a_turn_that_nobody_takes_goes_to_the_next() {
        let governor = governor(1);
        let first = enter(&governor, Operation::AddMember, 1).await.unwrap();
        let (one, two, three) = (flow(), flow(), flow());
        let (patience, others) = (within(5), within(5));
        let mut gone = Box::pin(governor.enter(Operation::AddMember, &one, &patience));
        let mut given = Box::pin(governor.enter(Operation::AddMember, &two, &patience));
        let mut stays = Box::pin(governor.enter(Operation::ListMembers, &three, &others));
        for waits in [&mut gone, &mut given] {
            assert!(futures_util::poll!(waits.as_mut()).is_pending());
        }
        assert!(futures_util::poll!(stays.as_mut()).is_pending());
        assert_eq!(governor.waiting(), 3);
        // A fourth finds the queue full.
        assert!(enter(&governor, Operation::AddMember, 5).await.is_err());
        drop(gone);
        assert_eq!(governor.waiting(), 2);
        // One permit is broken off; the reader's turn comes first, and is dropped unused.
        drop(first);
        drop(stays);
        let (permit, waited) = given.await;
        permit.unwrap().accepted(&HeaderMap::new(), 0);
        assert_eq!(waited.map(|(why, _)| why), Some(Wait::Turn));
        assert_eq!(governor.waiting(), 0);
    }

    #[tokio::test]
    async fn requests_that_hang_do_not_hold_up_another_kind_for_ever() {
        let governor = governor(4);
        let mut hang = Vec::new();
        for _ in 0..4 {
            hang.push(enter(&governor, Operation::AddMember, 1).await.unwrap());
        }
        let from = Instant::now();
        let other = enter(&governor, Operation::ListMembers, 20).await.unwrap();
        assert!(from.elapsed() >= Duration::from_secs(1));
        // So many are given up for lost, and no more.
        assert!(enter(&governor, Operation::ListMembers, 1).await.is_err());
        drop(other);
        assert!(enter(&governor, Operation::ListMembers, 1).await.is_ok());
    }
}
