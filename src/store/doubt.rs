//! Names whose replacement was lost: what is in the file about them may be out of date and is not told.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Learned;
use crate::model::{NameKey, Source};

/// Names remembered; beyond them everything is in doubt.
const MAX: usize = 100_000;

/// Clones share it. Forgotten at the end of the process: the age of a claim is what protects a later one.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The number of the last replacement that was lost.
    names: HashMap<(NameKey, Source), u64>,
    everything: bool,
}

impl Doubts {
    /// The replacement of that number was lost.
    pub(super) fn add(&self, name: NameKey, source: Source, number: u64) {
        let mut state = self.0.lock();
        if state.names.len() >= MAX {
            state.everything = true;
            return;
        }
        let last = state.names.entry((name, source)).or_insert(number);
        *last = number.max(*last);
    }

    /// The replacement of that number is in the file.
    pub(super) fn settle(&self, name: &NameKey, source: Source, number: u64) {
        let mut state = self.0.lock();
        if state.names.is_empty() {
            return;
        }
        let key = (name.clone(), source);
        if state.names.get(&key).is_some_and(|lost| *lost < number) {
            state.names.remove(&key);
        }
    }

    /// Takes out of `claims` what is in doubt.
    pub(super) fn filter(&self, claims: &mut [Vec<Learned>]) {
        let state = self.0.lock();
        if state.everything {
            claims.iter_mut().for_each(Vec::clear);
        } else if !state.names.is_empty() {
            for claims in claims {
                claims.retain(|claim| !state.names.contains_key(&(claim.name.clone(), claim.source)));
            }
        }
    }
}
