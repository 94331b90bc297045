//! A map whose old entries go by themselves.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// When to sweep what keeps growing: once it is twice as large as the last sweep left it. So sweeping is seldom, never costs
/// more than making what is swept, and what is old takes at most as much room as what the last sweep left.
#[derive(Debug)]
pub struct Broom {
    next: AtomicUsize,
    least: usize,
}

impl Broom {
    /// No more than `least` are never swept.
    pub fn new(least: usize) -> Self {
        Self {
            next: AtomicUsize::new(least),
            least,
        }
    }

    /// Whether `len` have become so many.
    pub fn is_due(&self, len: usize) -> bool {
        len > self.next.load(Ordering::Relaxed)
    }

    /// So many were left.
    pub fn swept(&self, left: usize) {
        self.next
            .store(left.saturating_mul(2).max(self.least), Ordering::Relaxed);
    }
}

/// After so long it is swept in any case: what one busy hour left is not to be looked through for ever.
const AT_LAST: Duration = Duration::from_secs(600);

/// A map whose owner says at each insertion what has become old.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: HashMap<K, V>,
    broom: Broom,
    swept: Instant,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            broom: Broom::new(8),
            swept: Instant::now(),
        }
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Lets go of whatever is not `recent`, if it is time to.
    pub fn sweep(&mut self, recent: impl FnMut(&K, &mut V) -> bool) {
        if self.broom.is_due(self.entries.len()) || self.swept.elapsed() >= AT_LAST {
            self.swept = Instant::now();
            self.entries.retain(recent);
            self.broom.swept(self.entries.len());
            self.entries.shrink_to(self.entries.len().saturating_mul(2));
        }
    }
}

impl<K, V> Deref for Recent<K, V> {
    type Target = HashMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

impl<K, V> DerefMut for Recent<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.entries
    }
}
