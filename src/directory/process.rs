//! What all directories of one process share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::claims::Claims;
use super::identity::Current;
use super::ledger::Ledger;
use super::members;
use crate::audit::Audit;
use crate::metrics::Metrics;
use crate::model::{AccountId, GroupId, NameKey};
use crate::settings::{Settings, seconds};
use crate::store::Store;

/// What all directories of one process share.
#[derive(Debug)]
pub struct Process {
    pub(super) map: Arc<Current>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) members: Claims<(GroupId, AccountId)>,
    pub(super) groups: Claims<NameKey>,
    pub(super) audit: Audit,
    pub(super) store: Store,
    pub(super) metrics: Metrics,
    pub(super) operations: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) next_view: AtomicU64,
    pub(super) settings: Arc<Settings>,
    pub(super) max_in_flight: usize,
}

impl Process {
    /// Nothing read, nothing running.
    #[must_use]
    pub fn new(map: Arc<Current>, audit: Audit, store: Store, metrics: Metrics, settings: Arc<Settings>) -> Self {
        let cache = &settings.cache;
        let life = seconds(cache.members_ttl_s.max(cache.groups_ttl_s));
        Self {
            ledger: Arc::new(Ledger::new(seconds(cache.read_lag_s), life.max(members::LONGEST_LIFE))),
            members: Claims::new(),
            groups: Claims::new(),
            operations: TaskTracker::new(),
            stop: CancellationToken::new(),
            next_view: AtomicU64::new(0),
            max_in_flight: settings.cloud.max_in_flight,
            map,
            audit,
            store,
            metrics,
            settings,
        }
    }

    /// Waits for the running operations, at most for `patience`; then tells the rest of their names "not attempted".
    /// Returns how many operations it had to cut short.
    pub async fn finish(&self, patience: Duration) -> usize {
        self.operations.close();
        let cut_short = match tokio::time::timeout(patience, self.operations.wait()).await {
            Ok(()) => 0,
            Err(_elapsed) => {
                let running = self.operations.len();
                self.stop.cancel();
                // Requests under way end by their own timeout; nothing new begins.
                self.operations.wait().await;
                running
            }
        };
        self.audit.flush().await;
        if let Err(error) = self.store.flush().await {
            // Lost answers cost a question each, no more.
            tracing::warn!(%error, "not everything that was learned is kept");
        }
        cut_short
    }

    /// Accounts in the identity map.
    #[must_use]
    pub fn map_accounts(&self) -> usize {
        self.map.now().len()
    }

    /// Bulk operations running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.operations.len()
    }
}
