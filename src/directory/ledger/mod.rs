//! Our own recent changes, laid over what is read from Cloud.
//!
//! Cloud's reads may lag behind writes, and a cached list is older than a change made after it was read. Whoever needs
//! the truth about a membership takes what was read and asks the ledger whether we changed it since.

mod recent;

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use parking_lot::Mutex;

use crate::cloud::Group;
use crate::model::{AccountId, GroupId, GroupName, NameKey};
use recent::{Broom, Recent};

/// Whose eyes: each credential has caches of its own, numbered.
pub type View = u64;

#[derive(Debug)]
pub struct Ledger {
    members: DashMap<GroupId, GroupChanges>,
    broom: Broom,
    groups: Mutex<GroupLog>,
    /// Groups being made or deleted right now.
    moving: AtomicUsize,
    /// Another one after each change of anything.
    version: AtomicU64,
    lag: Duration,
    keep: Duration,
}

#[derive(Debug, Default)]
struct GroupChanges {
    /// Of the whole ledger's, for what was forgotten may change again: 0 where nothing has changed.
    version: u64,
    /// Memberships being changed right now.
    moving: usize,
    changes: Recent<AccountId, MemberChange>,
    /// When the last of them was made.
    latest: Option<Instant>,
    /// All of them are certain, and of this view: then none has to be looked at to know that nobody else made one.
    only: Option<View>,
}

impl GroupChanges {
    fn insert(&mut self, account: AccountId, change: MemberChange, version: u64) {
        let is_only = self.changes.is_empty() || self.only == Some(change.view);
        self.only = Some(change.view).filter(|_| is_only && change.present.is_some());
        self.latest = self.latest.max(Some(change.at));
        self.version = version;
        self.changes.insert(account, change);
    }
}

#[derive(Clone, Copy, Debug)]
struct MemberChange {
    /// `None`: the change may have happened; Cloud could not be asked.
    present: Option<bool>,
    at: Instant,
    view: View,
}

/// The groups we made and deleted.
#[derive(Debug, Default)]
struct GroupLog {
    /// Another one after each change.
    version: u64,
    /// No list is empty.
    created: Recent<NameKey, Vec<Created>>,
    deleted: Recent<GroupId, Instant>,
    /// When each view last made a group.
    latest: Recent<View, Instant>,
    /// When a list of groups was last told, by a change, that it may miss something or show too much.
    outdated: Option<Instant>,
    /// When a group of this name was made or deleted perhaps.
    doubted: Recent<NameKey, Instant>,
}

#[derive(Clone, Debug)]
struct Created {
    name: GroupName,
    /// Without it where Cloud's answer could not be read.
    group: Option<Group>,
    at: Instant,
    view: View,
}

/// What our own changes say of one membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing: what was read is as good as it gets.
    Nothing,
    /// It is so, whatever was read.
    Settled(bool),
    /// A change of ours may have happened or not: ask Cloud, which can be believed from this moment on.
    Doubtful(Instant),
}

/// What to change in a list of members that was read.
#[derive(Debug, Default)]
pub struct Overlay {
    pub version: u64,
    pub changes: HashMap<AccountId, bool>,
}

impl Ledger {
    /// Reads may lag by `lag`; lists are kept for up to `life`.
    pub fn new(lag: Duration, life: Duration) -> Self {
        Self {
            members: DashMap::new(),
            broom: Broom::new(1024),
            groups: Mutex::new(GroupLog::default()),
            moving: AtomicUsize::new(0),
            version: AtomicU64::new(0),
            lag,
            keep: life + lag + Duration::from_secs(60),
        }
    }

    pub fn lag(&self) -> Duration {
        self.lag
    }

    /// Another one whenever what is laid over any list may have changed.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// To be called once the change can be seen.
    fn changed(&self) {
        self.next_version();
    }

