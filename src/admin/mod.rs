//! The operator's listener: is it alive, is it ready, what are its figures. It calls nobody to find out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use warp::Filter as _;

use crate::browser;
use crate::cloud::Client;
use crate::directory::Process;
use crate::metrics::Metrics;

/// For so long a failed exchange with Cloud counts against readiness. Not for ever: what is not ready gets no requests,
/// and without requests nothing would ever find out that Cloud is back.
const FAULT_COUNTS: Duration = Duration::from_secs(30);

/// What the operator's listener shows.
pub struct Admin {
    client: Arc<Client>,
    process: Arc<Process>,
    metrics: Metrics,
    token: SecretString,
    stopping: AtomicBool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    stopping: bool,
    map_accounts: usize,
    operations: usize,
    cloud: CloudState,
}

#[derive(Serialize)]
struct CloudState {
    state: &'static str,
    seconds_ago: Option<u64>,
    fault: Option<String>,
}

impl Admin {
    /// The view on one process; an empty `token` asks for none.
    #[must_use]
    pub fn new(client: Arc<Client>, process: Arc<Process>, metrics: Metrics, token: SecretString) -> Self {
        Self {
            client,
            process,
            metrics,
            token,
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on the program is not ready any more.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Bytes> {
        // That the process lives is no secret, and the container's own health check has no token.
        if path != "/live" && !self.may(headers) {
            return plain(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
        }
        if method != Method::GET && method != Method::HEAD {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/live" => plain(StatusCode::OK, "alive\n"),
            "/ready" => self.ready(),
            "/metrics" => {
                let mut response = plain(StatusCode::OK, &self.metrics.render());
                let text = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, text);
                response
            }
            _ => plain(StatusCode::NOT_FOUND, "/live /ready /metrics\n"),
        }
    }

    /// With a token: whoever has it. Without: whoever is on this machine, and no web page whose name was made to
    /// point here.
    fn may(&self, headers: &HeaderMap) -> bool {
        let token = self.token.expose_secret();
        if token.is_empty() {
            return browser::is_for_loopback(headers) && !browser::is_cross_site(headers);
        }
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .is_some_and(|shown| shown.as_bytes().ct_eq(token.as_bytes()).into())
    }

    fn ready(&self) -> Response<Bytes> {
        let last = self.client.last_exchange();
        let ago = last.as_ref().map(|last| last.at.elapsed());
        let fault = last.and_then(|last| last.fault);
        let failing = fault.is_some() && ago.is_some_and(|ago| ago < FAULT_COUNTS);
        let stopping = self.stopping.load(Ordering::Relaxed);
        let ready = !failing && !stopping;
        let state = match (&fault, ago) {
            (_, None) => "untried",
            (None, Some(_)) => "good",
            (Some(_), Some(_)) => "failing",
        };
        let body = Ready {
            ready,
            stopping,
            map_accounts: self.process.map_accounts(),
            operations: self.process.running(),
            cloud: CloudState {
                state,
                seconds_ago: ago.map(|ago| ago.as_secs()),
                fault,
            },
        };
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let mut response = plain(status, &serde_json::to_string(&body).unwrap_or_default());
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// The filter behind which every request is answered.
pub fn filter(admin: Arc<Admin>) -> warp::filters::BoxedFilter<(warp::reply::Response,)> {
    warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .map(move |method, path: warp::path::FullPath, headers| {
            warp::reply::Reply::into_response(admin.answer(&method, path.as_str(), &headers))
        })
        .boxed()
}

fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(text.as_bytes()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
