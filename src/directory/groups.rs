//! Group names to groups, and the list of all groups.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;

use super::ledger::{Ledger, View};
use super::members::{forget, joined};
use super::{Error, walk};
use crate::cloud::{Confluence, Group, Operation, Patience};
use crate::metrics::Metrics;
use crate::model::{Context, GroupName};
use crate::settings;

/// Up to so many names are looked up one by one without asking how long the list of all groups is.
const FEW: usize = 3;

/// How often the list is read when a deletion of ours falls into the reading.
const MOST_READINGS: u32 = 3;

/// Groups that were read, in Cloud's order.
#[derive(Debug)]
pub struct List {
    read: Instant,
    end: Instant,
    groups: Vec<Group>,
}

/// What a group's name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This group.
    One(Group),
    /// No exact match, and several that match ignoring case.
    Ambiguous(Vec<GroupName>),
    /// No group.
    Nothing,
}

#[derive(Debug)]
pub struct Groups {
    /// What a look-up of one name read: every group whose name equals it ignoring case.
    by_name: Cache<GroupName, Arc<List>>,
    list: Cache<(), Arc<List>>,
    life: Duration,
    write_life: Duration,
    negative_life: Duration,
    show_teams: bool,
    metrics: Metrics,
}

struct Lives {
    positive: Duration,
    negative: Duration,
}

impl moka::Expiry<GroupName, Arc<List>> for Lives {
    fn expire_after_create(&self, _: &GroupName, list: &Arc<List>, _: Instant) -> Option<Duration> {
        Some(if list.groups.is_empty() {
            self.negative
        } else {
            self.positive
        })
    }

    fn expire_after_update(
        &self,
        name: &GroupName,
        list: &Arc<List>,
        at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(name, list, at)
    }
}

/// What a name is looked up for: a change wants younger knowledge than a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Read,
    Write,
}

impl Groups {
    pub fn new(settings: &settings::Cache, show_teams: bool, metrics: Metrics) -> Self {
        let life = settings::seconds(settings.groups_ttl_s);
        let lives = Lives {
            positive: life,
            negative: settings::seconds(settings.negative_ttl_s),
        };
        Self {
            by_name: Cache::builder()
                .max_capacity(settings.max_groups)
                .expire_after(lives)
                .build(),
            list: Cache::builder().max_capacity(1).time_to_live(life).build(),
            life,
            write_life: settings::seconds(settings.group_id_write_ttl_s).min(life),
            negative_life: settings::seconds(settings.negative_ttl_s),
            show_teams,
            metrics,
        }
    }

    /// All groups that are shown. Calls: ⌈groups ÷ 200⌉ when cold (one more where the last page is full), else none.
    pub async fn list(
        &self,
        cloud: &Confluence,
        ledger: &Ledger,
        view: View,
        context: &Context,
    ) -> Result<Vec<Group>, Error> {
        if let Some(list) = self.fresh_list(self.life, ledger, view).await {
            self.metrics.looked_up("groups", "hit");
            return Ok(self.current(&list, ledger, view));
        }
        self.metrics.looked_up("groups", "miss");
        let mut tries = 1;
        loop {
            let (cache, cloud, context) = (self.list.clone(), cloud.clone(), context.clone());
            // On a task of its own: a caller who hangs up must not cut short what others wait for.
            let load = tokio::spawn(async move {
                let read = async { Ok::<_, Error>(Arc::new(read_list(&cloud, usize::MAX, &context).await?.0)) };
                cache.try_get_with((), read).await
            });
            let list = joined(load.await)?.map_err(|e| (*e).clone())?;
            let torn = ledger.group_overlay(list.read, list.end, view).torn;
            if !torn || tries == MOST_READINGS {
                return Ok(self.current(&list, ledger, view));
            }
            forget(&self.list, &(), &list).await;
            tries += 1;
        }
    }

    async fn fresh_list(&self, life: Duration, ledger: &Ledger, view: View) -> Option<Arc<List>> {
        let list = self.list.get(&()).await?;
        let overlay = ledger.group_overlay(list.read, list.end, view);
        let outdated = overlay.stale || overlay.torn;
        if list.read.elapsed() <= life && !outdated {
            return Some(list);
        }
        if list.read.elapsed() > self.life || outdated {
            forget(&self.list, &(), &list).await;
        }
        None
    }

    /// A list with our own changes laid over it, and without teams unless they are shown.
    fn current(&self, list: &List, ledger: &Ledger, view: View) -> Vec<Group> {
        let overlay = ledger.group_overlay(list.read, list.end, view);
        let mut groups: Vec<Group> = list
            .groups
            .iter()
            .filter(|group| (self.show_teams || !group.team) && !overlay.deleted.contains(&group.id))
            .cloned()
            .collect();
        for group in overlay.created.into_iter().filter_map(|(_, group)| group) {
            if !groups.iter().any(|known| known.id == group.id) {
                groups.push(group);
            }
        }
        groups
    }

