//! Who goes next: callers share the pace by weighted fair queueing, reads before changes. Pure.
//!
//! Every request has a tag, the virtual time at which its turn would come if each call were served at its share: a call
//! pays for its requests with virtual time, the more the less its caller weighs and the more calls of that caller are
//! there. The lowest tag goes first. Who comes new starts at the present virtual time, so a small call is not stuck behind
//! ten thousand names that came before it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::cloud::Operation;
use crate::model::Flow;

/// What a request with weight 1 costs of virtual time.
const UNIT: u64 = 1 << 20;

/// So many reads go before one change, where both wait.
const READS_BEFORE_A_CHANGE: u32 = 4;

/// Reads go before changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Read,
    Change,
}

impl Class {
    pub fn of(operation: Operation) -> Self {
        if operation.is_write() { Self::Change } else { Self::Read }
    }

    /// Its label in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Change => "change",
        }
    }
}

/// Where somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    tag: u64,
    number: u64,
}

#[derive(Debug)]
struct Waiter<T> {
    flow: Flow,
    deadline: Option<Instant>,
    who: T,
}

#[derive(Debug, Default)]
struct Call {
    /// The virtual times at which it will have paid for its reads and changes.
    paid: [u64; 2],
    /// Its requests that wait or are under way.
    present: usize,
}

#[derive(Debug, Default)]
struct Account {
    calls: usize,
    under_way: usize,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    lanes: [BTreeMap<Place, Waiter<T>>; Operation::COUNT],
    calls: HashMap<usize, Call>,
    callers: HashMap<Arc<str>, Account>,
    /// The present virtual time of each class.
    now: [u64; 2],
    number: u64,
    reads_in_row: u32,
    len: usize,
    most: usize,
}

