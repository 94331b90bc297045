//! Who of some accounts is in a group, by the reads that cost least: `plan::reads` chooses, this reads and judges.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::reading::{Head, MemberOf, head};
use super::{Depth, Members, Roster, forget};
use crate::cloud::{ACCOUNTS, Admin, Operation, Patience};
use crate::directory::plan::Change;
use crate::directory::plan::reads::{self, FirstPage, Known, Next, Organisation, Pages};
use crate::directory::{Error, walk};
use crate::model::{AccountId, Context, GroupId};

/// What is known of some accounts' membership in one group, before any of our own changes after `read`.
#[derive(Debug)]
pub struct Membership {
    pub read: Instant,
    pub present: HashSet<AccountId>,
    /// What tells how many are in the group.
    basis: Basis,
}

/// What a membership was judged by, as far as it tells how many are in the group.
#[derive(Debug)]
enum Basis {
    /// All rows.
    Roster(Arc<Roster>),
    /// The first page.
    Page(Arc<Head>),
    /// We made the group moments ago, and Cloud's reads do not show it yet.
    Unseen,
    /// It does not.
    Nothing,
}

/// What the reads of one question have brought so far.
struct Gathered {
    head: Option<Arc<Head>>,
    on_page: HashSet<AccountId>,
    groups: HashMap<AccountId, Arc<MemberOf>>,
    is_torn: bool,
    organisation: Organisation,
}

impl Membership {
    fn nobody(basis: Basis) -> Self {
        Self {
            read: Instant::now(),
            present: HashSet::new(),
            basis,
        }
    }
}

impl Gathered {
    fn take_page(&mut self, head: Arc<Head>) {
        self.on_page = head.page.members.iter().map(|row| row.account.clone()).collect();
        self.head = Some(head);
    }

    /// The accounts of which nothing was read that tells.
    fn open(&self, accounts: &[AccountId], change: Change) -> Vec<AccountId> {
        // Whom the organisation does not show is no member, or Cloud will say so when he is to be put in. Nobody says so
        // when he is to be taken out.
        if change == Change::Add && self.organisation == Organisation::Answered {
            return Vec::new();
        }
        let is_open = |account: &&AccountId| !self.on_page.contains(*account) && !self.groups.contains_key(*account);
        accounts.iter().filter(is_open).cloned().collect()
    }

    fn is_present(&self, group: &GroupId, account: &AccountId) -> bool {
        let on_page = self.on_page.contains(account);
        match (self.groups.get(account), &self.head) {
            // The younger of two readings.
            (Some(theirs), Some(head)) if on_page && theirs.read < head.read => true,
            (Some(theirs), _) => theirs.groups.contains(group),
            (None, _) => on_page,
        }
    }

    /// What was read of `accounts`, as old as the oldest of it.
    fn judged(&self, group: &GroupId, accounts: &[AccountId]) -> Membership {
        let theirs = accounts.iter().filter_map(|account| self.groups.get(account));
        let reads = theirs.map(|theirs| theirs.read);
        let read = reads.chain(self.head.as_ref().map(|head| head.read)).min();
        let present = accounts.iter().filter(|account| self.is_present(group, account));
        Membership {
            read: read.unwrap_or_else(Instant::now),
            present: present.cloned().collect(),
            basis: self.head.clone().map_or(Basis::Nothing, Basis::Page),
        }
    }
}

