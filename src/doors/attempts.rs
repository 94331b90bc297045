//! Failed attempts, limited per account and network together, so that nobody can lock another out, and of one network over
//! all accounts, so that nobody gets far by inventing names.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hmac::{Hmac, KeyInit as _, Mac as _};
use moka::policy::EvictionPolicy;
use sha2::Sha256;

use super::network;

/// Each entry costs whoever causes it one of his network's attempts first, so a flood of names cannot fill this within an
/// entry's life.
const MAX_KEPT: u64 = 65_536;
/// What one network may try at once over all accounts, and how soon once more.
const NETWORK_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);
const NETWORK_REFILL: Duration = Duration::from_secs(1);
/// A day: beyond what anybody means, and far below the thousand years at which moka panics.
pub const LONGEST_LIFE: Duration = Duration::from_secs(86_400);

/// A keyed digest; equal ones are equal inputs, and a dump of memory gives nothing to guess passwords against offline.
pub type Digest = [u8; 32];

/// The attempts of one process, under a key that nobody else has.
pub struct Attempts {
    keyed: Hmac<Sha256>,
    pairs: Limited<(Digest, IpAddr)>,
    networks: Limited<IpAddr>,
}

/// The tries of each of many.
struct Limited<K> {
    kept: moka::sync::Cache<K, Arc<Tries>>,
    quota: Quota,
}

struct Tries {
    limiter: DefaultDirectRateLimiter,
    /// Attempts that count as not made. A limiter cannot give back what it took.
    forgiven: AtomicU32,
    most: u32,
}

impl<K: Hash + Eq + Send + Sync + 'static> Limited<K> {
    fn new(burst: NonZeroU32, refill: Duration) -> Self {
        let refill = refill.max(Duration::from_millis(1));
        // After this long unused a limiter is full again: forgetting it changes nothing.
        let full_again = refill.saturating_mul(burst.get()).min(LONGEST_LIFE);
        Self {
            // Least recently used, not moka's usual policy: that one may turn a newcomer away, and a limiter that is
            // not kept limits nothing.
            kept: moka::sync::Cache::builder()
                .max_capacity(MAX_KEPT)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(full_again)
                .build(),
            quota: Quota::with_period(refill)
                .unwrap_or(Quota::per_second(burst))
                .allow_burst(burst),
        }
    }

    fn of(&self, key: K) -> Arc<Tries> {
        self.kept.get_with(key, || {
            Arc::new(Tries {
                limiter: RateLimiter::direct(self.quota),
                forgiven: AtomicU32::new(0),
                most: self.quota.burst_size().get(),
            })
        })
    }
}

impl Tries {
    /// What was forgiven goes first: else whoever takes and gives back by turns would empty the limiter.
    fn take(&self) -> bool {
        let less = |forgiven: u32| forgiven.checked_sub(1);
        self.forgiven.fetch_update(Relaxed, Relaxed, less).is_ok() || self.limiter.check().is_ok()
    }

    fn give_back(&self) {
        let more = |forgiven: u32| (forgiven < self.most).then_some(forgiven + 1);
        // At the most already: then all of them are forgiven.
        let _ = self.forgiven.fetch_update(Relaxed, Relaxed, more);
    }
}

impl Attempts {
    /// `burst` attempts at once of an account from one network, one more every `refill`.
    #[must_use]
    pub fn new(burst: NonZeroU32, refill: Duration) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system has random bytes");
        Self {
            keyed: Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"),
            pairs: Limited::new(burst, refill),
            networks: Limited::new(NETWORK_BURST, NETWORK_REFILL),
        }
    }

    /// The keyed digest of these.
    #[must_use]
    pub fn digest(&self, parts: &[&str]) -> Digest {
        let mut mac = self.keyed.clone();
        for part in parts {
            // With its length before it, or ("a", "bc") and ("ab", "c") would be one credential.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether this account may be tried from this network once more, and anything at all; asking counts.
    #[must_use]
    pub fn admits(&self, account: &str, peer: IpAddr) -> bool {
        let network = self.networks.of(network(peer));
        if !network.take() {
            return false;
        }
        let admitted = self.pair(account, peer).take();
        if !admitted {
            // One script with an old password must not use up what others of its network have.
            network.give_back();
        }
        admitted
    }

    /// One attempt that was admitted was no guess: it was right, or came to nothing through nobody's fault.
    pub fn forgive(&self, account: &str, peer: IpAddr) {
        self.networks.of(network(peer)).give_back();
        self.pair(account, peer).give_back();
    }

    fn pair(&self, account: &str, peer: IpAddr) -> Arc<Tries> {
        self.pairs.of((self.digest(&["account", account]), network(peer)))
    }
}
