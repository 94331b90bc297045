//! Who is in a group: read once for all who ask, kept for a while, and laid under our own changes.

mod kept;
mod membership;
mod reading;
mod roster;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::ops::compute::Op;

use super::identity::Identity;
use super::ledger::{Ledger, View};
use super::{Error, org};
use crate::cloud::{Admin, Confluence, Patience, Profile, Who};
use crate::metrics::Metrics;
use crate::model::{AccountId, Context, GroupId, RequestId};
use crate::settings;
pub use membership::Membership;
use reading::{Head, MemberOf, Missing, Reader, read_groups_of};
pub use roster::{Depth, Roster, ShownList, overlaid};

/// How long a roster may serve while our own changes keep a new one from being read: with them laid over it, it lacks
/// only what others changed meanwhile.
pub const LONGEST_LIFE: Duration = Duration::from_secs(3600);

/// How long a first page or one account's groups serve others who plan at the same time.
const SHARED_BRIEFLY: Duration = Duration::from_secs(10);

/// How long a last look before a deletion may take.
const LOOK: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Members {
    cloud: Confluence,
    admin: Option<Admin>,
    ledger: Arc<Ledger>,
    view: View,
    rosters: Cache<(GroupId, Depth), Arc<Roster>>,
    /// The last roster of each group, for as long as no new one can be read.
    last: Cache<(GroupId, Depth), Arc<Roster>>,
    /// How old it may be while our own changes keep a new one from being read, and how old while Cloud cannot be asked.
    moving_life: Duration,
    stale_life: Duration,
    heads: Cache<GroupId, Arc<Head>>,
    member_of: Cache<AccountId, Arc<MemberOf>>,
    write_life: Duration,
    pays: settings::Pays,
    metrics: Metrics,
}

impl Members {
    pub fn new(
        settings: &settings::Cache,
        cloud: Confluence,
        admin: Option<Admin>,
        ledger: Arc<Ledger>,
        view: View,
        pays: settings::Pays,
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
        let (moving_life, stale_life) = (life.max(LONGEST_LIFE), settings::seconds(settings.stale_if_error_s));
        Self {
            cloud,
            admin,
            ledger,
            view,
            rosters: rosters(life),
            last: rosters(moving_life.max(stale_life)),
            moving_life,
            stale_life,
            heads: Cache::builder().max_capacity(1000).time_to_live(brief).build(),
            member_of: Cache::builder().max_capacity(10_000).time_to_live(brief).build(),
            write_life,
            pays,
            metrics,
        }
    }

    /// The whole group. `None`: Cloud knows no group of this id. `identity` learns the names while pages are read.
    ///
    /// Calls when cold: ⌈members ÷ 200⌉, and with an organisation's key ⌈suspended ÷ 100⌉ (at least one); with what
    /// only the organisation knows ⌈members ÷ 100⌉ and one for their number. None when warm, however many ask at once.
    pub async fn roster(
        &self,
        group: &GroupId,
        depth: Depth,
        identity: Option<&Arc<Identity>>,
        context: &Context,
    ) -> Result<Option<Arc<Roster>>, Error> {
        let depth = self.possible(depth);
        let is_good = |roster: &Roster| !self.ledger.is_stale(group, roster.read, self.view);
        if let Some(roster) = self.kept(group, depth, is_good).await {
            self.metrics.looked_up("members", "hit");
            return Ok(Some(roster));
        }
        self.metrics.looked_up("members", "miss");
        if let Some(loaded) = self.load(group, depth, identity, context).await? {
            return Ok(loaded);
        }
        // Our own changes kept tearing the pages apart.
        let last = self.last.get(&(group.clone(), depth)).await;
        match last.filter(|last| last.read.elapsed() <= self.moving_life && is_good(last)) {
            Some(last) => Ok(Some(last)),
            None => Err(torn()),
        }
    }

