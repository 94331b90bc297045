//! What must not happen by mistake: groups that are protected, and calls that would take too many out of a group.
//!
//! A group is protected by its id, or by a name of the setting: then it is Cloud's name of the group that was found
//! which counts, not the caller's spelling. An id that was once seen under a protected name stays protected for as long
//! as this process lives, so that a group cannot be freed by renaming it first.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use parking_lot::RwLock;

use super::claims::{Claim, Claims};
use super::ledger::Word;
use super::members::{Depth, Membership};
use super::plan::Item;
use super::{Directory, Error, walk};
use crate::cloud::{Group, Patience};
use crate::model::{AccountId, Context, GroupId, GroupName, NameKey, Rights, Skip};
use crate::settings::{self, PROTECTED_ID};

/// No group has more pages; one that does goes round in circles.
const MOST_PAGES: usize = 10_000;

/// The guards of one process.
#[derive(Debug)]
pub struct Guard {
    names: HashSet<NameKey>,
    /// Those of the setting, and those that were seen under a protected name.
    ids: RwLock<HashSet<GroupId>>,
    /// Removals from one protected group come one after the other: of two at once, each might leave the member whom the
    /// other takes out.
    turns: Claims<GroupId>,
    limits: Limits,
}

/// Who has to be left in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Nobody,
    TheLast,
}

/// How many members of one group one call may take out; 0: as many as there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    number: usize,
    percent: usize,
}

impl Guard {
    /// As the settings say, with nothing seen yet.
    pub fn new(settings: &settings::Extender) -> Self {
        let (ids, names): (Vec<&String>, Vec<&String>) = settings
            .protected_groups
            .iter()
            .partition(|entry| entry.starts_with(PROTECTED_ID));
        let ids = ids.into_iter().filter_map(|entry| entry.strip_prefix(PROTECTED_ID));
        Self {
            names: names.into_iter().map(|name| NameKey::of(name)).collect(),
            ids: RwLock::new(ids.map(|id| GroupId::new(id.trim())).collect()),
            turns: Claims::new(),
            limits: Limits {
                number: settings.max_removed,
                percent: settings.max_removed_percent,
            },
        }
    }

    /// Cloud showed this group under the name of this key.
    pub fn notice(&self, id: &GroupId, key: &NameKey) {
        if self.names.contains(key) && !self.ids.read().contains(id) {
            self.ids.write().insert(id.clone());
        }
    }

    /// Whether the group is protected.
    pub fn is_protected(&self, group: &Group) -> bool {
        self.notice(&group.id, &group.name.key());
        self.ids.read().contains(&group.id)
    }

    /// Why nothing in this group, nor the group itself, is changed for a caller who has these rights, whoever is in it.
    pub fn refusal(&self, group: &Group, rights: Rights) -> Option<Skip> {
        if group.externally_managed {
            Some(Skip::ExternallyManaged)
        } else {
            (!rights.may_change_protected && self.is_protected(group)).then_some(Skip::Protected)
        }
    }

    /// Why a group of so many members is not deleted for a caller who has these rights: [`Self::refusal`], and a protected
    /// group keeps its last member even where it may be changed.
    pub fn deletion_refusal(&self, group: &Group, members: usize, rights: Rights) -> Option<Skip> {
        let keeps_its_last = || (members > 0 && self.is_protected(group)).then_some(Skip::Protected);
        self.refusal(group, rights).or_else(keeps_its_last)
    }

    /// Sets apart the names under which only those with the right may make a group: others would take it for the one that
    /// is meant to be protected.
    pub fn screen_new(&self, items: &mut [Item<GroupName>], rights: Rights) {
        for item in items {
            let is_protected = |name: &GroupName| self.names.contains(&name.key());
            if !rights.may_change_protected && item.step.as_ref().is_ok_and(is_protected) {
                item.step = Err(Skip::Protected);
            }
        }
    }

    /// Sets apart the groups that are not deleted, whoever is in them, as [`Self::refusal`] says. Of the others the members
    /// must be known: [`Self::deletion_refusal`], and [`Limits::check`] with all of them as removed.
    pub fn screen_old(&self, items: &mut [Item<Group>], rights: Rights) {
        for item in items {
            if let Some(reason) = item.step.as_ref().ok().and_then(|group| self.refusal(group, rights)) {
                item.step = Err(reason);
            }
        }
    }

