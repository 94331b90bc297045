//! What the steady phase must have been for the test to be passed. Pure.

use super::memory::Slope;
use super::record::OfPhase;

/// What must be met; all that is given.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Thresholds, of the steady phase (exit code 1 where one is not met)")]
pub(super) struct Thresholds {
    /// The median latency of all calls, in milliseconds
    #[arg(long, value_name = "MS", value_parser = positive)]
    max_p50_ms: Option<f64>,
    /// The 99th percentile of all calls' latency
    #[arg(long, value_name = "MS", value_parser = positive)]
    max_p99_ms: Option<f64>,
    /// The 99.9th percentile of all calls' latency
    #[arg(long, value_name = "MS", value_parser = positive)]
    max_p999_ms: Option<f64>,
    /// Errors, in percent of the requests that were meant to arrive
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    max_errors: Option<f64>,
    /// Good answers a second, in percent of the requests a second that were meant to arrive
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    min_rate: Option<f64>,
    /// How fast the facade's memory may grow, in KiB a minute; twice the standard error is allowed for
    #[arg(long, value_name = "KIB", value_parser = positive)]
    max_growth_kib: Option<f64>,
}

/// A number above 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("a number above 0 is expected".to_owned()),
    }
}

/// A number from 0 to 100.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("a percentage from 0 to 100 is expected".to_owned()),
    }
}

/// One threshold, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    /// The option without its dashes.
    pub(super) name: &'static str,
    pub(super) limit: f64,
    /// `None`: nothing was measured, which is not met either.
    pub(super) value: Option<f64>,
    pub(super) is_met: bool,
}

impl Thresholds {
    pub(super) fn judge(&self, steady: &OfPhase, memory: Option<Slope>) -> Vec<Verdict> {
        let all = steady.all();
        let is_answered = !all.latency.is_empty();
        let quantile = |share| is_answered.then(|| all.latency.value_at_quantile(share) as f64 / 1_000.0);
        let percent = |part: u64| (all.asked > 0).then(|| part as f64 * 100.0 / all.asked as f64);
        let growth = memory.map(|slope| slope.value * 60.0 - 2.0 * slope.error * 60.0);
        let at_most = [
            ("max-p50-ms", self.max_p50_ms, quantile(0.5)),
            ("max-p99-ms", self.max_p99_ms, quantile(0.99)),
            ("max-p999-ms", self.max_p999_ms, quantile(0.999)),
            ("max-errors", self.max_errors, percent(all.asked - all.good)),
            ("max-growth-kib", self.max_growth_kib, growth),
        ];
        let mut verdicts: Vec<Verdict> = at_most
            .into_iter()
            .filter_map(|(name, limit, value)| {
                let limit = limit?;
                let is_met = value.is_some_and(|value| value <= limit);
                Some(Verdict {
                    name,
                    limit,
                    value,
                    is_met,
                })
            })
            .collect();
        if let Some(limit) = self.min_rate {
            let value = percent(steady.answered);
            verdicts.push(Verdict {
                name: "min-rate",
                limit,
                value,
                is_met: value.is_some_and(|value| value >= limit),
            });
        }
        verdicts
    }
}

/// Beyond so much the generator's own lateness is part of what is seen.
const LATE_MS: f64 = 1.0;
const LATE_PART: f64 = 0.1;

/// Whether this machine, rather than the server, made the figures what they are.
pub(super) fn late(steady: &OfPhase) -> Option<String> {
    let ms = |us: u64| us as f64 / 1_000.0;
    let (late, all) = (ms(steady.late.value_at_quantile(0.99)), steady.all());
    let whole = ms(all.latency.value_at_quantile(0.99));
    (late >= LATE_MS && late >= LATE_PART * whole).then(|| {
        format!(
            "this machine could not send in time: 1 % of the requests were begun {late:.1} ms late or later, of a p99 of \
             {whole:.1} ms; use a lower --rate or another machine"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::mix::Call;
    use super::super::record::{Outcome, Record, Sample};
    use super::super::schedule::{Arrivals, Plan};
    use super::*;

    /// A hundred requests, one a 10 ms: of these so many bad, the others answered after so long and begun so late.
    fn steady(bad: u64, took_ms: u64, late_ms: u64) -> OfPhase {
        let mut record = Record::new(Plan {
            rate: 100.0,
            ramp: Duration::ZERO,
            steady: Duration::from_secs(1),
            arrivals: Arrivals::Constant,
        });
        for n in 0..100 {
            let ms = Duration::from_millis;
            record.add(&Sample {
                call: Call::GetUsers,
                meant: ms(n * 10),
                sent: Some((ms(n * 10 + late_ms), ms(n * 10 + took_ms))),
                outcome: if n < bad { Outcome::Reset } else { Outcome::Good },
            });
        }
        record.steady
    }

    fn met(thresholds: &Thresholds, steady: &OfPhase) -> Vec<bool> {
        let slope = Slope { value: 2.0, error: 0.5 };
        let verdicts = thresholds.judge(steady, Some(slope));
        verdicts.iter().map(|verdict| verdict.is_met).collect()
    }

    #[test]
    fn each_threshold_is_met_or_not() {
        let thresholds = |ms, errors, rate, growth| Thresholds {
            max_p50_ms: Some(ms),
            max_p99_ms: Some(ms),
            max_p999_ms: Some(ms),
            max_errors: Some(errors),
            min_rate: Some(rate),
            max_growth_kib: Some(growth),
        };
        let seen = steady(10, 20, 0);
        assert_eq!(met(&thresholds(21.0, 10.0, 88.0, 60.0), &seen), [true; 6]);
        assert_eq!(met(&thresholds(19.0, 9.9, 89.0, 59.0), &seen), [false; 6]);
        assert!(met(&Thresholds::default(), &seen).is_empty());
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let thresholds = Thresholds {
            max_p99_ms: Some(1_000.0),
            max_growth_kib: Some(1_000.0),
            ..Thresholds::default()
        };
        let verdicts = thresholds.judge(&steady(100, 20, 0), None);
        assert!(
            verdicts
                .iter()
                .all(|verdict| verdict.value.is_none() && !verdict.is_met)
        );
    }

    #[test]
    fn the_machine_is_named_where_it_was_the_limit() {
        assert!(late(&steady(0, 20, 0)).is_none());
        assert!(late(&steady(0, 200, 10)).is_none());
        assert!(late(&steady(0, 20, 10)).unwrap().contains("10.0 ms late"));
    }
}
