//! Our own recent changes, laid over what is read from Cloud.
//!
//! Cloud's reads may lag behind writes, and a cached list is older than a change made after it was read. Whoever needs
//! the truth about a membership takes what was read and asks the ledger whether we changed it since.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use parking_lot::Mutex;

use crate::cloud::Group;
use crate::model::{AccountId, GroupId, GroupName, NameKey};

/// Whose eyes: each credential has caches of its own, numbered.
pub type View = u64;

#[derive(Debug)]
pub struct Ledger {
    members: DashMap<GroupId, GroupChanges>,
    groups: Mutex<Vec<GroupChange>>,
    lag: Duration,
    keep: Duration,
}

#[derive(Debug, Default)]
struct GroupChanges {
    version: u64,
    changes: HashMap<AccountId, MemberChange>,
}

#[derive(Clone, Copy, Debug)]
struct MemberChange {
    /// `None`: the change may have happened; Cloud could not be asked.
    present: Option<bool>,
    at: Instant,
    view: View,
}

#[derive(Clone, Debug)]
struct GroupChange {
    what: GroupEvent,
    at: Instant,
    view: View,
}

#[derive(Clone, Debug)]
enum GroupEvent {
    /// Without an id where Cloud's answer could not be read.
    Created(GroupName, Option<Group>),
    Deleted(GroupId),
    /// A group may have been made or deleted; Cloud could not be asked.
    Doubtful,
}

/// What our own changes say of one membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing: what was read is as good as it gets.
    Nothing,
    /// It is so, whatever was read.
    Settled(bool),
    /// A change of ours may have happened or not: ask Cloud.
    Doubtful,
}

/// What to change in a list of members that was read.
#[derive(Debug, Default)]
pub struct Overlay {
    pub version: u64,
    pub changes: HashMap<AccountId, bool>,
    /// Another view changed the group after it was read, or a change is in doubt: read it again, with one's own eyes.
    pub stale: bool,
    /// The group was changed after it was read, so that further pages would not join on to the first one.
    pub moved: bool,
}

/// What to change in a list of groups that was read.
#[derive(Debug, Default)]
pub struct GroupOverlay {
    pub created: Vec<(GroupName, Option<Group>)>,
    pub deleted: Vec<GroupId>,
    /// Another view made groups after the list was read, or a change is in doubt.
    pub stale: bool,
    /// A group was deleted while the list was read: rows may have slipped from a page to the one before.
    pub torn: bool,
}

impl Ledger {
    /// Reads may lag by `lag`; lists are kept for up to `life`.
    pub fn new(lag: Duration, life: Duration) -> Self {
        Self {
            members: DashMap::new(),
            groups: Mutex::new(Vec::new()),
            lag,
            keep: life + lag + Duration::from_secs(60),
        }
    }

    pub fn lag(&self) -> Duration {
        self.lag
    }

    /// We made `account` a member, or took it out; or (`None`) may have.
    pub fn member_changed(&self, group: &GroupId, account: &AccountId, present: Option<bool>, view: View) {
        let at = Instant::now();
        {
            let mut entry = self.members.entry(group.clone()).or_default();
            entry.version += 1;
            entry
                .changes
                .insert(account.clone(), MemberChange { present, at, view });
            // Old changes go when the map has grown to a power of two: seldom, and never more than they cost to make.
            if entry.changes.len().is_power_of_two() {
                entry.changes.retain(|_, change| change.at.elapsed() < self.keep);
            }
        }
        if self.members.len() > 1024 && self.members.len().is_power_of_two() {
            self.members
                .retain(|_, group| group.changes.values().any(|change| change.at.elapsed() < self.keep));
        }
    }

    /// Whether `account` is a member by our own changes, if they are newer than a read that began at `read`.
    pub fn word(&self, group: &GroupId, account: &AccountId, read: Instant) -> Word {
        let entry = self.members.get(group);
        let change = entry.as_ref().and_then(|entry| entry.changes.get(account));
        match change.filter(|change| change.at + self.lag > read) {
            None => Word::Nothing,
            Some(change) => change.present.map_or(Word::Doubtful, Word::Settled),
        }
    }

    /// Whether what was read at `read` must be read again because of somebody else's change at `at`: it came later,
    /// or the reading may not have shown it yet and now one would.
    fn outdates(&self, at: Instant, read: Instant) -> bool {
        at > read || (at + self.lag > read && at.elapsed() >= self.lag)
    }

