//! The settings: compiled-in defaults, then a file, then `FACADE__SECTION__KEY`. Unknown keys are refused by name,
//! and every fault is told at once. Uses nothing else of ours.

mod cloud;
mod credential;
mod network;
mod parse;
mod secret;
mod validate;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, Environment, File, FileFormat};
use secrecy::SecretString;
use serde::Deserialize;

pub use cloud::{AdminApi, Cloud, JiraApi, Pays, ScimApi, ScimMatch, ScimRead};
pub use credential::{Credential, CredentialKind, is_writable};
pub use network::Network;
use network::networks;
pub use parse::end_of;
use parse::{list, names, optional_address, optional_path, word, words};
pub use secret::Origin;

/// The reference: every key with its default.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// All settings. Keys, units and defaults: `config/default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Settings {
    pub state_dir: PathBuf,
    pub shutdown_s: u64,
    pub inbound: Inbound,
    pub extender: Extender,
    pub identity: Identity,
    pub cache: Cache,
    pub cloud: Cloud,
    pub audit: Audit,
    pub admin: Admin,
    pub log: Log,
}

/// Section `inbound`: the listener and who may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Inbound {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "word")]
    pub mode: Mode,
    #[serde(deserialize_with = "optional_path")]
    pub accounts_file: Option<PathBuf>,
    pub verified_ttl_s: u64,
    pub passthrough_validate_s: u64,
    pub passthrough_partitions: u64,
    pub passthrough_scoped_tokens: bool,
    #[serde(deserialize_with = "optional_path")]
    pub tls_cert_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional_path")]
    pub tls_key_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional_path")]
    pub tls_client_ca_file: Option<PathBuf>,
    pub allow_cleartext: bool,
    pub tls_handshake_timeout_s: u64,
    pub reload_s: u64,
    #[serde(deserialize_with = "networks")]
    pub allow_networks: Vec<Network>,
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<Network>,
    #[serde(deserialize_with = "names")]
    pub host_names: Vec<String>,
    pub max_body_bytes: usize,
    pub body_timeout_s: u64,
    pub header_timeout_s: u64,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    pub max_requests_at_once: usize,
    pub max_requests_per_second: u32,
    pub always_challenge: bool,
}

/// Section `extender`: how the legacy API is spoken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Extender {
    #[serde(deserialize_with = "list")]
    pub prefixes: Vec<String>,
    pub default_max_results: u32,
    pub get_users_max_results: u32,
    pub get_groups_max_results: u32,
    pub timezone: String,
    pub missing_group_status: u16,
    pub show_teams: bool,
    pub show_map_email: bool,
    #[serde(deserialize_with = "words")]
    pub name_order: Vec<NameKind>,
    #[serde(deserialize_with = "names")]
    pub protected_groups: Vec<String>,
    pub max_names: usize,
    pub max_removed: usize,
    pub max_removed_percent: usize,
    pub read_deadline_s: u64,
    pub bulk_answer_deadline_s: u64,
    pub bulk_give_up_s: u64,
    pub join_grace_s: u64,
    pub report_days: u64,
    #[serde(deserialize_with = "word")]
    pub recovery: Recovery,
    pub recovery_max_age_s: u64,
    pub heartbeat_s: u64,
    pub compress_from_bytes: usize,
}

/// What an entry of `extender.protected_groups` begins with that is a group's id and not its name.
pub const PROTECTED_ID: &str = "id:";

/// Section `identity`: names and accounts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Identity {
    #[serde(deserialize_with = "optional_path")]
    pub map_file: Option<PathBuf>,
    pub map_reload_s: u64,
    #[serde(deserialize_with = "word")]
    pub primary_username: PrimaryRule,
    #[serde(deserialize_with = "word")]
    pub merged_removal: MergedRemoval,
    #[serde(deserialize_with = "words")]
    pub sources: Vec<Link>,
    pub learned_max_age_days: u64,
    pub batch_window_ms: u64,
}

