//! The switches: every way in which the simulator may misbehave, all off by default.
//!
//! One parser serves the command line and `POST /_sim/faults`. What is on is kept as it was given (`given`), and the rest is
//! derived from it: switching a fault off is forgetting its entry. A flag is on as `NAME`, `NAME=true` or JSON `true`; `false`
//! leaves it off. The rows from `unauthorized` on are additional: what tests and benches need besides. `unauthorized` and
//! `bad_token` are about the site's credential, and so about Confluence and Jira; `hidden_emails`, `suspended` and `external`
//! are seen everywhere; what is said of pages, totals, `already_member` and `not_member` is about version 1 alone.
//!
//! | name | effect |
//! |---|---|
//! | `hidden_emails` | every e-mail is `""` |
//! | `suspended`, `suspended=counted` | every tenth generated user is suspended: absent from members' pages, otherwise there. `counted`: `totalSize` and the positions count the absent, so that inner pages come back short |
//! | `over_limit=refuse\|cap` | a members' page of more than 200: 400 (default), or 200 rows |
//! | `wrong_next` | `_links.next` is computed from the requested limit, and stands on a full last page too |
//! | `no_total` | no `totalSize`, even if asked for |
//! | `already_member=409\|400\|201` | the answer to adding a member again (default 409) |
//! | `not_member=204\|404` | the answer to removing somebody who is no member (default 204) |
//! | `external` | every tenth generated group (`group-00010` …) is `EXTERNAL`: read-only |
//! | `seats=N` | N users who were not added before in this run can be added, then 500 |
//! | `error_5xx=P` | 500, 502, 503, 504 in turn, half of them after the request took effect |
//! | `slow=P:MS` | some answers take MS longer |
//! | `cut=P` | the connection is closed instead of answering, half of the time after the request took effect |
//! | `truncated=P` | the request takes effect, the body ends too early |
//! | `html=P` | a gateway's 503 page or a 200 log-in page, in turn; the request has no effect |
//! | `lag_ms=MS` | reads show the groups and members as they were MS ago |
//! | `unauthorized=401\|403\|html\|xml\|scope` | every credential is refused, in that shape |
//! | `bad_token=TEXT` | a Basic password that is refused |
//! | `forbid_writes` | writes answer 403, as to somebody who is no site administrator |
//! | `down` | everything answers 503 |
//! | `reset` | every request's connection is closed at once, without an answer and an effect |
//! | `silent` | requests are taken and not answered; when it is switched off, their connections are closed. No effect |
//! | `falls_at=N` | the Nth change to groups and members from now on takes effect, and from its answer on everything answers 503 |
//! | `bulk=comma\|repeated\|both` | which form of `accountId` `user/bulk` understands (default both) |
//! | `repeat_page` | every members' page after the first repeats the first |
//! | `admin_down`, `scim_down`, `jira_down` | that API answers 503 |
//! | `admin_refused`, `scim_refused`, `jira_refused` `=401\|403` | its credential is refused |
//! | `admin_garbage=empty\|foreign\|no_email\|truncated` | its searches answer 200 with `{}`; with rows of others before the right ones; without addresses; with half a body |
//! | `admin_429=N` | the next N requests to it are too many |
//! | `admin_slow_ms=MS` | it takes MS longer |
//! | `admin_roles=none\|powerless\|many` | what groups give, but `confluence-users` and `site-admins`: nothing; access to Jira, and on Confluence only roles without access; access to Confluence after 130 other rows (off: access to Jira and Confluence) |
//! | `scim_garbage` | up to two rows that the filter does not mean, before the right ones |
//! | `scim_unlinked` | no account id in any row |
//! | `jira_blind` | as without "Browse users": both searches find nobody, groups are refused |
//! | `jira_garbage=prefix` | up to five people more, who merely begin like the query |
//! | `refresh_leeway_s=S` | a refresh token that was used may be used again for S seconds (default 600); used later it ends its consent |
//! | `access_token_s=S` | access tokens that are given from now on live S seconds (default 3600) |
//! | `consent=denied` | whoever is asked for consent refuses it |
//! | `token_down` | the token endpoint answers 503 |
//! | `token_lost=N` | the next N requests to the token endpoint take effect and their connections are cut |
//! | `token_slow_ms=MS` | the token endpoint takes MS longer |
//! | `other_site` | Bearer tokens are for another site: it alone is told, and the gateway answers 404 to them |
//! | `clock_ahead_s=N` | the `Date` of every answer is N seconds ahead; behind, if N is negative |
//! | `ip_blocked` | Confluence and Jira answer 403: the address is not on the allowlist |
//! | `tenant_info=missing\|html\|down` | the edge knows no such site: 404, or a page with 200; or it answers 503 |
//! | `latency_ms=MS` | as the option of this name |
//! | `latency_spread=F` | each answer takes the latency times a factor of its own: lognormal with a sigma of F (up to 2) and a mean of 1 |
//! | `rate=R`, `burst=B` | as the options of these names. What is in a bucket stays in it when they change; `null` for the rate takes the buckets away |
//! | `others=R` | somebody else takes R a second, smoothly, out of every bucket that is in use |
//! | `quota=POINTS` | all operations together have so many points (`points.rs`), then everything is 429 until the UTC hour is over |
//! | `quota_window_s=S` | the quota's window, instead of the hour |
//! | `retry_after=S\|none\|zero\|absurd\|date` | the `Retry-After` of a 429 |
//! | `limit_headers=full\|retry_after\|bare\|beta\|loose` | what tells of a limit: all headers (default), `Retry-After` alone, nothing, `Beta-` twins of all and none of the others, a reset without seconds |
//! | `limit_reason=TEXT` | the `RateLimit-Reason` of a 429 |
//! | `near_limit`, `near_limit=false` | whether successes say `X-RateLimit-NearLimit` when less than a fifth is left (default: yes, but for `retry_after` and `bare`) |
use std::collections::BTreeMap;
use std::time::Duration;

