//! The memory of a process over time, and whether it grows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The resident memory of a process in KiB, where the system tells (Linux).
pub(super) fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Looked at so often in the steady phase, and at most so often at all.
const SAMPLES: u32 = 200;
const FASTEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(5);

/// Seconds since the start, KiB.
pub(super) type Samples = Arc<Mutex<Vec<(f64, f64)>>>;

/// Looks at the process until the task is ended.
pub(super) async fn watch(pid: u32, start: Instant, steady: Duration, into: Samples) {
    let mut ticks = tokio::time::interval((steady / SAMPLES).clamp(FASTEST, SLOWEST));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match resident_kib(pid) {
            Some(kib) => into.lock().push((start.elapsed().as_secs_f64(), kib as f64)),
            // It has ended, or there is no such system.
            None => return,
        }
    }
}

/// A straight line through points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slope {
    /// What the second value grows by while the first grows by one.
    pub(super) value: f64,
    /// Its standard error.
    pub(super) error: f64,
}

/// The line by least squares; none through fewer than three points, or through points of one time.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let count = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let common: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let value = common / spread;
    let off: f64 = points
        .iter()
        .map(|(x, y)| (y - mean_y - value * (x - mean_x)).powi(2))
        .sum();
    Some(Slope {
        value,
        error: (off / (count - 2.0) / spread).sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_with_its_error() {
        let straight: Vec<(f64, f64)> = (0..10).map(|x| (f64::from(x), 5.0 + 2.0 * f64::from(x))).collect();
        let found = slope(&straight).unwrap();
        assert!((found.value - 2.0).abs() < 1e-9 && found.error < 1e-9, "{found:?}");
        // By hand: y = 1, 3, 2, 4 over x = 0, 1, 2, 3.
        let found = slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 2.0), (3.0, 4.0)]).unwrap();
        assert!((found.value - 0.8).abs() < 1e-9, "{found:?}");
        assert!((found.error - (1.8_f64 / 2.0 / 5.0).sqrt()).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn no_line_goes_through_too_few_points() {
        assert!(slope(&[]).is_none());
        assert!(slope(&[(0.0, 1.0), (1.0, 2.0)]).is_none());
        assert!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_some_memory_and_no_other_has() {
        assert!(resident_kib(std::process::id()).unwrap() > 500);
        assert!(resident_kib(u32::MAX).is_none());
    }
}
