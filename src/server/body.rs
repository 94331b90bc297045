//! What hyper is given to write: an answer that warp has made, or one that was there.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, SizeHint};

use super::line::Watched;
use super::places::Busy;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub enum Body {
    /// Of any kind.
    Made(UnsyncBoxBody<Bytes, Error>),
    /// It was there, and needs no box.
    Ready(Watched<Full<Bytes>>),
}

impl Body {
    /// Of any kind.
    pub fn made<B>(body: B) -> Self
    where
        B: hyper::body::Body<Data = Bytes, Error: Into<Error>> + Send + 'static,
    {
        Self::Made(body.map_err(Into::into).boxed_unsync())
    }

    /// A text of our own.
    pub fn text(text: &'static str) -> Self {
        Self::made(Full::new(Bytes::from_static(text.as_bytes())))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Made(body) => Pin::new(body).poll_frame(context),
            Self::Ready(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|never: Infallible| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Made(body) => body.is_end_stream(),
            Self::Ready(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Made(body) => body.size_hint(),
            Self::Ready(body) => body.size_hint(),
        }
    }
}

/// A body on whose connection something is being answered for as long as it is there.
pub struct Held<B> {
    body: B,
    _busy: Busy,
}

impl<B> Held<B> {
    /// `body`, which goes with `busy`.
    pub fn new(body: B, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: hyper::body::Body + Unpin> hyper::body::Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
