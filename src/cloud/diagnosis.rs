//! What a refusal means, and what to do about it: the same words in the caller's 502, in the log and in `check`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

use super::{Operation, Service};
use crate::settings::CredentialKind;

/// What is the matter with a credential, by the signs that Cloud gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symptom {
    /// It is not known: wrong, expired, revoked, or of another kind than it is used as.
    Unknown,
    /// A scope is missing.
    Scope,
    /// Its account may not use the product.
    NoAccess,
    /// Its account may not change groups.
    NotAdministrator,
    /// The address from which we ask is not allowed.
    AddressBlocked,
    /// There is no such site at the address, or the consent is not for it.
    WrongAddress,
    /// Nobody has consented yet.
    NoConsent,
    /// The consent is over: used up, revoked, or too old.
    ConsentOver,
    /// The authorisation server does not know the client, or its secret is wrong.
    Client,
}

impl Symptom {
    /// The word for it, in JSON and in figures.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Scope => "missing_scope",
            Self::NoAccess => "no_product_access",
            Self::NotAdministrator => "not_an_administrator",
            Self::AddressBlocked => "address_blocked",
            Self::WrongAddress => "wrong_address",
            Self::NoConsent => "no_consent",
            Self::ConsentOver => "consent_over",
            Self::Client => "client_refused",
        }
    }

    /// Whether it stands in the way of one kind of request alone.
    pub(super) fn is_of_one_operation(self) -> bool {
        matches!(self, Self::Scope | Self::NotAdministrator)
    }

    /// Whether a fresh proof of the same right may be taken where the last was not.
    pub(super) fn may_be_stale(self) -> bool {
        self == Self::Unknown
    }
}

/// A finding with its mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What it is.
    pub symptom: Symptom,
    /// Which credential, for what, and what was said; no secret.
    pub finding: String,
    /// What to do, in one sentence.
    pub mend: String,
}

impl std::fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.finding, self.mend)
    }
}

/// What is known of the credential that was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect<'a> {
    pub name: &'a str,
    /// The setting that holds its secret.
    pub setting: &'a str,
    pub kind: CredentialKind,
    /// What its secret looks like, if that tells anything.
    pub look: Option<&'static str>,
}

/// Finds out what a refusal of `operation` with this status and message means.
pub(super) fn diagnose(suspect: Suspect<'_>, operation: Operation, status: StatusCode, message: &str) -> Diagnosis {
    let symptom = symptom(operation, status, message);
    let finding = format!(
        "{} refuses {} for {} ({}: {message})",
        operation.service().name(),
        suspect.name,
        operation.name(),
        status.as_u16(),
    );
    let mut mend = mend(suspect.kind, operation, symptom);
    if let Some(look) = suspect.look {
        mend.push_str("; ");
        mend.push_str(look);
    }
    Diagnosis { symptom, finding, mend }
}

/// What it means that Jira finds not even the account `own` itself.
pub(super) fn blind(own: &str) -> Diagnosis {
    Diagnosis {
        symptom: Symptom::NoAccess,
        finding: format!("Jira shows cloud.jira.api_token of {own} not even its own account"),
        mend: BROWSE.to_owned(),
    }
}

const BROWSE: &str = "its account needs Jira on this site and the global permission \"Browse users and groups\"";

fn symptom(operation: Operation, status: StatusCode, message: &str) -> Symptom {
    let said = message.to_ascii_lowercase();
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Symptom::WrongAddress,
        _ if said.contains("scope") => Symptom::Scope,
        _ if said.contains("ip address") || said.contains("allowlist") => Symptom::AddressBlocked,
        StatusCode::UNAUTHORIZED => Symptom::Unknown,
        _ if operation.is_write() => Symptom::NotAdministrator,
        _ => Symptom::NoAccess,
    }
}

