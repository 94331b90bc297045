//! From what a call came to, to the answer: status, headers, body; and the log line and figures beside it.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Notify;
use warp::reply::Reply as _;

use super::auth::Claimed;
use super::calls::Success;
use super::delivery::Delivery;
use super::origin::Origin;
use super::repeats::{Asked, Came, Repeats};
use super::turns::{Tally, Turn};
use super::{Error, Request, wire};
use crate::directory::{Conduct, Watch};
use crate::doors::{Cause, Refusal, Refusals};
use crate::metrics::{Inbound, Metrics};
use crate::model::{OperationId, RequestId};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-facade-request-id");
const USER_NAME: HeaderName = HeaderName::from_static("x-ausername");
pub(super) const SKIPPED: HeaderName = HeaderName::from_static("x-facade-skipped");
pub(super) const REPORT: HeaderName = HeaderName::from_static("x-facade-report");
pub(super) const DRY_RUN: HeaderName = HeaderName::from_static("x-facade-dry-run");
pub(super) const STALE: HeaderName = HeaderName::from_static("x-facade-stale");
/// As Java's URLEncoder leaves them.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// What is known of a request while it is being answered. Each is told once.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Who asks.
    pub caller: OnceLock<String>,
    /// Who says to be asking, of one who was not let in.
    pub claimed: OnceLock<Claimed>,
    /// The name of the call.
    pub call: OnceLock<&'static str>,
    /// Whether it changes anything, of a changing call.
    pub conduct: OnceLock<Conduct>,
    /// The operation, of a changing call; its id is known once it has begun.
    pub operation: OnceLock<Watch>,
    /// That it is one of so many of its caller's, until its answer is with him.
    pub turn: Mutex<Option<Turn>>,
    /// The count of the caller's requests.
    pub tally: OnceLock<Arc<Tally>>,
    /// Told when a changing call has its names: from then on its caller may be kept waiting.
    pub begun: Notify,
}

/// What log, figures and headers need of a request once the request itself is gone.
#[derive(Clone)]
pub(super) struct Record {
    id: RequestId,
    origin: Origin,
    method: Method,
    path: String,
    from: Instant,
    told: Arc<Told>,
    /// If the same may be asked again.
    asked: Option<Asked>,
    repeats: Arc<Repeats>,
    metrics: Metrics,
    refusals: Refusals,
}

/// What the log tells of every answer.
pub(super) struct Answered<'a> {
    pub id: &'a str,
    pub origin: Origin,
    pub caller: Option<&'a String>,
    pub method: &'a Method,
    /// The path alone: a query may hold a password (`os_password`).
    pub path: &'a str,
    pub status: u16,
    /// Seconds.
    pub took: f64,
}

pub(super) fn tell_answered(answered: &Answered<'_>) {
    let Answered {
        id,
        origin,
        caller,
        method,
        path,
        status,
        took,
    } = answered;
    tracing::info!(request = %id, peer = %origin, caller, %method, path, status, seconds = took, "answered");
}

impl Record {
    pub(super) fn of(request: &Request, repeats: Arc<Repeats>, metrics: Metrics, refusals: Refusals) -> Self {
        Self {
            asked: request.asked,
            repeats,
            id: request.id.clone(),
            origin: request.origin,
            method: request.method.clone(),
            path: without_parameters(&request.path),
            from: Instant::now(),
            told: Arc::clone(&request.told),
            metrics,
            refusals,
        }
    }

