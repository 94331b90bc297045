//! The pace of one kind of request, learned from what Cloud accepts and refuses. Pure: whoever asks brings the time.
//!
//! Cloud keeps a bucket for each kind: so many requests at once, then so many a second. Neither number is told. A lane
//! mirrors that bucket. The first 429 says only that the bucket is empty; what was accepted between two empty moments,
//! divided by the time between them, is the rate. From then on requests leave a little slower than that, which fills
//! Cloud's bucket a little, until the next probe: the pace grows until the bucket is empty again, and what was counted
//! meanwhile is a better estimate. So a probe costs one 429, and loses nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The share of the learned rate that is used between probes: an error of the estimate must not empty the bucket.
const CAUTION: f64 = 0.985;

/// While it is probed the pace doubles in this time.
const DOUBLING: Duration = Duration::from_secs(2);

/// Requests between probes: so many for each on which the estimate rests, while it is rough; but a few at least.
const PROBE_AFTER_BASIS: f64 = 5.0;
const PROBE_AT_LEAST: f64 = 40.0;
/// Later so many, or more where requests are so fast that it would be sooner than [`PROBE_AFTER`].
const PROBE_EVERY: f64 = 320.0;
const PROBE_EVERY_AT_MOST: f64 = 450.0;
const PROBE_AFTER: Duration = Duration::from_secs(5);
/// However slow requests are, a limit that was raised is found within this time.
const PROBE_AT_LEAST_AFTER: Duration = Duration::from_secs(60);

/// A sample that is so much above or below the estimate says that the limit is another one.
const RISEN: f64 = 1.15;
const FALLEN: f64 = 0.85;

/// Cloud lets less than this through only where it lets nothing through.
const LEAST: f64 = 0.1;

/// While it is measured, a time without a request that is longer than this says that nobody wanted one.
const LET_UP: Duration = Duration::from_millis(100);

/// A pause longer than this says more than how fast a bucket fills: then requests go as fast as they can between pauses.
const LONG_PAUSE: Duration = Duration::from_secs(3);

/// What settings say about a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Requests of the kind under way at once, at most.
    pub width: usize,
    /// Requests a second, at most.
    pub most: Option<f64>,
    /// Requests a second before anything was learned.
    pub start: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// No limit was met, or there is none any more.
    Free,
    /// As fast as possible, until the bucket is empty again.
    Measuring,
    /// At the learned rate, for so many requests more.
    Holding { left: f64 },
    /// Faster and faster.
    Probing { grown: Duration },
}

/// A moment, and how many requests Cloud had taken by then.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    taken: u64,
}

/// When a request of the lane may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opens {
    Now,
    At(Instant),
    /// When another one has ended.
    WithAnEnd,
}

/// One request that left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slip {
    number: u64,
    pub at: Instant,
}

impl Slip {
    /// None at all.
    pub fn none(at: Instant) -> Self {
        Self { number: 0, at }
    }

    pub fn is_none(&self) -> bool {
        self.number == 0
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    bounds: Bounds,
    phase: Phase,
    /// What Cloud accepts a second, as far as is known.
    rate: Option<f64>,
    /// On how many accepted requests that rests.
    basis: f64,
    /// What is left in the bucket as far as we know; what it holds at most.
    tokens: f64,
    filled: Instant,
    burst: f64,
    gate: Option<Instant>,
    /// The gate was last shut then, for so long.
    shut: Option<(Instant, Duration)>,
    /// Requests that left; of these, such as took nothing from the bucket.
    sent: u64,
    void: u64,
    /// From when on the bucket's first filling counts.
    fresh: Mark,
    empty: Option<Mark>,
    /// Cloud's bucket has not flowed over since it was last empty, as far as can be told.
    is_clean: bool,
    /// When a request last left.
    taken: Instant,
    /// Cloud said lately that little is left.
    near_until: Option<Instant>,
    /// 429s in a row without a request accepted in between.
    refused: u32,
    under_way: BTreeMap<u64, Instant>,
    width: f64,
    narrowed: Option<Instant>,
    /// The usual time of a request, in seconds, and the shortest usual one.
    usual: Option<f64>,
    least: f64,
}

impl Lane {
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        let rate = bounds.start;
        Self {
            bounds,
            phase: match rate {
                Some(_) => Phase::Holding { left: PROBE_AT_LEAST },
                None => Phase::Free,
            },
            rate,
            basis: 0.0,
            tokens: rate.unwrap_or(0.0),
            filled: now,
            burst: rate.unwrap_or(0.0).max(1.0),
            gate: None,
            shut: None,
            sent: 0,
            void: 0,
            fresh: Mark { at: now, taken: 0 },
            empty: None,
            is_clean: true,
            taken: now,
            near_until: None,
            refused: 0,
            under_way: BTreeMap::new(),
            width: to_f64(bounds.width),
            narrowed: None,
            usual: None,
            least: f64::INFINITY,
        }
    }

