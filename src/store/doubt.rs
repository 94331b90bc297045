//! Names whose replacement was lost: what is in the file about them may be out of date and is not told, until it is
//! forgotten.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Learned;
use crate::model::{NameKey, Source};

/// Names remembered; beyond them everything that their source said up to then is in doubt.
pub(super) const MAX: usize = 100_000;

/// What a replacement replaces.
pub(super) type Of = (NameKey, Source);

/// Clones share it. Forgotten at the end of the process: the age of a claim is what protects a later one.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The number of the last replacement that was lost.
    names: HashMap<Of, u64>,
    /// Up to when everything of a source is in doubt, in epoch milliseconds.
    older: HashMap<Source, i64>,
}

/// What is in doubt at a moment, or a part of it.
#[derive(Debug)]
pub(super) struct Doubtful {
    pub(super) names: Vec<(Of, u64)>,
    pub(super) older: Vec<(Source, i64)>,
}

impl Doubtful {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.older.is_empty()
    }
}

impl Doubts {
    /// The replacement of that number was lost.
    pub(super) fn add(&self, lost: impl IntoIterator<Item = Of>, number: u64) {
        let mut state = self.0.lock();
        for of in lost {
            if state.names.len() >= MAX && !state.names.contains_key(&of) {
                state.older.insert(of.1, jiff::Timestamp::now().as_millisecond());
            } else {
                let last = state.names.entry(of).or_insert(number);
                *last = number.max(*last);
            }
        }
    }

    /// The replacements of these numbers are in the file.
    pub(super) fn settle(&self, written: impl Iterator<Item = (Of, u64)>) {
        let mut state = self.0.lock();
        if state.names.is_empty() {
            // For the caller to let go of them.
            written.for_each(drop);
            return;
        }
        for (of, number) in written {
            if state.names.get(&of).is_some_and(|lost| *lost < number) {
                state.names.remove(&of);
            }
        }
    }

    /// Takes out of `claims` what is in doubt.
    pub(super) fn filter(&self, claims: &mut [Vec<Learned>]) {
        let state = self.0.lock();
        if state.names.is_empty() && state.older.is_empty() {
            return;
        }
        let is_doubtful = |claim: &Learned| {
            let is_older = |until: &i64| claim.learned_at <= *until;
            state.older.get(&claim.source).is_some_and(is_older)
                || state.names.contains_key(&(claim.name.clone(), claim.source))
        };
        for claims in claims {
            claims.retain(|claim| !is_doubtful(claim));
        }
    }

    /// What is in doubt, no more names than `most`.
    pub(super) fn some(&self, most: usize) -> Doubtful {
        let state = self.0.lock();
        let names = state.names.iter().take(most);
        Doubtful {
            names: names.map(|(of, number)| (of.clone(), *number)).collect(),
            older: state.older.iter().map(|(source, until)| (*source, *until)).collect(),
        }
    }

    /// The file says nothing of these any more; what came into doubt meanwhile stays so.
    pub(super) fn forgotten(&self, doubtful: &Doubtful) {
        let mut state = self.0.lock();
        for (of, number) in &doubtful.names {
            if state.names.get(of) == Some(number) {
                state.names.remove(of);
            }
        }
        for (source, until) in &doubtful.older {
            if state.older.get(source) == Some(until) {
                state.older.remove(source);
            }
        }
    }
}
