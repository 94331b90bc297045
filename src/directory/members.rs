//! Who is in a group: read once for all who ask, kept for a while, and laid under our own changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::ops::compute::Op;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::ledger::{Ledger, View};
use super::plan::Change;
use super::{Error, org, walk};
use crate::cloud::{Admin, Confluence, MemberPage, Patience, Profile, Who};
use crate::metrics::Metrics;
use crate::model::{AccountId, Context, GroupId, Member};
use crate::settings;

/// How often a group that is being changed is read before it is given up for now.
const MOST_READINGS: usize = 4;

/// How long a roster may serve while our own changes keep a new one from being read: with them laid over it, it lacks
/// only what others changed meanwhile.
pub const LONGEST_LIFE: Duration = Duration::from_secs(3600);

/// How long a first page or one account's groups serve others who plan at the same time.
const SHARED_BRIEFLY: Duration = Duration::from_secs(10);

/// How much of a group is read. Whoever wants less is content with more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Depth {
    /// Whom Confluence shows on its pages: without those who are suspended.
    Pages,
    /// Everybody, as far as there is a key that shows the suspended.
    Whole,
    /// Everybody, with what only the organisation knows of them.
    Briefed,
}

/// A group's members as Cloud told them, from one reading.
#[derive(Debug)]
pub struct Roster {
    /// When the reading began: a change made later is not in it.
    pub read: Instant,
    pub rows: Vec<Arc<Profile>>,
    ids: HashSet<AccountId>,
    /// The rows as the legacy side shows them, for one version of our own changes.
    shown: Mutex<Option<Shown>>,
    /// Filled once the rows' names are known: whoever comes meanwhile waits.
    learned: OnceCell<()>,
}

/// Under which circumstances a roster's rows were made ready to be shown: our own changes, and the identity map.
pub type Version = (u64, u64);

#[derive(Clone, Debug)]
struct Shown {
    version: Version,
    /// Every row has what Cloud knows of it, not only what the map knows.
    complete: bool,
    members: Arc<Vec<Member>>,
}

/// A first page, shared by those who plan with it and those who read on.
#[derive(Debug)]
struct Head {
    read: Instant,
    page: MemberPage,
}

/// The groups of one account.
#[derive(Debug)]
struct MemberOf {
    read: Instant,
    groups: HashSet<GroupId>,
}

/// What is known of some accounts' membership in one group, before any of our own changes after `read`.
#[derive(Debug)]
pub struct Membership {
    pub read: Instant,
    pub present: HashSet<AccountId>,
}

#[derive(Debug)]
pub struct Members {
    admin: Option<Admin>,
    rosters: Cache<(GroupId, Depth), Arc<Roster>>,
    /// The last roster of each group, for as long as no new one can be read.
    last: Cache<(GroupId, Depth), Arc<Roster>>,
    heads: Cache<GroupId, Arc<Head>>,
    member_of: Cache<AccountId, Arc<MemberOf>>,
    write_life: Duration,
    metrics: Metrics,
}

impl Membership {
    fn nobody() -> Self {
        Self {
            read: Instant::now(),
            present: HashSet::new(),
        }
    }
}

impl Roster {
    fn new(read: Instant, rows: Vec<Arc<Profile>>) -> Self {
        let ids = rows.iter().map(|row| row.account.clone()).collect();
        Self {
            read,
            rows,
            ids,
            shown: Mutex::new(None),
            learned: OnceCell::new(),
        }
    }

    /// Has the rows' names learned, once for all who show them.
    pub async fn learned<F: Future<Output = Result<(), Error>>>(&self, learn: impl FnOnce() -> F) -> Result<(), Error> {
        self.learned.get_or_try_init(learn).await.copied()
    }

    /// The rows as they are shown, if they were made for this version, and complete if `complete` is asked for.
    pub fn shown(&self, version: Version, complete: bool) -> Option<Arc<Vec<Member>>> {
        let shown = self.shown.lock();
        let shown = shown
            .as_ref()
            .filter(|shown| shown.version == version && (shown.complete || !complete))?;
        Some(Arc::clone(&shown.members))
    }

