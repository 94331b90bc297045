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
    /// Cloud refuses the credential; nothing has changed.
    #[error("{advice}")]
    Refused {
        /// Cloud refuses what was asked (403), not who asks (401).
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
    /// The operation goes on, but its caller is not to wait any longer.
    #[error("the operation goes on; sending the same call again later is safe")]
    StillRunning,
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
            cloud::Error::Refused { status, advice, .. } => Self::Refused {
                forbidden: status == 403,
                advice,
            },
            cloud::Error::Unavailable { retry_after, .. } => Self::Unavailable { retry_after, cause },
            cloud::Error::Rejected { .. } => Self::Unavailable {
                retry_after: Duration::from_secs(30),
                cause,
            },
        }
    }
}
