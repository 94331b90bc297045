//! The journal of operations, in `operations.sqlite3` in the state directory: every bulk operation before its first
//! change, each name's outcome after it, and what is needed to take a change back.
//!
//! A file, a thread and a connection of its own: however much is learned, no outcome waits for it, and damage to one file
//! leaves the other alone. The thread takes everything in the order in which it was handed over, questions included, so
//! every report shows what was settled before it was asked for.
//!
//! Two kinds of writing. What must be in the file before Cloud is changed is awaited ([`Journal::begin`],
//! [`Journal::snapshot`]): where it cannot be written, the change is not made. What is told after a change is queued
//! ([`Journal::settle`]) and never dropped: while it cannot be written it is kept in memory and tried again, and
//! [`Journal::is_writable`] is false, so that no further change is begun.
//!
//! The file is in WAL mode. What was awaited has reached the disk; the rest is with the kernel at once, where `kill -9` takes
//! nothing of it, and on the disk with the next that is awaited, or after a second.

mod disk;
mod file;
mod health;
mod read;
mod read_only;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upgrade_tests;
mod waits;
mod writer;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

pub use read_only::ReadOnly;

use super::{Error, Kept, lock};
use crate::metrics::Metrics;
use crate::model::report::{Cost, State};
use crate::model::{AccountId, GroupId, NameKey, OperationId, OperationKind, Report, SnapshotGroup, Summary, Verdict};
use health::Health;
use writer::{Change, Message, Reply, Writer};

/// The file's name in the state directory.
pub const FILE: &str = "operations.sqlite3";

/// What operations that were begun later than a given one did, in so far as it concerns that one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Later {
    /// What they changed, or may have changed.
    pub changed: Touched,
    /// What they have not come to, or what they did and a sudden end of the process kept from the journal.
    pub open: Touched,
}

impl Later {
    /// What they changed, may have changed, or may yet change.
    #[must_use]
    pub fn any(mut self) -> Touched {
        self.changed.accounts.extend(self.open.accounts);
        self.changed.groups.extend(self.open.groups);
        self.changed.names.extend(self.open.names);
        self.changed
    }
}

/// Accounts and groups that operations are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Accounts put into or taken out of the group of the operation that was asked about; none where that is about groups.
    pub accounts: HashSet<AccountId>,
    /// Groups that were made or deleted; where the operation that was asked about is about groups, also those whose
    /// members were changed.
    pub groups: HashSet<GroupId>,
    /// The names of these groups, for those whose id nobody knew.
    pub names: HashSet<NameKey>,
}

/// A handle on the journal's thread; clones share it. The thread ends, and closes the file, with the last of them.
#[derive(Clone, Debug)]
pub struct Journal {
    sender: mpsc::Sender<Message>,
    health: Arc<Health>,
}

impl Journal {
    /// Opens the journal below `state_dir`; both are made if they are not there, and a file of an earlier format is
    /// upgraded in place.
    ///
    /// # Errors
    /// The file is somebody else's, damaged, or of a newer version (it stays as it is), or cannot be opened.
    pub fn open(state_dir: &Path, metrics: Metrics) -> Result<Self, Error> {
        lock::make_private_dir(state_dir)?;
        let path = state_dir.join(FILE);
        let connection = file::FORMAT.open(&path)?;
        Self::start(connection, path.clone(), metrics).map_err(|cause| Error::Io { path, cause })
    }

