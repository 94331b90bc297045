//! OUTBOUND: Confluence Cloud, one method a call.
//!
//! Whoever uses this module gets rows or an [`Error`]; retries, waits, headers, limits and the many shapes of Cloud's
//! answers stay in here. It must never know a legacy word or a username.
//!
//! `confluence` is the driver of the v1 API, which everybody has; `admin`, `scim` and `jira` are drivers for those who
//! have the keys. `client` sends one request as often as it takes (`attempt`: once; `heard`: what is made
//! of the answer); `governor` decides when; `patience` says for how long.
//! `credential` is what is shown, `places` where; `diagnosis` tells what a refusal means.

mod admin;
mod attempt;
mod call;
mod client;
mod confluence;
mod credential;
mod diagnosis;
#[doc(hidden)]
pub mod fuzzing;
mod governor;
mod heard;
mod jira;
mod operation;
mod patience;
mod places;
mod scim;
mod scrub;
mod wire;

use std::sync::Arc;
use std::time::Duration;

pub use admin::{ACCOUNTS, Access, Admin, Brief, EMAILS, Found, GROUPS, OrgGroup, OrgUser, Who};
pub use call::SeatSign;
pub use client::{Client, Exchange, Pace};
pub use confluence::{BULK, Confluence, GroupPage, MemberPage, PAGE, Reply, Settled};
pub use credential::{
    Ahead, Asking, Consented, Credential, Credentials, Owner, SCOPES, Standing as CredentialStanding,
};
pub use diagnosis::{Diagnosis, Symptom};
pub use governor::{Governor, Permit, Refusal};
pub use jira::{Jira, JiraUser, USERS_PAGE};
pub use operation::{Operation, Service};
pub use patience::{Patience, Progress};
pub use scim::{Attribute, Scim, ScimPage, ScimUser};

use crate::model::{AccountId, GroupId, GroupName, Standing};

/// A group as Cloud shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name, in the owner's spelling.
    pub name: GroupName,
    /// Synchronised from an identity provider: nobody else may change it.
    pub externally_managed: bool,
    /// An Atlassian team, not a group.
    pub team: bool,
}

impl Group {
    /// A group that we made, and that Cloud may not show yet: of the same kind as every group that is made by a call.
    #[must_use]
    pub fn just_made(id: GroupId, name: GroupName) -> Self {
        Self {
            id,
            name,
            externally_managed: false,
            team: false,
        }
    }
}

/// An account as Cloud shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its id.
    pub account: AccountId,
    /// The display name, or an empty text.
    pub display_name: Arc<str>,
    /// The e-mail address, or an empty text where the profile hides it.
    pub email: Arc<str>,
    /// Whether there is a person behind it, as far as this answer tells.
    pub standing: Standing,
    /// What only the organisation knows, where it was asked.
    pub brief: Option<Brief>,
    /// Cloud knows the account; it answers for ids it does not know, too.
    pub is_known: bool,
}

impl Error {
    /// Whether some try of a change may have taken effect all the same.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Refused { doubtful, .. } | Self::Unavailable { doubtful, .. } => *doubtful,
            Self::Rejected { .. } => false,
        }
    }
}

/// Why Cloud could not be asked, or what it said instead of an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Cloud does not accept the credential for this operation.
    #[error("{diagnosis}")]
    Refused {
        /// 401, 403 or 404.
        status: u16,
        /// Which credential, and what to mend.
        diagnosis: Box<Diagnosis>,
        /// An earlier try may have taken effect.
        doubtful: bool,
    },
    /// Cloud understood, and said no to this very request.
    #[error("{} answered {status} to {}: {message}", operation.service().name(), operation.name())]
    Rejected {
        /// The request.
        operation: Operation,
        /// A 4xx.
        status: u16,
        /// Cloud's words.
        message: String,
    },
    /// No answer that could be understood, for as long as the request had patience.
    #[error("{} is unavailable for {}: {cause}", operation.service().name(), operation.name())]
    Unavailable {
        /// The request.
        operation: Operation,
        /// When it may be worth trying again.
        retry_after: Duration,
        /// The last try's failure.
        cause: String,
        /// Some try may have taken effect all the same.
        doubtful: bool,
    },
}