    /// One that nothing had before.
    fn next_version(&self) -> u64 {
        self.version.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// A membership of `group` is being changed until the guard is dropped: rows may slip from page to page meanwhile.
    pub fn moving_members<'a>(&'a self, group: &'a GroupId) -> MovingMembers<'a> {
        self.members.entry(group.clone()).or_default().moving += 1;
        MovingMembers { ledger: self, group }
    }

    /// Groups are being made or deleted until the guard is dropped.
    pub fn moving_groups(&self) -> MovingGroups<'_> {
        self.moving.fetch_add(1, Ordering::Relaxed);
        MovingGroups { ledger: self }
    }

    /// Accounts whose membership may have changed, as Cloud shows it, during a reading that began at `read`; `None`: the
    /// group lay still.
    pub fn moved_members(&self, group: &GroupId, read: Instant) -> Option<HashSet<AccountId>> {
        let entry = self.members.get(group)?;
        let recent = entry.changes.iter().filter(|(_, change)| change.at + self.lag > read);
        let moved: HashSet<AccountId> = recent.map(|(account, _)| account.clone()).collect();
        (entry.moving > 0 || !moved.is_empty()).then_some(moved)
    }

    /// Whether [`Self::moved_members`] has any, or the group does not lie still.
    pub fn has_moved(&self, group: &GroupId, read: Instant) -> bool {
        self.members
            .get(group)
            .is_some_and(|entry| entry.moving > 0 || entry.latest.is_some_and(|latest| latest + self.lag > read))
    }

    /// The same for the list of groups.
    pub fn moved_groups(&self, read: Instant) -> Option<HashSet<GroupId>> {
        let groups = self.groups.lock();
        let created = groups
            .created
            .values()
            .flatten()
            .filter(|created| created.at + self.lag > read);
        let deleted = groups.deleted.iter().filter(|(_, at)| **at + self.lag > read);
        let mut moving = self.moving.load(Ordering::Relaxed) > 0;
        let mut moved: HashSet<GroupId> = deleted.map(|(id, _)| id.clone()).collect();
        for created in created {
            moving = true;
            moved.extend(created.group.as_ref().map(|group| group.id.clone()));
        }
        (moving || !moved.is_empty()).then_some(moved)
    }

    /// We made `account` a member, or took it out; or (`None`) may have.
    pub fn member_changed(&self, group: &GroupId, account: &AccountId, present: Option<bool>, view: View) {
        let at = Instant::now();
        {
            let mut entry = self.members.entry(group.clone()).or_default();
            entry.insert(account.clone(), MemberChange { present, at, view }, self.next_version());
            entry.changes.sweep(|_, change| change.at.elapsed() < self.keep);
        }
        self.changed();
        if self.broom.is_due(self.members.len()) {
            self.members
                .retain(|_, group| group.moving > 0 || group.latest.is_some_and(|latest| latest.elapsed() < self.keep));
            self.broom.swept(self.members.len());
        }
    }

    /// What became of a change that was in doubt, read at `until` ([`Word::Doubtful`]) or later. A change since is another.
    pub fn doubt_settled(&self, group: &GroupId, account: &AccountId, until: Instant, present: bool) {
        let Some(mut entry) = self.members.get_mut(group) else {
            return;
        };
        let is_it = |change: &&mut MemberChange| change.present.is_none() && change.at + self.lag <= until;
        if let Some(change) = entry.changes.get_mut(account).filter(is_it) {
            change.present = Some(present);
            entry.version = self.next_version();
            self.changed();
        }
    }

    /// Whether `account` is a member by our own changes, if they are newer than a read that began at `read`.
    pub fn word(&self, group: &GroupId, account: &AccountId, read: Instant) -> Word {
        let entry = self.members.get(group);
        let change = entry.as_ref().and_then(|entry| entry.changes.get(account));
        match change.filter(|change| change.at + self.lag > read) {
            None => Word::Nothing,
            Some(change) => change
                .present
                .map_or(Word::Doubtful(change.at + self.lag), Word::Settled),
        }
    }

    /// Whether what was read at `read` must be read again because of somebody else's change at `at`: it came later,
    /// or the reading may not have shown it yet and now one would.
    fn outdates(&self, at: Instant, read: Instant) -> bool {
        at > read || (at + self.lag > read && at.elapsed() >= self.lag)
    }

