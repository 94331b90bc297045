//! Look-ups of single names, put together into few calls.
//!
//! Names that come within a short time share their calls, whoever asks for them; a full call leaves at once. A name
//! that is being asked for is never asked for twice: whoever comes second waits for the same answer. What was answered
//! moments ago is not asked again either, and that is how unknown names are remembered, briefly and apart from the
//! known ones.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::claims::{Claim, Claims};
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
    most: usize,
    window: Duration,
    ask: Ask,
    state: Mutex<State>,
    answered: moka::sync::Cache<NameKey, Claims>,
    metrics: Metrics,
}

#[derive(Default)]
struct State {
    in_flight: HashMap<NameKey, Waiting>,
    pending: Vec<(Wanted, oneshot::Sender<Answer>)>,
    timer_runs: bool,
}

/// How names are put together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names a call takes.
    pub most: usize,
    /// How long names wait for others.
    pub window: Duration,
    /// How long an answer is not asked for again.
    pub memory: Duration,
    /// How many answers are remembered.
    pub capacity: u64,
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
        let answered = moka::sync::Cache::builder()
            .max_capacity(limits.capacity)
            .time_to_live(limits.memory)
            .build();
        Self {
            inner: Arc::new(Inner {
                operation,
                most: limits.most.max(1),
                window: limits.window,
                ask,
                state: Mutex::default(),
                answered,
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
        let mut coming = Vec::with_capacity(names.len());
        {
            let mut state = self.inner.state.lock();
            for wanted in names {
                // Under the lock: an answer is remembered before its name stops being in flight.
                let remembered = self.inner.answered.get(&wanted.key);
                let result = if remembered.is_some() { "hit" } else { "miss" };
                self.inner.metrics.looked_up(self.inner.operation.name(), result);
                coming.push(match remembered {
                    Some(claims) => Coming::Here(claims),
                    None => Coming::Later(state.join(wanted)),
                });
            }
            while state.pending.len() >= self.inner.most {
                let full = state.pending.drain(..self.inner.most).collect();
                self.send(full, &context.request);
            }
            if !state.pending.is_empty() && !state.timer_runs {
                state.timer_runs = true;
                self.send_later(&context.request);
            }
        }
        let deadline = context.read_deadline;
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
        let until = Instant::now() + self.inner.window;
        tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            let rest = {
                let mut state = batcher.inner.state.lock();
                state.timer_runs = false;
                std::mem::take(&mut state.pending)
            };
            if !rest.is_empty() {
                batcher.send(rest, &request);
            }
        });
    }

    /// Sends one call, on a task of its own: a caller who hangs up must not cut short what others wait for.
    fn send(&self, names: Vec<(Wanted, oneshot::Sender<Answer>)>, request: &RequestId) {
        let batcher = self.clone();
        let wanted: Vec<Wanted> = names.iter().map(|(wanted, _)| wanted.clone()).collect();
        let asked = (self.inner.ask)(wanted, request.clone());
        tokio::spawn(async move {
            // A panic must not leave its names in flight for ever.
            let mut found = AssertUnwindSafe(asked).catch_unwind().await.unwrap_or_else(|_| Found {
                failed: Some(batcher.unavailable("the look-up failed")),
                ..Found::default()
            });
            let mut state = batcher.inner.state.lock();
            for (wanted, sender) in names {
                let answer = match (found.claims.remove(&wanted.key), &found.failed) {
                    (Some(claims), _) => Ok(Claims::from(claims)),
                    (None, Some(error)) => Err(error.clone()),
                    (None, None) => Ok(Claims::default()),
                };
                if let Ok(claims) = &answer {
                    batcher.inner.answered.insert(wanted.key.clone(), Arc::clone(claims));
                }
                state.in_flight.remove(&wanted.key);
                // Nobody may be waiting any more; the answer is remembered all the same.
                let _ = sender.send(answer);
            }
        });
    }
}

