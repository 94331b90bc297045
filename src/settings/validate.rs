//! What the settings may not be. Every fault is told at once.

use secrecy::ExposeSecret as _;

use super::{Cloud, Faults, Mode, NameKind, Network, PROTECTED_ID, Settings};

/// Of the operator's token, which takes back whatever was done. Even at ten thousand guesses a second, for ever.
const SHORTEST_TOKEN: usize = 16;

impl Settings {
    /// Every value that cannot be meant.
    ///
    /// # Errors
    /// All faults at once.
    pub fn validate(&self) -> Result<(), Faults> {
        let mut faults = Vec::new();
        let mut check = |good: bool, text: &str| {
            if !good {
                faults.push(text.to_owned());
            }
        };
        let inbound = &self.inbound;
        let loopback = inbound.listen.ip().is_loopback();
        check(
            inbound.mode != Mode::Open || loopback,
            "inbound.mode = \"open\" lets anybody in who reaches the listener: inbound.listen must be a loopback address",
        );
        // Mode `open` carries no credential, and is at home on loopback alone.
        check(
            inbound.mode == Mode::Open
                || loopback
                || inbound.tls_cert_file.is_some()
                || !inbound.trusted_proxies.is_empty()
                || inbound.allow_cleartext,
            "inbound.listen is no loopback address, and callers' credentials would travel in the clear: give \
             inbound.tls_cert_file and tls_key_file; or put a proxy that speaks TLS before it and name its address in \
             inbound.trusted_proxies; or listen on loopback; or say inbound.allow_cleartext = true, if that is meant",
        );
        check(
            inbound.mode != Mode::Accounts || inbound.accounts_file.is_some(),
            "inbound.mode = \"accounts\" needs inbound.accounts_file; `extender-facade account hash` writes its entries",
        );
        check(
            inbound.tls_cert_file.is_some() == inbound.tls_key_file.is_some(),
            "inbound.tls_cert_file and inbound.tls_key_file go together",
        );
        check(
            inbound.tls_client_ca_file.is_none() || inbound.tls_cert_file.is_some(),
            "inbound.tls_client_ca_file asks clients for certificates, which takes TLS: give inbound.tls_cert_file and \
             tls_key_file",
        );
        check(
            inbound.tls_handshake_timeout_s > 0,
            "inbound.tls_handshake_timeout_s must be at least 1",
        );
        check(
            !inbound.trusted_proxies.iter().any(Network::is_everybody),
            "inbound.trusted_proxies must not be everybody: whoever is in it may say that he is anybody",
        );
        check(
            !inbound
                .host_names
                .iter()
                .any(|name| name.is_empty() || name.contains(['/', '*', '[', ' '])),
            "inbound.host_names: each is a name alone, as it stands in a URL, without scheme, port or path",
        );
        check(inbound.max_body_bytes > 0, "inbound.max_body_bytes must be at least 1");
        check(
            inbound.max_connections > 0,
            "inbound.max_connections must be at least 1",
        );
        check(inbound.body_timeout_s > 0, "inbound.body_timeout_s must be at least 1");
        check(
            inbound.header_timeout_s > 0,
            "inbound.header_timeout_s must be at least 1",
        );
        check(
            inbound.passthrough_validate_s > 0,
            "inbound.passthrough_validate_s must be at least 1",
        );
        check(
            inbound.passthrough_partitions > 0,
            "inbound.passthrough_partitions must be at least 1",
        );

        let extender = &self.extender;
        check(
            matches!(extender.missing_group_status, 404 | 500),
            "extender.missing_group_status must be 500 or 404",
        );
        check(
            extender.default_max_results > 0,
            "extender.default_max_results must be at least 1",
        );
        check(
            !extender.prefixes.is_empty(),
            "extender.prefixes must name at least one context path (\"\" is the root)",
        );
        for prefix in &extender.prefixes {
            let good = prefix.is_empty()
                || (prefix.starts_with('/')
                    && !prefix.ends_with('/')
                    && !prefix.contains("//")
                    && !prefix.contains(['?', '#']));
            check(
                good,
                &format!("extender.prefixes: {prefix:?} must be \"\" or like \"/confluence\""),
            );
        }
        check(
            jiff::tz::TimeZone::get(&extender.timezone).is_ok(),
            &format!(
                "extender.timezone: no zone {:?}; names are like Europe/Warsaw",
                extender.timezone
            ),
        );
        check(
            extender.name_order.last() == Some(&NameKind::AccountId),
            "extender.name_order must end with account_id",
        );
        check(extender.max_names > 0, "extender.max_names must be at least 1");
        check(
            extender.read_deadline_s > 0,
            "extender.read_deadline_s must be at least 1",
        );
        check(
            extender.bulk_give_up_s > 0,
            "extender.bulk_give_up_s must be at least 1",
        );

        for entry in &extender.protected_groups {
            let name = entry.strip_prefix(PROTECTED_ID).unwrap_or(entry);
            check(
                !name.trim().is_empty() && !name.contains(char::is_control),
                &format!(
                    "extender.protected_groups: {entry:?} is neither a group's name nor {PROTECTED_ID} and its id"
                ),
            );
        }
        check(
            extender.max_removed_percent <= 100,
            "extender.max_removed_percent must be at most 100; 0: no limit",
        );

        let cache = &self.cache;
        check(
            cache.stale_if_error_s == 0 || cache.stale_if_error_s >= cache.members_ttl_s.max(cache.groups_ttl_s),
            "cache.stale_if_error_s must be 0 (off), or at least cache.members_ttl_s and cache.groups_ttl_s: what is younger \
             is not old",
        );

        let cloud = &self.cloud;
        if inbound.mode != Mode::Passthrough && cloud.keys().is_empty() {
            check(
                false,
                "no credential for Cloud: give cloud.email and cloud.api_token (or api_token_file, or api_token_command), or \
                 another cloud.kind with what it needs",
            );
        }
        for fault in cloud.faults() {
            check(false, &fault);
        }
        check(
            cloud.cloud_id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "cloud.cloud_id is no cloudId: the site tells it at /_edge/tenant_info",
        );
        check(
            (1..=256).contains(&cloud.max_in_flight),
            "cloud.max_in_flight must be between 1 and 256",
        );
        check(cloud.max_waiting > 0, "cloud.max_waiting must be at least 1");
        for (key, rate) in [("max_rate", cloud.max_rate), ("start_rate", cloud.start_rate)] {
            check(
                rate == 0.0 || (0.1..=1e6).contains(&rate),
                &format!("cloud.{key} must be 0, or between 0.1 and 1000000"),
            );
        }
        check(cloud.points_per_hour > 0, "cloud.points_per_hour must be at least 1");
        check(
            cloud.points_reserved_percent < 100,
            "cloud.points_reserved_percent must be below 100",
        );
        check(cloud.max_tries > 0, "cloud.max_tries must be at least 1");
        check(
            cloud.connect_timeout_ms > 0,
            "cloud.connect_timeout_ms must be at least 1",
        );
        check(cloud.try_timeout_ms > 0, "cloud.try_timeout_ms must be at least 1");
        check(cloud.max_answer_bytes > 0, "cloud.max_answer_bytes must be at least 1");

        let identity = &self.identity;
        let mut links = std::collections::HashSet::new();
        check(
            !identity.sources.is_empty() && identity.sources.iter().all(|link| links.insert(*link)),
            "identity.sources must name at least one source, and each once",
        );
        check(
            identity.sources.contains(&super::Link::AccountId) && identity.sources.contains(&super::Link::Learned),
            "identity.sources must name account_id and learned: members are shown by what was learned of them, or by their \
             ids",
        );
        check(
            (1..=3650).contains(&extender.report_days),
            "extender.report_days must be between 1 and 3650",
        );
        check(
            (1..=3650).contains(&identity.learned_max_age_days),
            "identity.learned_max_age_days must be between 1 and 3650",
        );
        check(
            identity.batch_window_ms <= 1000,
            "identity.batch_window_ms must be at most 1000",
        );
        for (key, id, keys, address) in [
            (
                "cloud.admin",
                &cloud.admin.org_id,
                cloud.admin.keys(),
                &cloud.admin.base_url,
            ),
            (
                "cloud.scim",
                &cloud.scim.directory_id,
                cloud.scim.keys(),
                &cloud.scim.base_url,
            ),
        ] {
            check(
                id.is_empty() == keys.is_empty(),
                &format!("{key}: the id and the api_key (or api_key_file) go together"),
            );
            if let Err(text) = address_of(&format!("{key}.base_url"), address) {
                check(false, &text);
            }
        }
        check(
            !cloud.scim.match_by.is_empty(),
            "cloud.scim.match_by must name user_name, external_id, or both",
        );

        check(
            (1..=1_000_000).contains(&self.audit.max_file_mb),
            "audit.max_file_mb must be between 1 and 1000000",
        );

        // Thirty days: beyond what anybody means, and far below what clocks and caches can add to the present.
        const LONGEST_S: u64 = 30 * 86_400;
        for (key, value) in self.durations() {
            let longest = if key.ends_with("_ms") {
                LONGEST_S * 1000
            } else {
                LONGEST_S
            };
            check(value <= longest, &format!("{key} must be at most {longest}"));
        }

        let token = self.admin.token.expose_secret();
        if let Some(listen) = self.admin.listen {
            check(
                listen.ip().is_loopback() || !token.is_empty(),
                "admin.listen is not a loopback address: admin.token (or admin.token_file) is required",
            );
            check(
                listen.ip().is_loopback() || self.admin.allow_cleartext,
                "admin.listen is no loopback address, and the operator's token would travel in the clear: listen on loopback, \
                 with a proxy that speaks TLS or a collector beside it; or say admin.allow_cleartext = true, if that is meant",
            );
        }
        check(
            token.is_empty() || token.len() >= SHORTEST_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic()),
            &format!(
                "admin.token has fewer than {SHORTEST_TOKEN} characters, or others than letters, digits and signs of ASCII: \
                 openssl rand -hex 16 makes one"
            ),
        );
        if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
    }
}

