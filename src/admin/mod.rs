//! The operator's listener: is it alive, is it ready, what are its figures, what became of operations. It calls nobody to
//! find out; only taking an operation back asks Cloud, and changes it.

mod operations;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use warp::Filter as _;

use crate::browser;
use crate::cloud::{Ahead, Client, CredentialStanding, Credentials};
use crate::directory::{Directory, Process};
use crate::metrics::Metrics;

/// For so long a failed exchange with Cloud counts against readiness. Not for ever: what is not ready gets no requests,
/// and without requests nothing would ever find out that Cloud is back. (A refused credential is asked about by the
/// watch over the credentials.)
const FAULT_COUNTS: Duration = Duration::from_secs(30);

/// What the operator's listener shows.
pub struct Admin {
    client: Arc<Client>,
    process: Arc<Process>,
    /// Cloud as the facade's own credential sees it, where there is one.
    eyes: Option<Arc<Directory>>,
    metrics: Metrics,
    credentials: Credentials,
    token: SecretString,
    /// What opens `/operations`, which tells who asked for what, and changes it: never nothing.
    operators_token: SecretString,
    stopping: AtomicBool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    stopping: bool,
    map_accounts: usize,
    operations: usize,
    /// Why nothing can be changed, though reads go on.
    changes_refused: Option<String>,
    cloud: CloudState,
    credentials: Vec<CredentialState>,
}

/// A credential for Cloud. That it ends soon, or was refused where there is another, makes nothing unready.
#[derive(Serialize)]
struct CredentialState {
    name: String,
    kind: &'static str,
    /// `good`, `ends_soon`, `over`, or `refused` where another is used for a while.
    state: &'static str,
    ends: Option<String>,
}

impl From<CredentialStanding> for CredentialState {
    fn from(standing: CredentialStanding) -> Self {
        let state = match standing.ahead(Timestamp::now()) {
            Ahead::Over => "over",
            _ if standing.refused.is_some() => "refused",
            Ahead::Days(_) => "ends_soon",
            Ahead::Unknown | Ahead::Long => "good",
        };
        Self {
            name: standing.name,
            kind: standing.kind.as_str(),
            state,
            // Of a consent that was ended nobody knows when.
            ends: standing
                .ends
                .filter(|ends| *ends > Timestamp::UNIX_EPOCH)
                .map(|ends| ends.to_string()),
        }
    }
}

#[derive(Serialize)]
struct CloudState {
    state: &'static str,
    seconds_ago: Option<u64>,
    fault: Option<String>,
}

impl Admin {
    /// The view on one process; an empty `token` asks for none, but for operations, which ask for `operators_token`.
    #[must_use]
    pub fn new(
        client: Arc<Client>,
        process: Arc<Process>,
        eyes: Option<Arc<Directory>>,
        metrics: Metrics,
        credentials: Credentials,
        token: SecretString,
        operators_token: SecretString,
    ) -> Self {
        Self {
            client,
            process,
            eyes,
            metrics,
            credentials,
            token,
            operators_token,
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on the program is not ready any more.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    async fn answer<B: Buf, E>(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: impl Stream<Item = Result<B, E>>,
    ) -> Response<Bytes> {
        // That the process lives is no secret, and the container's own health check has no token.
        if path != "/live" && !self.may(headers) {
            return plain(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
        }
        let is_about_operations = path == "/operations" || path.starts_with("/operations/");
        if is_about_operations && !bears(headers, &self.operators_token) {
            let text = "the bearer token of admin.token is needed, or that of operator.token in state_dir\n";
            return plain(StatusCode::UNAUTHORIZED, text);
        }
        if let Some(answer) = self.operations(method, path, query, headers, body).await {
            return answer;
        }
        if method != Method::GET && method != Method::HEAD {
            return not_allowed("GET, HEAD");
        }
        match path {
            "/live" => plain(StatusCode::OK, "alive\n"),
            "/ready" => self.ready().await,
            "/metrics" => {
                let mut response = plain(StatusCode::OK, &self.metrics.render());
                let text = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, text);
                response
            }
            _ => plain(StatusCode::NOT_FOUND, "/live /ready /metrics /operations\n"),
        }
    }

    /// With a token: whoever has it. Without: whoever is on this machine, and no web page whose name was made to
    /// point here.
    fn may(&self, headers: &HeaderMap) -> bool {
        if self.token.expose_secret().is_empty() {
            return browser::is_for_loopback(headers) && !browser::is_cross_site(headers);
        }
        bears(headers, &self.token)
    }

    async fn ready(&self) -> Response<Bytes> {
        let last = self.client.last_exchange();
        let ago = last.as_ref().map(|last| last.at.elapsed());
        let is_refusal = last.as_ref().is_some_and(|last| last.is_refusal);
        let fault = last.and_then(|last| last.fault);
        let failing = fault.is_some() && (is_refusal || ago.is_some_and(|ago| ago < FAULT_COUNTS));
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
            changes_refused: self.process.refuses_changes().map(str::to_owned),
            cloud: CloudState {
                state,
                seconds_ago: ago.map(|ago| ago.as_secs()),
                fault,
            },
            credentials: self.credentials.standing().await.into_iter().map(Into::into).collect(),
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

fn bears(headers: &HeaderMap, token: &SecretString) -> bool {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .is_some_and(|shown| shown.as_bytes().ct_eq(token.expose_secret().as_bytes()).into())
}

/// The filter behind which every request is answered.
pub fn filter(admin: Arc<Admin>) -> warp::filters::BoxedFilter<(warp::reply::Response,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(
            move |method, path: warp::path::FullPath, query: String, headers, body| {
                let admin = Arc::clone(&admin);
                async move {
                    let answer = admin.answer(&method, path.as_str(), &query, &headers, body).await;
                    warp::reply::Reply::into_response(answer)
                }
            },
        )
        .boxed()
}

fn not_allowed(allow: &'static str) -> Response<Bytes> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &format!("{allow}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(text.as_bytes()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
