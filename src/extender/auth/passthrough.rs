//! Callers who bring their own Cloud credential: judged by Cloud, and each with caches of its own.
//!
//! Everything learned through a credential is kept under a keyed digest of its e-mail address and token, so that
//! nobody reads through another's rights; and so is what is answered to it. Nothing here falls back to a configured credential.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::fair::{Lanes, NoPlace};
use super::{Admitted, Denied, Role};
use crate::directory::{self, Directory, Visitors};
use crate::doors::{Attempts, Digest};
use crate::model::{Caller, Context, NameKey, RequestId};
use crate::settings::{CredentialKind, Settings, seconds};

/// How many never-validated credentials one e-mail address may try from one network at once, and how soon one more.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const REFILL: Duration = Duration::from_secs(6);
/// Of so many never-validated credentials Cloud is asked at once; so many more may wait.
const AT_ONCE: usize = 4;
const WAITING: usize = 32;
/// Only credentials that Cloud accepted are kept, so nobody fills this who has none.
const MAX_PROVEN: u64 = 65_536;
/// How often a caller joins somebody else's question that was then not asked because of that one's address.
const MAX_JOINS: usize = 8;

/// How long the gateway is waited for where the site has said no already.
const SECOND_DOOR: Duration = Duration::from_secs(5);

/// The callers of one process.
pub struct Passthrough {
    visitors: Visitors,
    strangers: Arc<Strangers>,
    /// Credentials that Cloud accepted a short while ago, and what is seen through them, where they were accepted.
    valid: Cache<Digest, Arc<Directory>>,
    partitions: Cache<Digest, Arc<Directory>>,
    deadline: Duration,
    takes_scoped: bool,
}

/// What may be the matter with a pair that the site refuses.
const NO_SCOPED: &str = "the site refuses an e-mail address and token of a caller; if it is a token with scopes, which the \
                         gateway takes alone, set inbound.passthrough_scoped_tokens";

/// What tells those whom Cloud accepted before from all others, and bounds what the others may ask.
struct Strangers {
    attempts: Attempts,
    lanes: Lanes,
    /// Credentials that Cloud accepted, and has not refused since. Apart from the caches, which are for fewer.
    proven: moka::sync::Cache<Digest, ()>,
}

