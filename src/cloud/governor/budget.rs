//! What may be spent: tries again, as a share of what succeeds; and points of the hourly quota, where Cloud counts them.
//! Pure.

use std::time::{Duration, Instant};

/// A success earns so much of a further try; so many are there at the start, and at most.
const EARNED: f64 = 0.2;
const MOST: f64 = 50.0;
/// However little succeeds, so many further tries a second are made.
const A_SECOND: f64 = 2.0;

/// Further tries of what failed.
#[derive(Debug)]
pub(super) struct Retries {
    left: f64,
    filled: Instant,
}

impl Retries {
    pub fn new(now: Instant) -> Self {
        Self {
            left: MOST,
            filled: now,
        }
    }

    pub fn earn(&mut self) {
        self.left = (self.left + EARNED).min(MOST);
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long it is until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.left = (self.left + passed * A_SECOND).min(MOST);
        // Tenths do not add up exactly.
        if self.left > 1.0 - 1e-9 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.left) / A_SECOND))
    }
}

/// The points of one hour, which begins with the hour of UTC.
#[derive(Debug)]
pub(super) struct Quota {
    points: u64,
    /// Kept for reads: changes stop before.
    reserve: u64,
    used: u64,
    ends: Instant,
    /// Cloud says that nothing is left until then.
    paused: Option<Instant>,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Quota {
    /// An hour of `points`, of which `reserve_percent` are kept for reads; it ends in `left`. 0 points: not counted.
    pub fn new(points: u64, reserve_percent: u64, now: Instant, left: Duration) -> Self {
        Self {
            points,
            reserve: points.saturating_mul(reserve_percent.min(100)) / 100,
            used: 0,
            ends: now + left,
            paused: None,
        }
    }

    /// An answer cost so much.
    pub fn spend(&mut self, points: u64, now: Instant) {
        self.turn(now);
        self.used = self.used.saturating_add(points);
    }

    /// Cloud's own account: so many are left.
    pub fn told(&mut self, left: u64, of: u64, now: Instant) {
        self.turn(now);
        if self.points > 0 {
            self.used = of.saturating_sub(left).min(of);
            self.points = of;
        }
    }

    /// Cloud says that nothing is left. Returns until when everything is to wait.
    pub fn is_used_up(&mut self, wait: Option<Duration>, now: Instant) -> Instant {
        self.turn(now);
        self.used = self.used.max(self.points);
        let until = wait.map_or(self.ends, |wait| now + wait);
        self.paused = Some(self.paused.map_or(until, |paused| paused.max(until)));
        until
    }

    /// What is left, where points are counted.
    pub fn left(&self) -> Option<u64> {
        (self.points > 0).then(|| self.points.saturating_sub(self.used))
    }

    /// Until when reads have to wait.
    pub fn closed_for_reads(&mut self, now: Instant) -> Option<Instant> {
        self.turn(now);
        self.paused
    }

    /// Until when changes have to wait: the last points are kept for reads.
    pub fn closed_for_changes(&mut self, now: Instant) -> Option<Instant> {
        self.turn(now);
        let is_reserve = self.left().is_some_and(|left| left <= self.reserve);
        self.paused.or_else(|| is_reserve.then_some(self.ends))
    }

    fn turn(&mut self, now: Instant) {
        self.paused = self.paused.filter(|until| *until > now);
        if now >= self.ends {
            self.used = 0;
            while self.ends <= now {
                self.ends += HOUR;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_again_are_a_share_of_what_succeeds() {
        let now = Instant::now();
        let mut retries = Retries::new(now);
        assert_eq!((0..1000).filter(|_| retries.take(now).is_ok()).count(), 50);
        (0..100).for_each(|_| retries.earn());
        assert_eq!((0..1000).filter(|_| retries.take(now).is_ok()).count(), 20);
        assert_eq!(retries.take(now), Err(Duration::from_millis(500)));
        assert_eq!(retries.take(now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn the_last_points_of_an_hour_are_kept_for_reads() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut quota = Quota::new(1000, 10, start, Duration::from_secs(600));
        quota.spend(899, at(1));
        assert_eq!((quota.closed_for_changes(at(1)), quota.left()), (None, Some(101)));
        quota.spend(1, at(2));
        assert_eq!(quota.closed_for_changes(at(2)), Some(at(600)));
        assert_eq!(quota.closed_for_reads(at(2)), None);
        quota.told(500, 1000, at(3));
        assert_eq!(quota.closed_for_changes(at(3)), None);
        assert_eq!(quota.is_used_up(None, at(4)), at(600));
        assert_eq!(quota.closed_for_reads(at(599)), Some(at(600)));
        assert_eq!((quota.closed_for_reads(at(600)), quota.left()), (None, Some(1000)));
        assert_eq!(quota.is_used_up(Some(Duration::from_secs(30)), at(700)), at(730));
        assert_eq!(quota.closed_for_changes(at(731)), Some(at(600 + 3600)));
        assert_eq!(quota.closed_for_changes(at(4200)), None);
    }

    #[test]
    fn where_points_are_not_counted_only_cloud_says_stop() {
        let now = Instant::now();
        let mut quota = Quota::new(0, 10, now, HOUR);
        quota.spend(u64::MAX, now);
        quota.told(0, 10, now);
        assert_eq!((quota.closed_for_changes(now), quota.left()), (None, None));
        let until = quota.is_used_up(Some(Duration::from_secs(9)), now);
        assert_eq!(quota.closed_for_reads(now), Some(until));
    }
}
