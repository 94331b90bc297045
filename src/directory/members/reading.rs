//! Reading one group from Cloud: complete, or an error.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use moka::future::Cache;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::joined;
use super::roster::{Depth, Roster, union};
use crate::cloud::{Admin, Confluence, MemberPage, Operation, Patience, Profile, Who};
use crate::directory::identity::Identity;
use crate::directory::ledger::Ledger;
use crate::directory::{Error, org, walk};
use crate::model::{AccountId, Context, GroupId, RequestId};

/// How often a group that is being changed is read before it is given up for now.
const MOST_READINGS: usize = 4;

/// A first page, shared by those who plan with it and those who read on.
#[derive(Debug)]
pub struct Head {
    pub read: Instant,
    pub page: MemberPage,
}

/// The groups of one account.
#[derive(Debug)]
pub struct MemberOf {
    pub read: Instant,
    pub groups: HashSet<GroupId>,
}

/// Why a cached reading has no value: kept apart so that "no such group" is not cached as a group without members.
#[derive(Clone, Debug)]
pub enum Missing {
    Group,
    /// Our own changes moved rows from page to page in every reading.
    Torn,
    Read(Error),
}

/// Reads one group, on behalf of all who wait for it.
pub struct Reader {
    pub group: GroupId,
    pub heads: Cache<GroupId, Arc<Head>>,
    pub cloud: Confluence,
    pub admin: Option<Admin>,
    pub context: Context,
    /// Who learns the rows' names, where they are wanted.
    pub identity: Option<Arc<Identity>>,
}

/// All of Confluence's pages.
struct Pages {
    read: Instant,
    rows: Vec<Arc<Profile>>,
    on_one_page: bool,
    /// The rows' names were learned.
    are_learned: bool,
}

impl Reader {
    /// One complete reading. While our own changes may move rows from page to page, a reading is complete only if the
    /// next one shows the same people but for those we changed; a group of one page cannot be torn.
    pub async fn read_whole(&self, depth: Depth, ledger: &Ledger) -> Result<Roster, Missing> {
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
                let (pages, absent) = futures_util::try_join!(self.pages(), absent)?;
                let both = pages.on_one_page && absent.on_one_page;
                Ok((Roster::new(pages.read, union(pages.rows, absent.rows)), both))
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
                let pages = self.pages().await?;
                let both = pages.on_one_page && people.on_one_page;
                Ok((Roster::new(read.min(pages.read), union(people.rows, pages.rows)), both))
            }
            _ => {
                let pages = self.pages().await?;
                let roster = Roster::new(pages.read, pages.rows).learned_before(pages.are_learned);
                Ok((roster, pages.on_one_page))
            }
        }
    }

    /// Whom Confluence shows.
    async fn pages(&self) -> Result<Pages, Missing> {
        let head = head(&self.heads, &self.group, &self.cloud, &self.context)
            .await
            .map_err(Missing::Read)?
            .ok_or(Missing::Group)?;
        // With an organisation's key these are not all rows, and all are learned together afterwards.
        let learning = Learning::by(self.identity.clone().filter(|_| self.admin.is_none()));
        learning.begin(&head.page);
        let begin = |page: &MemberPage| learning.begin(page);
        let rows = walk::members(&self.cloud, &self.group, &head.page, &self.context, begin);
        let rows = rows.await.map_err(Missing::Read)?.ok_or(Missing::Group)?;
        Ok(Pages {
            read: head.read,
            rows,
            on_one_page: walk::ends_at(&head.page, 0),
            are_learned: learning.ended().await,
        })
    }
}

/// Names that are learned page by page, while others are read: with ten thousand members that is a fifth of the work.
struct Learning {
    identity: Option<Arc<Identity>>,
    pages: Mutex<JoinSet<Result<(), Error>>>,
}

impl Learning {
    fn by(identity: Option<Arc<Identity>>) -> Self {
        Self {
            identity,
            pages: Mutex::default(),
        }
    }

    fn begin(&self, page: &MemberPage) {
        if let Some(identity) = self.identity.clone() {
            let rows = page.members.clone();
            self.pages.lock().spawn(async move { identity.learn(&rows).await });
        }
    }

    /// Whether all were learned.
    async fn ended(self) -> bool {
        let mut pages = self.pages.into_inner();
        let mut are_learned = self.identity.is_some();
        while let Some(learned) = pages.join_next().await {
            are_learned &= matches!(learned, Ok(Ok(())));
        }
        are_learned
    }
}

/// The first page, read once for all who ask meanwhile. `None`: Cloud knows no such group.
pub async fn head(
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

/// The groups of one account.
pub async fn read_groups_of(
    account: &AccountId,
    cloud: &Confluence,
    request: &RequestId,
    patience: Patience<'_>,
) -> Result<MemberOf, Error> {
    let read = Instant::now();
    let page = |start| cloud.member_of(account, start, request, patience);
    let (groups, _) = walk::groups(Operation::MemberOf, page, |_, _| false).await?;
    Ok(MemberOf {
        read,
        groups: groups.into_iter().map(|group| group.id).collect(),
    })
}
