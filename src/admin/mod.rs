//! The operator's listener: is it alive, is it ready, what are its figures, what became of operations. It calls nobody to
//! find out; only taking an operation back asks Cloud, and changes it. Guesses at its token are limited as those at accounts'.

mod operations;
mod wire;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use warp::Filter as _;

use crate::browser;
use crate::cloud::{Ahead, Client, CredentialStanding, Credentials};
use crate::directory::{Directory, Process};
use crate::doors::{Attempts, Cause, Peer, Refusal, Refusals, network};
use crate::metrics::Metrics;

/// For so long a failed exchange with Cloud counts against readiness. Not for ever: what is not ready gets no requests,
/// and without requests nothing would ever find out that Cloud is back. (A refused credential is asked about by the
/// watch over the credentials.)
const FAULT_COUNTS: Duration = Duration::from_secs(30);

/// Tells when something ends, as far as that is known.
pub type Ends = Box<dyn Fn() -> Option<Timestamp> + Send + Sync>;

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
    /// When the certificate of the other listener ends, where it speaks TLS.
    certificate: Option<Ends>,
    attempts: Attempts,
    /// Networks from which a right token came: nobody there is held back by others' guesses.
    proven: moka::sync::Cache<IpAddr, ()>,
    refusals: Refusals,
    stopping: AtomicBool,
}

/// How many wrong tokens one network may show at once, and how soon one more.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const REFILL: Duration = Duration::from_secs(6);
/// Only whoever had a right token is kept.
const MAX_PROVEN: u64 = 1024;

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
    /// Of the listener for callers, where it speaks TLS; it makes nothing unready either.
    certificate: Option<CertificateState>,
}

#[derive(Serialize)]
struct CertificateState {
    /// `good`, `ends_soon`, `over`.
    state: &'static str,
    ends: Option<String>,
}

impl CertificateState {
    fn of(ends: Option<Timestamp>) -> Self {
        Self {
            state: word(Ahead::of(ends, Timestamp::now())),
            ends: ends.map(|ends| ends.to_string()),
        }
    }
}

fn word(ahead: Ahead) -> &'static str {
    match ahead {
        Ahead::Over => "over",
        Ahead::Days(_) => "ends_soon",
        Ahead::Unknown | Ahead::Long => "good",
    }
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
            Ahead::Unknown | Ahead::Long | Ahead::Days(_) if standing.refused.is_some() => "refused",
            ahead => word(ahead),
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
            certificate: None,
            attempts: Attempts::new(BURST, REFILL),
            proven: moka::sync::Cache::new(MAX_PROVEN),
            refusals: Refusals::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// The same, which tells when the certificate of the other listener ends, where that speaks TLS.
    #[must_use]
    pub fn telling_end(mut self, certificate: Option<Ends>) -> Self {
        self.certificate = certificate;
        self
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
        peer: IpAddr,
        body: impl Stream<Item = Result<B, E>>,
    ) -> Response<Bytes> {
        let is_about_operations = path == "/operations" || path.starts_with("/operations/");
        // That the process lives is no secret, and the container's own health check has no token.
        if path != "/live"
            && let Some(refused) = self.refuses(headers, peer, is_about_operations)
        {
            return refused;
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

    /// What is said to whoever may not ask. With a token may whoever has it; without, whoever is on this machine, and no web
    /// page whose name was made to point here; but for operations.
    fn refuses(&self, headers: &HeaderMap, peer: IpAddr, is_about_operations: bool) -> Option<Response<Bytes>> {
        let needs_none = self.token.expose_secret().is_empty();
        if needs_none && (!browser::is_for_loopback(headers) || browser::is_cross_site(headers)) {
            self.refuse(Cause::WebPage, peer);
            return Some(plain(StatusCode::UNAUTHORIZED, "a bearer token is needed\n"));
        }
        if needs_none && !is_about_operations {
            return None;
        }
        let unauthorised = || {
            let text = if needs_none {
                "the bearer token of admin.token is needed, or that of operator.token in state_dir\n"
            } else {
                "a bearer token is needed\n"
            };
            plain(StatusCode::UNAUTHORIZED, text)
        };
        let Some(shown) = bearer(headers) else {
            self.refuse(Cause::NoCredential, peer);
            return Some(unauthorised());
        };
        let network = network(peer);
        let is_proven = self.proven.contains_key(&network);
        if !is_proven && !self.attempts.admits("", peer) {
            self.refuse(Cause::HeldBack, peer);
            let mut response = plain(
                StatusCode::TOO_MANY_REQUESTS,
                "too many wrong tokens from this address\n",
            );
            let seconds = HeaderValue::from(REFILL.as_secs());
            response.headers_mut().insert(RETRY_AFTER, seconds);
            return Some(response);
        }
        // What operations ask for is the token of the settings, where there is one.
        if !bool::from(shown.as_bytes().ct_eq(self.operators_token.expose_secret().as_bytes())) {
            self.refuse(Cause::OperatorsToken, peer);
            return Some(unauthorised());
        }
        if !is_proven {
            self.attempts.forgive("", peer);
            self.proven.insert(network, ());
        }
        None
    }

    fn refuse(&self, cause: Cause, peer: IpAddr) {
        self.refusals.tell(&Refusal {
            cause,
            account: None,
            is_known: false,
            peer,
            request: None,
            detail: Some("the operator's listener"),
        });
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
            certificate: self.certificate.as_ref().map(|ends| CertificateState::of(ends())),
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

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// The filter behind which every request is answered.
pub fn filter(admin: Arc<Admin>) -> warp::filters::BoxedFilter<(warp::reply::Response,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .then(
            move |method, path: warp::path::FullPath, query: String, headers, peer: Option<Peer>, body| {
                let admin = Arc::clone(&admin);
                async move {
                    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                    let peer = peer.map_or(unknown, |Peer(address)| address.ip().to_canonical());
                    let answer = admin.answer(&method, path.as_str(), &query, &headers, peer, body).await;
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
