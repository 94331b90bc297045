//! Who waits for which operation. The same call, sent again, is no second operation while the first one runs, nor while
//! its answer has not reached anybody.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::{Conduct, Order, What};
use crate::directory::Error;
use crate::model::{Caller, GroupId, NameKey, OperationId, Outcome};

/// How long the same call waits to learn whether an answer that is on its way arrives.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// What tells a call from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of site, caller, operation, group, list and conduct. With the group's id it tells whether two calls are the same; with
    /// none, by the group's name as it was given, whether a caller's own key stands for the same body.
    pub fn of(site: &str, order: &Order, caller: &Caller, group: Option<&GroupId>) -> Self {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        part(site);
        part(&caller.key);
        part(order.what.kind().as_str());
        part(match order.conduct {
            Conduct::Real => "real",
            Conduct::Dry => "dry",
        });
        match (group, &order.what) {
            (Some(id), _) => part(id.as_str()),
            (None, What::Members(_, name)) => part(name.as_str()),
            (None, What::CreateGroups | What::DeleteGroups) => part(""),
        }
        for name in &order.names {
            part(name);
        }
        Self(hash.finalize().into())
    }

    /// The digest with these bytes, if it can be one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// A digest that no call has.
    pub fn unknown(id: &OperationId) -> Self {
        Self(Sha256::digest(id.as_str()).into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Something an operation changes: a later change of it makes an earlier answer untrue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Touched {
    Group(GroupId),
    Name(NameKey),
}

/// One operation and those who wait for it.
#[derive(Debug)]
pub struct Ticket {
    call: Call,
    id: watch::Sender<Option<OperationId>>,
    touched: Mutex<HashSet<Touched>>,
    /// A later operation has changed what this one has: its answer is for those who wait, and nobody after them.
    stale: AtomicBool,
    ended: watch::Sender<Option<Arc<Ended>>>,
    /// Callers who wait for the answer, or to whom it is on its way.
    receipts: watch::Sender<usize>,
}

/// A call, as the desk knows it.
#[derive(Clone, Debug)]
pub struct Call {
    /// With the group's id.
    pub digest: Digest,
    /// With the group's name as it was given.
    pub body: Digest,
    /// The caller's own key for it.
    pub key: Option<Key>,
    pub conduct: Conduct,
}

/// Whose key, and the key.
pub type Key = (Arc<str>, String);

/// How an operation ended.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Result<Outcome, Error>,
    at: Instant,
}

/// What is to be done about a call.
#[derive(Debug)]
pub enum Entry {
    /// Nobody works on it: begin.
    Start(Receipt),
    /// Somebody does, or has, and nobody was told.
    Join(Receipt),
    /// Its answer is on its way to somebody.
    OnItsWay(Arc<Ticket>),
    /// The caller's own key stands for another call that is worked on.
    KeyTaken,
}

/// The calls of one process that have no answer yet, or whose answer nobody got.
#[derive(Debug)]
pub struct Desk {
    state: Mutex<State>,
    grace: Duration,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<Digest, Arc<Ticket>>,
    keys: HashMap<Key, Arc<Ticket>>,
    /// Whose answer was written, and may still turn out to be lost.
    written: Vec<Weak<Ticket>>,
}

impl Ticket {
    pub fn new(call: Call) -> Arc<Self> {
        Arc::new(Self {
            call,
            id: watch::Sender::new(None),
            touched: Mutex::default(),
            stale: AtomicBool::new(false),
            ended: watch::Sender::new(None),
            receipts: watch::Sender::new(0),
        })
    }

    /// The operation's id, once it is in the journal.
    pub fn id(&self) -> Option<OperationId> {
        self.id.borrow().clone()
    }

    pub fn call(&self) -> &Call {
        &self.call
    }

    fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    /// The operation is in the journal under this id, and will change these.
    pub fn begun(&self, id: OperationId, touched: impl IntoIterator<Item = Touched>) {
        *self.touched.lock() = touched.into_iter().collect();
        self.id.send_replace(Some(id));
    }

    /// Waits until the operation is in the journal.
    pub async fn has_begun(&self) {
        let mut id = self.id.subscribe();
        // The sender lives in `self`.
        let _ = id.wait_for(Option::is_some).await;
    }

    /// Waits for the end.
    pub async fn ended(&self) -> Option<Arc<Ended>> {
        let mut ended = self.ended.subscribe();
        // The sender lives in `self`.
        let ended = ended.wait_for(Option::is_some).await.ok()?;
        ended.clone()
    }

    /// Waits until no answer is on its way any more, for a while.
    pub async fn arrived(&self) {
        let mut receipts = self.receipts.subscribe();
        // What takes longer is taken for lost: an answer too many is better than none.
        let _ = tokio::time::timeout(ON_ITS_WAY, receipts.wait_for(|receipts| *receipts == 0)).await;
    }
}

impl Desk {
    /// Answers that nobody got are kept for `grace`.
    pub fn new(grace: Duration) -> Self {
        Self {
            state: Mutex::default(),
            grace,
        }
    }

    /// Looks whether somebody works on the call.
    pub fn enter(self: &Arc<Self>, call: &Call, waiting: Waiting) -> Entry {
        let mut state = self.state.lock();
        state.sweep(self.grace);
        if let Some(kept) = call.key.as_ref().and_then(|key| state.keys.get(key)) {
            return if kept.call.body == call.body {
                Entry::Join(self.receipt(kept))
            } else {
                Entry::KeyTaken
            };
        }
        if let Some(ticket) = state.calls.get(&call.digest) {
            let on_its_way = ticket.ended.borrow().is_some() && *ticket.receipts.borrow() > 0;
            return if on_its_way && waiting == Waiting::Worth {
                Entry::OnItsWay(Arc::clone(ticket))
            } else {
                Entry::Join(self.receipt(ticket))
            };
        }
        // Whoever comes again has not missed the answer before, or does not want it any more.
        for before in state.written.iter().filter_map(Weak::upgrade) {
            if before.call.digest == call.digest {
                before.stale.store(true, Ordering::Release);
            }
        }
        let ticket = Ticket::new(call.clone());
        state.keep(&ticket);
        Entry::Start(self.receipt(&ticket))
    }

    /// The call that is worked on under a caller's own key.
    pub fn under_key(self: &Arc<Self>, key: &Key) -> Option<Receipt> {
        let state = self.state.lock();
        state.keys.get(key).map(|ticket| self.receipt(ticket))
    }

    /// The call with this body, for when nobody can tell which group its name means now.
    pub fn with_body(self: &Arc<Self>, body: &Digest) -> Option<Receipt> {
        let state = self.state.lock();
        let mut tickets = state.calls.values();
        let ticket = tickets.find(|ticket| ticket.call.body == *body)?;
        Some(self.receipt(ticket))
    }

    /// Lets go of answers that nobody came for.
    pub fn sweep(&self) {
        self.state.lock().sweep(self.grace);
    }

    /// An operation of an earlier process that goes on. One whose answer was `delivered` is only to be put on record as over:
    /// the same call is a new one, but under its caller's own key.
    pub fn restore(&self, ticket: &Arc<Ticket>, delivered: bool) {
        ticket.stale.store(delivered, Ordering::Release);
        let mut state = self.state.lock();
        state.keep(ticket);
        if delivered {
            state.forget(ticket);
        }
    }

    /// An answer of an earlier process that nobody got, given `ago`.
    pub fn restore_answer(&self, ticket: &Arc<Ticket>, outcome: Outcome, ago: Duration) {
        let at = Instant::now().checked_sub(ago).unwrap_or_else(Instant::now);
        ticket.ended.send_replace(Some(Arc::new(Ended {
            outcome: Ok(outcome),
            at,
        })));
        self.state.lock().calls.insert(ticket.call.digest, Arc::clone(ticket));
    }

    /// Tells everybody who waits. An answer that somebody could still want is kept; returns whether it is.
    pub fn end(&self, ticket: &Arc<Ticket>, outcome: Result<Outcome, Error>) -> bool {
        let mut state = self.state.lock();
        let worth_keeping = outcome.is_ok() && ticket.call.conduct == Conduct::Real && !ticket.is_stale();
        if let Some(key) = &ticket.call.key
            && state.keys.get(key).is_some_and(|kept| Arc::ptr_eq(kept, ticket))
        {
            state.keys.remove(key);
        }
        if !worth_keeping {
            state.forget(ticket);
        }
        ticket.ended.send_replace(Some(Arc::new(Ended {
            outcome,
            at: Instant::now(),
        })));
        worth_keeping
    }

    /// An answer that was given did not reach anybody. A call that has come since then has its place.
    pub fn take_back(&self, ticket: &Arc<Ticket>) {
        let mut state = self.state.lock();
        if !ticket.is_stale() {
            state
                .calls
                .entry(ticket.call.digest)
                .or_insert_with(|| Arc::clone(ticket));
        }
    }

    /// Somebody waits to be answered.
    fn receipt(self: &Arc<Self>, ticket: &Arc<Ticket>) -> Receipt {
        ticket.receipts.send_modify(|receipts| *receipts += 1);
        Receipt {
            desk: Arc::clone(self),
            ticket: Arc::clone(ticket),
        }
    }

    /// These are being changed: answers about them that are kept, or will be, are not true any more. Returns whose were kept.
    pub fn touch(&self, by: &Arc<Ticket>, touched: &HashSet<Touched>) -> Vec<OperationId> {
        let mut state = self.state.lock();
        state.written.retain(|ticket| ticket.strong_count() > 0);
        let written = state.written.iter().filter_map(Weak::upgrade);
        let all = state.calls.values().cloned().chain(written);
        let stale: Vec<Arc<Ticket>> = all
            .filter(|ticket| !Arc::ptr_eq(ticket, by) && !ticket.touched.lock().is_disjoint(touched))
            .collect();
        let mut kept = Vec::new();
        for ticket in stale {
            ticket.stale.store(true, Ordering::Release);
            // One that runs is joined still; it is only not kept.
            if ticket.ended.borrow().is_some() {
                state.forget(&ticket);
                kept.extend(ticket.id());
            }
        }
        kept
    }
}

/// Whether an answer that is on its way is worth waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    Worth,
    InVain,
}

