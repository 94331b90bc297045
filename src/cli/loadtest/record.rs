//! What was seen: for each call and phase how many, how long, and what went wrong; and the same over time. Latencies count from
//! the moment a request was meant to arrive. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::mix::Call;
use super::schedule::Plan;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Good,
    /// As many were under way as may be.
    NotBegun,
    /// Nobody listens.
    RefusedConnection,
    /// The connection was closed before the answer was whole.
    Reset,
    Timeout,
    /// Another status than 2xx.
    Status(u16),
    InvalidJson,
    ShortList,
    /// Anything else, such as no TLS.
    Failed,
}

impl Outcome {
    /// How reports call it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Good => "good".to_owned(),
            Self::NotBegun => "not_begun".to_owned(),
            Self::RefusedConnection => "refused_connection".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::Status(status) => format!("status_{status}"),
            Self::InvalidJson => "invalid_json".to_owned(),
            Self::ShortList => "short_list".to_owned(),
            Self::Failed => "failed".to_owned(),
        }
    }
}

/// One request, all times since the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) call: Call,
    /// When it was meant to arrive.
    pub(super) meant: Duration,
    /// When it was really begun, and when its answer was whole or it failed.
    pub(super) sent: Option<(Duration, Duration)>,
    pub(super) outcome: Outcome,
}

/// Microseconds up to an hour, to three digits.
const LONGEST_US: u64 = 3_600_000_000;

pub(super) fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, digits).expect("bounds and digits that the crate takes")
}

fn put(into: &mut Histogram<u64>, time: Duration) {
    into.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST_US).max(1));
}

/// What one call met in one phase.
#[derive(Clone, Debug)]
pub(super) struct OfCall {
    pub(super) asked: u64,
    pub(super) good: u64,
    pub(super) errors: BTreeMap<Outcome, u64>,
    /// Of good answers, and of requests that were given up: these took at least so long.
    pub(super) latency: Histogram<u64>,
}

impl OfCall {
    fn new() -> Self {
        Self {
            asked: 0,
            good: 0,
            errors: BTreeMap::new(),
            latency: histogram(3),
        }
    }

    fn add(&mut self, sample: &Sample) {
        self.asked += 1;
        if sample.outcome == Outcome::Good {
            self.good += 1;
        } else {
            *self.errors.entry(sample.outcome).or_default() += 1;
        }
        if let (Outcome::Good | Outcome::Timeout, Some((_, ended))) = (sample.outcome, sample.sent) {
            put(&mut self.latency, ended.saturating_sub(sample.meant));
        }
    }

    /// Both together.
    fn merge(&mut self, other: &Self) {
        self.asked += other.asked;
        self.good += other.good;
        for (outcome, count) in &other.errors {
            *self.errors.entry(*outcome).or_default() += count;
        }
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
    }
}

/// What was met in one phase.
#[derive(Clone, Debug)]
pub(super) struct OfPhase {
    pub(super) calls: BTreeMap<Call, OfCall>,
    /// From the meant arrival until it was really begun: the generator's own part.
    pub(super) late: Histogram<u64>,
    /// From then on: the server's part.
    pub(super) served: Histogram<u64>,
    /// Good answers that came within the phase, whenever they were asked for.
    pub(super) answered: u64,
}

impl OfPhase {
    fn new() -> Self {
        Self {
            calls: BTreeMap::new(),
            late: histogram(3),
            served: histogram(3),
            answered: 0,
        }
    }

    /// All calls together.
    pub(super) fn all(&self) -> OfCall {
        let mut all = OfCall::new();
        self.calls.values().for_each(|call| all.merge(call));
        all
    }
}

/// A step of time: what was meant to arrive in it, and what was answered in it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) asked: u64,
    pub(super) errors: u64,
    pub(super) answered: u64,
    pub(super) latency: Histogram<u64>,
}

/// Everything that was seen so far.
#[derive(Clone, Debug)]
pub(super) struct Record {
    plan: Plan,
    pub(super) ramp: OfPhase,
    pub(super) steady: OfPhase,
    pub(super) step: Duration,
    pub(super) steps: Vec<Step>,
}

/// At most so many steps: a plot has no room for more, and each has a histogram.
const MOST_STEPS: u32 = 240;
const STEPS_MS: [u64; 12] = [
    100, 250, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 300_000, 900_000,
];

