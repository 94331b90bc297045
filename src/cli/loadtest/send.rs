//! One request, as a legacy script sends it, and how it ended. Follows nothing, repeats nothing, knows no proxy.

use std::error::Error as _;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Response};
use serde_json::json;
use url::Url;

use super::answer::{self, Fault};
use super::changes::{Change, Ended};
use super::mix::Call;
use super::record::Outcome;

/// Whether connections are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Connections {
    /// Kept for the next request, as a library's session does
    Kept,
    /// One for each request, as curl does
    New,
}

/// How requests are sent.
#[derive(Clone, Debug)]
pub(super) struct Manner<'a> {
    pub(super) credential: Option<HeaderValue>,
    pub(super) timeout: Duration,
    pub(super) connections: Connections,
    pub(super) compressed: bool,
    pub(super) most: usize,
    pub(super) ca_file: Option<&'a Path>,
}

/// The server that is tested.
#[derive(Clone, Debug)]
pub(super) struct Target {
    http: Client,
    base: Url,
}

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Read(Call, Url),
    Change(Change),
}

impl Order {
    pub(super) fn call(&self) -> Call {
        match self {
            Self::Read(call, _) => *call,
            Self::Change(change) => change.call,
        }
    }
}

/// A header in which a credential stands as scripts send it.
pub(super) fn credential(user: Option<&str>, secret: &str) -> anyhow::Result<HeaderValue> {
    use base64::Engine as _;
    let text = match user {
        Some(user) => {
            ensure!(!user.contains(':'), "--user: a name has no colon");
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
            format!("Basic {pair}")
        }
        None => format!("Bearer {secret}"),
    };
    let mut value = HeaderValue::from_str(&text)
        .ok()
        .context("the secret cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// A client that goes where it is told and nowhere else.
pub(super) fn client(base: &Url, manner: &Manner<'_>) -> anyhow::Result<Client> {
    // Harmless where one is installed already; reqwest needs a provider before its first client.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    if let Some(credential) = &manner.credential {
        headers.insert(header::AUTHORIZATION, credential.clone());
    }
    if manner.connections == Connections::New {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let mut builder = Client::builder()
        .user_agent(concat!("extender-facade-loadtest/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .gzip(manner.compressed)
        .timeout(manner.timeout)
        .pool_max_idle_per_host(if manner.connections == Connections::New {
            0
        } else {
            manner.most
        });
    if base.scheme() == "http" {
        // A machine without certificates must do.
        builder = builder.tls_certs_only(std::iter::empty());
    } else if let Some(path) = manner.ca_file {
        let shown = path.display();
        let pem = std::fs::read(path).with_context(|| format!("--ca-file {shown}"))?;
        let more = reqwest::Certificate::from_pem_bundle(&pem).with_context(|| format!("--ca-file {shown}"))?;
        builder = builder.tls_certs_merge(more);
    }
    builder.build().context("no HTTP client can be made")
}

impl Target {
    pub(super) fn new(base: &Url, manner: &Manner<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            http: client(base, manner)?,
            base: base.clone(),
        })
    }

    /// The address of a call on this group.
    pub(super) fn url(&self, call: Call, group: Option<&str>, query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        let prefix = self.base.path().trim_end_matches('/');
        let group = group.map(|group| format!("/{}", utf8_percent_encode(group, NON_ALPHANUMERIC)));
        url.set_path(&format!(
            "{prefix}/rest/extender/1.0/group/{}{}",
            call.name(),
            group.unwrap_or_default()
        ));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Sends it and reads the answer to its end. Of a change also what is known of it then.
    pub(super) async fn send(&self, order: &Order) -> (Outcome, Option<Ended>) {
        let request = match order {
            Order::Read(_, url) => self.http.request(Method::GET, url.clone()),
            Order::Change(change) => {
                let url = self.url(change.call, change.group.as_deref(), &[]);
                let list = if change.group.is_some() { "users" } else { "groups" };
                self.http
                    .request(Method::POST, url)
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(json!({ list: change.names }).to_string())
            }
        };
        let is_change = order.call().is_change();
        let told = |ended| is_change.then_some(ended);
        let (status, body) = match whole(request.send().await).await {
            Ok(answer) => answer,
            Err(error) => {
                let outcome = kind(&error);
                // Nobody was there: that is the one failure of which it is known what it changed.
                let is_known = outcome == Outcome::RefusedConnection;
                return (outcome, told(if is_known { Ended::Refused } else { Ended::Unknown }));
            }
        };
        if !status.is_success() {
            let is_known = status.is_client_error();
            let ended = if is_known { Ended::Refused } else { Ended::Unknown };
            return (Outcome::Status(status.as_u16()), told(ended));
        }
        match answer::read(order.call(), &body) {
            Ok(done) => (Outcome::Good, told(Ended::Done(done))),
            Err(Fault::InvalidJson) => (Outcome::InvalidJson, told(Ended::Unknown)),
            Err(Fault::ShortList) => (Outcome::ShortList, told(Ended::Unknown)),
        }
    }

    /// One read before the load: stops what cannot be meant.
    ///
    /// # Errors
    /// Nobody is there, the credential is refused, or Atlassian's Cloud answers.
    pub(super) async fn knock(&self) -> anyhow::Result<()> {
        let url = self.url(Call::GetGroups, None, &[("maxResults", "1".to_owned())]);
        let answer = match self.http.get(url).send().await {
            Ok(answer) => answer,
            Err(error) if kind(&error) == Outcome::RefusedConnection => {
                bail!("nobody listens at {}", self.base)
            }
            // That is what the test is there to count.
            Err(_) => return Ok(()),
        };
        ensure!(
            !answers_as_cloud(answer.headers()),
            "{} answers as Atlassian's Cloud does, which is never load-tested",
            self.base
        );
        let status = answer.status();
        ensure!(
            status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN,
            "{} refuses the credential ({status}): see --user and --secret-file",
            self.base
        );
        ensure!(
            !status.is_redirection(),
            "{} points elsewhere ({status}), and that is not followed",
            self.base
        );
        Ok(())
    }

    /// Every name that members of the group are known by.
    ///
    /// # Errors
    /// The group cannot be read.
    pub(super) async fn members(&self, group: &str) -> anyhow::Result<Vec<String>> {
        let query = [
            ("showBasicDetails", "true".to_owned()),
            ("maxResults", i32::MAX.to_string()),
        ];
        let url = self.url(Call::GetUsers, Some(group), &query);
        let answer = whole(self.http.get(url).send().await).await;
        let (status, body) = answer.map_err(|error| anyhow::anyhow!("{}", kind(&error).name()))?;
        ensure!(status.is_success(), "answered {status}; does it exist?");
        answer::member_names(&body).context("the answer is not the list of a whole group")
    }
}

/// Headers that Atlassian's edge puts on every answer.
fn answers_as_cloud(headers: &HeaderMap) -> bool {
    let server = headers
        .get(header::SERVER)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    server.to_ascii_lowercase().starts_with(b"atlassian")
        || ["atl-traceid", "atl-request-id", "x-aaccountid"]
            .iter()
            .any(|name| headers.contains_key(*name))
}

async fn whole(answer: reqwest::Result<Response>) -> reqwest::Result<(StatusCode, bytes::Bytes)> {
    let answer = answer?;
    let status = answer.status();
    Ok((status, answer.bytes().await?))
}

/// Why there is no answer.
fn kind(error: &reqwest::Error) -> Outcome {
    if error.is_timeout() {
        return Outcome::Timeout;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            match error.kind() {
                ErrorKind::ConnectionRefused => return Outcome::RefusedConnection,
                ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
                | ErrorKind::NotConnected => return Outcome::Reset,
                ErrorKind::TimedOut => return Outcome::Timeout,
                _ => {}
            }
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return Outcome::Reset;
        }
        cause = error.source();
    }
    Outcome::Failed
}

#[cfg(test)]
mod tests {
    use super::super::address;
    use super::*;

    fn target(base: &str) -> Target {
        let base = address::allowed(base).unwrap();
        let manner = Manner {
            credential: None,
            timeout: Duration::from_secs(1),
            connections: Connections::Kept,
            compressed: false,
            most: 1,
            ca_file: None,
        };
        Target::new(&base, &manner).unwrap()
    }

    #[test]
    fn a_calls_address_has_the_prefix_and_the_groups_name_as_one_segment() {
        let target = target("http://localhost:1/confluence/");
        let url = target.url(Call::GetUsers, Some("a b/c;d?"), &[("maxResults", "5".to_owned())]);
        assert_eq!(
            url.as_str(),
            "http://localhost:1/confluence/rest/extender/1.0/group/getUsers/a%20b%2Fc%3Bd%3F?maxResults=5"
        );
    }

    #[test]
    fn a_credential_is_sent_as_scripts_do_and_not_shown() {
        let basic = credential(Some("jdoe"), "s3cret").unwrap();
        assert_eq!(basic.to_str().unwrap(), "Basic amRvZTpzM2NyZXQ=");
        let bearer = credential(None, "s3cret").unwrap();
        assert_eq!(bearer.to_str().unwrap(), "Bearer s3cret");
        assert!(!format!("{basic:?}{bearer:?}").contains("cret"));
        assert!(credential(Some("a:b"), "x").is_err());
        assert!(credential(None, "a\nb").is_err());
    }

    #[test]
    fn clouds_edge_is_known_by_its_headers() {
        let headers = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            headers
        };
        assert!(answers_as_cloud(&headers("server", "AtlassianEdge")));
        assert!(answers_as_cloud(&headers("atl-traceid", "1")));
        assert!(!answers_as_cloud(&headers("server", "nginx")));
        assert!(!answers_as_cloud(&HeaderMap::new()));
    }
}
