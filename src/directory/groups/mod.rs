//! Group names to groups, and the list of all groups; `kept` is what is still known of both when Cloud cannot be asked.

mod kept;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use moka::future::Cache;

use super::ledger::{Ledger, View};
use super::members::{LONGEST_LIFE, forget, joined};
use super::{Error, walk};
use crate::cloud::{Admin, Confluence, GROUPS, Group, Operation, PAGE, Patience};
use crate::metrics::Metrics;
use crate::model::{Context, GroupId, GroupName, Listing, NameKey, RequestId};
use crate::settings;

/// Up to so many names are looked up one by one without asking how long the list of all groups is.
const FEW: usize = 3;

/// How often the list is read while we make or delete groups, before it is given up for now.
const MOST_READINGS: usize = 4;

/// Groups that were read, in Cloud's order.
#[derive(Debug)]
pub struct List {
    read: Instant,
    /// How long the reading took.
    took: Duration,
    /// Whether it was read to its end: else there may be more groups of the same name in another case.
    is_whole: bool,
    groups: Vec<Group>,
    by_key: HashMap<NameKey, Vec<usize>>,
    /// As it was told last, and with which changes of ours.
    told: ArcSwapOption<(u64, Arc<Listing<GroupName>>)>,
}

impl List {
    /// Groups whose reading, begun at `read`, has ended now.
    fn new(read: Instant, groups: Vec<Group>) -> Self {
        let took = read.elapsed();
        let mut by_key: HashMap<NameKey, Vec<usize>> = HashMap::with_capacity(groups.len());
        for (index, group) in groups.iter().enumerate() {
            by_key.entry(group.name.key()).or_default().push(index);
        }
        Self {
            read,
            took,
            is_whole: true,
            groups,
            by_key,
            told: ArcSwapOption::empty(),
        }
    }