impl State {
    fn sweep(&mut self, grace: Duration) {
        let is_wanted = |ticket: &Ticket| {
            ticket
                .ended
                .borrow()
                .as_ref()
                .is_none_or(|ended| ended.at.elapsed() < grace)
        };
        self.calls.retain(|_, ticket| is_wanted(ticket));
        self.written.retain(|ticket| ticket.strong_count() > 0);
    }

    fn keep(&mut self, ticket: &Arc<Ticket>) {
        self.calls.insert(ticket.call.digest, Arc::clone(ticket));
        if let Some(key) = &ticket.call.key {
            self.keys.insert(key.clone(), Arc::clone(ticket));
        }
    }

    fn forget(&mut self, ticket: &Arc<Ticket>) {
        if self
            .calls
            .get(&ticket.call.digest)
            .is_some_and(|kept| Arc::ptr_eq(kept, ticket))
        {
            self.calls.remove(&ticket.call.digest);
        }
    }
}

/// An answer that one caller waits for, or that is on its way; lost if it is dropped.
#[derive(Debug)]
pub struct Receipt {
    desk: Arc<Desk>,
    ticket: Arc<Ticket>,
}

impl Receipt {
    pub fn ticket(&self) -> &Arc<Ticket> {
        &self.ticket
    }

    /// The answer was written whole: nobody is to be given it again.
    pub fn arrived(self) -> Arc<Ticket> {
        let mut state = self.desk.state.lock();
        state.forget(&self.ticket);
        state.written.push(Arc::downgrade(&self.ticket));
        Arc::clone(&self.ticket)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.ticket
            .receipts
            .send_modify(|receipts| *receipts = receipts.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Change;
    use crate::model::{Fate, GroupName};

    fn order(names: &[&str], conduct: Conduct) -> Order {
        Order {
            what: What::Members(Change::Add, GroupName::new("g")),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            conduct,
            key: None,
        }
    }

    fn call(names: &[&str], conduct: Conduct, key: Option<Key>) -> Call {
        let (order, caller) = (order(names, conduct), Caller::named("a"));
        Call {
            digest: Digest::of("s", &order, &caller, Some(&GroupId::new("1"))),
            body: Digest::of("s", &order, &caller, None),
            key,
            conduct,
        }
    }

    fn enter(desk: &Arc<Desk>, names: &[&str]) -> Entry {
        desk.enter(&call(names, Conduct::Real, None), Waiting::Worth)
    }

    fn done() -> Result<Outcome, Error> {
        Ok(Outcome {
            names: vec![("x".to_owned(), Fate::Done)],
        })
    }

    fn start(desk: &Arc<Desk>, names: &[&str]) -> Receipt {
        match enter(desk, names) {
            Entry::Start(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn two_calls_are_the_same_only_if_everything_is() {
        let caller = Caller::named("a");
        let id = GroupId::new("1");
        let base = Digest::of("s", &order(&["ab", "c"], Conduct::Real), &caller, Some(&id));
        for (order, caller, id) in [
            (order(&["a", "bc"], Conduct::Real), Caller::named("a"), "1"),
            (order(&["c", "ab"], Conduct::Real), Caller::named("a"), "1"),
            (order(&["ab", "c"], Conduct::Dry), Caller::named("a"), "1"),
            (order(&["ab", "c"], Conduct::Real), Caller::named("b"), "1"),
            (order(&["ab", "c"], Conduct::Real), Caller::named("a"), "2"),
            (order(&["ab", "c", ""], Conduct::Real), Caller::named("a"), "1"),
            (
                Order {
                    what: What::Members(Change::Remove, GroupName::new("g")),
                    ..order(&["ab", "c"], Conduct::Real)
                },
                Caller::named("a"),
                "1",
            ),
        ] {
            assert_ne!(
                Digest::of("s", &order, &caller, Some(&GroupId::new(id))),
                base,
                "{order:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_nobody_got_is_given_to_the_same_call_until_it_arrives() {
        let desk = Arc::new(Desk::new(Duration::from_secs(300)));
        let first = start(&desk, &["x"]);
        assert!(matches!(enter(&desk, &["x"]), Entry::Join(_)));
        let _other = start(&desk, &["y"]);
        desk.end(first.ticket(), done());
        // Lost on its way.
        drop(first);
        let Entry::Join(again) = enter(&desk, &["x"]) else {
            panic!("not joined")
        };
        assert!(matches!(enter(&desk, &["x"]), Entry::OnItsWay(_)));
        again.arrived();
        start(&desk, &["x"]);
    }

    #[test]
    fn a_later_change_of_the_group_ends_the_grace_and_so_does_time() {
        let desk = Arc::new(Desk::new(Duration::from_secs(300)));
        let group = Touched::Group(GroupId::new("1"));
        let first = start(&desk, &["x"]);
        first.ticket().begun(OperationId::random(), [group.clone()]);
        let second = start(&desk, &["y"]);
        desk.end(first.ticket(), done());
        assert!(desk.touch(first.ticket(), &HashSet::from([group.clone()])).is_empty());
        assert_eq!(
            desk.touch(second.ticket(), &HashSet::from([group])),
            first.ticket().id().into_iter().collect::<Vec<_>>()
        );
        start(&desk, &["x"]);

        // One that runs while the group is changed is told to who waits, and not kept.
        let running = start(&desk, &["long"]);
        let group = Touched::Group(GroupId::new("1"));
        running.ticket().begun(OperationId::random(), [group.clone()]);
        desk.touch(second.ticket(), &HashSet::from([group.clone()]));
        assert!(matches!(enter(&desk, &["long"]), Entry::Join(_)));
        assert!(!desk.end(running.ticket(), done()));
        start(&desk, &["long"]);

        // And one that was written is not taken back.
        let given = start(&desk, &["given"]);
        given.ticket().begun(OperationId::random(), [group.clone()]);
        assert!(desk.end(given.ticket(), done()));
        let written = given.arrived();
        desk.touch(second.ticket(), &HashSet::from([group]));
        desk.take_back(&written);
        start(&desk, &["given"]);

        let impatient = Arc::new(Desk::new(Duration::ZERO));
        let ticket = start(&impatient, &["x"]);
        impatient.end(ticket.ticket(), done());
        start(&impatient, &["x"]);
    }

    #[test]
    fn a_failure_is_not_given_again_and_neither_is_a_dry_run() {
        let desk = Arc::new(Desk::new(Duration::from_secs(300)));
        let ticket = start(&desk, &["x"]);
        desk.end(ticket.ticket(), Err(Error::StillRunning));
        let ticket = start(&desk, &["x"]);
        desk.end(ticket.ticket(), done());
        let key = (Arc::from("a"), "k".to_owned());
        let Entry::Start(dry) = desk.enter(&call(&["d"], Conduct::Dry, Some(key.clone())), Waiting::Worth) else {
            panic!("not started")
        };
        assert!(desk.under_key(&key).is_some());
        let other = desk.enter(&call(&["e"], Conduct::Dry, Some(key.clone())), Waiting::Worth);
        assert!(matches!(other, Entry::KeyTaken), "{other:?}");
        desk.end(dry.ticket(), done());
        assert!(desk.under_key(&key).is_none());
        start(&desk, &["d"]);
    }
}
