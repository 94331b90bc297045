//! Who has a connection. There are so many places, and so many for one address; where none is left, a connection on which
//! nothing is being answered has to go. So whoever opens connections and says nothing, or says it slowly, keeps nobody out,
//! and nobody who is refused a place, or waits for one, keeps others from asking.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::doors::network;

/// A connection is left alone for so long: its request may be on the way.
const GRACE: Duration = Duration::from_secs(1);

/// And for so long even where its address has more than its part: it was accepted a moment ago.
const YOUNG: Duration = Duration::from_millis(200);

/// Where all places are taken, it is looked this often whether somebody has become idle.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// As many may wait as there are places, and so many where these are few.
const LEAST_WAITING: usize = 64;

/// What goes on on one connection.
#[derive(Debug)]
pub struct Activity {
    from: Instant,
    /// Requests that are being answered.
    busy: AtomicUsize,
    /// When a request last came, it was last busy, or some of an answer was written: milliseconds from `from`.
    last: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            from: Instant::now(),
            busy: AtomicUsize::new(0),
            last: AtomicU64::new(0),
        }
    }
}

impl Activity {
    /// Some of an answer was written.
    pub fn moved(&self) {
        self.moved_at(Instant::now());
    }

    /// A request had come at that moment. An answer that is there is written before anybody could take it for idle.
    pub fn moved_at(&self, moment: Instant) {
        let since = moment.saturating_duration_since(self.from).as_millis();
        self.last
            .store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A request is being answered until this is dropped.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// For how long nothing has happened that is worth a place; `None` while something does. Bytes that come in do not
    /// count: one a second would be enough.
    fn idle(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        let is_idle = self.busy.load(Ordering::Relaxed) == 0;
        is_idle.then(|| self.from.elapsed().saturating_sub(last))
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.moved();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The places of one listener.
#[derive(Debug)]
pub struct Places {
    most: usize,
    /// 0: no limit.
    most_of_one: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    taken: HashMap<u64, Taken>,
    /// Of every address that has some, how many.
    counts: HashMap<IpAddr, usize>,
    /// Who waits for a place, the first one first.
    waiting: VecDeque<Waiting>,
    /// When it was last looked whether somebody has to go for them.
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    share: Share,
    sender: oneshot::Sender<Place>,
}

#[derive(Debug)]
struct Taken {
    address: IpAddr,
    share: Share,
    activity: Arc<Activity>,
    wanted: CancellationToken,
}

/// Whether an address may have as many places as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// It is somebody's own.
    Limited,
    /// Others come through it.
    Unlimited,
}

/// What becomes of a newcomer.
#[derive(Debug)]
pub enum Entry {
    /// There is a place.
    Place(Place),
    /// There will be one.
    Wait(Turn),
    /// There is none; for this reason.
    Refused(&'static str),
}

/// A place that somebody waits for.
#[derive(Debug)]
pub struct Turn {
    place: oneshot::Receiver<Place>,
    places: Arc<Places>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    number: u64,
    places: Arc<Places>,
    activity: Arc<Activity>,
    wanted: CancellationToken,
}

impl Places {
    /// So many places, and so many of them for one address (0: all).
    pub fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_one,
            state: Mutex::default(),
        })
    }

    /// A place for somebody from `address`. Where none is free, somebody else's who has been idle for a while, or anybody's
    /// who is idle at an address with more than its part; as many as there are places may wait for one.
    pub fn enter(self: &Arc<Self>, address: IpAddr, share: Share) -> Entry {
        let address = network(address);
        let mut state = self.state.lock();
        let own = state.count(address);
        // Who waits will have a place: it is one of his part already.
        if self.has_its_part(share, own + state.count_waiting(address))
            && state.let_go(1, |taken, idle| taken.address == address && idle >= GRACE) == 0
        {
            return Entry::Refused("address");
        }
        if state.taken.len() < self.most || state.make_room(own) {
            return Entry::Place(self.place(&mut state, address, share));
        }
        if state.waiting.len() >= self.most.max(LEAST_WAITING) {
            return Entry::Refused("full");
        }
        let (sender, place) = oneshot::channel();
        state.waiting.push_back(Waiting { address, share, sender });
        Entry::Wait(Turn {
            place,
            places: Arc::clone(self),
        })
    }

    fn has_its_part(&self, share: Share, own: usize) -> bool {
        share == Share::Limited && self.most_of_one > 0 && own >= self.most_of_one
    }

