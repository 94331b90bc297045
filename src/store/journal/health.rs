//! Whether the journal can be written, as everybody sees it without asking the thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For so long a successful writing says that the next one will succeed.
const FRESH: Duration = Duration::from_secs(1);

/// What every handle sees of the thread.
#[derive(Debug)]
pub(super) struct Health {
    writable: AtomicBool,
    /// When something was written last, in milliseconds after `epoch`; 0: never.
    written_ms: AtomicU64,
    epoch: Instant,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            writable: AtomicBool::new(true),
            written_ms: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Acquire)
    }

    /// Something was written a moment ago, and nothing failed since.
    pub(super) fn is_fresh(&self) -> bool {
        let last = self.written_ms.load(Ordering::Acquire);
        self.is_writable() && last > 0 && self.now_ms().saturating_sub(last) < FRESH.as_millis() as u64
    }

    /// Something could not be written.
    pub(super) fn failed(&self) {
        self.writable.store(false, Ordering::Release);
    }

    /// Something was written.
    pub(super) fn written(&self) {
        self.written_ms.store(self.now_ms(), Ordering::Release);
        self.writable.store(true, Ordering::Release);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    }
}
