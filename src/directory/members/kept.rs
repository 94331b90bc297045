//! Who was in a group by the last reading, when Cloud cannot be asked: for reads alone, a change never rests on it.

use std::sync::Arc;

use super::{Depth, Members, Roster};
use crate::directory::ledger::Overlay;
use crate::directory::stale::Kept;
use crate::model::GroupId;

impl Members {
    /// The last whole reading that went so deep, and the changes of ours to lay over it. `None`: there is none young enough,
    /// or it is known to be wrong: somebody else changed the group since, or a change is in doubt.
    pub async fn kept_roster(&self, group: &GroupId, depth: Depth) -> Option<Kept<(Arc<Roster>, Overlay)>> {
        let mut newest: Option<Arc<Roster>> = None;
        for depth in self.possible(depth).or_deeper() {
            let key = (group.clone(), depth);
            for cache in [&self.rosters, &self.last] {
                if let Some(roster) = cache.get(&key).await
                    && newest.as_ref().is_none_or(|newest| newest.read < roster.read)
                {
                    newest = Some(roster);
                }
            }
        }
        let roster = newest.filter(|roster| roster.read.elapsed() <= self.stale_life)?;
        let overlay = self.ledger.overlay(group, roster.read, self.view);
        // Asked last, so that nothing comes in between.
        (!self.ledger.is_stale(group, roster.read, self.view)).then(|| Kept {
            read: roster.read,
            took: roster.took,
            list: (roster, overlay),
        })
    }
}
