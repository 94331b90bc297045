//! The settings of a facade that stands before a simulated Cloud, in a directory of its own.

use std::path::Path;

use crate::settings::{Cloud, Faults, Mode, Settings, Variables};

/// The names of its files in its directory.
pub const MAP: &str = "identities.csv";
pub const ACCOUNTS: &str = "accounts.toml";

/// Those of `config`, else the defaults, for a simulated Cloud at `base_url`. Somebody's own file may name the true Cloud, in
/// many places, and what opens it: of section `cloud` only pace and bounds are taken.
///
/// # Errors
/// A file that cannot be read or parsed.
pub fn settings(config: Option<&Path>, directory: &Path, base_url: String) -> Result<Settings, Faults> {
    let plain = Settings::load(None, "", Some(Variables::new()))?.cloud;
    let mut settings = Settings::load(config, "", Some(Variables::new()))?;
    let theirs = settings.cloud;
    settings.cloud = Cloud {
        base_url,
        email: "nobody@example.com".to_owned(),
        api_token: "simulated".into(),
        max_in_flight: theirs.max_in_flight,
        max_waiting: theirs.max_waiting,
        max_rate: theirs.max_rate,
        start_rate: theirs.start_rate,
        points_per_hour: theirs.points_per_hour,
        points_reserved_percent: theirs.points_reserved_percent,
        connect_timeout_ms: theirs.connect_timeout_ms,
        try_timeout_ms: theirs.try_timeout_ms,
        max_tries: theirs.max_tries,
        backoff_base_ms: theirs.backoff_base_ms,
        backoff_cap_ms: theirs.backoff_cap_ms,
        retry_after_max_s: theirs.retry_after_max_s,
        max_answer_bytes: theirs.max_answer_bytes,
        pays: theirs.pays,
        ..plain
    };
    settings.state_dir = directory.join("state");
    settings.inbound.listen = ([127, 0, 0, 1], 0).into();
    settings.inbound.mode = Mode::Accounts;
    settings.inbound.accounts_file = Some(directory.join(ACCOUNTS));
    settings.identity.map_file = Some(directory.join(MAP));
    settings.admin.listen = None;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn of_a_file_for_the_true_cloud_nothing_is_left_that_leads_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("facade.toml");
        let text = r#"
            [inbound]
            mode = "passthrough"
            [cloud]
            base_url = "https://true-site.example"
            cloud_id = "true-id"
            gateway_url = "https://true-gateway.example"
            login_url = "https://true-login.example"
            kind = "service_account"
            email = "true@example.com"
            api_token_command = "echo true-token"
            client_id = "true-client"
            client_secret = "true-secret"
            max_in_flight = 3
            max_rate = 7.5
            max_tries = 2
            credentials = [{ email = "true@example.com", secret = "true-second" }]
            [cloud.admin]
            org_id = "true-org"
            api_key = "true-key"
            base_url = "https://true-admin.example"
            [cloud.scim]
            directory_id = "true-directory"
            api_key = "true-key"
            base_url = "https://true-scim.example"
            [cloud.jira]
            email = "true@example.com"
            api_token = "true-jira"
        "#;
        std::fs::write(&file, text).unwrap();
        let base = "http://127.0.0.1:1";
        let settings = settings(Some(&file), directory.path(), base.to_owned()).unwrap();
        let cloud = &settings.cloud;
        assert_eq!(
            (cloud.max_in_flight, cloud.max_rate, cloud.max_tries),
            (3, 7.5, 2),
            "the pace is theirs"
        );
        // Secrets are not shown, so that they are asked for one by one.
        assert!(!format!("{settings:?}").contains("true-"), "{settings:?}");
        for secret in [
            &cloud.client_secret,
            &cloud.admin.api_key,
            &cloud.scim.api_key,
            &cloud.jira.api_token,
        ] {
            assert_eq!(secret.expose_secret(), "");
        }
        assert_eq!(cloud.base_url, base);
        assert_eq!(cloud.faults(), Vec::<String>::new());
    }
}