    /// When the next request may leave. Time without anybody waiting is not asked about.
    pub fn opens(&mut self, now: Instant) -> Opens {
        if let Some(gate) = self.gate.filter(|gate| *gate > now) {
            return Opens::At(gate);
        }
        if to_f64(self.under_way.len()) + 1.0 > self.width.max(1.0) {
            return Opens::WithAnEnd;
        }
        self.fill(now);
        match self.per_second() {
            Some(rate) if self.tokens < 1.0 => {
                Opens::At(now + Duration::from_secs_f64(((1.0 - self.tokens) / rate).clamp(0.000_1, 60.0)))
            }
            _ => Opens::Now,
        }
    }

    /// A request leaves.
    pub fn take(&mut self, now: Instant) -> Slip {
        self.fill(now);
        if self.phase == Phase::Measuring {
            // Nobody came though they might have.
            let open = self.gate.map_or(self.taken, |gate| gate.max(self.taken));
            let usual = Duration::from_secs_f64(self.usual.unwrap_or(0.0));
            self.is_clean &= now.saturating_duration_since(open) <= LET_UP.max(usual * 2);
        }
        self.taken = now;
        self.sent += 1;
        self.tokens -= 1.0;
        self.under_way.insert(self.sent, now);
        if let Phase::Holding { left } = &mut self.phase {
            *left -= 1.0;
            if *left <= 0.0 && self.near_until.is_none_or(|until| until <= now) {
                self.phase = Phase::Probing { grown: Duration::ZERO };
            }
        }
        Slip {
            number: self.sent,
            at: now,
        }
    }

    /// It never left, or without reaching Cloud.
    pub fn give_back(&mut self, slip: Slip) {
        self.under_way.remove(&slip.number);
        self.void += 1;
        self.tokens += 1.0;
    }

    /// It is at an end.
    pub fn ended(&mut self, slip: Slip) {
        self.under_way.remove(&slip.number);
    }

    /// Cloud answered it, in its own time.
    pub fn accepted(&mut self, slip: Slip, now: Instant, near_limit: bool) {
        self.refused = 0;
        if near_limit {
            self.near_until = Some(now + Duration::from_secs(1));
        }
        let took = now.saturating_duration_since(slip.at).as_secs_f64();
        let usual = self.usual.map_or(took, |usual| usual + (took - usual) / 16.0);
        self.usual = Some(usual);
        // What was once the shortest is forgotten in time: Cloud may have moved.
        self.least = (self.least * 1.001).min(usual);
        let is_slow = usual > 3.0 * self.least && usual > self.least + 0.1;
        if is_slow && self.width > to_f64(self.bounds.width) / 2.0 {
            self.narrow(now, 0.9);
        } else if !is_slow {
            self.width = (self.width + 1.0 / self.width.max(1.0)).min(to_f64(self.bounds.width));
        }
    }

    /// Cloud failed at it, or did not answer.
    pub fn failed(&mut self, now: Instant) {
        self.narrow(now, 0.7);
    }

