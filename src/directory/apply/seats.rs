//! What a full licence costs: a few refusals, not one for each name.
//!
//! Cloud does not tell how many seats are free, only that for this account there was none. After a few such refusals in
//! a row one addition at a time finds out whether that is still so, and the others wait for it; a success opens the way
//! again. After many in a row nobody is asked any more; those still under way from before count among the many, for any
//! of them may be one refusal more.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Refusals in a row after which one addition at a time is tried.
const ONE_BY_ONE: usize = 3;
/// Refusals in a row after which none is.
const MOST: usize = 20;

/// What one operation knows of the licence.
#[derive(Debug, Default)]
pub struct Seats {
    state: Mutex<State>,
    changed: Notify,
    passed_over: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    refused_in_a_row: usize,
    under_way: usize,
    probing: bool,
}

/// The leave to try one account that may need a seat. Where it is a probe, on behalf of all who wait, the next may begin
/// when this is dropped.
#[derive(Debug)]
pub struct Leave<'a> {
    seats: &'a Seats,
    probes: bool,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.seats.state.lock();
            state.under_way -= 1;
            if self.probes {
                state.probing = false;
            }
        }
        self.seats.changed.notify_waiters();
    }
}

impl Seats {
    /// Waits until another account may be tried. `None`: no more are, and this one is counted as passed over.
    pub async fn leave(&self) -> Option<Leave<'_>> {
        loop {
            // Made before the state is looked at, so that no change between the two is missed.
            let changed = self.changed.notified();
            if let Some(answer) = self.leave_now() {
                return answer;
            }
            changed.await;
        }
    }

    /// The outer `None`: somebody else is finding out.
    fn leave_now(&self) -> Option<Option<Leave<'_>>> {
        let mut state = self.state.lock();
        let probes = match state.refused_in_a_row {
            MOST.. => {
                self.passed_over.fetch_add(1, Ordering::Relaxed);
                return Some(None);
            }
            ONE_BY_ONE.. if state.probing => return None,
            refused @ ONE_BY_ONE.. if state.under_way > 0 && refused + state.under_way >= MOST => return None,
            ONE_BY_ONE.. => true,
            _ => false,
        };
        state.probing |= probes;
        state.under_way += 1;
        Some(Some(Leave { seats: self, probes }))
    }

    /// Whether the last account that was tried found no seat.
    pub fn is_full(&self) -> bool {
        self.state.lock().refused_in_a_row > 0
    }

    /// An account found a seat, or needed none.
    pub fn found(&self) {
        self.state.lock().refused_in_a_row = 0;
        self.changed.notify_waiters();
    }

    /// An account found no seat. Returns whether this was the one that ends the tries.
    pub fn refused(&self) -> bool {
        let ends = {
            let mut state = self.state.lock();
            state.refused_in_a_row += 1;
            state.refused_in_a_row == MOST
        };
        self.changed.notify_waiters();
        ends
    }

    /// How many accounts were passed over.
    pub fn passed_over(&self) -> usize {
        self.passed_over.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn refuse(seats: &Seats, times: usize) -> Vec<bool> {
        (0..times).map(|_| seats.refused()).collect()
    }

    fn is_probe(leave: &Option<Leave<'_>>) -> Option<bool> {
        leave.as_ref().map(|leave| leave.probes)
    }

    #[tokio::test]
    async fn one_at_a_time_is_tried_after_three_refusals_and_a_success_opens_the_way() {
        let seats = Seats::default();
        refuse(&seats, 2);
        assert_eq!(is_probe(&seats.leave().await), Some(false));
        refuse(&seats, 1);
        let probe = seats.leave().await;
        assert_eq!(is_probe(&probe), Some(true));
        let mut waiting = Box::pin(seats.leave());
        assert!((&mut waiting).now_or_never().is_none(), "others wait");
        seats.refused();
        drop(probe);
        let next = waiting.await;
        assert_eq!(is_probe(&next), Some(true), "then it is the next one's turn");
        let mut waiting = Box::pin(seats.leave());
        assert!((&mut waiting).now_or_never().is_none());
        seats.found();
        assert_eq!(is_probe(&waiting.await), Some(false), "a success opens the way at once");
        drop(next);
        assert!(!seats.is_full());
    }

    #[tokio::test]
    async fn who_is_still_under_way_from_before_counts_among_the_twenty() {
        let seats = Seats::default();
        let slow = seats.leave().await;
        refuse(&seats, 18);
        let probe = seats.leave().await;
        seats.refused();
        drop(probe);
        let mut waiting = Box::pin(seats.leave());
        assert!((&mut waiting).now_or_never().is_none(), "the twentieth is under way");
        seats.refused();
        drop(slow);
        assert_eq!(is_probe(&waiting.await), None);
    }

    #[tokio::test]
    async fn whoever_told_nothing_leaves_the_last_try_to_the_next() {
        let seats = Seats::default();
        let slow = seats.leave().await;
        refuse(&seats, 19);
        let mut waiting = Box::pin(seats.leave());
        assert!((&mut waiting).now_or_never().is_none());
        drop(slow);
        assert_eq!(is_probe(&waiting.await), Some(true));
    }

    #[tokio::test]
    async fn a_probe_that_told_nothing_leaves_its_turn_to_the_next() {
        let seats = Seats::default();
        refuse(&seats, 3);
        drop(seats.leave().await);
        assert_eq!(is_probe(&seats.leave().await), Some(true));
    }

    #[tokio::test]
    async fn nobody_is_tried_after_twenty_refusals_and_all_who_wait_are_told() {
        let seats = Seats::default();
        refuse(&seats, 3);
        let probe = seats.leave().await;
        let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(seats.leave())).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        let ends = refuse(&seats, 18);
        let expected: Vec<bool> = (4..=21).map(|refusal| refusal == MOST).collect();
        assert_eq!(ends, expected);
        drop(probe);
        for one in waiting {
            assert_eq!(is_probe(&one.await), None);
        }
        assert_eq!(seats.passed_over(), 5);
    }
}
