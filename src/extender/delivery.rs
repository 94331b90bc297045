//! Whether an answer was fully written to its caller. Whoever makes an answer says here what follows from that; the
//! accept loop, which holds the connection, says when it is so.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::turns::Turn;

type Then = Box<dyn FnOnce() + Send>;

/// What follows once an answer was fully written. Dropped without being called: it never was.
#[derive(Default)]
pub struct Delivered {
    written: Option<Then>,
    lost: Option<Then>,
    /// Ends then, or when it is known that it never will be.
    turn: Option<Turn>,
}

impl Delivered {
    /// `written` is called once, when the last byte of the answer is with the socket. It must not block.
    #[must_use]
    pub fn new(written: impl FnOnce() + Send + 'static) -> Self {
        Self {
            written: Some(Box::new(written)),
            ..Self::default()
        }
    }

    /// `lost` is called if the client resets the connection after that and before it says anything more: it went away
    /// without having read what the socket still held.
    #[must_use]
    pub fn or_lost(mut self, lost: impl FnOnce() + Send + 'static) -> Self {
        self.lost = Some(Box::new(lost));
        self
    }

    /// Whether somebody wants to know it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.written.is_some()
    }

    /// The answer was fully written. Returns what is left to follow.
    #[must_use]
    pub fn written(self) -> Option<Lost> {
        if let Some(written) = self.written {
            written();
        }
        drop(self.turn);
        self.lost.map(Lost)
    }
}

/// That the turn ends, and nothing else.
impl From<Turn> for Delivered {
    fn from(turn: Turn) -> Self {
        Self {
            turn: Some(turn),
            ..Self::default()
        }
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

    /// Keeps the turn until the answer was fully written, or cannot be any more. To be called after `put`.
    pub(super) fn keep(&self, turn: Turn) {
        self.0.lock().get_or_insert_default().turn = Some(turn);
    }

    /// What follows, for whoever asks first.
    #[must_use]
    pub fn take(&self) -> Option<Delivered> {
        self.0.lock().take()
    }
}

/// What follows an answer, in the hands of who writes it.
#[derive(Debug)]
pub enum Due {
    /// It is known already.
    Known(Option<Delivered>),
    /// It is known once the answer is made.
    Later(Delivery),
}

impl Due {
    /// What follows, for whoever asks first.
    #[must_use]
    pub fn take(&mut self) -> Option<Delivered> {
        match self {
            Self::Known(delivered) => delivered.take(),
            Self::Later(delivery) => delivery.take(),
        }
    }
}

impl From<Delivered> for Due {
    fn from(delivered: Delivered) -> Self {
        Self::Known(Some(delivered))
    }
}

impl From<Delivery> for Due {
    fn from(delivery: Delivery) -> Self {
        Self::Later(delivery)
    }
}