    /// The changes to lay over a list of members whose reading began at `read`.
    pub fn overlay(&self, group: &GroupId, read: Instant, view: View) -> Overlay {
        let Some(entry) = self.members.get(group) else {
            return Overlay::default();
        };
        let mut overlay = Overlay {
            version: entry.version,
            ..Overlay::default()
        };
        for (account, change) in &entry.changes {
            overlay.moved |= change.at > read;
            match change.present {
                Some(present) if change.view == view => {
                    if change.at + self.lag > read {
                        overlay.changes.insert(account.clone(), present);
                    }
                }
                _ => overlay.stale |= self.outdates(change.at, read),
            }
        }
        overlay
    }

    pub fn group_created(&self, name: GroupName, group: Option<Group>, view: View) {
        self.note(GroupEvent::Created(name, group), view);
    }

    pub fn group_deleted(&self, id: GroupId, view: View) {
        self.members.remove(&id);
        self.note(GroupEvent::Deleted(id), view);
    }

    pub fn group_doubted(&self, view: View) {
        self.note(GroupEvent::Doubtful, view);
    }

    fn note(&self, what: GroupEvent, view: View) {
        let mut groups = self.groups.lock();
        groups.retain(|change| change.at.elapsed() < self.keep);
        groups.push(GroupChange {
            what,
            at: Instant::now(),
            view,
        });
    }

    /// The changes to lay over a list of groups whose reading began at `read` and ended at `end`.
    pub fn group_overlay(&self, read: Instant, end: Instant, view: View) -> GroupOverlay {
        let mut overlay = GroupOverlay::default();
        for change in self.groups.lock().iter() {
            match &change.what {
                // An id is never used again, so a deletion holds for good.
                GroupEvent::Deleted(id) => {
                    overlay.deleted.push(id.clone());
                    overlay.torn |= change.at > read && change.at < end;
                    overlay
                        .created
                        .retain(|(_, group)| group.as_ref().is_none_or(|group| group.id != *id));
                }
                GroupEvent::Created(name, group) if change.view == view && change.at + self.lag > read => {
                    overlay.created.push((name.clone(), group.clone()));
                }
                GroupEvent::Created(..) if change.view == view => {}
                GroupEvent::Created(..) | GroupEvent::Doubtful => overlay.stale |= self.outdates(change.at, read),
            }
        }
        overlay
    }

    /// Whether we made a group of this name (ignoring case) so recently that Cloud's reads may not show it yet.
    pub fn was_just_created(&self, key: &NameKey) -> bool {
        self.just_created(|name, _| name.key() == *key)
    }

    /// Whether we made the group of this id so recently that Cloud's reads may not show it yet.
    pub fn is_just_created(&self, id: &GroupId) -> bool {
        self.just_created(|_, group| group.is_some_and(|group| group.id == *id))
    }

    fn just_created(&self, wanted: impl Fn(&GroupName, Option<&Group>) -> bool) -> bool {
        let groups = self.groups.lock();
        let is_deleted = |group: &Group| {
            let deleted = |change: &GroupChange| matches!(&change.what, GroupEvent::Deleted(id) if *id == group.id);
            groups.iter().any(deleted)
        };
        groups.iter().any(|change| match &change.what {
            GroupEvent::Created(name, group) => {
                change.at.elapsed() < self.lag
                    && wanted(name, group.as_ref())
                    && !group.as_ref().is_some_and(is_deleted)
            }
            GroupEvent::Deleted(_) | GroupEvent::Doubtful => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ledger.member_changed(&group, &account, None, 1);
        assert_eq!(ledger.word(&group, &account, before), Word::Doubtful);
        assert!(ledger.overlay(&group, before, 1).stale);
    }

    #[test]
    fn another_view_is_told_to_read_again_and_not_what_was_changed() {
        let ledger = Ledger::new(Duration::from_secs(10), Duration::from_secs(60));
        let (group, account) = (GroupId::new("g"), AccountId::new("a"));
        let before = Instant::now();
        ledger.member_changed(&group, &account, Some(true), 1);
        assert!(!ledger.overlay(&group, before, 1).stale);
        assert_eq!(ledger.overlay(&group, before, 1).changes.len(), 1);
        let other = ledger.overlay(&group, before, 2);
        assert!(other.stale && other.changes.is_empty());
        assert!(!ledger.overlay(&group, Instant::now(), 2).stale);
        // Without a lag to wait for, what was read a moment later shows the change.
        let prompt = Ledger::new(Duration::ZERO, Duration::from_secs(60));
        prompt.member_changed(&group, &account, Some(true), 1);
        assert!(!prompt.overlay(&group, Instant::now(), 2).stale);
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
        ledger.group_created(name.clone(), Some(group), 1);
        assert!(ledger.was_just_created(&name.key()) && ledger.is_just_created(&GroupId::new("g")));
        ledger.group_deleted(GroupId::new("g"), 1);
        assert!(!ledger.was_just_created(&name.key()) && !ledger.is_just_created(&GroupId::new("g")));
    }
}
