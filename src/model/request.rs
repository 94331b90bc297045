//! Who asks, and for how long.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One inbound request's id: in its answer, its log lines, its audit lines and its calls to Cloud. Clones share the
/// tally of what the request cost.
#[derive(Clone)]
pub struct RequestId {
    text: Arc<str>,
    effort: Arc<Effort>,
    caller: Arc<str>,
    share: Share,
}

/// Whose turn a request to Cloud takes where many wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who shares one caller's part.
    pub caller: Arc<str>,
    /// What tells this call from the caller's others while it lasts.
    pub call: usize,
    /// The caller's part, beside those of others.
    pub weight: u16,
    /// So many requests of the caller may be under way at once; 0: no limit of its own.
    pub at_once: u16,
}

/// What part of Cloud's pace a caller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// Twice the weight, twice the pace, where callers compete.
    pub weight: u16,
    /// So many requests to Cloud under way at once, at most; 0: no limit of its own.
    pub at_once: u16,
}

impl Default for Share {
    fn default() -> Self {
        Self { weight: 1, at_once: 0 }
    }
}

impl RequestId {
    /// Takes the text as it is; nothing spent yet.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            effort: Arc::default(),
            caller: "".into(),
            share: Share::default(),
        }
    }

    /// The same request, which goes in that caller's turn.
    #[must_use]
    fn of(mut self, caller: &Caller) -> Self {
        self.caller = Arc::clone(&caller.key);
        self.share = caller.rights.share;
        self
    }

    /// Whose turn its calls to Cloud take.
    #[must_use]
    pub fn flow(&self) -> Flow {
        Flow {
            caller: Arc::clone(&self.caller),
            call: Arc::as_ptr(&self.effort).addr(),
            weight: self.share.weight,
            at_once: self.share.at_once,
        }
    }

    /// 128 bits, unlikely to come twice; not a secret.
    #[must_use]
    pub fn random() -> Self {
        Self::new(&Self::random_text())
    }

    /// The text of one.
    #[must_use]
    pub fn random_text() -> String {
        let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
        let bytes = fastrand::u128(..).to_be_bytes();
        let digits = bytes.map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
        String::from_utf8(digits.as_flattened().to_vec()).unwrap_or_default()
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

/// What a request to Cloud waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Others are before it, or as many as may are under way.
    Turn,
    /// The learned pace.
    Pace,
    /// Cloud wants a pause (429).
    Pause,
    /// The hourly quota is used up, or its last part is kept for reads.
    Quota,
    /// Cloud does not answer.
    Outage,
    /// A failed try is to be made again.
    Backoff,
}

impl Wait {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Turn,
        Self::Pace,
        Self::Pause,
        Self::Quota,
        Self::Outage,
        Self::Backoff,
    ];

    /// What reports call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Pace => "pace",
            Self::Pause => "pause",
            Self::Quota => "quota",
            Self::Outage => "outage",
            Self::Backoff => "backoff",
        }
    }

    /// The kind that [`Self::as_str`] calls this.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wait| wait.as_str() == name)
    }
}

/// Time waited, in milliseconds, by what was waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits([u64; Wait::ALL.len()]);

impl Waits {
    /// So much for this reason.
    #[must_use]
    pub fn ms(self, wait: Wait) -> u64 {
        self.0.get(wait as usize).copied().unwrap_or_default()
    }

    /// So much more for this reason.
    pub fn add(&mut self, wait: Wait, ms: u64) {
        if let Some(waited) = self.0.get_mut(wait as usize) {
            *waited = waited.saturating_add(ms);
        }
    }

    /// For all reasons together.
    #[must_use]
    pub fn sum_ms(self) -> u64 {
        self.0.into_iter().fold(0, u64::saturating_add)
    }

    /// The reasons for which anything was waited, in the order of [`Wait::ALL`].
    pub fn iter(self) -> impl Iterator<Item = (Wait, u64)> {
        let each = Wait::ALL.into_iter().map(move |wait| (wait, self.ms(wait)));
        each.filter(|(_, ms)| *ms > 0)
    }

    /// The same, the longest first.
    #[must_use]
    pub fn by_size(self) -> Vec<(Wait, u64)> {
        let mut waits: Vec<_> = self.iter().collect();
        waits.sort_by_key(|(_, ms)| std::cmp::Reverse(*ms));
        waits
    }
}

impl FromIterator<(Wait, u64)> for Waits {
    /// What is told twice of one reason is added up.
    fn from_iter<T: IntoIterator<Item = (Wait, u64)>>(each: T) -> Self {
        let mut waits = Self::default();
        each.into_iter().for_each(|(wait, ms)| waits.add(wait, ms));
        waits
    }
}

impl AddAssign for Waits {
    fn add_assign(&mut self, other: Self) {
        other.iter().for_each(|(wait, ms)| self.add(wait, ms));
    }
}

/// What one request cost in calls to Cloud.
#[derive(Debug, Default)]
pub struct Effort {
    calls: AtomicU64,
    retries: AtomicU64,
    waited_us: [AtomicU64; Wait::ALL.len()],
}

impl Effort {
    /// Another try was sent; `again`: for the same question.
    pub fn tried(&self, again: bool) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.retries.fetch_add(u64::from(again), Ordering::Relaxed);
    }

    /// So long nothing could be sent, for that reason.
    pub fn waited(&self, wait: Wait, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(waited) = self.waited_us.get(wait as usize) {
            waited.fetch_add(micros, Ordering::Relaxed);
        }
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

    /// Time during which requests waited for leave to go out, added up over all of them.
    #[must_use]
    pub fn waits(&self) -> Waits {
        Wait::ALL
            .into_iter()
            .map(|wait| (wait, self.waited_for_ms(wait)))
            .collect()
    }

    /// The same for one reason, in milliseconds.
    #[must_use]
    pub fn waited_for_ms(&self, wait: Wait) -> u64 {
        let waited = self.waited_us.get(wait as usize);
        waited.map_or(0, |waited| waited.load(Ordering::Relaxed) / 1000)
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
    /// Its part of Cloud's pace.
    pub share: Share,
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
            request: request.of(&caller),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_kept_apart_by_reason_and_told_by_size() {
        let effort = Effort::default();
        effort.waited(Wait::Pace, Duration::from_micros(700_600));
        effort.waited(Wait::Pace, Duration::from_micros(500_500));
        effort.waited(Wait::Pause, Duration::from_secs(3));
        effort.waited(Wait::Turn, Duration::from_micros(999));
        let mut waits = effort.waits();
        assert_eq!(waits.by_size(), [(Wait::Pause, 3000), (Wait::Pace, 1201)]);
        assert_eq!(waits.sum_ms(), 4201);
        waits += [(Wait::Backoff, 5), (Wait::Pace, 2000)].into_iter().collect();
        assert_eq!(
            waits.by_size(),
            [(Wait::Pace, 3201), (Wait::Pause, 3000), (Wait::Backoff, 5)]
        );
        assert_eq!((waits.ms(Wait::Turn), waits.ms(Wait::Backoff)), (0, 5));
        waits += waits;
        assert_eq!(waits.sum_ms(), 12_412);
    }

    #[test]
    fn every_wait_is_found_by_its_name_and_has_a_place_of_its_own() {
        for wait in Wait::ALL {
            assert_eq!(Wait::named(wait.as_str()), Some(wait));
            let waits: Waits = [(wait, u64::MAX), (wait, 1)].into_iter().collect();
            assert_eq!(waits.iter().collect::<Vec<_>>(), [(wait, u64::MAX)]);
        }
        assert_eq!(Wait::named("weather"), None);
    }
}
