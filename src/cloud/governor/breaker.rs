//! Stops asking a Cloud that only fails, but for one request now and then that finds out whether it is back. Pure.

use std::time::{Duration, Instant};

/// So many failures without a success between them, over so long, are an outage.
const FAILURES: u32 = 10;
const SUSTAINED: Duration = Duration::from_secs(2);

/// The pause before the first probe; each one that fails doubles it.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One request is under way to find out.
    Probing {
        since: Instant,
        pause: Duration,
    },
}

/// Whether requests may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Yes,
    /// One, and nobody else until it is answered.
    Probe,
    /// Nobody before that moment.
    NotBefore(Instant),
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    failures: u32,
    first_failure: Instant,
    /// A probe that is not answered for so long has failed.
    patience: Duration,
}

impl Breaker {
    /// Requests are answered within `patience`, or not at all.
    pub fn new(patience: Duration, now: Instant) -> Self {
        Self {
            state: State::Closed,
            failures: 0,
            first_failure: now,
            patience,
        }
    }

    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    pub fn pass(&self, now: Instant) -> Pass {
        match self.state {
            State::Closed => Pass::Yes,
            State::Open { until, .. } if until <= now => Pass::Probe,
            State::Open { until, .. } => Pass::NotBefore(until),
            State::Probing { since, .. } => Pass::NotBefore(since + self.patience),
        }
    }

    /// A request left; where only a probe may, it is the probe.
    pub fn left(&mut self, now: Instant) {
        if let State::Open { pause, .. } = self.state {
            self.state = State::Probing { since: now, pause };
        }
    }

    /// The probe was not sent after all, or its end says nothing.
    pub fn forget_probe(&mut self, now: Instant) {
        if let State::Probing { pause, .. } = self.state {
            self.state = State::Open { until: now, pause };
        }
    }

    /// Cloud answered: also with a refusal. Returns whether that ended an outage.
    pub fn succeeded(&mut self) -> bool {
        self.failures = 0;
        std::mem::replace(&mut self.state, State::Closed) != State::Closed
    }

    /// Cloud failed. Returns whether that began an outage.
    pub fn failed(&mut self, now: Instant) -> bool {
        if self.failures == 0 {
            self.first_failure = now;
        }
        self.failures = self.failures.saturating_add(1);
        match self.state {
            State::Closed
                if self.failures >= FAILURES && now.saturating_duration_since(self.first_failure) >= SUSTAINED =>
            {
                self.state = State::Open {
                    until: now + PAUSE,
                    pause: PAUSE,
                };
                true
            }
            State::Probing { pause, .. } => {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                // Several processes must not ask in step.
                let until = now + pause.mul_f64(0.75 + fastrand::f64() / 2.0);
                self.state = State::Open { until, pause };
                false
            }
            // What left before it was opened.
            State::Closed | State::Open { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_on_sustained_failure_and_closes_by_one_probe() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut breaker = Breaker::new(Duration::from_secs(45), start);
        for n in 0..30 {
            assert!(!breaker.failed(at(n)));
        }
        assert_eq!(breaker.pass(at(100)), Pass::Yes);
        assert!(breaker.failed(at(2100)));
        assert_eq!(breaker.pass(at(2200)), Pass::NotBefore(at(2600)));
        assert_eq!(breaker.pass(at(2600)), Pass::Probe);
        breaker.left(at(2600));
        assert!(matches!(breaker.pass(at(2700)), Pass::NotBefore(_)));
        assert!(!breaker.failed(at(2700)));
        assert!(matches!(breaker.pass(at(3400)), Pass::NotBefore(_)));
        assert_eq!(breaker.pass(at(4000)), Pass::Probe);
        breaker.left(at(4000));
        assert!(breaker.succeeded());
        assert_eq!(breaker.pass(at(4001)), Pass::Yes);
        assert!(!breaker.succeeded());
    }

    #[test]
    fn failures_among_successes_are_no_outage_and_pauses_have_an_end() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Duration::from_secs(45), start);
        for n in 0..1000_u64 {
            assert!(!breaker.failed(start + Duration::from_secs(n)));
            if n % 5 == 0 {
                breaker.succeeded();
            }
        }
        let mut now = start + Duration::from_secs(2000);
        while !breaker.is_open() {
            now += Duration::from_secs(1);
            breaker.failed(now);
        }
        for _ in 0..20 {
            let Pass::NotBefore(until) = breaker.pass(now) else {
                panic!()
            };
            assert!(until <= now + LONGEST_PAUSE.mul_f64(1.25));
            now = until;
            breaker.left(now);
            breaker.failed(now);
        }
    }
}
