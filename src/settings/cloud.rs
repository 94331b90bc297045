//! Section `cloud`: the outbound side, with the other sources of identity.

use std::path::PathBuf;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;

use super::credential::{Credential, CredentialKind};
use super::parse::{optional_instant, optional_path, word, words};

/// Section `cloud`: the outbound side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Cloud {
    pub base_url: String,
    pub cloud_id: String,
    pub gateway_url: String,
    pub login_url: String,
    #[serde(deserialize_with = "word")]
    pub kind: CredentialKind,
    pub email: String,
    pub api_token: SecretString,
    #[serde(deserialize_with = "optional_path")]
    pub api_token_file: Option<PathBuf>,
    pub api_token_command: String,
    pub client_id: String,
    pub client_secret: SecretString,
    #[serde(deserialize_with = "optional_path")]
    pub client_secret_file: Option<PathBuf>,
    pub client_secret_command: String,
    #[serde(deserialize_with = "optional_instant")]
    pub expires: Option<Timestamp>,
    pub credentials: Vec<Credential>,
    #[serde(deserialize_with = "optional_path")]
    pub ca_file: Option<PathBuf>,
    pub max_in_flight: usize,
    pub max_waiting: usize,
    pub max_rate: f64,
    pub start_rate: f64,
    pub points_per_hour: u64,
    pub points_reserved_percent: u64,
    pub connect_timeout_ms: u64,
    pub try_timeout_ms: u64,
    pub max_tries: u32,
    pub backoff_base_ms: u64,
    pub backoff_cap_ms: u64,
    pub retry_after_max_s: u64,
    pub max_answer_bytes: usize,
    #[serde(deserialize_with = "word")]
    pub pays: Pays,
    pub admin: AdminApi,
    pub scim: ScimApi,
    pub jira: JiraApi,
}

/// Section `cloud.admin`: the organisation's Admin API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct AdminApi {
    pub org_id: String,
    pub api_key: SecretString,
    #[serde(deserialize_with = "optional_path")]
    pub api_key_file: Option<PathBuf>,
    pub api_key_command: String,
    #[serde(deserialize_with = "optional_instant")]
    pub expires: Option<Timestamp>,
    pub credentials: Vec<Credential>,
    pub base_url: String,
}

/// Section `cloud.scim`: the directory that an identity provider fills.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct ScimApi {
    pub directory_id: String,
    pub api_key: SecretString,
    #[serde(deserialize_with = "optional_path")]
    pub api_key_file: Option<PathBuf>,
    pub api_key_command: String,
    #[serde(deserialize_with = "optional_instant")]
    pub expires: Option<Timestamp>,
    pub credentials: Vec<Credential>,
    pub base_url: String,
    #[serde(deserialize_with = "words")]
    pub match_by: Vec<ScimMatch>,
    #[serde(deserialize_with = "word")]
    pub read: ScimRead,
    pub refresh_s: u64,
}

/// Section `cloud.jira`: Jira's search for users.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct JiraApi {
    #[serde(deserialize_with = "word")]
    pub kind: CredentialKind,
    pub email: String,
    pub api_token: SecretString,
    #[serde(deserialize_with = "optional_path")]
    pub api_token_file: Option<PathBuf>,
    pub api_token_command: String,
    #[serde(deserialize_with = "optional_instant")]
    pub expires: Option<Timestamp>,
    pub credentials: Vec<Credential>,
}

/// What the site's credential pays its reads with.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Pays {
    /// One a request, however much it brings.
    Requests,
    /// Points of a quota: 1 a request, and 2 more for every user or group that a read brings.
    Points,
}

/// What a username of Data Center is at the identity provider.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ScimMatch {
    /// The login there.
    UserName,
    /// The provider's own key.
    ExternalId,
}

/// How the SCIM directory is asked.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ScimRead {
    /// One call a name.
    Each,
    /// The whole directory at once, and again when it is too old.
    All,
}