    /// Whether a list of members whose reading began at `read` must be read again, with one's own eyes, whatever is laid over
    /// it: another view changed the group after it was read, or a change is in doubt.
    pub fn is_stale(&self, group: &GroupId, read: Instant, view: View) -> bool {
        self.members.get(group).is_some_and(|entry| {
            if entry.only == Some(view) {
                return false;
            }
            let mut changes = entry.changes.values();
            changes.any(|change| {
                let is_ours = change.view == view && change.present.is_some();
                !is_ours && self.outdates(change.at, read)
            })
        })
    }

    /// Another one whenever what is laid over the group's list may have changed: [`Overlay::version`].
    pub fn version_of(&self, group: &GroupId) -> u64 {
        self.members.get(group).map_or(0, |entry| entry.version)
    }

    /// The changes to lay over a list of members whose reading began at `read`.
    pub fn overlay(&self, group: &GroupId, read: Instant, view: View) -> Overlay {
        let Some(entry) = self.members.get(group) else {
            return Overlay::default();
        };
        let ours = entry.changes.iter().filter(|(_, change)| change.view == view);
        let recent = ours.filter(|(_, change)| change.at + self.lag > read);
        let changes = recent.filter_map(|(account, change)| Some((account.clone(), change.present?)));
        Overlay {
            version: entry.version,
            changes: changes.collect(),
        }
    }

    /// We made a group, or were told that there is one which was not read; without `group` where its id is not known.
    pub fn group_created(&self, name: GroupName, group: Option<Group>, view: View) {
        let at = Instant::now();
        let mut groups = self.groups.lock();
        groups.version += 1;
        groups.latest.insert(view, at);
        if group.is_none() {
            // It cannot be laid over a list: the list is to be read again once Cloud shows it.
            groups.outdated = Some(at);
        }
        let created = Created { name, group, at, view };
        groups.created.entry(created.name.key()).or_default().push(created);
        groups.created.sweep(|_, all| {
            all.retain(|created| created.at.elapsed() < self.keep);
            !all.is_empty()
        });
        groups.latest.sweep(|_, at| at.elapsed() < self.keep);
        self.changed();
    }

    /// Which of our own changes there are: with the same ones, [`Self::created_since`] and [`Self::without_deleted`] say the
    /// same of the same reading.
    pub fn version_of_groups(&self) -> u64 {
        self.groups.lock().version
    }

    /// A group may have been made or deleted; Cloud could not be asked.
    pub fn group_doubted(&self, name: &GroupName) {
        let at = Instant::now();
        let mut groups = self.groups.lock();
        groups.outdated = Some(at);
        groups.doubted.insert(name.key(), at);
        groups.doubted.sweep(|_, at| at.elapsed() < self.keep);
        self.changed();
    }

    /// From when on Cloud's reads tell for certain whether there is a group of this name (ignoring case), if a change of
    /// ours has left that in doubt.
    pub fn is_doubted_until(&self, key: &NameKey) -> Option<Instant> {
        let until = *self.groups.lock().doubted.get(key)? + self.lag;
        (until > Instant::now()).then_some(until)
    }

    pub fn group_deleted(&self, group: &Group) {
        self.members.remove(&group.id);
        let mut groups = self.groups.lock();
        groups.version += 1;
        groups.deleted.insert(group.id.clone(), Instant::now());
        groups.deleted.sweep(|_, at| at.elapsed() < self.keep);
        let is_it = |created: &Created| created.group.as_ref().is_none_or(|known| known.id == group.id);
        if let Entry::Occupied(mut all) = groups.created.entry(group.name.key()) {
            all.get_mut().retain(|created| !is_it(created));
            if all.get().is_empty() {
                all.remove();
            }
        }
        self.changed();
    }

