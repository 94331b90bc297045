//! What is allowed and how it is told: the switches of the limits.
use std::time::Duration;

use super::fault_values::{flag, one_of, whole};

pub(super) const NAMES: &[&str] = &[
    "rate",
    "burst",
    "others",
    "quota",
    "quota_window_s",
    "retry_after",
    "limit_headers",
    "limit_reason",
    "near_limit",
];

const AN_HOUR: Duration = Duration::from_secs(3_600);

/// What a 429 says about when to come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RetryAfter {
    #[default]
    Honest,
    Seconds(u64),
    Missing,
    Date,
}

/// Which headers tell of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Dialect {
    #[default]
    Full,
    /// `Retry-After` alone.
    RetryAfter,
    /// None at all.
    Bare,
    /// All of them with `Beta-` before their names, and none without.
    Beta,
    /// As full, but the reset has no seconds.
    Loose,
}

/// A token bucket's measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) burst: u32,
    /// What somebody else takes out of it a second.
    pub(super) others: f64,
}

/// Points for a while; all operations together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) points: u64,
    /// A new one begins whenever the time since 1970 is a multiple of this.
    pub(super) window: Duration,
}

/// The switches of the limits, as they stand.
#[derive(Clone, Debug, Default)]
pub(super) struct LimitFaults {
    pub(super) retry_after: RetryAfter,
    pub(super) dialect: Dialect,
    /// Another `RateLimit-Reason` than the true one.
    pub(super) reason: Option<String>,
    near: Option<bool>,
    per_second: Option<f64>,
    burst: Option<u32>,
    others: f64,
    points: Option<u64>,
    window: Option<Duration>,
}

impl LimitFaults {
    pub(super) fn switch(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "rate" => {
                let rate = value.parse().ok().filter(|rate| (0.001..=1_000_000.0).contains(rate));
                self.per_second = Some(rate.ok_or("expected requests a second, from 0.001 to 1000000")?);
            }
            "burst" => {
                let burst = value.parse().ok().filter(|burst| (1..=1_000_000).contains(burst));
                self.burst = Some(burst.ok_or("expected a number of requests, from 1 to 1000000")?);
            }
            "others" => {
                let others = value.parse().ok().filter(|others| (0.0..=1_000_000.0).contains(others));
                self.others = others.ok_or("expected requests a second, from 0 to 1000000")?;
            }
            "quota" => self.points = Some(whole(value, u64::MAX)?),
            "quota_window_s" => {
                let window = whole(value, 86_400).ok().filter(|window| *window > 0);
                self.window = Some(Duration::from_secs(window.ok_or("expected seconds, from 1 to 86400")?));
            }
            "retry_after" => {
                self.retry_after = match value {
                    "none" => RetryAfter::Missing,
                    "zero" => RetryAfter::Seconds(0),
                    "absurd" => RetryAfter::Seconds(31_536_000),
                    "date" => RetryAfter::Date,
                    seconds => RetryAfter::Seconds(whole(seconds, u64::MAX).map_err(|_| {
                        format!("expected a number of seconds, none, zero, absurd or date, not {seconds:?}")
                    })?),
                }
            }
            "limit_headers" => {
                let dialects = [
                    ("full", Dialect::Full),
                    ("retry_after", Dialect::RetryAfter),
                    ("bare", Dialect::Bare),
                    ("beta", Dialect::Beta),
                    ("loose", Dialect::Loose),
                ];
                self.dialect = one_of(value, &dialects)?;
            }
            "limit_reason" if value.is_empty() || http::HeaderValue::from_str(value).is_err() => {
                return Err("expected what RateLimit-Reason says".to_owned());
            }
            "limit_reason" => self.reason = Some(value.to_owned()),
            "near_limit" => self.near = Some(flag(value)?),
            _ => return Err("is not implemented".to_owned()),
        }
        Ok(())
    }

    /// What each operation allows; none: as much as it can.
    pub(super) fn rate(&self) -> Option<Rate> {
        let per_second = self.per_second?;
        Some(Rate {
            per_second,
            burst: self.burst.unwrap_or_else(|| per_second.ceil().max(1.0) as u32),
            others: self.others,
        })
    }

    /// What all operations together allow; none: as much as they can.
    pub(super) fn allowance(&self) -> Option<Allowance> {
        Some(Allowance {
            points: self.points?,
            window: self.window.unwrap_or(AN_HOUR),
        })
    }

    /// Whether a success tells that little is left.
    pub(super) fn tells_near(&self) -> bool {
        self.near
            .unwrap_or(!matches!(self.dialect, Dialect::RetryAfter | Dialect::Bare))
    }
}
