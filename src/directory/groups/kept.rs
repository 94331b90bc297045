//! What is still known of groups when Cloud cannot be asked: for reads alone, a change never rests on it.

use std::sync::Arc;
use std::time::Instant;

use super::{Found, Groups, List, judge};
use crate::cloud::Group;
use crate::directory::ledger::{Ledger, View};
use crate::directory::members::forget;
use crate::directory::stale::Kept;
use crate::model::GroupName;

impl Groups {
    /// The last list of all groups, for [`Groups::current`]. `None`: there is none young enough, or it is known to be wrong.
    pub async fn kept(&self, ledger: &Ledger, view: View) -> Option<Kept<Arc<List>>> {
        let lists = [self.list.get(&()).await, self.last.get(&()).await];
        let list = lists.into_iter().flatten().max_by_key(|list| list.read)?;
        let is_good = self.is_young(&list) && !ledger.groups_are_stale(list.read, view);
        is_good.then(|| Kept {
            read: list.read,
            took: list.took,
            list,
        })
    }

    /// The group that had this name by the last answer that tells, and when that was read. `None`: no answer is young
    /// enough, the last one tells of no such group or of several, or it is known to be wrong.
    pub async fn kept_name(&self, name: &GroupName, ledger: &Ledger, view: View) -> Option<(Instant, Group)> {
        let key = name.key();
        let lists = [
            self.by_name.get(name).await,
            self.last_names.get(&key).await,
            self.list.get(&()).await,
            self.last.get(&()).await,
        ];
        let list = lists.into_iter().flatten().max_by_key(|list| list.read)?;
        if !self.is_young(&list) || ledger.name_is_stale(&key, list.read, view) {
            return None;
        }
        match judge(name, self.alike(&list, name, ledger, view)) {
            Found::One(group) if list.is_whole || group.name == *name => Some((list.read, group)),
            _ => None,
        }
    }

    /// There is no such group: a list that shows one is not told any more.
    pub(super) async fn forget_list_with(&self, name: &GroupName) {
        if let Some(last) = self.last.get(&()).await
            && last.alike(&name.key()).next().is_some()
        {
            forget(&self.last, &(), &last).await;
        }
    }

    fn is_young(&self, list: &List) -> bool {
        list.read.elapsed() <= self.stale_life
    }
}
