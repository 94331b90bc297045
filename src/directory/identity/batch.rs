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
mod tests {
    use super::*;
    use crate::model::{AccountId, Caller, Source, Standing};

    fn limits(most: usize) -> Limits {
        Limits {
            most,
            at_once: 4,
            window: Duration::from_millis(30),
            memory: Duration::from_secs(60),
            negative_memory: Duration::from_secs(60),
            capacity: 100_000,
            by_spelling: false,
        }
    }

    fn batcher(limits: Limits, log: &Arc<Mutex<Vec<Vec<String>>>>) -> Batcher {
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
                        is_proven: true,
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
        patient(5000)
    }

    fn patient(millis: u64) -> Context {
        let caller = Caller { name: "test".into() };
        Context::new(RequestId::random(), caller, Duration::from_millis(millis))
    }

    #[tokio::test]
    async fn concurrent_callers_share_full_calls_and_no_name_is_asked_twice() {
        let log = Arc::default();
        let batcher = batcher(limits(100), &log);
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
        let batcher = batcher(limits(2), &log);
        let names = wanted(["good", "down", "panic", "other"].map(str::to_owned));
        // The last one shares a call with one that fails, and then has a call of its own.
        for last in [false, true] {
            let answers = batcher.look_up(&names, &context()).await;
            let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
            assert_eq!(good, [true, false, false, last]);
        }
        // What failed was asked for again, what was answered was not.
        let asked = log.lock().iter().flatten().filter(|name| *name == "good").count();
        assert_eq!(asked, 1);
        assert_eq!(log.lock().len(), 4);
    }

    #[tokio::test]
    async fn a_hundred_thousand_names_asked_one_by_one_hold_nobody_up() {
        let log = Arc::default();
        let batcher = batcher(limits(1), &log);
        let many = wanted((0..100_000).map(|n| format!("n{n}")));
        let began = Instant::now();
        let (answers, small) = futures_util::future::join(batcher.look_up(&many, &patient(2000)), async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let asked = Instant::now();
            let answer = batcher.look_up(&wanted(["one".to_owned()]), &context()).await;
            assert!(answer[0].is_ok());
            asked.elapsed()
        })
        .await;
        assert!(small < Duration::from_millis(500), "{small:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let in_time = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!((4..2000).contains(&in_time), "{in_time}");
        // Nobody waits for the others any more, and whoever comes again goes on where it ended.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let asked = log.lock().len();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(log.lock().len(), asked);
        assert!(batcher.inner.state.lock().in_flight.is_empty());
        let first = batcher.look_up(&many[..in_time + 4], &context()).await;
        assert!(first.iter().all(Result::is_ok));
        assert!(log.lock().len() <= asked + 4);
    }

    #[tokio::test]
    async fn spellings_are_questions_of_their_own_where_the_source_tells_them_apart() {
        for (by_spelling, calls) in [(false, 1), (true, 2)] {
            let log = Arc::default();
            let batcher = batcher(
                Limits {
                    by_spelling,
                    ..limits(1)
                },
                &log,
            );
            for name in ["abc", "ABC", "abc"] {
                batcher.look_up(&wanted([name.to_owned()]), &context()).await;
            }
            assert_eq!(log.lock().len(), calls);
        }
    }

    #[tokio::test]
    async fn a_name_that_is_too_long_is_nobodys_and_not_asked_for() {
        let log = Arc::default();
        let batcher = batcher(limits(1), &log);
        let answers = batcher
            .look_up(&wanted(["ä".repeat(256), "ä".repeat(255)]), &context())
            .await;
        assert!(answers[0].as_ref().unwrap().is_empty());
        assert_eq!((answers[1].as_ref().unwrap().len(), log.lock().len()), (1, 1));
    }
}
