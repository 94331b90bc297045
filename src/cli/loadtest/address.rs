//! Which addresses may be tested: never one that looks like Atlassian's Cloud, whatever else is given. Pure but for the
//! one look at where a name leads.

use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};
use ipnet::IpNet;
use url::{Host, Url};

/// Names of Atlassian's that do not say so. The others are found by the word itself.
const DOMAINS: [[&str; 2]; 6] = [
    ["jira", "com"],
    ["jira-dev", "com"],
    ["atl-paas", "net"],
    ["bitbucket", "org"],
    ["statuspage", "io"],
    ["trello", "com"],
];

/// What a domain of Atlassian's ends in.
const ENDINGS: [&str; 4] = ["net", "com", "io", "dev"];

/// Networks of Atlassian's own, for names that merely lead there.
const NETWORKS: [&str; 2] = ["104.192.136.0/21", "185.166.140.0/22"];

/// The address of a server that may be loaded, without anything behind its path.
///
/// # Errors
/// It is none, carries a credential, or looks like Atlassian's Cloud.
pub(super) fn allowed(text: &str) -> anyhow::Result<Url> {
    // What is not an address may hold a password all the same: it is not shown.
    let mut url = Url::parse(text.trim()).context("this is no address such as http://127.0.0.1:8090")?;
    ensure!(
        matches!(url.scheme(), "http" | "https"),
        "an address begins with http:// or https://"
    );
    match url.host() {
        Some(Host::Domain(name)) => ensure!(
            !looks_like_cloud(name),
            "{name} looks like Atlassian's Cloud, which is never load-tested"
        ),
        Some(Host::Ipv4(ip)) => check_network(ip.into())?,
        Some(Host::Ipv6(ip)) => check_network(ip.into())?,
        None => bail!("the address names no host"),
    }
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "a credential does not belong in the address, where everybody can read it: see --user and --secret-file"
    );
    ensure!(
        url.query().is_none() && url.fragment().is_none(),
        "the address ends before the ? or #"
    );
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The same for where the name leads: a company's own name may be another one for a site in Cloud.
///
/// # Errors
/// It cannot be found, or leads into Atlassian's networks.
pub(super) async fn check_lookup(url: &Url) -> anyhow::Result<()> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
    for address in found.with_context(|| format!("{host} cannot be found"))? {
        check_network(address.ip())?;
    }
    Ok(())
}

fn check_network(ip: IpAddr) -> anyhow::Result<()> {
    let ip = ip.to_canonical();
    let is_theirs = NETWORKS
        .iter()
        .filter_map(|network| network.parse::<IpNet>().ok())
        .any(|network| network.contains(&ip));
    ensure!(
        !is_theirs,
        "{ip} is in a network of Atlassian's, whose Cloud is never load-tested"
    );
    Ok(())
}