    pub fn keep_shown(&self, version: Version, complete: bool, members: &Arc<Vec<Member>>) {
        *self.shown.lock() = Some(Shown {
            version,
            complete,
            members: Arc::clone(members),
        });
    }
}

impl Members {
    pub fn new(settings: &settings::Cache, admin: Option<Admin>, metrics: Metrics) -> Self {
        let write_life = settings::seconds(settings.members_write_ttl_s);
        let brief = write_life.min(SHARED_BRIEFLY);
        let rosters = |life: Duration| {
            Cache::builder()
                .max_capacity(settings.max_members)
                .weigher(|_, roster: &Arc<Roster>| u32::try_from(roster.rows.len()).unwrap_or(u32::MAX).max(1))
                .time_to_live(life)
                .build()
        };
        let life = settings::seconds(settings.members_ttl_s);
        Self {
            admin,
            rosters: rosters(life),
            last: rosters(life.max(LONGEST_LIFE)),
            heads: Cache::builder().max_capacity(1000).time_to_live(brief).build(),
            member_of: Cache::builder().max_capacity(10_000).time_to_live(brief).build(),
            write_life,
            metrics,
        }
    }

    /// The whole group. `None`: Cloud knows no group of this id.
    ///
    /// Calls when cold: ⌈members ÷ 200⌉, and with an organisation's key ⌈suspended ÷ 100⌉ (at least one); with what
    /// only the organisation knows ⌈members ÷ 100⌉ and one for their number. None when warm, however many ask at once.
    pub async fn roster(
        &self,
        group: &GroupId,
        depth: Depth,
        cloud: &Confluence,
        ledger: &Arc<Ledger>,
        view: View,
        context: &Context,
    ) -> Result<Option<Arc<Roster>>, Error> {
        let depth = self.possible(depth);
        let is_good = |roster: &Roster| !ledger.overlay(group, roster.read, view).stale;
        if let Some(roster) = self.kept(group, depth, is_good).await {
            self.metrics.looked_up("members", "hit");
            return Ok(Some(roster));
        }
        self.metrics.looked_up("members", "miss");
        if let Some(loaded) = self.load(group, depth, cloud, ledger, view, context).await? {
            return Ok(loaded);
        }
        // Our own changes kept tearing the pages apart.
        match self.last.get(&(group.clone(), depth)).await {
            Some(last) if !ledger.overlay(group, last.read, view).stale => Ok(Some(last)),
            _ => Err(Error::Unavailable {
                retry_after: Duration::from_secs(5),
                cause: "the group is being changed while it is read, so no complete list can be told".to_owned(),
            }),
        }
    }

    /// Without an organisation's key there is nothing below Confluence's pages.
    fn possible(&self, depth: Depth) -> Depth {
        if self.admin.is_some() { depth } else { Depth::Pages }
    }

    /// A reading at least as deep, if one is good enough; those that are not are forgotten.
    async fn kept(&self, group: &GroupId, depth: Depth, is_good: impl Fn(&Roster) -> bool) -> Option<Arc<Roster>> {
        for deep in [Depth::Pages, Depth::Whole, Depth::Briefed] {
            let key = (group.clone(), deep);
            if deep < depth {
                continue;
            }
            if let Some(roster) = self.rosters.get(&key).await {
                if is_good(&roster) {
                    return Some(roster);
                }
                forget(&self.rosters, &key, &roster).await;
            }
        }
        None
    }

