//! A facade that serves nobody: it answers its operator's questions about names, with the same sources and the same
//! rules as the one that serves.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cloud::{Confluence, Operation};
use crate::directory::identity::{Current, Map, Own, Resolution};
use crate::directory::{Books, Directory, Error, Process};
use crate::metrics::Metrics;
use crate::model::{Caller, Context, RequestId};
use crate::settings::{Faults, Mode, Settings};
use crate::store::{self, StateLock, Store};

/// How long an operator waits for one question: a thousand names that are asked one by one, a few at a time and as fast
/// as a busy source allows, take a quarter of it, and nobody's connection is held open meanwhile.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Answers questions about names, groups and accounts.
pub struct Inspector {
    directory: Directory,
    map: Arc<Current>,
    store: Store,
    metrics: Metrics,
    /// Why what was learned before is not used, if it is not.
    apart: Option<String>,
    // The order of the fields is that of letting go: first the store, then its place.
    _lock: StateLock,
    _elsewhere: Option<tempfile::TempDir>,
}

impl Inspector {
    /// Reads the map and opens the store. Where a running facade has the state directory, or it belongs to another user or
    /// would be root's, what was learned there is not used, and what is learned here is forgotten.
    ///
    /// # Errors
    /// Everything that is at fault with settings and files.
    pub fn new(mut settings: Settings) -> Result<Self, Faults> {
        settings.validate()?;
        let one = |fault: String| Faults(vec![fault]);
        let has_credential = !settings.cloud.keys().is_empty();
        if settings.inbound.mode == Mode::Passthrough && !has_credential {
            let fault = "in mode passthrough callers bring their own credential, and this command has no caller: it needs \
                         a credential of its own: cloud.email and cloud.api_token";
            return Err(one(fault.to_owned()));
        }
        // What the sources take as the longest wait for an answer must not undercut that of whoever asks.
        settings.extender.read_deadline_s = PATIENCE.as_secs();
        // Beside a running facade, too, its consents are used: a lock keeps the two apart.
        let consents = super::consents(&settings);
        let map = Arc::new(Current::new(super::load_map(&settings)?));
        let taken = match Self::foreign(&settings.state_dir) {
            Some(why) => Err(why),
            None => match StateLock::take(&settings.state_dir) {
                Ok(lock) => Ok(lock),
                Err(used @ store::Error::InUse { .. }) => Err(used.to_string()),
                Err(error) => return Err(one(error.to_string())),
            },
        };
        let (lock, elsewhere, apart) = match taken {
            Ok(lock) => (lock, None, None),
            Err(why) => {
                let elsewhere = tempfile::tempdir().map_err(|e| one(format!("a temporary directory: {e}")))?;
                settings.state_dir = elsewhere.path().join("state");
                let lock = StateLock::take(&settings.state_dir).map_err(|e| one(e.to_string()))?;
                (lock, Some(elsewhere), Some(why))
            }
        };
        let metrics = Metrics::new();
        let store = Store::open(&settings.state_dir, metrics.clone()).map_err(|e| one(e.to_string()))?;
        let (client, credential) = super::cloud(&settings, &consents, &metrics)?;
        let own = Own {
            drivers: super::drivers(&settings, &consents, &metrics)?,
            store: Some(store.clone()),
        };
        let process = Process::new(
            Arc::clone(&map),
            Books::closed("this is no server"),
            store.clone(),
            metrics.clone(),
            Arc::new(settings),
        );
        Ok(Self {
            directory: Directory::new(Arc::new(process), Confluence::new(client, credential), own),
            map,
            store,
            metrics,
            apart,
            _lock: lock,
            _elsewhere: elsewhere,
        })
    }

    /// Why files that are made in the state directory now could not be opened by the service: it belongs to another user
    /// than the one who runs this, or it is not there yet and root runs this, whose it would be then.
    #[must_use]
    pub fn foreign(state_dir: &Path) -> Option<String> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let shown = state_dir.display();
            // Whoever makes a file owns it.
            let ours = tempfile::tempfile().ok()?.metadata().ok()?.uid();
            match std::fs::metadata(state_dir) {
                Ok(theirs) if theirs.uid() != ours => {
                    let theirs = theirs.uid();
                    Some(format!(
                        "the state directory {shown} belongs to the user with id {theirs}, and this runs as {ours}"
                    ))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && ours == 0 => Some(format!(
                    "the state directory {shown} is not there yet, and one that root makes is not the service's: start the \
                     service once, or make it for its user"
                )),
                _ => None,
            }
        }
        #[cfg(not(unix))]
        {
            let _ = state_dir;
            None
        }
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

    /// Why what was learned before is not used, nor what is learned now kept, if it is not.
    #[must_use]
    pub fn apart(&self) -> Option<&str> {
        self.apart.as_deref()
    }

    /// A question of this moment.
    #[must_use]
    pub fn context(&self) -> Context {
        let caller = Caller::named("operator");
        Context::new(RequestId::random(), caller, PATIENCE)
    }

    /// What each name means, in order, and who says so.
    ///
    /// # Errors
    /// What was learned cannot be read.
    pub async fn explain(&self, names: &[String], context: &Context) -> Result<Vec<Resolution>, Error> {
        self.directory.explain(names, context).await
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