impl Record {
    pub(super) fn new(plan: Plan) -> Self {
        let fits = |ms: &&u64| Duration::from_millis(**ms) * MOST_STEPS >= plan.whole();
        let step = STEPS_MS.iter().find(fits).copied();
        Self {
            plan,
            ramp: OfPhase::new(),
            steady: OfPhase::new(),
            step: step.map_or(plan.whole() / MOST_STEPS, Duration::from_millis),
            steps: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        let is_ramp = sample.meant < self.plan.ramp;
        let phase = if is_ramp { &mut self.ramp } else { &mut self.steady };
        phase.calls.entry(sample.call).or_insert_with(OfCall::new).add(sample);
        if let Some((begun, ended)) = sample.sent {
            put(&mut phase.late, begun.saturating_sub(sample.meant));
            if sample.outcome == Outcome::Good {
                put(&mut phase.served, ended.saturating_sub(begun));
                if ended < self.plan.ramp {
                    self.ramp.answered += 1;
                } else if ended < self.plan.whole() {
                    self.steady.answered += 1;
                }
                if let Some(step) = self.step(ended) {
                    step.answered += 1;
                }
            }
        }
        if let Some(step) = self.step(sample.meant) {
            step.asked += 1;
            step.errors += u64::from(sample.outcome != Outcome::Good);
            if let (Outcome::Good | Outcome::Timeout, Some((_, ended))) = (sample.outcome, sample.sent) {
                put(&mut step.latency, ended.saturating_sub(sample.meant));
            }
        }
    }

    /// The step that `at` is in, within the time of the test.
    fn step(&mut self, at: Duration) -> Option<&mut Step> {
        if at >= self.plan.whole() {
            return None;
        }
        let place = usize::try_from(at.as_nanos() / self.step.as_nanos().max(1)).ok()?;
        while self.steps.len() <= place {
            self.steps.push(Step {
                asked: 0,
                errors: 0,
                answered: 0,
                latency: histogram(2),
            });
        }
        self.steps.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Arrivals;
    use super::*;

    fn record() -> Record {
        Record::new(Plan {
            rate: 100.0,
            ramp: Duration::from_secs(1),
            steady: Duration::from_secs(3),
            arrivals: Arrivals::Constant,
        })
    }

    fn sample(meant: u64, begun: u64, ended: u64, outcome: Outcome) -> Sample {
        let ms = Duration::from_millis;
        Sample {
            call: Call::GetUsers,
            meant: ms(meant),
            sent: Some((ms(begun), ms(ended))),
            outcome,
        }
    }

    #[test]
    fn a_request_that_was_begun_late_took_long() {
        let mut record = record();
        record.add(&sample(1_000, 1_900, 2_000, Outcome::Good));
        let all = record.steady.all();
        assert_eq!(all.latency.max() / 1_000, 1_000);
        assert_eq!(record.steady.served.max() / 1_000, 100);
        assert_eq!(record.steady.late.max() / 1_000, 900);
        // Where it was meant to arrive, it counts, and where it was answered.
        assert_eq!((record.steps[10].asked, record.steps[20].answered), (1, 1));
        assert_eq!(record.steps[10].latency.max() / 1_000, 1_003);
    }

    #[test]
    fn phases_are_parted_by_the_meant_arrival_and_answers_by_their_own_time() {
        let mut record = record();
        record.add(&sample(999, 999, 1_001, Outcome::Good));
        record.add(&sample(3_999, 3_999, 4_001, Outcome::Good));
        assert_eq!((record.ramp.all().good, record.steady.all().good), (1, 1));
        assert_eq!((record.ramp.answered, record.steady.answered), (0, 1));
    }

    #[test]
    fn errors_are_kept_by_kind_and_only_giving_up_is_a_latency() {
        let mut record = record();
        record.add(&sample(2_000, 2_000, 2_001, Outcome::Status(503)));
        record.add(&sample(2_000, 2_000, 2_001, Outcome::Status(503)));
        record.add(&sample(2_000, 2_000, 32_000, Outcome::Timeout));
        record.add(&Sample {
            sent: None,
            ..sample(2_000, 0, 0, Outcome::NotBegun)
        });
        let all = record.steady.all();
        assert_eq!((all.asked, all.good, all.latency.len()), (4, 0, 1));
        let errors: Vec<(String, u64)> = all.errors.iter().map(|(kind, count)| (kind.name(), *count)).collect();
        assert_eq!(
            errors,
            [
                ("not_begun".to_owned(), 1),
                ("timeout".to_owned(), 1),
                ("status_503".to_owned(), 2)
            ]
        );
        assert_eq!(record.steps[20].errors, 4);
    }

    #[test]
    fn a_long_test_has_longer_steps() {
        for (seconds, step_ms) in [(4, 100), (60, 250), (1_800, 10_000), (86_400, 900_000)] {
            let plan = Plan {
                steady: Duration::from_secs(seconds),
                ramp: Duration::ZERO,
                ..record().plan
            };
            assert_eq!(Record::new(plan).step.as_millis(), step_ms, "{seconds}");
        }
    }
}
