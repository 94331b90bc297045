//! The accept loop: warp's filters behind connections of our own, from the networks that are allowed, with a cap on
//! connections, a time for heads and handshakes, TLS, and a stop that lets running requests end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, Either, Ready, ready};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;

use super::body::{Body, Held};
use super::line::{Answers, Line, Pulse, Socket, Steady, Wanted, Watched};
use super::places::{Activity, Busy, Entry, Place, Places, Share};
use super::tls;
use crate::doors::{Cause, Peer, Refusal, Refusals};
use crate::extender::{Asked, Delivery, Repeats};
use crate::metrics::Metrics;
use crate::settings::Network;

/// Bytes of a request's head; more is answered 431. So are more than 100 fields: that is hyper's own limit, as it was Tomcat's,
/// and for any other one hyper takes room anew with every request.
const MOST_HEAD: usize = 64 * 1024;

/// Connections that the kernel keeps until they are accepted, where it lets so many be kept. One more is asked to come again
/// a second later, whoever it is.
const BACKLOG: u32 = 4096;

/// Opens a listener.
///
/// # Errors
/// The address cannot be had.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A facade that was stopped a moment ago left connections behind that hold the address. Elsewhere than on Unix this
    // would let two listen at it.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Connections inherit it: one whose client is gone without a word is found out where nothing is being written to it.
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The bounds of one listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Of these from one address; 0: no limit.
    pub connections_of_one: usize,
    /// Until a request's head, or an idle connection's next one, must be there.
    pub head: Duration,
    /// Until a TLS handshake must be done.
    pub handshake: Duration,
    /// Until somebody to whom something is being written must have taken some of it.
    pub standstill: Duration,
    /// From where connections are taken; empty: from everywhere.
    pub networks: Vec<Network>,
    /// Through whom others come: from there they are taken in any case, and as many as there are places.
    pub proxies: Vec<Network>,
}

impl Limits {
    /// Whether connections from this address are taken, and how many.
    fn share(&self, address: IpAddr) -> Option<Share> {
        if self.proxies.iter().any(|proxy| proxy.contains(address)) {
            return Some(Share::Unlimited);
        }
        let is_allowed = self.networks.is_empty() || self.networks.iter().any(|network| network.contains(address));
        is_allowed.then_some(Share::Limited)
    }
}

/// What is behind a listener.
pub struct Service {
    /// Answers every request.
    pub filter: BoxedFilter<(warp::reply::Response,)>,
    /// Answers those that need not be judged again, before the filter.
    pub repeats: Option<Arc<Repeats>>,
    /// Where TLS is spoken.
    pub tls: Option<tls::Current>,
    /// Where what happens to connections is counted.
    pub metrics: Metrics,
}

/// The connections still open after the listener was closed.
pub struct Open(GracefulShutdown);

impl Open {
    /// Waits until every running request is answered and every connection closed.
    pub async fn closed(self) {
        self.0.shutdown().await;
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.0.count()
    }
}

/// Serves until `stop`; then accepts no more, and returns the connections that are left.
pub async fn serve(listener: TcpListener, service: Service, limits: Limits, stop: CancellationToken) -> Open {
    let refusals = Refusals::default();
    let places = Places::new(limits.connections, limits.connections_of_one);
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .half_close(true)
        .max_buf_size(MOST_HEAD);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((socket, peer)) = accepted else {
            // Out of file descriptors, most likely: a moment later there may be one.
            tracing::warn!("a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Some(share) = limits.share(peer.ip()) else {
            service.metrics.connection_closed("network");
            refusals.tell(&refused(peer, Cause::Network, None));
            continue;
        };
        let entry = places.enter(peer.ip(), share);
        if let Entry::Refused(reason) = entry {
            service.metrics.connection_closed(reason);
            tracing::debug!(%peer, reason, "a connection for which there is no place");
            continue;
        }
        let connection = Connection {
            peer,
            tls: service.tls.clone(),
            handshake: limits.handshake,
            standstill: limits.standstill,
            metrics: service.metrics.clone(),
            refusals: refusals.clone(),
            repeats: service.repeats.clone(),
        };
        let patience = limits.head;
        let (http, watcher, filter, stop) = (http.clone(), graceful.watcher(), service.filter.clone(), stop.clone());
        tokio::spawn(async move {
            let place = match entry {
                Entry::Place(place) => Some(place),
                Entry::Wait(turn) => tokio::select! {
                    place = tokio::time::timeout(patience, turn.come()) => {
                        let place = place.ok().flatten();
                        if place.is_none() {
                            connection.metrics.connection_closed("full");
                            tracing::debug!(%peer, "a connection that has waited for a place in vain");
                        }
                        place
                    }
                    () = stop.cancelled() => None,
                },
                Entry::Refused(_) => None,
            };
            if let Some(place) = place {
                connection.serve(socket, place, http, watcher, filter).await;
            }
        });
    }
    Open(graceful)
}

/// Somebody with whom nothing was spoken.
fn refused(peer: SocketAddr, cause: Cause, detail: Option<&str>) -> Refusal<'_> {
    Refusal {
        cause,
        account: None,
        is_known: false,
        peer: peer.ip().to_canonical(),
        request: None,
        detail,
    }
}

/// One connection that was accepted.
struct Connection {
    peer: SocketAddr,
    tls: Option<tls::Current>,
    handshake: Duration,
    standstill: Duration,
    metrics: Metrics,
    refusals: Refusals,
    repeats: Option<Arc<Repeats>>,
}

