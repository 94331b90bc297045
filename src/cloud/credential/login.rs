//! The authorisation server: who makes tokens for clients of OAuth.

use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::wire::{Grant, Issued, Refusal, Resource, Secretive};
use crate::cloud::Operation;
use crate::cloud::attempt::chain;
use crate::cloud::scrub::Scrub;
use crate::metrics::{Metrics, Outbound};

/// Answers above this are none of its.
const LARGEST: usize = 1 << 20;

/// How to reach it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Login {
    pub(in crate::cloud) http: reqwest::Client,
    /// Its address, and that of the gateway that tells which sites a token opens.
    pub(in crate::cloud) server: Url,
    pub(in crate::cloud) gateway: Url,
    pub(in crate::cloud) metrics: Metrics,
    pub(in crate::cloud) timeout: Duration,
}

/// Why there are no tokens.
#[derive(Debug)]
pub enum Failure {
    /// It was certainly not done: no connection, or it said that it could not now.
    NotDone(String),
    /// Whether it was done nobody can tell.
    Lost(String),
    /// It says no.
    Refused(StatusCode, Refusal),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotDone(fault) | Self::Lost(fault) => f.write_str(fault),
            Self::Refused(status, refusal) => {
                let Refusal {
                    error,
                    error_description,
                } = refusal;
                write!(f, "{}: {error}: {error_description}", status.as_u16())
            }
        }
    }
}

impl Login {
    /// Asks for tokens.
    pub async fn issue(&self, grant: &Grant<'_>) -> Result<Issued, Failure> {
        let body = Secretive::of(grant).map_err(|e| Failure::NotDone(e.to_string()))?;
        let url = below(&self.server, &["oauth", "token"]);
        let request = self
            .http
            .post(url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(body.bytes().to_vec());
        let (status, body) = self.exchange(Operation::Token, request).await?;
        if status.is_success() {
            // The answer is not repeated in the message: it holds secrets.
            return serde_json::from_slice(body.bytes())
                .map_err(|e| Failure::Lost(format!("tokens that cannot be read ({:?})", e.classify())));
        }
        let refusal: Refusal = serde_json::from_slice(body.bytes()).unwrap_or_default();
        let refusal = refusal.without(&Scrub::of_secrets(&grant.secrets()));
        match status.as_u16() {
            429 => Err(Failure::NotDone("it is asked too often (429)".to_owned())),
            503 => Err(Failure::NotDone("it is not there (503)".to_owned())),
            408 | 500..=599 => Err(Failure::Lost(format!("{}", status.as_u16()))),
            // A gateway's page, or anything else that is not its own answer, proves nothing.
            _ if refusal.error.is_empty() => Err(Failure::NotDone(format!(
                "it answers {} without a reason",
                status.as_u16()
            ))),
            _ => Err(Failure::Refused(status, refusal)),
        }
    }

    /// The sites that an access token opens.
    pub async fn resources(&self, access: &SecretString) -> Result<Vec<Resource>, Failure> {
        let url = below(&self.gateway, &["oauth", "token", "accessible-resources"]);
        let mut value = http::HeaderValue::from_str(&format!("Bearer {}", access.expose_secret()))
            .map_err(|_| Failure::NotDone("the access token has letters that no token has".to_owned()))?;
        value.set_sensitive(true);
        let request = self
            .http
            .get(url)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, value);
        let (status, body) = self.exchange(Operation::Resources, request).await?;
        if !status.is_success() {
            let refusal: Refusal = serde_json::from_slice(body.bytes()).unwrap_or_default();
            let refusal = refusal.without(&Scrub::of_secrets(&[access.expose_secret()]));
            return Err(Failure::Refused(status, refusal));
        }
        serde_json::from_slice(body.bytes()).map_err(|e| Failure::Lost(format!("sites that cannot be read: {e}")))
    }

    async fn exchange(
        &self,
        operation: Operation,
        request: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, Secretive), Failure> {
        let answered = tokio::time::timeout(self.timeout, answer(request)).await;
        let answered = answered.unwrap_or_else(|_| {
            let waited = self.timeout.as_millis();
            Err(Failure::Lost(format!("no answer within {waited} ms")))
        });
        let result = match &answered {
            Ok((status, _)) if status.is_success() => "2xx",
            Ok((status, _)) if status.is_client_error() => "refused",
            _ => "failed",
        };
        let label = Outbound {
            operation: operation.name(),
            result,
        };
        self.metrics.cloud_requests.get_or_create(&label).inc();
        answered
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<(StatusCode, Secretive), Failure> {
    let lost = |e: reqwest::Error| Failure::Lost(chain(&e.without_url()));
    let mut answer = match request.send().await {
        Ok(answer) => answer,
        Err(e) if e.is_connect() => {
            return Err(Failure::NotDone(chain(&e.without_url())));
        }
        Err(e) => return Err(lost(e)),
    };
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Failure::Lost(format!("the answer is larger than {LARGEST} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, Secretive::from(body)))
}

/// The path below an address.
pub fn below(address: &Url, path: &[&str]) -> Url {
    let mut url = address.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}
