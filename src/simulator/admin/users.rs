//! Searching users, and reading one.
use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use tokio::time::Instant;

use super::super::Shared;
use super::super::answers::Answer;
use super::super::data::GroupInfo;
use super::super::faults::Faults;
use super::super::request::Request;
use super::super::source_faults::Garbage;
use super::super::state::View;
use super::super::users::{AccountType, User, Users};
use super::rows::{ProductAccess, UserCounts, UserGroup, UserRow, statuses};
use super::{Wanted, bad, body_of, code, error, page_answer, within};

const USUAL_PAGE: u64 = 50;
/// How many people nobody asked for stand in an answer with the fault `admin_garbage=foreign`.
const FOREIGN: usize = 2;

/// What can be searched for. What else the document has is refused: the simulator does not know it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Search {
    emails: Option<Vec<String>>,
    account_ids: Option<Vec<String>>,
    group_ids: Option<Vec<String>>,
    directory_ids: Option<Vec<String>>,
    status: Option<Vec<String>>,
    account_status: Option<Vec<String>>,
    membership_status: Option<Vec<String>>,
    claim_status: Option<String>,
    search_term: Option<String>,
    #[serde(default)]
    expand: Vec<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

impl Search {
    fn check(&self) -> Result<(), Answer> {
        within("emails", self.emails.as_ref(), 100)?;
        within("accountIds", self.account_ids.as_ref(), 10)?;
        within("groupIds", self.group_ids.as_ref(), 10)?;
        within("directoryIds", self.directory_ids.as_ref(), 10)?;
        within("status", self.status.as_ref(), 4)?;
        within("accountStatus", self.account_status.as_ref(), 3)?;
        within("membershipStatus", self.membership_status.as_ref(), 3)?;
        if self.emails.is_some() && self.search_term.is_some() {
            return Err(bad("emails and searchTerm exclude each other"));
        }
        let statuses = ["active", "suspended", "not_invited", "deactivated", "for_deletion"];
        known("status", self.status.iter().flatten(), &statuses)?;
        known(
            "accountStatus",
            self.account_status.iter().flatten(),
            &["active", "inactive", "closed"],
        )?;
        let memberships = ["active", "suspended", "no_membership"];
        known(
            "membershipStatus",
            self.membership_status.iter().flatten(),
            &memberships,
        )?;
        known("claimStatus", &self.claim_status, &["managed", "unmanaged"])?;
        let expansions = ["platformRoles", "counts.resources", "productAccess", "groups"];
        known("expand", &self.expand, &expansions)
    }

    fn expands(&self, what: &str) -> bool {
        self.expand.iter().any(|one| one == what)
    }
}

/// Every value is one that the document lists.
pub(super) fn known<'a>(
    name: &str,
    values: impl IntoIterator<Item = &'a String>,
    listed: &[&str],
) -> Result<(), Answer> {
    match values.into_iter().find(|value| !listed.contains(&value.as_str())) {
        Some(value) => Err(bad(&format!("{name}: {value:?} is none of {listed:?}"))),
        None => Ok(()),
    }
}

/// `POST …/users/search`.
pub(super) fn search(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let search: Search = body_of(request)?;
    search.check()?;
    let wanted = Wanted::new(request, search.cursor.as_deref(), search.limit, USUAL_PAGE)?;
    let users = shared.users.read();
    let mut store = shared.store.lock();
    let view = store.seen(Instant::now(), faults.lag);
    let elsewhere = search
        .directory_ids
        .as_ref()
        .is_some_and(|ids| !ids.contains(&shared.directory_id));
    let found = if elsewhere {
        Vec::new()
    } else {
        matching(&users, view, faults, &search)
    };
    let (mut numbers, links) = wanted.page(found);
    if faults.sources.admin_garbage == Some(Garbage::Foreign) {
        let others = users.numbers().filter(|number| !numbers.contains(number));
        let mut foreign: Vec<u32> = others
            .filter(|number| is_listed(&users, *number))
            .take(FOREIGN)
            .collect();
        foreign.append(&mut numbers);
        numbers = foreign;
    }
    let rows = numbers.iter().filter_map(|number| {
        let mut row = row(&users, faults, *number)?;
        let profile = users.profile(*number);
        row.counts = search
            .expands("counts.resources")
            .then_some(UserCounts { resources: 1 });
        row.groups = search.expands("groups").then(|| groups_of(view, *number));
        row.platform_roles = search.expands("platformRoles").then(Vec::new);
        row.product_access = search.expands("productAccess").then(|| {
            let product = |key: &'static str| ProductAccess {
                id: format!("ari:cloud:{key}::site/{}", shared.cloud_id),
                key,
                last_active_timestamp: None,
            };
            let last_active_timestamp = profile.last_active;
            let confluence = ProductAccess {
                last_active_timestamp,
                ..product("confluence")
            };
            // One product more, never used: whoever takes the first one is wrong.
            vec![product("jira-software"), confluence]
        });
        Some(row)
    });
    Ok(page_answer(faults, rows.collect(), links))
}

