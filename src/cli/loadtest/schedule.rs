//! When requests are meant to arrive: fixed before anything is sent, so that a slow server is not asked less for being slow.
//! Pure.

use std::time::Duration;

/// How requests follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Arrivals {
    /// As many independent callers send them
    Poisson,
    /// Evenly, as a metronome
    Constant,
}

/// A rate that is reached by and by, and held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Requests a second.
    pub(super) rate: f64,
    /// From nearly none to the rate, linearly.
    pub(super) ramp: Duration,
    pub(super) steady: Duration,
    pub(super) arrivals: Arrivals,
}

impl Plan {
    pub(super) fn whole(&self) -> Duration {
        self.ramp.saturating_add(self.steady)
    }

    /// Every arrival, in order, since the start.
    pub(super) fn schedule(&self, seed: u64) -> Schedule {
        Schedule {
            plan: *self,
            rng: fastrand::Rng::with_seed(seed),
            count: 0,
            passed: 0.0,
        }
    }

    /// When so many requests are to have arrived on average: the integral of the rate, turned around.
    fn when(&self, count: f64) -> f64 {
        let ramp = self.ramp.as_secs_f64();
        let while_ramping = self.rate * ramp / 2.0;
        if count < while_ramping {
            (2.0 * ramp * count / self.rate).sqrt()
        } else {
            ramp + (count - while_ramping) / self.rate
        }
    }
}

/// The arrivals of a plan.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    plan: Plan,
    rng: fastrand::Rng,
    count: u64,
    passed: f64,
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Stretched by the rate's integral, arrivals of any rate are those of the rate one.
        self.passed = match self.plan.arrivals {
            Arrivals::Constant => self.count as f64 + 0.5,
            Arrivals::Poisson => self.passed - (1.0 - self.rng.f64()).ln(),
        };
        self.count += 1;
        let at = Duration::try_from_secs_f64(self.plan.when(self.passed)).ok()?;
        (at < self.plan.whole()).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(rate: f64, ramp_ms: u64, steady_ms: u64, arrivals: Arrivals) -> Plan {
        Plan {
            rate,
            ramp: Duration::from_millis(ramp_ms),
            steady: Duration::from_millis(steady_ms),
            arrivals,
        }
    }

    #[test]
    fn a_constant_rate_is_a_metronome() {
        let times: Vec<u128> = plan(10.0, 0, 500, Arrivals::Constant)
            .schedule(1)
            .map(|at| at.as_millis())
            .collect();
        assert_eq!(times, [50, 150, 250, 350, 450]);
    }

    #[test]
    fn a_ramp_has_half_the_requests_and_most_of_them_late() {
        let plan = plan(100.0, 10_000, 0, Arrivals::Constant);
        let times: Vec<Duration> = plan.schedule(1).collect();
        assert_eq!(times.len(), 500);
        // A quarter of them in the first half: the square.
        let early = times.iter().filter(|at| at.as_secs() < 5).count();
        assert_eq!(early, 125);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_schedule_is_in_order_within_its_time_and_as_many_as_the_rate_says(
            rate in 0.5..2_000.0_f64, ramp_ms in 0..5_000_u64, steady_ms in 0..5_000_u64, seed in any::<u64>(),
            is_constant in any::<bool>(),
        ) {
            let arrivals = if is_constant { Arrivals::Constant } else { Arrivals::Poisson };
            let plan = plan(rate, ramp_ms, steady_ms, arrivals);
            let times: Vec<Duration> = plan.schedule(seed).collect();
            prop_assert!(times.is_sorted());
            prop_assert!(times.iter().all(|at| *at < plan.whole()));
            let expected = rate * (ramp_ms as f64 / 2.0 + steady_ms as f64) / 1_000.0;
            let off = (times.len() as f64 - expected).abs();
            // Of independent arrivals the count's own spread is its root; six of it are not seen in a lifetime.
            let most = if is_constant { 1.0 } else { 6.0 * expected.sqrt() + 8.0 };
            prop_assert!(off <= most, "{} of {expected}", times.len());
            // Twice the same is the same.
            prop_assert_eq!(times, plan.schedule(seed).collect::<Vec<_>>());
        }

        #[test]
        fn what_is_constant_stands_evenly_in_the_steady_phase(rate in 1.0..5_000.0_f64, ramp_ms in 0..2_000_u64) {
            let plan = plan(rate, ramp_ms, 1_000, Arrivals::Constant);
            let steady: Vec<f64> = plan
                .schedule(1)
                .filter(|at| *at >= plan.ramp)
                .map(|at| at.as_secs_f64())
                .collect();
            for pair in steady.windows(2) {
                prop_assert!((pair[1] - pair[0] - 1.0 / rate).abs() < 1e-6);
            }
        }
    }
}
