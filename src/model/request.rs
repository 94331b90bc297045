//! Who asks, and for how long.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One inbound request's id: in its answer, its log lines, its audit lines and its calls to Cloud. Clones share the
/// tally of what the request cost.
#[derive(Clone)]
pub struct RequestId {
    text: Arc<str>,
    effort: Arc<Effort>,
}

impl RequestId {
    /// Takes the text as it is; nothing spent yet.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            effort: Arc::default(),
        }
    }

    /// 128 bits, unlikely to come twice; not a secret.
    #[must_use]
    pub fn random() -> Self {
        Self::new(&format!("{:032x}", fastrand::u128(..)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What was spent on behalf of the request so far. Look-ups that several requests share are one request's.
    #[must_use]
    pub fn effort(&self) -> &Effort {
        &self.effort
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// What one request cost in calls to Cloud.
#[derive(Debug, Default)]
pub struct Effort {
    calls: AtomicU64,
    retries: AtomicU64,
    waited_ms: AtomicU64,
}

impl Effort {
    /// Another try was sent; `again`: for the same question.
    pub fn tried(&self, again: bool) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.retries.fetch_add(u64::from(again), Ordering::Relaxed);
    }

    /// So long nothing could be sent: Cloud wanted a pause, or others were before us.
    pub fn waited(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.waited_ms.fetch_add(millis, Ordering::Relaxed);
    }

    /// Tries sent.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Tries that were not the first for their question.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Time during which requests waited for leave to go out, in milliseconds, added up over all of them.
    #[must_use]
    pub fn waited_ms(&self) -> u64 {
        self.waited_ms.load(Ordering::Relaxed)
    }
}

/// Who asks, as far as log, audit and `X-AUSERNAME` are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account's name, the caller's e-mail address, or `anonymous`.
    pub name: Arc<str>,
    /// What tells this caller from every other: answers and reports are theirs who have the same key.
    pub key: Arc<str>,
    /// What it may do beyond its role.
    pub rights: Rights,
}

impl Caller {
    /// A caller who is known by its name alone and has no further rights.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            key: name.into(),
            rights: Rights::default(),
        }
    }
}

/// What an account may do, or has to, beyond its role. Nothing unless its entry says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights {
    /// Sees everybody's reports.
    pub operator: bool,
    /// Changes nothing: each of its changing calls is a dry run.
    pub observe: bool,
    /// May change protected groups.
    pub may_change_protected: bool,
}

/// One inbound request as the domain sees it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The request's id.
    pub request: RequestId,
    /// Who asks.
    pub caller: Caller,
    /// Until when reads on behalf of this request may go on.
    pub read_deadline: Instant,
}

impl Context {
    /// A context whose reads may take `patience` from now.
    #[must_use]
    pub fn new(request: RequestId, caller: Caller, patience: Duration) -> Self {
        Self {
            request,
            caller,
            read_deadline: Instant::now() + patience,
        }
    }

    /// The same request, whose reads may take `patience` from now: a bulk operation outlives its caller's deadline.
    #[must_use]
    pub fn again(&self, patience: Duration) -> Self {
        Self::new(self.request.clone(), self.caller.clone(), patience)
    }
}
