//! A histogram of times that everybody who answers writes to at once: without a lock, which the crate's own has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::metrics::{MetricType, TypedMetric};

const BUCKETS: u16 = 18;

/// The upper bounds of the buckets, in seconds: a millisecond to two minutes.
fn bounds() -> impl Iterator<Item = f64> {
    exponential_buckets(0.001, 2.0, BUCKETS)
}

/// Times, in buckets; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Times(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    buckets: [AtomicU64; BUCKETS as usize],
    /// Longer than the last bound.
    longer: AtomicU64,
    sum_ns: AtomicU64,
}

impl Times {
    /// Counts a time, in seconds.
    pub fn observe(&self, seconds: f64) {
        let inner = &*self.0;
        let mut bucket = bounds().zip(&inner.buckets);
        let bucket = bucket.find(|(bound, _)| seconds <= *bound);
        bucket
            .map_or(&inner.longer, |(_, count)| count)
            .fetch_add(1, Ordering::Relaxed);
        inner.sum_ns.fetch_add((seconds * 1e9) as u64, Ordering::Relaxed);
    }
}

impl TypedMetric for Times {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Times {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let inner = &*self.0;
        let counts = inner.buckets.iter().chain([&inner.longer]);
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        // The last bound means: without one.
        let buckets: Vec<(f64, u64)> = bounds().chain([f64::INFINITY]).zip(counts).collect();
        // Counted from the buckets: a figure that is written meanwhile must not contradict itself.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = inner.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Registry;

    use super::*;

    fn text(metric: impl prometheus_client::registry::Metric) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("times", "Times", metric);
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn it_reads_as_the_crates_own() {
        let (ours, theirs) = (Times::default(), Histogram::new(bounds()));
        for seconds in [0.0, 0.000_5, 0.001, 0.001_5, 0.25, 1.0, 131.072, 131.5, 4000.0] {
            ours.observe(seconds);
            theirs.observe(seconds);
        }
        assert_eq!(text(ours), text(theirs));
    }
}
