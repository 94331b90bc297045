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
    present: bool,
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
}

/// What to change in a list of members that was read.
#[derive(Debug, Default)]
pub struct Overlay {
    pub version: u64,
    pub changes: HashMap<AccountId, bool>,
    /// Another view changed the group after it was read: read it again, with one's own eyes.
    pub stale: bool,
}

/// What to change in a list of groups that was read.
#[derive(Debug, Default)]
pub struct GroupOverlay {
    pub created: Vec<(GroupName, Option<Group>)>,
    pub deleted: Vec<GroupId>,
    /// Another view made groups after the list was read.
    pub stale: bool,
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

    /// We made `account` a member, or took it out.
    pub fn member_changed(&self, group: &GroupId, account: &AccountId, present: bool, view: View) {
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
    pub fn verdict(&self, group: &GroupId, account: &AccountId, read: Instant) -> Option<bool> {
        let entry = self.members.get(group)?;
        let change = entry.changes.get(account)?;
        (change.at + self.lag > read).then_some(change.present)
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
            if change.view == view && change.at + self.lag > read {
                overlay.changes.insert(account.clone(), change.present);
            } else if change.view != view && change.at > read {
                overlay.stale = true;
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

    fn note(&self, what: GroupEvent, view: View) {
        let mut groups = self.groups.lock();
        groups.retain(|change| change.at.elapsed() < self.keep);
        groups.push(GroupChange {
            what,
            at: Instant::now(),
            view,
        });
    }

    /// The changes to lay over a list of groups whose reading began at `read`.
    pub fn group_overlay(&self, read: Instant, view: View) -> GroupOverlay {
        let mut overlay = GroupOverlay::default();
        for change in self.groups.lock().iter() {
            match &change.what {
                // An id is never used again, so a deletion holds for good.
                GroupEvent::Deleted(id) => {
                    overlay.deleted.push(id.clone());
                    overlay
                        .created
                        .retain(|(_, group)| group.as_ref().is_none_or(|group| group.id != *id));
                }
                GroupEvent::Created(name, group) if change.view == view && change.at + self.lag > read => {
                    overlay.created.push((name.clone(), group.clone()));
                }
                GroupEvent::Created(..) if change.view != view && change.at > read => overlay.stale = true,
                GroupEvent::Created(..) => {}
            }
        }
        overlay
    }

    /// Whether we made a group of this name (ignoring case) so recently that Cloud's reads may not show it yet.
    pub fn was_just_created(&self, key: &NameKey) -> bool {
        self.groups.lock().iter().any(|change| match &change.what {
            GroupEvent::Created(name, _) => change.at.elapsed() < self.lag && name.key() == *key,
            GroupEvent::Deleted(_) => false,
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
        assert_eq!(ledger.verdict(&group, &account, before), None);
        ledger.member_changed(&group, &account, true, 1);
        assert_eq!(ledger.verdict(&group, &account, before), Some(true));
        assert_eq!(
            ledger.verdict(&group, &account, Instant::now() + Duration::from_secs(9)),
            Some(true)
        );
        assert_eq!(
            ledger.verdict(&group, &account, Instant::now() + Duration::from_secs(11)),
            None
        );
    }

    #[test]
    fn another_view_is_told_to_read_again_and_not_what_was_changed() {
        let ledger = Ledger::new(Duration::from_secs(10), Duration::from_secs(60));
        let (group, account) = (GroupId::new("g"), AccountId::new("a"));
        let before = Instant::now();
        ledger.member_changed(&group, &account, true, 1);
        assert!(!ledger.overlay(&group, before, 1).stale);
        assert_eq!(ledger.overlay(&group, before, 1).changes.len(), 1);
        let other = ledger.overlay(&group, before, 2);
        assert!(other.stale && other.changes.is_empty());
        assert!(!ledger.overlay(&group, Instant::now(), 2).stale);
    }
}
