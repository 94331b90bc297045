//! One try: a request on its way, once, and what came back.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::call::Call;
use super::client::Client;
use super::credential::Shown;
use super::scrub::Scrub;
use crate::model::RequestId;

/// How one try ended.
pub(super) enum Try {
    Answered(StatusCode, HeaderMap, Vec<u8>),
    /// No connection: certainly without effect.
    NotSent(String),
    Lost(String),
}

impl Client {
    /// Sends `call` once, with what is shown.
    pub(super) async fn once(&self, call: &Call, shown: Option<&Shown>, request: &RequestId) -> Try {
        let base = shown.and_then(|shown| shown.base.as_ref());
        let mut url = base.unwrap_or(&self.places.site).clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut builder = self
            .http
            .request(call.method.clone(), url)
            .header(ACCEPT, "application/json")
            .header("X-Request-Id", request.as_str());
        if let Some(shown) = shown {
            builder = builder.header(AUTHORIZATION, shown.header.clone());
        }
        if call.operation.is_write() {
            builder = builder.header("X-Atlassian-Token", "no-check");
        }
        if call.operation.is_write() || call.body.is_some() {
            // Without it a write is answered 415, even one without a body.
            builder = builder.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(body) = &call.body {
            builder = builder.body(body.to_string());
        }
        let mut answer = match builder.send().await {
            Ok(answer) => answer,
            Err(e) if e.is_connect() => return Try::NotSent(chain(&e.without_url())),
            Err(e) => return Try::Lost(chain(&e.without_url())),
        };
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        if let Some(skew) = skew(&headers) {
            self.skew_s.store(skew, Ordering::Relaxed);
        }
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(None) if status.is_success() && !is_html(&headers) => {
                    return Try::Answered(status, headers, body);
                }
                Ok(None) => {
                    let scrub = Scrub::of(shown.map(|shown| &shown.header));
                    scrub.headers(&mut headers);
                    return Try::Answered(status, headers, scrub.bytes(body));
                }
                Ok(Some(chunk)) if body.len() + chunk.len() > self.max_answer => {
                    return Try::Lost(format!("the answer is larger than {} bytes", self.max_answer));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(e) => return Try::Lost(chain(&e.without_url())),
            }
        }
    }
}

/// How far the sender's clock is ahead of ours, in seconds.
fn skew(headers: &HeaderMap) -> Option<i64> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Some(match date.duration_since(SystemTime::now()) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    })
}

/// Whether it is a page for people.
pub(super) fn is_html(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// An error with its causes: reqwest's own text alone rarely says what happened.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let part = cause.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = cause.source();
    }
    text
}
