//! INBOUND: the legacy API, as Data Center's clients know it.
//!
//! Every route is on this screen; a request goes through the checks in the order the contract gives them (401, 404,
//! 405, 406, 403, 413, 400, the group). `target`, `query` and `body` read requests; `auth` judges who asks;
//! `calls` put the question to the domain, `report` tells what became of a changing call; `wire`, `dates`, `error`,
//! `prepared`, `reply` and `heartbeat` write answers, `delivery` tells who wants to know that one was written. It must never know
//! a word of Cloud's API, and an account id only in a report.

pub mod auth;
mod body;
mod calls;
pub mod dates;
mod delivery;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod heartbeat;
mod options;
mod origin;
#[doc(hidden)]
pub mod prepared;
mod query;
mod repeats;
mod reply;
mod report;
mod target;
mod turns;
#[doc(hidden)]
pub mod wire;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::{HeaderMap, HeaderName, Method, StatusCode, Version};
use warp::Filter as _;

use self::auth::{Admitted, Door, Role, Scope};
use self::calls::Success;
pub use self::delivery::{Delivered, Delivery, Due, Lost};
pub use self::error::Error;
use self::origin::Origin;
use self::query::Query;
pub use self::repeats::{Asked, Repeats};
use self::reply::{Record, Told};
use self::target::Target;
use self::turns::{Turn, Turns};
use crate::browser;
use crate::doors::{Cause, Peer, Refusals};
use crate::metrics::Metrics;
use crate::model::{Caller, GroupName, Report, RequestId};
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

/// What a path asks for.
enum Wanted {
    Call(Call, Option<GroupName>),
    Report(String),
}

impl Wanted {
    /// With the name for log and figures, and who may ask.
    fn of(target: Target) -> Option<(&'static str, Self, Role)> {
        match target {
            Target::Call { call, group } => {
                let &(name, call, follows, role) = ROUTES.iter().find(|(name, ..)| *name == call)?;
                let group = group.map(|group| GroupName::new(&group));
                ((follows == Group::Follows) == group.is_some()).then_some((name, Self::Call(call, group), role))
            }
            // Whether it may be seen is told by the report itself.
            Target::Report { id } => Some(("report", Self::Report(id), Role::Reader)),
        }
    }
}

/// One inbound request, its body not read yet.
struct Request {
    id: RequestId,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    origin: Origin,
    version: Version,
    body: body::Incoming,
    /// Some of the body was asked for: a client that waited for leave to send it has it.
    body_begun: bool,
    /// What becomes known of it while it is being answered.
    told: Arc<Told>,
    /// If the same may be asked again.
    asked: Option<Asked>,
}

/// The legacy API of one process.
pub struct Extender {
    settings: Arc<Settings>,
    door: Arc<Door>,
    repeats: Arc<Repeats>,
    zone: dates::Zone,
    turns: Arc<Turns>,
    metrics: Metrics,
    refusals: Refusals,
}

/// By which a client names its request.
const GIVEN_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What it may call it; anything else gets an id of ours.
const MAX_REQUEST_ID: usize = 64;

impl Extender {
    /// The API behind `door`.
    ///
    /// # Errors
    /// An unknown time zone.
    pub fn new(settings: Arc<Settings>, door: Door, metrics: Metrics) -> Result<Self, dates::UnknownZone> {
        let zone = dates::Zone::named(&settings.extender.timezone)?;
        let door = Arc::new(door);
        Ok(Self {
            repeats: Arc::new(Repeats::new(Arc::clone(&door), &settings, metrics.clone())),
            turns: Turns::new(&settings.inbound),
            settings,
            door,
            zone,
            metrics,
            refusals: Refusals::default(),
        })
    }

    /// Who asked for this operation as of now, if they still may.
    #[must_use]
    pub fn still_admits(&self, report: &Report) -> Option<Caller> {
        self.door.still_admits(report)
    }

    /// The requests that need not be judged again; to be asked before the filter.
    #[must_use]
    pub fn repeats(&self) -> Arc<Repeats> {
        Arc::clone(&self.repeats)
    }

    /// The one filter behind which every request is answered. It rejects nothing.
    pub fn filter(self: Arc<Self>) -> warp::filters::BoxedFilter<(warp::reply::Response,)> {
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        warp::method()
            .and(warp::path::full())
            .and(query)
            .and(warp::header::headers_cloned())
            .and(warp::ext::optional::<Peer>())
            .and(warp::ext::optional::<Version>())
            .and(warp::ext::optional::<Asked>())
            .and(warp::body::stream())
            .then(
                move |method,
                      path: warp::path::FullPath,
                      query,
                      headers: HeaderMap,
                      peer: Option<Peer>,
                      version: Option<Version>,
                      asked: Option<Asked>,
                      body| {
                    let extender = Arc::clone(&self);
                    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
                    let proxies = &extender.settings.inbound.trusted_proxies;
                    let connection = peer.map_or(unknown, |Peer(address)| address);
                    let request = Request {
                        id: request_id(&headers).map_or_else(RequestId::random, RequestId::new),
                        asked,
                        origin: Origin::of(connection, &headers, proxies),
                        method,
                        path: path.as_str().to_owned(),
                        query,
                        headers,
                        version: version.unwrap_or_default(),
                        body: incoming(body),
                        body_begun: false,
                        told: Arc::default(),
                    };
                    extender.answer(request)
                },
            )
            .boxed()
    }