impl Settings {
    /// Every setting that is a time.
    fn durations(&self) -> [(&'static str, u64); 26] {
        let (inbound, extender, cache, cloud) = (&self.inbound, &self.extender, &self.cache, &self.cloud);
        [
            ("shutdown_s", self.shutdown_s),
            ("inbound.verified_ttl_s", inbound.verified_ttl_s),
            ("inbound.passthrough_validate_s", inbound.passthrough_validate_s),
            ("inbound.body_timeout_s", inbound.body_timeout_s),
            ("inbound.header_timeout_s", inbound.header_timeout_s),
            ("inbound.tls_handshake_timeout_s", inbound.tls_handshake_timeout_s),
            ("inbound.reload_s", inbound.reload_s),
            ("extender.read_deadline_s", extender.read_deadline_s),
            ("extender.bulk_answer_deadline_s", extender.bulk_answer_deadline_s),
            ("extender.bulk_give_up_s", extender.bulk_give_up_s),
            ("extender.join_grace_s", extender.join_grace_s),
            ("extender.recovery_max_age_s", extender.recovery_max_age_s),
            ("extender.heartbeat_s", extender.heartbeat_s),
            ("cache.members_ttl_s", cache.members_ttl_s),
            ("cache.members_write_ttl_s", cache.members_write_ttl_s),
            ("cache.groups_ttl_s", cache.groups_ttl_s),
            ("cache.group_id_write_ttl_s", cache.group_id_write_ttl_s),
            ("cache.accounts_ttl_s", cache.accounts_ttl_s),
            ("cache.negative_ttl_s", cache.negative_ttl_s),
            ("cache.read_lag_s", cache.read_lag_s),
            ("cache.stale_if_error_s", cache.stale_if_error_s),
            ("identity.map_reload_s", self.identity.map_reload_s),
            ("cloud.scim.refresh_s", cloud.scim.refresh_s),
            ("cloud.connect_timeout_ms", cloud.connect_timeout_ms),
            ("cloud.try_timeout_ms", cloud.try_timeout_ms),
            ("cloud.backoff_cap_ms", cloud.backoff_cap_ms),
        ]
    }
}

impl Cloud {
    /// The site's address without a trailing slash or `/wiki`.
    ///
    /// # Errors
    /// One sentence on what is wrong with `cloud.base_url`.
    pub fn site(&self) -> Result<String, String> {
        let text = self.base_url.trim_end_matches('/');
        let text = text.strip_suffix("/wiki").unwrap_or(text);
        if text.is_empty() {
            return Err("cloud.base_url is missing: https://your-site.atlassian.net".to_owned());
        }
        address_of("cloud.base_url", text)?;
        Ok(text.to_owned())
    }
}

/// Whether the setting `key` holds an address that a secret may be sent to.
pub(super) fn address_of(key: &str, text: &str) -> Result<(), String> {
    // What stands before an `@` or behind a `?` may be a credential.
    let shown = if text.contains(['@', '?', '#']) {
        "(with a credential or a query)"
    } else {
        text
    };
    let url = url::Url::parse(text).map_err(|e| format!("{key} {shown:?}: {e}"))?;
    let loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return Err(format!(
            "{key} {shown:?}: must be https (plain http only towards loopback)"
        ));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{key} must be a plain address, without credentials or query"));
    }
    Ok(())
}