    /// The group is deleted: what was read of it is of no use any more.
    pub async fn deleted(&self, group: &GroupId) {
        for depth in Depth::Pages.or_deeper() {
            let key = (group.clone(), depth);
            self.rosters.invalidate(&key).await;
            self.last.invalidate(&key).await;
        }
        self.heads.invalidate(group).await;
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
        for deep in depth.or_deeper() {
            let key = (group.clone(), deep);
            if let Some(roster) = self.rosters.get(&key).await {
                if is_good(&roster) {
                    return Some(roster);
                }
                forget(&self.rosters, &key, &roster).await;
            }
        }
        None
    }

    /// Every member, by a reading that is fresh enough to decide a change, with our own changes laid over it. `None`: Cloud
    /// knows no group of this id. Calls: as [`Self::roster`].
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn all_now(&self, group: &GroupId, context: &Context) -> Result<Option<Vec<AccountId>>, Error> {
        let depth = self.possible(Depth::Whole);
        let fresh = |roster: &Roster| self.is_fresh(group, roster.read);
        let roster = match self.kept(group, depth, fresh).await {
            Some(roster) => roster,
            None => match self.load(group, depth, None, context).await? {
                Some(Some(roster)) => roster,
                Some(None) => return Ok(None),
                None => return Err(torn()),
            },
        };
        let overlay = self.ledger.overlay(group, roster.read, self.view);
        let (rows, added) = overlaid(&roster, &overlay.changes);
        Ok(Some(rows.iter().map(|row| row.account.clone()).chain(added).collect()))
    }

    /// Whether nobody is in the group, past all caches. A group that Cloud does not know is empty; without an
    /// organisation's key, so is one whose members are all suspended. Calls: one, and with that key one more.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn is_empty_now(&self, group: &GroupId, context: &Context) -> Result<bool, Error> {
        let read = Instant::now();
        let context = &context.again(LOOK);
        let patience = Patience::Until(context.read_deadline);
        let page = self.cloud.members(group, 0, &context.request, patience).await?;
        let own = self.ledger.overlay(group, read, self.view).changes;
        let stays = |account: &AccountId| own.get(account) != Some(&false);
        let shown = page.is_some_and(|page| page.members.iter().any(|row| stays(&row.account)));
        if shown || own.values().any(|present| *present) {
            return Ok(false);
        }
        match &self.admin {
            Some(admin) => {
                let absent = org::people(admin, group, Who::Absent, context).await?;
                Ok(!absent.rows.iter().any(|row| stays(&row.account)))
            }
            None => Ok(true),
        }
    }

    /// Reads the group for all who ask meanwhile. The outer `None`: it is being changed by us all the while, so that
    /// no reading can be trusted to be whole.
    async fn load(
        &self,
        group: &GroupId,
        depth: Depth,
        identity: Option<&Arc<Identity>>,
        context: &Context,
    ) -> Result<Option<Option<Arc<Roster>>>, Error> {
        // A first page that others planned with may be older than a change; the others would not join on to it.
        if let Some(head) = self.heads.get(group).await
            && (self.ledger.is_stale(group, head.read, self.view) || self.ledger.has_moved(group, head.read))
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
                identity: identity.cloned(),
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

    async fn groups_of(&self, account: &AccountId, context: &Context) -> Result<Arc<MemberOf>, Error> {
        let (cache, account, cloud, context) = (
            self.member_of.clone(),
            account.clone(),
            self.cloud.clone(),
            context.clone(),
        );
        let load = tokio::spawn(async move {
            let patience = Patience::Until(context.read_deadline);
            let read = async {
                Ok::<_, Error>(Arc::new(
                    read_groups_of(&account, &cloud, &context.request, patience).await?,
                ))
            };
            cache.try_get_with(account.clone(), read).await
        });
        joined(load.await)?.map_err(|e| (*e).clone())
    }

    /// Whether Cloud shows `account` in `group` right now, past all caches.
    pub async fn is_member_now(
        group: &GroupId,
        account: &AccountId,
        cloud: &Confluence,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<bool, Error> {
        let groups = read_groups_of(account, cloud, request, patience).await?.groups;
        Ok(groups.contains(group))
    }
}

/// Our own changes kept tearing the pages apart.
fn torn() -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(5),
        cause: "the group is being changed while it is read, so no complete list can be told".to_owned(),
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
