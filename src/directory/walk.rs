//! Reading a whole list from Cloud's pages: complete, or an error.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::Error;
use crate::cloud::{Confluence, Group, GroupPage, MemberPage, Operation, Patience, Profile};
use crate::model::{AccountId, Context, GroupId};

/// No list is longer than this many pages; one that is goes round in circles.
const MAX_PAGES: usize = 10_000;

/// Reads the groups page after page with `page`, until `enough` says so or the list ends. Returns the groups, and
/// whether the list ended.
pub async fn groups<F: Future<Output = Result<GroupPage, crate::cloud::Error>>>(
    operation: Operation,
    page: impl Fn(usize) -> F,
    mut enough: impl FnMut(&[Group], usize) -> bool,
) -> Result<(Vec<Group>, bool), Error> {
    let mut all = Vec::new();
    let mut seen: HashSet<GroupId> = HashSet::new();
    let mut start = 0;
    for pages in 1..=MAX_PAGES {
        let page = page(start).await?;
        let rows = page.groups.len();
        let before = seen.len();
        all.extend(page.groups.into_iter().filter(|group| seen.insert(group.id.clone())));
        if rows == 0 || (rows < page.limit && !page.names_next) {
            return Ok((all, true));
        }
        if seen.len() == before {
            return Err(repeats(operation));
        }
        if enough(&all, pages) {
            return Ok((all, false));
        }
        start += page.limit;
    }
    Err(repeats(operation))
}

/// Reads a group's members: the rest of the pages side by side once the first has told the total, then a check that
/// nothing is missing, and where something is, one serial walk, which is the truth. `None`: the group is gone. `meet` is
/// shown each page as it comes, but for the first.
pub async fn members(
    cloud: &Confluence,
    group: &GroupId,
    first: &MemberPage,
    context: &Context,
    meet: impl Fn(&MemberPage),
) -> Result<Option<Vec<Arc<Profile>>>, Error> {
    if ends_at(first, 0) {
        return Ok(Some(distinct([first])));
    }
    if let Some(total) = first.total.filter(|total| *total > first.members.len()) {
        let patience = Patience::Until(context.read_deadline);
        let starts = (first.limit..total).step_by(first.limit);
        let pages = starts.map(async |start| {
            let page = cloud.members(group, start, &context.request, patience).await?;
            page.iter().for_each(&meet);
            Ok::<_, Error>(page)
        });
        let Some(pages) = try_join_all(pages).await?.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let last = pages.last().unwrap_or(first);
        // A full last page that names a next one: the total was too small.
        let goes_on = last.names_next && last.members.len() >= first.limit;
        let mut inner = std::iter::once(first).chain(pages.iter()).rev().skip(1);
        let whole = inner.all(|page| page.members.len() == first.limit && page.limit == first.limit);
        let rows = distinct(std::iter::once(first).chain(&pages));
        if whole && rows.len() >= total {
            // The page after the last one tells a total that was too small from a link that should not be there.
            let after = if goes_on {
                cloud
                    .members(group, total.next_multiple_of(first.limit), &context.request, patience)
                    .await?
            } else {
                None
            };
            if after.is_none_or(|page| page.members.is_empty()) {
                return Ok(Some(rows));
            }
        }
        tracing::debug!(request = %context.request, group = %group, rows = rows.len(), total, "pages do not add up; walking");
        return walk(cloud, group, None, context, meet).await;
    }
    walk(cloud, group, Some(first), context, meet).await
}

/// One page after the other until the end. With a `first` page at hand the usual signs of the end count; without one
/// only an empty page does, because the signs have been wrong before.
async fn walk(
    cloud: &Confluence,
    group: &GroupId,
    first: Option<&MemberPage>,
    context: &Context,
    meet: impl Fn(&MemberPage),
) -> Result<Option<Vec<Arc<Profile>>>, Error> {
    let patience = Patience::Until(context.read_deadline);
    let mut seen: HashSet<AccountId> = HashSet::new();
    let mut rows = Vec::new();
    let mut start = 0;
    let mut given = first.cloned();
    for _ in 0..MAX_PAGES {
        let page = match given.take() {
            Some(page) => page,
            None => match cloud.members(group, start, &context.request, patience).await? {
                Some(page) => page,
                None => return Ok(None),
            },
        };
        meet(&page);
        let before = seen.len();
        let new = page.members.iter().filter(|row| seen.insert(row.account.clone()));
        rows.extend(new.cloned());
        if page.members.is_empty() {
            // Positions may count people who are not shown: an empty page in the middle is not the end.
            if page.total.is_none_or(|total| start + page.limit >= total) {
                return Ok(Some(rows));
            }
        } else if seen.len() == before {
            return Err(repeats(Operation::ListMembers));
        } else if first.is_some() && ends_at(&page, start) {
            return Ok(Some(rows));
        }
        start += page.limit;
    }
    Err(repeats(Operation::ListMembers))
}

/// Whether a page that began at row `start` is the last one, by the usual signs.
pub fn ends_at(page: &MemberPage, start: usize) -> bool {
    let rows = page.members.len();
    let full = rows >= page.limit;
    if rows == 0 {
        return page.total.is_none_or(|total| start + page.limit >= total);
    }
    match page.total {
        // A total below the rows it comes with is none: the field's default is 0.
        Some(total) if total >= start + rows => start + rows >= total && !(full && page.names_next),
        _ => !full && !page.names_next,
    }
}

fn distinct<'p>(pages: impl IntoIterator<Item = &'p MemberPage>) -> Vec<Arc<Profile>> {
    let mut seen: HashSet<&AccountId> = HashSet::new();
    let rows = pages.into_iter().flat_map(|page| &page.members);
    rows.filter(|row| seen.insert(&row.account)).cloned().collect()
}

fn repeats(operation: Operation) -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(30),
        cause: format!(
            "Confluence Cloud repeats a page of {}: no complete list can be read",
            operation.name()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: usize, limit: usize, total: Option<usize>, names_next: bool) -> MemberPage {
        let row = |n: usize| Profile {
            account: AccountId::new(&format!("a{n}")),
            display_name: "".into(),
            email: "".into(),
            standing: crate::model::Standing::Active,
            brief: None,
            is_known: true,
        };
        MemberPage {
            members: (0..rows).map(row).map(Arc::new).collect(),
            limit,
            total,
            names_next,
        }
    }

    #[test]
    fn the_end_is_told_by_every_sign_the_contract_names() {
        for (rows, limit, total, next, start, end) in [
            (0, 200, None, false, 400, true),
            (50, 200, Some(450), false, 400, true),
            (200, 200, Some(400), false, 200, true),
            (200, 200, Some(400), true, 200, false),
            (50, 200, None, false, 400, true),
            (50, 200, None, true, 400, false),
            (200, 200, None, false, 0, false),
            (3, 200, Some(0), false, 0, true),
            (200, 200, Some(0), false, 0, false),
            (190, 200, Some(450), false, 0, false),
            (0, 200, Some(450), false, 0, false),
        ] {
            let page = page(rows, limit, total, next);
            assert_eq!(
                ends_at(&page, start),
                end,
                "{rows} of {limit}, total {total:?}, next {next}, from {start}"
            );
        }
    }
}