    fn place(self: &Arc<Self>, state: &mut State, address: IpAddr, share: Share) -> Place {
        let (activity, wanted) = (Arc::<Activity>::default(), CancellationToken::new());
        let number = state.next;
        state.next += 1;
        *state.counts.entry(address).or_default() += 1;
        state.taken.insert(
            number,
            Taken {
                address,
                share,
                activity: Arc::clone(&activity),
                wanted: wanted.clone(),
            },
        );
        Place {
            number,
            places: Arc::clone(self),
            activity,
            wanted,
        }
    }

    /// Gives free places to those who wait. Returns those that nobody waits for any more: they must not be dropped while the
    /// lock is held.
    #[must_use]
    fn hand_out(self: &Arc<Self>, state: &mut State) -> Vec<Place> {
        let mut unwanted = Vec::new();
        while state.taken.len() < self.most
            && let Some(waiting) = state.waiting.pop_front()
        {
            // Somebody without a limit may have come from the same network since. Who is dropped here, is refused.
            if self.has_its_part(waiting.share, state.count(waiting.address)) {
                continue;
            }
            let place = self.place(state, waiting.address, waiting.share);
            if let Err(place) = waiting.sender.send(place) {
                state.leave(place.number);
                unwanted.push(place);
            }
        }
        unwanted
    }

    /// Looks whether somebody has to go for those who wait.
    fn look(self: &Arc<Self>) {
        let unwanted = {
            let mut state = self.state.lock();
            if !state.is_time_to_look() {
                return;
            }
            let wanted = (state.taken.len() + state.waiting.len()).saturating_sub(self.most);
            if state.let_go(wanted, |_, idle| idle >= GRACE) == 0 {
                state.favour();
            }
            self.hand_out(&mut state)
        };
        drop(unwanted);
    }
}

impl State {
    /// How many places an address has.
    fn count(&self, address: IpAddr) -> usize {
        self.counts.get(&address).copied().unwrap_or(0)
    }

    /// And for how many it waits.
    fn count_waiting(&mut self, address: IpAddr) -> usize {
        self.waiting.retain(|waiting| !waiting.sender.is_closed());
        self.waiting.iter().filter(|waiting| waiting.address == address).count()
    }

    /// Has somebody go for who has so many places already: who is idle at an address that has more, else who has been
    /// idle for a while.
    fn make_room(&mut self, own: usize) -> bool {
        self.make_greedy_go(own) || self.is_time_to_look() && self.let_go(1, |_, idle| idle >= GRACE) > 0
    }

    /// Has somebody go who is idle at an address that has more places than so many and one. Through a trusted proxy come
    /// many who have one each: it is not greedy.
    fn make_greedy_go(&mut self, own: usize) -> bool {
        let greediest = self.counts.values().copied().max().unwrap_or(0);
        if greediest <= own + 1 {
            return false;
        }
        let greedy: HashSet<IpAddr> = self
            .counts
            .iter()
            .filter(|(_, n)| **n > own + 1)
            .map(|(a, _)| *a)
            .collect();
        let may =
            |taken: &Taken, idle| taken.share == Share::Limited && idle >= YOUNG && greedy.contains(&taken.address);
        self.let_go(1, may) > 0
    }

    /// Of those who wait, whoever has fewest places is the next one if somebody with more can go for that.
    fn favour(&mut self) {
        let counts = self
            .waiting
            .iter()
            .map(|waiting| self.count(waiting.address))
            .enumerate();
        let Some((at, own)) = counts.min_by_key(|(at, own)| (*own, *at)) else {
            return;
        };
        if self.make_greedy_go(own)
            && let Some(waiting) = self.waiting.remove(at)
        {
            self.waiting.push_front(waiting);
        }
    }