    /// Whether groups that were read at `read` must be read again, because another view made some after that, or a
    /// change was left in doubt.
    pub fn groups_are_stale(&self, read: Instant, view: View) -> bool {
        let groups = self.groups.lock();
        let others = groups
            .latest
            .iter()
            .filter(|(other, _)| **other != view)
            .map(|(_, at)| *at);
        others.chain(groups.outdated).any(|at| self.outdates(at, read))
    }

    /// Whether a name (ignoring case) may mean another group than what was read at `read` tells: another view made one of that
    /// name since, or one whose id is not known, or a change of it was left in doubt.
    pub fn name_is_stale(&self, key: &NameKey, read: Instant, view: View) -> bool {
        let log = self.groups.lock();
        let made = log.created.get(key).into_iter().flatten();
        let unseen = made.filter(|created| created.view != view || created.group.is_none());
        let doubted = log.doubted.get(key).copied();
        unseen
            .map(|created| created.at)
            .chain(doubted)
            .any(|at| self.outdates(at, read))
    }

    /// Takes out the groups we deleted. An id is never used again, so a deletion holds for good.
    pub fn without_deleted(&self, groups: &mut Vec<Group>) {
        let log = self.groups.lock();
        if !log.deleted.is_empty() {
            groups.retain(|group| !log.deleted.contains_key(&group.id));
        }
    }

    /// The groups this view made that a reading begun at `read` may not show: those of this name (ignoring case), or all.
    pub fn created_since(&self, read: Instant, key: Option<&NameKey>, view: View) -> Vec<Group> {
        let log = self.groups.lock();
        let newer = |created: &&Created| created.view == view && created.at + self.lag > read;
        let of = |all: &Vec<Created>| {
            all.iter()
                .filter(newer)
                .filter_map(|created| created.group.clone())
                .collect()
        };
        match key {
            Some(key) => log.created.get(key).map_or_else(Vec::new, of),
            None => log.created.values().flat_map(|all| -> Vec<Group> { of(all) }).collect(),
        }
    }

    /// Whether we made a group of this name (ignoring case) so recently that Cloud's reads may not show it yet.
    pub fn was_just_created(&self, key: &NameKey) -> bool {
        let log = self.groups.lock();
        log.created
            .get(key)
            .is_some_and(|all| all.iter().any(|created| created.at.elapsed() < self.lag))
    }

    /// Whether we made this group so recently that Cloud's reads may not show it yet.
    pub fn is_just_created(&self, id: &GroupId) -> bool {
        let log = self.groups.lock();
        log.created.values().flatten().any(|created| {
            created.at.elapsed() < self.lag && created.group.as_ref().is_some_and(|group| group.id == *id)
        })
    }
}

/// See [`Ledger::moving_members`].
pub struct MovingMembers<'a> {
    ledger: &'a Ledger,
    group: &'a GroupId,
}

impl Drop for MovingMembers<'_> {
    fn drop(&mut self) {
        if let Some(mut entry) = self.ledger.members.get_mut(self.group) {
            entry.moving = entry.moving.saturating_sub(1);
        }
        // A change that was not made leaves nothing.
        let is_idle = |_: &GroupId, entry: &GroupChanges| entry.moving == 0 && entry.changes.is_empty();
        self.ledger.members.remove_if(self.group, is_idle);
    }
}

/// See [`Ledger::moving_groups`].
pub struct MovingGroups<'a> {
    ledger: &'a Ledger,
}

