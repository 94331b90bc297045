//! Operations as the operator sees them: the list, each one's report, and taking one back.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_TYPE, HeaderValue, ORIGIN, RETRY_AFTER};
use http::{HeaderMap, Method, Response, StatusCode};
use serde::Serialize;

use super::{Admin, not_allowed, wire};
use crate::directory::Error;
use crate::directory::undo::{self, Refusal};
use crate::model::{Context, OperationId, RequestId};
use crate::reports::{self, Names};

/// Operations of a list where nobody says how many.
const LISTED: usize = 50;

/// The largest number that may be asked for.
const MOST_LISTED: usize = 10_000;

/// An order has two fields.
const MOST_BODY: usize = 4096;

/// How long an order may take to arrive, and the reading for a plan to end.
const PATIENCE: Duration = Duration::from_secs(10);
const READING: Duration = Duration::from_secs(60);

/// What is asked for below `/operations`.
enum Wanted<'a> {
    List,
    Report(&'a str),
    Undo(&'a str),
}

fn wanted(path: &str) -> Option<Wanted<'_>> {
    let rest = path.strip_prefix("/operations")?;
    if rest.is_empty() {
        return Some(Wanted::List);
    }
    let mut segments = rest.strip_prefix('/')?.split('/');
    match (segments.next()?, segments.next(), segments.next()) {
        (id, None, None) => Some(Wanted::Report(id)),
        (id, Some("undo"), None) => Some(Wanted::Undo(id)),
        _ => None,
    }
}

impl Admin {
    /// Answers what is asked for below `/operations`; `None`: it is something else. Whoever asks may.
    pub(super) async fn operations<B: Buf, E>(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: impl Stream<Item = Result<B, E>>,
    ) -> Option<Response<Bytes>> {
        let reads = method == Method::GET || method == Method::HEAD;
        Some(match wanted(path)? {
            Wanted::List | Wanted::Report(_) if !reads => not_allowed("GET, HEAD"),
            Wanted::List => self.list(query).await,
            Wanted::Report(id) => self.one(id).await,
            Wanted::Undo(_) if method != Method::POST => not_allowed("POST"),
            // No page has business here, not even one of this machine's.
            Wanted::Undo(_) if headers.contains_key(ORIGIN) => {
                refused(StatusCode::FORBIDDEN, "no request of a web page is taken here")
            }
            Wanted::Undo(id) => self.take_back(id, body).await,
        })
    }

    async fn list(&self, query: &str) -> Response<Bytes> {
        let most = match query.strip_prefix("most=") {
            None if query.is_empty() => Some(LISTED),
            most => most
                .and_then(|most| most.parse().ok())
                .filter(|most| (1..=MOST_LISTED).contains(most)),
        };
        let Some(most) = most else {
            let text = format!("the one parameter is most, from 1 to {MOST_LISTED}");
            return refused(StatusCode::BAD_REQUEST, &text);
        };
        match self.process.operations(most).await {
            Ok(operations) => json(StatusCode::OK, reports::list(&operations)),
            Err(error) => failed(&error),
        }
    }

    async fn one(&self, id: &str) -> Response<Bytes> {
        let report = match OperationId::parse(id) {
            None => Ok(None),
            Some(id) => self.process.report(&id).await,
        };
        match report {
            Ok(Some(report)) => json(StatusCode::OK, reports::render(&report, Names::Listed)),
            Ok(None) => refusal(&Refusal::Unknown),
            Err(error) => failed(&error),
        }
    }

    async fn take_back<B: Buf, E>(&self, id: &str, body: impl Stream<Item = Result<B, E>>) -> Response<Bytes> {
        let body = match tokio::time::timeout(PATIENCE, read(body)).await {
            Ok(Some(body)) => body,
            Ok(None) => return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is cut off, or too long"),
            Err(_elapsed) => return refused(StatusCode::REQUEST_TIMEOUT, "the body did not come"),
        };
        let asked: wire::Asked = match serde_json::from_slice(&body) {
            Ok(asked) => asked,
            Err(error) => return refused(StatusCode::BAD_REQUEST, &format!("the body is no order: {error}")),
        };
        let Some(id) = OperationId::parse(id) else {
            return refusal(&Refusal::Unknown);
        };
        let Some(eyes) = &self.eyes else {
            let why = "there is no credential of the facade's own (cloud.email) to change anything with";
            return refused(StatusCode::CONFLICT, why);
        };
        let context = Context::new(RequestId::random(), undo::operator(), READING);
        match (asked.apply, asked.plan) {
            (false, _) => match eyes.plan_undo(&id, &context).await {
                Ok(undo) => said(StatusCode::OK, &wire::Plan::of(&undo)),
                Err(why) => refusal(&why),
            },
            (true, None) => refused(StatusCode::BAD_REQUEST, "apply needs the plan that was shown"),
            (true, Some(plan)) => match eyes.undo(&id, &plan, &context).await {
                Ok(undone) => {
                    let status = match undone.failure {
                        None => StatusCode::OK,
                        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
                    };
                    said(status, &wire::Result::of(&undone))
                }
                Err(why) => refusal(&why),
            },
        }
    }
}

/// The whole body, if it is no longer than an order can be.
async fn read<B: Buf, E>(body: impl Stream<Item = Result<B, E>>) -> Option<Bytes> {
    let mut body = std::pin::pin!(body);
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await {
        let mut piece = piece.ok()?;
        if whole.len() + piece.remaining() > MOST_BODY {
            return None;
        }
        whole.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
    }
    Some(whole.freeze())
}

fn refusal(why: &Refusal) -> Response<Bytes> {
    let text = why.to_string();
    match why {
        Refusal::Unknown => refused(StatusCode::NOT_FOUND, &text),
        Refusal::Failed(error) => failed(error),
        Refusal::Changed(now) => said(
            StatusCode::CONFLICT,
            &wire::Refused {
                error: &text,
                now: Some(wire::Plan::of(now)),
            },
        ),
        _ => refused(StatusCode::CONFLICT, &text),
    }
}

fn failed(error: &Error) -> Response<Bytes> {
    let status = match error {
        Error::TooManyRemovals { .. } => StatusCode::CONFLICT,
        Error::Refused { .. } => StatusCode::BAD_GATEWAY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = refused(status, &error.to_string());
    if let Error::Unavailable { retry_after, .. } = error {
        let seconds = HeaderValue::from(retry_after.as_secs().max(1));
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

fn refused(status: StatusCode, error: &str) -> Response<Bytes> {
    said(status, &wire::Refused { error, now: None })
}

fn said(status: StatusCode, body: &impl Serialize) -> Response<Bytes> {
    json(status, serde_json::to_vec(body).unwrap_or_default())
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
