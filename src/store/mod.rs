//! What outlives a restart: the identities that were learned, in `identities.sqlite3` in the state directory.
//!
//! One thread owns the connection and takes everything in the order in which it was handed over, questions included:
//! so every look-up sees what this process learned before it, and nobody else needs a lock. Writing is beside the
//! stream: [`Store::learn`] and [`Store::replace`] return at once, and what finds no room is dropped and counted, for a
//! learned answer that is lost only costs a question.
//!
//! The file is in WAL mode with `synchronous=NORMAL`: what was committed survives the end of the process, `kill -9`
//! included. A power cut may lose the last seconds; it never spoils the file.

mod doubt;
mod file;
pub mod journal;
mod lock;
mod read_only;
mod seclusion;
mod sqlite;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rusqlite::Connection;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

pub use journal::{Journal, Touched};
pub use lock::StateLock;
pub use read_only::ReadOnly;

use crate::metrics::Metrics;
use crate::model::{AccountId, NameKey, Source, Standing};
use doubt::Doubts;
use writer::{Message, Reply, Writer};

/// The file's name in the state directory.
pub const FILE: &str = "identities.sqlite3";

/// Rows waiting to be written from which on more are dropped: some hundred megabytes, and half a minute of writing. Far
/// above what any answer brings, because whoever is dropped is shown under another name until they are learned again.
const MAX_QUEUED: usize = if cfg!(test) { 200_000 } else { 1_000_000 };

/// Keys a question: whoever asks for few does not wait for all of somebody's many.
const MAX_ASKED: usize = 2000;

/// Messages waiting for the thread.
const MAX_MESSAGES: usize = 65_536;

/// One learned identity: this source said at that time that this name means this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The name.
    pub name: NameKey,
    /// The account it means.
    pub account: AccountId,
    /// Who said so.
    pub source: Source,
    /// Whether there is somebody behind the account.
    pub standing: Standing,
    /// When it was said, in epoch milliseconds.
    pub learned_at: i64,
}

/// What a file of the state directory keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Learned identities.
    Identities,
    /// The journal of operations.
    Operations,
}

impl Kept {
    /// What becomes of it where its file is moved away, for messages.
    fn loss(self) -> &'static str {
        match self {
            Self::Identities => "let the identities be learned again",
            Self::Operations => {
                "do without the reports of what was done, and without knowing which operations had not ended"
            }
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identities => "learned identities",
            Self::Operations => "the journal of operations",
        })
    }
}

/// Why there is no file, or no answer from it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory or a file in it cannot be made, opened or locked.
    #[error("state_dir: {}: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Others than the owner can reach the state directory, or a file in it.
    #[error(
        "state_dir: {} is open to others than its owner (mode {mode:03o}), who may have read it or changed it: \
         `chmod -R go= {}`, or name another directory, also one inside it, which is then made for the facade alone",
        path.display(),
        dir.display()
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// The state directory.
        dir: PathBuf,
    },
    /// Another process has the state directory.
    #[error(
        "state_dir {} is used by another extender-facade ({}); give each its own",
        dir.display(),
        pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"))
    )]
    InUse {
        /// The state directory.
        dir: PathBuf,
        /// Who has it.
        pid: Option<u32>,
    },
    /// No store has been made yet.
    #[error("{} is not there: {}", path.display(), match kept {
        Kept::Identities => "nothing has been learned yet",
        Kept::Operations => "no operation has been begun yet",
    })]
    Absent {
        /// Where it would be.
        path: PathBuf,
        /// What it would keep.
        kept: Kept,
    },
    /// Somebody else's file.
    #[error(
        "{} is not a file of extender-facade and was left untouched: move it away, or set another state_dir",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file of a later version.
    #[error(
        "{} was written by a newer extender-facade (format {found}, this one knows {known}) and was left untouched: run \
         that version, or move the file away and {}",
        path.display(),
        kept.loss()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it keeps.
        kept: Kept,
        /// Its format.
        found: i64,
        /// The newest format that this version knows.
        known: i64,
    },
    /// A file of an earlier version, of somebody who may not change it.
    #[error(
        "{} was written by an older extender-facade (format {found}, this one reads {known}) and was left untouched: start \
         the facade on it once, which upgrades it in place",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The format that this version reads.
        known: i64,
    },
    /// A file of ours that cannot be trusted.
    #[error(
        "{} is damaged ({what}): restore it from a backup, or move it away with the files beside it that begin with its \
         name, and {}",
        path.display(),
        kept.loss()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it keeps.
        kept: Kept,
        /// What is wrong with it.
        what: String,
    },
    /// SQLite cannot open the file.
    #[error("{} cannot be opened: {cause}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: rusqlite::Error,
    },
    /// It cannot be read or written now.
    #[error("{kept} cannot be read or written: {why}")]
    Failed {
        /// What.
        kept: Kept,
        /// Why.
        why: String,
    },
}

fn failed(why: impl fmt::Display) -> Error {
    Error::Failed {
        kept: Kept::Identities,
        why: why.to_string(),
    }
}

/// A handle on the store's thread; clones share it. The thread ends, and closes the file, with the last of them.
#[derive(Clone, Debug)]
pub struct Store {
    sender: mpsc::Sender<Message>,
    queued: Arc<AtomicUsize>,
    /// Something is in the file, or was handed over: an empty store is not asked.
    has_any: Arc<AtomicBool>,
    /// Numbers the replacements, so that a later one can settle the doubt an earlier one left.
    replacements: Arc<AtomicU64>,
    doubts: Doubts,
    metrics: Metrics,
}