    /// The groups whose name is this one, ignoring case.
    fn alike(&self, key: &NameKey) -> impl Iterator<Item = &Group> {
        self.by_key
            .get(key)
            .into_iter()
            .flatten()
            .filter_map(|index| self.groups.get(*index))
    }
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
    admin: Option<Admin>,
    /// What a look-up of one name read: every group whose name equals it ignoring case.
    by_name: Cache<GroupName, Arc<List>>,
    list: Cache<(), Arc<List>>,
    /// The last list, for as long as no new one can be read.
    last: Cache<(), Arc<List>>,
    /// The same for look-ups of names; empty unless old answers may be told at all.
    last_names: Cache<NameKey, Arc<List>>,
    life: Duration,
    /// How old a list may be that serves while our own changes keep a new one from being read, and how old while Cloud
    /// cannot be asked.
    moving_life: Duration,
    stale_life: Duration,
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
    pub fn new(settings: &settings::Cache, show_teams: bool, admin: Option<Admin>, metrics: Metrics) -> Self {
        let life = settings::seconds(settings.groups_ttl_s);
        let (moving_life, stale_life) = (life.max(LONGEST_LIFE), settings::seconds(settings.stale_if_error_s));
        let kept_names = if stale_life.is_zero() { 0 } else { settings.max_groups };
        let lives = Lives {
            positive: life,
            negative: settings::seconds(settings.negative_ttl_s),
        };
        Self {
            admin,
            by_name: Cache::builder()
                .max_capacity(settings.max_groups)
                .expire_after(lives)
                .build(),
            list: Cache::builder().max_capacity(1).time_to_live(life).build(),
            last: Cache::builder()
                .max_capacity(1)
                .time_to_live(moving_life.max(stale_life))
                .build(),
            last_names: Cache::builder()
                .max_capacity(kept_names)
                .time_to_live(stale_life)
                .build(),
            life,
            moving_life,
            stale_life,
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
        ledger: &Arc<Ledger>,
        view: View,
        context: &Context,
    ) -> Result<Arc<List>, Error> {
        if let Some(list) = self.fresh_list(self.life, ledger, view).await {
            self.metrics.looked_up("groups", "hit");
            return Ok(list);
        }
        self.metrics.looked_up("groups", "miss");
        let (cache, last) = (self.list.clone(), self.last.clone());
        let (cloud, ledger_, context) = (cloud.clone(), Arc::clone(ledger), context.clone());
        // On a task of its own: a caller who hangs up must not cut short what others wait for.
        let load = tokio::spawn(async move {
            let read = async {
                let list = Arc::new(read_whole(&cloud, &ledger_, &context).await?.ok_or(Unread::Torn)?);
                last.insert((), Arc::clone(&list)).await;
                Ok(list)
            };
            cache.try_get_with((), read).await
        });
        match joined(load.await)? {
            Ok(list) => Ok(list),
            Err(unread) => match (&*unread, self.last.get(&()).await) {
                (Unread::Failed(error), _) => Err(error.clone()),
                (Unread::Torn, Some(last))
                    if last.read.elapsed() <= self.moving_life && !ledger.groups_are_stale(last.read, view) =>
                {
                    Ok(last)
                }
                (Unread::Torn, _) => Err(Error::Unavailable {
                    retry_after: Duration::from_secs(5),
                    cause: "groups are being made or deleted while they are read, so no complete list can be told"
                        .to_owned(),
                }),
            },
        }
    }

    async fn fresh_list(&self, life: Duration, ledger: &Ledger, view: View) -> Option<Arc<List>> {
        let list = self.list.get(&()).await?;
        let stale = ledger.groups_are_stale(list.read, view);
        if list.read.elapsed() <= life && !stale {
            return Some(list);
        }
        if list.read.elapsed() > self.life || stale {
            forget(&self.list, &(), &list).await;
        }
        None
    }

    /// The names on a list with our own changes laid over it, sorted ignoring case. `notice` is told of every group when they
    /// are put together, which is once as long as neither changes.
    pub fn names(
        &self,
        list: &List,
        ledger: &Ledger,
        view: View,
        notice: impl Fn(&GroupId, &NameKey),
    ) -> Arc<Listing<GroupName>> {
        // Before the changes are read: one that comes meanwhile makes it older than it is.
        let version = ledger.version_of_groups();
        if let Some(told) = list.told.load().as_deref().filter(|told| told.0 == version) {
            return Arc::clone(&told.1);
        }
        let mut names: Vec<(NameKey, GroupName)> = self
            .current(list, ledger, view)
            .into_iter()
            .map(|group| {
                let key = group.name.key();
                notice(&group.id, &key);
                (key, group.name)
            })
            .collect();
        names.sort();
        let names: Vec<GroupName> = names.into_iter().map(|(_, name)| name).collect();
        let names = Arc::new(Listing::from(names));
        list.told.store(Some(Arc::new((version, Arc::clone(&names)))));
        names
    }

    /// A list with our own changes laid over it, and without teams unless they are shown.
    fn current(&self, list: &List, ledger: &Ledger, view: View) -> Vec<Group> {
        let known: HashSet<&GroupId> = list.groups.iter().map(|group| &group.id).collect();
        let mut created = ledger.created_since(list.read, None, view);
        created.retain(|group| !known.contains(&group.id));
        let shown = list.groups.iter().filter(|group| self.show_teams || !group.team);
        let mut groups: Vec<Group> = shown.cloned().chain(created).collect();
        ledger.without_deleted(&mut groups);
        groups
    }

    /// The same for the groups whose name is this one, ignoring case.
    fn alike(&self, list: &List, name: &GroupName, ledger: &Ledger, view: View) -> Vec<Group> {
        let key = name.key();
        let shown = list.alike(&key).filter(|group| self.show_teams || !group.team);
        let mut groups: Vec<Group> = shown.cloned().collect();
        for group in ledger.created_since(list.read, Some(&key), view) {
            if !groups.iter().any(|known| known.id == group.id) {
                groups.push(group);
            }
        }
        ledger.without_deleted(&mut groups);
        groups
    }

    /// What one name means. Calls: none where it is known, else one (more where hundreds of names contain it).
    pub async fn find(
        &self,
        name: &GroupName,
        purpose: Purpose,
        cloud: &Confluence,
        ledger: &Arc<Ledger>,
        view: View,
        context: &Context,
    ) -> Result<Found, Error> {
        if !name.is_possible() {
            return Ok(Found::Nothing);
        }
        if purpose == Purpose::Write {
            settled(std::slice::from_ref(name), ledger, context).await?;
        }
        let life = match purpose {
            Purpose::Read => self.life,
            Purpose::Write => self.write_life,
        };
        if let Some(list) = self.fresh_list(life, ledger, view).await {
            let found = judge(name, self.alike(&list, name, ledger, view));
            // That a group is not there is believed for a shorter time than that it is, and never of a list that was
            // read while we moved its rows.
            let believed = || {
                let lay_still = list.groups.len() <= PAGE || ledger.moved_groups(list.read).is_none();
                list.read.elapsed() <= self.negative_life && lay_still && !ledger.was_just_created(&name.key())
            };
            if found != Found::Nothing || believed() {
                self.metrics.looked_up("group", "hit");
                return Ok(found);
            }
        }
        if let Some(known) = self.by_name.get(name).await {
            let mut left = known.groups.clone();
            ledger.without_deleted(&mut left);
            // What was found is gone, or nothing was found and something may be there now: look again.
            let outdated = ledger.groups_are_stale(known.read, view) || left.len() < known.groups.len();
            if known.read.elapsed() <= life && !outdated {
                self.metrics.looked_up("group", "hit");
                return Ok(judge(name, self.alike(&known, name, ledger, view)));
            }
            forget(&self.by_name, name, &known).await;
        }
        self.metrics.looked_up("group", "miss");
        loop {
            let found = self.look_up(name, cloud, ledger, view, context).await?;
            // We made it moments ago and Cloud's reads do not show it yet: it is there, only not to be seen.
            let lags = found == Found::Nothing && ledger.was_just_created(&name.key());
            if !lags {
                return Ok(found);
            }
            if Instant::now() + Duration::from_secs(1) > context.read_deadline {
                return Err(unseen(name));
            }
            self.by_name.invalidate(name).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn look_up(
        &self,
        name: &GroupName,
        cloud: &Confluence,
        ledger: &Arc<Ledger>,
        view: View,
        context: &Context,
    ) -> Result<Found, Error> {
        let (cache, name_, cloud, context) = (self.by_name.clone(), name.clone(), cloud.clone(), context.clone());
        let (show_teams, last) = (self.show_teams, self.last_names.clone());
        let load = tokio::spawn(async move {
            let read = async {
                let patience = Patience::Until(context.read_deadline);
                let list = Arc::new(look_up(&name_, show_teams, &cloud, &context.request, patience).await?);
                // Also that there is none: an older answer must not be told after that.
                last.insert(name_.key(), Arc::clone(&list)).await;
                Ok::<_, Error>(list)
            };
            cache.try_get_with(name_.clone(), read).await
        });
        let list = joined(load.await)?.map_err(|e| (*e).clone())?;
        if list.groups.is_empty() {
            self.forget_list_with(name).await;
        }
        Ok(judge(name, self.alike(&list, name, ledger, view)))
    }

    /// What each of several names means: with an organisation's key 100 a call; else by one look-up each or by the list
    /// of all groups, whichever is less as far as anybody can know beforehand: the list is read for as many pages as
    /// there are names, then given up.
    pub async fn find_all(
        &self,
        names: &[GroupName],
        cloud: &Confluence,
        ledger: &Arc<Ledger>,
        view: View,
        context: &Context,
    ) -> Result<Vec<Found>, Error> {
        settled(names, ledger, context).await?;
        let has_list = self.fresh_list(self.write_life, ledger, view).await.is_some();
        let mut open = names.len();
        if let Some(admin) = self.admin.as_ref().filter(|_| names.len() > 1 && !has_list) {
            open = self.find_in_organisation(names, admin, ledger, view, context).await?;
        }
        if open > FEW && !has_list {
            let (list, whole) = read_list(cloud, open, context).await?;
            if whole && (list.groups.len() <= PAGE || ledger.moved_groups(list.read).is_none()) {
                self.list.insert((), Arc::new(list)).await;
            }
        }
        let finds = names
            .iter()
            .map(|name| self.find(name, Purpose::Write, cloud, ledger, view, context));
        futures_util::future::try_join_all(finds).await
    }

    /// Looks the names up that are not known, 100 a call, for [`Self::find`] to meet them. Returns how many it did not
    /// find: the organisation's key may not see every group, so only Confluence says that there is none.
    async fn find_in_organisation(
        &self,
        names: &[GroupName],
        admin: &Admin,
        ledger: &Ledger,
        view: View,
        context: &Context,
    ) -> Result<usize, Error> {
        let (mut open, mut left) = (Vec::new(), 0);
        for name in names {
            let known = self.by_name.get(name).await;
            let is_fresh =
                |list: &Arc<List>| list.read.elapsed() <= self.write_life && !ledger.groups_are_stale(list.read, view);
            if known.as_ref().is_some_and(is_fresh) {
                continue;
            }
            // How it compares other letters is not said anywhere.
            if name.as_str().is_ascii() {
                open.push(name.clone());
            } else {
                left += 1;
            }
        }
        let read = Instant::now();
        let patience = Patience::Until(context.read_deadline);
        let chunks = open
            .chunks(GROUPS)
            .map(|names| admin.groups_named(names, &context.request, patience));
        let found = futures_util::future::try_join_all(chunks).await?;
        let list = List::new(read, found.into_iter().flatten().map(|found| found.group).collect());
        for name in open {
            let alike: Vec<Group> = list.alike(&name.key()).cloned().collect();
            // The organisation does not say which groups are teams; those that may be one are left to Confluence.
            if alike.is_empty() || alike.iter().any(|group| group.team) {
                left += 1;
            } else {
                self.by_name.insert(name, Arc::new(List::new(read, alike))).await;
            }
        }
        Ok(left)
    }

    /// Looks this name up again when it is next asked for: what was read of it is no longer so.
    pub async fn forget(&self, name: &GroupName) {
        self.by_name.invalidate(name).await;
        self.last_names.invalidate(&name.key()).await;
        self.list.invalidate(&()).await;
        self.last.invalidate(&()).await;
    }

    /// The group that bears this name after we, or somebody, created it; looks past all caches.
    pub async fn find_now(
        &self,
        name: &GroupName,
        cloud: &Confluence,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<Option<Group>, Error> {
        let list = look_up(name, true, cloud, request, patience).await?;
        Ok(list.groups.into_iter().next())
    }
}

/// Why there is no list.
enum Unread {
    /// Our own changes moved rows from page to page in every reading.
    Torn,
    Failed(Error),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Of the groups whose name equals this one ignoring case: an exact match, else the only one.
fn judge(name: &GroupName, mut alike: Vec<Group>) -> Found {
    if let Some(exact) = alike.iter().position(|group| group.name == *name) {
        return Found::One(alike.swap_remove(exact));
    }
    match alike.len() {
        0 => Found::Nothing,
        1 => Found::One(alike.swap_remove(0)),
        _ => Found::Ambiguous(alike.into_iter().map(|group| group.name).collect()),
    }
}

/// Waits until Cloud's reads tell for certain what became of groups of these names that a change of ours left in doubt.
async fn settled(names: &[GroupName], ledger: &Ledger, context: &Context) -> Result<(), Error> {
    let doubts = names
        .iter()
        .filter_map(|name| Some((ledger.is_doubted_until(&name.key())?, name)));
    match doubts.max_by_key(|(until, _)| *until) {
        Some((until, name)) if until > context.read_deadline => Err(unseen(name)),
        Some((until, _)) => {
            tokio::time::sleep_until(until.into()).await;
            Ok(())
        }
        None => Ok(()),
    }
}

/// A change of ours may not be shown yet, and there is no time left to wait for it.
fn unseen(name: &GroupName) -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(5),
        cause: format!("whether there is a group {name} is not to be read yet: a change of it was made moments ago"),
    }
}

async fn read_list(cloud: &Confluence, most_pages: usize, context: &Context) -> Result<(List, bool), Error> {
    let read = Instant::now();
    let patience = Patience::Until(context.read_deadline);
    let page = |start| cloud.list_groups(start, &context.request, patience);
    let (groups, whole) = walk::groups(Operation::ListGroups, page, |_, pages| pages >= most_pages).await?;
    Ok((List::new(read, groups), whole))
}

/// One complete reading. While we make or delete groups, rows may move from page to page; a reading is complete then
/// only if the next one shows the same groups but for ours. `None`: no two did.
async fn read_whole(cloud: &Confluence, ledger: &Ledger, context: &Context) -> Result<Option<List>, Error> {
    let mut earlier: Option<(Instant, HashSet<GroupId>)> = None;
    for _ in 0..MOST_READINGS {
        let (list, _) = read_list(cloud, usize::MAX, context).await?;
        let ids: HashSet<GroupId> = list.groups.iter().map(|group| group.id.clone()).collect();
        let since = earlier.as_ref().map_or(list.read, |(read, _)| *read);
        // One page cannot be torn.
        let Some(moved) = ledger.moved_groups(since).filter(|_| ids.len() > PAGE) else {
            return Ok(Some(list));
        };
        if let Some((_, before)) = &earlier
            && before.symmetric_difference(&ids).all(|id| moved.contains(id))
        {
            return Ok(Some(list));
        }
        earlier = Some((list.read, ids));
    }
    Ok(None)
}

/// Every group whose name equals `name` ignoring case; only the exact one where it was seen first.
async fn look_up(
    name: &GroupName,
    show_teams: bool,
    cloud: &Confluence,
    request: &RequestId,
    patience: Patience<'_>,
) -> Result<List, Error> {
    let read = Instant::now();
    // Cloud compares letters, and one letter can be written in two ways; names are compared in the composed one.
    let asked = name.composed();
    let page = |start| cloud.find_groups(&asked, start, request, patience);
    let exact = |groups: &[Group], _| {
        groups
            .iter()
            .any(|group| group.name == *name && (show_teams || !group.team))
    };
    let (mut groups, is_whole) = walk::groups(Operation::FindGroups, page, exact).await?;
    let key = name.key();
    groups.retain(|group| group.name.key() == key);
    Ok(List {
        is_whole,
        ..List::new(read, groups)
    })
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
        let list = List::new(Instant::now(), vec![group("Dev"), group("dev"), group("Ops")]);
        let judge = |name: &str| {
            let name = GroupName::new(name);
            super::judge(&name, list.alike(&name.key()).cloned().collect())
        };
        assert_eq!(judge("dev"), Found::One(group("dev")));
        assert_eq!(judge("OPS"), Found::One(group("Ops")));
        assert_eq!(judge("nobody"), Found::Nothing);
        let Found::Ambiguous(spellings) = judge("DEV") else {
            panic!("not ambiguous")
        };
        assert_eq!(spellings, [GroupName::new("Dev"), GroupName::new("dev")]);
    }
}