impl Drop for MovingGroups<'_> {
    fn drop(&mut self) {
        self.ledger.moving.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is laid over the list; the answers that cost less must be the same.
    fn overlay(ledger: &Ledger, group: &GroupId, read: Instant, view: View) -> Overlay {
        let overlay = ledger.overlay(group, read, view);
        assert_eq!(ledger.version_of(group), overlay.version);
        let moved = ledger.moved_members(group, read);
        assert_eq!(ledger.has_moved(group, read), moved.is_some());
        overlay
    }

    #[test]
    fn our_own_change_outweighs_a_read_that_may_not_show_it_yet() {
        let ledger = Ledger::new(Duration::from_secs(10), Duration::from_secs(60));
        let (group, account) = (GroupId::new("g"), AccountId::new("a"));
        let before = Instant::now();
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert_eq!(ledger.word(&group, &account, before), Word::Nothing);
        ledger.member_changed(&group, &account, Some(true), 1);
        assert_eq!(ledger.word(&group, &account, before), Word::Settled(true));
        assert_eq!(ledger.word(&group, &account, after(9)), Word::Settled(true));
        assert_eq!(ledger.word(&group, &account, after(11)), Word::Nothing);
        ledger.doubt_settled(&group, &account, after(11), false);
        assert_eq!(ledger.word(&group, &account, before), Word::Settled(true));
        ledger.member_changed(&group, &account, None, 1);
        assert!(matches!(ledger.word(&group, &account, before), Word::Doubtful(until) if until > after(9)));
        assert!(ledger.is_stale(&group, before, 1));
        // The moment of the change stays: what is read after it is as good as it gets.
        ledger.doubt_settled(&group, &account, after(9), false);
        assert!(matches!(ledger.word(&group, &account, before), Word::Doubtful(_)));
        ledger.doubt_settled(&group, &account, after(11), false);
        assert_eq!(ledger.word(&group, &account, before), Word::Settled(false));
        assert_eq!(ledger.word(&group, &account, after(11)), Word::Nothing);
    }

    #[test]
    fn another_view_is_told_to_read_again_and_not_what_was_changed() {
        let ledger = Ledger::new(Duration::from_secs(10), Duration::from_secs(60));
        let (group, account) = (GroupId::new("g"), AccountId::new("a"));
        let before = Instant::now();
        ledger.member_changed(&group, &account, Some(true), 1);
        assert!(!ledger.is_stale(&group, before, 1));
        assert_eq!(overlay(&ledger, &group, before, 1).changes.len(), 1);
        assert!(ledger.is_stale(&group, before, 2) && overlay(&ledger, &group, before, 2).changes.is_empty());
        assert!(!ledger.is_stale(&group, Instant::now(), 2));
        // Without a lag to wait for, what was read a moment later shows the change.
        let prompt = Ledger::new(Duration::ZERO, Duration::from_secs(60));
        prompt.member_changed(&group, &account, Some(true), 1);
        assert!(!prompt.is_stale(&group, Instant::now(), 2));
    }

    #[test]
    fn a_group_that_was_forgotten_never_has_the_same_version_again() {
        let ledger = Ledger::new(Duration::ZERO, Duration::from_secs(60));
        let group = Group::just_made(GroupId::new("g"), GroupName::new("g"));
        let mut seen = HashSet::from([ledger.version_of(&group.id)]);
        for account in ["a", "b", "c"] {
            ledger.member_changed(&group.id, &AccountId::new(account), Some(true), 0);
            assert!(seen.insert(ledger.version_of(&group.id)));
            ledger.group_deleted(&group);
            assert_eq!(ledger.version_of(&group.id), 0);
        }
    }

    #[test]
    fn who_else_changed_a_group_is_known_without_looking_at_every_change() {
        let said = [None, Some(true), Some(false)];
        let change = |n: usize| (n % 4, (n / 4 % 3) as View, said[n / 12]);
        let every = |n: usize, of: u32| (n / 36_usize.pow(of)) % 36;
        for n in 0..36_usize.pow(3) {
            let ledger = Ledger::new(Duration::from_secs(10), Duration::from_secs(60));
            let (group, before) = (GroupId::new("g"), Instant::now());
            let changes = [0, 1, 2].map(|of| change(every(n, of)));
            for (account, view, present) in changes.into_iter().filter(|(account, ..)| *account > 0) {
                ledger.member_changed(&group, &AccountId::new(&account.to_string()), present, view);
            }
            for view in 0..4 {
                let found = ledger.members.get(&group).is_some_and(|entry| {
                    let mut all = entry.changes.values();
                    all.any(|change| change.view != view || change.present.is_none())
                });
                assert_eq!(ledger.is_stale(&group, before, view), found, "{changes:?} {view}");
            }
            overlay(&ledger, &group, before, 0);
        }
    }

    #[test]
    fn a_name_is_doubted_alone_and_by_those_who_did_not_make_its_group() {
        let ledger = Ledger::new(Duration::from_secs(10), Duration::from_secs(60));
        let before = Instant::now();
        let (made, doubted) = (GroupName::new("Made"), GroupName::new("Doubted"));
        let group = Group::just_made(GroupId::new("g"), made.clone());
        ledger.group_created(made.clone(), Some(group), 1);
        ledger.group_doubted(&doubted);
        let is_stale = |name: &str, view| ledger.name_is_stale(&GroupName::new(name).key(), before, view);
        assert!(is_stale("made", 2) && !is_stale("made", 1));
        assert!(is_stale("doubted", 1) && is_stale("doubted", 2));
        assert!(!is_stale("other", 1) && !is_stale("other", 2));
        assert!(!ledger.name_is_stale(&doubted.key(), Instant::now(), 1));
        ledger.group_created(GroupName::new("Nameless"), None, 1);
        assert!(is_stale("nameless", 1));
    }

    #[test]
    fn what_is_old_does_not_pile_up() {
        let ledger = Ledger {
            keep: Duration::ZERO,
            ..Ledger::new(Duration::ZERO, Duration::ZERO)
        };
        let (mut most, account) = (0, AccountId::new("a"));
        for n in 0..10_000 {
            let name = GroupName::new(&format!("g{n}"));
            let group = Group::just_made(GroupId::new(&format!("{n}")), name.clone());
            drop(ledger.moving_members(&group.id));
            ledger.member_changed(&group.id, &account, Some(true), n);
            ledger.member_changed(&GroupId::new("always"), &AccountId::new(name.as_str()), None, n);
            ledger.group_doubted(&name);
            ledger.group_created(name, Some(group.clone()), n);
            if n % 2 == 0 {
                ledger.group_deleted(&group);
            }
            let log = ledger.groups.lock();
            let sizes = [
                log.created.len(),
                log.latest.len(),
                log.doubted.len(),
                log.deleted.len(),
            ];
            let of_one = ledger.members.get(&GroupId::new("always")).unwrap().changes.len();
            most = most.max(sizes.into_iter().fold(of_one, usize::max));
            assert!(ledger.members.len() <= 1025);
        }
        assert!(most <= 9, "{most}");
    }

    #[test]
    fn a_change_that_was_not_made_and_a_group_that_is_gone_again_leave_nothing_but_the_deletion() {
        let ledger = Ledger::new(Duration::from_secs(10), Duration::from_secs(60));
        let group = Group::just_made(GroupId::new("g"), GroupName::new("G"));
        let moving = [ledger.moving_members(&group.id), ledger.moving_members(&group.id)];
        for guard in moving {
            assert!(ledger.has_moved(&group.id, Instant::now()));
            drop(guard);
        }
        assert!(ledger.members.is_empty());
        ledger.group_created(group.name.clone(), Some(group.clone()), 1);
        ledger.member_changed(&group.id, &AccountId::new("a"), Some(true), 1);
        ledger.group_deleted(&group);
        assert!(ledger.members.is_empty() && ledger.groups.lock().created.is_empty());
        let mut left = vec![group];
        ledger.without_deleted(&mut left);
        assert!(left.is_empty());
    }

    #[test]
    fn a_group_that_was_deleted_again_is_not_waited_for() {
        let ledger = Ledger::new(Duration::from_secs(10), Duration::from_secs(60));
        let name = GroupName::new("New");
        let group = Group {
            id: GroupId::new("g"),
            name: name.clone(),
            externally_managed: false,
            team: false,
        };
        ledger.group_created(name.clone(), Some(group.clone()), 1);
        assert!(ledger.was_just_created(&name.key()) && ledger.is_just_created(&GroupId::new("g")));
        ledger.group_deleted(&group);
        assert!(!ledger.was_just_created(&name.key()) && !ledger.is_just_created(&GroupId::new("g")));
    }
}