use super::credential_faults::{self, CredentialFaults};
pub(super) use super::fault_values::{Bulk, Refusal, Suspended};
use super::fault_values::{flag, milliseconds, one_of, probability, whole};
use super::limit_faults::{self, LimitFaults};
use super::source_faults::{self, Sources};

const NAMES: &[&str] = &[
    "hidden_emails",
    "suspended",
    "over_limit",
    "wrong_next",
    "no_total",
    "already_member",
    "not_member",
    "external",
    "seats",
    "error_5xx",
    "slow",
    "cut",
    "truncated",
    "html",
    "lag_ms",
    "unauthorized",
    "bad_token",
    "forbid_writes",
    "down",
    "reset",
    "silent",
    "falls_at",
    "bulk",
    "repeat_page",
    "latency_ms",
    "latency_spread",
];

fn names() -> impl Iterator<Item = &'static str> {
    NAMES
        .iter()
        .chain(limit_faults::NAMES)
        .chain(source_faults::NAMES)
        .chain(credential_faults::NAMES)
        .copied()
}

/// Every switch, as it stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) given: BTreeMap<String, String>,
    pub(super) hidden_emails: bool,
    pub(super) suspended: Suspended,
    pub(super) cap_limit: bool,
    pub(super) wrong_next: bool,
    pub(super) no_total: bool,
    already_member: Option<u16>,
    not_member: Option<u16>,
    pub(super) external: bool,
    pub(super) seats: Option<u64>,
    pub(super) error_5xx: f64,
    pub(super) slow: f64,
    pub(super) slow_by: Duration,
    pub(super) cut: f64,
    pub(super) truncated: f64,
    pub(super) html: f64,
    pub(super) lag: Duration,
    pub(super) unauthorized: Option<Refusal>,
    pub(super) bad_token: Option<String>,
    pub(super) forbid_writes: bool,
    pub(super) down: bool,
    pub(super) reset: bool,
    pub(super) silent: bool,
    pub(super) falls_at: Option<u64>,
    pub(super) bulk: Bulk,
    pub(super) repeat_page: bool,
    pub(super) latency: Duration,
    pub(super) latency_spread: f64,
    pub(super) limits: LimitFaults,
    pub(super) sources: Sources,
    pub(super) credentials: CredentialFaults,
}

impl Faults {
    /// Reads every entry; the first that is wrong is the error, with its name.
    pub(super) fn compile(given: BTreeMap<String, String>) -> Result<Self, String> {
        let mut faults = Self::default();
        for (name, value) in &given {
            Self::known(name)?;
            faults.switch(name, value).map_err(|wrong| format!("{name}: {wrong}"))?;
        }
        faults.given = given;
        Ok(faults)
    }

