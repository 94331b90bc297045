//! Whose turn it is among those nobody knows yet: some are judged at once, some wait, and no network keeps out another.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::doors::network;

/// A number of turns at once, and a bounded line before them that networks share. Clones are the same one.
#[derive(Clone)]
pub(super) struct Lanes(Arc<Inner>);

struct Inner {
    at_once: usize,
    waiting: usize,
    each: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: usize,
    /// The networks of which somebody waits; the turn is the first one's.
    line: VecDeque<(IpAddr, VecDeque<oneshot::Sender<Permit>>)>,
}

/// A turn; dropped, it is the next one's.
pub(super) struct Permit(Arc<Inner>);

/// A turn now, or a place in the line.
pub(super) enum Place {
    Now(Permit),
    Later(oneshot::Receiver<Permit>),
}

/// Why somebody has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// Too many wait.
    Full,
    /// There was one, but not for this caller.
    NotAdmitted,
}

impl Lanes {
    /// `at_once` turns, and `waiting` places of which a network has `each` at most.
    pub(super) fn new(at_once: usize, waiting: usize, each: usize) -> Self {
        Self(Arc::new(Inner {
            at_once: at_once.max(1),
            waiting: waiting.max(1),
            each: each.max(1),
            state: Mutex::default(),
        }))
    }

    /// A place for a caller who is `admitted`, which is asked only where there is one: who is sent away because too many
    /// wait has not used up a try, and who may not try takes nobody's place.
    ///
    /// Where all are taken, a network gives up its last one to another that has at least two fewer: with one fewer the
    /// two would only change places.
    pub(super) fn enter(&self, peer: IpAddr, admitted: impl FnOnce() -> bool) -> Result<Place, NoPlace> {
        let inner = &self.0;
        let network = network(peer);
        let mut state = inner.state.lock();
        if state.under_way < inner.at_once {
            if !admitted() {
                return Err(NoPlace::NotAdmitted);
            }
            state.under_way += 1;
            return Ok(Place::Now(Permit(Arc::clone(inner))));
        }
        state.forget_who_left();
        let all: usize = state.line.iter().map(|(_, waiting)| waiting.len()).sum();
        let own = state.line.iter().find(|(of, _)| *of == network);
        let own = own.map_or(0, |(_, waiting)| waiting.len());
        let longest = state
            .line
            .iter_mut()
            .map(|(_, waiting)| waiting)
            .max_by_key(|w| w.len());
        let yields = longest.filter(|waiting| all >= inner.waiting && waiting.len() > own + 1);
        if own >= inner.each || (all >= inner.waiting && yields.is_none()) {
            return Err(NoPlace::Full);
        }
        if !admitted() {
            return Err(NoPlace::NotAdmitted);
        }
        // Its other end learns it: whoever waits there is told that too many do.
        drop(yields.and_then(VecDeque::pop_back));
        let (turn, place) = oneshot::channel();
        match state.line.iter_mut().find(|(of, _)| *of == network) {
            Some((_, waiting)) => waiting.push_back(turn),
            None => state.line.push_back((network, VecDeque::from([turn]))),
        }
        Ok(Place::Later(place))
    }
}

impl State {
    fn forget_who_left(&mut self) {
        for (_, waiting) in &mut self.line {
            waiting.retain(|turn| !turn.is_closed());
        }
        self.line.retain(|(_, waiting)| !waiting.is_empty());
    }

    /// Who has the turn that was given back: one of each network after the other.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        while let Some((network, mut waiting)) = self.line.pop_front() {
            let next = waiting.pop_front();
            if !waiting.is_empty() {
                self.line.push_back((network, waiting));
            }
            if let Some(turn) = next.filter(|turn| !turn.is_closed()) {
                return Some(turn);
            }
        }
        self.under_way = self.under_way.saturating_sub(1);
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = self.0.state.lock().next();
        if let Some(turn) = next {
            // Who left in this moment gives it back: it comes out of here again.
            drop(turn.send(Self(Arc::clone(&self.0))));
        }
    }
}

