//! What was asked and how it was answered, for `GET /_sim/stats`.
use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::routes::Operation;

#[derive(Debug, Default)]
struct Counts {
    by_operation: BTreeMap<Operation, u64>,
    by_status: BTreeMap<u16, u64>,
    cut: u64,
    served: u64,
    service: Duration,
}

/// The counts since the start, or since they were zeroed.
#[derive(Debug, Default)]
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
}

impl Stats {
    pub(super) fn arrived(&self, operation: Operation) {
        *self.0.lock().by_operation.entry(operation).or_default() += 1;
    }

    pub(super) fn ended(&self, end: End) {
        let mut counts = self.0.lock();
        match end {
            End::Answered(status, took) => {
                *counts.by_status.entry(status).or_default() += 1;
                counts.served += 1;
                counts.service += took;
            }
            End::Limited => *counts.by_status.entry(429).or_default() += 1,
            End::Cut => counts.cut += 1,
        }
    }

    pub(super) fn zero(&self) {
        *self.0.lock() = Counts::default();
    }

    /// Every operation is named, with zero too; a status only once it was answered.
    pub(super) fn shown(&self) -> Value {
        let counts = self.0.lock();
        let of = |operation: &Operation| counts.by_operation.get(operation).copied().unwrap_or(0);
        let by_operation: Map<_, _> = Operation::ALL
            .iter()
            .map(|operation| (operation.name().to_owned(), of(operation).into()))
            .collect();
        let mut by_status: Map<_, Value> = counts
            .by_status
            .iter()
            .map(|(status, count)| (status.to_string(), (*count).into()))
            .collect();
        if counts.cut > 0 {
            by_status.insert("cut".to_owned(), counts.cut.into());
        }
        let mean = counts.service.as_secs_f64() * 1_000.0 / counts.served.max(1) as f64;
        json!({
            "total": counts.by_operation.values().sum::<u64>(),
            "by_operation": by_operation,
            "by_status": by_status,
            "mean_service_ms": mean,
        })
    }
}
