//! One connection's bytes, under hyper: knows when an answer was fully written, and when its client had gone before.
//!
//! hyper asks for a flush of what is here only when nothing is left in a buffer of its own. So the first flush that
//! succeeds after the last chunk of an answer was handed to hyper means that the socket has all of it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

pub use self::steady::Steady;
use self::unread::instead_of;
use super::places::Activity;
use crate::extender::{Delivered, Due, Lost};

mod steady;
mod unread;

/// How long a connection that we have closed is listened to for a reset, if it matters.
const LINGER: Duration = Duration::from_secs(5);

/// A connection, with TLS or without.
pub enum Socket {
    /// As it was accepted.
    Plain(Steady<TcpStream>),
    /// After the handshake.
    Tls(Box<TlsStream<Steady<TcpStream>>>),
}

impl Socket {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp.get(),
            Self::Tls(tls) => tls.get_ref().0.get(),
        }
    }

    fn into_tcp(self) -> TcpStream {
        match self {
            Self::Plain(tcp) => tcp.into_inner(),
            Self::Tls(tls) => tls.into_inner().0.into_inner(),
        }
    }
}

/// A look at a connection that hyper has: whether its client is still there.
///
/// hyper does not look itself while an answer is being made, because a client may close its half and wait. One that is
/// gone altogether looks the same, and would hold its place among the connections for as long as its call takes.
#[derive(Debug)]
pub struct Pulse(Option<TcpStream>);

impl Pulse {
    /// Of this connection. Where it cannot be looked at, it counts as alive.
    pub fn of(socket: &TcpStream) -> Self {
        #[cfg(unix)]
        {
            use std::os::fd::AsFd as _;
            let same = socket.as_fd().try_clone_to_owned().map(std::net::TcpStream::from);
            Self(same.and_then(TcpStream::from_std).ok())
        }
        #[cfg(not(unix))]
        {
            let _ = socket;
            Self(None)
        }
    }

    /// Waits until the client has been silent for `patience` and has said that it sends no more, or is gone.
    pub async fn stopped(&self, patience: Duration) {
        tokio::time::sleep(patience).await;
        let Some(socket) = &self.0 else {
            return std::future::pending().await;
        };
        while !is_hung_up(socket) {
            tokio::time::sleep(patience / 4).await;
        }
    }
}

/// Whether the client has said that it sends no more, or is gone.
fn is_hung_up(tcp: &TcpStream) -> bool {
    // What the kernel told last is there at once; a connection that can be neither read nor written is none.
    let ready = tcp.ready(Interest::READABLE | Interest::WRITABLE).now_or_never();
    ready.is_some_and(|ready| ready.map_or(true, |ready| ready.is_read_closed() || ready.is_write_closed()))
}

/// The answers of one connection that somebody wants to know about.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    /// Handed to hyper, not flushed.
    due: Vec<Delivered>,
    /// Flushed; the client has not been heard of since.
    written: Vec<Lost>,
}

impl Answers {
    /// The whole answer is with hyper.
    fn handed_over(&self, due: &mut Due) {
        if let Some(delivered) = due.take() {
            self.0.lock().due.push(delivered);
        }
    }

    fn is_any_awaited(&self) -> bool {
        self.0.lock().due.iter().any(Delivered::is_awaited)
    }

    fn flushed(&self) {
        let mut due = std::mem::take(&mut self.0.lock().due);
        if !due.is_empty() {
            for lost in due.drain(..).filter_map(Delivered::written) {
                self.0.lock().written.push(lost);
            }
            let mut open = self.0.lock();
            // Its room serves the next answer.
            if open.due.is_empty() {
                open.due = due;
            }
        }
    }

    /// None of what is due will be written to anybody who reads it.
    fn hung_up(&self) {
        drop(std::mem::take(&mut self.0.lock().due));
    }

    /// The client is still there, or took its leave having read everything.
    fn heard(&self) {
        drop(self.take_written());
    }

    fn lost(&self) {
        self.take_written().into_iter().for_each(Lost::call);
    }

    fn take_written(&self) -> Vec<Lost> {
        std::mem::take(&mut self.0.lock().written)
    }
}

/// What hyper reads and writes.
pub struct Line {
    /// There until the line is dropped.
    socket: Option<Socket>,
    answers: Answers,
    activity: Arc<Activity>,
    /// What is being written in the place of what hyper gave, and how much of it was.
    instead: Option<(Vec<u8>, usize)>,
}

impl Line {
    /// A line over `socket` whose answers are kept in `answers`; what is written shows in `activity`.
    pub fn new(socket: Socket, answers: Answers, activity: Arc<Activity>) -> Self {
        Self {
            socket: Some(socket),
            answers,
            activity,
            instead: None,
        }
    }

