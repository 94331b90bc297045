//! Failed attempts, limited per account and address together: never per account alone or per address alone, so that
//! nobody can lock another out.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hmac::{Hmac, KeyInit as _, Mac as _};
use moka::policy::EvictionPolicy;
use sha2::Sha256;

/// Each entry costs whoever causes it a verification first, so a flood cannot fill this within an entry's life.
const MAX_PAIRS: u64 = 65_536;
/// A day: beyond what anybody means, and far below the thousand years at which moka panics.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(86_400);

/// A keyed digest; equal ones are equal inputs, and a dump of memory gives nothing to guess passwords against offline.
pub(super) type Digest = [u8; 32];

/// The attempts of one process, under a key that nobody else has.
pub(super) struct Attempts {
    keyed: Hmac<Sha256>,
    pairs: moka::sync::Cache<(Digest, IpAddr), Arc<Pair>>,
    quota: Quota,
}

/// The attempts of one account from one network.
struct Pair {
    limiter: DefaultDirectRateLimiter,
    /// Attempts that count as not made. A limiter cannot give back what it took.
    forgiven: AtomicU32,
}

impl Attempts {
    /// `burst` attempts at once, one more every `refill`.
    pub(super) fn new(burst: NonZeroU32, refill: Duration) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system has random bytes");
        let refill = refill.max(Duration::from_millis(1));
        // After this long unused a limiter is full again: forgetting it changes nothing.
        let full_again = refill.saturating_mul(burst.get()).min(LONGEST_LIFE);
        Self {
            keyed: Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"),
            // Least recently used, not moka's usual policy: that one may turn a newcomer away, and a limiter that is
            // not kept limits nothing.
            pairs: moka::sync::Cache::builder()
                .max_capacity(MAX_PAIRS)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(full_again)
                .build(),
            quota: Quota::with_period(refill)
                .unwrap_or(Quota::per_second(burst))
                .allow_burst(burst),
        }
    }

    pub(super) fn digest(&self, parts: &[&str]) -> Digest {
        let mut mac = self.keyed.clone();
        for part in parts {
            // With its length before it, or ("a", "bc") and ("ab", "c") would be one credential.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether this account may be tried from this network once more; asking counts.
    pub(super) fn admits(&self, account: &str, peer: IpAddr) -> bool {
        let pair = self.pair(account, peer);
        let less = |forgiven: u32| forgiven.checked_sub(1);
        pair.limiter.check().is_ok() || pair.forgiven.fetch_update(Relaxed, Relaxed, less).is_ok()
    }

    /// One attempt that was admitted came to nothing through nobody's fault.
    pub(super) fn forgive(&self, account: &str, peer: IpAddr) {
        let most = self.quota.burst_size().get();
        let more = |forgiven: u32| (forgiven < most).then_some(forgiven + 1);
        // At the most already: then all of them are forgiven.
        let _ = self.pair(account, peer).forgiven.fetch_update(Relaxed, Relaxed, more);
    }

    fn pair(&self, account: &str, peer: IpAddr) -> Arc<Pair> {
        let key = (self.digest(&["account", account]), network(peer));
        self.pairs.get_with(key, || {
            Arc::new(Pair {
                limiter: RateLimiter::direct(self.quota),
                forgiven: AtomicU32::new(0),
            })
        })
    }
}

/// What counts as one address: an IPv4 address, or the /64 an IPv6 host can pick its addresses from at will.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}
