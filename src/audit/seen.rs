//! What every handle sees of the thread without asking it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::chain::Head;
use super::room::Room;

/// Nobody can say how much is in the file.
const UNKNOWN: u64 = u64::MAX;

/// One thread writes it, all handles read it.
#[derive(Debug)]
pub struct Seen {
    /// The last line on disk.
    on_disk: Mutex<Head>,
    /// Whether what was tried last could be written.
    is_healthy: AtomicBool,
    /// So many messages with lines were handed over, and so many of them are in the file.
    handed_over: AtomicU64,
    in_file: AtomicU64,
    /// What is reserved behind the file's end.
    pub room: Room,
}

impl Seen {
    /// `on_disk` is the last line that is on disk; nothing was handed over, nothing failed.
    pub fn new(on_disk: Head) -> Self {
        Self {
            on_disk: Mutex::new(on_disk),
            is_healthy: AtomicBool::new(true),
            handed_over: AtomicU64::new(0),
            in_file: AtomicU64::new(0),
            room: Room::new(),
        }
    }

    pub fn on_disk(&self) -> Head {
        *self.on_disk.lock()
    }

    pub fn put_on_disk(&self, head: Head) {
        *self.on_disk.lock() = head;
    }

    pub fn is_healthy(&self) -> bool {
        self.is_healthy.load(Ordering::Acquire)
    }

    /// A message with lines is about to be handed over.
    pub fn handing_over(&self) {
        self.handed_over.fetch_add(1, Ordering::AcqRel);
    }

    /// All lines of the first `messages` are in the file.
    pub fn written(&self, messages: u64) {
        self.in_file.store(messages, Ordering::Release);
    }

    /// More can be written; whether that was not so before.
    pub fn recovered(&self) -> bool {
        !self.is_healthy.swap(true, Ordering::AcqRel)
    }

    /// Something could not be written, and what was written before may be lost; whether that is news.
    pub fn failed(&self) -> bool {
        self.room.lost();
        self.in_file.store(UNKNOWN, Ordering::Release);
        self.is_healthy.swap(false, Ordering::AcqRel)
    }

    /// Whether everything that anybody handed over is in the file.
    pub fn is_all_in_file(&self) -> bool {
        self.in_file.load(Ordering::Acquire) == self.handed_over.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_in_the_file_once_the_thread_says_so_and_as_long_as_it_can_write() {
        let seen = Seen::new(Head::default());
        assert!(seen.is_all_in_file());
        seen.handing_over();
        seen.handing_over();
        assert!(!seen.is_all_in_file());
        seen.written(1);
        assert!(!seen.is_all_in_file());
        seen.written(2);
        assert!(seen.is_all_in_file());
        assert!(seen.failed() && !seen.failed());
        assert!(!seen.is_all_in_file());
        // There is room again, and what was written before is still to be written once more.
        assert!(seen.recovered() && !seen.recovered());
        assert!(!seen.is_all_in_file());
        seen.written(2);
        assert!(seen.is_all_in_file());
    }
}
