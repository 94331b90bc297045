//! The accounts' life: read anew at SIGHUP and when their file has changed. A faulty new file is refused, and the
//! accounts in use stay.

use std::path::PathBuf;

use super::files::{self, Stamps};
use crate::extender::auth::Accounts;
use crate::metrics::Metrics;
use crate::settings::{Settings, seconds};

/// Looks after the accounts' file.
pub struct Watch {
    path: PathBuf,
    file: files::Watch,
    accounts: Accounts,
    metrics: Metrics,
}

impl Watch {
    /// A watch over the file at `path`; as it was at `read` it has been read into `accounts`.
    pub fn new(path: PathBuf, settings: &Settings, read: Stamps, accounts: Accounts, metrics: Metrics) -> Self {
        Self {
            file: files::Watch::new(vec![path.clone()], seconds(settings.inbound.reload_s), read),
            path,
            accounts,
            metrics,
        }
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        loop {
            let cause = self.file.next().await;
            let (accounts, path) = (self.accounts.clone(), self.path.clone());
            let read = tokio::task::spawn_blocking(move || accounts.reload(&path).map_err(|faults| faults.to_string()));
            match read.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(warnings) => {
                    for warning in warnings {
                        tracing::warn!(%warning, "inbound.accounts_file");
                    }
                    self.metrics.file_reload("accounts", "done");
                    let (accounts, tokens) = self.accounts.counts();
                    tracing::info!(accounts, tokens, ?cause, "the accounts were read anew");
                }
                Err(faults) => {
                    self.metrics.file_reload("accounts", "refused");
                    tracing::error!(%faults, "the accounts' new file is refused, and the one before stays in use");
                }
            }
        }
    }
}
