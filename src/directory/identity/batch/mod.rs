//! Look-ups of single names, put together into few calls.
//!
//! Names that come within a short time share their calls, whoever asks for them; a full call leaves at once. A name
//! that is being asked for is never asked for twice: whoever comes second waits for the same answer. What was answered
//! moments ago is not asked again either, and that is how unknown names are remembered, briefly and apart from the
//! known ones. A caller with many names has a few calls under way at a time, so that others' come in between; what
//! nobody waits for any more is not asked.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::claims::{self, Claim, Claims, is_too_long};
use crate::cloud::{Error, Operation};
use crate::metrics::Metrics;
use crate::model::{Context, NameKey, RequestId};

/// A name to ask for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How it is compared.
    pub key: NameKey,
    /// How it was spelt by whoever asked first.
    pub text: Arc<str>,
}

/// Names joined under one lock: others wait for it.
const JOINED_AT_ONCE: usize = 1000;

/// What a call found out.
#[derive(Debug, Default)]
pub struct Found {
    /// What is claimed of each name.
    pub claims: HashMap<NameKey, Vec<Claim>>,
    /// Why nothing can be said of the other names; none: nobody has them.
    pub failed: Option<Error>,
}

/// The call itself: of several names at once, for the request that asked first.
type Ask = Box<dyn Fn(Vec<Wanted>, RequestId) -> BoxFuture<'static, Found> + Send + Sync>;

type Answer = Result<Claims, Error>;
type Waiting = Shared<oneshot::Receiver<Answer>>;

/// Puts look-ups together for one source. Cheap to clone.
#[derive(Clone)]
pub struct Batcher {
    inner: Arc<Inner>,
}

struct Inner {
    operation: Operation,
    limits: Limits,
    ask: Ask,
    state: Mutex<State>,
    answered: moka::sync::Cache<NameKey, Claims>,
    metrics: Metrics,
}

#[derive(Default)]
struct State {
    in_flight: HashMap<NameKey, InFlight>,
    pending: Vec<Pending>,
    timer_runs: bool,
}

/// A name that is being asked for, or will be.
struct InFlight {
    answer: Waiting,
    /// When the last of those who wait for it leaves.
    until: Instant,
}

struct Pending {
    wanted: Wanted,
    /// Under which it is in flight, and will be remembered.
    slot: NameKey,
    sender: oneshot::Sender<Answer>,
}

/// How names are put together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names a call takes.
    pub most: usize,
    /// Calls that one caller's names have under way at a time.
    pub at_once: usize,
    /// How long names wait for others.
    pub window: Duration,
    /// How long an answer is not asked for again.
    pub memory: Duration,
    /// The same where nobody was found: what was found is remembered elsewhere, too.
    pub negative_memory: Duration,
    /// How many answers are remembered.
    pub capacity: u64,
    /// Two spellings of a name are two questions, for the source may know one of them only.
    pub by_spelling: bool,
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher")
            .field("operation", &self.inner.operation)
            .finish_non_exhaustive()
    }
}

impl Batcher {
    pub fn new(operation: Operation, limits: Limits, metrics: Metrics, ask: Ask) -> Self {
        Self {
            inner: Arc::new(Inner {
                operation,
                limits: Limits {
                    most: limits.most.max(1),
                    ..limits
                },
                ask,
                state: Mutex::default(),
                answered: claims::cache(limits.capacity, limits.negative_memory, Some(limits.memory)),
                metrics,
            }),
        }
    }