    async fn answer(self: Arc<Self>, request: Request) -> warp::reply::Response {
        let repeats = Arc::clone(&self.repeats);
        let record = Record::of(&request, repeats, self.metrics.clone(), self.refusals.clone());
        let told = Arc::clone(&request.told);
        let period = seconds(self.settings.extender.heartbeat_s);
        // To HTTP/1.0 an answer of unknown length ends with its connection: half of it would look whole.
        let beats = !period.is_zero() && request.version >= Version::HTTP_11;
        let mut work: heartbeat::Work = Box::pin(self.work(request));
        let silence = async {
            told.begun.notified().await;
            tokio::time::sleep(period).await;
        };
        tokio::select! {
            biased;
            result = &mut work => record.answer(result),
            () = silence, if beats => heartbeat::answer(work, period, record),
        }
    }

    /// What a request comes to. Whoever drops this leaves a bulk operation that has begun to itself.
    async fn work(self: Arc<Self>, mut request: Request) -> Result<Success, Error> {
        let judged = AssertUnwindSafe(self.judge(&mut request)).catch_unwind().await;
        // A client that still waits for leave to send its body has not sent it.
        if request.body_begun || !request.headers.contains_key(EXPECT) {
            body::drain(request.body, seconds(self.settings.inbound.body_timeout_s));
        }
        judged.unwrap_or_else(|_panic| {
            // Scripts create groups on a 500, so a bug of ours must be none.
            tracing::error!(request = %request.id, "a request ended in a panic");
            Err(Error::unavailable(
                "an internal fault; sending the same call again is safe",
                Duration::from_secs(5),
            ))
        })
    }

    /// The checks, in the contract's order.
    async fn judge(&self, request: &mut Request) -> Result<Success, Error> {
        if !request.origin.is_allowed(&self.settings.inbound) {
            return Err(Error::not_from_there());
        }
        if self.is_rebound(request) {
            // Before its credential, which the page may have set: for the browser it asks its own site.
            return Err(Error::cross_site().because(Cause::HostName));
        }
        let query = Query::parse(&request.query);
        let is_foreign = browser::is_cross_site(&request.headers);
        if is_foreign && self.door.asks_cloud_for(&request.headers) {
            // Before its credential, which the browser may have added: no page is to cause a call.
            return Err(Error::cross_site());
        }
        let (admitted, turn) = self.admit(request, &query).await?;
        *request.told.turn.lock() = Some(turn);
        let _ = request.told.caller.set(admitted.caller.name.to_string());
        let target = target::parse(&request.path, &self.settings.extender.prefixes);
        let (name, asked, role) = target
            .and_then(Wanted::of)
            .ok_or_else(|| Error::not_found(&request.path))?;
        let _ = request.told.call.set(name);
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
        if is_foreign {
            return Err(Error::cross_site());
        }
        if role == Role::Administrator && admitted.role != Role::Administrator {
            return Err(Error::not_an_administrator());
        }
        if let Wanted::Call(call, group) = &asked {
            if !admitted.scope.holds_call(*call) {
                return Err(Error::operation_out_of_scope(name));
            }
            within(&admitted.scope, group.iter().map(GroupName::as_str))?;
        }
        let result = match asked {
            Wanted::Call(call, group) => self.perform(call, group, &admitted, &query, request).await,
            Wanted::Report(id) => self.report(&id, &admitted, &query, request).await,
        };
        if self.door.is_passthrough()
            && result
                .as_ref()
                .is_err_and(|error| error.status == StatusCode::UNAUTHORIZED)
        {
            self.door.doubt(&request.headers).await;
        }
        result
    }

    /// Whether a page may have sent the request whose own name was made to point to this machine: only what names the
    /// facade by a name of its own is surely none.
    fn is_rebound(&self, request: &Request) -> bool {
        let inbound = &self.settings.inbound;
        let is_open = inbound.mode == Mode::Open;
        // What a trusted proxy passes on came under the proxy's name, and no browser reaches any other listener that way.
        let is_asked = is_open || inbound.listen.ip().is_loopback() && inbound.trusted_proxies.is_empty();
        // A browser always names a host; scripts that speak HTTP/1.0 need not.
        let is_nameless = !is_open && !request.headers.contains_key(HOST);
        is_asked && !is_nameless && !browser::is_for_loopback_or(&request.headers, &inbound.host_names)
    }

    async fn admit(&self, request: &Request, query: &Query) -> Result<(Admitted, Turn), Error> {
        let admitted = self.door.admit(&request.headers, request.origin.client(), &request.id);
        let admitted = admitted.await.map_err(|denied| {
            let asks = denied == auth::Denied::NoCredential && query.first("os_authType") == Some("basic");
            let (claimed, cause) = self.door.explain(&denied, &request.headers);
            if let Some(claimed) = claimed {
                let _ = request.told.claimed.set(claimed);
            }
            let error = Error::denied(denied, asks || self.settings.inbound.always_challenge);
            match cause {
                Some(cause) => error.because(cause),
                None => error,
            }
        })?;
        let tally = self.turns.of(&admitted.caller);
        let turn = tally.take();
        let turn = turn.map_err(|many| Error::too_many_requests(many.retry_after))?;
        let _ = request.told.tally.set(tally);
        Ok((admitted, turn))
    }
}

/// Holds names of groups against a scope.
fn within<'n>(scope: &Scope, groups: impl Iterator<Item = &'n str>) -> Result<(), Error> {
    let outside: Vec<&str> = groups.filter(|name| !scope.holds_group(name)).collect();
    match outside.split_first() {
        None => Ok(()),
        Some((first, others)) => Err(Error::group_out_of_scope(first, others.len())),
    }
}

impl Request {
    fn announced_length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

fn incoming<B: bytes::Buf>(
    body: impl futures_util::Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
) -> body::Incoming {
    Box::pin(body.map(|chunk| chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining()))))
}

/// The client's own id for its request, where it can stand in a header and a log line.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    let plain = |text: &&str| {
        (1..=MAX_REQUEST_ID).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let given = headers.get(GIVEN_ID);
    given.and_then(|id| id.to_str().ok()).filter(plain)
}