impl Members {
    /// Who of `accounts` is in the group. A roster fresh enough tells it all; else `plan::reads` says, read by read, which
    /// one costs least: the first page, the other pages, each account's groups, or the organisation's search. `None`:
    /// Cloud knows no group of this id.
    ///
    /// Whoever is to be taken out may be suspended, and then is on no page; whoever is to be put in and is there
    /// already, Cloud will say so.
    ///
    /// Calls, where p pages hold the group: one for one account; for k ≥ 2 at most one page and min(p − 1, k) reads;
    /// with an organisation's key one for up to ten accounts, and at most one more for suspended members.
    pub async fn membership(
        &self,
        group: &GroupId,
        accounts: &[AccountId],
        change: Change,
        context: &Context,
    ) -> Result<Option<Membership>, Error> {
        if accounts.is_empty() {
            return Ok(Some(Membership::nobody(Basis::Nothing)));
        }
        let depth = self.deciding(change);
        if let Some(roster) = self
            .kept(group, depth, |roster| self.is_fresh(group, roster.read))
            .await
        {
            self.metrics.looked_up("members", "hit");
            return Ok(Some(within(&roster, accounts)));
        }
        self.metrics.looked_up("members", "miss");
        let mut gathered = self.gathered(group, accounts).await;
        loop {
            let open = gathered.open(accounts, change);
            match reads::next(&self.known(group, open.len(), change, &gathered)) {
                Next::Nothing => return Ok(Some(self.decided(group, accounts, &gathered).await)),
                Next::FirstPage => match head(&self.heads, group, &self.cloud, context).await? {
                    Some(head) => gathered.take_page(head),
                    None => {
                        let is_new = self.ledger.is_just_created(group);
                        return Ok(is_new.then(|| Membership::nobody(Basis::Unseen)));
                    }
                },
                Next::OtherPages => match self.load(group, depth, None, context).await? {
                    Some(roster) => return Ok(roster.map(|roster| within(&roster, accounts))),
                    // What cannot be read as a list can be asked account by account.
                    None => gathered.is_torn = true,
                },
                Next::EachAccount => {
                    let reads = open.iter().map(|account| self.groups_of(account, context));
                    let read = futures_util::future::try_join_all(reads).await?;
                    gathered.groups.extend(open.into_iter().zip(read));
                }
                Next::Organisation => gathered.organisation = self.ask(&open, &mut gathered.groups, context).await,
            }
        }
    }

    /// The reads that [`Members::membership`] would begin with now, by operation; none is made. Exact where what is cached
    /// tells it; of a group whose first page is not cached, that page alone.
    pub async fn would_read(&self, group: &GroupId, accounts: &[AccountId], change: Change) -> Vec<(Operation, u64)> {
        let fresh = |roster: &Roster| self.is_fresh(group, roster.read);
        if accounts.is_empty() || self.kept(group, self.deciding(change), fresh).await.is_some() {
            return Vec::new();
        }
        let gathered = self.gathered(group, accounts).await;
        let open = gathered.open(accounts, change).len();
        reads::foresee(&self.known(group, open, change, &gathered))
    }