    /// Reads the group for all who ask meanwhile. The outer `None`: it is being changed by us all the while, so that
    /// no reading can be trusted to be whole.
    async fn load(
        &self,
        group: &GroupId,
        depth: Depth,
        cloud: &Confluence,
        ledger: &Arc<Ledger>,
        view: View,
        context: &Context,
    ) -> Result<Option<Option<Arc<Roster>>>, Error> {
        // A first page that others planned with may be older than a change; the others would not join on to it.
        if let Some(head) = self.heads.get(group).await
            && (ledger.overlay(group, head.read, view).stale || ledger.moved_members(group, head.read).is_some())
        {
            forget(&self.heads, group, &head).await;
        }
        let (rosters, last, heads) = (self.rosters.clone(), self.last.clone(), self.heads.clone());
        let (ledger_, context) = (Arc::clone(ledger), context.clone());
        let (key, reader) = (
            (group.clone(), depth),
            Reader {
                group: group.clone(),
                heads,
                cloud: cloud.clone(),
                admin: self.admin.clone(),
                context,
            },
        );
        // On a task of its own: a caller who hangs up must not cut short what others wait for.
        let load = tokio::spawn(async move {
            let read = async {
                let roster = Arc::new(reader.read_whole(depth, &ledger_).await?);
                last.insert(key.clone(), Arc::clone(&roster)).await;
                Ok(roster)
            };
            rosters.try_get_with(key.clone(), read).await
        });
        match joined(load.await)? {
            Ok(roster) => Ok(Some(Some(roster))),
            Err(missing) => match &*missing {
                // We made the group moments ago and Cloud's reads do not show it yet.
                Missing::Group if ledger.is_just_created(group) => {
                    Ok(Some(Some(Arc::new(Roster::new(Instant::now(), Vec::new())))))
                }
                Missing::Group => Ok(Some(None)),
                Missing::Torn => Ok(None),
                Missing::Read(error) => Err(error.clone()),
            },
        }
    }

    /// Who of `accounts` is in the group, by the fewest calls that make sure: a fresh roster; for one account its own
    /// groups; else the first page, and then either the other pages or each remaining account's groups, whichever
    /// is less.
    ///
    /// Whoever is to be taken out may be suspended, and then is on no page; whoever is to be put in and is there
    /// already, Cloud will say so.
    pub async fn membership(
        &self,
        group: &GroupId,
        accounts: &[AccountId],
        change: Change,
        cloud: &Confluence,
        ledger: &Arc<Ledger>,
        view: View,
        context: &Context,
    ) -> Result<Option<Membership>, Error> {
        if accounts.is_empty() {
            return Ok(Some(Membership::nobody()));
        }
        let fresh = |read: Instant| read.elapsed() <= self.write_life && !ledger.overlay(group, read, view).stale;
        let depth = self.possible(match change {
            Change::Add => Depth::Pages,
            Change::Remove => Depth::Whole,
        });
        if let Some(roster) = self.kept(group, depth, |roster| fresh(roster.read)).await {
            self.metrics.looked_up("members", "hit");
            return Ok(Some(within(roster.read, &roster.ids, accounts)));
        }
        self.metrics.looked_up("members", "miss");
        let [_, _, ..] = accounts else {
            return self.one_by_one(group, accounts, None, cloud, context).await.map(Some);
        };
        if let Some(head) = self.heads.get(group).await
            && !fresh(head.read)
        {
            forget(&self.heads, group, &head).await;
        }
        let Some(head) = head(&self.heads, group, cloud, context).await? else {
            return Ok(ledger.is_just_created(group).then(Membership::nobody));
        };
        let on_page: HashSet<AccountId> = head.page.members.iter().map(|row| row.account.clone()).collect();
        let open: Vec<AccountId> = accounts
            .iter()
            .filter(|account| !on_page.contains(account))
            .cloned()
            .collect();
        if open.is_empty() {
            return Ok(Some(Membership {
                read: head.read,
                present: on_page
                    .into_iter()
                    .filter(|account| accounts.contains(account))
                    .collect(),
            }));
        }
        let more_pages = match head.page.total {
            _ if walk::ends_at(&head.page, 0) => 0,
            Some(total) if total > head.page.members.len() => total.div_ceil(head.page.limit) - 1,
            // Without a total nobody knows; reading on is what a caller with several names can afford.
            _ => 2,
        };
        if more_pages <= open.len() {
            return match self.load(group, depth, cloud, ledger, view, context).await? {
                Some(roster) => Ok(roster.map(|roster| within(roster.read, &roster.ids, accounts))),
                // What cannot be read as a list can be asked account by account.
                None => self.one_by_one(group, accounts, None, cloud, context).await.map(Some),
            };
        }
        let mut membership = self.one_by_one(group, &open, Some(head.read), cloud, context).await?;
        membership
            .present
            .extend(accounts.iter().filter(|account| on_page.contains(account)).cloned());
        Ok(Some(membership))
    }