/// Section `cache`: lives and sizes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Cache {
    pub members_ttl_s: u64,
    pub members_write_ttl_s: u64,
    pub groups_ttl_s: u64,
    pub group_id_write_ttl_s: u64,
    pub accounts_ttl_s: u64,
    pub negative_ttl_s: u64,
    pub max_members: u64,
    pub max_groups: u64,
    pub max_accounts: u64,
    pub read_lag_s: u64,
    pub stale_if_error_s: u64,
}

/// Section `audit`: the files' sizes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Audit {
    pub max_file_mb: u64,
    pub keep_files: usize,
}

/// Section `admin`: the operator's listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Admin {
    #[serde(deserialize_with = "optional_address")]
    pub listen: Option<SocketAddr>,
    pub token: SecretString,
    #[serde(deserialize_with = "optional_path")]
    pub token_file: Option<PathBuf>,
    pub allow_cleartext: bool,
}

/// Section `log`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "config/default.toml is the one place that documents the keys"
)]
pub struct Log {
    #[serde(deserialize_with = "word")]
    pub format: LogFormat,
    pub filter: String,
}

/// Who may call.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A file of local accounts.
    Accounts,
    /// The caller's own credential, judged by Cloud.
    Passthrough,
    /// Anybody on this machine.
    Open,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Which of several usernames of one account it is shown under, where the map does not say.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum PrimaryRule {
    /// The one that stands first in the map.
    #[default]
    First,
    /// The one with the fewest letters.
    Shortest,
    /// The one that is the account's e-mail address, or what stands in it before the `@`.
    MatchesEmail,
}

/// What removeUsers does with an account into which several usernames were merged.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MergedRemoval {
    /// Skip it: the script may mean only one of the persons it knew.
    Refuse,
    /// Remove it.
    Allow,
}

/// What becomes of an operation whose process was ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// The next process finishes it, where nothing has changed that it rests on.
    Resume,
    /// The next process finds out what became of each name, and changes nothing.
    Close,
}

/// A link in the chain of sources that tell which account a name means.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The identity map.
    Map,
    /// An account id that Cloud confirms.
    AccountId,
    /// What was learned before.
    Learned,
    /// The organisation's Admin API.
    Admin,
    /// The SCIM directory.
    Scim,
    /// Jira's search for users.
    Jira,
    /// The e-mail addresses on members' pages.
    Members,
}

/// A kind of name a member can be shown under.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum NameKind {
    /// The primary username of Data Center.
    Username,
    /// The e-mail address.
    Email,
    /// Cloud's account id, which always leads back.
    AccountId,
}

/// Everything wrong with the settings, one sentence each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Where the variables come from: the process's environment, or a test's own.
pub type Variables = std::collections::HashMap<String, String>;

impl Settings {
    /// The defaults, overlaid by `file` where there is one, by `overlay` (TOML, for sub-commands that know better
    /// defaults), and by the variables that begin with `FACADE__`. Not yet validated.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, an unknown key, a value of the wrong type.
    pub fn load(file: Option<&Path>, overlay: &str, variables: Option<Variables>) -> Result<Self, Faults> {
        let one = |text: String| Faults(vec![text]);
        let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|e| one(format!("{}: {e}", path.display())))?;
            // Parsed once on its own so that a fault names the file and the line.
            toml::from_str::<toml::Table>(&text)
                .map_err(|e| one(format!("{}: {}", path.display(), place(&e, &text))))?;
            builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
        }
        builder = builder.add_source(File::from_str(overlay, FileFormat::Toml));
        // No `try_parsing`: it would turn a token "0012345" into a number. The deserialiser coerces where it must.
        let environment = Environment::with_prefix("FACADE")
            .prefix_separator("__")
            .separator("__")
            .source(variables.map(|all| {
                all.into_iter()
                    .filter(|(name, _)| name.starts_with("FACADE__"))
                    .collect()
            }));
        let config = builder
            .add_source(environment)
            .build()
            .map_err(|e| one(format!("settings: {e}")))?;
        let mut settings: Self = serde_path_to_error::deserialize(config).map_err(|e| {
            let path = e.path().to_string();
            one(format!(
                "settings: {path}: {}",
                without_values(&e.into_inner().to_string())
            ))
        })?;
        settings.read_secrets()?;
        Ok(settings)
    }

    /// The defaults alone.
    ///
    /// # Panics
    /// Never with the `config/default.toml` this was compiled with; a test holds that.
    #[must_use]
    pub fn defaults() -> Self {
        Self::load(None, "", Some(Variables::new())).expect("the compiled-in defaults are complete and well typed")
    }

    /// Every secret from its file or its command, where it has one.
    fn read_secrets(&mut self) -> Result<(), Faults> {
        let mut faults = self.cloud.read_secrets();
        faults.extend(
            Origin::new("admin.token", self.admin.token_file.clone(), "")
                .fill(&mut self.admin.token)
                .err(),
        );
        if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
    }
}

