//! What a test has shown, as values: the three reports say the same.

pub(super) mod html;
pub(super) mod json;
mod svg;
pub(super) mod text;

use std::time::Duration;

use hdrhistogram::Histogram;
use jiff::Timestamp;

use super::behind::Calls;
use super::memory::{self, Slope};
use super::record::{OfCall, OfPhase, Record};
use super::thresholds::Verdict;

/// The quantiles that are told, by name.
pub(super) const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Everything.
pub(super) struct Summary {
    pub(super) target: String,
    pub(super) began: Timestamp,
    /// How it was asked for, option by option.
    pub(super) asked: Vec<(&'static str, String)>,
    pub(super) phases: Vec<Phase>,
    /// A step of the lines over time, in seconds.
    pub(super) step: f64,
    pub(super) steps: Vec<Step>,
    /// Where the steady phase begins and ends, in seconds.
    pub(super) ramp: f64,
    pub(super) whole: f64,
    pub(super) memory: Option<Memory>,
    pub(super) cloud: Option<Calls>,
    pub(super) changes: Option<Changes>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) warnings: Vec<String>,
}

/// A phase and its calls; the last row is all of them.
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) seconds: f64,
    pub(super) rows: Vec<Row>,
    /// Good answers a second.
    pub(super) answered_a_second: f64,
    /// How late requests were begun, and how long they took from then on: p50, p99 and the most, in milliseconds.
    pub(super) late: [f64; 3],
    pub(super) served: [f64; 3],
}

/// Milliseconds, but for the counts.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) asked: u64,
    pub(super) good: u64,
    pub(super) errors: Vec<(String, u64)>,
    /// As [`QUANTILES`]; none where nothing was answered.
    pub(super) quantiles: Option<[f64; 4]>,
    pub(super) most: f64,
    /// How many were at most so long, and longer than the one before.
    pub(super) histogram: Vec<(f64, u64)>,
}

/// A step of time.
pub(super) struct Step {
    /// Seconds since the start.
    pub(super) at: f64,
    pub(super) asked_a_second: f64,
    pub(super) answered_a_second: f64,
    pub(super) errors: u64,
    /// p50, p99 and the most of what was meant to arrive in it, in milliseconds.
    pub(super) latency: Option<[f64; 3]>,
}

/// The facade's memory.
pub(super) struct Memory {
    /// Seconds since the start, KiB.
    pub(super) samples: Vec<(f64, f64)>,
    /// Of the steady phase, a second.
    pub(super) slope: Option<Slope>,
}

impl Memory {
    pub(super) fn first(&self) -> f64 {
        self.samples.first().map_or(0.0, |(_, kib)| *kib)
    }

    pub(super) fn last(&self) -> f64 {
        self.samples.last().map_or(0.0, |(_, kib)| *kib)
    }

    pub(super) fn most(&self) -> f64 {
        self.samples.iter().map(|(_, kib)| *kib).fold(0.0, f64::max)
    }
}

/// What was changed and taken back.
pub(super) struct Changes {
    pub(super) added: u64,
    pub(super) removed: u64,
    pub(super) removed_at_the_end: u64,
    /// Removals of which nothing of ours was there.
    pub(super) in_vain: u64,
    /// What could not be taken back: group (or none) and name.
    pub(super) left: Vec<(Option<String>, String)>,
}

