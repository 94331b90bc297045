//! A group's people as the organisation tells: also those whom Confluence leaves out of its pages, and with what only the
//! organisation knows of them. One page after the other: each says where the next one begins.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::cloud::{Admin, Patience, Profile, Who};
use crate::model::{AccountId, Context, GroupId};

/// No group has more pages; one that does goes round in circles.
const MAX_PAGES: usize = 10_000;

/// People of a group from one reading.
#[derive(Debug)]
pub struct People {
    /// Everybody who was asked for, once.
    pub rows: Vec<Arc<Profile>>,
    /// Rows that lie on several pages can be torn apart by changes; those of one page cannot.
    pub on_one_page: bool,
}

/// Reads those who are asked for. Calls: ⌈people ÷ 100⌉.
pub async fn people(admin: &Admin, group: &GroupId, who: Who, context: &Context) -> Result<People, Error> {
    let patience = Patience::Until(context.read_deadline);
    let mut seen: HashSet<AccountId> = HashSet::new();
    let mut cursors: HashSet<String> = HashSet::new();
    let mut rows = Vec::new();
    let mut cursor = None;
    for pages in 0..MAX_PAGES {
        let page = admin
            .members(group, who, cursor.take(), &context.request, patience)
            .await?;
        let new = page.users.into_iter().filter(|user| seen.insert(user.account.clone()));
        rows.extend(new.map(|user| Arc::new(Profile::from(user))));
        match page.next {
            None => {
                return Ok(People {
                    rows,
                    on_one_page: pages == 0,
                });
            }
            Some(next) if !cursors.insert(next.clone()) => break,
            Some(next) => cursor = Some(next),
        }
    }
    Err(Error::Unavailable {
        retry_after: Duration::from_secs(30),
        cause: "the organisation's Admin API repeats a page of members: no complete list can be read".to_owned(),
    })
}