    fn switch(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "hidden_emails" => self.hidden_emails = flag(value)?,
            "suspended" => {
                let modes = [
                    ("", Suspended::Uncounted),
                    ("true", Suspended::Uncounted),
                    ("counted", Suspended::Counted),
                    ("false", Suspended::Nobody),
                ];
                self.suspended = one_of(value, &modes)?;
            }
            "over_limit" => self.cap_limit = one_of(value, &[("refuse", false), ("cap", true)])?,
            "wrong_next" => self.wrong_next = flag(value)?,
            "no_total" => self.no_total = flag(value)?,
            "already_member" => self.already_member = Some(one_of(value, &[("409", 409), ("400", 400), ("201", 201)])?),
            "not_member" => self.not_member = Some(one_of(value, &[("204", 204), ("404", 404)])?),
            "external" => self.external = flag(value)?,
            "seats" => self.seats = Some(whole(value, u64::MAX)?),
            "error_5xx" => self.error_5xx = probability(value)?,
            "slow" => {
                let (chance, by) = value.split_once(':').ok_or("expected P:MS")?;
                (self.slow, self.slow_by) = (probability(chance)?, milliseconds(by)?);
            }
            "cut" => self.cut = probability(value)?,
            "truncated" => self.truncated = probability(value)?,
            "html" => self.html = probability(value)?,
            "lag_ms" => self.lag = milliseconds(value)?,
            "unauthorized" => {
                let shapes = [
                    ("401", Refusal::Json),
                    ("403", Refusal::Forbidden),
                    ("html", Refusal::Html),
                    ("xml", Refusal::Xml),
                    ("scope", Refusal::Scope),
                ];
                self.unauthorized = Some(one_of(value, &shapes)?);
            }
            "bad_token" if value.is_empty() => return Err("expected the password to refuse".to_owned()),
            "bad_token" => self.bad_token = Some(value.to_owned()),
            "forbid_writes" => self.forbid_writes = flag(value)?,
            "down" => self.down = flag(value)?,
            "reset" => self.reset = flag(value)?,
            "silent" => self.silent = flag(value)?,
            "falls_at" => self.falls_at = Some(whole(value, u64::MAX)?),
            "bulk" => {
                let forms = [
                    ("comma", Bulk::Comma),
                    ("repeated", Bulk::Repeated),
                    ("both", Bulk::Both),
                ];
                self.bulk = one_of(value, &forms)?;
            }
            "repeat_page" => self.repeat_page = flag(value)?,
            "latency_ms" => self.latency = milliseconds(value)?,
            "latency_spread" => {
                let spread = value.parse().ok().filter(|spread| (0.0..=2.0).contains(spread));
                self.latency_spread = spread.ok_or("expected a spread from 0 to 2")?;
            }
            _ if limit_faults::NAMES.contains(&name) => self.limits.switch(name, value)?,
            _ if credential_faults::NAMES.contains(&name) => self.credentials.switch(name, value)?,
            _ => return self.sources.switch(name, value),
        }
        Ok(())
    }

    /// Refuses a name that no fault has.
    pub(super) fn known(name: &str) -> Result<(), String> {
        if names().any(|known| known == name) {
            return Ok(());
        }
        let all: Vec<_> = names().collect();
        Err(format!("{name}: no fault has this name; there are {}", all.join(", ")))
    }

    /// The same to somebody who is no administrator of the site.
    pub(super) fn without_writes(&self) -> Self {
        Self {
            forbid_writes: true,
            ..self.clone()
        }
    }

    /// The status of adding a member again.
    pub(super) fn already_member(&self) -> u16 {
        self.already_member.unwrap_or(409)
    }

    /// The status of removing somebody who is no member.
    pub(super) fn not_member(&self) -> u16 {
        self.not_member.unwrap_or(204)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(name: &str, value: &str) -> Result<Faults, String> {
        Faults::compile(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn every_name_is_known_to_the_parser() {
        for name in names() {
            let refused = compile(name, "no such value").err().unwrap_or_default();
            assert!(!refused.contains("is not implemented"), "{name}");
        }
    }

    #[test]
    fn a_value_without_sense_is_refused_with_the_name() {
        for (name, value) in [
            ("error_5xx", "1.01"),
            ("cut", "-0.1"),
            ("html", "NaN"),
            ("slow", "0.5"),
            ("slow", "0.5:never"),
            ("already_member", "500"),
            ("rate", "0"),
            ("rate", "inf"),
            ("burst", "0"),
            ("lag_ms", "99999999999"),
            ("bad_token", ""),
            ("down", "maybe"),
            ("seats", "-1"),
            ("others", "-1"),
            ("quota", "many"),
            ("quota_window_s", "0"),
            ("limit_headers", "none"),
            ("limit_reason", "a\nb"),
            ("latency_spread", "3"),
            ("clock_ahead_s", "315360001"),
            ("clock_ahead_s", "soon"),
            ("refresh_leeway_s", "-1"),
            ("consent", "true"),
            ("tenant_info", ""),
        ] {
            let refused = compile(name, value).unwrap_err();
            assert!(refused.starts_with(&format!("{name}: ")), "{refused}");
        }
    }

    #[test]
    fn a_burst_defaults_to_the_rate_rounded_up_and_to_one_at_least() {
        let burst = |name, value| {
            let rate = compile(name, value).unwrap().limits.rate();
            rate.map(|rate| (rate.per_second, rate.burst))
        };
        assert_eq!(burst("rate", "2.5"), Some((2.5, 3)));
        assert_eq!(burst("rate", "0.1"), Some((0.1, 1)));
        assert_eq!(burst("burst", "4"), None);
    }
}
