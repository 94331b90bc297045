//! What a 429 (or 503) says about itself. Every word of it is optional, and some of it has been seen to be wrong.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// Which of Cloud's limits was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cloud) enum Limit {
    /// So many requests a second of this kind.
    Burst,
    /// So many points an hour of all kinds together.
    Quota,
    /// A word that nobody has documented; treated as a burst.
    Unknown(String),
}

impl Limit {
    /// Its label in the metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Quota => "quota",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What an answer's headers tell about Cloud's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cloud) struct Told {
    /// How long to wait, where that can be believed: neither zero nor absurd.
    pub wait: Option<Duration>,
    /// How long it is until the limit is whole again, by `X-RateLimit-Reset`.
    pub reset: Option<Duration>,
    pub limit: Limit,
    /// What is left is below a fifth.
    pub near_limit: bool,
    /// What is left of a limit of so much.
    pub remaining: Option<(u64, u64)>,
}

impl Told {
    /// Reads the headers; waits above `believed` are taken for mistakes.
    pub fn read(headers: &HeaderMap, believed: Duration) -> Self {
        let number = |names| header(headers, names)?.parse::<u64>().ok();
        let limit = match header(headers, ["ratelimit-reason", "beta-ratelimit-reason"]).map(str::to_ascii_lowercase) {
            None => Limit::Burst,
            Some(reason) if reason.contains("quota") => Limit::Quota,
            Some(reason) if reason.contains("burst") => Limit::Burst,
            Some(reason) => Limit::Unknown(reason),
        };
        Self {
            wait: header(headers, ["retry-after", "beta-retry-after"])
                .and_then(retry_after)
                .filter(|wait| !wait.is_zero() && *wait <= believed),
            reset: header(headers, ["x-ratelimit-reset", "beta-x-ratelimit-reset"])
                .and_then(reset)
                .filter(|wait| *wait <= believed),
            limit,
            near_limit: header(headers, ["x-ratelimit-nearlimit", "beta-x-ratelimit-nearlimit"])
                .is_some_and(|near| near.eq_ignore_ascii_case("true")),
            remaining: number(["x-ratelimit-remaining", "beta-x-ratelimit-remaining"])
                .zip(number(["x-ratelimit-limit", "beta-x-ratelimit-limit"])),
        }
    }
}

/// A header by its name, or its `Beta-` twin.
fn header<'h>(headers: &'h HeaderMap, names: [&'static str; 2]) -> Option<&'h str> {
    let value = names.iter().find_map(|name| headers.get(*name))?;
    value.to_str().ok().map(str::trim)
}

/// Seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(SystemTime::now())
            .ok(),
    }
}

/// A moment of ISO 8601, with or without seconds. One without them is believed to lie within its minute, at its end.
fn reset(text: &str) -> Option<Duration> {
    let at: jiff::Timestamp = text.parse().ok()?;
    let time = text.split_once('T').map_or("", |(_, time)| time);
    let within = if time.matches(':').count() < 2 { 60_000 } else { 0 };
    let left = at.as_millisecond() + within - jiff::Timestamp::now().as_millisecond();
    u64::try_from(left).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELIEVED: Duration = Duration::from_secs(3600);

    fn told(headers: &[(&'static str, &str)]) -> Told {
        let headers = headers.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        Told::read(&headers.collect(), BELIEVED)
    }

    #[test]
    fn a_retry_after_is_believed_only_where_it_makes_sense() {
        let asks = |text: &str| told(&[("retry-after", text)]).wait;
        assert_eq!(asks("7"), Some(Duration::from_secs(7)));
        assert_eq!(told(&[("beta-retry-after", "7")]).wait, Some(Duration::from_secs(7)));
        for text in [
            "0",
            "31536000",
            "-1",
            "soon",
            "",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "99999999999999999999",
        ] {
            assert_eq!(asks(text), None, "{text}");
        }
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        let wait = asks(&date).unwrap();
        assert!((28..=30).contains(&wait.as_secs()), "{wait:?}");
    }

    #[test]
    fn a_reset_is_read_with_and_without_seconds() {
        let resets = |text: &str| told(&[("x-ratelimit-reset", text)]).reset;
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(600);
        let whole = resets(&at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap();
        assert!((598..=600).contains(&whole.as_secs()), "{whole:?}");
        let short = resets(&at.strftime("%Y-%m-%dT%H:%MZ").to_string()).unwrap();
        assert!((599..=661).contains(&short.as_secs()), "{short:?}");
        for text in [
            "2020-01-01T00:00:00Z",
            "2020-01-01T00:00Z",
            "",
            "Z",
            "soon",
            "2999-01-01T00:00:00Z",
            "1e9",
        ] {
            assert_eq!(resets(text), None, "{text}");
        }
    }

    #[test]
    fn the_reason_is_read_loosely() {
        let limit = |text: &str| told(&[("ratelimit-reason", text)]).limit;
        assert_eq!(limit("confluence-burst-based"), Limit::Burst);
        assert_eq!(limit("Jira-Burst"), Limit::Burst);
        assert_eq!(limit("confluence-QUOTA-global-based"), Limit::Quota);
        assert_eq!(limit("per-issue-write"), Limit::Unknown("per-issue-write".to_owned()));
        assert_eq!(told(&[]).limit, Limit::Burst);
        assert_eq!(told(&[("beta-ratelimit-reason", "x-quota-y")]).limit, Limit::Quota);
    }

    #[test]
    fn what_is_left_is_told_by_both_numbers() {
        let all = told(&[
            ("x-ratelimit-remaining", "3"),
            ("x-ratelimit-limit", "40"),
            ("x-ratelimit-nearlimit", "TRUE"),
        ]);
        assert_eq!((all.remaining, all.near_limit), (Some((3, 40)), true));
        assert_eq!(told(&[("x-ratelimit-remaining", "3")]).remaining, None);
        let odd = [("x-ratelimit-remaining", "-3"), ("x-ratelimit-limit", "NaN")];
        assert_eq!(told(&odd).remaining, None);
    }
}
