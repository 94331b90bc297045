//! A socket whose other end has to take something in time. Whoever asks for a long answer and never reads it would keep
//! all of it in memory for as long as he likes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// `S`, on which a write that makes no progress ends with [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub struct Steady<S> {
    inner: S,
    patience: Duration,
    /// There while something waits to be taken.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Steady<S> {
    /// `inner`, which may stand still for `patience`.
    pub fn new(inner: S, patience: Duration) -> Self {
        Self {
            inner,
            patience,
            until: None,
        }
    }

    pub(super) fn get(&self) -> &S {
        &self.inner
    }

    pub(super) fn into_inner(self) -> S {
        self.inner
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, tried: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.until = None;
            return tried;
        }
        let patience = self.patience;
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "nobody reads what is written",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Steady<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Steady<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, tried)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        self.judge(cx, tried)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush: what waits is waited for in `poll_write`, and must not be forgotten here.
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn who_reads_slowly_gets_all_and_who_stops_reading_is_given_up() {
        let (ours, mut theirs) = tokio::io::duplex(10);
        let mut ours = Steady::new(ours, Duration::from_secs(1));
        let written = tokio::spawn(async move {
            ours.write_all(&[1; 60]).await.unwrap();
            ours.write_all(&[2; 60]).await
        });
        let mut some = [0; 10];
        for _ in 0..6 {
            // Altogether longer than it may stand still at a time.
            tokio::time::sleep(Duration::from_millis(300)).await;
            theirs.read_exact(&mut some).await.unwrap();
        }
        assert_eq!(written.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