/// A TOML fault with its line, and without the line's text: that may hold a secret.
pub(crate) fn place(error: &toml::de::Error, text: &str) -> String {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| before.matches('\n').count() + 1);
    line.map_or_else(
        || error.message().to_owned(),
        |line| format!("line {line}: {}", error.message()),
    )
}

/// A deserialiser's words without the text that it met: whoever puts a secret under the wrong key is told the key.
fn without_values(told: &str) -> String {
    match told.split_once("string \"") {
        // What was expected instead stands behind the text, whatever that holds.
        Some((before, rest)) => {
            let after = rest.rfind("\", expected").and_then(|end| rest.get(end + 1..));
            format!("{before}string{}", after.unwrap_or_default())
        }
        None => told.to_owned(),
    }
}

/// Seconds as a duration.
#[must_use]
pub fn seconds(value: u64) -> Duration {
    Duration::from_secs(value)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Settings, Faults> {
        let variables = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::load(None, "", Some(variables))
    }

    #[test]
    fn the_defaults_are_complete() {
        let settings = Settings::defaults();
        assert_eq!(settings.cloud.max_in_flight, 8);
        assert_eq!(settings.extender.prefixes, ["", "/confluence", "/wiki"]);
    }

    #[test]
    fn the_environment_overlays_and_never_changes_a_secret() {
        let settings = with(&[
            ("FACADE__CLOUD__API_TOKEN", "0012345"),
            ("FACADE__CLOUD__MAX_IN_FLIGHT", "3"),
            ("FACADE__EXTENDER__PREFIXES", ",/x"),
            ("FACADE_SERVICE_HOST", "10.0.0.1"),
        ])
        .unwrap();
        assert_eq!(settings.cloud.api_token.expose_secret(), "0012345");
        assert_eq!(settings.cloud.max_in_flight, 3);
        assert_eq!(settings.extender.prefixes, ["", "/x"]);
        assert!(!format!("{settings:?}").contains("0012345"));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let fault = with(&[("FACADE__CLOUD__MAX_INFLIGHT", "3")]).unwrap_err();
        assert!(fault.to_string().contains("max_inflight"), "{fault}");
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let settings = with(&[
            ("FACADE__INBOUND__MODE", "open"),
            ("FACADE__INBOUND__LISTEN", "0.0.0.0:1"),
            ("FACADE__CLOUD__BASE_URL", "http://example.atlassian.net"),
            ("FACADE__EXTENDER__TIMEZONE", "Mars/Olympus"),
            ("FACADE__EXTENDER__MISSING_GROUP_STATUS", "418"),
        ])
        .unwrap();
        let faults = settings.validate().unwrap_err();
        for part in [
            "loopback",
            "https",
            "Mars/Olympus",
            "missing_group_status",
            "cloud.email",
            "cloud.api_token",
        ] {
            assert!(faults.to_string().contains(part), "{part} in {faults}");
        }
    }

    #[test]
    fn protected_groups_are_names_or_ids_and_an_empty_text_is_none() {
        let of = |text: &str| with(&[("FACADE__EXTENDER__PROTECTED_GROUPS", text)]).unwrap();
        assert_eq!(of("").extender.protected_groups, Vec::<String>::new());
        assert_eq!(of("a b, id:4").extender.protected_groups, ["a b", "id:4"]);
        for text in ["a,,b", "id:", "id: ", "a\tb"] {
            let faults = of(text).validate().unwrap_err().to_string();
            assert!(faults.contains("extender.protected_groups"), "{text:?}: {faults}");
        }
        let settings = with(&[("FACADE__EXTENDER__MAX_REMOVED_PERCENT", "101")]).unwrap();
        assert!(
            settings
                .validate()
                .unwrap_err()
                .to_string()
                .contains("max_removed_percent")
        );
    }

    #[test]
    fn networks_are_lists_or_texts_and_a_wrong_one_is_named() {
        let settings = with(&[("FACADE__INBOUND__ALLOW_NETWORKS", "10.0.0.0/8, 2001:db8::/32,127.0.0.1")]).unwrap();
        assert_eq!(settings.inbound.allow_networks.len(), 3);
        assert!(
            with(&[("FACADE__INBOUND__ALLOW_NETWORKS", "")])
                .unwrap()
                .inbound
                .allow_networks
                .is_empty()
        );
        let fault = with(&[("FACADE__INBOUND__TRUSTED_PROXIES", "10.0.0.1/8")])
            .unwrap_err()
            .to_string();
        assert!(
            fault.contains("inbound.trusted_proxies") && fault.contains("10.0.0.0/8"),
            "{fault}"
        );
        for (key, value, part) in [
            (
                "FACADE__INBOUND__TRUSTED_PROXIES",
                "0.0.0.0/0",
                "inbound.trusted_proxies",
            ),
            (
                "FACADE__INBOUND__TLS_CLIENT_CA_FILE",
                "ca.pem",
                "inbound.tls_client_ca_file",
            ),
            (
                "FACADE__INBOUND__TLS_HANDSHAKE_TIMEOUT_S",
                "0",
                "tls_handshake_timeout_s",
            ),
        ] {
            let faults = with(&[(key, value)]).unwrap().validate().unwrap_err().to_string();
            assert!(faults.contains(part), "{key}: {faults}");
        }
    }

    #[test]
    fn a_time_that_no_clock_can_add_is_refused() {
        let most = i64::MAX.to_string();
        let settings = with(&[
            ("FACADE__CACHE__READ_LAG_S", &most),
            ("FACADE__CLOUD__TRY_TIMEOUT_MS", &most),
        ])
        .unwrap();
        let faults = settings.validate().unwrap_err().to_string();
        assert!(
            faults.contains("cache.read_lag_s") && faults.contains("cloud.try_timeout_ms"),
            "{faults}"
        );
    }

    #[test]
    fn a_fault_in_a_file_is_told_with_its_line_and_without_its_text() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("facade.toml");
        std::fs::write(&file, "[cloud]\napi_token = \"ATATT-secret\n").unwrap();
        let fault = Settings::load(Some(&file), "", Some(Variables::new()))
            .unwrap_err()
            .to_string();
        assert!(fault.contains("line 2") && !fault.contains("ATATT"), "{fault}");
    }

    #[test]
    fn a_value_under_the_wrong_key_is_not_told() {
        for (key, value) in [
            ("CLOUD__ADMIN", "s3cret\", expected"),
            ("CLOUD__MAX_IN_FLIGHT", "s3cret"),
            ("ADMIN__LISTEN", "s3cret"),
        ] {
            let fault = with(&[(&format!("FACADE__{key}"), value)]).unwrap_err().to_string();
            let path = key.to_lowercase().replace("__", ".");
            assert!(fault.contains(&path) && !fault.contains("s3cret"), "{fault}");
        }
        for text in [
            "https://robot:s3cret@x.atlassian.net:y",
            "http://s3cret@x.atlassian.net",
            "s3cret@",
        ] {
            let settings = with(&[("FACADE__CLOUD__BASE_URL", text)]).unwrap();
            let faults = settings.validate().unwrap_err().to_string();
            assert!(
                faults.contains("cloud.base_url") && !faults.contains("s3cret"),
                "{faults}"
            );
        }
    }

    #[test]
    fn the_site_is_taken_with_or_without_wiki() {
        for text in [
            "https://x.atlassian.net",
            "https://x.atlassian.net/",
            "https://x.atlassian.net/wiki/",
        ] {
            let settings = with(&[("FACADE__CLOUD__BASE_URL", text)]).unwrap();
            assert_eq!(settings.cloud.site().unwrap(), "https://x.atlassian.net");
        }
    }
}