fn mend(kind: CredentialKind, operation: Operation, symptom: Symptom) -> String {
    let (service, scopes) = (operation.service(), operation.scopes());
    match (symptom, service) {
        (Symptom::AddressBlocked, _) => {
            "add the address of this server to the organisation's IP allowlist at admin.atlassian.com".to_owned()
        }
        (_, Service::Admin) => format!(
            "the key is wrong, expired or revoked, is another organisation's, or lacks {scopes}; make a new one at \
             admin.atlassian.com"
        ),
        (_, Service::Scim) => "the key is wrong, expired or revoked, or is another directory's; make a new one at \
                               admin.atlassian.com"
            .to_owned(),
        (Symptom::WrongAddress, _) => match kind {
            CredentialKind::ApiToken | CredentialKind::Key => {
                format!("check {}: there is no such site", service.address())
            }
            CredentialKind::ScopedToken => {
                "check cloud.base_url and cloud.cloud_id: there is no such site, or the token's \
                                            account is not on it"
                    .to_owned()
            }
            CredentialKind::ServiceAccount => {
                "check cloud.base_url and cloud.cloud_id, and that the service account has \
                                               access to this very site"
                    .to_owned()
            }
            CredentialKind::Oauth => {
                "check cloud.base_url and cloud.cloud_id, and that the consent was given for this very \
                                      site: `extender-facade credential login` asks again"
                    .to_owned()
            }
        },
        (Symptom::NoAccess, Service::Jira) => BROWSE.to_owned(),
        (Symptom::Scope, _) => format!("a scope is missing, the operation needs {scopes}; {}", add_scope(kind)),
        (Symptom::NotAdministrator, _) => format!(
            "its account must be a site administrator with access to Confluence, and a scoped token needs {scopes}"
        ),
        (Symptom::NoAccess, _) => format!(
            "the token is wrong or expired, its account has no access to Confluence, or a scoped token lacks {scopes}"
        ),
        (Symptom::NoConsent, _) => CONSENT.to_owned(),
        (Symptom::ConsentOver, _) => CONSENT_AGAIN.to_owned(),
        (Symptom::Client, _) => CLIENT.to_owned(),
        (Symptom::Unknown, _) => match kind {
            CredentialKind::ApiToken => {
                "the token is wrong, expired or revoked, or belongs to another account; make a \
                                         new API token, or set kind = \"scoped_token\" if it was made with scopes"
                    .to_owned()
            }
            CredentialKind::ScopedToken => {
                "the token is wrong, expired or revoked, or belongs to another account; make \
                                            a new API token with scopes, or set kind = \"api_token\" if it has none"
                    .to_owned()
            }
            CredentialKind::ServiceAccount => {
                "the service account was deactivated, or its access revoked; look at it at admin.atlassian.com"
                    .to_owned()
            }
            CredentialKind::Oauth => format!("the access was revoked; {CONSENT_AGAIN}"),
            CredentialKind::Key => "the key is wrong, expired or revoked; make a new one".to_owned(),
        },
    }
}

/// What to do about a client that the authorisation server refuses.
pub(super) const CLIENT: &str = "client_id or client_secret is wrong, the app or its secret was deleted, or it is a \
                                 client of the other kind (\"oauth\", \"service_account\"); look at \
                                 developer.atlassian.com (apps) or admin.atlassian.com (service accounts)";
/// What to do where nobody has consented.
pub(super) const CONSENT: &str =
    "run `extender-facade credential login --config FILE` as the service's user, and consent";
/// What to do where a consent is over.
pub(super) const CONSENT_AGAIN: &str =
    "consent again: run `extender-facade credential login --config FILE` as the service's user";

fn add_scope(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::Oauth => {
            "add it to the app at developer.atlassian.com, then consent again with `extender-facade \
                                  credential login`"
        }
        CredentialKind::ServiceAccount => "add it to the service account's client at admin.atlassian.com",
        CredentialKind::ApiToken | CredentialKind::ScopedToken | CredentialKind::Key => {
            "the scopes of a token cannot be changed: make a new one with it"
        }
    }
}

