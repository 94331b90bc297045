//! Who is calling, and through whose eyes Cloud is seen for them: three modes, one setting.

pub mod accounts;
mod attempts;
mod credential;
mod passthrough;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use secrecy::ExposeSecret as _;

pub use accounts::{Accounts, Role};
pub use credential::{Shown, shown};
pub use passthrough::Passthrough;

use crate::directory::Directory;
use crate::model::{Caller, RequestId};

/// The door, in the mode that is set.
pub enum Door {
    /// A file of local accounts; Cloud is seen through the configured credential.
    Accounts(Accounts, Arc<Directory>),
    /// The caller's own credential.
    Passthrough(Box<Passthrough>),
    /// Anybody on this machine; Cloud is seen through the configured credential.
    Open(Arc<Directory>),
}

/// A caller who was let in.
pub struct Admitted {
    /// Who it is.
    pub caller: Caller,
    /// What the caller may ask for.
    pub role: Role,
    /// Groups and members as the caller may see them.
    pub directory: Arc<Directory>,
}

/// Why a caller was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Nothing was shown.
    NoCredential,
    /// The pair is wrong.
    WrongPassword,
    /// Too many failures of this account from this address.
    LockedOut,
    /// No such token, or it has expired.
    UnknownToken,
    /// It cannot be judged now.
    Unavailable {
        /// When it may be worth trying again.
        retry_after: Duration,
        /// What is the matter.
        cause: String,
    },
}

impl Door {
    /// Judges what a request shows.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn admit(&self, headers: &HeaderMap, peer: IpAddr, request: &RequestId) -> Result<Admitted, Denied> {
        match self {
            Self::Open(directory) => Ok(Admitted {
                caller: Caller {
                    // The program behind the address is all there is to tell one from another.
                    key: format!("peer {peer}").into(),
                    ..Caller::named("anonymous")
                },
                role: Role::Administrator,
                directory: Arc::clone(directory),
            }),
            Self::Accounts(accounts, directory) => {
                let verified = match shown(headers).ok_or(Denied::NoCredential)? {
                    Shown::Basic { name, password } => accounts.basic(&name, password.expose_secret(), peer).await,
                    Shown::Bearer(token) => accounts.bearer(token.expose_secret()),
                };
                let verified = verified.map_err(|refused| match refused {
                    accounts::Refused::WrongPassword => Denied::WrongPassword,
                    accounts::Refused::LockedOut => Denied::LockedOut,
                    accounts::Refused::UnknownToken => Denied::UnknownToken,
                    accounts::Refused::Busy { retry_after } => Denied::Unavailable {
                        retry_after,
                        cause: "too many credentials are being verified".to_owned(),
                    },
                })?;
                Ok(Admitted {
                    caller: Caller::named(&verified.name),
                    role: verified.role,
                    directory: Arc::clone(directory),
                })
            }
            Self::Passthrough(passthrough) => match shown(headers).ok_or(Denied::NoCredential)? {
                Shown::Basic { name, password } => passthrough.admit(&name, &password, peer, request).await,
                // Cloud takes an API token only together with its e-mail address.
                Shown::Bearer(_) => Err(Denied::UnknownToken),
            },
        }
    }

    /// Whether the callers' credentials are Cloud's own, so that Cloud's refusals are about the caller.
    #[must_use]
    pub fn is_passthrough(&self) -> bool {
        matches!(self, Self::Passthrough(_))
    }

    /// Cloud refused what this request showed: ask anew before it is used again.
    pub async fn doubt(&self, headers: &HeaderMap) {
        if let (Self::Passthrough(passthrough), Some(Shown::Basic { name, password })) = (self, shown(headers)) {
            passthrough.doubt(&name, &password).await;
        }
    }
}