    /// What is claimed of each name, in order. An answer that does not come before the context's deadline is an error.
    pub async fn look_up(&self, names: &[Wanted], context: &Context) -> Vec<Answer> {
        enum Coming {
            Here(Claims),
            Later(Waiting),
        }
        let Limits { most, by_spelling, .. } = self.inner.limits;
        let deadline = context.read_deadline;
        let mut coming = Vec::with_capacity(names.len());
        let mut full = Vec::new();
        for names in names.chunks(JOINED_AT_ONCE) {
            let mut state = self.inner.state.lock();
            for wanted in names {
                if is_too_long(&wanted.key) {
                    coming.push(Coming::Here(Claims::default()));
                    continue;
                }
                let slot = if by_spelling {
                    NameKey::stored(&wanted.text)
                } else {
                    wanted.key.clone()
                };
                // Under the lock: an answer is remembered before its name stops being in flight.
                let remembered = self.inner.answered.get(&slot);
                let result = if remembered.is_some() { "hit" } else { "miss" };
                self.inner.metrics.looked_up(self.inner.operation.name(), result);
                coming.push(match remembered {
                    Some(claims) => Coming::Here(claims),
                    None => Coming::Later(state.join(wanted, slot, deadline)),
                });
            }
            let whole_calls = state.pending.len() - state.pending.len() % most;
            full.extend(state.pending.drain(..whole_calls));
        }
        // Nothing was waited for so far: a caller who hangs up leaves no name behind that nobody asks for.
        self.send(full, &context.request);
        {
            let mut state = self.inner.state.lock();
            if !state.pending.is_empty() && !state.timer_runs {
                state.timer_runs = true;
                self.send_later(&context.request);
            }
        }
        let mut answers = Vec::with_capacity(names.len());
        for one in coming {
            answers.push(match one {
                Coming::Here(claims) => Ok(claims),
                Coming::Later(waiting) => match tokio::time::timeout_at(deadline.into(), waiting).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_canceled)) => Err(self.unavailable("the look-up failed")),
                    Err(_elapsed) => Err(self.unavailable("no answer came in time")),
                },
            });
        }
        answers
    }

    /// Forgets what was answered, so that it is asked again.
    pub fn forget(&self) {
        self.inner.answered.invalidate_all();
    }

    fn unavailable(&self, cause: &str) -> Error {
        Error::Unavailable {
            operation: self.inner.operation,
            retry_after: Duration::from_secs(5),
            cause: cause.to_owned(),
            doubtful: false,
        }
    }

    fn send_later(&self, request: &RequestId) {
        let (batcher, request) = (self.clone(), request.clone());
        let until = Instant::now() + self.inner.limits.window;
        tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            let rest = {
                let mut state = batcher.inner.state.lock();
                state.timer_runs = false;
                std::mem::take(&mut state.pending)
            };
            batcher.send(rest, &request);
        });
    }

    /// Sends calls, a few at a time, on a task of their own: a caller who hangs up must not cut short what others wait
    /// for.
    fn send(&self, names: Vec<Pending>, request: &RequestId) {
        if names.is_empty() {
            return;
        }
        let (batcher, request) = (self.clone(), request.clone());
        let Limits { most, at_once, .. } = self.inner.limits;
        tokio::spawn(async move {
            let mut names = names.into_iter();
            let calls = std::iter::from_fn(|| {
                let call: Vec<Pending> = names.by_ref().take(most).collect();
                (!call.is_empty()).then_some(call)
            });
            futures_util::stream::iter(calls)
                .for_each_concurrent(at_once, |call| batcher.call(call, &request))
                .await;
        });
    }

    async fn call(&self, names: Vec<Pending>, request: &RequestId) {
        let names = self.still_wanted(names);
        if names.is_empty() {
            return;
        }
        let wanted: Vec<Wanted> = names.iter().map(|name| name.wanted.clone()).collect();
        let asked = async { (self.inner.ask)(wanted, request.clone()).await };
        // A panic must not leave its names in flight for ever.
        let mut found = AssertUnwindSafe(asked).catch_unwind().await.unwrap_or_else(|_| Found {
            failed: Some(self.unavailable("the look-up failed")),
            ..Found::default()
        });
        let mut state = self.inner.state.lock();
        for Pending { wanted, slot, sender } in names {
            let answer = match (found.claims.remove(&wanted.key), &found.failed) {
                (Some(claims), _) => Ok(Claims::from(claims)),
                (None, Some(error)) => Err(error.clone()),
                (None, None) => Ok(Claims::default()),
            };
            if let Ok(claims) = &answer {
                self.inner.answered.insert(slot.clone(), Arc::clone(claims));
            }
            state.in_flight.remove(&slot);
            // Nobody may be waiting any more; the answer is remembered all the same.
            let _ = sender.send(answer);
        }
    }

    /// Those that somebody waits for still. Whoever comes for one of the others from now on asks anew.
    fn still_wanted(&self, names: Vec<Pending>) -> Vec<Pending> {
        let now = Instant::now();
        let mut state = self.inner.state.lock();
        let wanted = |name: &Pending| {
            let is_late = state.in_flight.get(&name.slot).is_none_or(|known| known.until <= now);
            if is_late {
                state.in_flight.remove(&name.slot);
            }
            !is_late
        };
        names.into_iter().filter(wanted).collect()
    }
}

impl State {
    /// The answer that is under way for this name, or will be; somebody waits for it `until` then.
    fn join(&mut self, wanted: &Wanted, slot: NameKey, until: Instant) -> Waiting {
        if let Some(known) = self.in_flight.get_mut(&slot) {
            known.until = known.until.max(until);
            return known.answer.clone();
        }
        let (sender, receiver) = oneshot::channel();
        let answer = receiver.shared();
        let known = InFlight {
            answer: answer.clone(),
            until,
        };
        self.in_flight.insert(slot.clone(), known);
        self.pending.push(Pending {
            wanted: wanted.clone(),
            slot,
            sender,
        });
        answer
    }
}

#[cfg(test)]
mod tests;