    /// Whether it is some time since it was last looked for who is idle: whoever comes, and all who wait, want that, and the
    /// accept loop is not to be held up by them.
    fn is_time_to_look(&mut self) -> bool {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN / 2) {
            return false;
        }
        self.looked = Some(Instant::now());
        true
    }

    /// Has at most so many of the idle connections go that `may` go: of the addresses that have most of them those that
    /// have been idle longest. Returns how many go.
    fn let_go(&mut self, most: usize, may: impl Fn(&Taken, Duration) -> bool) -> usize {
        let idle = self.taken.iter().filter_map(|(number, taken)| {
            let idle = taken.activity.idle().filter(|idle| may(taken, *idle))?;
            let count = match taken.share {
                Share::Limited => self.count(taken.address),
                Share::Unlimited => 1,
            };
            Some((count, idle, *number))
        });
        let mut idle: Vec<_> = idle.collect();
        idle.sort_unstable();
        let mut gone = 0;
        for (_, _, number) in idle.into_iter().rev().take(most) {
            if let Some(taken) = self.leave(number) {
                taken.wanted.cancel();
                gone += 1;
            }
        }
        gone
    }

    fn leave(&mut self, number: u64) -> Option<Taken> {
        let taken = self.taken.remove(&number)?;
        if let Some(count) = self.counts.get_mut(&taken.address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&taken.address);
            }
        }
        Some(taken)
    }
}

impl Turn {
    /// Waits for it.
    pub async fn come(mut self) -> Option<Place> {
        loop {
            match tokio::time::timeout(LOOK_AGAIN, &mut self.place).await {
                Ok(place) => return place.ok(),
                // That somebody has become idle, nobody tells.
                Err(_elapsed) => self.places.look(),
            }
        }
    }
}

