//! A group's members from one reading, and what was made of them to be shown.

use std::cell::Cell;
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
    shown: ArcSwapOption<ShownList>,
    /// Filled once the rows' names are known: whoever comes meanwhile waits.
    learned: OnceCell<()>,
    /// They were learned while it was read.
    pub was_learned: bool,
}

/// Under which circumstances a roster's rows were made ready to be shown: our own changes, and what was known of names.
pub type Version = (u64, Names);

/// What was known of names: the same ones are shown while it stays.
pub type Names = (u64, u64);

/// A list that was made ready to be shown.
#[derive(Debug)]
pub struct ShownList {
    pub version: Version,
    /// Cloud was asked for everybody of whom it may know more than the map.
    pub complete: bool,
    /// Names that were learned long ago could be asked about anew.
    pub was_asking: bool,
    /// Whose rows they are, in their order.
    pub accounts: Vec<AccountId>,
    pub members: Arc<Listing<Member>>,
    /// Those of whom it is not known what Cloud knows.
    pub nameless: HashSet<AccountId>,
}

/// Rows that were made ready before, and stay as they were.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// In the order in which they are shown.
    pub rows: Vec<(AccountId, Member)>,
    /// Those of them of whom it is not known what Cloud knows.
    pub nameless: HashSet<AccountId>,
}

impl ShownList {
    /// Takes those out of `rows` and `added` whose rows are here; with `wants_profiles` those alone of whom it is known what
    /// Cloud knows.
    pub fn take_ready(&self, wants_profiles: bool, rows: &mut Vec<Arc<Profile>>, added: &mut Vec<AccountId>) -> Ready {
        let before = || self.accounts.iter().zip(&self.members.rows);
        let stays: HashMap<&AccountId, Cell<bool>> = before()
            .filter(|(account, _)| !(wants_profiles && self.nameless.contains(*account)))
            .map(|(account, _)| (account, Cell::new(false)))
            .collect();
        let is_new = |account: &AccountId| stays.get(account).inspect(|stays| stays.set(true)).is_none();
        rows.retain(|row| is_new(&row.account));
        added.retain(is_new);
        let stays = |account: &AccountId| stays.get(account).is_some_and(Cell::get);
        Ready {
            rows: before()
                .filter(|(account, _)| stays(account))
                .map(|(account, member)| (account.clone(), member.clone()))
                .collect(),
            nameless: self.nameless.iter().filter(|account| stays(account)).cloned().collect(),
        }
    }
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

    /// What was made ready last, whatever we changed since, if the same was known of names, and if whoever `is_asking` now
    /// was then.
    pub fn shown_before(&self, names: Names, is_asking: bool) -> Option<Arc<ShownList>> {
        let shown = self.shown.load_full()?;
        (shown.version.1 == names && (shown.was_asking || !is_asking)).then_some(shown)
    }

    pub fn keep_shown(&self, shown: ShownList) {
        self.shown.store(Some(Arc::new(shown)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Standing;

    fn account(name: &str) -> AccountId {
        AccountId::new(name)
    }

    fn profile(name: &str) -> Arc<Profile> {
        Arc::new(Profile {
            account: account(name),
            display_name: Arc::default(),
            email: Arc::default(),
            standing: Standing::Active,
            brief: None,
            is_known: true,
        })
    }

    fn member(name: &str) -> Member {
        let none: Arc<str> = Arc::default();
        Member {
            name: Arc::from(name),
            full_name: Arc::clone(&none),
            key: Arc::clone(&none),
            email: Arc::clone(&none),
            position: Arc::clone(&none),
            department: Arc::clone(&none),
            location: none,
            created: None,
            updated: None,
            last_login: None,
            has_access: true,
        }
    }

    /// What is taken of `b a c` where `d c` are in the group and `e a` were added, and who is left; of `a` nothing is known.
    fn taken(wants_profiles: bool) -> (Ready, Vec<AccountId>) {
        let accounts = ["b", "a", "c"];
        let shown = ShownList {
            version: (7, (1, 1)),
            complete: false,
            was_asking: true,
            accounts: accounts.map(account).to_vec(),
            members: Arc::new(Listing::from(accounts.map(member).to_vec())),
            nameless: HashSet::from([account("a")]),
        };
        let (mut rows, mut added) = (vec![profile("d"), profile("c")], vec![account("e"), account("a")]);
        let ready = shown.take_ready(wants_profiles, &mut rows, &mut added);
        let left = rows.iter().map(|row| row.account.clone()).chain(added).collect();
        (ready, left)
    }

    #[test]
    fn who_was_made_ready_stays_as_it_was_and_in_its_place() {
        let row = |name| (account(name), member(name));
        let ready = Ready {
            rows: vec![row("a"), row("c")],
            nameless: HashSet::from([account("a")]),
        };
        assert_eq!(taken(false), (ready, ["d", "e"].map(account).to_vec()));
    }

    #[test]
    fn who_is_known_to_the_map_alone_is_made_anew_for_whoever_wants_more() {
        let ready = Ready {
            rows: vec![(account("c"), member("c"))],
            nameless: HashSet::new(),
        };
        assert_eq!(taken(true), (ready, ["d", "e", "a"].map(account).to_vec()));
    }

    #[test]
    fn nothing_is_ready_once_more_is_known_of_names_or_can_be_asked() {
        let roster = Roster::new(Instant::now(), Vec::new());
        assert!(roster.shown_before((1, 1), false).is_none());
        for was_asking in [true, false] {
            roster.keep_shown(ShownList {
                version: (7, (1, 1)),
                complete: true,
                was_asking,
                accounts: Vec::new(),
                members: Arc::new(Listing::from(Vec::new())),
                nameless: HashSet::new(),
            });
            assert!(roster.shown_before((1, 1), false).is_some());
            assert_eq!(roster.shown_before((1, 1), true).is_some(), was_asking);
            assert!(roster.shown_before((1, 2), false).is_none() && roster.shown_before((2, 1), false).is_none());
        }
    }
}