/// What a secret looks like where it looks like something else than its kind. By its beginning and its letters alone.
pub(super) fn look(kind: CredentialKind, secret: &str) -> Option<&'static str> {
    let is_pair = |text: &str| {
        text.split_once(':')
            .is_some_and(|(email, token)| email.contains('@') && !token.is_empty())
    };
    if is_pair(secret) {
        return Some("it seems to hold e-mail and token together: give the token alone");
    }
    let decoded = STANDARD
        .decode(secret)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    if decoded.is_some_and(|text| is_pair(&text)) {
        return Some("it seems to be e-mail and token, encoded together: give the token as it was shown");
    }
    match (kind, secret) {
        (CredentialKind::Key, _) if secret.starts_with("ATATT") => {
            Some("it looks like an account's API token, not like a key (ATCTT…)")
        }
        (CredentialKind::Key, _) => None,
        _ if secret.starts_with("ATCTT") => {
            Some("it looks like an organisation's API key, which belongs into [cloud.admin]")
        }
        _ if secret.starts_with("eyJ") => {
            Some("it looks like an access token, which lives an hour: give what it was made from")
        }
        (CredentialKind::ServiceAccount | CredentialKind::Oauth, _) if secret.starts_with("ATATT") => {
            Some("it looks like an API token, not like a client's secret: kind = \"scoped_token\" or \"api_token\"")
        }
        (CredentialKind::ApiToken | CredentialKind::ScopedToken, _) if secret.starts_with("ATOA") => {
            Some("it looks like a client's secret: kind = \"oauth\" or \"service_account\"")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_another_kind_is_known_by_its_look() {
        use CredentialKind::{ApiToken, Key, Oauth, ScopedToken, ServiceAccount};
        for (kind, secret, told) in [
            (ApiToken, "ann@example.com:ATATT3x", Some("together")),
            (ApiToken, "YW5uQGV4YW1wbGUuY29tOkFUQVRUM3g=", Some("encoded")),
            (ScopedToken, "ATCTT3xFfG", Some("[cloud.admin]")),
            (ApiToken, "eyJhbGciOi", Some("lives an hour")),
            (Oauth, "ATATT3xFfG", Some("api_token")),
            (ServiceAccount, "ATATT3xFfG", Some("scoped_token")),
            (ApiToken, "ATOAxyz", Some("oauth")),
            (Key, "ATATT3xFfG", Some("not like a key")),
            (Key, "ATCTT3xFfG", None),
            (ApiToken, "ATATT3xFfG", None),
            (Oauth, "ATOAxyz", None),
            (ApiToken, "dGVzdA==", None),
        ] {
            let look = look(kind, secret);
            match told {
                None => assert_eq!(look, None, "{kind:?} {secret}"),
                Some(told) => assert!(
                    look.is_some_and(|look| look.contains(told)),
                    "{kind:?} {secret}: {look:?}"
                ),
            }
        }
    }

    #[test]
    fn every_refusal_has_a_symptom_and_a_mend_that_names_what_to_do() {
        let suspect = |kind| Suspect {
            name: "k",
            setting: "k",
            kind,
            look: None,
        };
        for (kind, operation, status, message, symptom, told) in [
            (
                CredentialKind::ApiToken,
                Operation::FindGroups,
                401,
                "",
                Symptom::Unknown,
                "scoped_token",
            ),
            (
                CredentialKind::ScopedToken,
                Operation::FindGroups,
                401,
                "Unauthorized",
                Symptom::Unknown,
                "\"api_token\"",
            ),
            (
                CredentialKind::Oauth,
                Operation::ListMembers,
                401,
                "Unauthorized; scope does not match",
                Symptom::Scope,
                "read:confluence-groups",
            ),
            (
                CredentialKind::ApiToken,
                Operation::AddMember,
                403,
                "no",
                Symptom::NotAdministrator,
                "site administrator",
            ),
            (
                CredentialKind::ApiToken,
                Operation::ListGroups,
                403,
                "no",
                Symptom::NoAccess,
                "no access to Confluence",
            ),
            (
                CredentialKind::ApiToken,
                Operation::ListGroups,
                403,
                "The IP address has been rejected",
                Symptom::AddressBlocked,
                "allowlist",
            ),
            (
                CredentialKind::Oauth,
                Operation::FindGroups,
                404,
                "",
                Symptom::WrongAddress,
                "consent",
            ),
            (
                CredentialKind::ApiToken,
                Operation::FindGroups,
                404,
                "",
                Symptom::WrongAddress,
                "cloud.base_url",
            ),
            (
                CredentialKind::Key,
                Operation::AdminUsers,
                401,
                "",
                Symptom::Unknown,
                "admin.atlassian.com",
            ),
            (
                CredentialKind::Key,
                Operation::ScimUsers,
                401,
                "",
                Symptom::Unknown,
                "directory",
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let found = diagnose(suspect(kind), operation, status, message);
            assert_eq!(found.symptom, symptom, "{found}");
            assert!(found.mend.contains(told), "{found}");
        }
    }
}