impl Store {
    /// Opens the store below `state_dir`; both are made if they are not there.
    ///
    /// # Errors
    /// The file is somebody else's, damaged, or of a newer version (it stays as it is), or cannot be opened.
    pub fn open(state_dir: &Path, metrics: Metrics) -> Result<Self, Error> {
        lock::make_private_dir(state_dir)?;
        let path = state_dir.join(FILE);
        Self::start(file::FORMAT.open(&path)?, metrics).map_err(|cause| Error::Io { path, cause })
    }

    fn start(connection: Connection, metrics: Metrics) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(MAX_MESSAGES);
        // Where nobody can say, asking it tells why.
        let has_any = file::has_any(&connection).unwrap_or(true);
        let store = Self {
            sender,
            queued: Arc::default(),
            has_any: Arc::new(AtomicBool::new(has_any)),
            replacements: Arc::default(),
            doubts: Doubts::default(),
            metrics: metrics.clone(),
        };
        let writer = Writer::new(connection, Arc::clone(&store.queued), store.doubts.clone(), metrics);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(receiver))?;
        Ok(store)
    }

    /// Keeps `batch`; of two answers of one source about one name and account the newer one. Returns at once; where
    /// there is no room, the batch is dropped and counted.
    pub fn learn(&self, batch: Vec<Learned>) {
        let rows = batch.len();
        self.expect(rows);
        if rows > 0 && self.queue(rows, Message::Learn(batch)).is_err() {
            self.metrics.store_dropped.inc_by(rows as u64);
        }
    }

    /// From now on `source` claims for `name` exactly `with`, which may be nothing; claims of other names or sources in
    /// it are left out. Returns at once. Where there is no room, what the source claimed before is not told any more,
    /// and is forgotten as soon as there is.
    pub fn replace(&self, name: NameKey, source: Source, with: Vec<Learned>) {
        self.replace_all(vec![(name, source, with)]);
    }

    /// The same of many names at once: one message, so that a large answer finds room whole, or not at all.
    pub fn replace_all(&self, replacements: Vec<(NameKey, Source, Vec<Learned>)>) {
        let rows = replacements.iter().map(|(_, _, with)| with.len().max(1)).sum();
        if rows == 0 {
            return;
        }
        self.expect(replacements.iter().map(|(_, _, with)| with.len()).sum());
        let number = self.replacements.fetch_add(1, Ordering::Relaxed);
        if let Err(message) = self.queue(rows, Message::Replace(replacements, number)) {
            self.metrics.store_dropped.inc_by(rows as u64);
            if let Message::Replace(lost, _) = message {
                self.doubts
                    .add(lost.into_iter().map(|(name, source, _)| (name, source)), number);
            }
        }
    }

    /// So many rows are about to be handed over.
    fn expect(&self, rows: usize) {
        if rows > 0 {
            self.has_any.store(true, Ordering::Release);
        }
    }

    /// Hands `message` with `rows` rows to the thread, or back where there is no room.
    fn queue(&self, rows: usize, message: Message) -> Result<(), Message> {
        // A batch of any size is taken while there is room at all: one that never fitted would never be learned.
        let room = self.queued.fetch_add(rows, Ordering::Relaxed) < MAX_QUEUED;
        let taken = if room {
            self.sender.try_send(message).map_err(TrySendError::into_inner)
        } else {
            Err(message)
        };
        if taken.is_err() {
            self.queued.fetch_sub(rows, Ordering::Relaxed);
        }
        taken
    }

    /// For each of `names`, in their order, what all sources claim. Others' questions and answers come in between those
    /// of a large one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn look_up(&self, names: &[NameKey]) -> Result<Vec<Vec<Learned>>, Error> {
        if self.is_empty() {
            return Ok(vec![Vec::new(); names.len()]);
        }
        let mut found = Vec::with_capacity(names.len());
        for names in names.chunks(MAX_ASKED) {
            found.extend(self.ask(|reply| Message::LookUp(names.to_vec(), reply)).await?);
        }
        Ok(found)
    }

    /// For each of `accounts`, in their order, every name that any source claims to mean it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn by_accounts(&self, accounts: &[AccountId]) -> Result<Vec<Vec<Learned>>, Error> {
        if self.is_empty() {
            return Ok(vec![Vec::new(); accounts.len()]);
        }
        let mut found = Vec::with_capacity(accounts.len());
        for accounts in accounts.chunks(MAX_ASKED) {
            found.extend(self.ask(|reply| Message::ByAccounts(accounts.to_vec(), reply)).await?);
        }
        Ok(found)
    }

    /// Whether nothing was ever learned: with a map of all names and hidden addresses that stays so, and no call waits for the
    /// thread.
    fn is_empty(&self) -> bool {
        !self.has_any.load(Ordering::Acquire)
    }

    /// Waits until everything queued is in the file.
    ///
    /// # Errors
    /// Something that was queued since the last time could not be written, and is lost.
    pub async fn flush(&self) -> Result<(), Error> {
        self.ask(Message::Flush).await
    }

    async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Message) -> Result<T, Error> {
        let gone = || failed("the store's thread is gone");
        let (reply, answer) = oneshot::channel();
        self.sender.send(question(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
