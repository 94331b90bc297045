//! Who is calling, and through whose eyes Cloud is seen for them: three modes, one setting.

pub mod accounts;
mod credential;
mod fair;
mod passthrough;
mod scope;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use secrecy::ExposeSecret as _;

pub use accounts::{Accounts, Role, Verified};
pub use credential::{Shown, shown};
pub use passthrough::Passthrough;
pub use scope::Scope;

use crate::directory::{self, Directory};
use crate::doors::Cause;
use crate::model::{Caller, Report, RequestId};

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
    /// For what of the API it may be asked.
    pub scope: Arc<Scope>,
    /// Groups and members as the caller may see them.
    pub directory: Arc<Directory>,
}

/// The first words of callers' keys: an account and a token may have the same name, and are two callers.
const ACCOUNT: &str = "account";
const TOKEN: &str = "token";
const PEER: &str = "peer";

/// Who stands behind an entry of the file of accounts. A name that is only spelt in another case there, after a restart,
/// is the same caller.
fn entered(kind: &str, verified: &Verified) -> Caller {
    Caller {
        key: format!("{kind} {}", accounts::fold(&verified.name)).into(),
        rights: verified.rights,
        ..Caller::named(&verified.name)
    }
}

/// Whoever calls from this address: the program behind it is all there is to tell one from another.
fn anonymous(peer: IpAddr) -> Caller {
    Caller {
        key: format!("{PEER} {peer}").into(),
        ..Caller::named("anonymous")
    }
}

/// The caller of this key, if an entry of the file still makes an administrator of them, and their scope.
fn administrator(accounts: &Accounts, key: &str) -> Option<(Caller, Arc<Scope>)> {
    let (kind, name) = key.split_once(' ')?;
    let verified = match kind {
        ACCOUNT => accounts.account(name),
        TOKEN => accounts.token(name),
        _ => None,
    }?;
    (verified.role == Role::Administrator).then(|| (entered(kind, &verified), verified.scope))
}

/// The caller of this key, if it is an address's.
fn somebody(key: &str) -> Option<Caller> {
    let (kind, address) = key.split_once(' ')?;
    (kind == PEER).then(|| address.parse().ok().map(anonymous)).flatten()
}

/// A state of the door and of what is behind it: of two that are alike nothing has happened between that bears on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64, directory::Moment);

/// Why a caller was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Nothing was shown.
    NoCredential,
    /// The pair is wrong.
    WrongPassword,
    /// Too many failures of this account, or of all together, from this address.
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

/// Who says to be asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The name of the entry, or what was sent as one.
    pub name: String,
    /// Whether it is an entry's.
    pub is_known: bool,
}

impl Door {
    /// Who was not let in and why, for the log alone: the answer does not tell a wrong password from an unknown account.
    pub fn explain(&self, denied: &Denied, headers: &HeaderMap) -> (Option<Claimed>, Option<Cause>) {
        let cause = match denied {
            Denied::NoCredential => Cause::NoCredential,
            Denied::WrongPassword if self.is_passthrough() => Cause::RefusedByCloud,
            Denied::WrongPassword => Cause::WrongPassword,
            Denied::LockedOut => Cause::HeldBack,
            Denied::UnknownToken => Cause::UnknownToken,
            // The facade's trouble and not the caller's: told as a failure.
            Denied::Unavailable { .. } => return (None, None),
        };
        let shown = shown(headers);
        let entry = match (self, &shown) {
            (Self::Accounts(accounts, _), Some(Shown::Basic { name, .. })) => accounts.entry_named(name),
            (Self::Accounts(accounts, _), Some(Shown::Bearer(token))) => accounts.entry_of(token.expose_secret()),
            _ => None,
        };
        let cause = match (&entry, &cause) {
            (Some(entry), Cause::WrongPassword | Cause::UnknownToken) if entry.has_expired => Cause::Expired,
            (None, Cause::WrongPassword) => Cause::UnknownAccount,
            _ => cause,
        };
        let claimed = match (entry, shown) {
            (Some(entry), _) => Some(Claimed {
                name: entry.name,
                is_known: true,
            }),
            (None, Some(Shown::Basic { name, .. })) => Some(Claimed { name, is_known: false }),
            (None, _) => None,
        };
        (claimed, Some(cause))
    }

