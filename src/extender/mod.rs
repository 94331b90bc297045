//! INBOUND: the legacy API, as Data Center's clients know it.
//!
//! Every route is on this screen; a request goes through the checks in the order the contract gives them (401, 404,
//! 405, 406, 403, 413, 400, the group). `target`, `query` and `body` read requests; `auth` judges who asks;
//! `calls` put the question to the domain; `wire`, `dates` and `error` write answers. It must never know an account id
//! or a word of Cloud's API.

pub mod auth;
mod body;
mod calls;
pub mod dates;
mod error;
mod query;
mod target;
mod wire;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use warp::Filter as _;

use self::auth::{Admitted, Door, Role};
use self::calls::Success;
pub use self::error::Error;
use self::query::Query;
use crate::browser;
use crate::metrics::{Inbound, Metrics};
use crate::model::{GroupName, RequestId};
use crate::settings::{Mode, Settings, seconds};

/// The six calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    GetUsers,
    GetGroups,
    AddUsers,
    RemoveUsers,
    AddGroups,
    RemoveGroups,
}

/// Every route: the name in the path, the call, whether a group follows, and who may.
const ROUTES: [(&str, Call, Group, Role); 6] = [
    ("getUsers", Call::GetUsers, Group::Follows, Role::Reader),
    ("getGroups", Call::GetGroups, Group::None, Role::Reader),
    ("addUsers", Call::AddUsers, Group::Follows, Role::Administrator),
    ("removeUsers", Call::RemoveUsers, Group::Follows, Role::Administrator),
    ("addGroups", Call::AddGroups, Group::None, Role::Administrator),
    ("removeGroups", Call::RemoveGroups, Group::None, Role::Administrator),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Follows,
    None,
}

/// Where a connection comes from; the accept loop puts it into each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// One inbound request, its body not read yet.
struct Request {
    id: RequestId,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    peer: SocketAddr,
    body: body::Incoming,
    /// Some of the body was asked for: a client that waited for leave to send it has it.
    body_begun: bool,
}

/// The legacy API of one process.
pub struct Extender {
    settings: Arc<Settings>,
    door: Door,
    zone: dates::Zone,
    metrics: Metrics,
}

/// What a client may call a request; anything else gets an id of ours.
const MAX_REQUEST_ID: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-facade-request-id");
const SKIPPED: HeaderName = HeaderName::from_static("x-facade-skipped");
const USER_NAME: HeaderName = HeaderName::from_static("x-ausername");
/// As Java's URLEncoder leaves them.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*');

impl Extender {
    /// The API behind `door`.
    ///
    /// # Errors
    /// An unknown time zone.
    pub fn new(settings: Arc<Settings>, door: Door, metrics: Metrics) -> Result<Self, dates::UnknownZone> {
        let zone = dates::Zone::named(&settings.extender.timezone)?;
        Ok(Self {
            settings,
            door,
            zone,
            metrics,
        })
    }

    /// The one filter behind which every request is answered. It rejects nothing.
    pub fn filter(self: Arc<Self>) -> warp::filters::BoxedFilter<(warp::reply::Response,)> {
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        warp::method()
            .and(warp::path::full())
            .and(query)
            .and(warp::header::headers_cloned())
            .and(warp::ext::optional::<Peer>())
            .and(warp::body::stream())
            .then(
                move |method, path: warp::path::FullPath, query, headers: HeaderMap, peer: Option<Peer>, body| {
                    let extender = Arc::clone(&self);
                    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
                    let request = Request {
                        id: request_id(&headers),
                        method,
                        path: path.as_str().to_owned(),
                        query,
                        headers,
                        peer: peer.map_or(unknown, |Peer(address)| address),
                        body: incoming(body),
                        body_begun: false,
                    };
                    async move { warp::reply::Reply::into_response(extender.answer(request).await) }
                },
            )
            .boxed()
    }

