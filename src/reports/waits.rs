//! How long calls to Cloud waited and what for, in words for people.

use crate::model::Wait;

/// What stands behind "waited 5.0 s".
#[must_use]
pub fn reason(wait: Wait) -> &'static str {
    match wait {
        Wait::Turn => "for its turn",
        Wait::Pace => "for the learned pace",
        Wait::Pause => "because Cloud asked for a pause (429)",
        Wait::Quota => "for the hourly quota",
        Wait::Outage => "because Cloud did not answer",
        Wait::Backoff => "before trying again",
    }
}

/// Whole seconds and tenths of one, rounded up: what was waited is never nothing.
#[must_use]
pub fn seconds(ms: u64) -> (u64, u64) {
    let tenths = ms.div_ceil(100);
    (tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_rounded_to_nothing() {
        for (ms, told) in [
            (0, (0, 0)),
            (1, (0, 1)),
            (100, (0, 1)),
            (7_890, (7, 9)),
            (9_901, (10, 0)),
        ] {
            assert_eq!(seconds(ms), told, "{ms}");
        }
    }
}
