//! What the test changes, so that nothing of it is left: it takes out whom it put in, and nobody else. Pure.

use std::collections::BTreeSet;
use std::mem;

use super::mix::Call;

/// A name that nobody has, for a removal while nothing of ours is there to be removed.
const NOBODY: &str = "extender-facade-loadtest-nobody";

/// A group that may be changed, and who was not in it at the start.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) group: String,
    pub(super) names: Vec<String>,
}

/// What a changing call is about: the group it names, where it names one, and the list it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) call: Call,
    pub(super) ground: usize,
    /// For the two calls on members.
    pub(super) group: Option<String>,
    pub(super) names: Vec<String>,
}

/// How a changing call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// These names were done.
    Done(Vec<String>),
    /// Nothing was changed.
    Refused,
    /// Nobody knows what was changed.
    Unknown,
}

/// The names of one kind: members of a group, or groups.
#[derive(Debug, Default)]
struct Pool {
    /// May be put in.
    free: Vec<String>,
    /// Were put in by us.
    ours: Vec<String>,
    /// May have been.
    doubtful: BTreeSet<String>,
}

/// All that was changed so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    grounds: Vec<(Ground, Pool)>,
    /// Begins the name of every group that is made.
    prefix: String,
    made: Pool,
    next: u64,
    pub(super) added: u64,
    pub(super) removed: u64,
    /// Removals that found nothing of ours.
    pub(super) in_vain: u64,
}

impl Ledger {
    /// `run` tells this test's groups from another's.
    pub(super) fn new(grounds: Vec<Ground>, run: &str) -> Self {
        let first = grounds.first().map_or("", |ground| ground.group.as_str());
        let prefix = format!("{first}-loadtest-{run}-");
        let pooled = grounds.into_iter().map(|mut ground| {
            let free = mem::take(&mut ground.names);
            (
                ground,
                Pool {
                    free,
                    ..Pool::default()
                },
            )
        });
        Self {
            grounds: pooled.collect(),
            prefix,
            ..Self::default()
        }
    }

    /// The next change of this kind, of so many members. `pick` draws a number below another.
    pub(super) fn next(&mut self, call: Call, most: usize, pick: &mut dyn FnMut(usize) -> usize) -> Change {
        let change = |ground, group, names| Change {
            call,
            ground,
            group,
            names,
        };
        match call {
            Call::AddGroups => {
                self.next += 1;
                change(0, None, vec![format!("{}{}", self.prefix, self.next)])
            }
            Call::RemoveGroups => {
                let name = take(&mut self.made.ours, 1, pick).pop().unwrap_or_else(|| {
                    self.in_vain += 1;
                    format!("{}none", self.prefix)
                });
                change(0, None, vec![name])
            }
            _ => {
                let at = if self.grounds.len() > 1 {
                    pick(self.grounds.len())
                } else {
                    0
                };
                let Some((ground, pool)) = self.grounds.get_mut(at) else {
                    return change(0, Some(String::new()), Vec::new());
                };
                let is_add = call == Call::AddUsers;
                let from = if is_add { &mut pool.free } else { &mut pool.ours };
                let mut names = take(from, most, pick);
                if names.is_empty() && is_add {
                    // Everybody is in it: who is there already is asked for again, and skipped.
                    names.extend(pool.ours.iter().take(most).cloned());
                }
                if names.is_empty() {
                    self.in_vain += u64::from(!is_add);
                    names.push(NOBODY.to_owned());
                }
                change(at, Some(ground.group.clone()), names)
            }
        }
    }

    /// What became of a change.
    pub(super) fn settle(&mut self, change: Change, ended: Ended) {
        let is_add = matches!(change.call, Call::AddUsers | Call::AddGroups);
        let is_of_groups = change.group.is_none();
        let pool = if is_of_groups {
            &mut self.made
        } else {
            match self.grounds.get_mut(change.ground) {
                Some((_, pool)) => pool,
                None => return,
            }
        };
        let unknown = format!("{}none", self.prefix);
        let done: BTreeSet<&str> = match &ended {
            Ended::Done(names) => names.iter().map(String::as_str).collect(),
            Ended::Refused | Ended::Unknown => BTreeSet::new(),
        };
        for name in change.names.iter().filter(|name| **name != NOBODY && **name != unknown) {
            let is_ours = pool.ours.contains(name);
            match &ended {
                Ended::Done(_) if done.contains(name.as_str()) => {
                    if is_add {
                        self.added += 1;
                        if !is_ours {
                            pool.ours.push(name.clone());
                        }
                    } else {
                        self.removed += 1;
                        pool.doubtful.remove(name);
                        // The name of a group that was made is not given twice.
                        if !is_of_groups {
                            pool.free.push(name.clone());
                        }
                    }
                }
                // Somebody else's, or nobody: left alone.
                Ended::Done(_) if is_add => {}
                // Still ours, and taken out at the end.
                _ if is_ours => {}
                Ended::Refused if is_add && !is_of_groups => pool.free.push(name.clone()),
                Ended::Refused if is_add => {}
                _ => {
                    pool.doubtful.insert(name.clone());
                }
            }
        }
    }

