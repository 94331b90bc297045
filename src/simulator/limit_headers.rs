//! How a limit is told: in the headers of cloud.md section 4, in each of the dialects that were seen.
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::answers::Answer;
use super::limit_faults::{Dialect, LimitFaults, RetryAfter};
use super::limits::{Kind, State};

struct Names {
    retry_after: &'static str,
    limit: &'static str,
    remaining: &'static str,
    reset: &'static str,
    near_limit: &'static str,
    reason: &'static str,
}

const PLAIN: Names = Names {
    retry_after: "retry-after",
    limit: "x-ratelimit-limit",
    remaining: "x-ratelimit-remaining",
    reset: "x-ratelimit-reset",
    near_limit: "x-ratelimit-nearlimit",
    reason: "ratelimit-reason",
};

const BETA: Names = Names {
    retry_after: "beta-retry-after",
    limit: "beta-x-ratelimit-limit",
    remaining: "beta-x-ratelimit-remaining",
    reset: "beta-x-ratelimit-reset",
    near_limit: "beta-x-ratelimit-nearlimit",
    reason: "beta-ratelimit-reason",
};

fn names(faults: &LimitFaults) -> &'static Names {
    match faults.dialect {
        Dialect::Beta => &BETA,
        _ => &PLAIN,
    }
}

/// Too many requests.
pub(super) fn too_many(faults: &LimitFaults, state: State) -> Answer {
    let mut answer = Answer::json(429, &json!({"code": 429, "message": "Rate limit exceeded"}));
    let names = names(faults);
    let seconds = (state.reset.as_secs_f64().ceil() as u64).max(1);
    let free = SystemTime::now() + Duration::from_secs(seconds);
    if faults.dialect == Dialect::Bare {
        return answer;
    }
    let retry_after = match faults.retry_after {
        RetryAfter::Missing => None,
        RetryAfter::Honest => Some(seconds.to_string()),
        RetryAfter::Seconds(fixed) => Some(fixed.to_string()),
        // A date has no fractions: one second more keeps it from being over when it arrives.
        RetryAfter::Date => Some(httpdate::fmt_http_date(free + Duration::from_secs(1))),
    };
    answer.headers.extend(retry_after.map(|text| (names.retry_after, text)));
    if faults.dialect == Dialect::RetryAfter {
        return answer;
    }
    tell(&mut answer, faults, state);
    let form = match faults.dialect {
        Dialect::Loose => "%Y-%m-%dT%H:%MZ",
        _ => "%Y-%m-%dT%H:%M:%SZ",
    };
    if let Ok(reset) = jiff::Timestamp::try_from(free) {
        answer.headers.push((names.reset, reset.strftime(form).to_string()));
    }
    let reason = match state.kind {
        Kind::Burst => "confluence-burst-based",
        Kind::Quota => "confluence-quota-global-based",
    };
    let reason = faults.reason.as_deref().unwrap_or(reason);
    answer.headers.push((names.reason, reason.to_owned()));
    answer
}

/// Lets a success say that little is left, where little is left.
pub(super) fn warn(answer: &mut Answer, faults: &LimitFaults, state: State) {
    if state.is_near && faults.tells_near() && answer.status < 400 {
        answer.headers.push((names(faults).near_limit, "true".to_owned()));
        tell(answer, faults, state);
    }
}

fn tell(answer: &mut Answer, faults: &LimitFaults, state: State) {
    let names = names(faults);
    answer.headers.push((names.limit, state.limit.to_string()));
    answer.headers.push((names.remaining, state.left.to_string()));
}