    async fn one_by_one(
        &self,
        group: &GroupId,
        accounts: &[AccountId],
        read: Option<Instant>,
        cloud: &Confluence,
        context: &Context,
    ) -> Result<Membership, Error> {
        let reads = accounts.iter().map(|account| self.groups_of(account, cloud, context));
        let mut membership = Membership {
            read: read.unwrap_or_else(Instant::now),
            present: HashSet::new(),
        };
        for (account, groups) in accounts.iter().zip(futures_util::future::try_join_all(reads).await?) {
            membership.read = membership.read.min(groups.read);
            if groups.groups.contains(group) {
                membership.present.insert(account.clone());
            }
        }
        Ok(membership)
    }

    async fn groups_of(
        &self,
        account: &AccountId,
        cloud: &Confluence,
        context: &Context,
    ) -> Result<Arc<MemberOf>, Error> {
        let (cache, account, cloud, context) =
            (self.member_of.clone(), account.clone(), cloud.clone(), context.clone());
        let load = tokio::spawn(async move {
            let read = async { Ok::<_, Error>(Arc::new(read_groups_of(&account, &cloud, &context).await?)) };
            cache.try_get_with(account.clone(), read).await
        });
        joined(load.await)?.map_err(|e| (*e).clone())
    }

    /// Whether Cloud shows `account` in `group` right now, past all caches.
    pub async fn is_member_now(
        group: &GroupId,
        account: &AccountId,
        cloud: &Confluence,
        context: &Context,
    ) -> Result<bool, Error> {
        Ok(read_groups_of(account, cloud, context).await?.groups.contains(group))
    }
}

/// Why a cached reading has no value: kept apart so that "no such group" is not cached as a group without members.
#[derive(Clone, Debug)]
enum Missing {
    Group,
    /// Our own changes moved rows from page to page in every reading.
    Torn,
    Read(Error),
}

/// Reads one group, on behalf of all who wait for it.
struct Reader {
    group: GroupId,
    heads: Cache<GroupId, Arc<Head>>,
    cloud: Confluence,
    admin: Option<Admin>,
    context: Context,
}

impl Reader {
    /// One complete reading. While our own changes may move rows from page to page, a reading is complete only if the
    /// next one shows the same people but for those we changed; a group of one page cannot be torn.
    async fn read_whole(&self, depth: Depth, ledger: &Ledger) -> Result<Roster, Missing> {
        let mut earlier: Option<Roster> = None;
        for _ in 0..MOST_READINGS {
            let (roster, on_one_page) = self.read(depth).await?;
            let since = earlier.as_ref().map_or(roster.read, |earlier| earlier.read);
            let Some(moved) = ledger.moved_members(&self.group, since).filter(|_| !on_one_page) else {
                return Ok(roster);
            };
            if let Some(earlier) = &earlier
                && earlier
                    .ids
                    .symmetric_difference(&roster.ids)
                    .all(|account| moved.contains(account))
            {
                return Ok(roster);
            }
            earlier = Some(roster);
            self.heads.invalidate(&self.group).await;
        }
        Err(Missing::Torn)
    }

    /// One reading, and whether it was of one page.
    async fn read(&self, depth: Depth) -> Result<(Roster, bool), Missing> {
        match (&self.admin, depth) {
            (Some(admin), Depth::Whole) => {
                let absent = async {
                    let read = org::people(admin, &self.group, Who::Absent, &self.context);
                    read.await.map_err(Missing::Read)
                };
                let ((read, pages, on_one_page), absent) = futures_util::try_join!(self.pages(), absent)?;
                let both = on_one_page && absent.on_one_page;
                Ok((Roster::new(read, union(pages, absent.rows)), both))
            }
            (Some(admin), Depth::Briefed) => {
                let read = Instant::now();
                let patience = Patience::Until(self.context.read_deadline);
                let number = async {
                    let group = admin.group(&self.group, &self.context.request, patience).await;
                    group.map_err(|e| Missing::Read(e.into()))
                };
                let people = async {
                    let read = org::people(admin, &self.group, Who::Everybody, &self.context);
                    read.await.map_err(Missing::Read)
                };
                let (group, people) = futures_util::try_join!(number, people)?;
                // A group that the organisation does not know may be one that its key does not see.
                let number = group.and_then(|group| group.users);
                // The organisation shows people and no programs. Whoever is missing, Confluence shows.
                if number.is_some_and(|number| number <= people.rows.len()) {
                    return Ok((Roster::new(read, people.rows), people.on_one_page));
                }
                let (earlier, pages, on_one_page) = self.pages().await?;
                let both = on_one_page && people.on_one_page;
                Ok((Roster::new(read.min(earlier), union(people.rows, pages)), both))
            }
            _ => {
                let (read, rows, on_one_page) = self.pages().await?;
                Ok((Roster::new(read, rows), on_one_page))
            }
        }
    }

