//! What a bulk call is going to do: every name's meaning, and what is so already. Any failure here fails the call, and
//! nothing has changed.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::apply::claim_steps;
use super::claims::{self, Claim, Claims};
use super::groups::Found;
use super::guard::Keep;
use super::ledger::{Ledger, Word};
use super::members::{Members, Membership};
use super::operations::Conduct;
use super::plan::{self, Change, Item};
use super::{Directory, Error, stopping};
use crate::cloud::{Group, Patience};
use crate::model::{AccountId, Context, GroupId, GroupName, NameKey, Skip, Verdict};
use crate::settings::{MergedRemoval, seconds};

/// What is going to be done about the members of a group.
pub struct MembersPlan {
    pub group: Group,
    pub items: Vec<Item<AccountId>>,
    pub membership: Membership,
    /// Others wait with their removals from this group, which is protected, until ours are made.
    pub _turn: Option<Claim<GroupId>>,
}

/// For each item with a step: the claim of it.
pub type MemberClaims = Vec<Option<Claim<(GroupId, AccountId)>>>;

impl MembersPlan {
    /// Claims what is to be changed. What others have changed since it was read who is a member is in the ledger.
    pub fn claim(&self, claims: &Claims<(GroupId, AccountId)>) -> MemberClaims {
        claim_steps(claims, &self.items, |account| (self.group.id.clone(), account.clone()))
    }

    /// What becomes of each name as far as the plan tells: nothing is said of those that are to be changed, nor of those
    /// that another operation holds.
    pub fn foresee(&self, change: Change, ledger: &Ledger, claims: &mut MemberClaims) -> Vec<Option<Verdict>> {
        let (group, membership) = (&self.group.id, &self.membership);
        let foresee = |(item, claim): (&Item<AccountId>, &mut Option<Claim<_>>)| {
            let account = match &item.step {
                Err(reason) => return Some(Verdict::skipped(*reason)),
                Ok(account) => account,
            };
            if claim.as_mut().is_some_and(|claim| !claim.is_mine()) {
                return None;
            }
            let present = match ledger.word(group, account, membership.read) {
                Word::Settled(present) => present,
                Word::Nothing => membership.present.contains(account),
                Word::Doubtful(_) => return None,
            };
            change.needless(present).map(Verdict::skipped)
        };
        self.items.iter().zip(claims).map(foresee).collect()
    }
}

impl Directory {
    /// `None`: the group is not there under the id we know.
    pub(super) async fn plan_members(
        &self,
        change: Change,
        group: Group,
        names: Vec<String>,
        conduct: Conduct,
        context: &Context,
    ) -> Result<Option<MembersPlan>, Error> {
        let process = &*self.process;
        // One map for the whole plan, whatever takes its place meanwhile.
        let map = self.identity.map();
        let meanings = match process.guard.refusal(&group, context.caller.rights) {
            Some(refusal) => {
                let reason = |name: &String| if name.trim().is_empty() { Skip::Blank } else { refusal };
                names.iter().map(|name| Err(reason(name))).collect()
            }
            None => {
                self.identity
                    .resolve(&names, change, &map, &self.cloud, context)
                    .await?
            }
        };
        let refuse_merged =
            change == Change::Remove && process.settings.identity.merged_removal == MergedRemoval::Refuse;
        let merged = if refuse_merged {
            let meant: Vec<AccountId> = meanings.iter().filter_map(|meaning| meaning.clone().ok()).collect();
            let usernames = self.identity.usernames(&meant, &map).await?;
            let several = meant
                .into_iter()
                .zip(usernames)
                .filter(|(_, usernames)| usernames.len() > 1);
            several.map(|(account, _)| account).collect()
        } else {
            HashSet::new()
        };
        let items = plan::members(names, meanings, |account| merged.contains(account));
        for item in items.iter().filter(|item| item.step == Err(Skip::MergedAccount)) {
            tracing::warn!(request = %context.request, group = %group.name, name = %item.name, "not removed: several usernames were merged into this account (identity.merged_removal)");
        }
        self.plan_items(change, group, items, conduct, context).await
    }