/// `GET …/users/{userId}`. `counts` and `platformRoles` are left out.
pub(super) fn get(shared: &Shared, faults: &Faults, account_id: &str) -> Result<Answer, Answer> {
    let users = shared.users.read();
    let number = users.number(account_id).filter(|number| is_listed(&users, *number));
    let row = number.and_then(|number| row(&users, faults, number));
    let row = row.ok_or_else(|| error(404, code::USER, "There is no such user"))?;
    Ok(Answer::json(200, &serde_json::json!({ "data": row })))
}

fn row<'a>(users: &'a Users, faults: &Faults, number: u32) -> Option<UserRow<'a>> {
    let user = users.get(number)?;
    let mut row = UserRow::new(user, user.status(faults), users.profile(number));
    if faults.sources.admin_garbage == Some(Garbage::NoEmail) {
        row.email = None;
    }
    Some(row)
}

fn groups_of(view: &View, number: u32) -> Vec<UserGroup> {
    let group = |info: &Arc<GroupInfo>| UserGroup {
        id: info.id.clone(),
        name: info.name.clone(),
        description: info.description.clone(),
    };
    view.groups_of(number).iter().map(group).collect()
}

/// Apps and customers are not among the organisation's users.
fn is_listed(users: &Users, number: u32) -> bool {
    users
        .get(number)
        .is_some_and(|user| user.account_type == AccountType::Atlassian)
}

/// Everybody whom all the filters mean, in order.
fn matching(users: &Users, view: &View, faults: &Faults, search: &Search) -> Vec<u32> {
    let by_email = search.emails.as_ref().map(|emails| {
        let found = emails.iter().flat_map(|email| users.with_email(email));
        found.collect::<HashSet<u32>>()
    });
    let by_id = search.account_ids.as_ref().map(|ids| {
        let found = ids.iter().filter_map(|id| users.number(id));
        found.collect::<HashSet<u32>>()
    });
    let by_group = search.group_ids.as_ref().map(|ids| {
        let members = ids.iter().filter_map(|id| view.members(id));
        members.flatten().copied().collect::<HashSet<u32>>()
    });
    let term = search.search_term.as_ref().map(|term| term.to_lowercase());
    let fits = |user: &User| {
        let (status, account_status, membership_status) = statuses(user.status(faults));
        let among = |wanted: &Option<Vec<String>>, shown: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.iter().any(|one| one == shown))
        };
        among(&search.status, status)
            && among(&search.account_status, account_status)
            && among(&search.membership_status, membership_status)
            && search.claim_status.as_deref().is_none_or(|wanted| wanted == "managed")
            && term.as_ref().is_none_or(|term| {
                user.display_name.to_lowercase().contains(term) || user.email.to_lowercase().contains(term)
            })
    };
    let sets: Vec<&HashSet<u32>> = [&by_email, &by_id, &by_group].into_iter().flatten().collect();
    // The smallest set first: 100 addresses are looked up, not searched for among everybody.
    let mut candidates: Vec<u32> = match sets.iter().min_by_key(|set| set.len()) {
        Some(set) => set.iter().copied().collect(),
        None => users.numbers().collect(),
    };
    candidates.sort_unstable();
    candidates.retain(|number| {
        is_listed(users, *number) && sets.iter().all(|set| set.contains(number)) && users.get(*number).is_some_and(fits)
    });
    candidates
}