    /// How many are in the group: from a reading fresh enough to decide a change, else from the first page, which others
    /// who plan share. `None`: Cloud knows no group of this id, or tells no number.
    ///
    /// With our own changes laid over it where every row was read; of a group of several pages the number is the one
    /// that Cloud told, corrected by our changes since. Suspended members count only where the organisation's key showed them. Calls: one at most.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn total(&self, group: &GroupId, context: &Context) -> Result<Option<usize>, Error> {
        let fresh = |roster: &Roster| self.is_fresh(group, roster.read);
        if let Some(roster) = self.kept(group, Depth::Pages, fresh).await {
            return Ok(Some(self.counted(group, roster.read, &roster.ids)));
        }
        if let Some(head) = self.heads.get(group).await
            && (!self.is_fresh(group, head.read) || self.ledger.has_moved(group, head.read))
        {
            forget(&self.heads, group, &head).await;
        }
        match head(&self.heads, group, &self.cloud, context).await? {
            Some(head) => Ok(self.told(group, &head)),
            None => Ok(self.unseen(group)),
        }
    }

    /// How many are in the group, where the reading that `membership` was judged by told it: with our own changes laid over
    /// it where every row was read, else as Cloud told it. Suspended members count only where they were read. Takes a look at
    /// each of these changes.
    pub fn total_by(&self, group: &GroupId, membership: &Membership) -> Option<usize> {
        match &membership.basis {
            Basis::Roster(roster) => Some(self.counted(group, roster.read, &roster.ids)),
            Basis::Page(head) => self.told(group, head),
            Basis::Unseen => Some(self.of_ours(group)),
            Basis::Nothing => None,
        }
    }

    /// What the caches have on these accounts, without a call.
    async fn gathered(&self, group: &GroupId, accounts: &[AccountId]) -> Gathered {
        let mut gathered = Gathered {
            head: None,
            on_page: HashSet::new(),
            groups: HashMap::new(),
            is_torn: false,
            organisation: match self.admin {
                Some(_) => Organisation::Open,
                None => Organisation::Closed,
            },
        };
        if let Some(head) = self.heads.get(group).await {
            if self.is_fresh(group, head.read) {
                gathered.take_page(head);
            } else {
                forget(&self.heads, group, &head).await;
            }
        }
        for account in accounts {
            if let Some(theirs) = self.member_of.get(account).await {
                gathered.groups.insert(account.clone(), theirs);
            }
        }
        gathered
    }

    /// The same in the words of the plan.
    fn known(&self, group: &GroupId, open: usize, change: Change, gathered: &Gathered) -> Known {
        let first_page = gathered.head.as_ref().map(|head| FirstPage {
            rows: head.page.members.len(),
            limit: head.page.limit,
            total: head.page.total,
            is_all: walk::ends_at(&head.page, 0),
        });
        let moved = |head: &Arc<Head>| self.ledger.has_moved(group, head.read);
        let pages = if gathered.is_torn {
            Pages::Torn
        } else if gathered.head.as_ref().is_some_and(moved) {
            Pages::Moving
        } else {
            Pages::Still
        };
        Known {
            open,
            change,
            first_page,
            pages,
            organisation: gathered.organisation,
            pays: self.pays,
        }
    }

    /// Nothing more is to be read. A first page that is the whole group serves those who list it, too.
    async fn decided(&self, group: &GroupId, accounts: &[AccountId], gathered: &Gathered) -> Membership {
        if let Some(head) = gathered.head.as_ref().filter(|head| walk::ends_at(&head.page, 0)) {
            let rows = head.page.members.clone();
            let roster = Arc::new(Roster::new(head.read, rows));
            let key = (group.clone(), Depth::Pages);
            self.last.insert(key.clone(), Arc::clone(&roster)).await;
            self.rosters.insert(key, roster).await;
        }
        gathered.judged(group, accounts)
    }

    /// Asks the organisation in which groups the accounts are. Whoever it does not know stays open; where it cannot be
    /// asked, Confluence can, so that its failure is none of the call's. It gets half of the time there is.
    async fn ask(
        &self,
        open: &[AccountId],
        into: &mut HashMap<AccountId, Arc<MemberOf>>,
        context: &Context,
    ) -> Organisation {
        let Some(admin) = &self.admin else {
            return Organisation::Closed;
        };
        let now = Instant::now();
        let until = now + context.read_deadline.saturating_duration_since(now) / 2;
        let searches = open.chunks(ACCOUNTS).map(|some| search(admin, some, until, context));
        let found = match futures_util::future::try_join_all(searches).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(request = %context.request, %error, "the organisation does not tell who is in a group; Confluence is asked");
                return Organisation::Failed;
            }
        };
        let asked: HashSet<&AccountId> = open.iter().collect();
        // Rows that nobody asked for answer nothing.
        for (account, groups) in found.into_iter().flatten().filter(|(id, _)| asked.contains(id)) {
            let theirs = Arc::new(MemberOf { read: now, groups });
            self.member_of.insert(account.clone(), Arc::clone(&theirs)).await;
            into.insert(account, theirs);
        }
        Organisation::Answered
    }

    /// How deep a reading must go to decide a change.
    fn deciding(&self, change: Change) -> Depth {
        self.possible(match change {
            Change::Add => Depth::Pages,
            Change::Remove => Depth::Whole,
        })
    }

    /// Whether what was read then may decide a change.
    pub(super) fn is_fresh(&self, group: &GroupId, read: Instant) -> bool {
        read.elapsed() <= self.write_life && !self.ledger.is_stale(group, read, self.view)
    }

    /// How many are in the group by a reading of all rows, our own changes laid over it.
    fn counted(&self, group: &GroupId, read: Instant, ids: &HashSet<AccountId>) -> usize {
        let changes = self.ledger.overlay(group, read, self.view).changes;
        let added = changes.iter().filter(|(id, present)| **present && !ids.contains(*id));
        let removed = changes.iter().filter(|(id, present)| !**present && ids.contains(*id));
        (ids.len() + added.count()).saturating_sub(removed.count())
    }

    /// How many are in the group by its first page.
    fn told(&self, group: &GroupId, head: &Head) -> Option<usize> {
        if walk::ends_at(&head.page, 0) {
            let ids = head.page.members.iter().map(|row| row.account.clone()).collect();
            return Some(self.counted(group, head.read, &ids));
        }
        let total = head.page.total.filter(|total| *total > head.page.members.len())?;
        // Cloud's number is older than what we changed after it was read; a limit that did not know would grow with use.
        let after = head.read + self.ledger.lag();
        let since = self.ledger.overlay(group, after, self.view).changes;
        let added = since.values().filter(|present| **present).count();
        Some((total + added).saturating_sub(since.len() - added))
    }

    /// How many are in a group that we made moments ago and that Cloud's reads do not show yet; `None`: it is no such group.
    fn unseen(&self, group: &GroupId) -> Option<usize> {
        let is_new = self.ledger.is_just_created(group);
        is_new.then(|| self.of_ours(group))
    }

    /// How many we put into a group of which nothing was read.
    fn of_ours(&self, group: &GroupId) -> usize {
        self.counted(group, Instant::now(), &HashSet::new())
    }
}

