//! The identity map's life: read anew at SIGHUP and when its file has changed. A faulty new file is refused, and the
//! map in use stays. Without a file there is nothing to read, and a SIGHUP does not end the program all the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::directory::identity::{Current, Faults, Map};
use crate::metrics::Metrics;
use crate::settings::{PrimaryRule, Settings, seconds};

/// Looks after the map's file.
pub struct Watch {
    path: Option<PathBuf>,
    hang_up: HangUp,
    primary: PrimaryRule,
    every: Duration,
    current: Arc<Current>,
    /// The file that is in use, or was refused.
    dealt_with: Option<Stamp>,
    metrics: Metrics,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    changed: SystemTime,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// The file's state now; to be taken before it is read.
    pub fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&data);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self {
            changed: data.modified().ok()?,
            length: data.len(),
            inode,
        })
    }
}

/// Tells metrics and log of a map that is going to be used.
pub fn welcome(map: &Map, metrics: &Metrics) {
    metrics.map_accounts.set(i64::try_from(map.len()).unwrap_or(i64::MAX));
    if map.ambiguous() > 0 {
        tracing::warn!(
            names = map.ambiguous(),
            "names in the identity map stand for several accounts and are refused"
        );
    }
}

impl Watch {
    /// A watch over the file that is set; as it was at `read` it has been read into `current`. Takes the signal over.
    pub fn new(settings: &Settings, read: Option<Stamp>, current: Arc<Current>, metrics: Metrics) -> Self {
        Self {
            dealt_with: read,
            every: seconds(settings.identity.map_reload_s),
            primary: settings.identity.primary_username,
            path: settings.identity.map_file.clone(),
            hang_up: HangUp::new(),
            current,
            metrics,
        }
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        let Some(path) = self.path.take() else {
            loop {
                self.hang_up.next().await;
                tracing::info!("no identity map is set (identity.map_file), so there is nothing to read anew");
            }
        };
        let mut seen = self.dealt_with;
        loop {
            let asked = tokio::select! {
                () = self.hang_up.next() => true,
                () = tokio::time::sleep(self.every), if !self.every.is_zero() => false,
            };
            let now = Stamp::of(&path);
            // A file that is being written changes again: it is read once it has lain still.
            let lies_still = now == seen;
            seen = now;
            if asked || (now.is_some() && now != self.dealt_with && lies_still) {
                self.dealt_with = now;
                self.read(path.clone(), asked).await;
            }
        }
    }

    async fn read(&self, path: PathBuf, asked: bool) {
        let from = Instant::now();
        let primary = self.primary;
        let read = tokio::task::spawn_blocking(move || Map::read(&path, primary)).await;
        match read {
            Ok(Ok(map)) => {
                let (before, accounts) = (self.current.now().len(), map.len());
                let lost = |now: usize, before: usize| now < before / 2;
                if !asked && (lost(accounts, before) || lost(map.rows(), self.current.now().rows())) {
                    let fault = format!(
                        "it has {} rows with {accounts} accounts where {} with {before} are in use; a SIGHUP says that this is \
                         meant",
                        map.rows(),
                        self.current.now().rows()
                    );
                    self.refuse(&Faults(vec![fault]));
                    return;
                }
                welcome(&map, &self.metrics);
                self.current.replace(map);
                self.metrics.map_reload("done");
                tracing::info!(accounts, before, asked, took = ?from.elapsed(), "the identity map was read anew");
            }
            Ok(Err(faults)) => self.refuse(&faults),
            Err(error) => self.refuse(&Faults(vec![error.to_string()])),
        }
    }

    fn refuse(&self, faults: &Faults) {
        self.metrics.map_reload("refused");
        let (first, more) = (
            faults.0.first().map_or("", String::as_str),
            faults.0.len().saturating_sub(1),
        );
        tracing::error!(
            fault = first,
            more,
            "the identity map's new file is refused, and the one before stays in use; `extender-facade check` tells all faults"
        );
    }
}

/// The signal that asks for a new reading.
#[cfg(unix)]
struct HangUp(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl HangUp {
    fn new() -> Self {
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
        Self(signal.ok())
    }

    async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(not(unix))]
struct HangUp;

#[cfg(not(unix))]
impl HangUp {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}
