//! How credentials and the authorization server may misbehave.
use std::time::Duration;

use super::fault_values::{flag, milliseconds, one_of, whole};

pub(super) const NAMES: &[&str] = &[
    "refresh_leeway_s",
    "access_token_s",
    "consent",
    "token_down",
    "token_lost",
    "token_slow_ms",
    "other_site",
    "clock_ahead_s",
    "ip_blocked",
    "tenant_info",
];

const USUAL_LEEWAY: Duration = Duration::from_secs(600);
const USUAL_LIFE: Duration = Duration::from_secs(3_600);
/// The longest time that tokens may be told to live: a year.
const LONGEST_S: u64 = 31_536_000;
/// How wrong the clock may be, in seconds: ten years.
const MOST_AHEAD: i64 = 315_360_000;

/// What the edge says of the site, instead of its cloud id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tenant {
    Missing,
    Html,
    Down,
}

/// The switches of credentials, as they stand.
#[derive(Clone, Debug, Default)]
pub(super) struct CredentialFaults {
    leeway: Option<Duration>,
    access_token: Option<Duration>,
    pub(super) consent_denied: bool,
    pub(super) token_down: bool,
    /// How many answers of the token endpoint are lost, from when this is switched on.
    pub(super) token_lost: u64,
    pub(super) token_slow: Duration,
    pub(super) other_site: bool,
    /// By how many seconds every answer's date is off.
    pub(super) clock_ahead: i64,
    pub(super) ip_blocked: bool,
    pub(super) tenant: Option<Tenant>,
}

impl CredentialFaults {
    pub(super) fn switch(&mut self, name: &str, value: &str) -> Result<(), String> {
        let seconds = |value: &str| whole(value, LONGEST_S).map(Duration::from_secs);
        match name {
            "refresh_leeway_s" => self.leeway = Some(seconds(value)?),
            "access_token_s" => self.access_token = Some(seconds(value)?),
            "consent" => self.consent_denied = one_of(value, &[("denied", true)])?,
            "token_down" => self.token_down = flag(value)?,
            "token_lost" => self.token_lost = whole(value, u64::MAX)?,
            "token_slow_ms" => self.token_slow = milliseconds(value)?,
            "other_site" => self.other_site = flag(value)?,
            "clock_ahead_s" => {
                let ahead = value.parse().ok().filter(|ahead: &i64| ahead.abs() <= MOST_AHEAD);
                let expected = || format!("expected seconds from -{MOST_AHEAD} to {MOST_AHEAD}, not {value:?}");
                self.clock_ahead = ahead.ok_or_else(expected)?;
            }
            "ip_blocked" => self.ip_blocked = flag(value)?,
            "tenant_info" => {
                let kinds = [
                    ("missing", Tenant::Missing),
                    ("html", Tenant::Html),
                    ("down", Tenant::Down),
                ];
                self.tenant = Some(one_of(value, &kinds)?);
            }
            _ => return Err("is not implemented".to_owned()),
        }
        Ok(())
    }

    /// How long a refresh token may be used again after its first use.
    pub(super) fn leeway(&self) -> Duration {
        self.leeway.unwrap_or(USUAL_LEEWAY)
    }

    /// How long an access token lives that is given now.
    pub(super) fn access_token(&self) -> Duration {
        self.access_token.unwrap_or(USUAL_LIFE)
    }
}
