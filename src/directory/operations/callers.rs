//! How many bulk operations each caller has running, whoever still waits for them: one caller must not take all the places.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Operations of one caller at once.
pub const MOST: usize = 64;

/// The callers who have any running. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Callers(Arc<Mutex<HashMap<Arc<str>, usize>>>);

/// One operation; it has ended when this is dropped.
#[derive(Debug)]
pub struct Running {
    callers: Callers,
    key: Arc<str>,
}

impl Callers {
    /// Whether this caller may begin another.
    pub fn has_room(&self, key: &str) -> bool {
        self.0.lock().get(key).is_none_or(|count| *count < MOST)
    }

    /// One more begins.
    pub fn begin(&self, key: &Arc<str>) -> Running {
        *self.0.lock().entry(Arc::clone(key)).or_default() += 1;
        Running {
            callers: self.clone(),
            key: Arc::clone(key),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut counts = self.callers.0.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_does_not_take_the_places_of_another_and_is_forgotten_at_the_end() {
        let callers = Callers::default();
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let mut running: Vec<Running> = (0..MOST).map(|_| callers.begin(&one)).collect();
        assert!(!callers.has_room(&one) && callers.has_room(&other));
        running.pop();
        assert!(callers.has_room(&one));
        running.clear();
        assert!(callers.0.lock().is_empty());
    }
}
