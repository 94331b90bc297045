//! The life of the credentials for Cloud: when they end is told in time, and a SIGHUP has their files and commands read again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::files::HangUp;
use crate::cloud::{Ahead, Client, Credentials};
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::model::RequestId;

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How often one is warned of.
const WARN_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// Looks after them.
#[derive(Debug)]
pub struct Watch {
    credentials: Credentials,
    metrics: Metrics,
    client: Arc<Client>,
    eyes: Option<Arc<Directory>>,
}

impl Watch {
    /// A watch over these.
    pub fn new(credentials: Credentials, metrics: Metrics, client: Arc<Client>, eyes: Option<Arc<Directory>>) -> Self {
        Self {
            credentials,
            metrics,
            client,
            eyes,
        }
    }

    /// Watches for ever.
    pub async fn run(self) {
        let mut hang_up = HangUp::new();
        let mut warned = HashMap::new();
        loop {
            self.look(&mut warned).await;
            self.ask_again().await;
            self.credentials.settle(&self.client).await;
            tokio::select! {
                () = hang_up.next() => self.credentials.reread().await,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Whoever is not ready for a refused credential may get no requests that would find out that it is good again.
    async fn ask_again(&self) {
        let last = self.client.last_exchange();
        let is_refused = last.is_some_and(|last| last.is_refusal && last.at.elapsed() >= EVERY / 2);
        if let Some(eyes) = self.eyes.as_ref().filter(|_| is_refused) {
            let _ = eyes.knock(&RequestId::random(), Instant::now() + EVERY).await;
        }
    }

    async fn look(&self, warned: &mut HashMap<String, Timestamp>) {
        let now = Timestamp::now();
        for standing in self.credentials.standing().await {
            let Some(ends) = standing.ends else { continue };
            let left = ends.duration_since(now);
            self.metrics.credential_ends(&standing.setting, left.as_secs());
            let is_told = warned
                .get(&standing.setting)
                .is_some_and(|at| now.duration_since(*at) < WARN_EVERY);
            match standing.ahead(now) {
                _ if is_told => continue,
                Ahead::Unknown | Ahead::Long => continue,
                Ahead::Days(days) => {
                    tracing::warn!(credential = %standing.name, %ends, days, "a credential for Cloud ends soon: renew it, `extender-facade check` tells how");
                }
                Ahead::Over => {
                    tracing::error!(credential = %standing.name, "a credential for Cloud is over: renew it, `extender-facade check` tells how");
                }
            }
            warned.insert(standing.setting, now);
        }
    }
}
