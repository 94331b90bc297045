//! Verifying passwords without letting anybody burn the processor or lock anybody else out.
//!
//! A credential (name and password together, from one network) is in one of three states. *Remembered*: verified a short while ago, taken
//! at once. *Proven*: verified earlier in this process; it is verified again, in a lane of its own and past the limiter,
//! so that a flood of guesses cannot block who has the right password. *Never seen*: the limiter of this account and
//! address decides, and what it lets through waits in the other lane, whose places and turns networks share.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};

use super::super::fair::{Lanes, NoPlace};
use super::book::Book;
use super::hash::StoredHash;
use super::{Refused, Verified};
use crate::doors::{Attempts, Digest, LONGEST_LIFE, network};

/// The bounds of verification.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a verified credential is taken without verifying it again.
    pub remembered: Duration,
    /// How many never-verified credentials one account and address may try at once.
    pub burst: NonZeroU32,
    /// How long until one more may be tried.
    pub refill: Duration,
    /// How many verifications may wait, in each lane, before others are refused as busy.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            remembered: Duration::from_secs(300),
            burst: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN),
            refill: Duration::from_secs(6),
            waiting: 32,
        }
    }
}

/// Only right credentials get into the memories, and an account has one from each network where it is used.
const MAX_REMEMBERED: u64 = 65_536;
/// How often a caller joins another's verification that was then not made.
const MAX_JOINS: usize = 8;

pub(super) struct Gate {
    attempts: Attempts,
    remembered: moka::future::Cache<Digest, ()>,
    proven: moka::sync::Cache<Digest, ()>,
    never_seen: Lanes,
    proven_before: Lanes,
    waiting: usize,
    hash_runs: AtomicU64,
    last_hash_ms: AtomicU64,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            attempts: Attempts::new(limits.burst, limits.refill),
            remembered: moka::future::Cache::builder()
                .max_capacity(MAX_REMEMBERED)
                .time_to_live(limits.remembered.min(LONGEST_LIFE))
                .build(),
            proven: moka::sync::Cache::new(MAX_REMEMBERED),
            // One verification at a time.
            never_seen: Lanes::new(1, limits.waiting, limits.waiting),
            proven_before: Lanes::new(1, limits.waiting, limits.waiting),
            waiting: limits.waiting,
            hash_runs: AtomicU64::new(0),
            last_hash_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn hash_runs(&self) -> u64 {
        self.hash_runs.load(Ordering::Relaxed)
    }

    /// Verifies `folded` (an account's name as it is compared) and its password.
    pub(super) async fn verify(
        gate: &Arc<Self>,
        book: &Book,
        folded: &str,
        password: &str,
        peer: IpAddr,
    ) -> Result<Verified, Refused> {
        let (account, hash) = book.challenge(folded);
        let credential = gate.credential(folded, password, &hash, peer);
        let taken = || account.clone().ok_or(Refused::WrongPassword);
        if gate.remembered.get(&credential).await.is_some() {
            return taken();
        }
        for _ in 0..MAX_JOINS {
            let began = Arc::new(AtomicBool::new(false));
            let attempt = Attempt {
                gate: Arc::clone(gate),
                hash: Arc::clone(&hash),
                exists: account.is_some(),
                folded: folded.to_owned(),
                password: password.into(),
                credential,
                peer,
                began: Arc::clone(&began),
            };
            // A task of its own: a caller who hangs up drops its future, and a verification cut short would be paid
            // for and lost, again and again, by a client whose patience is shorter than the queue.
            let memory = gate.remembered.clone();
            let joined = tokio::spawn(async move { memory.try_get_with(credential, attempt.run()).await }).await;
            match joined {
                Ok(Ok(())) => return taken(),
                // Equal credentials share one verification. That it was not made says nothing of them: it may have lost its
                // place to another network, and who joined it tries for a place of his own.
                Ok(Err(refused)) if *refused != Refused::WrongPassword && !began.load(Ordering::Relaxed) => {}
                Ok(Err(refused)) => return Err(Refused::clone(&refused)),
                Err(_) => return Err(gate.busy()),
            }
        }
        Err(gate.busy())
    }

    /// What is remembered of a credential is remembered together with the hash it was verified against: what was right
    /// under an earlier file is nothing under one that has another password, or no such account. And with the network: else
    /// whoever is held back might guess on, and would be let in by the one guess that others have verified.
    fn credential(&self, folded: &str, password: &str, hash: &StoredHash, peer: IpAddr) -> Digest {
        let network = network(peer).to_string();
        self.attempts
            .digest(&["basic", folded, password, &hash.told_apart(), &network])
    }

    fn busy(&self) -> Refused {
        let queue = Duration::from_millis(self.last_hash_ms.load(Ordering::Relaxed))
            .saturating_mul(u32::try_from(self.waiting).unwrap_or(u32::MAX));
        Refused::Busy {
            retry_after: queue.clamp(Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

/// One verification, on behalf of everybody who sent this credential meanwhile.
struct Attempt {
    gate: Arc<Gate>,
    hash: Arc<StoredHash>,
    exists: bool,
    folded: String,
    password: SecretString,
    credential: Digest,
    peer: IpAddr,
    began: Arc<AtomicBool>,
}

impl Attempt {
    async fn run(self) -> Result<(), Refused> {
        let Self {
            gate,
            hash,
            exists,
            folded,
            password,
            credential,
            peer,
            began,
        } = self;
        began.store(true, Ordering::Relaxed);
        let proven = gate.proven.contains_key(&credential);
        let lane = if proven { &gate.proven_before } else { &gate.never_seen };
        let admitted = || proven || gate.attempts.admits(&folded, peer);
        let place = lane.enter(peer, admitted).map_err(|why| match why {
            NoPlace::Full => gate.busy(),
            NoPlace::NotAdmitted => Refused::LockedOut,
        })?;
        let forgive = || {
            if !proven {
                gate.attempts.forgive(&folded, peer);
            }
        };
        let Some(permit) = place.turn().await else {
            forgive();
            return Err(gate.busy());
        };

        gate.hash_runs.fetch_add(1, Ordering::Relaxed);
        // The permit goes with the work: if it stayed here, whoever ends this task would let the next hash start while
        // this one still runs.
        let started = Instant::now();
        let verifying = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            verify_blocking(&hash, &password)
        });
        let Ok(matches) = verifying.await else {
            return Err(gate.busy());
        };
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        gate.last_hash_ms.store(took_ms, Ordering::Relaxed);
        if !(matches && exists) {
            return Err(Refused::WrongPassword);
        }
        gate.proven.insert(credential, ());
        forgive();
        Ok(())
    }
}

fn verify_blocking(hash: &StoredHash, password: &SecretString) -> bool {
    hash.matches(password.expose_secret())
}

#[cfg(test)]
impl Gate {
    /// Forgets the short memory of one credential, as time would.
    pub(super) async fn forget(&self, book: &Book, folded: &str, password: &str, peer: IpAddr) {
        let (_, hash) = book.challenge(folded);
        self.remembered
            .invalidate(&self.credential(folded, password, &hash, peer))
            .await;
    }

    /// The lane of never-seen credentials.
    pub(super) fn never_seen(&self) -> Lanes {
        self.never_seen.clone()
    }
}