    /// The same once it is known whom the names mean.
    pub(super) async fn plan_items(
        &self,
        change: Change,
        group: Group,
        mut items: Vec<Item<AccountId>>,
        conduct: Conduct,
        context: &Context,
    ) -> Result<Option<MembersPlan>, Error> {
        let process = &*self.process;
        let guards_its_last = change == Change::Remove
            && items.iter().any(|item| item.step.is_ok())
            && process.guard.is_protected(&group);
        let turn = match conduct {
            Conduct::Real if guards_its_last => process.guard.turn(&group.id).await,
            Conduct::Real | Conduct::Dry => None,
        };
        let keep = if guards_its_last { Keep::TheLast } else { Keep::Nobody };
        // Waiting for others is not reading.
        let patience = seconds(process.settings.extender.read_deadline_s);
        let context = &if turn.is_some() {
            context.again(patience)
        } else {
            context.clone()
        };
        let accounts: Vec<AccountId> = items.iter().filter_map(|item| item.step.clone().ok()).collect();
        let membership = self.members.membership(&group.id, &accounts, change, context).await?;
        let Some(membership) = membership else {
            return Ok(None);
        };
        if change == Change::Remove {
            self.guard_removal(&group, &mut items, &membership, keep, context)
                .await?;
        }
        Ok(Some(MembersPlan {
            group,
            items,
            membership,
            _turn: turn,
        }))
    }

    /// Whether somebody is a member whose last change was in doubt: asked when Cloud can be believed, at `until`, and within
    /// `patience` of that; the ledger knows it from then on.
    pub(super) async fn settle_doubt(
        &self,
        group: &GroupId,
        account: &AccountId,
        until: Instant,
        patience: Duration,
        context: &Context,
    ) -> Result<bool, Error> {
        tokio::time::sleep_until(until.into()).await;
        let patience = Patience::Settling(Instant::now() + patience);
        let present = Members::is_member_now(group, account, &self.cloud, &context.request, patience).await?;
        self.process.ledger.doubt_settled(group, account, until, present);
        Ok(present)
    }

    /// Claims the names, waits for the operations that came earlier for one of them, and finds out what each name means
    /// after their outcome.
    pub(super) async fn claim_groups(
        &self,
        names: &[String],
        conduct: Conduct,
        context: &Context,
    ) -> Result<(Vec<Claim<NameKey>>, Vec<Found>), Error> {
        let keys: HashSet<NameKey> = match conduct {
            Conduct::Real => names.iter().map(|name| NameKey::of(name)).collect(),
            Conduct::Dry => HashSet::new(),
        };
        let mut claims = self.process.groups.claim(keys);
        let plan = async {
            claims::turns(&mut claims).await;
            self.find_groups(
                names,
                &context.again(seconds(self.process.settings.extender.read_deadline_s)),
            )
            .await
        };
        let found = self.unless_stopped(plan).await?;
        Ok((claims, found))
    }

    /// The planning of an operation, given up when a shutdown will not wait for it: nothing has changed by then.
    pub(super) async fn unless_stopped<T>(&self, plan: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.process.stop.cancelled() => Err(stopping()),
            planned = plan => planned,
        }
    }

    /// What each name means as a group's; each name is looked up once.
    async fn find_groups(&self, names: &[String], context: &Context) -> Result<Vec<Found>, Error> {
        let all: Vec<GroupName> = names.iter().map(|name| GroupName::new(name)).collect();
        let mut seen = HashSet::new();
        let distinct: Vec<GroupName> = all
            .iter()
            .filter(|name| name.is_possible() && seen.insert((*name).clone()))
            .cloned()
            .collect();
        let found = self
            .groups
            .find_all(&distinct, &self.cloud, &self.process.ledger, self.view, context)
            .await?;
        let found: HashMap<GroupName, Found> = distinct.into_iter().zip(found).collect();
        Ok(all
            .iter()
            .map(|name| found.get(name).cloned().unwrap_or(Found::Nothing))
            .collect())
    }
}
