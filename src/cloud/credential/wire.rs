//! What the authorisation server says, and what of it is kept in a file of its own.

use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::cloud::scrub::Scrub;

/// Fresh tokens.
#[derive(Debug, Deserialize)]
pub struct Issued {
    pub access_token: SecretString,
    /// In seconds.
    pub expires_in: u64,
    pub refresh_token: Option<SecretString>,
    #[serde(default)]
    pub scope: String,
}

/// A refusal. Not every field is always there.
#[derive(Debug, Default, Deserialize)]
pub struct Refusal {
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub error_description: String,
}

impl Refusal {
    /// Whether it says that the refresh token is worth nothing any more. A page of somebody in between, a wrong secret, a
    /// request that was not understood say nothing of it.
    pub fn ends_a_consent(&self) -> bool {
        match self.error.as_str() {
            "invalid_grant" => true,
            // The same word for an app that may not do this.
            "unauthorized_client" => self.error_description.contains("refresh_token"),
            _ => false,
        }
    }

    /// Whether it is about the client's id and secret.
    pub fn is_about_the_client(&self) -> bool {
        matches!(
            self.error.as_str(),
            "invalid_client" | "access_denied" | "unauthorized_client" | "invalid_request" | "unsupported_grant_type"
        )
    }

    /// Its words without what was sent, and not too many of them.
    pub(super) fn without(self, scrub: &Scrub) -> Self {
        let plain = |text: String| {
            let text = scrub.text(text);
            text.chars().filter(|c| !c.is_control()).take(200).collect()
        };
        Self {
            error: plain(self.error),
            error_description: plain(self.error_description),
        }
    }
}

/// A site that an access token opens.
#[derive(Debug, Deserialize)]
pub struct Resource {
    pub id: String,
    #[serde(default)]
    pub url: String,
}

/// The consent of one app, as its file holds it. Times are milliseconds since 1970.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// 1.
    pub format: u32,
    pub client_id: String,
    pub scope: String,
    pub consented_ms: i64,
    /// When the tokens were given.
    pub refreshed_ms: i64,
    #[serde(serialize_with = "shown")]
    pub refresh_token: SecretString,
    #[serde(serialize_with = "maybe_shown")]
    pub access_token: Option<SecretString>,
    pub access_until_ms: i64,
    /// When the refresh token was first used, if that was never answered.
    #[serde(default)]
    pub used_ms: Option<i64>,
    /// Why there is nothing more to be had from it.
    #[serde(default)]
    pub over: Option<String>,
}

impl Grant<'_> {
    /// What of it is secret.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::ClientCredentials { client_secret, .. } => vec![client_secret],
            Self::RefreshToken {
                client_secret,
                refresh_token,
                ..
            } => vec![client_secret, refresh_token],
            Self::AuthorizationCode {
                client_secret, code, ..
            } => vec![client_secret, code],
        }
    }
}

fn shown<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn maybe_shown<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_some(secret.expose_secret()),
        None => serializer.serialize_none(),
    }
}

/// A body that holds secrets: wiped when it is done with.
pub struct Secretive(Vec<u8>);

impl Secretive {
    pub fn of(value: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::to_vec(value).map(Self)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secretive {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Drop for Secretive {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What the authorisation server is asked for.
#[derive(Serialize)]
#[serde(tag = "grant_type", rename_all = "snake_case")]
pub enum Grant<'a> {
    ClientCredentials {
        client_id: &'a str,
        client_secret: &'a str,
    },
    RefreshToken {
        client_id: &'a str,
        client_secret: &'a str,
        refresh_token: &'a str,
    },
    AuthorizationCode {
        client_id: &'a str,
        client_secret: &'a str,
        code: &'a str,
        redirect_uri: &'a str,
    },
}