/// What a roster says of some accounts.
fn within(roster: &Arc<Roster>, accounts: &[AccountId]) -> Membership {
    let present = accounts.iter().filter(|account| roster.ids.contains(account));
    Membership {
        read: roster.read,
        present: present.cloned().collect(),
        basis: Basis::Roster(Arc::clone(roster)),
    }
}

/// One search of the organisation: the groups of up to [`ACCOUNTS`] accounts.
async fn search(
    admin: &Admin,
    accounts: &[AccountId],
    until: Instant,
    context: &Context,
) -> Result<Vec<(AccountId, HashSet<GroupId>)>, crate::cloud::Error> {
    admin
        .groups_of(accounts, &context.request, Patience::Until(until))
        .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cloud::{Client, Confluence, Credential, Owner};
    use crate::directory::ledger::Ledger;
    use crate::metrics::Metrics;
    use crate::model::{Caller, GroupName, RequestId};
    use crate::settings::{CredentialKind, Settings};
    use crate::simulator::{Options, Simulator};

    const SIZES: [usize; 3] = [0, 450, 4000];

    /// A simulated Cloud on a port of its own, until the test's runtime ends.
    struct World {
        settings: Settings,
        people: Vec<AccountId>,
        groups: Vec<GroupId>,
        cloud: Confluence,
        admin: Admin,
    }

    fn context() -> Context {
        Context::new(RequestId::random(), Caller::named("test"), Duration::from_secs(60))
    }

    async fn world() -> World {
        let group = SIZES.iter().map(|size| format!("size-{size}={size}").parse().unwrap());
        let options = Options {
            users: 6000,
            group: group.collect(),
            ..Options::default()
        };
        let simulator = Simulator::new(&options).unwrap();
        let people = simulator.people();
        let people = people.iter().map(|person| AccountId::new(&person.account_id)).collect();
        let org = simulator.org_id();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(simulator.run(listener, std::future::pending()));
        let mut settings = Settings::defaults();
        settings.cloud.base_url = site.clone();
        let client = |address: &str| Arc::new(Client::towards(address, &settings.cloud, Metrics::new()).unwrap());
        let cloud = Confluence::new(
            client(&site),
            Credential::pair(CredentialKind::ApiToken, "a@example.com", "token", Owner::Facade),
        );
        let key = crate::settings::Credential {
            kind: CredentialKind::Key,
            secret: "organisation-key".into(),
            ..Default::default()
        };
        let key = Credential::of(vec![key], std::path::Path::new(""));
        let admin = Admin::new(client(&format!("{site}/admin")), key, &org);
        let (context, mut groups) = (context(), Vec::new());
        for size in SIZES {
            let name = GroupName::new(&format!("size-{size}"));
            let patience = Patience::Until(context.read_deadline);
            let page = cloud.find_groups(&name, 0, &context.request, patience).await.unwrap();
            groups.push(page.groups.into_iter().find(|group| group.name == name).unwrap().id);
        }
        World {
            settings,
            people,
            groups,
            cloud,
            admin,
        }
    }

    impl World {
        fn members(&self, admin: Option<&Admin>, ledger: Arc<Ledger>) -> Members {
            let (cache, pays) = (&self.settings.cache, self.settings.cloud.pays);
            Members::new(
                cache,
                self.cloud.clone(),
                admin.cloned(),
                ledger,
                0,
                pays,
                Metrics::new(),
            )
        }
    }

    fn ledger() -> Arc<Ledger> {
        Arc::new(Ledger::new(Duration::from_secs(1), Duration::from_secs(60)))
    }

    /// Asks, and holds what is told to the truth; the calls that it took.
    async fn calls(members: &Members, group: &GroupId, asked: &[AccountId], change: Change, inside: usize) -> u64 {
        let context = context();
        let membership = members
            .membership(group, asked, change, &context)
            .await
            .unwrap()
            .unwrap();
        let expected: HashSet<AccountId> = asked.iter().take(inside).cloned().collect();
        assert_eq!(membership.present, expected);
        context.request.effort().calls()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_reads_that_are_foretold_from_the_caches_are_those_that_are_made() {
        let world = world().await;
        let sum = |reads: &[(Operation, u64)]| reads.iter().map(|(_, calls)| calls).sum::<u64>();
        for (size, group) in SIZES.iter().zip(&world.groups) {
            for (count, inside) in [
                (1, 0),
                (1, 1),
                (10, 0),
                (10, 5),
                (10, 10),
                (1000, 0),
                (1000, 300),
                (1000, 1000),
            ] {
                // Members from the end of the group, then people who are in none.
                let inside = std::cmp::min(inside, *size);
                let mut asked = world.people[size - inside..*size].to_vec();
                asked.extend(world.people[4000..].iter().take(count - inside).cloned());
                for (change, key) in [
                    (Change::Add, None),
                    (Change::Remove, None),
                    (Change::Add, Some(&world.admin)),
                    (Change::Remove, Some(&world.admin)),
                ] {
                    let case = format!(
                        "{change:?} {count} names, {inside} of {size} members, key {}",
                        key.is_some()
                    );
                    let members = world.members(key, ledger());
                    let foretold = members.would_read(group, &asked, change).await;
                    let made = calls(&members, group, &asked, change, inside).await;
                    // Of a group that nobody looked at yet, the first page alone is foretold.
                    if foretold != [(Operation::ListMembers, 1)] {
                        assert_eq!(sum(&foretold), made, "cold: {case}: {foretold:?}");
                    }
                    // The reads leave what a second run needs.
                    assert_eq!(members.would_read(group, &asked, change).await, [], "warm: {case}");
                    assert_eq!(calls(&members, group, &asked, change, inside).await, 0, "warm: {case}");

                    let members = world.members(key, ledger());
                    let context = context();
                    assert_eq!(members.total(group, &context).await.unwrap(), Some(*size));
                    assert_eq!(context.request.effort().calls(), 1);
                    let foretold = members.would_read(group, &asked, change).await;
                    let made = calls(&members, group, &asked, change, inside).await;
                    assert_eq!(sum(&foretold), made, "after the first page: {case}: {foretold:?}");
                }
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn how_many_there_are_tells_our_own_changes_too() {
        let world = world().await;
        let (ledger, context) = (ledger(), context());
        let members = world.members(None, Arc::clone(&ledger));
        let empty = &world.groups[0];
        assert_eq!(members.total(empty, &context).await.unwrap(), Some(0));
        for (place, present) in [(0, true), (1, true), (2, true), (1, false), (9, false)] {
            ledger.member_changed(empty, &world.people[place], Some(present), 0);
        }
        // Nothing was changed in Cloud: two are there by our own word.
        assert_eq!(members.total(empty, &context).await.unwrap(), Some(2));
        assert_eq!(
            members.total(&GroupId::new("no-such-group"), &context).await.unwrap(),
            None
        );
    }
}