    /// Nothing leaves before `until`.
    pub fn shut_until(&mut self, until: Instant) {
        self.gate = Some(self.gate.map_or(until, |gate| gate.max(until)));
    }

    pub fn shut_for(&self, now: Instant) -> Option<Duration> {
        let left = self.gate?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Cloud says that the bucket is empty, and perhaps how long to wait. Returns for how long the lane is shut.
    pub fn too_fast(&mut self, slip: Slip, now: Instant, asked: Option<Duration>) -> Duration {
        let taken = slip.number.saturating_sub(1).saturating_sub(self.void);
        self.void += 1;
        // Sent before the gate was shut: the same empty moment once more.
        if let Some((at, wait)) = self.shut
            && slip.at <= at
        {
            self.shut_until(at + asked.unwrap_or(wait).max(wait));
            return self.shut_for(now).unwrap_or(Duration::ZERO);
        }
        let wait = asked.unwrap_or_else(|| {
            // A second, or what fills half of a bucket that is smaller; where nothing gets through then, more is meant.
            let half = self.rate.map_or(1.0, |rate| (self.burst / rate / 2.0).clamp(0.1, 1.0));
            Duration::from_secs_f64(half) * 2_u32.saturating_pow(self.refused.min(6))
        });
        self.refused = self.refused.saturating_add(1);
        self.fill(now);
        let here = Mark { at: slip.at, taken };
        match self.empty {
            None => {
                self.burst = to_f64(here.taken - self.fresh.taken.min(here.taken)).max(1.0);
                self.phase = Phase::Measuring;
            }
            Some(before) => self.learn(before, here),
        }
        if wait > LONG_PAUSE {
            self.phase = Phase::Measuring;
        }
        self.empty = Some(here);
        self.is_clean = true;
        (self.tokens, self.filled) = (0.0, slip.at);
        self.shut = Some((now, wait));
        self.shut_until(now + wait);
        wait
    }

    /// Requests a second that are let through now; `None`: as many as there are.
    pub fn per_second(&self) -> Option<f64> {
        let learned = match (self.rate, self.phase) {
            // As fast as so many at once can be, but evenly: all at once would all be refused when the bucket is empty.
            (_, Phase::Measuring) => self.usual.map(|usual| self.width / usual.max(0.000_1)),
            (None, _) | (_, Phase::Free) => None,
            (Some(rate), Phase::Holding { .. }) => Some(rate * CAUTION),
            (Some(rate), Phase::Probing { grown }) => {
                Some(rate * 2_f64.powf(grown.as_secs_f64() / DOUBLING.as_secs_f64()))
            }
        };
        match (learned, self.bounds.most) {
            (Some(learned), Some(most)) => Some(learned.min(most)),
            (learned, most) => learned.or(most),
        }
    }

    /// What was learned of Cloud's rate.
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Requests that take far longer than usual: they may be lost.
    pub fn overdue(&self, now: Instant) -> usize {
        let late = Duration::from_secs_f64(self.usual.map_or(2.0, |usual| (4.0 * usual).max(1.0)));
        let is_late = |at: &&Instant| now.saturating_duration_since(**at) > late;
        // In the order in which they left.
        self.under_way.values().take_while(is_late).count()
    }

    /// A while ago Cloud could not be asked at all: it is approached as slowly as at any time.
    pub fn start_over(&mut self, now: Instant) {
        (self.tokens, self.filled) = (0.0, now);
        self.width = 1.0;
        self.is_clean = false;
    }

    fn narrow(&mut self, now: Instant, by: f64) {
        // Once for all that were under way together.
        let pause = Duration::from_secs_f64(self.usual.unwrap_or(0.05).min(5.0));
        if self.narrowed.is_none_or(|at| now.saturating_duration_since(at) > pause) {
            self.narrowed = Some(now);
            self.width = (self.width * by).max(1.0);
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = self.filled.max(now);
        if let Phase::Probing { grown } = &mut self.phase {
            *grown += passed;
        }
        let Some(rate) = self.per_second() else { return };
        let burst = match (self.phase, self.rate) {
            (Phase::Measuring, _) => 1.0,
            (_, Some(_)) => self.burst,
            (_, None) => rate.max(1.0),
        };
        self.tokens += rate * passed.as_secs_f64();
        if self.tokens > burst {
            self.tokens = burst;
            // More than could be held has flowed over, in Cloud's bucket as in ours.
            self.is_clean &= self.phase == Phase::Measuring;
        }
        let (limit, usual) = (to_f64(self.bounds.width), self.usual.unwrap_or(0.05).max(0.000_1));
        if matches!(self.phase, Phase::Probing { .. }) && rate > 2.0 * limit / usual {
            // Faster than so many at once can be: there is no limit any more.
            (self.phase, self.rate, self.empty) = (Phase::Free, None, None);
            self.fresh = Mark {
                at: now,
                taken: self.sent.saturating_sub(self.void),
            };
        }
    }

    /// The bucket was empty at both moments: what it gave between them is what flowed in.
    fn learn(&mut self, before: Mark, here: Mark) {
        let passed = here.at.saturating_duration_since(before.at).as_secs_f64().max(0.001);
        let taken = to_f64(here.taken.saturating_sub(before.taken));
        let shut = self.shut.map_or(0.0, |(_, wait)| wait.as_secs_f64());
        // Both moments are only known within one request; the lower bound is believed.
        let mut sample = ((taken - 1.0) / passed).max(LEAST);
        if self.rate.is_some() && sample * shut > self.burst && passed - shut > 0.2 {
            // It was full before the gate was opened, and flowed over.
            sample = sample.max((taken - self.burst - 1.0) / (passed - shut));
        }
        let basis = std::mem::replace(&mut self.basis, taken);
        let hold = |rate: f64, basis: f64| Phase::Holding {
            left: until_probe(rate, basis),
        };
        match self.rate {
            None if taken < 3.0 || !self.is_clean => self.phase = Phase::Measuring,
            None => {
                let filling = self.burst - sample * before.at.saturating_duration_since(self.fresh.at).as_secs_f64();
                self.burst = filling.max(sample).max(1.0);
                self.rate = Some(sample);
                self.phase = hold(sample, taken);
            }
            // It held less than we had thought.
            Some(rate) if !self.is_clean => {
                self.burst = (self.burst - self.tokens.max(0.0)).max(self.burst / 2.0).max(1.0);
                self.phase = hold(rate, taken);
            }
            // An estimate that rests on little may have been that wrong without any change.
            Some(rate) if sample > rate * (RISEN + 3.0 / basis.max(1.0)) && self.phase != Phase::Measuring => {
                self.rate = Some(sample);
                self.phase = Phase::Measuring;
            }
            Some(rate) if sample < rate * FALLEN => {
                let fallen = if taken < 2.0 { rate / 2.0 } else { sample };
                self.rate = Some(fallen.max(LEAST));
                self.phase = hold(fallen, taken);
            }
            Some(rate) if taken < 20.0 && sample < rate => self.phase = hold(rate, taken),
            Some(_) => {
                self.rate = Some(sample);
                self.phase = hold(sample, taken);
            }
        }
    }
}

/// Requests at this rate, which rests on `basis` of them, before it is probed.
fn until_probe(rate: f64, basis: f64) -> f64 {
    let often = (rate * PROBE_AFTER.as_secs_f64()).clamp(PROBE_EVERY, PROBE_EVERY_AT_MOST);
    let rough = (basis * PROBE_AFTER_BASIS).clamp(PROBE_AT_LEAST, often);
    rough.min(rate * PROBE_AT_LEAST_AFTER.as_secs_f64()).max(5.0)
}

#[allow(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn to_f64(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

#[cfg(test)]
mod tests;