    /// Whom Confluence shows, since when, and whether on one page.
    async fn pages(&self) -> Result<(Instant, Vec<Arc<Profile>>, bool), Missing> {
        let head = head(&self.heads, &self.group, &self.cloud, &self.context)
            .await
            .map_err(Missing::Read)?
            .ok_or(Missing::Group)?;
        let rows = walk::members(&self.cloud, &self.group, &head.page, &self.context)
            .await
            .map_err(Missing::Read)?;
        Ok((head.read, rows.ok_or(Missing::Group)?, walk::ends_at(&head.page, 0)))
    }
}

/// Everybody once; who stands in both lists, with the words of the first.
fn union(mut first: Vec<Arc<Profile>>, second: Vec<Arc<Profile>>) -> Vec<Arc<Profile>> {
    let known: HashSet<AccountId> = first.iter().map(|row| row.account.clone()).collect();
    first.extend(second.into_iter().filter(|row| !known.contains(&row.account)));
    first
}

async fn head(
    heads: &Cache<GroupId, Arc<Head>>,
    group: &GroupId,
    cloud: &Confluence,
    context: &Context,
) -> Result<Option<Arc<Head>>, Error> {
    let (heads, group, cloud, context) = (heads.clone(), group.clone(), cloud.clone(), context.clone());
    let load = tokio::spawn(async move {
        let read = async {
            let read = Instant::now();
            let patience = Patience::Until(context.read_deadline);
            let page = cloud.members(&group, 0, &context.request, patience).await;
            let page = page.map_err(|e| Missing::Read(e.into()))?.ok_or(Missing::Group)?;
            Ok(Arc::new(Head { read, page }))
        };
        heads.try_get_with(group.clone(), read).await
    });
    match joined(load.await)? {
        Ok(head) => Ok(Some(head)),
        Err(missing) => match &*missing {
            Missing::Group | Missing::Torn => Ok(None),
            Missing::Read(error) => Err(error.clone()),
        },
    }
}

async fn read_groups_of(account: &AccountId, cloud: &Confluence, context: &Context) -> Result<MemberOf, Error> {
    let read = Instant::now();
    let patience = Patience::Until(context.read_deadline);
    let page = |start| cloud.member_of(account, start, &context.request, patience);
    let (groups, _) = walk::groups(crate::cloud::Operation::MemberOf, page, |_, _| false).await?;
    Ok(MemberOf {
        read,
        groups: groups.into_iter().map(|group| group.id).collect(),
    })
}

fn within(read: Instant, ids: &HashSet<AccountId>, accounts: &[AccountId]) -> Membership {
    Membership {
        read,
        present: accounts
            .iter()
            .filter(|account| ids.contains(account))
            .cloned()
            .collect(),
    }
}

/// Takes `value` out of the cache, unless somebody has put a newer one there.
pub async fn forget<K, V>(cache: &Cache<K, Arc<V>>, key: &K, value: &Arc<V>)
where
    K: std::hash::Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    cache
        .entry_by_ref(key)
        .and_compute_with(|entry| {
            let same = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), value));
            std::future::ready(if same { Op::Remove } else { Op::Nop })
        })
        .await;
}

/// A reading's task ends with its value, unless it panicked: a bug, answered as "unavailable" and never as a list.
pub fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Error> {
    result.map_err(|e| Error::Unavailable {
        retry_after: Duration::from_secs(5),
        cause: format!("a reading failed: {e}"),
    })
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
