//! A facade that serves nobody: it answers its operator's questions about names, with the same sources and the same
//! rules as the one that serves.

use std::sync::Arc;
use std::time::Duration;

use crate::cloud::{Confluence, Operation};
use crate::directory::identity::{Current, Map, Own, Resolution};
use crate::directory::{Directory, Error, Process};
use crate::metrics::Metrics;
use crate::model::{Caller, Context, RequestId};
use crate::settings::{Faults, Settings, seconds};
use crate::store::{self, StateLock, Store};

/// Answers questions about names, groups and accounts.
pub struct Inspector {
    directory: Directory,
    map: Arc<Current>,
    store: Store,
    metrics: Metrics,
    patience: Duration,
    /// Why what was learned before is not used, if it is not.
    apart: Option<String>,
    // The order of the fields is that of letting go: first the store, then its place.
    _lock: StateLock,
    _elsewhere: Option<tempfile::TempDir>,
}

impl Inspector {
    /// Reads the map and opens the store. Where a running facade has the state directory, what that one learned is not
    /// used, and what is learned here is forgotten.
    ///
    /// # Errors
    /// Everything that is at fault with settings and files.
    pub fn new(mut settings: Settings) -> Result<Self, Faults> {
        settings.validate()?;
        let one = |fault: String| Faults(vec![fault]);
        let map = Arc::new(Current::new(super::load_map(&settings)?));
        let (lock, elsewhere, apart) = match StateLock::take(&settings.state_dir) {
            Ok(lock) => (lock, None, None),
            Err(used @ store::Error::InUse { .. }) => {
                let elsewhere = tempfile::tempdir().map_err(|e| one(format!("a temporary directory: {e}")))?;
                settings.state_dir = elsewhere.path().to_owned();
                let lock = StateLock::take(&settings.state_dir).map_err(|e| one(e.to_string()))?;
                (lock, Some(elsewhere), Some(used.to_string()))
            }
            Err(error) => return Err(one(error.to_string())),
        };
        let metrics = Metrics::new();
        let audit = super::audit(&settings, metrics.clone()).map_err(one)?;
        let store = Store::open(&settings.state_dir, metrics.clone()).map_err(|e| one(e.to_string()))?;
        let (client, credential) = super::cloud(&settings, &metrics)?;
        let own = Own {
            drivers: super::drivers(&settings, &metrics)?,
            store: Some(store.clone()),
        };
        let patience = seconds(settings.extender.read_deadline_s);
        let process = Process::new(
            Arc::clone(&map),
            audit,
            store.clone(),
            metrics.clone(),
            Arc::new(settings),
        );
        Ok(Self {
            directory: Directory::new(Arc::new(process), Confluence::new(client, credential), own),
            map,
            store,
            metrics,
            patience,
            apart,
            _lock: lock,
            _elsewhere: elsewhere,
        })
    }

    /// The identity map.
    #[must_use]
    pub fn map(&self) -> Arc<Map> {
        self.map.now()
    }

    /// Groups and members as the facade's own credential sees them.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Why what was learned before is not used, if it is not.
    #[must_use]
    pub fn apart(&self) -> Option<&str> {
        self.apart.as_deref()
    }

    /// A question of this moment.
    #[must_use]
    pub fn context(&self) -> Context {
        let caller = Caller {
            name: "operator".into(),
        };
        Context::new(RequestId::random(), caller, self.patience)
    }

    /// What each name means, in order, and who says so.
    ///
    /// # Errors
    /// What was learned cannot be read.
    pub async fn explain(&self, names: &[String]) -> Result<Vec<Resolution>, Error> {
        self.directory.explain(names, &self.context()).await
    }

    /// Requests to Cloud so far, by operation; those with none left out.
    #[must_use]
    pub fn cost(&self) -> Vec<(&'static str, u64)> {
        let tries = |operation: &Operation| (operation.name(), self.metrics.cloud_tries(operation.name()));
        Operation::ALL
            .iter()
            .map(tries)
            .filter(|(_, tries)| *tries > 0)
            .collect()
    }

    /// Waits until what was learned is in the store.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn finish(self) -> Result<(), store::Error> {
        self.store.flush().await
    }
}