    /// The answer whose end is known.
    pub(super) fn answer(&self, result: Result<Success, Error>) -> warp::reply::Response {
        let print = result.as_ref().ok().and_then(|success| success.print.clone());
        let mut response = match result {
            Ok(success) => self.succeed(success),
            Err(error) => self.fail(&error),
        };
        // hyper leaves the length of an empty body out of its answer to HEAD, which is to have the headers of a GET.
        let length = HeaderValue::from(response.body().len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
        self.name_request(response.headers_mut());
        if let (Some(asked), Some(print)) = (&self.asked, print) {
            self.keep(asked, print, response.headers());
        }
        self.answered(response.status());
        if let Some(turn) = self.take_turn() {
            let delivery = response.extensions_mut().get_or_insert_with(Delivery::default);
            delivery.keep(turn);
        }
        response.into_response()
    }

    /// For whoever asks the same again.
    fn keep(&self, asked: &Asked, print: Weak<Bytes>, head: &HeaderMap) {
        let told = &self.told;
        if let (Some(caller), Some(call), Some(tally)) = (told.caller.get(), told.call.get(), told.tally.get()) {
            let came = Came {
                head: head.clone(),
                print,
                caller: caller.clone(),
                tally: Arc::clone(tally),
                call,
                path: self.path.clone(),
            };
            self.repeats.keep(asked, came);
        }
    }

    /// What is to be kept until the answer was written: one who does not read it is not to ask for the next one.
    pub(super) fn take_turn(&self) -> Option<Turn> {
        self.told.turn.lock().take()
    }

    /// The head of a success whose body is still being made.
    pub(super) fn head(&self, body: warp::reply::Response, delivery: Delivery) -> warp::reply::Response {
        let mut response = body;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.dress(headers);
        let report = self.told.operation.get().and_then(Watch::id);
        self.name_operation(headers, report.as_ref(), self.told.conduct.get().copied());
        self.name_request(headers);
        response.extensions_mut().insert(delivery);
        response
    }

    /// What became of an answer whose head was sent before that was known.
    pub(super) fn ended(&self, error: Option<&Error>) {
        if let Some(error) = error {
            if let Some(cause) = error.refusal {
                self.tell_refusal(cause, error.message.as_deref());
            }
            tracing::warn!(request = %self.id, cause = error.message.as_deref(), "failed with the head sent: the connection is cut");
        }
        self.answered(error.map_or(StatusCode::OK, |error| error.status));
    }

    fn answered(&self, status: StatusCode) {
        let (status, took) = (status.as_u16(), self.from.elapsed().as_secs_f64());
        let call = self.told.call.get().copied().unwrap_or("none");
        let metrics = &self.metrics;
        metrics.requests.get_or_create(&Inbound { call, status }).inc();
        metrics.request_seconds.observe(took);
        tell_answered(&Answered {
            id: self.id.as_str(),
            origin: self.origin,
            caller: self.told.caller.get(),
            method: &self.method,
            path: &self.path,
            status,
            took,
        });
    }

    fn succeed(&self, success: Success) -> Response<Bytes> {
        let mut response = json(StatusCode::OK, success.body);
        let headers = response.headers_mut();
        self.dress(headers);
        self.name_operation(headers, success.report.as_ref(), Some(success.conduct));
        if let Some(skipped) = success.skipped {
            headers.insert(SKIPPED, HeaderValue::from(skipped));
        }
        headers.extend(success.headers);
        if let Some(delivered) = success.delivered {
            let delivery = Delivery::default();
            delivery.put(delivered);
            response.extensions_mut().insert(delivery);
        }
        response
    }

    /// Who was refused and why, for whoever is asked about it at night.
    fn tell_refusal(&self, cause: Cause, message: Option<&str>) {
        let told = &self.told;
        let admitted = told.caller.get().map(|name| (name.as_str(), true));
        let claimed = || {
            told.claimed
                .get()
                .map(|claimed| (claimed.name.as_str(), claimed.is_known))
        };
        let name = admitted.or_else(claimed);
        self.refusals.tell(&Refusal {
            cause,
            account: name.map(|(name, _)| name),
            is_known: name.is_some_and(|(_, is_known)| is_known),
            peer: self.origin.client(),
            request: Some(self.id.as_str()),
            // What the others say is the same for everybody.
            detail: message.filter(|_| matches!(cause, Cause::Group | Cause::Operation)),
        });
    }

    fn fail(&self, error: &Error) -> Response<Bytes> {
        if let Some(cause) = error.refusal {
            self.tell_refusal(cause, error.message.as_deref());
        }
        let mut response = match &error.message {
            Some(message) => {
                if error.status.is_server_error() {
                    let status = error.status.as_u16();
                    tracing::warn!(request = %self.id, status, cause = message.as_str(), "failed");
                }
                json(error.status, wire::error(message, error.status.as_u16()))
            }
            None => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = error.status;
                response
            }
        };
        response.headers_mut().extend(error.headers.iter().cloned());
        response
    }

    /// The headers of every success.
    fn dress(&self, headers: &mut HeaderMap) {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let caller = self.told.caller.get().map(String::as_str).unwrap_or_default();
        if let Ok(caller) = HeaderValue::from_str(&utf8_percent_encode(caller, PLAIN).to_string()) {
            headers.insert(USER_NAME, caller);
        }
    }

    fn name_operation(&self, headers: &mut HeaderMap, report: Option<&OperationId>, conduct: Option<Conduct>) {
        if let Some(Ok(id)) = report.map(|id| HeaderValue::from_str(id.as_str())) {
            headers.insert(REPORT, id);
        }
        if conduct == Some(Conduct::Dry) {
            headers.insert(DRY_RUN, HeaderValue::from_static("true"));
        }
    }

    fn name_request(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(self.id.as_str()) {
            headers.insert(REQUEST_ID, value);
        }
    }
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A path without what stands behind a `;` in its segments: sessions are told so.
fn without_parameters(path: &str) -> String {
    let segments = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or_default());
    segments.collect::<Vec<_>>().join("/")
}
