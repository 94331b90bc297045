//! How the other sources of identity may misbehave: the Admin API, SCIM and Jira, each by itself.
use std::time::Duration;

use super::fault_values::{flag, milliseconds, one_of, whole};

pub(super) const NAMES: &[&str] = &[
    "admin_down",
    "admin_refused",
    "admin_garbage",
    "admin_429",
    "admin_slow_ms",
    "admin_roles",
    "scim_down",
    "scim_refused",
    "scim_garbage",
    "scim_unlinked",
    "jira_down",
    "jira_refused",
    "jira_blind",
    "jira_garbage",
];

/// What is wrong with an answer of the Admin API's searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Garbage {
    /// `{}`.
    Empty,
    /// Rows of others besides.
    Foreign,
    NoEmail,
    /// Half a body, of the length that was announced.
    Truncated,
}

/// What the groups but the default ones give their members, instead of access to Jira and Confluence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roles {
    None,
    /// Access to Jira, and roles without access on Confluence.
    Powerless,
    /// Access to Confluence, on the second page.
    Many,
}

/// One source as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    pub(super) down: bool,
    /// The status with which its credential is refused.
    pub(super) refused: Option<u16>,
}

/// The switches of the other sources, as they stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    pub(super) admin: Source,
    pub(super) scim: Source,
    pub(super) jira: Source,
    pub(super) admin_garbage: Option<Garbage>,
    /// How many requests are too many, from when this is switched on.
    pub(super) admin_429: u64,
    pub(super) admin_slow: Duration,
    pub(super) admin_roles: Option<Roles>,
    pub(super) scim_garbage: bool,
    pub(super) scim_unlinked: bool,
    pub(super) jira_blind: bool,
    pub(super) jira_garbage: bool,
}

impl Sources {
    pub(super) fn switch(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "admin_down" => self.admin.down = flag(value)?,
            "scim_down" => self.scim.down = flag(value)?,
            "jira_down" => self.jira.down = flag(value)?,
            "admin_refused" => self.admin.refused = Some(refusal(value)?),
            "scim_refused" => self.scim.refused = Some(refusal(value)?),
            "jira_refused" => self.jira.refused = Some(refusal(value)?),
            "admin_garbage" => {
                let kinds = [
                    ("empty", Garbage::Empty),
                    ("foreign", Garbage::Foreign),
                    ("no_email", Garbage::NoEmail),
                    ("truncated", Garbage::Truncated),
                ];
                self.admin_garbage = Some(one_of(value, &kinds)?);
            }
            "admin_429" => self.admin_429 = whole(value, u64::MAX)?,
            "admin_slow_ms" => self.admin_slow = milliseconds(value)?,
            "admin_roles" => {
                let kinds = [
                    ("none", Roles::None),
                    ("powerless", Roles::Powerless),
                    ("many", Roles::Many),
                ];
                self.admin_roles = Some(one_of(value, &kinds)?);
            }
            "scim_garbage" => self.scim_garbage = flag(value)?,
            "scim_unlinked" => self.scim_unlinked = flag(value)?,
            "jira_blind" => self.jira_blind = flag(value)?,
            "jira_garbage" => self.jira_garbage = one_of(value, &[("prefix", true)])?,
            _ => return Err("is not implemented".to_owned()),
        }
        Ok(())
    }
}

fn refusal(value: &str) -> Result<u16, String> {
    one_of(value, &[("401", 401), ("403", 403)])
}
