//! Asking somebody for their consent: the address that they open in a browser, and what comes back from it.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::Unfit;
use super::consent::Consent;
use super::login::{Failure, Login, below};
use super::wire::{Grant, Kept};
use crate::cloud::Client;
use crate::settings;

/// What is asked for: what the six calls need, and a refresh token.
pub const SCOPES: [&str; 4] = [
    "read:confluence-groups",
    "write:confluence-groups",
    "read:confluence-user",
    "offline_access",
];
/// How long a running facade may use the consent that is replaced.
const PATIENCE: Duration = Duration::from_secs(30);

/// One question.
#[derive(Debug)]
pub struct Asking {
    client_id: String,
    secret: SecretString,
    redirect: Url,
    /// Comes back with the answer; nobody else can know it.
    state: SecretString,
    consent: Consent,
}

/// A consent that was given, and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consented {
    /// Where.
    pub file: std::path::PathBuf,
    /// Scopes that were asked for and not given.
    pub missing: Vec<String>,
    /// What could not be made sure of.
    pub doubt: Option<String>,
}

impl Asking {
    /// A question on behalf of the app of `credential`; the answer comes to `redirect`, which the app must know.
    #[must_use]
    pub fn new(credential: &settings::Credential, redirect: Url, consents: &Path) -> Self {
        Self {
            client_id: credential.client_id.clone(),
            secret: credential.secret.clone(),
            redirect,
            state: crate::model::OperationId::random().as_str().into(),
            consent: Consent::new(consents, &credential.client_id),
        }
    }

    /// What is to be opened in a browser.
    #[must_use]
    pub fn address(&self, client: &Client) -> Url {
        let mut url = below(&client.login().server, &["authorize"]);
        url.query_pairs_mut()
            .append_pair("audience", "api.atlassian.com")
            .append_pair("client_id", &self.client_id)
            .append_pair("scope", &SCOPES.join(" "))
            .append_pair("redirect_uri", self.redirect.as_str())
            .append_pair("state", self.state.expose_secret())
            .append_pair("response_type", "code")
            .append_pair("prompt", "consent");
        url
    }

    /// Whether an address that was come back to is an answer to this question.
    #[must_use]
    pub fn is_answer(&self, url: &Url) -> bool {
        let state = of(url, "state").unwrap_or_default();
        bool::from(state.as_bytes().ct_eq(self.state.expose_secret().as_bytes()))
    }

    /// Takes the answer, makes tokens of it, and keeps them.
    ///
    /// # Errors
    /// One sentence: what was said no to, or is not as it should be. Nothing is kept then.
    pub async fn take(&self, client: &Client, url: &Url) -> Result<Consented, String> {
        if !self.is_answer(url) {
            return Err("this is no answer to the question that was asked: its state is another".to_owned());
        }
        if let Some(error) = of(url, "error") {
            let why = of(url, "error_description").unwrap_or_default();
            return Err(format!("the consent was not given ({error}: {why})"));
        }
        let code = of(url, "code").ok_or("the answer holds no code")?;
        let login = client.login();
        let grant = Grant::AuthorizationCode {
            client_id: &self.client_id,
            client_secret: self.secret.expose_secret(),
            code: &code,
            redirect_uri: self.redirect.as_str(),
        };
        let issued = login.issue(&grant).await.map_err(|failure| match failure {
            Failure::Refused(..) => super::token::unfit(&failure, &self.client_id).to_string(),
            other => format!("Atlassian's authorisation server could not be asked: {other}"),
        })?;
        let given = Kept::given(&self.client_id, issued, Timestamp::now());
        let kept = given.ok_or("no refresh token was given: the app must be allowed offline_access")?;
        let doubt = self.is_for_this_site(client, login, &kept).await?;
        let granted: Vec<&str> = kept.scope.split_whitespace().collect();
        let missing = if granted.is_empty() {
            Vec::new()
        } else {
            let missing = SCOPES.iter().filter(|scope| !granted.contains(scope));
            missing.map(|scope| (*scope).to_owned()).collect()
        };
        let consent = self.consent.clone();
        let saved = tokio::task::spawn_blocking(move || {
            // A running facade that refreshes the old one must not put it over this one.
            let _hold = consent.hold()?;
            consent.save(&kept)
        });
        let saved = tokio::time::timeout(PATIENCE, saved).await;
        let saved = saved.map_err(|_| "the consent could not be kept in time".to_owned())?;
        let fault = |fault: String| format!("{} cannot be written: {fault}", self.consent.path().display());
        saved
            .map_err(|panicked| fault(panicked.to_string()))?
            .map_err(|error| fault(error.to_string()))?;
        Ok(Consented {
            file: self.consent.path(),
            missing,
            doubt,
        })
    }

    /// Whether the consent opens the site of the settings; what could not be found out about that.
    async fn is_for_this_site(&self, client: &Client, login: &Login, kept: &Kept) -> Result<Option<String>, String> {
        let Some(access) = &kept.access_token else {
            return Ok(None);
        };
        let suspect = super::Suspect {
            name: "the consent",
            setting: "the consent",
            kind: settings::CredentialKind::Oauth,
            look: None,
        };
        let until = std::time::Instant::now() + PATIENCE;
        match client.find_gateway(&suspect, until).await {
            Ok(()) => {}
            Err(unfit @ Unfit::Refused(_)) => return Err(unfit.to_string()),
            Err(Unfit::Unavailable { cause, .. }) => return Ok(Some(cause)),
        }
        let cloud_id = client.cloud_id().unwrap_or_default();
        match login.resources(access).await {
            Ok(sites) if sites.iter().any(|site| site.id == cloud_id) => Ok(None),
            Ok(sites) => {
                let named: Vec<&str> = sites.iter().map(|site| site.url.as_str()).collect();
                Err(format!(
                    "the consent was given for {}, and not for the site of cloud.base_url: consent again, and choose that one",
                    if named.is_empty() {
                        "no site".to_owned()
                    } else {
                        named.join(", ")
                    }
                ))
            }
            Err(failure) => Ok(Some(format!("which sites it opens could not be asked: {failure}"))),
        }
    }
}

/// The parameter of this name.
fn of(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
}