    /// Judges what a request shows.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn admit(&self, headers: &HeaderMap, peer: IpAddr, request: &RequestId) -> Result<Admitted, Denied> {
        match self {
            Self::Open(directory) => Ok(Admitted {
                caller: anonymous(peer),
                role: Role::Administrator,
                scope: Arc::default(),
                directory: Arc::clone(directory),
            }),
            Self::Accounts(accounts, directory) => {
                let (kind, verified) = match shown(headers).ok_or(Denied::NoCredential)? {
                    Shown::Basic { name, password } => {
                        let verified = accounts.basic(&name, password.expose_secret(), peer).await;
                        (ACCOUNT, verified)
                    }
                    Shown::Bearer(token) => (TOKEN, accounts.bearer(token.expose_secret())),
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
                    role: verified.role,
                    caller: entered(kind, &verified),
                    scope: verified.scope,
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

    /// Who asked for this operation, if they might still ask for it, with their present rights: for work that was begun for
    /// them before a restart. Mode `accounts`: the account or token of that name is still there, has not expired, is an
    /// administrator's, and the operation is within its scope. Mode `open`: everybody who could be let in. Mode
    /// `passthrough`: nobody, for their credential is not kept.
    #[must_use]
    pub fn still_admits(&self, report: &Report) -> Option<Caller> {
        match self {
            Self::Accounts(accounts, _) => {
                let (caller, scope) = administrator(accounts, &report.caller_key)?;
                scope.holds(report).then_some(caller)
            }
            Self::Passthrough(_) => None,
            Self::Open(_) => somebody(&report.caller_key),
        }
    }

    /// What is known by now that bears on who is let in and what lists are told; `None` where every request is to be judged
    /// anew: who brings Cloud's own credentials is judged by Cloud, and shown nothing but what that shows.
    #[must_use]
    pub fn moment(&self) -> Option<Moment> {
        let (readings, directory) = match self {
            Self::Accounts(accounts, directory) => (accounts.readings(), directory),
            Self::Open(directory) => (0, directory),
            Self::Passthrough(_) => return None,
        };
        Some(Moment(readings, directory.moment()))
    }

    /// Whether somebody who is let in at `from` may not be let in any more within `span`, though nothing happens.
    #[must_use]
    pub fn changes_within(&self, from: Instant, span: Duration) -> bool {
        matches!(self, Self::Accounts(accounts, _) if accounts.end_within(from, span))
    }

    /// Whether the callers' credentials are Cloud's own, so that Cloud's refusals are about the caller.
    #[must_use]
    pub fn is_passthrough(&self) -> bool {
        matches!(self, Self::Passthrough(_))
    }

    /// Whether Cloud might be asked who this is.
    #[must_use]
    pub fn asks_cloud_for(&self, headers: &HeaderMap) -> bool {
        self.is_passthrough() && matches!(shown(headers), Some(Shown::Basic { .. }))
    }

    /// Cloud refused what this request showed: ask anew before it is used again.
    pub async fn doubt(&self, headers: &HeaderMap) {
        if let (Self::Passthrough(passthrough), Some(Shown::Basic { name, password })) = (self, shown(headers)) {
            passthrough.doubt(&name, &password).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Rights;

    fn file(entries: &str) -> Accounts {
        let hash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
        let entries = entries.replace("[account]", &format!("[[account]]\npassword = \"{hash}\""));
        Accounts::parse(&entries).unwrap()
    }

    fn entry(name: &str, role: Role) -> Verified {
        Verified {
            name: name.to_owned(),
            role,
            rights: Rights::default(),
            scope: Arc::default(),
        }
    }

    #[test]
    fn an_account_and_a_token_of_one_name_are_two_callers() {
        let account = entered(ACCOUNT, &entry("CI", Role::Administrator));
        let token = entered(TOKEN, &entry("CI", Role::Administrator));
        assert_ne!(account.key, token.key);
        assert_eq!((&*account.name, &*token.name), ("CI", "CI"));
    }

    #[test]
    fn work_goes_on_for_who_is_still_an_administrator_and_with_the_rights_of_today() {
        let key = entered(ACCOUNT, &entry("Sync", Role::Administrator)).key;
        let now = |text: &str| administrator(&file(text), &key).map(|(caller, _)| caller);
        let still = now("[account]\nname = \"SYNC\"\nrole = \"administrator\"\nmay_change_protected = true\n").unwrap();
        assert_eq!((&*still.name, &still.key), ("SYNC", &key));
        assert!(still.rights.may_change_protected && !still.rights.observe);
        assert_eq!(now("[account]\nname = \"sync\"\nrole = \"reader\"\n"), None);
        assert_eq!(now("[account]\nname = \"other\"\nrole = \"administrator\"\n"), None);
        assert_eq!(now(""), None);
    }

    #[test]
    fn a_token_that_has_expired_or_is_gone_is_nobody() {
        let with = |expires: &str| {
            let digest = "ab".repeat(32);
            file(&format!(
                "[[token]]\nname = \"ci\"\nsha256 = \"{digest}\"\nrole = \"administrator\"\n{expires}"
            ))
        };
        assert!(administrator(&with(""), "token ci").is_some());
        assert!(administrator(&with("expires = 2001-01-01"), "token ci").is_none());
        for key in ["account ci", "peer ci", "ci", "", "token", "token  ci"] {
            assert!(administrator(&with(""), key).is_none(), "{key:?}");
        }
    }

    #[test]
    fn work_goes_on_only_within_the_scope_of_today() {
        use crate::reports::samples;
        let report = Report {
            caller_key: "token ci".to_owned(),
            ..samples::finished()
        };
        let group = report.group.clone().unwrap().1;
        let scope = |lines: &str| {
            let digest = "ab".repeat(32);
            let entry = format!("[[token]]\nname = \"ci\"\nsha256 = \"{digest}\"\nrole = \"administrator\"\n{lines}");
            administrator(&file(&entry), &report.caller_key).unwrap().1
        };
        let groups = format!("groups = [{:?}]\n", group.as_str().to_uppercase());
        assert!(scope("").holds(&report) && scope(&groups).holds(&report));
        assert!(!scope("groups = [\"another\"]\n").holds(&report));
        assert!(!scope("operations = [\"getUsers\"]\n").holds(&report));
    }

    #[test]
    fn an_address_is_somebody_and_no_other_text_is() {
        let caller = anonymous(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(somebody(&caller.key), Some(caller));
        for key in ["account admin", "peer", "peer nowhere", "127.0.0.1", ""] {
            assert_eq!(somebody(key), None, "{key:?}");
        }
    }
}
