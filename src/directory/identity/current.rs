//! The identity map in use: whole, never half of two. A new one takes its place in one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::Map;

/// The map in use. Readers wait for nobody.
#[derive(Debug, Default)]
pub struct Current {
    map: ArcSwap<Map>,
    generation: AtomicU64,
}

impl Current {
    /// Begins with `map`.
    #[must_use]
    pub fn new(map: Map) -> Self {
        Self {
            map: ArcSwap::from_pointee(map),
            generation: AtomicU64::new(0),
        }
    }

    /// The map as it is now; whoever holds it keeps it, whatever takes its place.
    #[must_use]
    pub fn now(&self) -> Arc<Map> {
        self.map.load_full()
    }

    /// Which map it is: the next one has a higher number.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts `map` in place of the one before.
    pub fn replace(&self, map: Map) {
        self.map.store(Arc::new(map));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}
