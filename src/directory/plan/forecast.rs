//! A plan as a value: what an operation is going to cost and to change. Pure; the one part of the domain that is written out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::reads::points;
use crate::cloud::{Operation, Pace};
use crate::model::{Fate, Verdict};

/// What an operation is going to do, as far as what is known tells. Written into its report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// By which calls the names are changed.
    #[serde(skip)]
    pub change: Option<Operation>,
    /// Calls to Cloud still to be made, by operation: the reads, then the changes. Retries are not among them.
    pub calls: BTreeMap<&'static str, u64>,
    /// Their sum.
    pub calls_total: u64,
    /// What they cost of a points quota, at most: pages count as full, and accounts as being in ten groups.
    pub quota_points: u64,
    /// How long they take at the pace of the last requests, in milliseconds; absent before anything was measured.
    pub takes_ms: Option<u64>,
    /// Names that are going to be changed.
    pub changes: u64,
    /// Names that are going to be left as they are, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
}

impl Forecast {
    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// What these reads come to, and one call of `change` for every name whose verdict is to be "done".
    pub fn new(
        reads: &[(Operation, u64)],
        change: Operation,
        verdicts: impl Iterator<Item = Verdict>,
        pace: Pace,
    ) -> Self {
        let mut forecast = Self {
            change: Some(change),
            ..Self::default()
        };
        for verdict in verdicts {
            match verdict {
                Verdict::Told(Fate::Done) => forecast.changes += 1,
                skipped => *forecast.skipped.entry(skipped.as_str()).or_default() += 1,
            }
        }
        for (operation, calls) in reads.iter().copied().chain([(change, forecast.changes)]) {
            if calls > 0 {
                *forecast.calls.entry(operation.name()).or_default() += calls;
                forecast.calls_total += calls;
                forecast.quota_points += calls.saturating_mul(points(operation));
            }
        }
        forecast.takes_ms = pace
            .request
            .map(|one| takes(forecast.calls_total, forecast.changes, one, pace));
        forecast
    }
}

/// So many calls, side by side, in milliseconds: by the time of one, and by the rate at which changes leave.
fn takes(calls: u64, changes: u64, one: Duration, pace: Pace) -> u64 {
    let rounds = calls.div_ceil(u64::try_from(pace.at_once).unwrap_or(u64::MAX).max(1));
    let micros = u128::from(rounds).saturating_mul(one.as_micros());
    let at_once = u64::try_from(micros.div_ceil(1000)).unwrap_or(u64::MAX);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an estimate, never negative; what is too large becomes the largest"
    )]
    let in_turn = pace
        .per_second
        .map_or(0, |rate| (changes as f64 * 1000.0 / rate.max(0.001)) as u64);
    at_once.max(in_turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Skip;

    fn pace(millis: u64) -> Pace {
        Pace {
            request: Some(Duration::from_millis(millis)),
            at_once: 8,
            per_second: None,
        }
    }

    #[test]
    fn a_plan_tells_calls_time_changes_and_reasons() {
        let verdicts = [
            Verdict::DONE,
            Verdict::skipped(Skip::AlreadyMember),
            Verdict::DONE,
            Verdict::skipped(Skip::Blank),
            Verdict::skipped(Skip::Blank),
        ];
        let reads = [
            (Operation::FindGroups, 1),
            (Operation::ListMembers, 2),
            (Operation::MemberOf, 0),
        ];
        let forecast = Forecast::new(&reads, Operation::AddMember, verdicts.into_iter(), pace(100));
        assert_eq!(
            serde_json::to_value(&forecast).unwrap(),
            serde_json::json!({
                "calls": { "find_group": 1, "list_members": 2, "add_member": 2 },
                "calls_total": 5,
                "quota_points": 3 + 2 * 401 + 2,
                "takes_ms": 100,
                "changes": 2,
                "skipped": { "already_member": 1, "blank": 2 },
            })
        );
    }

    #[test]
    fn the_time_is_that_of_requests_side_by_side_and_unknown_before_the_first() {
        let of = |done: usize, pace| {
            let verdicts = std::iter::repeat_n(Verdict::DONE, done);
            Forecast::new(&[], Operation::RemoveMember, verdicts, pace).takes_ms
        };
        assert_eq!(
            (of(0, pace(100)), of(8, pace(100)), of(9, pace(100))),
            (Some(0), Some(100), Some(200))
        );
        assert_eq!(of(10_000, pace(80)), Some(100_000));
        let unmeasured = Pace {
            per_second: None,
            request: None,
            at_once: 8,
        };
        assert_eq!(of(9, unmeasured), None);
    }
}
