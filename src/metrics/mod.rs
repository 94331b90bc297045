//! What is counted. Labels come from closed sets only, so that no caller can make a series. Uses nothing of ours.

mod times;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use times::Times;

/// Labels of an inbound request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Inbound {
    /// The call, or `none` where the path names none.
    pub call: &'static str,
    /// The answer's status.
    pub status: u16,
}

/// Labels of one try of a request to Cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outbound {
    /// The operation.
    pub operation: &'static str,
    /// The answer's status, or why there is none.
    pub result: &'static str,
}

/// Labels of what is told of a kind of request to Cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// The operation.
    pub operation: &'static str,
}

/// Labels of those who wait for Cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Class {
    /// `read` or `change`.
    pub class: &'static str,
}

/// How a try of a request to Cloud may end.
const RESULTS: [&str; 6] = ["2xx", "3xx", "4xx", "failed", "refused", "deferred"];

/// Labels of a name that was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// The reason.
    pub reason: &'static str,
}

/// Labels of a look-up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Lookup {
    /// Which cache.
    pub cache: &'static str,
    /// `hit` or `miss`.
    pub result: &'static str,
}

/// Labels of a list that was told though it was old.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Stale {
    /// Which list.
    pub list: &'static str,
}

/// Labels of a reading of the identity map anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reload {
    /// `done` or `refused`.
    pub result: &'static str,
}

/// Labels of a credential for Cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Key {
    /// The setting that holds its secret: there are as many as the settings name.
    pub credential: String,
}

/// Labels of a certificate of the facade's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Certificate {
    /// The setting that names its file.
    pub file: &'static str,
}

/// Labels of a refusal of a credential for Cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Refusal {
    /// The setting that holds its secret.
    pub credential: String,
    /// What is the matter with it.
    pub symptom: &'static str,
}

/// Labels of a reading of another file anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FileReload {
    /// `accounts` or `certificate`.
    pub file: &'static str,
    /// `done` or `refused`.
    pub result: &'static str,
}