    /// What one name means. Calls: none where it is known, else one (more where hundreds of names contain it).
    pub async fn find(
        &self,
        name: &GroupName,
        purpose: Purpose,
        cloud: &Confluence,
        ledger: &Ledger,
        view: View,
        context: &Context,
    ) -> Result<Found, Error> {
        if !name.is_possible() {
            return Ok(Found::Nothing);
        }
        let life = match purpose {
            Purpose::Read => self.life,
            Purpose::Write => self.write_life,
        };
        if let Some(list) = self.fresh_list(life, ledger, view).await {
            let found = judge(name, self.current(&list, ledger, view));
            // That a group is not there is believed for a shorter time than that it is.
            if found != Found::Nothing || list.read.elapsed() <= self.negative_life {
                self.metrics.looked_up("group", "hit");
                return Ok(found);
            }
        }
        if let Some(known) = self.by_name.get(name).await {
            let overlay = ledger.group_overlay(known.read, known.end, view);
            // What was found is gone, or nothing was found and something may be there now: look again.
            let outdated = overlay.stale || known.groups.iter().any(|group| overlay.deleted.contains(&group.id));
            if known.read.elapsed() <= life && !outdated {
                self.metrics.looked_up("group", "hit");
                return Ok(judge(name, self.current(&known, ledger, view)));
            }
            forget(&self.by_name, name, &known).await;
        }
        self.metrics.looked_up("group", "miss");
        loop {
            let found = self.look_up(name, cloud, ledger, view, context).await?;
            // We made it moments ago and Cloud's reads do not show it yet: it is there, only not to be seen.
            let lags = found == Found::Nothing && ledger.was_just_created(&name.key());
            if !lags || Instant::now() + Duration::from_secs(1) > context.read_deadline {
                return Ok(found);
            }
            self.by_name.invalidate(name).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn look_up(
        &self,
        name: &GroupName,
        cloud: &Confluence,
        ledger: &Ledger,
        view: View,
        context: &Context,
    ) -> Result<Found, Error> {
        let (cache, name_, cloud, context) = (self.by_name.clone(), name.clone(), cloud.clone(), context.clone());
        let show_teams = self.show_teams;
        let load = tokio::spawn(async move {
            let read = async { Ok::<_, Error>(Arc::new(look_up(&name_, show_teams, &cloud, &context).await?)) };
            cache.try_get_with(name_.clone(), read).await
        });
        let list = joined(load.await)?.map_err(|e| (*e).clone())?;
        Ok(judge(name, self.current(&list, ledger, view)))
    }

    /// What each of several names means, by one look-up each or by the list of all groups, whichever is less as far
    /// as anybody can know beforehand: the list is read for as many pages as there are names, then given up.
    pub async fn find_all(
        &self,
        names: &[GroupName],
        cloud: &Confluence,
        ledger: &Ledger,
        view: View,
        context: &Context,
    ) -> Result<Vec<Found>, Error> {
        if names.len() > FEW && self.fresh_list(self.write_life, ledger, view).await.is_none() {
            let (list, whole) = read_list(cloud, names.len(), context).await?;
            if whole {
                self.list.insert((), Arc::new(list)).await;
            }
        }
        let finds = names
            .iter()
            .map(|name| self.find(name, Purpose::Write, cloud, ledger, view, context));
        futures_util::future::try_join_all(finds).await
    }

    /// Looks this name up again when it is next asked for.
    pub async fn forget(&self, name: &GroupName) {
        self.by_name.invalidate(name).await;
        self.list.invalidate(&()).await;
    }

    /// The group that bears this name after we, or somebody, created it; looks past all caches.
    pub async fn find_now(
        &self,
        name: &GroupName,
        cloud: &Confluence,
        context: &Context,
    ) -> Result<Option<Group>, Error> {
        let list = look_up(name, true, cloud, context).await?;
        Ok(list.groups.into_iter().next())
    }
}

/// An exact match, else the one that matches ignoring case.
fn judge(name: &GroupName, groups: Vec<Group>) -> Found {
    let key = name.key();
    let mut alike: Vec<Group> = groups.into_iter().filter(|group| group.name.key() == key).collect();
    if let Some(exact) = alike.iter().position(|group| group.name == *name) {
        return Found::One(alike.swap_remove(exact));
    }
    match alike.len() {
        0 => Found::Nothing,
        1 => Found::One(alike.swap_remove(0)),
        _ => Found::Ambiguous(alike.into_iter().map(|group| group.name).collect()),
    }
}

async fn read_list(cloud: &Confluence, most_pages: usize, context: &Context) -> Result<(List, bool), Error> {
    let read = Instant::now();
    let patience = Patience::Until(context.read_deadline);
    let page = |start| cloud.list_groups(start, &context.request, patience);
    let (groups, whole) = walk::groups(Operation::ListGroups, page, |_, pages| pages >= most_pages).await?;
    let end = Instant::now();
    Ok((List { read, end, groups }, whole))
}

/// Every group whose name equals `name` ignoring case; only the exact one where it was seen first.
async fn look_up(name: &GroupName, show_teams: bool, cloud: &Confluence, context: &Context) -> Result<List, Error> {
    let read = Instant::now();
    let patience = Patience::Until(context.read_deadline);
    let page = |start| cloud.find_groups(name, start, &context.request, patience);
    let exact = |groups: &[Group], _| {
        groups
            .iter()
            .any(|group| group.name == *name && (show_teams || !group.team))
    };
    let (mut groups, _) = walk::groups(Operation::FindGroups, page, exact).await?;
    let key = name.key();
    groups.retain(|group| group.name.key() == key);
    let end = Instant::now();
    Ok(List { read, end, groups })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupId;

    fn group(name: &str) -> Group {
        Group {
            id: GroupId::new(name),
            name: GroupName::new(name),
            externally_managed: false,
            team: false,
        }
    }

    #[test]
    fn an_exact_match_wins_and_two_that_differ_in_case_are_ambiguous() {
        let groups = || vec![group("Dev"), group("dev"), group("Ops")];
        assert_eq!(judge(&GroupName::new("dev"), groups()), Found::One(group("dev")));
        assert_eq!(judge(&GroupName::new("OPS"), groups()), Found::One(group("Ops")));
        assert_eq!(judge(&GroupName::new("nobody"), groups()), Found::Nothing);
        let Found::Ambiguous(spellings) = judge(&GroupName::new("DEV"), groups()) else {
            panic!("not ambiguous")
        };
        assert_eq!(spellings, [GroupName::new("Dev"), GroupName::new("dev")]);
    }
}
