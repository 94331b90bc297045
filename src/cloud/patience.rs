//! How long a request may be waited for: until a deadline, or as long as its bulk operation makes headway.

use std::future::Future;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The headway of one bulk operation: it has no deadline, but it gives up without a success for long enough, and a
/// shutdown may stop it.
#[derive(Debug)]
pub struct Progress {
    last_success: Mutex<Instant>,
    give_up: Duration,
    stop: CancellationToken,
}

impl Progress {
    /// Starts the clock.
    #[must_use]
    pub fn new(give_up: Duration, stop: CancellationToken) -> Self {
        Self {
            last_success: Mutex::new(Instant::now()),
            give_up,
            stop,
        }
    }

    /// Cloud answered one of the operation's requests.
    pub fn succeeded(&self) {
        *self.last_success.lock() = Instant::now();
    }

    /// Whether nothing more is to be begun.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.remaining().is_zero()
    }

    /// Whether a shutdown has stopped the operation.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until a shutdown stops the operation.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    fn remaining(&self) -> Duration {
        self.give_up.saturating_sub(self.last_success.lock().elapsed())
    }
}

/// For how long a request to Cloud may be waited for and tried again.
#[derive(Clone, Copy, Debug)]
pub enum Patience<'a> {
    /// Until this moment, or until there is no leave to try again: somebody waits for a list.
    Until(Instant),
    /// Until this moment, also where there is no leave to try again for a while: what is in doubt would stay so.
    Settling(Instant),
    /// As long as the operation goes on.
    WhileUnder(&'a Progress),
}

/// How long a try that is under way may still take once a shutdown has stopped its operation.
const CUT_OFF: Duration = Duration::from_secs(3);

/// The patience is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Patience<'_> {
    /// Sleeps for `wait`, or says at once that it would be too long.
    pub(super) async fn sleep(&self, wait: Duration) -> Result<(), Exhausted> {
        match self {
            Self::Until(deadline) | Self::Settling(deadline) => {
                if Instant::now() + wait > *deadline {
                    return Err(Exhausted);
                }
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Self::WhileUnder(progress) => {
                // A wait that outlasts the patience would only end it untried.
                if wait >= progress.remaining() {
                    return Err(Exhausted);
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => Ok(()),
                    () = progress.stop.cancelled() => Err(Exhausted),
                }
            }
        }
    }

    /// Waits for `turn` as long as the patience lasts.
    pub(super) async fn wait_for_turn<T>(&self, mut turn: impl Future<Output = T> + Unpin) -> Result<T, Exhausted> {
        match self {
            Self::Until(deadline) | Self::Settling(deadline) => tokio::time::timeout_at((*deadline).into(), turn)
                .await
                .map_err(|_elapsed| Exhausted),
            Self::WhileUnder(progress) => loop {
                let left = progress.remaining();
                if left.is_zero() {
                    return Err(Exhausted);
                }
                tokio::select! {
                    biased;
                    () = progress.stop.cancelled() => return Err(Exhausted),
                    value = &mut turn => return Ok(value),
                    // Others of the operation may have succeeded meanwhile.
                    () = tokio::time::sleep(left) => {}
                }
            },
        }
    }

    /// How long it lasts if nothing succeeds.
    pub(super) fn left(&self) -> Duration {
        match self {
            Self::Until(deadline) | Self::Settling(deadline) => deadline.saturating_duration_since(Instant::now()),
            Self::WhileUnder(progress) => progress.remaining(),
        }
    }

    /// Its end, where that is known.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Until(deadline) | Self::Settling(deadline) => Some(*deadline),
            Self::WhileUnder(_) => None,
        }
    }

    /// Waits until not even a try that is under way may go on.
    pub(super) async fn cut_off(&self) {
        match self {
            Self::Until(_) | Self::Settling(_) => std::future::pending().await,
            Self::WhileUnder(progress) => {
                progress.stop.cancelled().await;
                tokio::time::sleep(CUT_OFF).await;
            }
        }
    }

    /// The longest one try may take.
    pub(super) fn limit(&self, try_timeout: Duration) -> Duration {
        match self {
            Self::Until(deadline) | Self::Settling(deadline) => {
                try_timeout.min(deadline.saturating_duration_since(Instant::now()))
            }
            Self::WhileUnder(_) => try_timeout,
        }
    }
}
