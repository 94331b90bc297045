//! A group's members from one reading, and what was made of them to be shown.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::OnceCell;

use crate::cloud::Profile;
use crate::directory::Error;
use crate::model::{AccountId, Listing, Member};

/// How much of a group is read, from the least to the most. Whoever wants less is content with more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Depth {
    /// Whom Confluence shows on its pages: without those who are suspended.
    Pages,
    /// Everybody, as far as there is a key that shows the suspended.
    Whole,
    /// Everybody, with what only the organisation knows of them.
    Briefed,
}

impl Depth {
    /// This depth, and those below it.
    pub fn or_deeper(self) -> impl Iterator<Item = Self> {
        let all = [Self::Pages, Self::Whole, Self::Briefed];
        all.into_iter().filter(move |depth| *depth >= self)
    }
}

/// A group's members as Cloud told them, from one reading.
#[derive(Debug)]
pub struct Roster {
    /// When the reading began: a change made later is not in it.
    pub read: Instant,
    /// How long the reading took.
    pub took: Duration,
    pub rows: Vec<Arc<Profile>>,
    pub ids: HashSet<AccountId>,
    /// The rows as the legacy side shows them, for one version of our own changes.
    shown: ArcSwapOption<Shown>,
    /// Filled once the rows' names are known: whoever comes meanwhile waits.
    learned: OnceCell<()>,
    /// They were learned while it was read.
    pub was_learned: bool,
}

/// Under which circumstances a roster's rows were made ready to be shown: our own changes, and what was known of names.
pub type Version = (u64, (u64, u64));

#[derive(Debug)]
struct Shown {
    version: Version,
    /// Every row has what Cloud knows of it, not only what the map knows.
    complete: bool,
    members: Arc<Listing<Member>>,
}

impl Roster {
    /// Members whose reading, begun at `read`, has ended now.
    pub fn new(read: Instant, rows: Vec<Arc<Profile>>) -> Self {
        let ids = rows.iter().map(|row| row.account.clone()).collect();
        Self {
            read,
            took: read.elapsed(),
            rows,
            ids,
            shown: ArcSwapOption::empty(),
            learned: OnceCell::new(),
            was_learned: false,
        }
    }

    /// The same, whose rows' names were learned while it was read, or not.
    pub fn learned_before(self, was_learned: bool) -> Self {
        Self { was_learned, ..self }
    }

    /// Has the rows' names learned, once for all who show them.
    pub async fn learned<F: Future<Output = Result<(), Error>>>(&self, learn: impl FnOnce() -> F) -> Result<(), Error> {
        self.learned.get_or_try_init(learn).await.copied()
    }

    /// Whether the rows' names are known.
    pub fn is_learned(&self) -> bool {
        self.learned.initialized()
    }

    /// The rows as they are shown, if they were made for this version, and complete if `complete` is asked for.
    pub fn shown(&self, version: Version, complete: bool) -> Option<Arc<Listing<Member>>> {
        let shown = self.shown.load();
        let shown = shown
            .as_ref()
            .filter(|shown| shown.version == version && (shown.complete || !complete))?;
        Some(Arc::clone(&shown.members))
    }

    pub fn keep_shown(&self, version: Version, complete: bool, members: &Arc<Listing<Member>>) {
        self.shown.store(Some(Arc::new(Shown {
            version,
            complete,
            members: Arc::clone(members),
        })));
    }
}

/// Everybody once; who stands in both lists, with the words of the first.
pub fn union(mut first: Vec<Arc<Profile>>, second: Vec<Arc<Profile>>) -> Vec<Arc<Profile>> {
    let known: HashSet<AccountId> = first.iter().map(|row| row.account.clone()).collect();
    first.extend(second.into_iter().filter(|row| !known.contains(&row.account)));
    first
}

/// The rows of a roster with our own changes laid over them: the rows to show, and accounts we added of which there is
/// no row.
pub fn overlaid(roster: &Roster, changes: &HashMap<AccountId, bool>) -> (Vec<Arc<Profile>>, Vec<AccountId>) {
    let rows = roster
        .rows
        .iter()
        .filter(|row| changes.get(&row.account) != Some(&false))
        .cloned()
        .collect();
    let mut added: Vec<AccountId> = changes
        .iter()
        .filter(|(account, present)| **present && !roster.ids.contains(*account))
        .map(|(account, _)| account.clone())
        .collect();
    added.sort();
    (rows, added)
}