impl State {
    /// The answer that is under way for this name, or will be.
    fn join(&mut self, wanted: &Wanted) -> Waiting {
        if let Some(waiting) = self.in_flight.get(&wanted.key) {
            return waiting.clone();
        }
        let (sender, receiver) = oneshot::channel();
        let waiting = receiver.shared();
        self.in_flight.insert(wanted.key.clone(), waiting.clone());
        self.pending.push((wanted.clone(), sender));
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Caller, Source, Standing};

    fn batcher(most: usize, log: &Arc<Mutex<Vec<Vec<String>>>>) -> Batcher {
        let limits = Limits {
            most,
            window: Duration::from_millis(30),
            memory: Duration::from_secs(60),
            capacity: 10_000,
        };
        let log = Arc::clone(log);
        let ask = move |names: Vec<Wanted>, _| {
            log.lock()
                .push(names.iter().map(|wanted| wanted.key.as_str().to_owned()).collect());
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let mut found = Found::default();
                for wanted in names {
                    if wanted.key.as_str() == "panic" {
                        panic!("as the test wants");
                    }
                    if wanted.key.as_str() == "down" {
                        found.failed = Some(Error::Unavailable {
                            operation: Operation::AdminUsers,
                            retry_after: Duration::from_secs(1),
                            cause: "down".to_owned(),
                            doubtful: false,
                        });
                        continue;
                    }
                    let claim = Claim {
                        account: AccountId::new(wanted.key.as_str()),
                        source: Source::Admin,
                        standing: Standing::Active,
                        learned_at: 0,
                    };
                    found.claims.insert(wanted.key, vec![claim]);
                }
                found
            }
            .boxed()
        };
        Batcher::new(Operation::AdminUsers, limits, Metrics::new(), Box::new(ask))
    }

    fn wanted(names: impl IntoIterator<Item = String>) -> Vec<Wanted> {
        let wanted = |name: String| Wanted {
            key: NameKey::of(&name),
            text: name.into(),
        };
        names.into_iter().map(wanted).collect()
    }

    fn context() -> Context {
        let caller = Caller { name: "test".into() };
        Context::new(RequestId::random(), caller, Duration::from_secs(5))
    }

    #[tokio::test]
    async fn concurrent_callers_share_full_calls_and_no_name_is_asked_twice() {
        let log = Arc::default();
        let batcher = batcher(100, &log);
        let calls = (0..20).map(|caller| {
            let batcher = batcher.clone();
            async move {
                // Half of each caller's names are the next one's, too.
                let names = wanted((0..100).map(|n| format!("n{}", (caller * 50 + n) % 1000)));
                batcher.look_up(&names, &context()).await
            }
        });
        let answers = futures_util::future::join_all(calls).await;
        assert!(
            answers
                .iter()
                .flatten()
                .all(|answer| answer.as_ref().unwrap().len() == 1)
        );
        let mut asked: Vec<String> = log.lock().iter().flatten().cloned().collect();
        assert_eq!(log.lock().len(), 10);
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), 1000);
        batcher.look_up(&wanted(["N1".to_owned()]), &context()).await;
        assert_eq!(log.lock().len(), 10);
        batcher.forget();
        batcher.look_up(&wanted(["N1".to_owned()]), &context()).await;
        assert_eq!(log.lock().len(), 11);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_its_names_alone_and_leaves_nothing_behind() {
        let log = Arc::default();
        let batcher = batcher(2, &log);
        let names = wanted(["good", "down", "panic", "other"].map(str::to_owned));
        for _ in 0..2 {
            let answers = batcher.look_up(&names, &context()).await;
            let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
            assert_eq!(good, [true, false, false, false]);
        }
        // What failed was asked for again, what was answered was not.
        let asked = log.lock().iter().flatten().filter(|name| *name == "good").count();
        assert_eq!(asked, 1);
        assert!(log.lock().len() >= 3);
    }
}