impl Place {
    /// Waits for the turn; nothing, if the place had to be given up.
    pub(super) async fn turn(self) -> Option<Permit> {
        match self {
            Self::Now(permit) => Some(permit),
            Self::Later(turn) => turn.await.ok(),
        }
    }
}

#[cfg(test)]
impl Lanes {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        let mut state = self.0.state.lock();
        state.forget_who_left();
        state.line.iter().map(|(_, waiting)| waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn host(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn place(lanes: &Lanes, n: u8) -> Place {
        lanes.enter(host(n), || true).ok().unwrap()
    }

    fn refused(lanes: &Lanes, n: u8) -> NoPlace {
        lanes.enter(host(n), || true).err().unwrap()
    }

    /// The permit, if it has come; nothing within, if the place is lost.
    fn now(place: &mut Place) -> Option<Option<Permit>> {
        match place {
            Place::Now(_) => panic!("it is a turn"),
            Place::Later(turn) => turn.now_or_never().map(Result::ok),
        }
    }

    #[test]
    fn the_turn_goes_round_over_networks() {
        let lanes = Lanes::new(1, 9, 9);
        let mut turn = place(&lanes, 1).turn().now_or_never().unwrap();
        let mut places: Vec<_> = [1, 1, 1, 2, 3, 2].map(|n| (n, place(&lanes, n))).into();
        let mut order = Vec::new();
        while !places.is_empty() {
            drop(turn.take());
            let (at, permit) = places
                .iter_mut()
                .enumerate()
                .find_map(|(at, (_, place))| now(place).map(|permit| (at, permit)))
                .unwrap();
            order.push(places.remove(at).0);
            turn = permit;
        }
        assert_eq!(order, [1, 2, 3, 1, 2, 1]);
    }

    #[test]
    fn a_network_has_its_part_of_the_places_and_no_more() {
        let lanes = Lanes::new(1, 8, 4);
        let _turn = place(&lanes, 1);
        let _four: Vec<_> = (0..4).map(|_| place(&lanes, 1)).collect();
        assert_eq!(refused(&lanes, 1), NoPlace::Full);
        assert_eq!(lanes.waiting(), 4);
        place(&lanes, 2);
    }

    #[test]
    fn the_network_that_has_most_places_gives_its_last_one_up_to_a_newcomer() {
        let lanes = Lanes::new(1, 4, 4);
        let _turn = place(&lanes, 1);
        let mut flood: Vec<_> = (0..4).map(|_| place(&lanes, 1)).collect();
        let _first = place(&lanes, 2);
        let _second = place(&lanes, 3);
        let told: Vec<_> = flood.iter_mut().map(|place| now(place).is_some()).collect();
        assert_eq!(told, [false, false, true, true]);
        // Two of the first and one of each other: nobody has two fewer than that but a fourth.
        assert_eq!(refused(&lanes, 2), NoPlace::Full);
        let _third = place(&lanes, 4);
        assert_eq!(refused(&lanes, 5), NoPlace::Full);
        assert_eq!(lanes.waiting(), 4);
    }

    #[test]
    fn who_is_not_admitted_takes_nobodys_place_and_is_asked_only_where_there_is_one() {
        let lanes = Lanes::new(1, 2, 2);
        let not = |n| lanes.enter(host(n), || false).err();
        assert_eq!(not(1), Some(NoPlace::NotAdmitted));
        let _turn = place(&lanes, 1);
        let mut waiting = [place(&lanes, 1), place(&lanes, 1)];
        assert_eq!(not(2), Some(NoPlace::NotAdmitted));
        assert!(waiting.iter_mut().all(|place| now(place).is_none()));
        assert_eq!(not(1), Some(NoPlace::Full));
    }

    #[test]
    fn who_left_keeps_no_place_and_no_turn() {
        let lanes = Lanes::new(1, 1, 1);
        let turn = place(&lanes, 1);
        drop(place(&lanes, 2));
        let left = place(&lanes, 3);
        drop(left);
        drop(turn);
        // A turn that nobody took up is given back.
        assert!(matches!(place(&lanes, 4), Place::Now(_)));
    }
}
