//! Searching groups and changing them. The groups are the same as those of version 1 of Confluence's API.
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
use super::super::state::{Unchanged, View};
use super::super::writes::{circumstances, is_name, new_group};
use super::roles;
use super::rows::{GroupCounts, GroupRow};
use super::users::known;
use super::{Wanted, bad, body_of, code, error, page_answer, within};

const USUAL_PAGE: u64 = 20;
/// How many groups nobody asked for stand in an answer with the fault `admin_garbage=foreign`.
const FOREIGN: usize = 2;

/// What can be searched for. What else the document has is refused: the simulator does not know it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Search {
    group_names: Option<Vec<String>>,
    group_ids: Option<Vec<String>>,
    account_ids: Option<Vec<String>>,
    directory_ids: Option<Vec<String>>,
    search_term: Option<String>,
    expand: Option<Vec<String>>,
    limit: Option<i64>,
    cursor: Option<String>,
}

impl Search {
    fn check(&self) -> Result<(), Answer> {
        within("groupNames", self.group_names.as_ref(), 100)?;
        within("groupIds", self.group_ids.as_ref(), 10)?;
        within("accountIds", self.account_ids.as_ref(), 10)?;
        within("directoryIds", self.directory_ids.as_ref(), 10)?;
        within("expand", self.expand.as_ref(), 2)?;
        if self.group_names.is_some() && (self.group_ids.is_some() || self.search_term.is_some()) {
            return Err(bad("groupNames excludes groupIds and searchTerm"));
        }
        known(
            "expand",
            self.expand.iter().flatten(),
            &["counts.resources", "counts.users"],
        )
    }

    fn expands(&self, what: &str) -> bool {
        self.expand.iter().flatten().any(|one| one == what)
    }
}

/// `POST …/groups/search`.
pub(super) fn search(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let search: Search = body_of(request)?;
    search.check()?;
    let wanted = Wanted::new(request, search.cursor.as_deref(), search.limit, USUAL_PAGE)?;
    let users = shared.users.read();
    let asked_for = search.account_ids.as_ref().map(|ids| {
        let numbers = ids.iter().filter_map(|id| users.number(id));
        numbers.collect::<Vec<u32>>()
    });
    let mut store = shared.store.lock();
    let view = store.seen(Instant::now(), faults.lag);
    let elsewhere = search
        .directory_ids
        .as_ref()
        .is_some_and(|ids| !ids.contains(&shared.directory_id));
    let found = if elsewhere {
        Vec::new()
    } else {
        matching(view, &search, asked_for.as_deref())
    };
    let (mut groups, links) = wanted.page(found);
    if faults.sources.admin_garbage == Some(Garbage::Foreign) {
        let others = view
            .sorted()
            .iter()
            .filter(|info| groups.iter().all(|one| one.id != info.id));
        let mut foreign: Vec<_> = others.take(FOREIGN).map(Arc::clone).collect();
        foreign.append(&mut groups);
        groups = foreign;
    }
    let (count_users, count_resources) = (search.expands("counts.users"), search.expands("counts.resources"));
    let rows = groups.iter().map(|info| {
        let mut row = GroupRow::new(info, faults.external, &shared.directory_id);
        row.counts = (count_users || count_resources).then(|| GroupCounts {
            users: count_users.then(|| view.members(&info.id).map_or(0, <[u32]>::len)),
            resources: count_resources.then(|| roles::of(info, faults, &shared.cloud_id).len()),
        });
        row
    });
    Ok(page_answer(faults, rows.collect(), links))
}