    async fn answer(&self, mut request: Request) -> Response<Bytes> {
        let from = Instant::now();
        let (method, path, id) = (request.method.clone(), request.path.clone(), request.id.clone());
        let peer = request.peer;
        let mut told = Told::default();
        let judged = AssertUnwindSafe(self.judge(&mut request, &mut told))
            .catch_unwind()
            .await;
        let result = judged.unwrap_or_else(|_panic| {
            // Scripts create groups on a 500, so a bug of ours must be none.
            tracing::error!(request = %id, "a request ended in a panic");
            Err(Error::unavailable(
                "an internal fault; sending the same call again is safe",
                Duration::from_secs(5),
            ))
        });
        // A client that still waits for leave to send its body has not sent it.
        if request.body_begun || !request.headers.contains_key(EXPECT) {
            body::drain(request.body, seconds(self.settings.inbound.body_timeout_s));
        }
        let mut response = match result {
            Ok(success) => self.succeed(success, &told),
            Err(error) => fail(&error, &id),
        };
        if let Ok(value) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        // hyper leaves the length of an empty body out of its answer to HEAD, which is to have the headers of a GET.
        let length = HeaderValue::from(response.body().len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
        let (status, took) = (response.status().as_u16(), from.elapsed().as_secs_f64());
        let call = told.call.unwrap_or("none");
        self.metrics.requests.get_or_create(&Inbound { call, status }).inc();
        self.metrics.request_seconds.observe(took);
        // The path alone: a query may hold a password (`os_password`).
        tracing::info!(request = %id, %peer, caller = told.caller.as_deref(), %method, path, status, seconds = took, "answered");
        response
    }

    /// The checks, in the contract's order.
    async fn judge(&self, request: &mut Request, told: &mut Told) -> Result<Success, Error> {
        let query = Query::parse(&request.query);
        let admitted = self.admit(request, &query).await?;
        told.caller = Some(admitted.caller.name.to_string());
        let target = target::parse(&request.path, &self.settings.extender.prefixes);
        let (name, call, group, role) = target
            .and_then(|target| {
                let &(name, call, follows, role) = ROUTES.iter().find(|(name, ..)| *name == target.call)?;
                ((follows == Group::Follows) == target.group.is_some()).then_some((name, call, target.group, role))
            })
            .ok_or_else(|| Error::not_found(&request.path))?;
        told.call = Some(name);
        let allowed = match role {
            Role::Reader => request.method == Method::GET || request.method == Method::HEAD,
            Role::Administrator => request.method == Method::POST,
        };
        if !allowed {
            return Err(Error::method_not_allowed(if role == Role::Reader {
                "GET, HEAD"
            } else {
                "POST"
            }));
        }
        if browser::wants_xml_alone(&request.headers) {
            return Err(Error::not_acceptable());
        }
        let foreign = self.settings.inbound.mode == Mode::Open && !browser::is_for_loopback(&request.headers);
        if foreign || browser::is_cross_site(&request.headers) {
            return Err(Error::cross_site());
        }
        if role == Role::Administrator && admitted.role != Role::Administrator {
            return Err(Error::not_an_administrator());
        }
        let group = group.map(|group| GroupName::new(&group));
        let result = self.perform(call, group, &admitted, &query, request).await;
        if self.door.is_passthrough()
            && result
                .as_ref()
                .is_err_and(|error| error.status == StatusCode::UNAUTHORIZED)
        {
            self.door.doubt(&request.headers).await;
        }
        result
    }

    async fn admit(&self, request: &Request, query: &Query) -> Result<Admitted, Error> {
        self.door
            .admit(&request.headers, request.peer.ip(), &request.id)
            .await
            .map_err(|denied| {
                tracing::info!(request = %request.id, peer = %request.peer, reason = ?denied, "not let in");
                let asks = denied == auth::Denied::NoCredential && query.first("os_authType") == Some("basic");
                Error::denied(denied, asks || self.settings.inbound.always_challenge)
            })
    }

    fn succeed(&self, success: Success, told: &Told) -> Response<Bytes> {
        let mut response = json(StatusCode::OK, success.body);
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let caller = utf8_percent_encode(told.caller.as_deref().unwrap_or_default(), PLAIN).to_string();
        if let Ok(caller) = HeaderValue::from_str(&caller) {
            headers.insert(USER_NAME, caller);
        }
        if let Some(skipped) = success.skipped {
            headers.insert(SKIPPED, HeaderValue::from(skipped));
        }
        response
    }
}

/// What the log and the answer's headers are told of a request.
#[derive(Default)]
struct Told {
    caller: Option<String>,
    call: Option<&'static str>,
}

impl Request {
    fn announced_length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

fn fail(error: &Error, id: &RequestId) -> Response<Bytes> {
    let mut response = match &error.message {
        Some(message) => {
            if error.status.is_server_error() {
                tracing::warn!(request = %id, status = error.status.as_u16(), cause = message.as_str(), "failed");
            }
            json(error.status, wire::error(message, error.status.as_u16()))
        }
        None => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = error.status;
            response
        }
    };
    for (name, value) in &error.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn incoming<B: bytes::Buf>(
    body: impl futures_util::Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
) -> body::Incoming {
    Box::pin(body.map(|chunk| chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining()))))
}

/// The client's own id for its request where it can stand in a header and a log line, else one of ours.
fn request_id(headers: &HeaderMap) -> RequestId {
    let plain = |text: &&str| {
        (1..=MAX_REQUEST_ID).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let given = headers
        .get("x-request-id")
        .and_then(|id| id.to_str().ok())
        .filter(plain);
    given.map_or_else(RequestId::random, RequestId::new)
}
