//! How a server is told to stop.

use tokio_util::sync::CancellationToken;

/// How a server is told to stop: once to finish what runs, twice to cut it short.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    pub(super) begin: CancellationToken,
    pub(super) hurry: CancellationToken,
}

impl Stop {
    /// Nobody has said stop.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says stop, or for the second time: now.
    pub fn say(&self) {
        if self.begin.is_cancelled() {
            self.hurry.cancel();
        }
        self.begin.cancel();
    }

    /// Says stop at SIGTERM and SIGINT, from now on: until then they end the process as they always do.
    pub fn at_signals(&self) {
        let stop = self.clone();
        let mut signals = Signals::listen();
        tokio::spawn(async move {
            loop {
                signals.next().await;
                stop.say();
            }
        });
    }

    /// Waits until somebody said stop.
    pub async fn said(&self) {
        self.begin.cancelled().await;
    }
}

#[cfg(unix)]
struct Signals(Option<[tokio::signal::unix::Signal; 2]>);

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        // Without handlers the signals end the process as they always do.
        Self(
            terminate
                .ok()
                .zip(interrupt.ok())
                .map(|(terminate, interrupt)| [terminate, interrupt]),
        )
    }

    async fn next(&mut self) {
        let Some([terminate, interrupt]) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
