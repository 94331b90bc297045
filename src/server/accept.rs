//! The accept loop: warp's filters behind connections of our own, with a cap on connections, a time for heads and
//! handshakes, TLS, and a stop that lets running requests end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;

use super::line::{Answers, Line, Pulse, Socket, Wanted, Watched};
use crate::extender::{Delivery, Peer};

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Until a request's head, or an idle connection's next one, must be there; a TLS handshake as well.
    pub head: Duration,
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

/// Serves `filter` until `stop`; then accepts no more, and returns the connections that are left.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    filter: BoxedFilter<(warp::reply::Response,)>,
    limits: Limits,
    stop: CancellationToken,
) -> Open {
    let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .half_close(true)
        .max_headers(128);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (Ok(place), Ok((socket, peer))) = (place, accepted) else {
            // Out of file descriptors, most likely: a moment later there may be one.
            tracing::warn!("a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Answers are written whole; waiting for more to send would only delay them.
        let _ = socket.set_nodelay(true);
        let pulse = Arc::new(Pulse::of(&socket));
        let (http, tls, watcher, filter) = (http.clone(), tls.clone(), graceful.watcher(), filter.clone());
        tokio::spawn(async move {
            let _place = place;
            let socket = match tls {
                None => Socket::Plain(socket),
                Some(tls) => match tokio::time::timeout(limits.head, tls.accept(socket)).await {
                    Ok(Ok(socket)) => Socket::Tls(Box::new(socket)),
                    Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake"),
                    Err(_elapsed) => return tracing::debug!(%peer, "TLS handshake: too slow"),
                },
            };
            let answers = Answers::default();
            let line = TokioIo::new(Line::new(socket, answers.clone()));
            let service = hyper::service::service_fn(move |request| {
                front(request, peer, filter.clone(), answers.clone(), Arc::clone(&pulse))
            });
            let served = watcher.watch(http.serve_connection(line, service)).await;
            if let Err(error) = served {
                tracing::debug!(%peer, %error, "connection");
            }
        });
    }
    Open(graceful)
}

/// How long a client that has closed its half is worked for.
const HALF_CLOSED: Duration = Duration::from_secs(30);

/// For a client that is gone, most likely.
fn given_up() -> Response<Body> {
    let body = Bytes::from_static(b"{\"message\":\"the client has hung up\",\"status-code\":503}");
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What must be settled before warp sees a request.
async fn front(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    filter: BoxedFilter<(warp::reply::Response,)>,
    answers: Answers,
    pulse: Arc<Pulse>,
) -> Result<Response<Body>, std::convert::Infallible> {
    if request.uri().path_and_query().is_none() {
        // `CONNECT host:port` has no path, and warp 0.4.3 panics when it looks for one.
        let body = Bytes::from_static(b"{\"message\":\"Bad request target\",\"status-code\":400}");
        let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        return Ok(response);
    }
    // An absolute-form target outranks the Host header (RFC 9112, section 3.2.2).
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    request.extensions_mut().insert(Peer(peer));
    let version = request.version();
    request.extensions_mut().insert(version);
    let wanted = if request.method() == Method::HEAD {
        Wanted::Nothing
    } else {
        Wanted::Everything
    };
    let mut service = warp::service(filter);
    let mut response = tokio::select! {
        biased;
        Ok(response) = tower_service::Service::call(&mut service, request) => response,
        // A client may close its half and wait for an answer, though not for ever: nobody can tell it from one that is
        // gone.
        () = pulse.stopped(HALF_CLOSED) => return Ok(given_up()),
    };
    let delivery = response.extensions_mut().remove::<Delivery>();
    Ok(response.map(|body| match delivery {
        Some(delivery) => Watched::new(body, wanted, delivery, answers)
            .map_err(Into::into)
            .boxed_unsync(),
        None => body.map_err(Into::into).boxed_unsync(),
    }))
}