/// Whether a host's name is one of Atlassian's, or that of a gateway which leads to one (`site.atlassian.net.gateway.example`,
/// `site-atlassian-net.gateway.example`).
fn looks_like_cloud(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').filter(|label| !label.is_empty()).collect();
    let is_theirs = |first: &str, second: &str| {
        let says_so = first == "atlassian" || first.starts_with("atlassian-");
        (says_so && ENDINGS.contains(&second)) || DOMAINS.contains(&[first, second])
    };
    let is_rewritten = |label: &&str| label.contains("atlassian-net") || label.contains("atlassian-com");
    labels
        .windows(2)
        .any(|pair| matches!(pair, [first, second] if is_theirs(first, second)))
        || labels.iter().any(is_rewritten)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clouds_addresses_are_refused_however_they_are_written() {
        for text in [
            "https://example.atlassian.net",
            "https://EXAMPLE.Atlassian.NET/wiki",
            "https://example.atlassian.net.",
            "https://example.atlassian.net..:443/",
            "http://api.atlassian.com/ex/confluence/1",
            "https://auth.atlassian.com:8443",
            "https://atlassian.net",
            "http://x.jira.com",
            "http://x.jira-dev.com.",
            "https://x.atlassian-us-gov-mod.net",
            "https://localhost@example.atlassian.net",
            "https://127.0.0.1:8090@example.atlassian.net/",
            "https:\\\\example.atlassian.net\\",
            "https:example.atlassian.net",
            "https://example.atlassian%2Enet",
            "https://example.ａｔｌａｓｓｉａｎ.net",
            "https://example.atlassian。net",
            "https://exa\nmple.atl\tassian.net",
            "https://example.atlassian.net.gateway.example",
            "https://example-atlassian-net.gateway.example",
            "http://104.192.141.1",
            "http://0x68c08d01/",
            "http://[::ffff:185.166.140.9]:80",
        ] {
            let refused = allowed(text).unwrap_err().to_string();
            assert!(refused.contains("Atlassian's"), "{text}: {refused}");
        }
    }

    #[test]
    fn other_addresses_are_taken_without_what_stands_behind_them() {
        for (text, url) in [
            ("http://127.0.0.1:8090", "http://127.0.0.1:8090/"),
            ("http://[::1]:8090/", "http://[::1]:8090/"),
            (" HTTP://LocalHost:80/confluence// ", "http://localhost/confluence"),
            (
                "https://confluence.example.com/wiki/",
                "https://confluence.example.com/wiki",
            ),
            ("http://atlassian.example.com", "http://atlassian.example.com/"),
            ("http://notatlassian.net", "http://notatlassian.net/"),
            ("http://my-jira.com", "http://my-jira.com/"),
        ] {
            assert_eq!(allowed(text).unwrap().as_str(), url);
        }
    }

    #[test]
    fn what_is_no_address_is_told_and_no_password_with_it() {
        for text in [
            "localhost:8090",
            "ftp://localhost",
            "http://",
            "http://me:s3cret@localhost",
            "http://s3cret@",
            "http://localhost/?token=s3cret",
            "http://localhost/#s3cret",
            "",
        ] {
            let refused = format!("{:#}", allowed(text).unwrap_err());
            assert!(!refused.contains("s3cret"), "{text}: {refused}");
        }
    }

    /// A domain of Atlassian's, spelt by somebody who does not want to be understood.
    fn disguised() -> impl Strategy<Value = String> {
        let domain = prop::sample::select(vec!["atlassian.net", "atlassian.com", "jira.com", "jira-dev.com"]);
        let before = prop::collection::vec("[a-z0-9]{1,8}", 0..3);
        let parts = (
            before,
            domain,
            any::<u64>(),
            0..3_usize,
            any::<bool>(),
            "(:[1-9][0-9]{0,3})?",
            "(/[a-z]{0,5})?",
        );
        parts.prop_map(|(before, domain, cases, dots, has_user, port, path)| {
            let name: String = before.iter().map(|label| format!("{label}.")).collect::<String>() + domain;
            let name: String = name
                .chars()
                .enumerate()
                .map(|(at, c)| {
                    if cases >> (at % 64) & 1 == 1 {
                        c.to_ascii_uppercase()
                    } else {
                        c
                    }
                })
                .collect();
            let user = if has_user { "127.0.0.1:80@" } else { "" };
            format!("hTTps://{user}{name}{}{port}{path}", ".".repeat(dots))
        })
    }

    proptest! {
        #[test]
        fn no_spelling_leads_to_cloud(text in disguised()) {
            prop_assert!(allowed(&text).is_err(), "{text}");
        }

        #[test]
        fn whatever_is_taken_has_a_host_that_is_not_clouds(text in "\\PC*") {
            if let Ok(url) = allowed(&text) {
                let host = url.host_str().unwrap_or_default().to_owned();
                prop_assert!(!host.is_empty() && !host.contains("atlassian.net"), "{text}");
                // What was taken once is taken again, as it is.
                prop_assert_eq!(allowed(url.as_str()).unwrap(), url);
            }
        }

        #[test]
        fn machines_of_ones_own_are_taken(label in "[a-i][a-z0-9]{0,9}", port in 1..=65_535_u16) {
            let text = format!("http://{label}.corp.example:{port}/confluence");
            prop_assert!(allowed(&text).is_ok(), "{}", text);
        }
    }
}
