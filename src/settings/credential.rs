//! What opens Cloud's doors: one credential for each purpose, in the section's own keys, and further ones in its list.

use std::path::PathBuf;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::parse::{optional_instant, optional_path, word};
use super::secret::Origin;
use super::validate::address_of;
use super::{AdminApi, Cloud, JiraApi, ScimApi};

/// What kind of credential it is: each is shown in another way, and at another address.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// An account's e-mail address and API token, at the site.
    #[default]
    ApiToken,
    /// The same with a token that has scopes, at the gateway.
    ScopedToken,
    /// A service account's client id and secret, at the gateway.
    ServiceAccount,
    /// An app of OAuth 2.0 (3LO) and the consent that `credential login` keeps, at the gateway.
    Oauth,
    /// An organisation's API key, or the key of a SCIM directory.
    Key,
}

impl CredentialKind {
    /// The word for it in the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiToken => "api_token",
            Self::ScopedToken => "scoped_token",
            Self::ServiceAccount => "service_account",
            Self::Oauth => "oauth",
            Self::Key => "key",
        }
    }

    /// Whether it is an account's e-mail address and a token.
    #[must_use]
    pub fn is_pair(self) -> bool {
        matches!(self, Self::ApiToken | Self::ScopedToken)
    }

    /// Whether it is taken at the gateway, and not at an address of its own.
    #[must_use]
    pub fn is_at_gateway(self) -> bool {
        self == Self::ScopedToken || self.is_client()
    }

    /// Whether it is the id and the secret of a client of the authorisation server.
    #[must_use]
    pub fn is_client(self) -> bool {
        matches!(self, Self::ServiceAccount | Self::Oauth)
    }
}

/// One credential. Which keys it needs depends on its kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Credential {
    #[serde(deserialize_with = "word")]
    pub kind: CredentialKind,
    pub email: String,
    pub client_id: String,
    /// The API token, the client's secret, or the key.
    pub secret: SecretString,
    #[serde(deserialize_with = "optional_path")]
    pub secret_file: Option<PathBuf>,
    pub secret_command: String,
    #[serde(deserialize_with = "optional_instant")]
    pub expires: Option<Timestamp>,
    /// Where the secret can be read again.
    #[serde(skip)]
    pub origin: Origin,
}

impl Credential {
    /// What messages call it; never a secret.
    #[must_use]
    pub fn name(&self) -> String {
        let setting = &self.origin.setting;
        match self.kind {
            CredentialKind::ApiToken | CredentialKind::ScopedToken => format!("{setting} of {}", self.email),
            CredentialKind::ServiceAccount | CredentialKind::Oauth => format!("{setting} of {}", self.client_id),
            CredentialKind::Key => setting.clone(),
        }
    }

    fn read(&mut self, key: String) -> Option<String> {
        self.origin = Origin::new(key, self.secret_file.clone(), &self.secret_command);
        self.origin.fill(&mut self.secret).err()
    }

    /// What is missing, or is there and does not belong there.
    fn faults(&self, allowed: &[CredentialKind]) -> Vec<String> {
        let key = &self.origin.setting;
        let kind = self.kind.as_str();
        if !allowed.contains(&self.kind) {
            let words: Vec<&str> = allowed.iter().map(|kind| kind.as_str()).collect();
            return vec![format!(
                "{key}: a credential of the kind {kind} does not open this; expected {}",
                words.join(", ")
            )];
        }
        let mut faults = Vec::new();
        if self.kind.is_pair() {
            if self.email.is_empty() {
                faults.push(format!("{key}: the email is missing of the account whose token it is"));
            } else if !self.email.contains('@') || self.email.contains(':') || self.email.contains(char::is_whitespace)
            {
                // Without its text, which may be the whole pair.
                faults.push(format!("{key}: the email is no e-mail address"));
            }
        } else if !self.email.is_empty() {
            faults.push(format!("{key}: a credential of the kind {kind} has no email"));
        }
        if self.kind.is_client() {
            if self.client_id.is_empty() {
                faults.push(format!("{key}: the client_id is missing"));
            }
        } else if !self.client_id.is_empty() {
            faults.push(format!(
                "{key}: a credential of the kind {kind} has no client_id: set kind to \"service_account\" or \"oauth\""
            ));
        }
        let is_file_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        // It names the file of the consent.
        if self.kind == CredentialKind::Oauth && !self.client_id.bytes().all(is_file_name) {
            faults.push(format!(
                "the client_id {:?} of an app has letters that no client_id has",
                self.client_id
            ));
        }
        let secret = self.secret.expose_secret();
        if secret.is_empty() {
            faults.push(format!("{key} (or {key}_file, or {key}_command) is missing"));
        } else if !is_writable(secret) {
            faults.push(format!(
                "{key} has blanks or letters that no token, key or secret can have"
            ));
        }
        faults
    }
}