impl Connection {
    async fn serve(
        self,
        socket: TcpStream,
        place: Place,
        http: hyper::server::conn::http1::Builder,
        watcher: hyper_util::server::graceful::Watcher,
        filter: BoxedFilter<(warp::reply::Response,)>,
    ) {
        let peer = self.peer;
        // Answers are written whole; waiting for more to send would only delay them.
        let _ = socket.set_nodelay(true);
        let pulse = Arc::new(Pulse::of(&socket));
        let socket = Steady::new(socket, self.standstill);
        let served = async {
            let socket = match &self.tls {
                None => Socket::Plain(socket),
                Some(tls) => match tokio::time::timeout(self.handshake, tls.acceptor().accept(socket)).await {
                    Ok(Ok(socket)) => Socket::Tls(Box::new(socket)),
                    // Not one who hung up: one who was refused, or refuses us.
                    Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                        let why = error.to_string();
                        return self.refusals.tell(&refused(peer, Cause::Handshake, Some(&why)));
                    }
                    Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake"),
                    Err(_elapsed) => return tracing::debug!(%peer, "TLS handshake: too slow"),
                },
            };
            let (answers, activity) = (Answers::default(), place.activity());
            let line = TokioIo::new(Line::new(socket, answers.clone(), Arc::clone(&activity)));
            let service = Answering(Arc::new(Front {
                peer,
                repeats: self.repeats.clone(),
                filter,
                answers,
                pulse,
                activity,
            }));
            if let Err(error) = watcher.watch(http.serve_connection(line, service)).await {
                tracing::debug!(%peer, %error, "connection");
            }
        };
        tokio::select! {
            () = served => {}
            () = place.wanted() => {
                self.metrics.connection_closed("idle");
                tracing::debug!(%peer, "an idle connection had to go for another one");
            }
        }
    }
}

/// How long a client that has closed its half is worked for.
const HALF_CLOSED: Duration = Duration::from_secs(30);

/// For a client that is gone, most likely.
fn given_up() -> Response<Body> {
    let body = "{\"message\":\"the client has hung up\",\"status-code\":503}";
    let mut response = Response::new(Body::text(body));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What stands before warp on one connection.
struct Front {
    peer: SocketAddr,
    repeats: Option<Arc<Repeats>>,
    filter: BoxedFilter<(warp::reply::Response,)>,
    answers: Answers,
    pulse: Arc<Pulse>,
    activity: Arc<Activity>,
}

type Answered = Result<Response<Body>, std::convert::Infallible>;

/// The same as hyper asks it. A type, because the compiler cannot follow a closure that far.
struct Answering(Arc<Front>);

impl hyper::service::Service<Request<Incoming>> for Answering {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Either<Ready<Answered>, BoxFuture<'static, Answered>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.0.answer(request)
    }
}

impl Front {
    /// Answers what need not be judged again, and has everything else answered.
    fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Either<Ready<Answered>, BoxFuture<'static, Answered>> {
        let now = Instant::now();
        self.activity.moved_at(now);
        let mut asked = None;
        if let Some(repeats) = self.repeats.as_ref().filter(|_| request.is_end_stream()) {
            match repeats.answer(&request, self.peer, now) {
                Ok((response, delivered)) => {
                    let (response, answers) = (response.map(Full::new), self.answers.clone());
                    let watched = response.map(|body| Watched::new(body, Wanted::Everything, delivered, answers));
                    return Either::Left(ready(Ok(watched.map(Body::Ready))));
                }
                Err(left) => asked = left,
            }
        }
        let busy = self.activity.busy();
        // Boxed: hyper keeps room for the larger of the two on every connection, and moves it about with each request.
        Either::Right(Box::pin(Arc::clone(self).ask(request, asked, busy)))
    }

    /// Settles what must be settled before warp sees a request, and has it answered.
    async fn ask(self: Arc<Self>, mut request: Request<Incoming>, asked: Option<Asked>, busy: Busy) -> Answered {
        if request.uri().path_and_query().is_none() {
            // `CONNECT host:port` has no path, and warp 0.4.3 panics when it looks for one.
            let body = "{\"message\":\"Bad request target\",\"status-code\":400}";
            let mut response = Response::new(Body::text(body));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        }
        // An absolute-form target outranks the Host header (RFC 9112, section 3.2.2).
        if let Some(authority) = request.uri().authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(HOST, host);
        }
        request.extensions_mut().insert(Peer(self.peer));
        let version = request.version();
        request.extensions_mut().insert(version);
        if let Some(asked) = asked {
            request.extensions_mut().insert(asked);
        }
        let wanted = if request.method() == Method::HEAD {
            Wanted::Nothing
        } else {
            Wanted::Everything
        };
        let mut service = warp::service(self.filter.clone());
        let mut response = tokio::select! {
            biased;
            Ok(response) = tower_service::Service::call(&mut service, request) => response,
            // A client may close its half and wait for an answer, though not for ever: nobody can tell it from one that is
            // gone.
            () = self.pulse.stopped(HALF_CLOSED) => return Ok(given_up()),
        };
        let delivery = response.extensions_mut().remove::<Delivery>();
        Ok(response.map(|body| {
            let body = Held::new(body, busy);
            match delivery {
                Some(delivery) => Body::made(Watched::new(body, wanted, delivery, self.answers.clone())),
                None => Body::made(body),
            }
        }))
    }
}
