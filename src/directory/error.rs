//! Why an operation has no outcome.

use std::time::Duration;

use crate::cloud;
use crate::model::GroupName;

/// Why an operation has no outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No group has the name.
    #[error("group {0:?} does not exist")]
    NoSuchGroup(GroupName),
    /// Several groups have the name, ignoring case, and none has it exactly.
    #[error("group {name:?} is ambiguous: {}", list(spellings))]
    AmbiguousGroup {
        /// As it was asked for.
        name: GroupName,
        /// As the groups are spelt.
        spellings: Vec<GroupName>,
    },
    /// The call would take more members out of the group than a setting allows; nothing has changed.
    #[error("{removed} {}members of group {group:?} would be removed, and {setting} = {limit} allows no more{}; nothing was changed", of(*total), if setting.ends_with("percent") { " (in percent of them)" } else { "" })]
    TooManyRemovals {
        /// As Cloud spells it.
        group: GroupName,
        /// Members who would be taken out.
        removed: usize,
        /// Members there are, where that is known.
        total: Option<usize>,
        /// The setting that does not allow it.
        setting: &'static str,
        /// Its value.
        limit: usize,
    },
    /// Cloud refuses the credential; nothing has changed.
    #[error("{advice}")]
    Refused {
        /// Cloud refuses what was asked (403, or a scope is missing), not who asks (401).
        forbidden: bool,
        /// Which credential, and what to mend.
        advice: String,
    },
    /// Cloud, or the audit, is not there; nothing has changed.
    #[error("{cause}")]
    Unavailable {
        /// When it may be worth trying again.
        retry_after: Duration,
        /// What is the matter.
        cause: String,
    },
    /// Changes were made, and not all of them.
    #[error("{done} of {} names are settled, {left} are not: {cause}; sending the same call again is safe and finishes the work", done + left)]
    Interrupted {
        /// Names that are settled.
        done: usize,
        /// Names, settled or not, for which nothing was changed as far as anybody can tell.
        skipped: usize,
        /// Names that are not.
        left: usize,
        /// When it may be worth trying again.
        retry_after: Duration,
        /// What is the matter.
        cause: String,
    },
    /// The caller's own key stands for another call.
    #[error("this Idempotency-Key was used for another call within the last 24 hours; nothing was changed")]
    KeyReused,
    /// The operation goes on, but its caller is not to wait any longer.
    #[error("the operation goes on; sending the same call again later is safe")]
    StillRunning,
}

fn of(total: Option<usize>) -> String {
    total.map_or_else(String::new, |total| format!("of {total} "))
}

fn list(names: &[GroupName]) -> String {
    names
        .iter()
        .map(|name| format!("{:?}", name.as_str()))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn stopping() -> Error {
    Error::Unavailable {
        retry_after: Duration::from_secs(30),
        cause: "the server is stopping".to_owned(),
    }
}

impl From<cloud::Error> for Error {
    fn from(error: cloud::Error) -> Self {
        let cause = error.to_string();
        match error {
            cloud::Error::Refused { status, diagnosis, .. } => Self::Refused {
                forbidden: status == 403 || diagnosis.symptom == cloud::Symptom::Scope,
                advice: cause,
            },
            cloud::Error::Unavailable { retry_after, .. } => Self::Unavailable { retry_after, cause },
            cloud::Error::Rejected { .. } => Self::Unavailable {
                retry_after: Duration::from_secs(30),
                cause,
            },
        }
    }
}