    /// What is to be taken out at the end, at most so many names a call.
    pub(super) fn left(&self, most: usize) -> Vec<Change> {
        let mut left = Vec::new();
        let mut removals = |pool: &Pool, call, ground, group: Option<&str>| {
            let names: BTreeSet<&String> = pool.ours.iter().chain(&pool.doubtful).collect();
            let names: Vec<String> = names.into_iter().cloned().collect();
            left.extend(names.chunks(most.max(1)).map(|names| Change {
                call,
                ground,
                group: group.map(str::to_owned),
                names: names.to_vec(),
            }));
        };
        for (at, (ground, pool)) in self.grounds.iter().enumerate() {
            removals(pool, Call::RemoveUsers, at, Some(&ground.group));
        }
        removals(&self.made, Call::RemoveGroups, 0, None);
        left
    }
}

fn take(from: &mut Vec<String>, most: usize, pick: &mut dyn FnMut(usize) -> usize) -> Vec<String> {
    let count = most.min(from.len());
    (0..count).map(|_| from.swap_remove(pick(from.len()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(names: &[&str]) -> Ledger {
        let ground = Ground {
            group: "g".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        Ledger::new(vec![ground], "run")
    }

    fn next(ledger: &mut Ledger, call: Call) -> Change {
        ledger.next(call, 1, &mut |_| 0)
    }

    fn names(changes: &[Change]) -> Vec<(Call, Vec<String>)> {
        changes
            .iter()
            .map(|change| (change.call, change.names.clone()))
            .collect()
    }

    #[test]
    fn only_who_was_put_in_is_taken_out() {
        let mut ledger = ledger(&["a", "b"]);
        let in_vain = next(&mut ledger, Call::RemoveUsers);
        assert_eq!(in_vain.names, [NOBODY]);
        ledger.settle(in_vain, Ended::Done(Vec::new()));
        let added = next(&mut ledger, Call::AddUsers);
        assert_eq!(
            (added.group.as_deref(), added.names.as_slice()),
            (Some("g"), &["a".to_owned()][..])
        );
        ledger.settle(added, Ended::Done(vec!["a".to_owned()]));
        // Whom somebody else has put in meanwhile is skipped, and stays.
        let skipped = next(&mut ledger, Call::AddUsers);
        ledger.settle(skipped, Ended::Done(Vec::new()));
        assert_eq!(names(&ledger.left(100)), [(Call::RemoveUsers, vec!["a".to_owned()])]);
        let removed = next(&mut ledger, Call::RemoveUsers);
        ledger.settle(removed, Ended::Done(vec!["a".to_owned()]));
        assert!(ledger.left(100).is_empty());
        assert_eq!((ledger.added, ledger.removed, ledger.in_vain), (1, 1, 1));
        // And may be put in again.
        assert_eq!(next(&mut ledger, Call::AddUsers).names, ["a"]);
    }

    #[test]
    fn what_nobody_knows_is_taken_out_at_the_end() {
        let mut ledger = ledger(&["a", "b"]);
        let lost = next(&mut ledger, Call::AddUsers);
        ledger.settle(lost, Ended::Unknown);
        let refused = next(&mut ledger, Call::AddUsers);
        ledger.settle(refused.clone(), Ended::Refused);
        assert_eq!(names(&ledger.left(100)), [(Call::RemoveUsers, vec!["a".to_owned()])]);
        assert_eq!(next(&mut ledger, Call::AddUsers), refused);
        // A removal that was lost is made again.
        ledger.settle(refused.clone(), Ended::Done(refused.names.clone()));
        let removal = next(&mut ledger, Call::RemoveUsers);
        ledger.settle(removal, Ended::Unknown);
        assert_eq!(ledger.left(1).len(), 2);
    }

    #[test]
    fn groups_that_were_made_are_deleted_and_have_names_of_their_own() {
        let mut ledger = ledger(&[]);
        let made: Vec<Change> = (0..2).map(|_| next(&mut ledger, Call::AddGroups)).collect();
        assert_eq!(made[0].names, ["g-loadtest-run-1"]);
        assert_eq!(made[1].names, ["g-loadtest-run-2"]);
        for change in made {
            let names = change.names.clone();
            ledger.settle(change, Ended::Done(names));
        }
        let deleted = next(&mut ledger, Call::RemoveGroups);
        ledger.settle(deleted.clone(), Ended::Done(deleted.names));
        assert_eq!(
            names(&ledger.left(100)),
            [(Call::RemoveGroups, vec!["g-loadtest-run-2".to_owned()])]
        );
    }

    #[test]
    fn who_is_in_it_already_is_asked_for_again_once_everybody_is() {
        let mut ledger = ledger(&["a"]);
        let first = next(&mut ledger, Call::AddUsers);
        ledger.settle(first, Ended::Done(vec!["a".to_owned()]));
        let again = next(&mut ledger, Call::AddUsers);
        assert_eq!(again.names, ["a"]);
        ledger.settle(again, Ended::Unknown);
        assert_eq!(ledger.left(100).len(), 1);
    }
}
