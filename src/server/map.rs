//! The identity map's life: read anew at SIGHUP and when its file has changed. A faulty new file is refused, and the
//! map in use stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::files::{self, Cause, Stamps};
use crate::directory::identity::{Current, Faults, Map};
use crate::metrics::Metrics;
use crate::settings::{PrimaryRule, Settings, seconds};

/// Looks after the map's file.
pub struct Watch {
    path: Option<PathBuf>,
    file: files::Watch,
    primary: PrimaryRule,
    current: Arc<Current>,
    metrics: Metrics,
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
    /// A watch over the file that is set; as it was at `read` it has been read into `current`.
    pub fn new(settings: &Settings, read: Stamps, current: Arc<Current>, metrics: Metrics) -> Self {
        let path = settings.identity.map_file.clone();
        let every = seconds(settings.identity.map_reload_s);
        Self {
            file: files::Watch::new(path.clone().into_iter().collect(), every, read),
            path,
            primary: settings.identity.primary_username,
            current,
            metrics,
        }
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        loop {
            let cause = self.file.next().await;
            match self.path.clone() {
                // Whoever writes it anew without a rename may take his time.
                Some(_) if cause == Cause::Gone => {
                    tracing::error!(
                        "the identity map's file is not there, and what was read of it before stays in use"
                    );
                }
                Some(path) => self.read(path, cause).await,
                None => {
                    tracing::info!("no identity map is set (identity.map_file), so there is nothing to read anew");
                }
            }
        }
    }

    async fn read(&self, path: PathBuf, cause: Cause) {
        let from = Instant::now();
        let primary = self.primary;
        let read = tokio::task::spawn_blocking(move || Map::read(&path, primary)).await;
        match read {
            Ok(Ok(map)) => {
                let (before, accounts) = (self.current.now().len(), map.len());
                let lost = |now: usize, before: usize| now < before / 2;
                let has_lost = lost(accounts, before) || lost(map.rows(), self.current.now().rows());
                if cause == Cause::Changed && has_lost {
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
                tracing::info!(accounts, before, ?cause, took = ?from.elapsed(), "the identity map was read anew");
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
