//! Callers who bring their own Cloud credential: judged by Cloud, and each with caches of its own.
//!
//! Everything learned through a credential is kept under a keyed digest of its e-mail address and token, so that
//! nobody reads through another's rights. Nothing here falls back to a configured credential.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use secrecy::{ExposeSecret as _, SecretString};

use super::attempts::{Attempts, Digest};
use super::{Admitted, Denied, Role};
use crate::cloud::{self, Client, Confluence, Credential, Patience};
use crate::directory::{Directory, Process};
use crate::model::{Caller, NameKey, RequestId};
use crate::settings::{Settings, seconds};

/// How many never-validated credentials one e-mail address may try from one network at once, and how soon one more.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const REFILL: Duration = Duration::from_secs(6);

/// The callers of one process.
pub struct Passthrough {
    client: Arc<Client>,
    process: Arc<Process>,
    attempts: Attempts,
    /// Credentials that Cloud accepted a short while ago.
    valid: Cache<Digest, ()>,
    partitions: Cache<Digest, Arc<Directory>>,
    deadline: Duration,
}

impl Passthrough {
    /// Nobody known yet.
    #[must_use]
    pub fn new(client: Arc<Client>, process: Arc<Process>, settings: &Settings) -> Self {
        let inbound = &settings.inbound;
        Self {
            client,
            process,
            attempts: Attempts::new(BURST, REFILL),
            valid: Cache::builder()
                .max_capacity(inbound.passthrough_partitions)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(seconds(inbound.passthrough_validate_s))
                .build(),
            // The one who was away longest goes first; moka's usual policy may turn a newcomer away.
            partitions: Cache::builder()
                .max_capacity(inbound.passthrough_partitions)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            deadline: seconds(settings.extender.read_deadline_s),
        }
    }

    /// Lets a caller in whose credential Cloud accepts; asked on first use and whenever the last answer is too old.
    ///
    /// # Errors
    /// Cloud refuses the credential, or cannot be asked, or was asked too often in vain.
    pub async fn admit(
        &self,
        email: &str,
        token: &SecretString,
        peer: IpAddr,
        request: &RequestId,
    ) -> Result<Admitted, Denied> {
        let digest = self.attempts.digest(&["passthrough", email, token.expose_secret()]);
        let credential = Credential::basic(
            email,
            token.expose_secret(),
            format!("the caller's own token ({email})"),
        );
        let cloud = Confluence::new(Arc::clone(&self.client), credential);
        if self.valid.get(&digest).await.is_none() {
            self.validate(digest, &cloud, email, peer, request).await?;
        }
        let directory = self
            .partitions
            .get_with(digest, async {
                Arc::new(Directory::new(Arc::clone(&self.process), cloud))
            })
            .await;
        // Cloud judges every change; here everybody may ask for one.
        Ok(Admitted {
            caller: Caller { name: email.into() },
            role: Role::Administrator,
            directory,
        })
    }

    async fn validate(
        &self,
        digest: Digest,
        cloud: &Confluence,
        email: &str,
        peer: IpAddr,
        request: &RequestId,
    ) -> Result<(), Denied> {
        // A credential that was accepted before is asked about again without limit; guesses are not.
        if !self.partitions.contains_key(&digest) && !self.attempts.admits(NameKey::of(email).as_str(), peer) {
            return Err(Denied::LockedOut);
        }
        let (valid, cloud, request) = (self.valid.clone(), cloud.clone(), request.clone());
        let patience = Instant::now() + self.deadline;
        let asked = tokio::spawn(async move {
            let ask = async {
                cloud
                    .current_user(&request, Patience::Until(patience))
                    .await
                    .map(|_user| ())
            };
            valid.try_get_with(digest, ask).await
        });
        match asked.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => match &*error {
                // Cloud answers a wrong token and a missing product access alike.
                cloud::Error::Refused { .. } | cloud::Error::Rejected { .. } => {
                    self.partitions.invalidate(&digest).await;
                    Err(Denied::WrongPassword)
                }
                cloud::Error::Unavailable { retry_after, .. } => Err(Denied::Unavailable {
                    retry_after: *retry_after,
                    cause: error.to_string(),
                }),
            },
            Err(_panicked) => Err(Denied::Unavailable {
                retry_after: Duration::from_secs(5),
                cause: "the credential could not be validated".to_owned(),
            }),
        }
    }

    /// Cloud refused the credential in the middle of its work: it is asked about anew before it is used again.
    pub async fn doubt(&self, email: &str, token: &SecretString) {
        self.valid
            .invalidate(&self.attempts.digest(&["passthrough", email, token.expose_secret()]))
            .await;
    }
}
