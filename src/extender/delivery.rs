//! Whether an answer was fully written to its caller. Whoever makes an answer says here what follows from that; the
//! accept loop, which holds the connection, says when it is so.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

type Then = Box<dyn FnOnce() + Send>;

/// What follows once an answer was fully written. Dropped without being called: it never was.
pub struct Delivered {
    written: Then,
    lost: Option<Then>,
    /// Dropped then, or when it is known that it never will be.
    kept: Option<Box<dyn Send>>,
}

impl Delivered {
    /// `written` is called once, when the last byte of the answer is with the socket. It must not block.
    #[must_use]
    pub fn new(written: impl FnOnce() + Send + 'static) -> Self {
        Self {
            written: Box::new(written),
            lost: None,
            kept: None,
        }
    }

    /// `lost` is called if the client resets the connection after that and before it says anything more: it went away
    /// without having read what the socket still held.
    #[must_use]
    pub fn or_lost(mut self, lost: impl FnOnce() + Send + 'static) -> Self {
        self.lost = Some(Box::new(lost));
        self
    }

    /// The answer was fully written. Returns what is left to follow.
    #[must_use]
    pub fn written(self) -> Option<Lost> {
        (self.written)();
        drop(self.kept);
        self.lost.map(Lost)
    }
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delivered")
    }
}

/// What follows if a written answer turns out not to have been read. Dropped without being called: it was, as far as
/// anybody can tell.
pub struct Lost(Then);

impl Lost {
    /// The answer was lost.
    pub fn call(self) {
        (self.0)();
    }
}

/// Among an answer's extensions: what follows once it is written. An answer whose body is still being made has it
/// before its end is known, and nothing in it yet.
#[derive(Clone, Debug, Default)]
pub struct Delivery(Arc<Mutex<Option<Delivered>>>);

impl Delivery {
    /// Says what follows.
    pub fn put(&self, delivered: Delivered) {
        *self.0.lock() = Some(delivered);
    }

    /// Keeps something until the answer was fully written, or cannot be any more. To be called after `put`.
    pub fn keep(&self, kept: impl Send + 'static) {
        let mut slot = self.0.lock();
        let delivered = slot.get_or_insert_with(|| Delivered::new(|| ()));
        delivered.kept = Some(Box::new(kept));
    }

    /// What follows, for whoever asks first.
    #[must_use]
    pub fn take(&self) -> Option<Delivered> {
        self.0.lock().take()
    }
}