    /// How many members one call may take out of a group.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The turn to take members out of a protected group, once everybody who came earlier is done with it.
    pub async fn turn(&self, group: &GroupId) -> Option<Claim<GroupId>> {
        let mut claim = self.turns.claim([group.clone()]).pop()?;
        claim.turn().await;
        Some(claim)
    }
}

impl Limits {
    /// Whether `removed` members of a group of `total` may be taken out of it in one call. Deleting a group takes out all.
    ///
    /// # Errors
    /// [`Error::TooManyRemovals`].
    pub fn check(self, group: &GroupName, removed: usize, total: Option<usize>) -> Result<(), Error> {
        // Members who are suspended may be missing from Cloud's total.
        let total = total.map(|total| total.max(removed));
        let excess = |setting, limit| Error::TooManyRemovals {
            group: group.clone(),
            removed,
            total,
            setting,
            limit,
        };
        if self.number > 0 && removed > self.number {
            return Err(excess("extender.max_removed", self.number));
        }
        match total {
            Some(total) if self.percent > 0 && removed as u128 * 100 > total as u128 * self.percent as u128 => {
                Err(excess("extender.max_removed_percent", self.percent))
            }
            _ => Ok(()),
        }
    }

    /// Whether it matters how many are taken out, and of how many.
    fn are_set(self) -> bool {
        self.number > 0 || self.percent > 0
    }

    /// Whether only the number of all members tells if some may be taken out.
    fn asks_for_total(self) -> bool {
        (1..100).contains(&self.percent)
    }
}

/// Leaves somebody in a group: if each of its `members` is to be taken out, the last of them, in the order of the
/// request, stays.
pub fn spare_last(items: &mut [Item<AccountId>], members: &HashSet<AccountId>) {
    let leaving: HashSet<&AccountId> = items.iter().filter_map(|item| item.step.as_ref().ok()).collect();
    if members.iter().any(|member| !leaving.contains(member)) {
        return;
    }
    let is_member = |item: &&mut Item<AccountId>| item.step.as_ref().is_ok_and(|account| members.contains(account));
    if let Some(last) = items.iter_mut().rev().find(is_member) {
        last.step = Err(Skip::Protected);
    }
}

impl Directory {
    /// What a removal may take out of a group: of a protected one, not its last member (whoever makes the removal has the
    /// turn to do so); and no more at once than the settings allow.
    ///
    /// Calls: for a protected group its first page, and further ones while they show nobody who stays; for
    /// `max_removed_percent`, one where the membership did not tell how many there are, or all pages where Cloud tells no
    /// total.
    ///
    /// # Errors
    /// [`Error::TooManyRemovals`], or Cloud cannot be asked.
    pub(super) async fn guard_removal(
        &self,
        group: &Group,
        items: &mut [Item<AccountId>],
        membership: &Membership,
        keep: Keep,
        context: &Context,
    ) -> Result<(), Error> {
        let ledger = &self.process.ledger;
        let is_member = |account: &AccountId| match ledger.word(&group.id, account, membership.read) {
            Word::Settled(present) => present,
            Word::Nothing => membership.present.contains(account),
            // It may have to be taken out, so it counts.
            Word::Doubtful(_) => true,
        };
        let leaving = |items: &[Item<AccountId>]| -> HashSet<AccountId> {
            let steps = items.iter().filter_map(|item| item.step.as_ref().ok());
            steps.filter(|account| is_member(account)).cloned().collect()
        };
        let mut removed = leaving(items);
        if removed.is_empty() {
            return Ok(());
        }
        if keep == Keep::TheLast {
            let shown = self.shown_unless_somebody_stays(group, &removed, context).await?;
            match shown {
                // Nobody whom Cloud shows is left to look after the group, or all who are in it are suspended.
                Some(shown) if shown.is_empty() => spare_last(items, &removed),
                Some(shown) => spare_last(items, &shown),
                None => {}
            }
            removed = leaving(items);
        }
        let limits = self.process.guard.limits();
        let mut total = if limits.are_set() {
            self.members.total_by(&group.id, membership)
        } else {
            None
        };
        if total.is_none() && limits.asks_for_total() {
            total = self.members.total(&group.id, context).await?;
        }
        if total.is_none() && limits.asks_for_total() {
            let roster = self.members.roster(&group.id, Depth::Pages, None, context).await?;
            total = roster.map(|roster| roster.ids.len());
        }
        limits.check(&group.name, removed.len(), total)
    }