impl Place {
    /// What goes on on the connection that has it.
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Waits until somebody else needs it.
    pub async fn wanted(&self) {
        self.wanted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let unwanted = {
            let mut state = self.places.state.lock();
            // Where it was wanted it has left already.
            state.leave(self.number);
            self.places.hand_out(&mut state)
        };
        drop(unwanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn now(places: &Arc<Places>, address: &str) -> Entry {
        places.enter(from(address), Share::Limited)
    }

    fn place(places: &Arc<Places>, address: &str) -> Place {
        match now(places, address) {
            Entry::Place(place) => place,
            other => panic!("{other:?}"),
        }
    }

    fn turn(places: &Arc<Places>, address: &str) -> Turn {
        match now(places, address) {
            Entry::Wait(turn) => turn,
            other => panic!("{other:?}"),
        }
    }

    /// As if it had been idle for so long, and nobody had looked since.
    fn age(place: &Place, seconds: u64) {
        age_by(place, Duration::from_secs(seconds));
    }

    fn age_by(place: &Place, time: Duration) {
        let mut state = place.places.state.lock();
        state.looked = None;
        let taken = state.taken.get_mut(&place.number).unwrap();
        taken.activity = Arc::new(Activity {
            from: Instant::now().checked_sub(time).unwrap(),
            ..Activity::default()
        });
    }

    #[test]
    fn where_all_places_are_taken_the_longest_idle_has_to_go() {
        let places = Places::new(2, 0);
        let (one, two) = (place(&places, "192.0.2.1"), place(&places, "192.0.2.2"));
        drop(turn(&places, "192.0.2.3"));
        age(&one, 5);
        age(&two, 9);
        let three = place(&places, "192.0.2.3");
        assert!(two.wanted.is_cancelled() && !one.wanted.is_cancelled());
        drop(two);
        age(&one, 5);
        let _four = place(&places, "192.0.2.4");
        assert!(one.wanted.is_cancelled() && !three.wanted.is_cancelled());
    }

    #[test]
    fn of_who_has_most_one_goes_first_and_at_once_for_who_has_less() {
        let places = Places::new(4, 0);
        let patient = place(&places, "192.0.2.1");
        let greedy = [0, 1, 2].map(|_| place(&places, "192.0.2.2"));
        drop(turn(&places, "192.0.2.3"));
        let gone = greedy.iter().filter(|place| place.wanted.is_cancelled()).count();
        assert_eq!(gone, 0, "they were accepted a moment ago");
        greedy.iter().for_each(|place| age_by(place, YOUNG));
        age(&patient, 60);
        let _one = place(&places, "192.0.2.3");
        let gone = greedy.iter().filter(|place| place.wanted.is_cancelled()).count();
        assert!(gone == 1 && !patient.wanted.is_cancelled());
        // It has no more than the next one would have; so the one that is idle longest goes, or nobody.
        let _two = place(&places, "192.0.2.3");
        let gone = greedy.iter().filter(|place| place.wanted.is_cancelled()).count();
        assert!(gone == 1 && patient.wanted.is_cancelled());
        drop(turn(&places, "192.0.2.3"));
    }

    #[tokio::test]
    async fn who_is_busy_keeps_the_place_and_the_next_one_waits_for_it() {
        let places = Places::new(1, 0);
        let one = place(&places, "192.0.2.1");
        age(&one, 60);
        let activity = Arc::clone(&places.state.lock().taken[&one.number].activity);
        let busy = activity.busy();
        let (given_up, next) = (turn(&places, "192.0.2.2"), turn(&places, "192.0.2.2"));
        assert!(matches!(now(&places, "192.0.2.3"), Entry::Wait(_)));
        drop(given_up);
        drop(busy);
        assert!(!one.wanted.is_cancelled(), "it was busy a moment ago");
        drop(one);
        let next = next.come().await.unwrap();
        assert!(!next.wanted.is_cancelled());
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_of_who_has_become_idle() {
        let places = Places::new(1, 0);
        let one = place(&places, "192.0.2.1");
        let next = turn(&places, "192.0.2.2");
        age(&one, 60);
        assert!(next.come().await.is_some() && one.wanted.is_cancelled());
    }

    #[test]
    fn through_a_trusted_proxy_come_many_and_none_of_them_is_greedy() {
        let places = Places::new(4, 0);
        let proxy = [0, 1, 2].map(|_| match places.enter(from("192.0.2.1"), Share::Unlimited) {
            Entry::Place(place) => place,
            other => panic!("{other:?}"),
        });
        let other = place(&places, "192.0.2.2");
        proxy.iter().for_each(|place| age_by(place, YOUNG * 2));
        drop(turn(&places, "192.0.2.3"));
        assert!(!proxy.iter().any(|place| place.wanted.is_cancelled()));
        age(&other, 60);
        proxy.iter().for_each(|place| age(place, 30));
        let _next = place(&places, "192.0.2.3");
        assert!(
            other.wanted.is_cancelled(),
            "they have one each, and were idle less long"
        );
    }

    #[tokio::test]
    async fn who_waits_is_counted_and_who_has_fewest_gets_the_place_of_the_greedy() {
        let places = Places::new(3, 3);
        let greedy = [0, 1].map(|_| place(&places, "192.0.2.1"));
        let _other = place(&places, "192.0.2.2");
        let first = turn(&places, "192.0.2.1");
        assert!(matches!(now(&places, "192.0.2.1"), Entry::Refused("address")));
        drop(first);
        let first = turn(&places, "192.0.2.1");
        let next = turn(&places, "192.0.2.3");
        greedy.iter().for_each(|place| age_by(place, YOUNG));
        assert!(next.come().await.is_some());
        assert_eq!(greedy.iter().filter(|place| place.wanted.is_cancelled()).count(), 1);
        drop(first);
    }

    #[tokio::test]
    async fn who_has_waited_gets_no_more_than_the_part_of_the_address() {
        let places = Places::new(2, 1);
        let (one, two) = (place(&places, "192.0.2.1"), place(&places, "192.0.2.2"));
        let next = turn(&places, "2001:db8::1");
        age(&one, 60);
        let _proxy = match places.enter(from("2001:db8::2"), Share::Unlimited) {
            Entry::Place(place) => place,
            other => panic!("{other:?}"),
        };
        drop(two);
        assert!(next.come().await.is_none());
    }

    #[test]
    fn not_everybody_may_wait() {
        let places = Places::new(2, 0);
        let _taken = [place(&places, "192.0.2.1"), place(&places, "192.0.2.2")];
        let _waiting: Vec<Turn> = (0..LEAST_WAITING).map(|_| turn(&places, "192.0.2.3")).collect();
        assert!(matches!(now(&places, "192.0.2.4"), Entry::Refused("full")));
    }

    #[test]
    fn one_address_has_no_more_than_its_part() {
        let places = Places::new(10, 2);
        let mine: Vec<Place> = (0..2).map(|n| place(&places, &format!("2001:db8::{n}"))).collect();
        let refused = now(&places, "2001:db8::ffff");
        assert!(matches!(refused, Entry::Refused("address")), "a /64 is one address");
        let _other = place(&places, "2001:db8:0:1::1");
        assert!(matches!(
            places.enter(from("2001:db8::3"), Share::Unlimited),
            Entry::Place(_)
        ));
        age(&mine[0], 4);
        let _next = place(&places, "2001:db8::ffff");
        assert!(mine[0].wanted.is_cancelled());
        drop(mine);
        assert_eq!(places.state.lock().counts.len(), 2);
    }
}
