//! Who works on what: an operation claims each thing it may change, and whoever comes later for the same thing waits
//! for that thing alone, in order of arrival.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The claims of one process on things named by `K`. Clones share them.
#[derive(Debug)]
pub struct Claims<K> {
    shared: Arc<Mutex<Queues<K>>>,
}

impl<K> Clone for Claims<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

#[derive(Debug)]
struct Queues<K> {
    next: u64,
    waiting: HashMap<K, VecDeque<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    /// Told when the turn has come; the first in the queue has no need of it.
    turn: Option<oneshot::Sender<()>>,
}

/// One claim; given up when dropped.
#[derive(Debug)]
pub struct Claim<K: Hash + Eq> {
    shared: Arc<Mutex<Queues<K>>>,
    key: K,
    id: u64,
    turn: Option<oneshot::Receiver<()>>,
}

impl<K: Hash + Eq + Clone> Claims<K> {
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Mutex::new(Queues {
                next: 0,
                waiting: HashMap::new(),
            })),
        }
    }

    /// Claims all of `keys` at one moment, so that two operations never wait for each other crosswise. A key that
    /// stands twice is claimed twice, one after the other.
    pub fn claim(&self, keys: impl IntoIterator<Item = K>) -> Vec<Claim<K>> {
        let mut queues = self.shared.lock();
        keys.into_iter()
            .map(|key| {
                queues.next += 1;
                let id = queues.next;
                let queue = queues.waiting.entry(key.clone()).or_default();
                let (sender, receiver) = if queue.is_empty() {
                    (None, None)
                } else {
                    let (sender, receiver) = oneshot::channel();
                    (Some(sender), Some(receiver))
                };
                queue.push_back(Waiter { id, turn: sender });
                Claim {
                    shared: Arc::clone(&self.shared),
                    key,
                    id,
                    turn: receiver,
                }
            })
            .collect()
    }
}

impl<K: Hash + Eq> Claim<K> {
    /// Whether nobody came earlier.
    pub fn is_mine(&mut self) -> bool {
        match &mut self.turn {
            None => true,
            Some(turn) => match turn.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => false,
                // A sender that is gone without a word cannot happen; waiting for it for ever would be worse.
                Ok(()) | Err(oneshot::error::TryRecvError::Closed) => {
                    self.turn = None;
                    true
                }
            },
        }
    }

    /// Waits until everybody who came earlier is done.
    pub async fn turn(&mut self) {
        if let Some(turn) = &mut self.turn {
            // An error says that the sender is gone, which is as good as a word.
            let _ = turn.await;
            self.turn = None;
        }
    }
}

/// Waits until it is the turn of each of them.
pub async fn turns<K: Hash + Eq>(claims: &mut [Claim<K>]) {
    for claim in claims {
        claim.turn().await;
    }
}

impl<K: Hash + Eq> Drop for Claim<K> {
    fn drop(&mut self) {
        let mut queues = self.shared.lock();
        let Some(queue) = queues.waiting.get_mut(&self.key) else {
            return;
        };
        queue.retain(|waiter| waiter.id != self.id);
        match queue.front_mut() {
            None => {
                queues.waiting.remove(&self.key);
            }
            Some(next) => {
                if let Some(turn) = next.turn.take() {
                    let _ = turn.send(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_claimed_twice_at_one_moment_has_two_turns() {
        let claims = Claims::new();
        let mut both = claims.claim(["a", "a"]);
        assert!(both[0].is_mine() && !both[1].is_mine());
        drop(both.remove(0));
        assert!(both[0].is_mine());
    }

    #[tokio::test]
    async fn turns_come_in_order_of_arrival_and_one_who_left_is_passed_over() {
        let claims = Claims::new();
        let mut first = claims.claim(["a", "b"]);
        let mut second = claims.claim(["a"]);
        let mut third = claims.claim(["a", "c"]);
        assert!(first.iter_mut().all(Claim::is_mine));
        assert!(!second[0].is_mine() && !third[0].is_mine() && third[1].is_mine());
        drop(second);
        assert!(!third[0].is_mine());
        drop(first.remove(0));
        third[0].turn().await;
        assert!(third[0].is_mine());
        drop((first, third));
        assert!(claims.shared.lock().waiting.is_empty());
    }
}