/// Whether a token, key or secret can look so.
#[must_use]
pub fn is_writable(secret: &str) -> bool {
    secret.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The kinds that open Confluence.
const OF_A_SITE: [CredentialKind; 4] = [
    CredentialKind::ApiToken,
    CredentialKind::ScopedToken,
    CredentialKind::ServiceAccount,
    CredentialKind::Oauth,
];

impl Cloud {
    fn token_origin(&self) -> Origin {
        Origin::new("cloud.api_token", self.api_token_file.clone(), &self.api_token_command)
    }

    fn client_origin(&self) -> Origin {
        let (file, command) = (self.client_secret_file.clone(), &self.client_secret_command);
        Origin::new("cloud.client_secret", file, command)
    }

    /// The site's credentials, in the order in which they are used.
    #[must_use]
    pub fn keys(&self) -> Vec<Credential> {
        let (secret, origin) = if self.kind.is_client() {
            (&self.client_secret, self.client_origin())
        } else {
            (&self.api_token, self.token_origin())
        };
        let is_set = !self.email.is_empty() || !self.client_id.is_empty() || !secret.expose_secret().is_empty();
        let own = is_set.then(|| Credential {
            kind: self.kind,
            email: self.email.clone(),
            client_id: self.client_id.clone(),
            secret: secret.clone(),
            expires: self.expires,
            origin,
            ..Credential::default()
        });
        and_further(own, &self.credentials)
    }

    /// Those of all sections, for whatever purpose.
    #[must_use]
    pub fn all_keys(&self) -> Vec<Credential> {
        [self.keys(), self.admin.keys(), self.scim.keys(), self.jira.keys()].concat()
    }

    /// Reads every secret of the section from its file or its command. Returns the faults.
    pub(super) fn read_secrets(&mut self) -> Vec<String> {
        let (token, client) = (self.token_origin(), self.client_origin());
        let (admin, scim, jira) = (self.admin.origin(), self.scim.origin(), self.jira.origin());
        let mut faults: Vec<String> = [
            token.fill(&mut self.api_token),
            client.fill(&mut self.client_secret),
            admin.fill(&mut self.admin.api_key),
            scim.fill(&mut self.scim.api_key),
            jira.fill(&mut self.jira.api_token),
        ]
        .into_iter()
        .filter_map(Result::err)
        .collect();
        for (section, list) in [
            ("cloud", &mut self.credentials),
            ("cloud.admin", &mut self.admin.credentials),
            ("cloud.scim", &mut self.scim.credentials),
            ("cloud.jira", &mut self.jira.credentials),
        ] {
            let is_of_keys = section == "cloud.admin" || section == "cloud.scim";
            for (index, credential) in list.iter_mut().enumerate() {
                if is_of_keys && credential.kind == CredentialKind::default() {
                    // There is no other kind here, so none need be said.
                    credential.kind = CredentialKind::Key;
                }
                faults.extend(credential.read(format!("{section}.credentials[{index}].secret")));
            }
        }
        faults
    }

    /// What is wrong with the addresses that secrets are sent to, and with the credentials of all sections.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.site().err().into_iter().collect();
        for (key, address) in [
            ("cloud.gateway_url", &self.gateway_url),
            ("cloud.login_url", &self.login_url),
        ] {
            faults.extend(address_of(key, address).err());
        }
        faults.extend(self.credential_faults());
        faults
    }

    /// What is wrong with the credentials of all sections.
    fn credential_faults(&self) -> Vec<String> {
        let of = |keys: Vec<Credential>, allowed: &[CredentialKind]| -> Vec<String> {
            keys.iter().flat_map(|key| key.faults(allowed)).collect()
        };
        let mut faults = of(self.keys(), &OF_A_SITE);
        // Whoever has an address can be looked for, which proves that the rest can be.
        faults.extend(of(
            self.jira.keys(),
            &[CredentialKind::ApiToken, CredentialKind::ScopedToken],
        ));
        faults.extend(of(self.admin.keys(), &[CredentialKind::Key]));
        faults.extend(of(self.scim.keys(), &[CredentialKind::Key]));
        if self.kind == CredentialKind::Key {
            faults.push("cloud.kind must be api_token, scoped_token, service_account or oauth".to_owned());
        }
        faults
    }
}

/// A section's own credential, and those of its list behind it.
fn and_further(own: Option<Credential>, list: &[Credential]) -> Vec<Credential> {
    own.into_iter().chain(list.iter().cloned()).collect()
}

fn own_key(secret: &SecretString, origin: Origin, expires: Option<Timestamp>) -> Option<Credential> {
    (!secret.expose_secret().is_empty()).then(|| Credential {
        kind: CredentialKind::Key,
        secret: secret.clone(),
        expires,
        origin,
        ..Credential::default()
    })
}

impl AdminApi {
    fn origin(&self) -> Origin {
        Origin::new("cloud.admin.api_key", self.api_key_file.clone(), &self.api_key_command)
    }

    /// The organisation's keys, in the order in which they are used.
    #[must_use]
    pub fn keys(&self) -> Vec<Credential> {
        let own = own_key(&self.api_key, self.origin(), self.expires);
        and_further(own, &self.credentials)
    }
}

impl ScimApi {
    fn origin(&self) -> Origin {
        Origin::new("cloud.scim.api_key", self.api_key_file.clone(), &self.api_key_command)
    }

    /// The directory's keys, in the order in which they are used.
    #[must_use]
    pub fn keys(&self) -> Vec<Credential> {
        let own = own_key(&self.api_key, self.origin(), self.expires);
        and_further(own, &self.credentials)
    }
}

impl JiraApi {
    fn origin(&self) -> Origin {
        Origin::new(
            "cloud.jira.api_token",
            self.api_token_file.clone(),
            &self.api_token_command,
        )
    }

    /// Jira's credentials, in the order in which they are used.
    #[must_use]
    pub fn keys(&self) -> Vec<Credential> {
        let is_set = !self.email.is_empty() || !self.api_token.expose_secret().is_empty();
        let own = is_set.then(|| Credential {
            kind: self.kind,
            email: self.email.clone(),
            secret: self.api_token.clone(),
            expires: self.expires,
            origin: self.origin(),
            ..Credential::default()
        });
        and_further(own, &self.credentials)
    }
}
