//! What was asked and how it was answered, for `GET /_sim/stats`.
use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::routes::Operation;

/// A step of the time line.
const STEP: Duration = Duration::from_millis(100);
/// The time line ends after an hour.
const MOST_STEPS: usize = 36_000;

#[derive(Debug, Default)]
struct Counts {
    by_operation: BTreeMap<Operation, OfOne>,
    by_status: BTreeMap<u16, u64>,
    cut: u64,
    ignored: u64,
    served: u64,
    service: Duration,
    points: u64,
    under_way: u64,
    most_under_way: u64,
    /// When the time line begins.
    since: Option<Instant>,
    steps: Vec<Step>,
}

/// The counts of one operation.
#[derive(Debug, Default)]
struct OfOne {
    arrived: u64,
    accepted: u64,
    limited: u64,
    /// 429s up to the first request that was accepted a step or more after the first of them.
    limited_at_first: u64,
    accepted_after_first: u64,
    first_limited: Option<Instant>,
    is_past_first: bool,
}

/// What arrived in a step of time, by what became of it.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    accepted: u32,
    limited: u32,
    ignored: u32,
}

/// The counts since the start, or since they were zeroed.
#[derive(Debug)]
pub(super) struct Stats(Mutex<Counts>);

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Answered with this status after this time.
    Answered(u16, Duration),
    /// Refused at once: 429.
    Limited,
    /// The connection was closed without an answer.
    Cut,
    /// The same, without having been looked at.
    Ignored,
}

impl Default for Stats {
    fn default() -> Self {
        Self(Mutex::new(Counts::starting(0)))
    }
}

impl Stats {
    pub(super) fn arrived(&self, operation: Operation) {
        self.0.lock().by_operation.entry(operation).or_default().arrived += 1;
    }

    /// No limit is in its way: from now on it is under way.
    pub(super) fn accepted(&self, operation: Operation) {
        let now = Instant::now();
        let mut counts = self.0.lock();
        counts.under_way += 1;
        counts.most_under_way = counts.most_under_way.max(counts.under_way);
        counts.by_operation.entry(operation).or_default().accept(now);
        if let Some(step) = counts.step(now) {
            step.accepted += 1;
        }
    }

    pub(super) fn ended(&self, operation: Operation, end: End) {
        let now = Instant::now();
        let mut counts = self.0.lock();
        if matches!(end, End::Answered(..) | End::Cut) {
            // One that began before the counts were zeroed is not among them.
            counts.under_way = counts.under_way.saturating_sub(1);
        }
        match end {
            End::Answered(status, took) => {
                *counts.by_status.entry(status).or_default() += 1;
                counts.served += 1;
                counts.service += took;
            }
            End::Limited => {
                *counts.by_status.entry(429).or_default() += 1;
                counts.by_operation.entry(operation).or_default().limit(now);
                if let Some(step) = counts.step(now) {
                    step.limited += 1;
                }
            }
            End::Cut => counts.cut += 1,
            End::Ignored => {
                counts.ignored += 1;
                if let Some(step) = counts.step(now) {
                    step.ignored += 1;
                }
            }
        }
    }

    /// An answer cost so many points of the quota.
    pub(super) fn spent(&self, points: u64) {
        self.0.lock().points += points;
    }

    /// Counts from zero, but for what is under way.
    pub(super) fn zero(&self) {
        let mut counts = self.0.lock();
        *counts = Counts::starting(counts.under_way);
    }

    /// Every operation is named, with zero too; a status only once it was answered.
    pub(super) fn shown(&self) -> Value {
        let counts = self.0.lock();
        let mut by_status: Map<_, Value> = counts
            .by_status
            .iter()
            .map(|(status, count)| (status.to_string(), (*count).into()))
            .collect();
        for (name, count) in [("cut", counts.cut), ("ignored", counts.ignored)] {
            if count > 0 {
                by_status.insert(name.to_owned(), count.into());
            }
        }
        let mean = counts.service.as_secs_f64() * 1_000.0 / counts.served.max(1) as f64;
        let line = |of: fn(&Step) -> u32| counts.steps.iter().map(of).collect::<Vec<_>>();
        json!({
            "total": counts.by_operation.values().map(|one| one.arrived).sum::<u64>(),
            "by_operation": counts.each(|one| one.arrived),
            "accepted": counts.each(|one| one.accepted),
            "limited": counts.each(|one| one.limited),
            "limited_at_first": counts.each(|one| one.limited_at_first),
            "accepted_after_first": counts.each(|one| one.accepted_after_first),
            "by_status": by_status,
            "mean_service_ms": mean,
            "most_under_way": counts.most_under_way,
            "points": counts.points,
            "elapsed_ms": counts.since.map_or(0, |since| since.elapsed().as_millis() as u64),
            "timeline": {
                "step_ms": STEP.as_millis() as u64,
                "accepted": line(|step| step.accepted),
                "limited": line(|step| step.limited),
                "ignored": line(|step| step.ignored),
            },
        })
    }
}

impl Counts {
    fn starting(under_way: u64) -> Self {
        Self {
            under_way,
            most_under_way: under_way,
            since: Some(Instant::now()),
            ..Self::default()
        }
    }

    /// The step of the time line that `now` is in, while there are any left.
    fn step(&mut self, now: Instant) -> Option<&mut Step> {
        let passed = now.duration_since(self.since?);
        let place = (passed.as_millis() / STEP.as_millis()) as usize;
        if place >= MOST_STEPS {
            return None;
        }
        if self.steps.len() <= place {
            self.steps.resize(place + 1, Step::default());
        }
        self.steps.get_mut(place)
    }

    fn each(&self, count: fn(&OfOne) -> u64) -> Map<String, Value> {
        let of = |operation| self.by_operation.get(operation).map_or(0, count);
        let all = Operation::ALL.iter();
        all.map(|operation| (operation.name().to_owned(), of(operation).into()))
            .collect()
    }
}

impl OfOne {
    fn accept(&mut self, now: Instant) {
        self.accepted += 1;
        if let Some(first) = self.first_limited {
            self.is_past_first |= now.duration_since(first) >= STEP;
            self.accepted_after_first += u64::from(self.is_past_first);
        }
    }

    fn limit(&mut self, now: Instant) {
        self.limited += 1;
        self.first_limited.get_or_insert(now);
        if !self.is_past_first {
            self.limited_at_first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_contact_ends_with_what_is_accepted_well_after_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut one = OfOne::default();
        one.accept(at(0));
        one.limit(at(10));
        // What slips through at once was sent before anybody could know.
        one.accept(at(15));
        one.limit(at(20));
        one.limit(at(500));
        one.accept(at(1_000));
        one.limit(at(1_001));
        assert_eq!((one.accepted, one.limited, one.limited_at_first), (3, 4, 3));
        assert_eq!(one.accepted_after_first, 1);
    }

    #[test]
    fn the_time_line_has_an_end() {
        let mut counts = Counts::starting(0);
        let since = counts.since.unwrap();
        assert!(counts.step(since + Duration::from_millis(250)).is_some());
        assert_eq!(counts.steps.len(), 3);
        assert!(counts.step(since + Duration::from_secs(3_600)).is_none());
        assert_eq!(counts.steps.len(), 3);
    }
}