impl<T> Queue<T> {
    /// A queue for `most` waiters.
    pub fn new(most: usize) -> Self {
        Self {
            lanes: std::array::from_fn(|_| BTreeMap::new()),
            calls: HashMap::new(),
            callers: HashMap::new(),
            now: [0; 2],
            number: 0,
            reads_in_row: 0,
            len: 0,
            most,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_full(&self) -> bool {
        self.len >= self.most
    }

    /// How many wait for this kind of request.
    pub fn waiting(&self, operation: Operation) -> usize {
        self.lane(operation).map_or(0, BTreeMap::len)
    }

    /// The kinds for which somebody waits.
    pub fn wanted(&self) -> impl Iterator<Item = Operation> {
        Operation::ALL
            .into_iter()
            .filter(|operation| self.waiting(*operation) > 0)
    }

    /// Somebody waits, until `deadline` at most.
    pub fn push(&mut self, operation: Operation, flow: &Flow, deadline: Option<Instant>, who: T) -> Place {
        let class = Class::of(operation) as usize;
        self.arrives(flow);
        let calls = self.callers.get(&flow.caller).map_or(1, |account| account.calls.max(1));
        let mut tag = self.now.get(class).copied().unwrap_or(0);
        if let Some(paid) = self.calls.get_mut(&flow.call).and_then(|call| call.paid.get_mut(class)) {
            tag = tag.max(*paid);
            let price = UNIT.saturating_mul(u64::try_from(calls).unwrap_or(u64::MAX)) / u64::from(flow.weight.max(1));
            *paid = tag.saturating_add(price.max(1));
        }
        self.number += 1;
        let place = Place {
            tag,
            number: self.number,
        };
        let waiter = Waiter {
            flow: flow.clone(),
            deadline,
            who,
        };
        if let Some(lane) = self.lanes.get_mut(operation as usize) {
            lane.insert(place, waiter);
            self.len += 1;
        }
        place
    }

    /// Whoever waits at that place goes away, if they are still there.
    pub fn leave(&mut self, operation: Operation, place: Place) -> Option<T> {
        let waiter = self.lanes.get_mut(operation as usize)?.remove(&place)?;
        self.len -= 1;
        self.leaves(&waiter.flow);
        Some(waiter.who)
    }

    /// Those who wait for this kind of request and cannot wait until `until`.
    pub fn give_up(&mut self, operation: Operation, until: Instant) -> Vec<T> {
        let late = self.lane(operation).into_iter().flatten();
        let late = late.filter(|(_, waiter)| waiter.deadline.is_some_and(|deadline| deadline < until));
        let late: Vec<Place> = late.map(|(place, _)| *place).collect();
        late.into_iter()
            .filter_map(|place| self.leave(operation, place))
            .collect()
    }

    /// The next whose kind is `ready`; what they take is under way until [`Self::ended`].
    pub fn next(&mut self, mut ready: impl FnMut(Operation) -> bool) -> Option<(Operation, Flow, T)> {
        let mut best: [Option<(Place, Operation)>; 2] = [None; 2];
        for operation in Operation::ALL {
            let Some(place) = self.first(operation) else { continue };
            let Some(best) = best.get_mut(Class::of(operation) as usize) else {
                continue;
            };
            if best.is_none_or(|(before, _)| place < before) && ready(operation) {
                *best = Some((place, operation));
            }
        }
        let (place, operation) = match best {
            [Some(_), Some(change)] if self.reads_in_row >= READS_BEFORE_A_CHANGE => change,
            [Some(read), _] => read,
            [None, change] => change?,
        };
        let class = Class::of(operation);
        self.reads_in_row = match class {
            Class::Read => self.reads_in_row.saturating_add(1),
            Class::Change => 0,
        };
        if let Some(now) = self.now.get_mut(class as usize) {
            *now = (*now).max(place.tag);
        }
        let waiter = self.lanes.get_mut(operation as usize)?.remove(&place)?;
        self.len -= 1;
        if let Some(account) = self.callers.get_mut(&waiter.flow.caller) {
            account.under_way += 1;
        }
        Some((operation, waiter.flow, waiter.who))
    }

    /// Goes without having waited; as [`Self::next`].
    pub fn pass(&mut self, flow: &Flow) {
        self.arrives(flow);
        if let Some(account) = self.callers.get_mut(&flow.caller) {
            account.under_way += 1;
        }
    }

    /// Whether the caller has as many under way as it may.
    pub fn is_at_cap(&self, flow: &Flow) -> bool {
        let under_way = self.callers.get(&flow.caller).map_or(0, |account| account.under_way);
        flow.at_once != 0 && under_way >= usize::from(flow.at_once)
    }

    /// A request of the flow is at an end.
    pub fn ended(&mut self, flow: &Flow) {
        if let Some(account) = self.callers.get_mut(&flow.caller) {
            account.under_way = account.under_way.saturating_sub(1);
        }
        self.leaves(flow);
    }

    /// The first in a lane whose caller may have one more under way.
    fn first(&self, operation: Operation) -> Option<Place> {
        let mut waiters = self.lane(operation)?.iter();
        let first = waiters.find(|(_, waiter)| !self.is_at_cap(&waiter.flow));
        first.map(|(place, _)| *place)
    }

    fn lane(&self, operation: Operation) -> Option<&BTreeMap<Place, Waiter<T>>> {
        self.lanes.get(operation as usize)
    }

    fn arrives(&mut self, flow: &Flow) {
        let call = self.calls.entry(flow.call).or_default();
        call.present += 1;
        if call.present == 1 {
            self.callers.entry(Arc::clone(&flow.caller)).or_default().calls += 1;
        }
    }

    fn leaves(&mut self, flow: &Flow) {
        let Some(call) = self.calls.get_mut(&flow.call) else {
            return;
        };
        call.present = call.present.saturating_sub(1);
        if call.present > 0 {
            return;
        }
        self.calls.remove(&flow.call);
        if let Some(account) = self.callers.get_mut(&flow.caller) {
            account.calls = account.calls.saturating_sub(1);
            if account.calls == 0 && account.under_way == 0 {
                self.callers.remove(&flow.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(caller: &str, call: usize, weight: u16) -> Flow {
        Flow {
            caller: caller.into(),
            call,
            weight,
            at_once: 0,
        }
    }

    /// Who goes first, second and so on, each request ended before the next goes.
    fn order(queue: &mut Queue<&'static str>, count: usize) -> Vec<&'static str> {
        let mut order = Vec::new();
        for _ in 0..count {
            let Some((_, flow, who)) = queue.next(|_| true) else {
                break;
            };
            order.push(who);
            queue.ended(&flow);
        }
        order
    }

    #[test]
    fn a_small_call_is_not_stuck_behind_a_large_one() {
        let mut queue = Queue::new(100_000);
        let large = flow("one", 1, 1);
        for _ in 0..10_000 {
            queue.push(Operation::AddMember, &large, None, "large");
        }
        assert_eq!(order(&mut queue, 100).len(), 100);
        queue.push(Operation::AddMember, &flow("two", 2, 1), None, "small");
        assert!(order(&mut queue, 2).contains(&"small"));
        // Also of the same caller.
        queue.push(Operation::AddMember, &flow("one", 3, 1), None, "small");
        assert!(order(&mut queue, 3).contains(&"small"));
        assert_eq!(queue.len(), 10_000 + 2 - 105);
    }

    #[test]
    fn callers_share_by_their_weights_however_many_calls_they_make() {
        let mut queue = Queue::new(100_000);
        let two = [flow("two", 2, 1), flow("two", 3, 1), flow("two", 4, 1)];
        for flow in &two {
            queue.push(Operation::AddMember, flow, None, "two");
        }
        for _ in 0..1000 {
            queue.push(Operation::AddMember, &flow("one", 1, 1), None, "one");
            queue.push(Operation::AddMember, &flow("three", 5, 3), None, "three");
            for flow in &two {
                queue.push(Operation::AddMember, flow, None, "two");
            }
        }
        let order = order(&mut queue, 1000);
        let share = |who| order.iter().filter(|one| **one == who).count();
        assert!((195..=205).contains(&share("one")), "{}", share("one"));
        assert!((195..=205).contains(&share("two")), "{}", share("two"));
        assert!((590..=610).contains(&share("three")), "{}", share("three"));
    }

    #[test]
    fn reads_go_first_and_do_not_starve_changes() {
        let mut queue = Queue::new(100);
        for _ in 0..10 {
            queue.push(Operation::AddMember, &flow("one", 1, 1), None, "change");
            queue.push(Operation::ListMembers, &flow("two", 2, 1), None, "read");
        }
        let order = order(&mut queue, 10);
        assert_eq!(order[..5], ["read", "read", "read", "read", "change"]);
        assert_eq!(order[5..], ["read", "read", "read", "read", "change"]);
    }

    #[test]
    fn who_leaves_is_forgotten_and_who_is_at_their_cap_waits() {
        let mut queue = Queue::new(2);
        let capped = Flow {
            at_once: 1,
            ..flow("one", 1, 1)
        };
        let place = queue.push(Operation::AddMember, &capped, None, "gone");
        assert_eq!(queue.leave(Operation::AddMember, place), Some("gone"));
        assert_eq!(queue.leave(Operation::AddMember, place), None);
        assert!(queue.calls.is_empty() && queue.callers.is_empty());
        queue.push(Operation::AddMember, &capped, None, "first");
        queue.push(Operation::AddMember, &capped, None, "second");
        assert!(queue.is_full());
        assert_eq!(queue.next(|_| true).map(|(_, _, who)| who), Some("first"));
        assert!(queue.next(|_| true).is_none());
        queue.ended(&capped);
        assert_eq!(queue.next(|_| true).map(|(_, _, who)| who), Some("second"));
        queue.ended(&capped);
        assert!(queue.calls.is_empty() && queue.callers.is_empty());
    }

    #[test]
    fn who_cannot_wait_so_long_is_told_at_once() {
        let mut queue = Queue::new(10);
        let now = Instant::now();
        let at = |seconds| now + std::time::Duration::from_secs(seconds);
        queue.push(Operation::ListGroups, &flow("one", 1, 1), Some(at(5)), "early");
        queue.push(Operation::ListGroups, &flow("one", 1, 1), Some(at(60)), "late");
        queue.push(Operation::ListGroups, &flow("one", 1, 1), None, "never");
        assert_eq!(queue.give_up(Operation::ListGroups, at(30)), ["early"]);
        assert_eq!(queue.waiting(Operation::ListGroups), 2);
    }
}