    fn start(connection: Connection, path: PathBuf, metrics: Metrics) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let health = Arc::new(Health::new());
        let writer = Writer::new(connection, path, Arc::clone(&health), metrics);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&receiver))?;
        Ok(Self { sender, health })
    }

    /// Writes down that an operation begins, with all its names. It is on the disk when this returns.
    ///
    /// # Errors
    /// It could not be written, or there is one of that id; nothing of it is in the journal.
    pub async fn begin(&self, report: Report) -> Result<(), Error> {
        self.ask(|reply| Message::Begin(Box::new(report), reply)).await
    }

    /// Tells what became of the name at `index`, from 0. Returns at once; written with others, in this order. Said again
    /// of the same name, the last word counts; after the operation's end, only once [`Self::finish`] was said again too do
    /// lists count it.
    pub fn settle(&self, id: &OperationId, index: usize, verdict: Verdict) {
        self.queue(Change::Settle(id.clone(), index, verdict, None));
    }

    /// The group of the name at `index`, from 0, was made and has this id. Returns at once, as [`Self::settle`].
    pub fn settle_created(&self, id: &OperationId, index: usize, group: GroupId) {
        self.queue(Change::Settle(id.clone(), index, Verdict::DONE, Some(group)));
    }

    /// The answer was written whole to its caller: it is not to be given again. Returns at once.
    pub fn delivered(&self, id: &OperationId) {
        self.queue(Change::Delivered(id.clone()));
    }

    /// The operation has ended, at `finished_at` in epoch milliseconds. Returns at once, as [`Self::settle`].
    pub fn finish(&self, id: &OperationId, finished_at: i64, state: State, cost: Cost) {
        self.queue(Change::Finish(id.clone(), finished_at, state, cost));
    }

    /// Whether what was handed over last could be written. Costs nothing.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.health.is_writable()
    }

    /// Asks whether a change may be begun: whether something can be written now. Costs nothing where something was
    /// written within the last second.
    ///
    /// # Errors
    /// Nothing can be written.
    pub async fn check(&self) -> Result<(), Error> {
        if self.health.is_fresh() {
            return Ok(());
        }
        self.ask(Message::Check).await
    }

    /// Waits until everything queued is on the disk.
    ///
    /// # Errors
    /// Something could not be written; it is kept and tried again.
    pub async fn flush(&self) -> Result<(), Error> {
        self.ask(Message::Flush).await
    }

    /// The operation as it stands, with all that was settled before.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn report(&self, id: &OperationId) -> Result<Option<Report>, Error> {
        self.ask(|reply| Message::Report(id.clone(), reply)).await
    }

    /// The operations that have not ended, in the order of their beginning.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn unfinished(&self) -> Result<Vec<Report>, Error> {
        self.ask(Message::Unfinished).await
    }

    /// The operations that came to their end at `since` (epoch milliseconds) or later and whose answers were not written
    /// whole to their callers, in the order of their beginning; no dry runs.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn undelivered(&self, since: i64) -> Result<Vec<Report>, Error> {
        self.ask(|reply| Message::Undelivered(since, reply)).await
    }

    /// The operations that came to their end at `since` (epoch milliseconds) or later, in the order of their beginning; no
    /// dry runs.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn ended_since(&self, since: i64) -> Result<Vec<Report>, Error> {
        self.ask(|reply| Message::EndedSince(since, reply)).await
    }

    /// The caller's last operation under this key of their own.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn by_key(&self, caller_key: &str, key: &str) -> Result<Option<Report>, Error> {
        self.ask(|reply| Message::ByKey(caller_key.to_owned(), key.to_owned(), reply))
            .await
    }

    /// The operations that take this one back, whole or in part, in the order of their beginning.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn undos_of(&self, id: &OperationId) -> Result<Vec<Report>, Error> {
        self.ask(|reply| Message::UndosOf(id.clone(), reply)).await
    }

    /// The last operations, the newest first. While the journal cannot be written, it shows what is in the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn list(&self, most: usize) -> Result<Vec<Summary>, Error> {
        self.ask(|reply| Message::List(most, reply)).await
    }

    /// What the operations that were begun after this one did to its group, or, of an operation on groups, to any. After
    /// means after in the journal, whatever the clock said; dry runs do not count.
    ///
    /// # Errors
    /// The file cannot be read, or what was settled last cannot be written.
    pub async fn later_changes(&self, id: &OperationId) -> Result<Later, Error> {
        self.ask(|reply| Message::Later(id.clone(), reply)).await
    }

    /// What operations on the same group made of its members that were begun before this one and had not ended by then, and
    /// what others had left in doubt within the hour before, in the order of their beginning; nothing for an operation on groups.
    ///
    /// # Errors
    /// The file cannot be read, or what was settled last cannot be written.
    pub async fn earlier_members(&self, id: &OperationId) -> Result<Vec<Earlier>, Error> {
        self.ask(|reply| Message::Earlier(id.clone(), reply)).await
    }

    /// Writes down a group that the name at `index` is about, before it is deleted. It is on the disk when this returns;
    /// another one of the same index is replaced.
    ///
    /// # Errors
    /// It could not be written, or there is no such operation.
    pub async fn snapshot(
        &self,
        id: &OperationId,
        index: usize,
        group: &SnapshotGroup,
        members: &[AccountId],
    ) -> Result<(), Error> {
        let taken = Box::new((index, group.clone(), members.to_vec()));
        self.ask(|reply| Message::Snapshot(id.clone(), taken, reply)).await
    }

    /// Every group that was written down for the operation, by index, with its members as they were handed over.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn snapshots(&self, id: &OperationId) -> Result<Vec<Snapshot>, Error> {
        self.ask(|reply| Message::Snapshots(id.clone(), reply)).await
    }

    /// Forgets operations that ended before `before` (epoch milliseconds), with names and groups. Others' writing and
    /// questions come in between.
    ///
    /// # Errors
    /// It could not be written; the rest is forgotten another time.
    pub async fn forget_before(&self, before: i64) -> Result<(), Error> {
        while self.ask(|reply| Message::Forget(before, reply)).await? {}
        Ok(())
    }

    /// The text that [`Self::set_head`] set last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn head(&self) -> Result<Option<String>, Error> {
        self.ask(Message::Head).await
    }

    /// Keeps the audit's head. Returns at once; of several that wait to be written the last one is.
    pub fn set_head(&self, text: &str) {
        self.queue(Change::Head(text.to_owned()));
    }

    fn queue(&self, change: Change) {
        // The thread lives as long as there is a handle; where it came to an unforeseen end, nothing is written any more.
        if self.sender.send(Message::Change(change)).is_err() {
            self.health.failed();
        }
    }

    async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Message) -> Result<T, Error> {
        let gone = || {
            self.health.failed();
            failed("its thread is gone")
        };
        let (reply, answer) = oneshot::channel();
        self.sender.send(question(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// One account of an earlier operation: what that does, the account, and what became of it, if that is known.
pub type Earlier = (OperationKind, AccountId, Option<Verdict>);

/// A group that was written down: the index of its name, the group, its members.
pub type Snapshot = (usize, SnapshotGroup, Vec<AccountId>);

fn failed(why: impl fmt::Display) -> Error {
    Error::Failed {
        kept: Kept::Operations,
        why: why.to_string(),
    }
}

/// What a failed reading means: a word that this version does not know, and what SQLite calls corrupt, is damage.
fn unreadable(path: &Path, error: &rusqlite::Error) -> Error {
    let corrupt = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    );
    let what = match error {
        rusqlite::Error::InvalidColumnType(_, word, rusqlite::types::Type::Text) => {
            format!("it says {word:?} where this version knows no such word")
        }
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => error.to_string(),
        _ if corrupt => error.to_string(),
        _ => return failed(error),
    };
    Error::Damaged {
        path: path.to_owned(),
        kept: Kept::Operations,
        what,
    }
}