/// Every group that all the filters mean, sorted as the list of all groups is.
fn matching(view: &View, search: &Search, members: Option<&[u32]>) -> Vec<Arc<GroupInfo>> {
    let has_member =
        |info: &GroupInfo| members.is_none_or(|members| members.iter().any(|member| view.is_member(&info.id, *member)));
    let mut found: Vec<Arc<GroupInfo>> = if let Some(names) = &search.group_names {
        let names: HashSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
        names
            .iter()
            .flat_map(|name| view.named(name).map(Arc::clone).collect::<Vec<_>>())
            .collect()
    } else if let Some(ids) = &search.group_ids {
        ids.iter().filter_map(|id| view.group(id)).collect()
    } else {
        view.sorted().to_vec()
    };
    let term = search.search_term.as_ref().map(|term| term.to_lowercase());
    found.retain(|info| has_member(info) && term.as_ref().is_none_or(|term| info.lower.contains(term)));
    found.sort_by(|one, other| (&one.lower, &one.name, &one.id).cmp(&(&other.lower, &other.name, &other.id)));
    found
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
    description: Option<Box<str>>,
}

/// `POST …/groups`. The answer does not say which id the group has.
pub(super) fn create(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    refuse_writes(faults)?;
    let wanted: NewGroup = body_of(request)?;
    if !is_name(&wanted.name) {
        return Err(bad("The name is missing or invalid"));
    }
    let info = GroupInfo {
        description: wanted.description,
        ..new_group(shared, wanted.name)
    };
    let created = shared.store.lock().create(circumstances(faults), Arc::new(info));
    created.map(|()| Answer::empty(201)).map_err(refusal)
}

/// `DELETE …/groups/{groupId}`.
pub(super) fn delete(shared: &Shared, faults: &Faults, id: &str) -> Result<Answer, Answer> {
    refuse_writes(faults)?;
    let deleted = shared.store.lock().delete(circumstances(faults), id);
    deleted.map(|()| Answer::empty(204)).map_err(refusal)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewMember {
    account_id: String,
}

/// `POST …/groups/{groupId}/memberships`.
pub(super) fn add(shared: &Shared, faults: &Faults, request: &Request, id: &str) -> Result<Answer, Answer> {
    refuse_writes(faults)?;
    let member: NewMember = body_of(request)?;
    let user = member_number(shared, id, &member.account_id)?;
    let added = shared.store.lock().add(circumstances(faults), id, user);
    added.map(|()| Answer::empty(204)).map_err(refusal)
}

/// `DELETE …/groups/{groupId}/memberships/{accountId}`.
pub(super) fn remove(shared: &Shared, faults: &Faults, id: &str, account_id: &str) -> Result<Answer, Answer> {
    refuse_writes(faults)?;
    let user = member_number(shared, id, account_id)?;
    let removed = shared.store.lock().remove(circumstances(faults), id, user);
    removed.map(|()| Answer::empty(204)).map_err(refusal)
}

fn refuse_writes(faults: &Faults) -> Result<(), Answer> {
    if faults.forbid_writes {
        return Err(error(403, code::GROUP_REFUSED, "You are not allowed to manage groups"));
    }
    Ok(())
}

/// An unknown group is told before an unknown user.
fn member_number(shared: &Shared, id: &str, account_id: &str) -> Result<u32, Answer> {
    let number = shared.users.read().number(account_id);
    if shared.store.lock().present().group(id).is_none() {
        return Err(refusal(Unchanged::NoGroup));
    }
    number.ok_or_else(|| error(404, code::USER, "There is no such user"))
}

/// Why nothing changed. Two of the answers have one status: only the code and the text tell them apart.
pub(super) fn refusal(why: Unchanged) -> Answer {
    match why {
        Unchanged::NoGroup => error(404, code::GROUP, "There is no such group"),
        Unchanged::ReadOnly => error(
            403,
            code::GROUP_REFUSED,
            "The group is synced from an identity provider and cannot be changed here",
        ),
        Unchanged::DefaultGroup => error(403, code::DEFAULT_GROUP, "A default group cannot be deleted"),
        Unchanged::NameTaken => error(409, code::CONFLICT, "A group with this name already exists"),
        Unchanged::AlreadyMember => error(409, code::CONFLICT, "The user is already a member of the group"),
        Unchanged::NotMember => error(404, code::USER, "The user is not a member of the group"),
        Unchanged::NoSeat => error(
            409,
            code::LICENCES,
            "You have exceeded your user limit for an app that the group grants access to",
        ),
    }
}
