//! Who is in a group: read once for all who ask, kept for a while, and laid under our own changes.

mod reading;
mod roster;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::ops::compute::Op;

use super::ledger::{Ledger, View};
use super::plan::Change;
use super::{Error, org, walk};
use crate::cloud::{Admin, Confluence, Profile, Who};
use crate::metrics::Metrics;
use crate::model::{AccountId, Context, GroupId};
use crate::settings;
use reading::{Head, MemberOf, Missing, Reader, head, read_groups_of};
pub use roster::{Depth, Roster, overlaid};

/// How long a roster may serve while our own changes keep a new one from being read: with them laid over it, it lacks
/// only what others changed meanwhile.
pub const LONGEST_LIFE: Duration = Duration::from_secs(3600);

/// How long a first page or one account's groups serve others who plan at the same time.
const SHARED_BRIEFLY: Duration = Duration::from_secs(10);

/// What is known of some accounts' membership in one group, before any of our own changes after `read`.
#[derive(Debug)]
pub struct Membership {
    pub read: Instant,
    pub present: HashSet<AccountId>,
}

#[derive(Debug)]
pub struct Members {
    cloud: Confluence,
    admin: Option<Admin>,
    ledger: Arc<Ledger>,
    view: View,
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

impl Members {
    pub fn new(
        settings: &settings::Cache,
        cloud: Confluence,
        admin: Option<Admin>,
        ledger: Arc<Ledger>,
        view: View,
        metrics: Metrics,
    ) -> Self {
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
            cloud,
            admin,
            ledger,
            view,
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
    pub async fn roster(&self, group: &GroupId, depth: Depth, context: &Context) -> Result<Option<Arc<Roster>>, Error> {
        let depth = self.possible(depth);
        let is_good = |roster: &Roster| !self.ledger.overlay(group, roster.read, self.view).stale;
        if let Some(roster) = self.kept(group, depth, is_good).await {
            self.metrics.looked_up("members", "hit");
            return Ok(Some(roster));
        }
        self.metrics.looked_up("members", "miss");
        if let Some(loaded) = self.load(group, depth, context).await? {
            return Ok(loaded);
        }
        // Our own changes kept tearing the pages apart.
        match self.last.get(&(group.clone(), depth)).await {
            Some(last) if !self.ledger.overlay(group, last.read, self.view).stale => Ok(Some(last)),
            _ => Err(Error::Unavailable {
                retry_after: Duration::from_secs(5),
                cause: "the group is being changed while it is read, so no complete list can be told".to_owned(),
            }),
        }
    }

    /// Whether there is a key that shows people's addresses.
    pub fn can_introduce(&self) -> bool {
        self.admin.is_some()
    }

    /// A group's people with their addresses, whatever their profiles hide. Calls: ⌈members ÷ 100⌉.
    pub async fn introduce(&self, group: &GroupId, context: &Context) -> Result<Vec<Arc<Profile>>, Error> {
        match &self.admin {
            Some(admin) => Ok(org::people(admin, group, Who::Everybody, context).await?.rows),
            None => Ok(Vec::new()),
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
        context: &Context,
    ) -> Result<Option<Option<Arc<Roster>>>, Error> {
        // A first page that others planned with may be older than a change; the others would not join on to it.
        if let Some(head) = self.heads.get(group).await
            && (self.ledger.overlay(group, head.read, self.view).stale
                || self.ledger.moved_members(group, head.read).is_some())
        {
            forget(&self.heads, group, &head).await;
        }
        let (rosters, last, heads) = (self.rosters.clone(), self.last.clone(), self.heads.clone());
        let (ledger_, context) = (Arc::clone(&self.ledger), context.clone());
        let (key, reader) = (
            (group.clone(), depth),
            Reader {
                group: group.clone(),
                heads,
                cloud: self.cloud.clone(),
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
                Missing::Group if self.ledger.is_just_created(group) => {
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
        context: &Context,
    ) -> Result<Option<Membership>, Error> {
        if accounts.is_empty() {
            return Ok(Some(Membership::nobody()));
        }
        let fresh =
            |read: Instant| read.elapsed() <= self.write_life && !self.ledger.overlay(group, read, self.view).stale;
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
            return self.one_by_one(group, accounts, None, context).await.map(Some);
        };
        if let Some(head) = self.heads.get(group).await
            && !fresh(head.read)
        {
            forget(&self.heads, group, &head).await;
        }
        let Some(head) = head(&self.heads, group, &self.cloud, context).await? else {
            return Ok(self.ledger.is_just_created(group).then(Membership::nobody));
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
            return match self.load(group, depth, context).await? {
                Some(roster) => Ok(roster.map(|roster| within(roster.read, &roster.ids, accounts))),
                // What cannot be read as a list can be asked account by account.
                None => self.one_by_one(group, accounts, None, context).await.map(Some),
            };
        }
        let mut membership = self.one_by_one(group, &open, Some(head.read), context).await?;
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
        context: &Context,
    ) -> Result<Membership, Error> {
        let reads = accounts.iter().map(|account| self.groups_of(account, context));
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

    async fn groups_of(&self, account: &AccountId, context: &Context) -> Result<Arc<MemberOf>, Error> {
        let (cache, account, cloud, context) = (
            self.member_of.clone(),
            account.clone(),
            self.cloud.clone(),
            context.clone(),
        );
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
