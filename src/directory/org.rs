//! A group's people as the organisation tells: also those whom Confluence leaves out of its pages, and with what only the
//! organisation knows of them.

use std::collections::HashSet;
use std::sync::Arc;

use super::Error;
use crate::cloud::{Admin, Patience, Profile, Who};
use crate::model::{AccountId, Context, GroupId};

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
    let found = admin.members(group, who, &context.request, patience).await?;
    let mut seen: HashSet<AccountId> = HashSet::new();
    let once = found.rows.into_iter().filter(|user| seen.insert(user.account.clone()));
    Ok(People {
        rows: once.map(|user| Arc::new(Profile::from(user))).collect(),
        on_one_page: found.on_one_page,
    })
}