impl Summary {
    pub(super) fn is_good(&self) -> bool {
        let is_clean = self.changes.as_ref().is_none_or(|changes| changes.left.is_empty());
        is_clean && self.verdicts.iter().all(|verdict| verdict.is_met)
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn three(histogram: &Histogram<u64>) -> [f64; 3] {
    [
        ms(histogram.value_at_quantile(0.5)),
        ms(histogram.value_at_quantile(0.99)),
        ms(histogram.max()),
    ]
}

/// The phases of a record, each with its rows. A phase that was not to be is left out.
pub(super) fn phases(record: &Record, ramp: Duration, steady: Duration) -> Vec<Phase> {
    let all = [("ramp", ramp, &record.ramp), ("steady", steady, &record.steady)];
    all.into_iter()
        .filter(|(_, time, _)| !time.is_zero())
        .map(|(name, time, phase)| of_phase(name, time.as_secs_f64(), phase))
        .collect()
}

fn of_phase(name: &'static str, seconds: f64, phase: &OfPhase) -> Phase {
    let calls = phase.calls.iter().map(|(call, of)| row(call.name(), of));
    Phase {
        name,
        seconds,
        rows: calls.chain([row("all", &phase.all())]).collect(),
        answered_a_second: phase.answered as f64 / seconds,
        late: three(&phase.late),
        served: three(&phase.served),
    }
}

fn row(name: &'static str, of: &OfCall) -> Row {
    let quantile = |(_, share): (&str, f64)| ms(of.latency.value_at_quantile(share));
    Row {
        name,
        asked: of.asked,
        good: of.good,
        errors: of.errors.iter().map(|(kind, count)| (kind.name(), *count)).collect(),
        quantiles: (!of.latency.is_empty()).then(|| QUANTILES.map(quantile)),
        most: ms(of.latency.max()),
        histogram: buckets(&of.latency),
    }
}

/// The histogram in steps of a tenth of a decade, from the shortest to the longest.
fn buckets(latency: &Histogram<u64>) -> Vec<(f64, u64)> {
    if latency.is_empty() {
        return Vec::new();
    }
    let edge = |tenths: i32| 10_f64.powf(f64::from(tenths) / 10.0);
    let first = ((latency.min().max(1) as f64).log10() * 10.0).ceil() as i32;
    let last = ((latency.max().max(1) as f64).log10() * 10.0).ceil() as i32;
    let mut counts = vec![0; usize::try_from(last - first + 1).unwrap_or(1)];
    for step in latency.iter_recorded() {
        let value = step.value_iterated_to().max(1) as f64;
        let place = ((value.log10() * 10.0).ceil() as i32).clamp(first, last) - first;
        if let Some(count) = counts.get_mut(usize::try_from(place).unwrap_or(0)) {
            *count += step.count_since_last_iteration();
        }
    }
    (first..=last)
        .map(|tenths| edge(tenths) / 1_000.0)
        .zip(counts)
        .collect()
}

/// The record over time.
pub(super) fn steps(record: &Record) -> Vec<Step> {
    let seconds = record.step.as_secs_f64();
    let steps = record.steps.iter().enumerate();
    steps
        .map(|(place, step)| Step {
            at: place as f64 * seconds,
            asked_a_second: step.asked as f64 / seconds,
            answered_a_second: step.answered as f64 / seconds,
            errors: step.errors,
            latency: (!step.latency.is_empty()).then(|| three(&step.latency)),
        })
        .collect()
}

/// The memory, with the slope of the steady phase.
pub(super) fn memory(samples: Vec<(f64, f64)>, ramp: f64, whole: f64) -> Option<Memory> {
    let steady: Vec<_> = samples
        .iter()
        .copied()
        .filter(|(at, _)| (ramp..=whole).contains(at))
        .collect();
    (!samples.is_empty()).then(|| Memory {
        slope: memory::slope(&steady),
        samples,
    })
}

/// A text that moves no terminal's cursor.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), "\u{fffd}")
}

/// A figure short enough for a table: three digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        size if size < 0.0005 => "0".to_owned(),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
pub(super) mod samples {
    use super::super::mix::Call;
    use super::super::record::{Outcome, Sample};
    use super::super::schedule::{Arrivals, Plan};
    use super::*;

    /// A test with something of everything, whose group is called like this.
    pub(in super::super) fn summary(group: &str) -> Summary {
        let (ramp, steady) = (Duration::from_secs(1), Duration::from_secs(3));
        let mut record = Record::new(Plan {
            rate: 50.0,
            ramp,
            steady,
            arrivals: Arrivals::Constant,
        });
        for n in 0..200_u64 {
            let at = Duration::from_millis(n * 20);
            record.add(&Sample {
                call: if n % 10 == 0 { Call::AddUsers } else { Call::GetUsers },
                meant: at,
                sent: Some((at, at + Duration::from_millis(1 + n))),
                outcome: if n % 50 == 7 {
                    Outcome::Status(503)
                } else {
                    Outcome::Good
                },
            });
        }
        Summary {
            target: "http://127.0.0.1:8090/".to_owned(),
            began: Timestamp::UNIX_EPOCH,
            asked: vec![("groups", group.to_owned())],
            phases: phases(&record, ramp, steady),
            step: record.step.as_secs_f64(),
            steps: steps(&record),
            ramp: 1.0,
            whole: 4.0,
            memory: memory(
                (0..40)
                    .map(|n| (f64::from(n) / 10.0, 50_000.0 + f64::from(n)))
                    .collect(),
                1.0,
                4.0,
            ),
            cloud: Some(Calls::from([("add_member".to_owned(), 20)])),
            changes: Some(Changes {
                added: 20,
                removed: 15,
                removed_at_the_end: 4,
                in_vain: 2,
                left: vec![(Some(group.to_owned()), "user1".to_owned())],
            }),
            verdicts: vec![Verdict {
                name: "max-p99-ms",
                limit: 10.0,
                value: Some(190.0),
                is_met: false,
            }],
            warnings: vec!["the machine <was> slow".to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::histogram;
    use super::*;

    #[test]
    fn every_value_is_in_the_step_that_holds_it() {
        let mut latency = histogram(3);
        for us in [100, 1_000, 1_001, 9_000, 2_000_000] {
            latency.record(us).unwrap();
        }
        let buckets = buckets(&latency);
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 5);
        let filled: Vec<f64> = buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(edge, _)| *edge)
            .collect();
        for (edge, us) in filled.iter().zip([100.0, 1_000.0, 1_001.0, 9_000.0, 2_000_000.0]) {
            let ms = us / 1_000.0;
            assert!(*edge >= ms * 0.99 && *edge < ms * 1.27, "{edge} {ms}");
        }
        assert!(super::buckets(&histogram(3)).is_empty());
    }

    #[test]
    fn a_test_is_good_if_its_thresholds_are_met_and_nothing_is_left() {
        let mut summary = samples::summary("g");
        assert!(!summary.is_good());
        summary.verdicts.clear();
        assert!(!summary.is_good());
        summary.changes = None;
        assert!(summary.is_good());
    }
}