/// All figures of one process; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Inbound requests answered.
    pub requests: Family<Inbound, Counter>,
    /// Seconds until an inbound request was answered.
    pub request_seconds: Times,
    /// Tries of requests to Cloud.
    pub cloud_requests: Family<Outbound, Counter>,
    /// Seconds one try took, waits for a permit left out.
    pub cloud_seconds: Times,
    /// Tries that were not the first.
    pub cloud_retries: Counter,
    /// Requests to Cloud under way.
    pub cloud_in_flight: Gauge,
    /// Seconds requests that could not leave at once waited for their turn.
    pub cloud_wait_seconds: Family<Class, Times>,
    /// Requests to Cloud that wait for their turn.
    pub cloud_waiting: Gauge,
    /// Requests a second that Cloud lets through, as learned.
    pub cloud_rate: Family<Kind, Gauge<f64, AtomicU64>>,
    /// 429s, by the limit that was met.
    pub cloud_limited: Family<Reason, Counter>,
    /// Points left of this hour's quota, where they are counted.
    pub cloud_quota_left: Gauge,
    /// 1 while Cloud only fails.
    pub cloud_outage: Gauge,
    /// Seconds until a credential ends, where that is known.
    pub credential_seconds_left: Family<Key, Gauge>,
    /// Seconds until the server's certificate ends, where there is one.
    pub certificate_seconds_left: Family<Certificate, Gauge>,
    /// Refusals of credentials.
    pub credential_refusals: Family<Refusal, Counter>,
    /// Cache look-ups.
    pub lookups: Family<Lookup, Counter>,
    /// Lists told as they were read before, because Cloud could not be asked.
    pub stale_answers: Family<Stale, Counter>,
    /// Names skipped, by reason.
    pub skipped: Family<Reason, Counter>,
    /// Bulk operations running.
    pub operations: Gauge,
    /// Audit lines that could not be written.
    pub audit_failures: Counter,
    /// The number of the last audit line on disk.
    pub audit_seq: Gauge,
    /// The first 48 bits of that line's code.
    pub audit_head: Gauge,
    /// Accounts in the identity map.
    pub map_accounts: Gauge,
    /// Readings of the identity map anew, by how they ended.
    pub map_reloads: Family<Reload, Counter>,
    /// Readings of accounts and certificates anew, by how they ended.
    pub file_reloads: Family<FileReload, Counter>,
    /// Connections that were closed before a word was heard, or to make room.
    pub connections_closed: Family<Reason, Counter>,
    /// Learned identities written to the store.
    pub store_learned: Counter,
    /// Learned identities dropped: no room in the queue, or the store could not be written.
    pub store_dropped: Counter,
    /// Readings and writings of the store that failed.
    pub store_failures: Counter,
    /// Readings and writings of the journal that failed.
    pub journal_failures: Counter,
    /// Entries of the journal that wait in memory until it can be written again.
    pub journal_unwritten: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh figures, all zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("facade");
        macro_rules! register {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        let requests = register!(
            "requests",
            "Inbound requests answered",
            Family::<Inbound, Counter>::default()
        );
        let request_seconds = register!(
            "request_seconds",
            "Seconds until an inbound request was answered",
            Times::default()
        );
        let cloud_requests = register!(
            "cloud_requests",
            "Tries of requests to Cloud",
            Family::<Outbound, Counter>::default()
        );
        let cloud_seconds = register!("cloud_seconds", "Seconds one try towards Cloud took", Times::default());
        let cloud_retries = register!(
            "cloud_retries",
            "Tries towards Cloud that were not the first",
            Counter::default()
        );
        let cloud_in_flight = register!("cloud_in_flight", "Requests to Cloud under way", Gauge::default());
        let cloud_wait_seconds = register!(
            "cloud_wait_seconds",
            "Seconds requests to Cloud that could not leave at once waited for their turn",
            Family::<Class, Times>::default()
        );
        let cloud_waiting = register!(
            "cloud_waiting",
            "Requests to Cloud that wait for their turn",
            Gauge::default()
        );
        let cloud_rate = register!(
            "cloud_rate",
            "Requests a second that Cloud lets through, as learned",
            Family::<Kind, Gauge<f64, AtomicU64>>::default()
        );
        let cloud_limited = register!(
            "cloud_limited",
            "Answers 429, by the limit that was met",
            Family::<Reason, Counter>::default()
        );
        let cloud_quota_left = register!(
            "cloud_quota_left",
            "Points left of this hour's quota, where they are counted",
            Gauge::default()
        );
        let cloud_outage = register!("cloud_outage", "1 while Cloud only fails", Gauge::default());
        let credential_seconds_left = register!(
            "credential_seconds_left",
            "Seconds until a credential for Cloud ends, where that is known",
            Family::<Key, Gauge>::default()
        );
        let certificate_seconds_left = register!(
            "certificate_seconds_left",
            "Seconds until the server's certificate ends",
            Family::<Certificate, Gauge>::default()
        );
        let credential_refusals = register!(
            "credential_refusals",
            "Refusals of credentials by Cloud",
            Family::<Refusal, Counter>::default()
        );
        let lookups = register!("lookups", "Cache look-ups", Family::<Lookup, Counter>::default());
        let stale_answers = register!(
            "stale_answers",
            "Lists told as they were read before, because Cloud could not be asked",
            Family::<Stale, Counter>::default()
        );
        let skipped = register!(
            "skipped",
            "Names of bulk calls that were skipped",
            Family::<Reason, Counter>::default()
        );
        let operations = register!("operations", "Bulk operations running", Gauge::default());
        let audit_failures = register!(
            "audit_failures",
            "Audit lines that could not be written",
            Counter::default()
        );
        let audit_seq = register!("audit_seq", "Number of the last audit line on disk", Gauge::default());
        let audit_head = register!(
            "audit_head",
            "First 48 bits of the mac of the last audit line on disk, as a number",
            Gauge::default()
        );
        let map_accounts = register!("map_accounts", "Accounts in the identity map", Gauge::default());
        let map_reloads = register!(
            "map_reloads",
            "Readings of the identity map anew",
            Family::<Reload, Counter>::default()
        );
        let file_reloads = register!(
            "file_reloads",
            "Readings of accounts and certificates anew",
            Family::<FileReload, Counter>::default()
        );
        let connections_closed = register!(
            "connections_closed",
            "Connections closed before a word was heard, or to make room",
            Family::<Reason, Counter>::default()
        );
        let store_learned = register!(
            "store_learned",
            "Learned identities written to the store",
            Counter::default()
        );
        let store_dropped = register!(
            "store_dropped",
            "Learned identities dropped for want of room or because the store could not be written",
            Counter::default()
        );
        let store_failures = register!(
            "store_failures",
            "Readings and writings of the store that failed",
            Counter::default()
        );
        let journal_failures = register!(
            "journal_failures",
            "Readings and writings of the journal that failed",
            Counter::default()
        );
        let journal_unwritten = register!(
            "journal_unwritten",
            "Entries of the journal that wait until it can be written again",
            Gauge::default()
        );
        Self {
            registry: Arc::new(registry),
            requests,
            request_seconds,
            cloud_requests,
            cloud_seconds,
            cloud_retries,
            cloud_in_flight,
            cloud_wait_seconds,
            cloud_waiting,
            cloud_rate,
            cloud_limited,
            cloud_quota_left,
            cloud_outage,
            credential_seconds_left,
            certificate_seconds_left,
            credential_refusals,
            lookups,
            stale_answers,
            skipped,
            operations,
            audit_failures,
            audit_seq,
            audit_head,
            map_accounts,
            map_reloads,
            file_reloads,
            connections_closed,
            store_learned,
            store_dropped,
            store_failures,
            journal_failures,
            journal_unwritten,
        }
    }

    /// Counts a refusal of a credential.
    pub fn credential_refused(&self, setting: &str, symptom: &'static str) {
        let label = Refusal {
            credential: setting.to_owned(),
            symptom,
        };
        self.credential_refusals.get_or_create(&label).inc();
    }

    /// Tells when a credential ends.
    pub fn credential_ends(&self, setting: &str, seconds: i64) {
        let label = Key {
            credential: setting.to_owned(),
        };
        self.credential_seconds_left.get_or_create(&label).set(seconds);
    }

    /// Tells when the certificate of this setting ends.
    pub fn certificate_ends(&self, file: &'static str, seconds: i64) {
        let label = Certificate { file };
        self.certificate_seconds_left.get_or_create(&label).set(seconds);
    }

    /// Counts a look-up in `cache`.
    pub fn looked_up(&self, cache: &'static str, result: &'static str) {
        self.lookups.get_or_create(&Lookup { cache, result }).inc();
    }

    /// Counts a list that was told though it was old.
    pub fn told_stale(&self, list: &'static str) {
        self.stale_answers.get_or_create(&Stale { list }).inc();
    }

    /// Tries of one kind of request to Cloud, however they ended.
    #[must_use]
    pub fn cloud_tries(&self, operation: &'static str) -> u64 {
        let count = |result| {
            let tries = self.cloud_requests.get(&Outbound { operation, result });
            tries.map_or(0, |tries| tries.get())
        };
        RESULTS.into_iter().map(count).sum()
    }

    /// Counts a reading of the identity map anew.
    pub fn map_reload(&self, result: &'static str) {
        self.map_reloads.get_or_create(&Reload { result }).inc();
    }

    /// Counts a reading of accounts or certificates anew.
    pub fn file_reload(&self, file: &'static str, result: &'static str) {
        self.file_reloads.get_or_create(&FileReload { file, result }).inc();
    }

    /// Counts a connection that was closed.
    pub fn connection_closed(&self, reason: &'static str) {
        self.connections_closed.get_or_create(&Reason { reason }).inc();
    }

    /// All figures in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing into a String cannot fail; an empty page would be the honest answer if it ever did.
        if text::encode(&mut page, &self.registry).is_err() {
            page.clear();
        }
        page
    }
}