impl Passthrough {
    /// Nobody known yet.
    #[must_use]
    pub fn new(visitors: Visitors, settings: &Settings) -> Self {
        let inbound = &settings.inbound;
        Self {
            visitors,
            strangers: Arc::new(Strangers {
                attempts: Attempts::new(BURST, REFILL),
                lanes: Lanes::new(AT_ONCE, WAITING, WAITING),
                proven: moka::sync::Cache::builder()
                    .max_capacity(MAX_PROVEN)
                    .eviction_policy(EvictionPolicy::lru())
                    .build(),
            }),
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
            takes_scoped: inbound.passthrough_scoped_tokens,
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
        let digest = self.digest(email, token);
        let caller = Caller {
            key: caller_key(email, token).into(),
            ..Caller::named(email)
        };
        let directory = match self.valid.get(&digest).await {
            Some(directory) => directory,
            None => self.validate(digest, token, &caller, peer, request).await?,
        };
        // Kept only now: a credential that Cloud refuses takes nobody's place.
        let directory = self.partitions.get_with(digest, async { directory }).await;
        // Cloud judges every change; here everybody may ask for one.
        Ok(Admitted {
            caller,
            role: Role::Administrator,
            scope: Arc::default(),
            directory,
        })
    }

    fn digest(&self, email: &str, token: &SecretString) -> Digest {
        let parts = ["passthrough", email, token.expose_secret()];
        self.strangers.attempts.digest(&parts)
    }

    async fn validate(
        &self,
        digest: Digest,
        token: &SecretString,
        caller: &Caller,
        peer: IpAddr,
        request: &RequestId,
    ) -> Result<Arc<Directory>, Denied> {
        let until = Instant::now() + self.deadline;
        let visit = |kind| Arc::new(self.visitors.directory(kind, &caller.name, token.expose_secret()));
        // One that is known was accepted where it is shown.
        let (directory, second) = match self.partitions.get(&digest).await {
            Some(known) => (known, None),
            None => {
                let second = self.takes_scoped.then(|| visit(CredentialKind::ScopedToken));
                (visit(CredentialKind::ApiToken), second)
            }
        };
        for _ in 0..MAX_JOINS {
            let began = Arc::new(AtomicBool::new(false));
            let asking = Asking {
                strangers: Arc::clone(&self.strangers),
                digest,
                account: NameKey::of(&caller.name),
                peer,
                directory: Arc::clone(&directory),
                second: second.clone(),
                request: request.clone(),
                caller: caller.clone(),
                until,
                began: Arc::clone(&began),
            };
            let valid = self.valid.clone();
            // On a task of its own: a caller who hangs up must not cut short what others wait for.
            match tokio::spawn(async move { valid.try_get_with(digest, asking.ask()).await }).await {
                Ok(Ok(directory)) => return Ok(directory),
                Ok(Err(unproven)) => match &*unproven {
                    // That nobody was asked is the matter of the address of who began; the others must not suffer for it.
                    Unproven::LockedOut | Unproven::Busy if !began.load(Ordering::Relaxed) => {}
                    Unproven::LockedOut => return Err(Denied::LockedOut),
                    Unproven::Busy => {
                        return Err(Denied::Unavailable {
                            retry_after: Duration::from_secs(5),
                            cause: "too many credentials are being validated".to_owned(),
                        });
                    }
                    // Cloud answers a wrong token and a missing product access alike.
                    Unproven::Cloud(directory::Error::Refused { .. }) => {
                        self.partitions.invalidate(&digest).await;
                        if !self.takes_scoped {
                            tracing::info!(%request, "{NO_SCOPED}");
                        }
                        return Err(Denied::WrongPassword);
                    }
                    Unproven::Cloud(error) => {
                        let retry_after = match error {
                            directory::Error::Unavailable { retry_after, .. } => *retry_after,
                            _ => Duration::from_secs(5),
                        };
                        return Err(Denied::Unavailable {
                            retry_after,
                            cause: error.to_string(),
                        });
                    }
                },
                Err(_panicked) => break,
            }
        }
        Err(Denied::Unavailable {
            retry_after: Duration::from_secs(5),
            cause: "the credential could not be validated".to_owned(),
        })
    }

    /// Cloud refused the credential in the middle of its work: it is asked about anew before it is used again.
    pub async fn doubt(&self, email: &str, token: &SecretString) {
        self.valid.invalidate(&self.digest(email, token)).await;
    }
}

/// What tells this credential's callers from others, also after a restart: answers, reports and idempotency keys are theirs
/// who show the same one. Two tokens of one address are two callers, for one of them may be let see less than the other.
/// Half a digest of something that is long and random: it goes into the journal, and leads nowhere.
fn caller_key(email: &str, token: &SecretString) -> String {
    let email = NameKey::of(email);
    let mut digest = Sha256::new();
    for part in ["extender-facade visitor", email.as_str(), token.expose_secret()] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let half: String = digest
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("visitor {} {half}", email.as_str())
}

/// Why a credential was not found good.
enum Unproven {
    LockedOut,
    Busy,
    Cloud(directory::Error),
}

/// One question to Cloud, on behalf of everybody who shows this credential meanwhile: only one of them pays for it.
struct Asking {
    strangers: Arc<Strangers>,
    digest: Digest,
    account: NameKey,
    peer: IpAddr,
    directory: Arc<Directory>,
    /// What would be seen at the gateway, where the site may not be the place to ask.
    second: Option<Arc<Directory>>,
    request: RequestId,
    caller: Caller,
    until: Instant,
    began: Arc<AtomicBool>,
}

impl Asking {
    async fn ask(self) -> Result<Arc<Directory>, Unproven> {
        self.began.store(true, Ordering::Relaxed);
        let proven = &self.strangers.proven;
        let asked = if proven.contains_key(&self.digest) {
            // Asked about again without limit, and in this caller's own turn: guesses are not before it.
            let left = self.until.saturating_duration_since(Instant::now());
            let context = Context::new(self.request.clone(), self.caller.clone(), left);
            self.knock(&context.request).await
        } else {
            self.ask_for_a_stranger().await?
        };
        match &asked {
            Ok(_) => proven.insert(self.digest, ()),
            Err(directory::Error::Refused { .. }) => proven.invalidate(&self.digest),
            // Nobody learned anything.
            Err(_) => {}
        }
        asked.map_err(Unproven::Cloud)
    }

    /// Whether Cloud takes the pair, and what is seen through it then: at the site, else, where that may be, at the gateway. If
    /// that one does not take it, or is not there, what the site has said stands.
    async fn knock(&self, request: &RequestId) -> Result<Arc<Directory>, directory::Error> {
        let at_site = self.directory.knock(request, self.until).await;
        if let (Err(directory::Error::Refused { .. }), Some(second)) = (&at_site, &self.second) {
            let until = self.until.min(Instant::now() + SECOND_DOOR);
            match second.knock(request, until).await {
                Ok(()) => return Ok(Arc::clone(second)),
                Err(why) => tracing::debug!(%request, %why, "nor is the caller let in at the gateway"),
            }
        }
        at_site.map(|()| Arc::clone(&self.directory))
    }

    /// What Cloud says, if it may be asked now.
    async fn ask_for_a_stranger(&self) -> Result<Result<Arc<Directory>, directory::Error>, Unproven> {
        let Strangers { attempts, lanes, .. } = &*self.strangers;
        let account = self.account.as_str();
        let place = lanes.enter(self.peer, || attempts.admits(account, self.peer));
        let place = place.map_err(|why| match why {
            NoPlace::Full => Unproven::Busy,
            NoPlace::NotAdmitted => Unproven::LockedOut,
        })?;
        let turn = tokio::time::timeout_at(self.until.into(), place.turn()).await;
        let Ok(Some(_permit)) = turn else {
            attempts.forgive(account, self.peer);
            return Err(Unproven::Busy);
        };
        let asked = self.knock(&self.request).await;
        if matches!(asked, Ok(_) | Err(directory::Error::Unavailable { .. })) {
            // It was right, or nobody learned whether it was a good guess.
            attempts.forgive(account, self.peer);
        }
        Ok(asked)
    }
}
