//! An answer on the wire: whole, broken off, or none.
use std::convert::Infallible;
use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;

use super::answers::Answer;

/// The body of a response. It can fail, which closes the connection.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
pub(super) struct Cut;

/// How a request ends on the wire.
pub(super) enum Reply {
    Whole(Answer),
    /// The body breaks off before the length that was announced.
    Broken(Answer),
    Cut,
}

impl Reply {
    /// The answer, as far as it is one.
    pub(super) fn answer(&mut self) -> Option<&mut Answer> {
        match self {
            Self::Whole(answer) | Self::Broken(answer) => Some(answer),
            Self::Cut => None,
        }
    }
}

pub(super) fn whole(mut answer: Answer) -> Response<Body> {
    let body = std::mem::take(&mut answer.body);
    respond(
        answer,
        Full::new(body)
            .map_err(|never: Infallible| match never {})
            .boxed_unsync(),
    )
}

/// The length of the whole body, and half of it.
pub(super) fn broken(mut answer: Answer) -> Response<Body> {
    let mut body = std::mem::take(&mut answer.body);
    answer.headers.push(("content-length", body.len().to_string()));
    body.truncate(body.len() / 2);
    let half = futures_util::stream::iter([Ok(Frame::data(body))]);
    // The half is on its way before the connection breaks: hyper writes what it has whenever a body makes it wait.
    let end = futures_util::stream::once(async {
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    respond(answer, StreamBody::new(half.chain(end)).boxed_unsync())
}

/// Lets an answer say that it is so many seconds later than it is.
pub(super) fn date(response: &mut Response<Body>, ahead: i64) {
    let off = Duration::from_secs(ahead.unsigned_abs());
    let now = SystemTime::now();
    let date = if ahead < 0 {
        now.checked_sub(off)
    } else {
        now.checked_add(off)
    };
    let date = date.map(httpdate::fmt_http_date);
    if let Some(date) = date.and_then(|date| HeaderValue::from_str(&date).ok()) {
        response.headers_mut().insert(header::DATE, date);
    }
}

fn respond(answer: Answer, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(content_type) = answer.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}
