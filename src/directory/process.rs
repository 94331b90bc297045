//! What all directories of one process share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::claims::Claims;
use super::guard::Guard;
use super::identity::Current;
use super::ledger::Ledger;
use super::members;
use super::operations::{Books, Callers, Desk};
use crate::metrics::Metrics;
use crate::model::{AccountId, GroupId, NameKey, OperationId};
use crate::settings::{Settings, seconds};
use crate::store::Store;

/// What all directories of one process share.
#[derive(Debug)]
pub struct Process {
    pub(super) map: Arc<Current>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) members: Claims<(GroupId, AccountId)>,
    pub(super) groups: Claims<NameKey>,
    /// Operations on the members of one group claim them and are put on record one after the other.
    pub(super) beginnings: Claims<GroupId>,
    /// Operations that are being taken back.
    pub(super) undos: Claims<OperationId>,
    pub(super) guard: Guard,
    pub(super) books: Books,
    pub(super) desk: Arc<Desk>,
    /// The site that is changed, as operations on record name it.
    pub(super) site: String,
    pub(super) store: Store,
    pub(super) metrics: Metrics,
    pub(super) operations: TaskTracker,
    pub(super) callers: Callers,
    pub(super) stop: CancellationToken,
    pub(super) next_view: AtomicU64,
    pub(super) settings: Arc<Settings>,
    pub(super) max_in_flight: usize,
}

impl Process {
    /// Nothing read, nothing running.
    #[must_use]
    pub fn new(map: Arc<Current>, books: Books, store: Store, metrics: Metrics, settings: Arc<Settings>) -> Self {
        let cache = &settings.cache;
        let life = seconds(cache.members_ttl_s.max(cache.groups_ttl_s).max(cache.stale_if_error_s));
        Self {
            ledger: Arc::new(Ledger::new(seconds(cache.read_lag_s), life.max(members::LONGEST_LIFE))),
            members: Claims::new(),
            groups: Claims::new(),
            beginnings: Claims::new(),
            undos: Claims::new(),
            guard: Guard::new(&settings.extender),
            operations: TaskTracker::new(),
            callers: Callers::default(),
            stop: CancellationToken::new(),
            next_view: AtomicU64::new(0),
            max_in_flight: settings.cloud.max_in_flight,
            map,
            books,
            desk: Arc::new(Desk::new(seconds(settings.extender.join_grace_s))),
            site: settings.cloud.site().unwrap_or_default(),
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
        self.books.close().await;
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

    /// Why nothing can be changed, though reads go on.
    #[must_use]
    pub fn refuses_changes(&self) -> Option<&str> {
        self.books.fault()
    }

    /// Bulk operations running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.operations.len()
    }
}