    /// Whom Cloud shows in the group, past all caches; `None` as soon as it shows somebody who is not `leaving`.
    async fn shown_unless_somebody_stays(
        &self,
        group: &Group,
        leaving: &HashSet<AccountId>,
        context: &Context,
    ) -> Result<Option<HashSet<AccountId>>, Error> {
        let patience = Patience::Until(context.read_deadline);
        let own: HashMap<AccountId, bool> = self
            .process
            .ledger
            .overlay(&group.id, Instant::now(), self.view)
            .changes;
        let mut shown: HashSet<AccountId> = own
            .iter()
            .filter(|(_, present)| **present)
            .map(|(account, _)| account.clone())
            .collect();
        let (mut start, mut seen) = (0, HashSet::new());
        for _ in 0..MOST_PAGES {
            if shown.iter().any(|account| !leaving.contains(account)) {
                return Ok(None);
            }
            let page = self.cloud.members(&group.id, start, &context.request, patience).await?;
            let Some(page) = page else { break };
            let rows = page.members.iter().map(|row| &row.account);
            shown.extend(rows.filter(|account| own.get(*account) != Some(&false)).cloned());
            let ended = walk::ends_at(&page, start);
            let (before, limit) = (seen.len(), page.limit);
            seen.extend(page.members.iter().map(|row| row.account.clone()));
            // A page that shows nobody new is no proof that somebody stays.
            if ended || seen.len() == before {
                break;
            }
            start += limit;
        }
        let somebody_stays = shown.iter().any(|account| !leaving.contains(account));
        Ok((!somebody_stays).then_some(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn guard(protected: &[&str], number: usize, percent: usize) -> Guard {
        let mut settings = Settings::defaults().extender;
        settings.protected_groups = protected.iter().map(|entry| (*entry).to_owned()).collect();
        settings.max_removed = number;
        settings.max_removed_percent = percent;
        Guard::new(&settings)
    }

    fn group(id: &str, name: &str) -> Group {
        Group {
            id: GroupId::new(id),
            name: GroupName::new(name),
            externally_managed: false,
            team: false,
        }
    }

    fn may() -> Rights {
        Rights {
            may_change_protected: true,
            ..Rights::default()
        }
    }

    fn items(accounts: &[&str]) -> Vec<Item<AccountId>> {
        let item = |account: &&str| Item {
            name: (*account).to_owned(),
            step: if account.starts_with('!') {
                Err(Skip::Unknown)
            } else {
                Ok(AccountId::new(account))
            },
        };
        accounts.iter().map(item).collect()
    }

    fn spared(asked: &[&str], members: &[&str]) -> Vec<String> {
        let mut items = items(asked);
        spare_last(&mut items, &members.iter().map(|id| AccountId::new(id)).collect());
        let spared = items.into_iter().filter(|item| item.step == Err(Skip::Protected));
        spared.map(|item| item.name).collect()
    }

    #[test]
    fn a_group_is_protected_by_clouds_name_whatever_its_case_or_by_its_id() {
        let guard = guard(&["Site-Admins", "id:42"], 0, 0);
        assert!(guard.is_protected(&group("1", "SITE-ADMINS")));
        assert!(guard.is_protected(&group("42", "anything")));
        for other in [
            group("2", "site-admins-2"),
            group("id:42", "x"),
            group("3", "id:42"),
            group("4", "42"),
        ] {
            assert!(!guard.is_protected(&other), "{other:?}");
        }
    }

    #[test]
    fn a_group_stays_protected_under_another_name() {
        let guard = guard(&["site-admins"], 0, 0);
        assert!(!guard.is_protected(&group("1", "harmless")));
        guard.notice(&GroupId::new("1"), &NameKey::of("site-admins"));
        assert!(guard.is_protected(&group("1", "harmless")));
        // Another group that has the name now is protected as well.
        assert!(guard.is_protected(&group("2", "site-admins")));
    }

    #[test]
    fn the_right_opens_a_protected_group_but_not_one_that_is_managed_elsewhere() {
        let guard = guard(&["admins"], 0, 0);
        let protected = group("1", "admins");
        assert_eq!(guard.refusal(&protected, Rights::default()), Some(Skip::Protected));
        assert_eq!(guard.refusal(&protected, may()), None);
        assert_eq!(guard.refusal(&group("2", "team"), Rights::default()), None);
        let elsewhere = Group {
            externally_managed: true,
            ..protected
        };
        assert_eq!(guard.refusal(&elsewhere, may()), Some(Skip::ExternallyManaged));
    }

    #[test]
    fn a_protected_group_is_deleted_only_by_who_may_and_only_when_it_is_empty() {
        let guard = guard(&["admins"], 0, 0);
        let refusal = |name, members, rights| guard.deletion_refusal(&group(name, name), members, rights);
        assert_eq!(refusal("admins", 0, Rights::default()), Some(Skip::Protected));
        assert_eq!(refusal("admins", 1, may()), Some(Skip::Protected));
        assert_eq!(refusal("admins", 0, may()), None);
        assert_eq!(refusal("team", 1, Rights::default()), None);
    }

    #[test]
    fn nobody_makes_a_group_under_a_protected_name_without_the_right() {
        let guard = guard(&["admins"], 0, 0);
        let steps = |rights| {
            let asked = ["team", "ADMINS", "twice"];
            let mut items: Vec<Item<GroupName>> = asked
                .iter()
                .map(|name| Item {
                    name: (*name).to_owned(),
                    step: Ok(GroupName::new(name)),
                })
                .collect();
            items[2].step = Err(Skip::Duplicate);
            guard.screen_new(&mut items, rights);
            items.iter().map(|item| item.step.clone().err()).collect::<Vec<_>>()
        };
        let duplicate = Some(Skip::Duplicate);
        assert_eq!(steps(Rights::default()), [None, Some(Skip::Protected), duplicate]);
        assert_eq!(steps(may()), [None, None, duplicate]);
    }

    #[test]
    fn the_last_member_in_the_order_of_the_request_stays() {
        assert_eq!(spared(&["a", "b", "c"], &["a", "b", "c"]), ["c"]);
        assert_eq!(spared(&["c", "b", "a"], &["a", "b", "c"]), ["a"]);
        // Those who are no members, or unknown, leave nobody behind.
        assert_eq!(spared(&["a", "b", "x", "!y"], &["a", "b"]), ["b"]);
        assert_eq!(spared(&["a"], &["a"]), ["a"]);
        let nobody: [&str; 0] = [];
        assert_eq!(spared(&["a", "b"], &["a", "b", "c"]), nobody);
        assert_eq!(spared(&["a", "b"], &[]), nobody);
        assert_eq!(spared(&[], &["a"]), nobody);
    }

    #[test]
    fn limits_of_zero_are_none_and_others_are_the_most_that_is_allowed() {
        let check = |number, percent, removed, total| {
            let checked = Limits { number, percent }.check(&GroupName::new("g"), removed, total);
            match checked {
                Ok(()) => None,
                Err(Error::TooManyRemovals { setting, limit, .. }) => Some((setting, limit)),
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(check(0, 0, 1_000_000, Some(1)), None);
        assert_eq!(check(10, 0, 10, None), None);
        assert_eq!(check(10, 0, 11, None), Some(("extender.max_removed", 10)));
        assert_eq!(check(0, 20, 2, Some(10)), None);
        assert_eq!(check(0, 20, 3, Some(10)), Some(("extender.max_removed_percent", 20)));
        assert_eq!(check(0, 99, 1, Some(1)), Some(("extender.max_removed_percent", 99)));
        assert_eq!(check(0, 100, 5, Some(3)), None);
        assert_eq!(check(0, 1, 0, Some(0)), None);
        assert_eq!(check(0, 50, 3, Some(1)).map(|(_, limit)| limit), Some(50));
    }

    #[tokio::test]
    async fn removals_from_one_group_have_turns_and_those_from_another_do_not_wait() {
        let guard = guard(&["admins"], 0, 0);
        let first = guard.turn(&GroupId::new("1")).await;
        assert!(guard.turn(&GroupId::new("2")).await.is_some());
        let (one, waiting) = (GroupId::new("1"), std::sync::atomic::AtomicBool::new(true));
        let second = async {
            let turn = guard.turn(&one).await;
            assert!(turn.is_some() && !waiting.load(std::sync::atomic::Ordering::Relaxed));
        };
        let release = async {
            tokio::task::yield_now().await;
            waiting.store(false, std::sync::atomic::Ordering::Relaxed);
            drop(first);
        };
        tokio::join!(second, release);
    }
}