    fn socket(&mut self) -> io::Result<&mut Socket> {
        self.socket.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// A client that hung up before the last bytes left cannot have read them: the kernel takes them all the same, and
    /// throws them away. One that only closed its half counts as gone too: to give it its answer twice is harmless.
    fn before_writing(&mut self) {
        if self.answers.is_any_awaited() && self.socket.as_ref().is_none_or(|socket| is_hung_up(socket.tcp())) {
            self.answers.hung_up();
        }
    }

    /// Writes the whole of what stands in the place of `bytes`, if something does; told as hyper knows it, by their length.
    /// While it is not done, hyper comes again with the same bytes.
    fn write_instead(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<io::Result<usize>>> {
        let Some((text, mut done)) = self.instead.take().or_else(|| instead_of(bytes).map(|text| (text, 0))) else {
            return Poll::Ready(None);
        };
        while let Some(rest) = text.get(done..).filter(|rest| !rest.is_empty()) {
            let written = match self.socket()? {
                Socket::Plain(tcp) => Pin::new(tcp).poll_write(cx, rest),
                Socket::Tls(tls) => Pin::new(tls).poll_write(cx, rest),
            };
            let Poll::Ready(written) = written else {
                self.instead = Some((text, done));
                return Poll::Pending;
            };
            self.after_writing(&written);
            match written {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(more) => done += more,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(Some(Ok(bytes.len())))
    }

    fn after_writing(&self, written: &io::Result<usize>) {
        match written {
            Ok(_) => self.activity.moved(),
            // What the kernel still holds of the answer is to go with the connection: nobody reads it.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let _ = self.socket.as_ref().map(|socket| socket.tcp().set_zero_linger());
            }
            Err(_) => {}
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = match self.socket()? {
            Socket::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Socket::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        match &read {
            Poll::Pending => {}
            // A client that closes with something unread resets the connection; an orderly end has read all.
            Poll::Ready(Ok(())) => self.answers.heard(),
            // TLS without its last word is an orderly end of the connection below.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.answers.heard(),
            Poll::Ready(Err(_)) => self.answers.lost(),
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.before_writing();
        if let Some(written) = ready!(self.write_instead(cx, bytes)) {
            return Poll::Ready(written);
        }
        let written = ready!(match self.socket()? {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Socket::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        });
        self.after_writing(&written);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.before_writing();
        // hyper gives a head without a body as one piece.
        if let [head] = pieces
            && let Some(written) = ready!(self.write_instead(cx, head))
        {
            return Poll::Ready(written);
        }
        let written = ready!(match self.socket()? {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, pieces),
            Socket::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, pieces),
        });
        self.after_writing(&written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Some(Socket::Plain(tcp)) => tcp.is_write_vectored(),
            Some(Socket::Tls(tls)) => tls.is_write_vectored(),
            None => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(match self.socket()? {
            Socket::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Socket::Tls(tls) => Pin::new(tls).poll_flush(cx),
        });
        if let Err(error) = flushed {
            self.after_writing(&Err(error.kind().into()));
            return Poll::Ready(Err(error));
        }
        self.answers.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.socket()? {
            Socket::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let written = self.answers.take_written();
        let runtime = tokio::runtime::Handle::try_current();
        if let (false, Some(socket), Ok(runtime)) = (written.is_empty(), self.socket.take(), runtime) {
            runtime.spawn(linger(socket.into_tcp(), written));
        }
    }
}

/// We closed the connection, as the client asked us to; it may still go away before it has read the answer.
async fn linger(tcp: TcpStream, written: Vec<Lost>) {
    let is_reset = async {
        let mut rest = [0; 512];
        loop {
            if tcp.readable().await.is_err() {
                return true;
            }
            match tcp.try_read(&mut rest) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
    };
    if tokio::time::timeout(LINGER, is_reset).await == Ok(true) {
        written.into_iter().for_each(Lost::call);
    }
}

/// A body that says when the last of it was handed over.
pub struct Watched<B> {
    body: B,
    /// Bytes to come, where that is known: hyper does not ask for the end once it has so many.
    left: Option<u64>,
    due: Due,
    answers: Answers,
}

impl<B: Body<Data = Bytes>> Watched<B> {
    /// `body`, whose end `answers` is told. `wanted`: none of it is written in answer to HEAD.
    pub fn new(body: B, wanted: Wanted, due: impl Into<Due>, answers: Answers) -> Self {
        let mut due = due.into();
        let left = body.size_hint().exact();
        if wanted == Wanted::Nothing || left == Some(0) || body.is_end_stream() {
            // hyper never looks at such a body. It writes the head before it flushes again.
            answers.handed_over(&mut due);
        }
        Self {
            body,
            left,
            due,
            answers,
        }
    }
}

/// What of a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Everything,
    /// The head is the answer.
    Nothing,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let ended = match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.left = this.left.map(|left| left.saturating_sub(length));
                this.left == Some(0) || this.body.is_end_stream()
            }
            Some(Err(_)) => {
                drop(this.due.take());
                false
            }
            None => true,
        };
        if ended {
            this.answers.handed_over(&mut this.due);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
