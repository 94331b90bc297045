//! Files that are read anew while the program runs: looked at every so often, and at SIGHUP. What is done with a new
//! one, and with a faulty one, is up to whoever asks.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    changed: SystemTime,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// The file's state now; to be taken before it is read.
    pub fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&data);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self {
            changed: data.modified().ok()?,
            length: data.len(),
            inode,
        })
    }
}

/// The state of several files that are read together.
pub type Stamps = Vec<Option<Stamp>>;

/// The states of `paths` now; to be taken before they are read.
pub fn stamps<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Stamps {
    paths.into_iter().map(|path| Stamp::of(path)).collect()
}

/// Why files are to be read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A SIGHUP asks for it.
    Asked,
    /// One of them is not as it was.
    Changed,
    /// One of them is not there any more. It is said once.
    Gone,
}

/// Looks after files that are read together.
pub struct Watch {
    paths: Vec<PathBuf>,
    every: Duration,
    hang_up: HangUp,
    /// The files that are in use, or were refused.
    dealt_with: Stamps,
    seen: Stamps,
}

impl Watch {
    /// A watch over files that have been read as they were at `read`. Takes the signal over, so that it does not end the
    /// program even where there is nothing to read. `every`: zero for at the signal alone.
    pub fn new(paths: Vec<PathBuf>, every: Duration, read: Stamps) -> Self {
        Self {
            paths,
            every,
            hang_up: HangUp::new(),
            seen: read.clone(),
            dealt_with: read,
        }
    }

    /// Waits until the files are to be read anew.
    pub async fn next(&mut self) -> Cause {
        let looks = !self.every.is_zero() && !self.paths.is_empty();
        loop {
            let asked = tokio::select! {
                () = self.hang_up.next() => true,
                () = tokio::time::sleep(self.every), if looks => false,
            };
            let now = stamps(&self.paths);
            // Files that are being written change again: they are read once they have lain still.
            let lie_still = now == self.seen;
            self.seen.clone_from(&now);
            if asked {
                self.dealt_with = now;
                return Cause::Asked;
            }
            if lie_still && now != self.dealt_with {
                let is_whole = now.iter().all(Option::is_some);
                self.dealt_with = now;
                return if is_whole { Cause::Changed } else { Cause::Gone };
            }
        }
    }
}

/// The signal that asks for a new reading. Whoever has one is told by itself.
#[cfg(unix)]
pub struct HangUp(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl HangUp {
    pub fn new() -> Self {
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
        Self(signal.ok())
    }

    pub async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(not(unix))]
pub struct HangUp;

#[cfg(not(unix))]
impl HangUp {
    pub fn new() -> Self {
        Self
    }

    pub async fn next(&mut self) {
        std::future::pending().await
    }
}
